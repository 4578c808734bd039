"""`make serve`: the whole stack stays up, with the webhook endpoint on a fixed port and a page about it."""

import os
import signal

from local.console import Console
from local.site import Site
from local.verdicts import LOG, watched
from tools.sender import LOCAL_SECRET


def serve(port: int, real_cloud: bool, as_json: bool) -> int:
    """Runs until Ctrl-C. Raises PortTaken."""
    console = Console(as_json)
    # SIGINT too: a process that a script starts in the background ignores it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    site = Site(real_cloud)
    try:
        pages = site.pages()
        with (
            watched(console, real_cloud, log=LOG, webhook_port=port, pages=pages, own=site.answer) as stack,
            site.showing(stack),
        ):
            _greet(console, stack.webhook_url)
            while True:
                for event in stack.aws.verdicts():
                    console.verdict(event)
                    site.live.verdict(event)
    except KeyboardInterrupt:
        console.say(f"\n{console.interrupted() if console.under_way else 'Stopped.'}")
        return 0


def _greet(console: Console, url: str) -> None:
    own = bool(os.environ.get("WEBHOOK_SECRET"))
    secret = "that of WEBHOOK_SECRET" if own else f"{LOCAL_SECRET} (public; yours: WEBHOOK_SECRET=whsec_… make serve)"
    there = ("" if url.endswith(":8080/") else f" URL={url}") + (" SECRET=…" if own else "")
    console.say(f"  endpoint and page   {url}   (OpenAPI: {url}openapi.json)")
    console.say(f"  signing secret      {secret}")
    console.say(f"  send an event       make send EVENT=events/detach_cloudevent.json{there}")
    console.say(f"  see it refuse       curl -i -d '{{}}' -H 'content-type: application/json' {url}")
    console.say("Verdicts are shown as they arrive; Ctrl-C stops everything.\n")

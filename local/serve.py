"""`make serve`: keep the local stack running, with the webhook endpoint on a fixed port and a page about it."""

import os

from local.console import Console
from local.site import Site
from local.verdicts import LOGS, watched
from tools.sender import LOCAL_SECRET


def serve(port: int, real_cloud: bool, as_json: bool) -> int:
    """Serve until Ctrl-C. Raises PortTaken."""
    console = Console(as_json)
    site, log = Site(real_cloud), LOGS / f"serve-{port}.log"
    try:
        pages = site.pages()
        with (
            watched(
                console, real_cloud, log=log, keeps_verdicts=True, webhook_port=port, pages=pages, own=site.answer
            ) as stack,
            site.showing(stack),
        ):
            _greet(console, stack.webhook_url, stack.webhook_secret)
            while True:
                for event in stack.aws.verdicts():
                    console.verdict(event)
                    site.live.verdict(event)
    except KeyboardInterrupt:
        console.say(f"\n{console.interrupted(real_cloud)}")
        return 0


def _greet(console: Console, url: str, key: str) -> None:
    own = bool(os.environ.get("WEBHOOK_SECRET"))
    public = f"{LOCAL_SECRET} (public; set your own: WEBHOOK_SECRET=whsec_… make serve)"
    made = f"{key} (made for this run; set your own: WEBHOOK_SECRET=whsec_…)"
    secret = "from WEBHOOK_SECRET" if own else public if key == LOCAL_SECRET else made
    there = ("" if url.endswith(":8080/") else f" URL={url}") + ("" if key == LOCAL_SECRET else " SECRET=…")
    console.say(f"  endpoint and page   {url}   (OpenAPI: {url}openapi.json)")
    console.say(f"  signing secret      {secret}")
    console.say(f"  send an event       make send EVENT=events/detach_cloudevent.json{there}")
    console.say(f"  see it refuse       curl -i -d '{{}}' -H 'content-type: application/json' {url}")
    console.say("Verdicts appear here as they arrive; Ctrl-C stops everything.")
    console.say()

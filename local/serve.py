"""`make serve`: the whole stack stays up, with the webhook door on a fixed port and a page about it."""

from __future__ import annotations

import json
import os
import signal
from typing import Any, NoReturn

from local.aws_stand_in import VERDICTS
from local.console import Console, attach_to_functions
from local.function_url import Page, PortTaken
from local.real_cloud import check_cloud
from local.stack import Stack, running
from tools.openapi import document
from tools.openapi_page import page
from tools.sender import LOCAL_SECRET


def serve(port: int, real_cloud: bool, as_json: bool) -> int:
    """Runs until Ctrl-C. Exit status 2, with one sentence, if the port is taken or the cloud cannot be used."""
    console = Console(as_json=as_json)
    if real_cloud and (trouble := check_cloud(os.environ)):
        console.trouble(trouble)
        return 2
    attach_to_functions(console)
    # SIGINT too: started in the background by a script, a process is born deaf to it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    described = document()
    pages = {
        "/": Page("text/html; charset=utf-8", page(described)),
        "/openapi.json": Page("application/json", json.dumps(described, indent=2)),
    }
    try:
        with running(
            os.environ,
            real_cloud=real_cloud,
            on_error=lambda error: console.trouble(str(error)),
            door_port=port,
            pages=pages,
        ) as stack:
            _greet(console, stack, real_cloud)
            _show_verdicts(console, stack)
    except PortTaken as taken:
        console.trouble(f"{taken} Choose another by PORT=.")
        return 2
    except KeyboardInterrupt:
        console.say("\nstopped")
        return 0


def _greet(console: Console, stack: Stack, real_cloud: bool) -> None:
    where = "the cloud of OS_AUTH_URL" if real_cloud else "a simulated cloud"
    own = bool(os.environ.get("WEBHOOK_SECRET"))
    secret = "that of WEBHOOK_SECRET" if own else f"{LOCAL_SECRET} (public; yours: WEBHOOK_SECRET=whsec_… make serve)"
    url = "" if stack.door_url.endswith(":8080/") else f" URL={stack.door_url}"
    console.say(f"webhook door → queue → detach_volume → event bus, with {where}")
    console.say(f"  door and its page   {stack.door_url}   (OpenAPI: {stack.door_url}openapi.json)")
    console.say(f"  signing secret      {secret}")
    console.say(f"  send an event       make send EVENT=events/detach_cloudevent.json{url}{' SECRET=…' if own else ''}")
    console.say(f"  see it refuse       curl -i -d '{{}}' -H 'content-type: application/json' {stack.door_url}")
    console.say("Verdicts are shown as they arrive; Ctrl-C stops everything.\n")


def _show_verdicts(console: Console, stack: Stack) -> NoReturn:
    while True:
        for envelope in stack.aws.receive(VERDICTS):
            console.verdict(envelope["detail"])


def _interrupt(*_: Any) -> NoReturn:
    raise KeyboardInterrupt

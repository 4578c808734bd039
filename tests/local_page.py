"""The local stack with its page, as in `make serve`, for tests with HTTP and with a browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests

from local.aws_stand_in import AwsStandIn
from local.site import OWN_HEADER, Site
from local.stack import Stack, running

OWN = {OWN_HEADER: "page"}


@dataclass(frozen=True)
class Served:
    """A stack with its page, as in `make serve`."""

    stack: Stack
    site: Site

    def url(self, name: str) -> str:
        return f"{self.stack.webhook_url}_demo/{name}"

    def post(self, name: str, content: object = None, **headers: str) -> requests.Response:
        return requests.post(self.url(name), json=content, headers={**OWN, **headers}, timeout=10)

    def disks(self) -> dict[str, Any]:
        servers = requests.get(self.url("servers"), timeout=10).json()["servers"]
        return {disk["volume_id"]: disk for server in servers for disk in server["disks"]}


@contextmanager
def served(aws_server: AwsStandIn) -> Iterator[Served]:
    """A stack with an empty AWS, which shows verdicts as they arrive."""
    assert requests.post(f"{aws_server.environment['AWS_ENDPOINT_URL']}/moto-api/reset", timeout=5).status_code == 200
    site, over = Site(real_cloud=False), threading.Event()
    with running({}, pages=site.pages(), own=site.answer) as stack, site.showing(stack):

        def relay() -> None:
            while not over.is_set():
                for event in stack.aws.verdicts():
                    site.live.verdict(event)

        relaying = threading.Thread(target=relay)
        relaying.start()
        try:
            yield Served(stack, site)
        finally:
            over.set()
            relaying.join()

"""The local server's pages, and their API under `/_demo/`: servers, requests, events, reset."""

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import requests

from local.cloud_controls import SCENARIOS, CloudControls
from local.function_url import Answered, Asked, Page
from local.live import Live
from local.stack import Stack
from shared.ports import CloudTrouble
from shared.settings import Settings, load
from simulator import Refused
from tools.openapi import document
from tools.openapi_page import page, section
from tools.sender import deliver, post_of

FILES = Path(__file__).parent / "page"
PREFIX = "/_demo/"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?")
OWN_HEADER = "X-Demo"
"""A page of another origin may send it only after a preflight (Fetch, CORS-preflight fetch), which is not granted."""

JSON = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Site:
    """Answers requests for loopback names only, and accepts changes from its own pages only."""

    def __init__(self, real_cloud: bool) -> None:
        self.live = Live()
        self._real_cloud = real_cloud
        self._stack: Stack | None = None
        self._controls: CloudControls | None = None
        self._routes: Mapping[tuple[str, str], Callable[[Asked], Answered]] = {
            ("GET", "servers"): self._servers,
            ("GET", "events"): self._events,
            ("POST", "requests"): self._request,
            ("POST", "reset"): self._reset,
        }

    @contextmanager
    def showing(self, stack: Stack) -> Iterator[None]:
        """Show this stack for the length of the block."""
        self._stack = stack
        if stack.cloud:
            self._controls = CloudControls(stack.cloud, load(Settings, stack.environment).policy)
        with self.live.listening():
            yield

    def pages(self) -> dict[str, Page]:
        """The static pages, by path."""
        script, style = (FILES / "page.js").read_text(), (FILES / "style.css").read_text()
        return {
            "/": Page("text/html; charset=utf-8", _index(self._real_cloud), POLICY),
            "/_page/page.js": Page("text/javascript; charset=utf-8", script),
            "/_page/style.css": Page("text/css; charset=utf-8", style),
            "/_page/icon.svg": Page("image/svg+xml", (FILES / "icon.svg").read_text()),
            "/openapi.html": Page("text/html; charset=utf-8", page(document())),
            "/openapi.json": Page("application/json", json.dumps(document(), indent=2)),
        }

    def answer(self, asked: Asked) -> Answered | None:
        """The answer to a request under `/_demo/`; None for other paths, which the function answers."""
        if not asked.path.startswith(PREFIX):
            return None
        if objection := _foreign(asked):
            return _said(403, {"detail": objection})
        name = asked.path.removeprefix(PREFIX)
        route = self._routes.get((asked.method, name))
        if route is None:
            known = any(name == path for _, path in self._routes)
            return _said(405 if known else 404, {"detail": "There is no such thing here."})
        return route(asked)

    def _events(self, _: Asked) -> Answered:
        return Answered(200, JSON | {"Content-Type": "text/event-stream"}, self.live.stream())

    def _servers(self, _: Asked) -> Answered:
        if self._controls is None:
            return _said(200, {"simulated": False})
        try:
            return _said(200, {"simulated": True, **self._controls.inventory()})
        except CloudTrouble as trouble:
            return _said(200, {"simulated": True, "away": f"The cloud does not answer: {str(trouble).rstrip('.')}."})

    def _request(self, asked: Asked) -> Answered:
        """Prepare the scenario, sign the request, post it to the webhook endpoint, and return its answer."""
        if self._controls is None or self._stack is None:
            return _real()
        wish = _wish(asked.body)
        if wish is None:
            return _said(400, {"detail": "A request is {scenario, data: {server_id, volume_id, …}}."})
        scenario, data = wish
        try:
            self._controls.arrange(scenario, data["server_id"], data["volume_id"])
        except Refused as no:
            return _said(409, {"detail": f"The scenario cannot be played now: {no}."})
        stack = self._stack
        event = {
            "specversion": "1.0",
            "id": f"page-{uuid.uuid4().hex[:8]}",
            "source": "/page",
            "type": f"{stack.environment.get('EVENT_TYPE_PREFIX', 'bms')}.volume.detach_requested.v1",
            "datacontenttype": "application/json",
            "data": data,
        }
        post = post_of(json.dumps(event)).signed(stack.webhook_secret, datetime.now(UTC))
        try:
            answer = deliver(post, stack.webhook_url)
        except requests.RequestException as error:
            return _said(502, {"detail": f"The webhook endpoint does not answer ({type(error).__name__})."})
        # A handler that raises is answered in plain text, as with a real Function URL.
        is_json = "json" in answer.headers.get("Content-Type", "")
        said = answer.json() if is_json else {"detail": answer.text}
        return _said(200, {"id": event["id"], "status": answer.status_code, "answer": said})

    def _reset(self, _: Asked) -> Answered:
        if self._controls is None:
            return _real()
        self._controls.reset()
        self.live.cloud_changed()
        return _said(200, {})


def _foreign(asked: Asked) -> str | None:
    """Why a request is not from our own page: another host name (DNS rebinding) or another origin; or None."""
    host = asked.headers.get("Host", "")
    if not LOOPBACK.fullmatch(host):
        return "This is for 127.0.0.1 and localhost only."
    if asked.method != "GET":
        if asked.headers.get("Origin", f"http://{host}") != f"http://{host}":
            return "This is for pages of this server only."
        if OWN_HEADER not in asked.headers:
            return f"The header {OWN_HEADER} is missing, which pages of this server send."
    return None


def _wish(body: bytes) -> tuple[str, dict[str, Any]] | None:
    """Scenario and data of a request. The webhook endpoint checks the data further."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return None
    data = said.get("data") if isinstance(said, dict) else None
    if not isinstance(data, dict) or said.get("scenario") not in list(SCENARIOS):
        return None
    named = all(isinstance(data.get(name), str) for name in ("server_id", "volume_id"))
    return (said["scenario"], data) if named else None


def _said(status: int, content: Mapping[str, Any]) -> Answered:
    return Answered(status, JSON, json.dumps(content))


def _real() -> Answered:
    return _said(409, {"detail": "This is for the simulated cloud: nothing is sent to a real one from here."})


def _index(real_cloud: bool) -> str:
    """The page. With a real cloud it has no form."""
    name = "real_cloud.html" if real_cloud else "simulated.html"
    demo = Template((FILES / name).read_text()).substitute(scenarios="\n".join(map(_choice, SCENARIOS)))
    operations = "\n".join(
        f'<li><a href="#operation-{found["operationId"]}"><code>{method.upper()} {path}</code></a></li>'
        for path, methods in document()["paths"].items()
        for method, found in methods.items()
    )
    parts = {"demo": demo, "operations": operations, "api": section(document(), level=2)}
    return Template((FILES / "index.html").read_text()).substitute(parts)


def _choice(name: str) -> str:
    scenario, checked = SCENARIOS[name], " checked" if name == "ordinary" else ""
    return (
        f'<label class="choice"><input type="radio" name="scenario" value="{name}"{checked} aria-describedby="scene"'
        f' data-sentence="{escape(scenario.sentence)}"><b>{escape(scenario.label)}</b></label>'
    )

"""`make send`: signs an event as Standard Webhooks asks, posts it to a webhook endpoint, and shows the answer."""

import base64
import json
import re
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import requests
from pydantic import ValidationError
from standardwebhooks import Webhook

from shared.signatures import ID, SIGNATURE, TIMESTAMP, Keys
from shared.webhook.http_binding import BATCHED, STRUCTURED

LOCAL_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The secret of the published test vector: known to everybody, so it is for webhook endpoints on this machine."""

LOCAL_URL = "http://127.0.0.1:8080/"


@dataclass(frozen=True)
class Post:
    """What is posted: a body, and the headers that say what it is."""

    headers: Mapping[str, str]
    body: bytes

    def signed(self, secret: str, now: datetime, message_id: str | None = None) -> Self:
        """The same with the three headers of Standard Webhooks; without an id it is a new message."""
        id_ = message_id or f"msg_{uuid.uuid4().hex}"
        signature = Webhook(secret).sign(id_, now.astimezone(UTC), self.body.decode())
        signing = {ID: id_, TIMESTAMP: str(int(now.timestamp())), SIGNATURE: signature}
        return replace(self, headers={**self.headers, **signing})

    def tampered(self) -> Self:
        """The same signature over a body that says something else."""
        return replace(self, body=self.body.replace(b"{", b'{"dry_run":true,', 1))


def post_of(text: str) -> Post:
    """How an event file goes over HTTP; of a file in Lambda's payload format, what Lambda made it from."""
    value = _json(text)
    if came_by_http(text):
        body = value.get("body") or ""
        carried = {name: item for name, item in value["headers"].items() if re.fullmatch("content-type|ce-.*", name)}
        return Post(carried, base64.b64decode(body) if value.get("isBase64Encoded") else body.encode())
    kind = BATCHED if isinstance(value, list) else "application/json"
    if isinstance(value, dict) and "specversion" in value:
        kind = STRUCTURED
    return Post({"content-type": kind}, text.encode())


def came_by_http(text: str) -> bool:
    """Whether this is the event of an HTTP request as Lambda receives it (payload format 2.0)."""
    value = _json(text)
    return isinstance(value, dict) and value.get("version") == "2.0" and "requestContext" in value


def _json(text: str | bytes) -> Any:
    """None for what is no JSON: it is sent, or shown, as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def deliver(post: Post, url: str) -> requests.Response:
    return requests.post(url, data=post.body, headers=dict(post.headers), timeout=30, allow_redirects=False)


def send(event: Path, url: str, secret: str) -> int:
    """Exit status: 0 if the webhook accepted it, 1 if it said no, 2 if nothing could be sent."""
    if not event.is_file():
        return _trouble(f"There is no event file {event}; samples are in events/.")
    try:
        Keys.parse([secret])
    except ValidationError:
        return _trouble("SECRET must be whsec_ and the base64 of 24 to 64 bytes.")
    try:
        answer = deliver(post_of(event.read_text()).signed(secret, datetime.now(UTC)), url)
    except requests.RequestException as error:
        return _trouble(f"{url} does not answer ({type(error).__name__}): run `make serve`, or name another by URL=.")
    print(f"{answer.status_code} {answer.reason}")
    for name in ("Retry-After", "WWW-Authenticate", "Allow"):
        if name in answer.headers:
            print(f"{name}: {answer.headers[name]}")
    said = _json(answer.content)
    print(answer.text if said is None else json.dumps(said, indent=2, ensure_ascii=False))
    return 0 if answer.ok else 1


def _trouble(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2

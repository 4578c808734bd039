"""`make send`: sign an event by Standard Webhooks, post it to a webhook endpoint, and show the answer."""

import base64
import json
import os
import re
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import requests
from pydantic import ValidationError
from standardwebhooks import Webhook

from shared.policy import BATCH_EVENTS
from shared.signatures import ID, SIGNATURE, TIMESTAMP, Keys
from shared.webhook.http_binding import BATCHED, STRUCTURED
from tools.exit_status import Exit, of_all

LOCAL_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The secret of the published test vector. It is public, so use it only for webhook endpoints on this machine."""


def new_secret() -> str:
    """A new random secret for signatures."""
    return f"whsec_{base64.b64encode(os.urandom(32)).decode()}"


LOCAL_URL = "http://127.0.0.1:8080/"


@dataclass(frozen=True)
class Post:
    """A body to post, and its headers."""

    headers: Mapping[str, str]
    body: bytes

    def signed(self, secret: str, now: datetime, message_id: str | None = None) -> Self:
        """The same with the three headers of Standard Webhooks. Without an id it gets a new one."""
        id_ = message_id or f"msg_{uuid.uuid4().hex}"
        signature = Webhook(secret).sign(id_, now.astimezone(UTC), self.body.decode())
        signing = {ID: id_, TIMESTAMP: str(int(now.timestamp())), SIGNATURE: signature}
        return replace(self, headers={**self.headers, **signing})

    def tampered(self) -> Self:
        """The same with a changed body, which the signature does not cover."""
        return replace(self, body=self.body.replace(b"{", b'{"dry_run":true,', 1))


def post_of(text: str) -> Post:
    """The HTTP request for an event file. A file in Lambda's payload format becomes the request it was made from."""
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
    """The parsed JSON, or None; text that is not JSON is sent or shown unchanged."""
    try:
        return json.loads(text)
    except ValueError:
        return None


def deliver(post: Post, url: str) -> requests.Response:
    return requests.post(url, data=post.body, headers=dict(post.headers), timeout=30, allow_redirects=False)


def send(events: Sequence[str], url: str, secret: str) -> Exit:
    """Post events and show the answers. Accepted events have no verdict yet, so the status is OPEN at best."""
    try:
        Keys.parse([secret])
    except ValidationError:
        return _trouble("SECRET must be whsec_ and the base64 of 24 to 64 bytes.")
    statuses: list[Exit] = []
    for text in _together(events):
        try:
            post = post_of(text).signed(secret, datetime.now(UTC))
        except (ValueError, KeyError, TypeError, AttributeError):
            return of_all([*statuses, _trouble("The event is not an HTTP request in Lambda's payload format.")])
        try:
            answer = deliver(post, url)
        except requests.RequestException as error:
            sentence, may_be_taken = _unanswered(url, error)
            _trouble(sentence)
            return Exit.OPEN if may_be_taken or Exit.OPEN in statuses else of_all([*statuses, Exit.USAGE])
        _show(answer)
        statuses.append(Exit.OPEN if answer.status_code == 202 else Exit.FAILED)
    if Exit.OPEN in statuses:
        print("Accepted. The verdict will have the id in verdict_id; `make status REQUEST=id` shows the history.",
              file=sys.stderr)  # fmt: skip
    return of_all(statuses)


NO_URL = (requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema, requests.exceptions.InvalidURL)


def _unanswered(url: str, error: requests.RequestException) -> tuple[str, bool]:
    """A sentence about a POST without an answer, and whether it may have been accepted."""
    if isinstance(error, NO_URL):
        return f"{url} is not a URL: it has to begin with http:// or https://.", False
    reached = not isinstance(error, requests.exceptions.ConnectTimeout) and "NewConnectionError" not in repr(error)
    if reached:
        return f"{url} did not answer, but may have accepted the request: you can safely send it again.", True
    return f"Nothing listens at {url}: run `make serve`, or set another URL=.", False


def _together(events: Sequence[str]) -> list[str]:
    """Combine several CloudEvents into batches. Bare requests have no batch form and are sent one by one."""
    found = [_json(event) for event in events]
    if len(events) > 1 and all(isinstance(event, dict) and "specversion" in event for event in found):
        parts = (events[start : start + BATCH_EVENTS] for start in range(0, len(events), BATCH_EVENTS))
        return [f"[{','.join(part)}]" for part in parts]  # the texts, unchanged
    return list(events)


def _show(answer: requests.Response) -> None:
    print(f"{answer.status_code} {answer.reason}")
    for name in ("Retry-After", "WWW-Authenticate", "Allow"):
        if name in answer.headers:
            print(f"{name}: {answer.headers[name]}")
    said = _json(answer.content)
    print(answer.text if said is None else json.dumps(said, indent=2, ensure_ascii=False))


def _trouble(sentence: str) -> Exit:
    print(sentence, file=sys.stderr)
    return Exit.USAGE

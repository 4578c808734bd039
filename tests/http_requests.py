"""HTTP requests as senders make them, on a fixed clock."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from shared.inbox.read import read
from shared.model import DetachRequest, Message
from shared.ports import AwsTrouble, K, Kept, QueueMessage, Unsent, VerdictStore
from shared.signatures import Keys
from shared.webhook.endpoint import WebhookEndpoint
from shared.webhook.http_binding import BATCHED, STRUCTURED
from shared.webhook.receive import HttpRequest, Rules
from shared.webhook.responses import PROBLEM_TYPE, HttpAnswer
from tests import messages
from tests.messages import MESSAGE_KEYS, SERVER, VOLUME
from tools.sender import LOCAL_SECRET, Post

NOW = datetime(2026, 11, 23, 8, 0, 5, tzinfo=UTC)
DATA = {"server_id": SERVER, "volume_id": VOLUME}
TOKEN = "a-token-of-some-length"
RULES = Rules(source="/bms-volume-detach/webhook", allowed_origins=("events.example.com",))
KEYS = Keys.parse({"secrets": [LOCAL_SECRET], "bearer_tokens": [TOKEN]})
JSON_TYPE = "application/json"


def cloudevent(data: Mapping[str, Any] = DATA, **attributes: Any) -> dict[str, Any]:
    """A request as a structured CloudEvent; an attribute of None is left out."""
    event = messages.cloudevent(dict(data), **{"datacontenttype": ..., **attributes})
    return {name: value for name, value in event.items() if value is not None}


def http_request(
    method: str, headers: Mapping[str, str], body: bytes = b"", iam: str | None = None, path: str = "/"
) -> HttpRequest:
    return HttpRequest(method, headers, body, request_id="http-request-1", iam=iam, path=path)


def unsigned(value: Any, kind: str = JSON_TYPE, headers: Mapping[str, str] | None = None) -> HttpRequest:
    """A POST without authentication; bytes are sent unchanged."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return http_request("POST", {"content-type": kind, **(headers or {})}, body)


def with_token(value: Any, kind: str = JSON_TYPE, headers: Mapping[str, str] | None = None) -> HttpRequest:
    """A POST with a bearer token, for senders that cannot sign."""
    return unsigned(value, kind, {"authorization": f"Bearer {TOKEN}", **(headers or {})})


def signed(
    value: Any,
    kind: str = JSON_TYPE,
    headers: Mapping[str, str] | None = None,
    secret: str = LOCAL_SECRET,
    at: datetime = NOW,
    id: str = "msg_1",
) -> HttpRequest:
    """A POST with a valid signature."""
    bare = unsigned(value, kind, headers)
    post = Post(bare.headers, bare.body).signed(secret, at, id)
    return http_request("POST", post.headers, post.body)


def structured(event: Any, **options: Any) -> HttpRequest:
    return signed(event, STRUCTURED, **options)


def batched(events: Sequence[Any]) -> HttpRequest:
    return signed(list(events), BATCHED)


@dataclass
class FakeKeyRing:
    """Keys for a test; `newest` are those that only a second read returns."""

    known: Keys = KEYS
    newest: Keys | None = None
    trouble: bool = False
    looks: int = 0

    def keys(self, newest: bool = False) -> Keys:
        if self.trouble and (newest or not self.newest):
            raise AwsTrouble("GetSecretValue: no answer (ConnectTimeout)")
        self.looks += newest
        return self.newest if newest and self.newest else self.known


@dataclass
class FakeQueue:
    """A queue that keeps its messages; `errors` are the results for the first message, the second, and so on."""

    errors: dict[int, Unsent] = field(default_factory=dict)
    taken: list[QueueMessage] = field(default_factory=list)

    def send(self, messages: Mapping[K, QueueMessage], deadline: datetime | None = None) -> Mapping[K, Unsent]:
        unsent = {key: self.errors[at] for at, key in enumerate(messages) if at in self.errors}
        self.taken += [message for key, message in messages.items() if key not in unsent]
        return unsent

    @property
    def events(self) -> list[Any]:
        return [json.loads(message.body) for message in self.taken]


def endpoint(
    queue: FakeQueue | None = None,
    key_ring: FakeKeyRing | None = None,
    rules: Rules = RULES,
    now: datetime = NOW,
    store: VerdictStore | None = None,
) -> WebhookEndpoint:
    return WebhookEndpoint(rules, key_ring or FakeKeyRing(), queue or FakeQueue(), MESSAGE_KEYS, lambda: now, store)


def body_of(answer: HttpAnswer) -> Any:
    """The parsed body of an answer."""
    return json.loads(answer.body)


def problem_of(answer: HttpAnswer, status: int) -> Any:
    """The RFC 9457 problem in an answer."""
    assert answer.status == status, answer
    assert answer.all_headers["Content-Type"] == PROBLEM_TYPE
    problem = body_of(answer)
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    return problem


def fields(problem: Any) -> set[str]:
    return {error["field"] for error in problem["errors"]}


def requests_read(queue: FakeQueue) -> list[DetachRequest]:
    """The requests in the queue as its consumer reads them, all of them new."""
    found = [read(Message(message.body, "m", "queue", NOW), "bms", NOW, MESSAGE_KEYS) for message in queue.taken]
    assert all(isinstance(cases, list) and len(cases) == 1 and cases[0].fresh for cases in found), found
    return [case.request for cases in found if isinstance(cases, list) for case in cases]


@dataclass
class FakeStore:
    """A store with given contents and marks; with `trouble` it does not answer."""

    kept: dict[str, Kept] = field(default_factory=dict)
    trouble: str | None = None
    asked: list[str] = field(default_factory=list)

    def mark(self, marks: Mapping[str, str]) -> str | None:
        if self.trouble:
            return self.trouble
        self.kept = {id_: Kept(mark=mark) for id_, mark in marks.items()} | self.kept
        return None

    def find(self, verdict_id: str) -> Kept:
        self.asked.append(verdict_id)
        if self.trouble:
            raise AwsTrouble(self.trouble)
        return self.kept.get(verdict_id, Kept())


def status_request(
    path: str, method: str = "GET", secret: str = LOCAL_SECRET, at: datetime = NOW, body: bytes = b""
) -> HttpRequest:
    """A signed request for a status, with an empty body."""
    return HttpRequest(method, Post({}, b"").signed(secret, at, "msg_1").headers, body, "http-request-1", path=path)

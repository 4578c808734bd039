"""The running webhook endpoint against its OpenAPI document: Schemathesis sends what it makes of the document."""

import base64
import hashlib
import hmac
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import settings
from requests.auth import AuthBase
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from local.aws_stand_in import REQUESTS, AwsStandIn
from local.stack import Stack, running
from shared.decision.case import Case
from shared.group import Group
from shared.inbox.read import read
from shared.model import Message
from shared.signatures import ID, PREFIX, SIGNATURE, TIMESTAMP
from shared.telemetry.logs import logger
from tests.messages import MESSAGE_KEYS
from tools.openapi import document
from tools.sender import LOCAL_SECRET

CASES = int(os.environ.get("HYPOTHESIS_CASES", "1000")) // 20
"""For each operation, beside the few hundred that Schemathesis always sends; each is several HTTP requests."""

CONFORMS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
"""Not whether fitting data is always taken and other data never: what a schema cannot say is told by 422."""

OTHER_SECRET = PREFIX + base64.b64encode(b"known to nobody but this test").decode()

described = schemathesis.openapi.from_dict(document())


class Tracebacks(logging.Handler):
    """What is logged of errors, and how much is logged at all."""

    def __init__(self) -> None:
        super().__init__()
        self.lines, self.found = 0, list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1
        if "Traceback" in (text := self.format(record)):
            self.found.append(text)


@dataclass
class Served:
    """The stack without the consumers of its queue, so that its messages can be read here."""

    stack: Stack
    log: Tracebacks
    broken: list[BaseException]
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def has_been_asked(self) -> bool:
        """False where another process had the tests of POST; where a status is, every POST is answered 405."""
        return any(method == "POST" and status != 405 for method, status in self.statuses)

    def taken(self) -> list[Any]:
        """Everything in the queue, which is empty then."""
        return list(chain.from_iterable(iter(lambda: self.stack.aws.receive(REQUESTS, wait_seconds=0), [])))

    def send(self, case: schemathesis.Case[Any], signer: AuthBase) -> schemathesis.Response:
        """The answer to one case: none of our errors, and as the document has it."""
        answer = case.call(base_url=self.stack.webhook_url, auth=signer)
        self.statuses[case.method, answer.status_code] += 1
        case.validate_response(answer, checks=CONFORMS)
        assert (self.log.found, self.broken) == ([], [])
        return answer


@pytest.fixture(scope="module")
def served(aws_server: AwsStandIn) -> Iterator[Served]:
    endpoint = aws_server.environment["AWS_ENDPOINT_URL"]
    assert requests.post(f"{endpoint}/moto-api/reset", timeout=5).status_code == 200
    log, broken = Tracebacks(), list[BaseException]()
    # Powertools' logger hands nothing on to the root.
    sources = [logging.getLogger(), logging.getLogger(logger.name)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("local.stack.Poller", lambda *_, **__: nullcontext())
        for source in sources:
            source.addHandler(log)
        try:
            with running({}, on_error=broken.append, keeps_verdicts=True) as stack:
                yield Served(stack, log, broken)
        finally:
            for source in sources:
                source.removeHandler(log)
    assert log.lines >= CASES


@pytest.fixture(scope="module")
def for_strangers(served: Served) -> Iterator[Served]:
    """All of a run without a good signature: the queue is as empty as before."""
    run = replace(served, statuses=Counter())
    assert run.taken() == []
    yield run
    assert run.statuses["POST", 401] >= CASES or not run.has_been_asked
    assert run.taken() == []


@pytest.fixture(scope="module")
def for_senders(served: Served) -> Iterator[Served]:
    """All of a run with good signatures: some of it got in, and some was not valid."""
    run = replace(served, statuses=Counter())
    assert run.taken() == []
    yield run
    assert min(run.statuses["POST", 202], run.statuses["POST", 422]) >= 20 or not run.has_been_asked


@dataclass(frozen=True)
class Signed(AuthBase):
    """Signs the very bytes that are sent, as Standard Webhooks asks."""

    secret: str = LOCAL_SECRET
    age: int = 0
    over: bytes = b""
    """What is signed before the body and not sent."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = body_of(request)
        message_id, timestamp = f"msg_{hashlib.sha256(body).hexdigest()}", str(int(time.time()) - self.age)
        signed = f"{message_id}.{timestamp}.".encode() + self.over + body
        mac = hmac.digest(base64.b64decode(self.secret.removeprefix(PREFIX)), signed, "sha256")
        signature = f"v1,{base64.b64encode(mac).decode()}"
        request.headers.update({ID: message_id, TIMESTAMP: timestamp, SIGNATURE: signature})
        return request


class NotAuthenticated(AuthBase):
    """In turn: as generated, by another secret, over another body, too late; the body decides, so that it repeats."""

    KINDS: tuple[AuthBase | None, ...] = (None, Signed(OTHER_SECRET), Signed(over=b" "), Signed(age=301))

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        kind = self.KINDS[len(body_of(request)) % len(self.KINDS)]
        return kind(request) if kind else request


class Sender(AuthBase):
    """Signs well, and leaves out the headers of binary mode from every other body: hardly any is valid with them."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if len(body_of(request)) % 2:
            for name in [name for name in request.headers if name.lower().startswith("ce-")]:
                del request.headers[name]
        return Signed()(request)


def body_of(request: requests.PreparedRequest) -> bytes:
    body = request.body or b""
    return body.encode() if isinstance(body, str) else body


def announced(answer: schemathesis.Response) -> list[Any]:
    """The requests that an answer says are in the queue."""
    said = answer.json() if answer.status_code == 202 else {}
    return [entry for part in said.get("events", [said]) for entry in part.get("requests") or ()]


@described.parametrize()
@settings(max_examples=CASES, deadline=None)
def test_nothing_unauthenticated_is_accepted(case: schemathesis.Case[Any], for_strangers: Served) -> None:
    """Without a good signature every answer is a documented refusal, nothing is enqueued and nothing told."""
    answer = for_strangers.send(case, NotAuthenticated())
    if case.path == "/":
        assert case.method != "POST" or answer.status_code in (401, 413)
    else:
        assert answer.status_code in (401, 405)


@described.parametrize()
@settings(max_examples=CASES, deadline=None)
def test_what_is_signed_is_answered_as_documented(case: schemathesis.Case[Any], for_senders: Served) -> None:
    """With a good signature every answer fits the document, and the consumer reads the very requests it names."""
    answer = for_senders.send(case, Sender())
    requests_read, summed_up = [], []
    for event in for_senders.taken():
        now = datetime.now(UTC)
        match read(Message(json.dumps(event), "m", "queue", now), "bms", now, MESSAGE_KEYS):
            case [Case(request=request, fresh=True)]:
                requests_read.append((request.source, request.id, request.server_id, request.volume_id))
            case Group(request=request, volumes=members):
                about = request.source, request.id, request.server_id
                requests_read += [(*about, member.volume_id) for member in members if member.volume_id]
                summed_up.append(about)
            case other:
                pytest.fail(f"the consumer does not take {event}: {other}")
    named = [(entry["source"], entry["id"], entry["server_id"], entry["volume_id"]) for entry in announced(answer)]
    assert sorted(requests_read) == sorted(named)
    assert len(summed_up) == answer.text.count('"summary_id"')

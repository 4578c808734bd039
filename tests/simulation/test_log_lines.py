"""Every log line about a request can be found by the request's id, its server or its disk."""

import json
from typing import Any

import pytest

from functions.sqs_batch import answer_batch
from shared.decision.case import Case, detached
from shared.decision.progress import Progress
from shared.inbox.read import Rejected, read
from shared.model import DetachRequest, Detail, Message, Outcome
from shared.outbox.events import EventFactory
from shared.outbox.observer import BUS, Attempt
from shared.ports import Event, NotTaken
from shared.telemetry.logs import VERSION, Logs, logger
from tests.messages import (
    MESSAGE_KEYS,
    OTHER_VOLUME,
    SERVER,
    START,
    VOLUME,
    bare,
    cloudevent,
    continuation,
    sqs_record,
    waiting,
)
from tests.stack import LINES, Bench, Queued

REQUEST = DetachRequest(
    id="4711", source="/changes", requested_at=START, server_id=SERVER, volume_id=VOLUME, correlation_id="CHG-1"
)
PROGRESS = Progress(first_seen_at=START)
CASE = Case(REQUEST, Message("", "m-1", "queue", START), PROGRESS)
EVENT = EventFactory().verdict(CASE, detached(Detail.DETACHED_NOW), START)
ASKED = {"request_id": "4711", "request_source": "/changes", "correlation_id": "CHG-1", "server_id": SERVER}
ABOUT = {**ASKED, "volume_id": VOLUME}
LATER, NEVER = NotTaken("HTTP 503", again=True), NotTaken("HTTP 404", again=False)


def line() -> dict[str, Any]:
    """The last log line."""
    return dict(json.loads(LINES[-1]))


def dead(body: str) -> dict[str, Any]:
    """The log line about a dead letter."""
    message = Queued("message-1", body, START, START).received()
    Logs().dead_letter(message, read(message, "bms", START, MESSAGE_KEYS))
    return line()


def test_each_line_names_the_release_also_after_the_state_of_the_logger_was_cleared() -> None:
    """Handlers clear the logger's keys of an invocation; the version stays."""
    logger.clear_state()
    logger.info("anything")
    assert line()["version"] == VERSION


@pytest.mark.parametrize(
    ("message", "attempt"),
    [
        ("event delivered", Attempt(BUS, EVENT)),
        ("event not emitted", Attempt(BUS, EVENT, refusal=LATER)),
        ("event not taken yet", Attempt("sink", EVENT, refusal=LATER, again_in=5)),
        ("event refused", Attempt("sink", EVENT, refusal=NEVER)),
        ("event given up", Attempt("task", EVENT, refusal=LATER)),
    ],
)
def test_each_line_about_an_event_names_the_request(message: str, attempt: Attempt) -> None:
    """Lines about the delivery of an event have the ids of the request that it answers."""
    Logs().attempt(attempt)
    assert ABOUT.items() <= line().items()
    assert message == line()["message"]


@pytest.mark.parametrize("body", ["[]", "{}", '{"data": null}', '{"data": {"request": "4711"}}'])
def test_an_event_that_names_no_request_is_logged_too(body: str) -> None:
    """Ids that an event does not contain are left out of its line."""
    Logs().attempt(Attempt("sink", Event("e-1", "t", "/s", None, "now", body, Outcome.DETACHED)))
    assert "e-1" == line()["event_id"]
    assert line().keys().isdisjoint(ABOUT)


@pytest.mark.parametrize(
    ("body", "about"),
    [
        (json.dumps(cloudevent(bare(SERVER, VOLUME), source="/changes", correlationid="CHG-1")), ABOUT),
        (continuation(REQUEST, PROGRESS), ABOUT),
        (waiting("sink", EVENT), ABOUT),
        (json.dumps(cloudevent(bare(SERVER, VOLUME, dry_rum=True), correlationid="CHG-1")), ABOUT),
        (json.dumps(cloudevent({"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME]}, correlationid="CHG-1")),
            {**ASKED, "volume_ids": [VOLUME, OTHER_VOLUME]}),
    ],
    ids=["request", "continuation", "pending", "invalid", "several"],
)  # fmt: skip
def test_a_dead_letter_names_the_request(body: str, about: dict[str, Any]) -> None:
    """The line about a dead letter of any kind has the message id and the ids of its request."""
    assert {"message": "dead letter", "message_id": "message-1", **about}.items() <= dead(body).items()


def test_a_rejected_request_is_named_as_far_as_it_can_be() -> None:
    """The line has the valid ids of a rejected request, and not the invalid ones."""
    message = Queued("message-1", json.dumps(cloudevent(bare(SERVER, "x"))), START, START).received()
    found = read(message, "bms", START, MESSAGE_KEYS)
    assert isinstance(found, Rejected)
    Logs().unanswerable(message, found)
    said = line()
    assert ("request rejected", "4711", SERVER) == (said["message"], said["request_id"], said["server_id"])
    assert "volume_id" not in said


def test_a_record_that_goes_back_tells_its_request_in_the_exception() -> None:
    """The line has the message id, and its traceback ends with the request that was being processed."""
    bench = Bench()
    bench.queue.refuse = lambda message: True
    volume = bench.disk()
    record = sqs_record(json.dumps(cloudevent(bare(bench.server, volume), source="/changes")), "message-1")
    answer_batch({"Records": [record]}, bench.service.handle)
    said = line()
    assert ("record goes back to the queue", "message-1") == (said["message"], said["message_id"])
    assert f"request /changes 4711, servers/{bench.server}/volumes/{volume}" == said["exception"].splitlines()[-1]

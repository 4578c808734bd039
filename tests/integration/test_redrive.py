"""`make redrive`: safe messages return to the request queue unchanged, others stay, and nothing is lost."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError  # type: ignore[import-untyped]

from local.aws_stand_in import DEAD_LETTERS, REQUESTS, AwsStandIn, queue_arn
from shared.decision.case import Case, detached
from shared.decision.progress import Progress
from shared.group import Group
from shared.inbox.read import read
from shared.model import DetachRequest, Detail, Message, Outcome, verdict_id
from shared.outbox.events import EventFactory
from shared.outbox.observer import BUS, Attempt
from shared.telemetry.logs import Logs
from tests.messages import (
    MESSAGE_KEYS,
    OTHER_VOLUME,
    QUEUE_ARN,
    SERVER,
    VOLUME,
    bare,
    cloudevent,
    continuation,
    ours,
    waiting,
)
from tests.stack import LINES, Bench
from tools.redrive import Letter, LoggedVerdicts, Redrive, Rules, examine, main

NOW = datetime.now(UTC).replace(microsecond=0)
REQUEST = DetachRequest(id="4711", source="/changes", requested_at=NOW, server_id=SERVER, volume_id=VOLUME)
CONTINUED = continuation(REQUEST, Progress(first_seen_at=NOW, polls=3, deletes_sent=1, last_delete_at=NOW))
EVENT = EventFactory().verdict(
    Case(REQUEST, Message("", "m", QUEUE_ARN, NOW), Progress(first_seen_at=NOW)), detached(Detail.DETACHED_NOW), NOW
)
BARE = json.dumps(bare(SERVER, VOLUME, context={"ticket": "CHG-1"}))
EVERY = json.dumps({"server_id": SERVER, "all_data_disks": True})
GROUP = Group.of([
    Case(replace(REQUEST, summary=True), Message("", "m", QUEUE_ARN, NOW), Progress(first_seen_at=NOW))
])  # fmt: skip
NAMED = json.dumps(cloudevent(bare(SERVER, VOLUME), time=(NOW - timedelta(minutes=5)).isoformat()))


# -------------------------------------------------------------------------------------------- which letters are safe


def letter(body: str, sent_at: datetime = NOW) -> Letter:
    return Letter(Message(body, "m-1", QUEUE_ARN, sent_at, sent_at, 6))


def without(name: str, body: str) -> str:
    return json.dumps({key: value for key, value in json.loads(body).items() if key != name})


LATER, AN_HOUR_AGO = NOW + timedelta(minutes=30), NOW - timedelta(hours=1)
LONG_REQUESTED = replace(REQUEST, requested_at=NOW - timedelta(hours=2))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (BARE, "request"),
        (NAMED, "request"),
        (CONTINUED, "continuation"),
        (
            continuation(LONG_REQUESTED, Progress(first_seen_at=NOW - timedelta(hours=2), accepted_at=NOW)),
            "continuation",
        ),
        (continuation(REQUEST, Progress(first_seen_at=NOW, failures=2, last_error="x")), "continuation"),
        (waiting("sink", EVENT, since=NOW), "waiting delivery"),
        (EVERY, "request"),
        (ours(GROUP.later(VOLUME, Progress(first_seen_at=NOW, polls=2), NOW).wire()), "group"),
        (ours(GROUP.concluded(VOLUME, detached(Detail.DETACHED_NOW)).wire()), "group"),
    ],
)
def test_safe_messages_can_be_sent_back(body: str, kind: str) -> None:
    """Requests within their time to live, continuations, groups and waiting deliveries can be sent back."""
    finding = examine(letter(body), Rules(), LATER)
    assert (finding.kind, len(finding.bodies)) == (kind, 1)


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        ("{", "no valid request", "JSON"),
        ('{"server_id": 5}', "no valid request", "server_id"),
        (without("mac", CONTINUED), "forged", "no MAC"),
        (without("mac", waiting("sink", EVENT)), "forged", "no MAC"),
        (json.dumps(json.loads(CONTINUED) | {"continuation": 2}), "continuation", "another release"),
        (EVENT.body, "own verdict", "verdict"),
        (json.dumps(cloudevent(bare(SERVER, VOLUME), expirytime=NOW.isoformat())), "request", "expired at"),
        (json.dumps(cloudevent(bare(SERVER, VOLUME, request_ttl=60), time=NOW.isoformat())), "request", "time to live"),
        (json.dumps(cloudevent(bare(SERVER, VOLUME), time=AN_HOUR_AGO.isoformat())), "request", "is over"),
        (continuation(LONG_REQUESTED, Progress(first_seen_at=AN_HOUR_AGO)), "continuation", "is over"),
        (json.dumps({"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME]}), "request", "several volumes"),
    ],
)  # fmt: skip
def test_unsafe_messages_stay(body: str, kind: str, why: str) -> None:
    """Invalid, foreign, expired and possibly answered messages stay, with the reason."""
    finding = examine(letter(body), Rules(), LATER)
    assert (finding.kind, finding.bodies) == (kind, ())
    assert why in finding.why


@pytest.mark.parametrize(
    "body",
    [
        BARE,
        NAMED,
        json.dumps(cloudevent(bare(SERVER, VOLUME), time=...)),
        json.dumps(cloudevent(bare(SERVER, VOLUME), time="9999-12-31T23:59:59Z")),
        json.dumps(cloudevent(bare(SERVER, VOLUME, dry_run=True, task_token="AQC"), time=NOW.isoformat(),
                              expirytime="2100-01-01T00:00:00Z")),
        json.dumps({"Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn:topic", "Message": BARE,
                    "Timestamp": "2100-01-01T00:00:00.000Z"}),
    ],
)  # fmt: skip
def test_a_message_that_is_sent_back_makes_the_same_request(body: str) -> None:
    """The id and the time are those of the first message, so that the request does not mean a newer attachment."""
    message = letter(body).message
    (first,) = found(message)
    finding = examine(Letter(message), Rules(), LATER)
    (again,) = finding.bodies
    (second,) = found(Message(again, "m-2", QUEUE_ARN, LATER))
    assert second == first
    assert second.requested_at <= NOW


def found(message: Message) -> list[DetachRequest]:
    cases = read(message, "bms", message.sent_at, MESSAGE_KEYS)
    assert isinstance(cases, list)
    return [case.request for case in cases]


@dataclass
class Recorded:
    """A log with these emitted events."""

    event_ids: set[str]

    def answered(self, event_id: str, since: datetime) -> bool:
        return event_id in self.event_ids


@pytest.mark.parametrize("dry_run", [False, True])
def test_letters_with_a_verdict_stay(dry_run: bool) -> None:
    """A letter stays if the log has its verdict, or that of one of its volumes."""
    outcome = Outcome.CHECKED if dry_run else Outcome.FAILED
    rules = Rules(record=Recorded({verdict_id("/changes", "4711", VOLUME, outcome)}))
    data = {"server_id": SERVER, "volume_ids": [OTHER_VOLUME, VOLUME], "dry_run": dry_run}
    several = json.dumps(cloudevent(data, time=NOW.isoformat()))
    for body in (several, json.dumps(cloudevent(bare(SERVER, VOLUME, dry_run=dry_run), time=NOW.isoformat()))):
        assert "has its verdict already" in examine(letter(body), rules, LATER).why
    assert examine(letter(several), Rules(record=Recorded(set())), LATER).bodies == (several,)


# ------------------------------------------------------------------------------------------- no letter is lost


@dataclass
class Queues:
    """Two queues with scripted refusals."""

    waiting: list[Letter]
    refuses: Callable[[str], str | None] = lambda body: None
    away: frozenset[str] = frozenset()
    sent: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)

    def receive(self) -> Sequence[Letter]:
        batch, self.waiting = self.waiting[:10], self.waiting[10:]
        return batch

    def send(self, bodies: Sequence[str], attributes: Mapping[str, Any]) -> str | None:
        self._reached("send")
        refused = [why for body in bodies if (why := self.refuses(body))]
        self.sent += [body for body in bodies if not self.refuses(body)]
        return "; ".join(refused) or None

    def delete(self, letter: Letter) -> None:
        self._reached("delete")
        self.deleted.append(letter.message.id)

    def release(self, letter: Letter) -> None:
        self._reached("release")
        self.released.append(letter.message.id)

    def _reached(self, operation: str) -> None:
        if operation in self.away:
            raise EndpointConnectionError(endpoint_url="https://sqs")


def letters(count: int) -> list[Letter]:
    ids = [f"m-{number}" for number in range(count)]
    bodies = [json.dumps(cloudevent(bare(SERVER, VOLUME), id=id, time=NOW.isoformat())) for id in ids]
    return [Letter(Message(body, id, QUEUE_ARN, NOW)) for id, body in zip(ids, bodies, strict=True)]


def redrive(queues: Queues, **options: Any) -> Redrive:
    return Redrive(queues, Rules(), **{"clock": lambda: LATER, "say": lambda text: None, **options})


def test_refused_letters_stay() -> None:
    """A message that the queue refuses is not deleted, and does not block others."""
    queues = Queues(letters(25), refuses=lambda body: "InternalError" if '"m-7"' in body else None)
    assert redrive(queues).run() == 1
    assert (len(queues.sent), len(queues.deleted), queues.released) == (24, 24, ["m-7"])
    assert "m-7" not in queues.deleted


@pytest.mark.parametrize(
    ("away", "sent"), [({"send"}, 0), ({"delete"}, 2), ({"release", "send"}, 0), ({"release", "delete"}, 2)]
)
def test_only_sent_letters_are_deleted(away: set[str], sent: int) -> None:
    """If AWS fails in the middle, a letter may exist twice, but is never lost."""
    queues = Queues(letters(2), away=frozenset(away))
    assert redrive(queues).run() == 1
    assert (len(queues.sent), queues.deleted) == (sent, [])
    assert queues.released == ([] if "release" in away else ["m-0", "m-1"])


def test_a_refused_confirmation_changes_nothing() -> None:
    """Without confirmation the letters stay unchanged, and are visible again at once."""
    queues = Queues(letters(2))
    asked: list[str] = []

    def no(question: str) -> bool:
        asked.append(question)
        return False

    assert redrive(queues, ask=no).run() == 0
    assert asked == ["Send 2 of 2 back to the request queue?"]
    assert (queues.sent, queues.deleted, queues.released) == ([], [], ["m-0", "m-1"])


@dataclass
class EventSource:
    """An event source mapping that is disabled only after several reads."""

    enabled: bool = True
    looks: int = 2
    changes: list[bool] = field(default_factory=list)

    def running(self) -> bool:
        return self.enabled

    def run(self, enabled: bool) -> None:
        self.changes.append(enabled)

    def stopped(self) -> bool:
        self.looks -= 1
        return self.looks <= 0


@pytest.mark.parametrize("away", [set(), {"send"}])
def test_the_reporter_is_restarted_afterwards(away: set[str]) -> None:
    """The reporter is stopped before the first receive, and always restarted."""
    reporter, slept = EventSource(), list[float]()
    redrive(Queues(letters(1), away=frozenset(away)), reporter=reporter, sleep=slept.append).run()
    assert (reporter.changes, slept) == ([False, True], [1])


def test_nothing_is_received_if_the_reporter_does_not_stop() -> None:
    """If the reporter does not stop, nothing is received, and it is restarted."""
    reporter, queues = EventSource(looks=1000), Queues(letters(1))
    with pytest.raises(TimeoutError):
        redrive(queues, reporter=reporter, sleep=lambda seconds: None).run()
    assert (reporter.changes, len(queues.waiting)) == ([False, True], 1)


def test_a_stopped_reporter_stays_stopped() -> None:
    """A reporter that was stopped before is not restarted, and DRY=1 does not stop a running one."""
    reporter = EventSource(enabled=False)
    redrive(Queues(letters(1)), reporter=reporter).run()
    running = EventSource()
    assert redrive(Queues(letters(1)), reporter=running).show() == 0
    assert (reporter.changes, running.changes) == ([], [])


# --------------------------------------------------------------------------------------------------------- over AWS


@pytest.fixture
def here(aws: AwsStandIn, monkeypatch: pytest.MonkeyPatch) -> AwsStandIn:
    """AWS with an operator's environment variables."""
    for name, value in aws.environment.items():
        monkeypatch.setenv(name, value)
    return aws


def called(aws: AwsStandIn, *more: str) -> int:
    return main(["--queue", aws.queue_urls[REQUESTS], "--dlq", aws.queue_urls[DEAD_LETTERS], *more])


FORGED = without("mac", CONTINUED)


def test_from_queue_to_queue(here: AwsStandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """Our own message is sent back unchanged, a bare request with its first id, both with their attributes."""
    sqs = boto3.client("sqs")
    attributes = {"origin": {"DataType": "String", "StringValue": "x"}}
    ids = [
        sqs.send_message(QueueUrl=here.queue_urls[DEAD_LETTERS], MessageBody=body, MessageAttributes=attributes)[
            "MessageId"
        ]
        for body in (BARE, CONTINUED, FORGED)
    ]
    assert called(here, "--yes") == 0
    asked = {"QueueUrl": here.queue_urls[REQUESTS], "MaxNumberOfMessages": 10, "MessageAttributeNames": ["All"]}
    sent = sqs.receive_message(**asked)["Messages"]
    assert [message["MessageAttributes"] for message in sent] == [attributes] * 2
    bodies = {message["Body"] for message in sent}
    (event,) = bodies - {CONTINUED}
    (request,) = found(Message(event, "m-2", QUEUE_ARN, datetime.now(UTC)))
    assert (request.id, request.source, request.context) == (ids[0], queue_arn(REQUESTS), {"ticket": "CHG-1"})
    (left,) = sqs.receive_message(QueueUrl=here.queue_urls[DEAD_LETTERS])["Messages"]
    assert left["Body"] == FORGED
    out = capsys.readouterr().out
    assert "2 sent back, 1 left" in out
    assert all(id in out for id in ids)
    assert "3 looks, 1 DELETEs sent" in out


def test_a_dry_run_changes_nothing(here: AwsStandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """DRY=1 shows what would be sent back, also as JSON."""
    here.send(DEAD_LETTERS, BARE)
    here.send(DEAD_LETTERS, "{")
    assert called(here, "--dry", "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted((row["kind"], row["safe"]) for row in rows) == [("no valid request", False), ("request", True)]
    assert [row["requests"][0]["volume_id"] for row in rows if row["safe"]] == [VOLUME]
    assert (here.waiting(REQUESTS), here.waiting(DEAD_LETTERS)) == (0, 2)
    received = boto3.client("sqs").receive_message(QueueUrl=here.queue_urls[DEAD_LETTERS], MaxNumberOfMessages=10)
    assert len(received["Messages"]) == 2


def test_a_request_that_was_sent_back_keeps_its_first_id() -> None:
    """A disk that was attached while the request was a dead letter is left alone."""
    bench = Bench()
    disk = bench.disk(attached=False)
    asked_at = bench.clock()
    bench.clock.sleep(600)
    bench.world.attach(bench.server, disk, attached_at=bench.clock())
    bench.clock.sleep(600)
    (body,) = examine(letter(bench.request(disk), asked_at), Rules(), bench.clock()).bodies
    bench.queue.put(body)
    bench.run()
    (event,) = bench.bus.events
    assert event["id"] == verdict_id(QUEUE_ARN, "m-1", disk, Outcome.FAILED)
    assert (event["data"]["detail"], bench.counted("delete_attachment")) == ("superseded", 0)


def test_an_empty_queue_is_no_failure(here: AwsStandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """With an empty queue, the exit status is 0."""
    assert called(here, "--yes") == 0
    assert "No message" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "STACK=…, or QUEUE=… and DLQ=…"),
        (["--queue", "x", "--yes"], "STACK=…, or QUEUE=… and DLQ=…"),
        (["--stack", "x", "--queue", "x", "--dlq", "x"], "STACK=…, or QUEUE=… and DLQ=…"),
        (["--queue", "http://127.0.0.1/x", "--dlq", "http://127.0.0.1/y"], "YES=1"),
        (["--queue", "http://127.0.0.1/123456789012/x", "--dlq", "y", "--dry"], "NonExistentQueue"),
        (["--stack", "nobody", "--dry"], "nobody"),
    ],
)
def test_an_impossible_command_gives_one_sentence(
    here: AwsStandIn, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit status is 2, and the error is one line."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert expected in captured.err
    assert len(captured.err.splitlines()) == 1


def test_the_log_shows_emitted_verdicts(here: AwsStandIn) -> None:
    """The line that the function writes when the bus accepts a verdict counts, that of a task does not."""
    logs = boto3.client("logs")
    logs.create_log_group(logGroupName="reporter")
    logs.create_log_stream(logGroupName="reporter", logStreamName="s")
    other = replace(EVENT, id="of another")
    for attempt in (Attempt(BUS, EVENT), Attempt("task", other)):
        Logs().attempt(attempt)
    lines = [{"timestamp": int(NOW.timestamp() * 1000), "message": text} for text in ("START", *LINES[-2:])]
    logs.put_log_events(logGroupName="reporter", logStreamName="s", logEvents=lines)
    record = LoggedVerdicts(logs, ("reporter",))
    assert [record.answered(id, NOW) for id in (EVENT.id, other.id)] == [True, False]
    assert not record.answered(EVENT.id, NOW + timedelta(hours=1))

"""The canary's core: the failed stage, and whole runs on a virtual clock."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from shared.canary.run import Asked, Canary, message, verdict_in
from shared.canary.stages import OF_REASON, OWN_CURES, Silence, Stage, of_silence, of_verdict
from shared.decision.case import CREDENTIALS_UNREAD
from shared.inbox.read import read
from shared.model import Detail, Message, Reason
from shared.outbox.reasons import catalogue
from shared.policy import AWS_ANSWER, CANARY_BOUND, CANARY_EVIDENCE, CANARY_INVOCATION, CANARY_WAIT, CANARY_WEBHOOK
from shared.ports import AwsTrouble, K, QueueMessage, Unsent
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, SERVER, START, VOLUME
from tests.stack import Clock

ASKED = Asked("/ours/canary", "bms", SERVER, VOLUME, None, 240)
PASSING = [d for d in Detail if d.startswith("would_") and d not in ("would_fail", "would_report_server_gone",
           "would_report_volume_gone")]  # fmt: skip


def refused(reason: str, explanation: str = "as it was found", **changes: Any) -> dict[str, Any]:
    said = {"code": reason, "message": f"What happened: {explanation}", "remedy": "what to do"}
    return {"verdict": "checked", "detail": "would_fail", "explanation": explanation, "reason": said, **changes}


@pytest.mark.parametrize("detail", PASSING)
def test_a_check_without_a_reason_is_no_failure(detail: str) -> None:
    """Any verdict of a dry run passes, because the cloud was reached and read."""
    assert of_verdict({"verdict": "checked", "detail": detail}) is None


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("outcome", ["checked", "failed"])
def test_every_reason_has_a_stage_and_a_cure(reason: Reason, outcome: str) -> None:
    """The cure is the canary's own, or else the verdict's."""
    failure = of_verdict(refused(reason, verdict=outcome))
    assert failure
    assert failure.stage is OF_REASON.get(reason, Stage.VERDICT)
    assert failure.why == f"the verdict is {reason}: What happened: as it was found"
    assert failure.cure == OWN_CURES.get(reason, "what to do")
    assert catalogue()[reason].remedy


@pytest.mark.parametrize(
    ("data", "stage", "said"),
    [
        (refused("gave_up", f"last: {CREDENTIALS_UNREAD}: no answer"), Stage.CREDENTIALS, "no answer"),
        (refused("a_reason_of_a_later_release"), Stage.VERDICT, "a_reason_of_a_later_release"),
        ({"verdict": "checked", "detail": "would_report_volume_gone"}, Stage.VERDICT, "would_report_volume_gone"),
        ({"verdict": "detached", "detail": "detached_now"}, Stage.VERDICT, "a dry run was answered detached"),
        ({}, Stage.VERDICT, "a dry run was answered None"),
        ({"verdict": "checked", "detail": "of a later release"}, Stage.VERDICT, "of a later release"),
    ],
)
def test_other_verdicts(data: dict[str, Any], stage: Stage, said: str) -> None:
    """Unreadable credentials, a server or volume that is gone, and unexpected verdicts."""
    failure = of_verdict(data)
    assert failure
    assert failure.stage is stage
    assert said in failure.why
    assert failure.cure


GOOD = Silence(mapping="Enabled", processed="OK", rule="ENABLED", waiting=0, in_flight=0, delayed=0)


@pytest.mark.parametrize(
    ("silence", "stage", "said"),
    [
        (replace(GOOD, mapping="Disabled", waiting=3), Stage.QUEUE, "mapping of the request queue is Disabled"),
        (replace(GOOD, rule="ENABLED_WITH_ALL_CLOUDTRAIL_MANAGEMENT_EVENTS", delayed=1), Stage.FUNCTION, "1 delayed"),
        (replace(GOOD, mapping="Updating"), Stage.QUEUE, "mapping of the request queue is Updating"),
        (replace(GOOD, rule="DISABLED", waiting=3), Stage.BUS, "the canary's queue is DISABLED"),
        (replace(GOOD, rule="gone"), Stage.BUS, "the canary's queue is gone"),
        (replace(GOOD, queue_trouble="denied", waiting=3), Stage.BUS, "cannot be read: denied"),
        (
            replace(GOOD, waiting=3, in_flight=1),
            Stage.QUEUE,
            "3 messages wait in the request queue, and the canary's may be one",
        ),
        (replace(GOOD, processed=None, waiting=1), Stage.QUEUE, "the last result of the mapping is not known"),
        (replace(GOOD, in_flight=1), Stage.FUNCTION, "1 messages are in flight and 0 delayed"),
        (replace(GOOD, delayed=2), Stage.FUNCTION, "0 messages are in flight and 2 delayed"),
        (GOOD, Stage.BUS, "whether the bus had it cannot be told from here"),
        (Silence(unread=("why", "not")), Stage.UNKNOWN, "(not known: why; not)"),
        (Silence(mapping="Enabled", rule="ENABLED", unread=("x",)), Stage.UNKNOWN, "(not known: x)"),
    ],
)
def test_a_missing_verdict_is_explained_by_the_evidence(silence: Silence, stage: Stage, said: str) -> None:
    """The strongest evidence counts; without any, no stage is named."""
    failure = of_silence(silence, 240)
    assert failure.stage is stage
    assert failure.why.startswith("no verdict in 240 s")
    assert said in failure.why
    assert failure.cure
    assert "{" not in failure.why + failure.cure


def test_the_request_is_one_that_the_service_takes() -> None:
    """A dry run with half of the wait as its time to live, which expires after the wait."""
    found = read(Message(message(ASKED, "c-1", START), "m-1", QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, list)
    (request,) = (case.request for case in found)
    assert (request.id, request.source, request.dry_run) == ("c-1", "/ours/canary", True)
    assert (request.server_id, request.volume_id, request.project_id) == (SERVER, VOLUME, None)
    assert request.request_ttl == 120
    assert request.expires_at == START + timedelta(seconds=240)
    assert request.context == {"canary": "c-1"}
    assert json.loads(message(replace(ASKED, bound=0.5, project_id="0" * 32), "c", START))["data"] == {
        "server_id": SERVER, "volume_id": VOLUME, "project_id": "0" * 32, "dry_run": True, "request_ttl": 1,
        "context": {"canary": "c"},
    }  # fmt: skip


def test_a_run_fits_into_its_invocation() -> None:
    """Wait, evidence and webhook fit; the function ends before the next run, and each wait before its call."""
    assert CANARY_BOUND + CANARY_WAIT + AWS_ANSWER + max(CANARY_EVIDENCE, CANARY_WEBHOOK) < CANARY_INVOCATION < 300
    assert CANARY_WAIT < AWS_ANSWER


@dataclass
class Around:
    """Queue, verdicts and evidence of a canary. Each wait passes its time; `script` is what each of them finds."""

    clock: Clock = field(default_factory=Clock)
    script: list[Sequence[Message] | AwsTrouble] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unsent: str | None = None
    known: Silence = GOOD
    asked_until: datetime | None = None

    def send(self, messages: Mapping[K, QueueMessage], deadline: datetime | None = None) -> Mapping[K, Unsent]:
        return {key: Unsent(self.unsent) for key in messages} if self.unsent else {}

    def receive(self, wait: int) -> Sequence[Message]:
        self.clock.sleep(wait if not self.script or not self.script[0] else 0.5)
        found = self.script.pop(0) if self.script else ()
        if isinstance(found, AwsTrouble):
            raise found
        return found

    def delete(self, messages: Sequence[Message]) -> None:
        self.deleted += [one.id for one in messages]

    def silence(self, deadline: datetime) -> Silence:
        self.asked_until = deadline
        return self.known

    def webhook(self) -> str | None:
        return None

    def canary(self, bound: float = 240) -> Canary:
        return Canary(replace(ASKED, bound=bound), self, self, self, self.clock, self.clock.sleep, lambda: "c-1")


def heard(id_: str, detail: str = "would_detach", sent_at: datetime = START) -> Message:
    data = {"verdict": "checked", "detail": detail, "context": {"canary": id_}}
    return Message(json.dumps({"detail": {"data": data}}), f"verdict-{id_}", "queue", sent_at)


def test_its_own_verdict_ends_the_wait() -> None:
    """Stale verdicts are deleted with it and do not count."""
    old = START - timedelta(seconds=240)
    around = Around(script=[(), (heard("other", sent_at=old),), (heard("other", sent_at=old), heard("c-1"))])
    ended = around.canary().run()
    assert (ended.failure, ended.detail, ended.seconds) == (None, "would_detach", 3.0)
    assert around.deleted == ["verdict-other", "verdict-other", "verdict-c-1"]


def test_runs_do_not_take_verdicts_from_each_other() -> None:
    """A manual run beside the scheduled one: both receive their verdicts."""
    around = Around(script=[(heard("other"), heard("c-1"))])
    assert around.canary().run().failure is None
    assert around.deleted == ["verdict-c-1"]


def test_the_wait_ends_at_its_bound() -> None:
    """The wait ends to the second, and the calls of AWS after it are limited."""
    around = Around()
    ended = around.canary(bound=7).run()
    assert ended.failure
    assert (ended.failure.stage, ended.seconds) == (Stage.BUS, 7.0)
    assert around.asked_until == START + timedelta(seconds=7 + CANARY_EVIDENCE)


def test_a_queue_that_cannot_be_read_is_read_again() -> None:
    """Passing trouble is forgotten; lasting trouble is the explanation."""
    passed = Around(script=[AwsTrouble("not now"), (heard("c-1"),)])
    assert passed.canary().run().failure is None
    lasting = Around(script=[AwsTrouble("never")] * 1000)
    failure = lasting.canary().run().failure
    assert failure
    assert "the canary's own queue cannot be read: never" in failure.why
    over = Around(script=[AwsTrouble("once")]).canary(bound=5).run().failure
    assert over
    assert "once" not in over.why


def test_a_request_that_was_not_sent_is_not_waited_for() -> None:
    around = Around(unsent="denied")
    ended = around.canary().run()
    assert ended.failure
    assert (ended.failure.stage, ended.seconds) == (Stage.SEND, 0.0)
    assert "denied" in ended.failure.why


@pytest.mark.parametrize("body", ["", "x", "[]", "1", "null", "{}", '{"detail": []}', '{"detail": {"data": 1}}',
                                  '{"detail": {"data": {"context": 1}}}'])  # fmt: skip
def test_messages_that_are_no_verdict_of_a_canary(body: str) -> None:
    assert verdict_in(Message(body, "m-1", "queue", START)) is None

"""A message that kills the process affects no other message; a duplicate delivery is handled once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from functions.sqs_batch import answer_batch
from shared.aws.sqs import SqsQueue
from shared.decision.case import Case, Decision
from shared.decision.rules import decide
from shared.model import Message
from shared.outbox.outbox import Receipts
from shared.policy import INVOCATION, MAX_RECEIVES, SUSPECT_AFTER, TIME_TO_SEND, Policy
from shared.service import Service
from tests.messages import QUEUE_ARN, START, sqs_record
from tests.scripted import Reply, Script, client_of
from tests.stack import Bench, Died


def poisoned(*volumes: str) -> Callable[[Service], Service]:
    """A service whose process dies at the decision about one of these volumes, as with too little memory."""

    def deadly(case: Case, policy: Policy, now: datetime) -> Decision:
        if case.request.volume_id in volumes:
            raise Died
        return decide(case, policy, now)

    return lambda service: replace(service, visits=replace(service.visits, decide=deadly))


@pytest.mark.parametrize("place", [0, 4, 9])
def test_one_poisonous_message_affects_no_other(place: int) -> None:
    """The other nine messages of the batch get their verdicts, and only the poisonous one becomes a dead letter."""
    bench = Bench()
    disks = [bench.disk(attached=False) for _ in range(10)]
    bench._mutate = poisoned(disks[place])
    bench.service = bench._start()
    for disk in disks:
        bench.queue.put(bench.request(disk))
    bench.run()
    outcomes = {data["volume_id"]: data["detail"] for data in bench.bus.data}
    expected = dict.fromkeys(disks, "already_detached") | {disks[place]: "dead_lettered"}
    assert outcomes == expected


def message(number: int, count: int, bench: Bench) -> Message:
    body = bench.request(bench.disk(attached=False))
    return Message(body, f"m-{number}", QUEUE_ARN, bench.clock(), receive_count=count, receipt=f"r-{number}")


def test_messages_with_many_receives_are_handled_last_and_alone() -> None:
    """Each of them is handled after the finished messages have been deleted."""
    bench = Bench()
    seen: list[tuple[list[str], int]] = []
    service = replace(
        bench.service, acknowledge=lambda done: seen.append(([one.id for one in done], len(bench.bus.events)))
    )
    counts = [1, SUSPECT_AFTER + 1, 2, SUSPECT_AFTER + 5, SUSPECT_AFTER]
    receipts = service.handle([message(number, count, bench) for number, count in enumerate(counts)])
    assert receipts.unsent == {}
    assert seen[0] == (["m-0", "m-2", "m-4"], 3)
    assert [len(done) for done, _ in seen[1:]] == [1]
    assert len(bench.bus.events) == 5


def test_the_order_differs_between_deliveries() -> None:
    """No message is always behind the same other one."""
    bench = Bench()
    first = set()
    for count in range(SUSPECT_AFTER + 1, MAX_RECEIVES + 1):
        order: list[str] = []

        def note(done: Sequence[Message], order: list[str] = order) -> None:
            order += [one.id for one in done]

        service = replace(bench.service, acknowledge=note)
        service.handle([message(number, count, bench) for number in range(3)])
        first.add(order[0])
    assert first == {"m-0", "m-1", "m-2"}


def test_a_suspect_message_waits_if_time_is_short() -> None:
    """It returns to the queue, and the other messages are handled."""
    bench = Bench()
    deadline = bench.clock() + timedelta(seconds=15)
    messages = [message(0, 1, bench), message(1, SUSPECT_AFTER + 1, bench)]
    assert list(bench.service.handle(messages, deadline).unsent) == ["m-1"]
    later = bench.clock() + timedelta(seconds=INVOCATION - TIME_TO_SEND)
    assert list(bench.service.handle(messages[1:], later).unsent) == []


def test_a_message_delivered_twice_is_handled_once() -> None:
    """SQS may deliver a message twice, even in one batch, which leads to one DELETE and one verdict."""
    bench = Bench()
    copy = replace(message(0, 1, bench), body=bench.request(bench.disk()))
    bench.service.handle([copy, copy])
    bench.run()
    assert (bench.counted("delete_attachment"), len(bench.bus.events)) == (1, 1)


def test_messages_are_deleted_by_their_receipts(script: Script) -> None:
    """Messages are deleted in as few calls as possible; a failure raises nothing, since SQS redelivers the message."""
    bench = Bench()
    SqsQueue(client_of(script), "q").delete([message(number, 9, bench) for number in range(11)])
    assert [len(asked.json["Entries"]) for asked in script.asked] == [10, 1]
    assert script.asked[0].json["Entries"][3] == {"Id": "3", "ReceiptHandle": "r-3"}
    script.then(Reply(500))
    SqsQueue(client_of(script), "q").delete([message(0, 9, bench)])


# ------------------------------------------------------------------------------------------- malformed records


def without(*path: str) -> dict[str, object]:
    """A record without one of its fields."""
    record = sqs_record("{}", "odd")
    inner = record if len(path) == 1 else record[path[0]]
    del inner[path[-1]]
    return record


def with_time(name: str, value: object) -> dict[str, object]:
    record = sqs_record("{}", "odd")
    record["attributes"][name] = value
    return record


ODD = {
    "no body": without("body"),
    "no attributes": without("attributes"),
    "attributes of another shape": sqs_record("{}", "odd") | {"attributes": []},
    "no time": without("attributes", "SentTimestamp"),
    "no first receive": without("attributes", "ApproximateFirstReceiveTimestamp"),
    "a time that is not a number": with_time("SentTimestamp", "now"),
    "a time that is null": with_time("SentTimestamp", None),
    "a time out of range": with_time("SentTimestamp", "9" * 30),
    "a count that is not a number": with_time("ApproximateReceiveCount", "often"),
    "a null body": sqs_record("{}", "odd") | {"body": None},
}


@pytest.mark.parametrize("name", ODD)
def test_only_the_unreadable_record_returns(name: str) -> None:
    """An unreadable record returns, and the others of its batch are handled."""
    handled: list[str] = []

    def handle(messages: object) -> Receipts:
        handled.extend(one.id for one in messages)  # type: ignore[attr-defined]
        return Receipts()

    answer = answer_batch({"Records": [sqs_record("{}", "a"), ODD[name], sqs_record("{}", "b")]}, handle)
    assert (answer, handled) == ({"batchItemFailures": [{"itemIdentifier": "odd"}]}, ["a", "b"])


def test_a_record_without_an_id_fails_the_batch() -> None:
    """Without its id a single record cannot be returned, so the whole batch fails."""
    with pytest.raises(KeyError):
        answer_batch({"Records": [without("messageId")]}, lambda _: Receipts())


def test_the_receipt_is_not_shown() -> None:
    """The repr of a message has no receipt, with which somebody else could delete the message."""
    assert "r-1" not in repr(Message("", "m", "s", START, receipt="r-1"))

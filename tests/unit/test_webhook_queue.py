"""Batches, and a queue that does not accept everything: the answers to the sender."""

import pytest

from shared.group import Group
from shared.inbox.read import read
from shared.model import Message, summary_id
from shared.ports import Unsent
from tests.http_requests import (
    DATA,
    NOW,
    TOKEN,
    FakeKeyRing,
    FakeQueue,
    batched,
    body_of,
    cloudevent,
    endpoint,
    fields,
    problem_of,
    requests_read,
    signed,
    with_token,
)
from tests.messages import MESSAGE_KEYS, OTHER_VOLUME, SERVER, VOLUME

BROKEN = Unsent("InternalError")
THROTTLED = Unsent("RequestThrottled", throttled=True)


@pytest.mark.parametrize(
    ("error", "status"),
    [(Unsent("RequestThrottled", throttled=True), 429), (Unsent("QueueDoesNotExist"), 503), (BROKEN, 503)],
)
def test_a_queue_that_does_not_take_it(error: Unsent, status: int) -> None:
    """The sender is asked to retry, and when."""
    answer = endpoint(FakeQueue({0: error})).answer(signed(DATA))
    problem = problem_of(answer, status)
    assert int(answer.headers["Retry-After"]) > 0
    assert [request["volume_id"] for request in problem["missing"]] == [VOLUME]
    assert "enqueued" not in problem
    assert error.why not in answer.body
    assert answer.note == error.why


def test_a_part_in_the_queue_is_said() -> None:
    """An event of which some volumes cannot be enqueued is no success, and the answer lists those that are."""
    queue = FakeQueue({1: BROKEN, 2: Unsent("Throttled", throttled=True)})
    volumes = [VOLUME, OTHER_VOLUME, SERVER]
    problem = problem_of(endpoint(queue).answer(signed({"server_id": SERVER, "volume_ids": volumes})), 503)
    assert [request["volume_id"] for request in problem["enqueued"]] == volumes[:1]
    assert [request["volume_id"] for request in problem["missing"]] == volumes[1:]
    assert len(queue.taken) == 1


@pytest.mark.parametrize("every", [True, False])
def test_a_request_with_a_summary_is_one_message(every: bool) -> None:
    """It is enqueued as a whole; the answer has the summary's id, and the verdicts' if the volumes are known."""
    queue, volumes = FakeQueue(), [VOLUME, OTHER_VOLUME]
    wish = {"all_data_disks": True} if every else {"volume_ids": volumes, "summary": True}
    told = body_of(endpoint(queue).answer(signed({"server_id": SERVER, "context": {"ticket": 1}, **wish})))
    assert [request["volume_id"] for request in told["requests"]] == ([] if every else volumes)
    (message,) = queue.taken
    found = read(Message(message.body, "m", "queue", NOW), "bms", NOW, MESSAGE_KEYS)
    assert isinstance(found, Group)
    assert [member.volume_id for member in found.volumes] == ([""] if every else volumes)
    assert found.request.context == {"ticket": 1}
    assert told["summary"]["summary_id"] == summary_id(found.request.source, found.request.id)


def test_a_request_with_a_summary_that_the_queue_does_not_take() -> None:
    """All of its volumes are missing, and no summary is promised."""
    asked = {"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME], "summary": True}
    problem = problem_of(endpoint(FakeQueue({0: BROKEN})).answer(signed(asked)), 503)
    assert [request["volume_id"] for request in problem["missing"]] == [VOLUME, OTHER_VOLUME]
    assert "summary" not in problem


def test_503_without_keys() -> None:
    """Without its keys the endpoint accepts nothing, and answers with a server error."""
    answer = endpoint(key_ring=FakeKeyRing(trouble=True)).answer(signed(DATA))
    assert "GetSecretValue" not in problem_of(answer, 503)["detail"]
    assert "Retry-After" in answer.headers
    assert "GetSecretValue" in answer.note


@pytest.mark.parametrize("errors", [{}, {0: BROKEN}])
def test_the_log_shows_neither_body_nor_headers(errors: dict[int, Unsent]) -> None:
    """The log has what was enqueued, or why it was not."""
    answer = endpoint(FakeQueue(errors)).answer(with_token({**DATA, "context": {"password": "hunter2"}}))
    assert set(answer.log_fields) == ({"why", "note"} if errors else {"requests"})
    assert not [secret for secret in (TOKEN, "hunter2") if secret in str(answer.log_fields)]


def test_a_batch_is_answered_per_event() -> None:
    """Valid events are in the queue, invalid ones are listed in order."""
    queue = FakeQueue()
    both = {"server_id": SERVER, "volume_ids": [VOLUME, OTHER_VOLUME]}
    events = [cloudevent(id="1"), cloudevent(id="2", data={}), cloudevent(both, id="3")]
    answer = endpoint(queue).answer(batched(events))
    assert answer.status == 202
    results = body_of(answer)["events"]
    assert [result["status"] for result in results] == [202, 422, 202]
    assert [[request["id"] for request in result.get("requests", [])] for result in results] == [["1"], [], ["3", "3"]]
    assert fields(results[1]) == {"server_id", "volume_id"}
    assert [request.id for request in requests_read(queue)] == ["1", "3", "3"]


def test_a_batch_without_one_good_event_is_422() -> None:
    """Nothing is in the queue, so it is no success."""
    results = problem_of(endpoint().answer(batched([cloudevent(id=None), DATA, 5])), 422)["events"]
    assert [result["status"] for result in results] == [422, 422, 422]


@pytest.mark.parametrize(
    ("errors", "status", "each"),
    [
        ({1: THROTTLED}, 429, [202, 422, 429, 202]),
        ({1: BROKEN}, 503, [202, 422, 503, 202]),
        ({0: THROTTLED, 2: BROKEN}, 503, [429, 422, 202, 503]),
    ],
)
def test_a_batch_of_which_the_queue_lost_an_event_is_no_success(
    errors: dict[int, Unsent], status: int, each: list[int]
) -> None:
    """Senders do not inspect a 202: if a valid event is not in the queue, they have to send the batch again."""
    events = [cloudevent(id="1"), cloudevent(id=None), cloudevent(id="2"), cloudevent(id="3")]
    answer = endpoint(FakeQueue(errors)).answer(batched(events))
    assert [result["status"] for result in problem_of(answer, status)["events"]] == each
    assert "Retry-After" in answer.headers

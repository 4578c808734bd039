"""The AWS adapters against botocore's own models and signer."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from local.aws_stand_in import CREDENTIALS
from shared.aws.client import SQS, AwsClient
from shared.aws.deployment import Deployment
from shared.aws.errors import AwsError
from shared.aws.event_bus import EventBus
from shared.aws.secrets import Secrets
from shared.aws.sqs import COUNTS, SqsQueue
from shared.aws.task_tokens import TaskTokens
from shared.canary.stages import RULE_GONE, Silence
from shared.model import Message, Outcome, Reason
from shared.ports import AwsTrouble, Event, NotTaken, QueueMessage, Unsent, utc_now
from tests.integration.botocore_judge import Answer, Judge, Received, errors_of, judging, objections
from tests.integration.test_aws_adapters import VERDICT
from tests.messages import QUEUE_ARN, START

RULE = "arn:aws:events:eu-central-1:123456789012:rule/a-bus/a-rule"
URL = "https://sqs.eu-central-1.amazonaws.com/123456789012/volume-detach-requests"


@pytest.fixture
def judge() -> Iterator[Judge]:
    with judging() as found:
        yield found


def client(judge: Judge) -> AwsClient:
    environment = {**CREDENTIALS, "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": f"http://{judge.host}"}
    return AwsClient(environment, sleep=lambda seconds: None)


def sends(judge: Judge, messages: dict[int, QueueMessage], fair: bool = False) -> object:
    taken = [{"Id": str(number), "MessageId": "m", "MD5OfMessageBody": "x"} for number in range(len(messages))]
    judge.answers["SendMessageBatch"] = {"Failed": [], "Successful": taken}
    return SqsQueue(client(judge), URL, fair).send(messages)


def sends_largest(judge: Judge) -> object:
    return sends(judge, {number: QueueMessage("é" * 20_000, 900) for number in range(10)})


def deletes(judge: Judge) -> object:
    messages = [Message("{}", f"m-{number}", QUEUE_ARN, START, receipt="r" * 1024) for number in range(10)]
    SqsQueue(client(judge), URL).delete(messages)
    return None


def emits(judge: Judge) -> object:
    judge.answers["PutEvents"] = {"Entries": [{"EventId": "1"}, {"EventId": "2"}], "FailedEntryCount": 0}
    return EventBus(client(judge), "a-bus").emit({1: VERDICT, 2: large()})


def large() -> Event:
    return replace(VERDICT, body=json.dumps(json.loads(VERDICT.body) | {"padding": "x" * 60_000}))


def reads_a_secret(judge: Judge) -> object:
    judge.answers["GetSecretValue"] = {"SecretString": '{"a": "b"}'}
    return Secrets(client(judge)).read("arn:aws:secretsmanager:eu-central-1:123456789012:secret:a-AbCdEf", 300)


def ends_a_task(outcome: Outcome, judge: Judge) -> object:
    reason = Reason.FORBIDDEN if outcome is Outcome.FAILED else None
    event = replace(large(), outcome=outcome, reason=reason, task_token="t" * 1024)
    return TaskTokens(client(judge)).deliver(event)


def receives(judge: Judge) -> object:
    found = {"MessageId": "m", "Body": "{}", "ReceiptHandle": "r", "Attributes": {"SentTimestamp": "1800000000000"}}
    judge.answers["ReceiveMessage"] = {"Messages": [found]}
    (message,) = SqsQueue(client(judge), URL).receive(2)
    assert (message.id, message.body, message.receipt) == ("m", "{}", "r")
    return None


def counts(judge: Judge) -> object:
    judge.answers["GetQueueAttributes"] = {"Attributes": {name: str(at) for at, name in enumerate(COUNTS)}}
    assert SqsQueue(client(judge), URL).counts() == (0, 1, 2)
    return None


def describes_a_rule(judge: Judge) -> object:
    """The adapter reports a refusal as RULE_GONE; here it has to be an error again."""
    judge.answers["DescribeRule"] = {"State": "ENABLED"}
    found = Deployment(client(judge), SqsQueue(client(judge), URL), rule_arn=RULE)._of_rule(
        Silence(), utc_now() + timedelta(seconds=5)
    )
    assert found.rule in ("ENABLED", RULE_GONE)
    if found.rule == RULE_GONE:
        raise AwsTrouble("ResourceNotFoundException")
    return None


CALLS: dict[str, tuple[str, Callable[[Judge], object]]] = {
    "SendMessageBatch": ("sqs", lambda judge: sends(judge, {1: QueueMessage("{}"), 2: QueueMessage("{}", 5)})),
    "SendMessageBatch, of projects": (
        "sqs",
        lambda judge: sends(judge, {1: QueueMessage("{}", 0, "0" * 32)}, fair=True),
    ),
    "SendMessageBatch, the largest": ("sqs", sends_largest),
    "DeleteMessageBatch": ("sqs", deletes),
    "ReceiveMessage": ("sqs", receives),
    "GetQueueAttributes": ("sqs", counts),
    "DescribeRule": ("events", describes_a_rule),
    "PutEvents": ("events", emits),
    "GetSecretValue": ("secretsmanager", reads_a_secret),
    "SendTaskSuccess": ("stepfunctions", lambda judge: ends_a_task(Outcome.DETACHED, judge)),
    "SendTaskFailure": ("stepfunctions", lambda judge: ends_a_task(Outcome.FAILED, judge)),
    "SendTaskHeartbeat": ("stepfunctions", lambda judge: ends_a_task(Outcome.UNCONFIRMED, judge)),
}
"""The adapters' calls by operation, with botocore's name of the service."""


@pytest.mark.parametrize("name", CALLS)
def test_every_call_conforms_to_the_model(judge: Judge, name: str) -> None:
    """Botocore accepts operation, protocol, members, sizes and signature, and the adapter understands its answer."""
    result = CALLS[name][1](judge)
    assert judge.wrong == []
    assert {received.operation[1] for received in judge.received} == {name.partition(",")[0]}
    assert result in ({}, None, {"a": "b"})


@pytest.mark.parametrize("name", [name for name in CALLS if "," not in name])
def test_every_declared_error_becomes_ours(judge: Judge, name: str) -> None:
    """An error in any notation becomes one of ours that contains the code."""
    service, call = CALLS[name]
    declared = list(errors_of(service, name))
    assert declared
    for code, answer in declared:
        judge.answer = answer
        reasons = reasons_of(call, judge)
        assert all(code in why for why in reasons), (code, reasons)
        assert reasons or name == "DeleteMessageBatch"  # a message that is not deleted is redelivered


def reasons_of(call: Callable[[Judge], object], judge: Judge) -> list[str]:
    """Why nothing was accepted, or no secret was read."""
    try:
        result = call(judge)
    except AwsTrouble as trouble:
        return [str(trouble)]
    return [result.why] if isinstance(result, NotTaken) else [one.why for one in unsent_of(result)]


def unsent_of(result: object) -> list[Unsent]:
    return [one for one in result.values() if isinstance(one, Unsent)] if isinstance(result, dict) else []


def received_by(judge: Judge) -> Received:
    """A valid request, as the judge received it."""
    sends(judge, {1: QueueMessage("{}")})
    return judge.received[0]


@pytest.mark.parametrize(
    ("change", "objection"),
    [
        ({"body": b"{}"}, "lacks QueueUrl"),
        ({"body": b'{"QueueUrl": "x", "Entries": []}'}, "differs from the signed one"),
        ({"body": b'{"QueueUrl": 5, "Entries": [{"Id": "1", "MessageBody": "x"}]}'}, "no string"),
        ({"body": b'{"QueueUrl": "x", "Entries": [{"Id": "1", "MessageBody": "x", "Delay": 1}]}'}, "no member Delay"),
        ({"headers": {"x-amz-target": "AmazonSQS.SendAll"}}, "no such operation"),
        ({"headers": {"content-type": "application/x-amz-json-1.1"}}, "content type"),
        ({"headers": {"x-amz-date": "20200101T000000Z"}}, "the signature differs"),
    ],
)
def test_the_judge_objects_to_a_wrong_request(judge: Judge, change: dict[str, Any], objection: str) -> None:
    """A request with one fault is refused because of it."""
    received = received_by(judge)
    headers = {**received.headers, **change.get("headers", {})}
    changed = replace(received, headers=headers, body=change.get("body", received.body))
    assert list(objections(received, judge.host)) == []
    found = list(objections(changed, judge.host))
    assert found
    assert any(objection in one for one in found)


def test_a_wrong_secret_key_is_refused(judge: Judge) -> None:
    """A request that is signed with another secret key is refused."""
    environment = {**CREDENTIALS, "AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": f"http://{judge.host}"}
    stranger = AwsClient(environment | {"AWS_SECRET_ACCESS_KEY": "another"}, sleep=lambda seconds: None)
    with pytest.raises(AwsError):
        stranger.call(SQS, "SendMessageBatch", {"QueueUrl": URL, "Entries": [{"Id": "1", "MessageBody": "x"}]})
    assert judge.wrong == ["the signature differs"]


def test_an_answer_that_is_not_an_object_is_no_success(judge: Judge) -> None:
    """A 200 without a JSON object does not accept a message."""
    judge.answer = Answer(200, ["x"])
    assert [one.why for one in unsent_of(sends(judge, {1: QueueMessage("{}")}))]

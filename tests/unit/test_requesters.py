"""The requester: verdicts name the proven one, and ignore claims of senders."""

import json
from dataclasses import replace
from typing import Any

import pytest

from functions.sqs_batch import message_of, sender_of
from local.message_keys import FixedKeys
from shared.inbox.read import Rejected, read
from shared.model import NOBODY_KNOWN, AuthType, Message, Outcome, Requester, Via, verdict_id
from shared.ports import AwsTrouble
from shared.settings import Settings, SettingsError, load
from shared.signatures import Keys
from shared.strict_json import signed as with_mac
from shared.webhook.receive import Rules, iam_requester
from tests.http_requests import (
    DATA,
    NOW,
    RULES,
    TOKEN,
    FakeKeyRing,
    FakeQueue,
    cloudevent,
    endpoint,
    http_request,
    problem_of,
    signed,
    structured,
    with_token,
)
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, START, VOLUME
from tests.stack import Bench
from tools.sender import LOCAL_SECRET

ROLE = "AROAIL6GAI2XEC672SWG2:i-12345678901234567"
SENDER = Requester(AuthType.SERVICE_ACCOUNT, ROLE)
CI = "arn:aws:sts::123456789012:assumed-role/ci/run-17"
BY_KEY = Requester(AuthType.API_KEY, "ci", Via.WEBHOOK_SIGNATURE)
NAMED = Keys.parse(
    {"secrets": [{"name": "ci", "secret": LOCAL_SECRET}], "bearer_tokens": [{"name": "event-grid", "secret": TOKEN}]}
)


def said_of(body: str, sender: Requester = SENDER, macs: Any = MESSAGE_KEYS) -> Requester:
    """The requester as the reader of the queue sees it."""
    found = read(Message(body, "m-1", QUEUE_ARN, NOW, sender=sender), "bms", NOW, macs)
    assert isinstance(found, list | Rejected), found
    return found.origin.requester if isinstance(found, Rejected) else found[0].request.requester


# ------------------------------------------------------------------------------------------------- SQS's word


@pytest.mark.parametrize(
    ("sender_id", "proven"),
    [
        (ROLE, SENDER),
        ("AROAIL6GAI2XEC672SWG2", Requester(AuthType.SERVICE_ACCOUNT, "AROAIL6GAI2XEC672SWG2")),
        ("AIDAIENQZJOLO23YVJ4VO", Requester(AuthType.USER, "AIDAIENQZJOLO23YVJ4VO")),
        ("123456789012", Requester(AuthType.USER, "123456789012")),
        ("123456789012:bob", Requester(AuthType.USER, "123456789012:bob")),
        ("anonymous", Requester(AuthType.UNAUTHENTICATED)),
        ("Anonymous", Requester(AuthType.UNAUTHENTICATED)),
        ("something-else", Requester(AuthType.UNKNOWN, "something-else")),
        ("aroail6gai2xec672swg2:x", Requester(AuthType.UNKNOWN, "aroail6gai2xec672swg2:x")),
        (None, NOBODY_KNOWN),
        ("", NOBODY_KNOWN),
        ("a b", NOBODY_KNOWN),
        ("a\nb", NOBODY_KNOWN),
        ("A" * 300, NOBODY_KNOWN),
        (5, NOBODY_KNOWN),
    ],
)
def test_senders_according_to_sqs(sender_id: object, proven: Requester) -> None:
    """Users, roles and accounts are distinguished; an invalid identifier is not passed on."""
    assert sender_of(sender_id) == proven
    times = dict.fromkeys(("SentTimestamp", "ApproximateFirstReceiveTimestamp"), "1795420800000")
    attributes = times if sender_id is None else {**times, "SenderId": sender_id}
    assert message_of({"body": "", "messageId": "1", "attributes": attributes}).sender == proven


SNS = {"Type": "Notification", "TopicArn": "arn:aws:sns:eu-central-1:1:t", "Message": json.dumps(DATA)}


@pytest.mark.parametrize("value", [
    DATA, cloudevent(), SNS, {"detail-type": "x", "detail": DATA}, {}, {**DATA, "requester": {"type": "user"}},
    "no object", {**DATA, "dry_rum": True}, {"continuation": 1, "progress": {}},
    cloudevent(authtype="user", authid="root", authclaims="{}", authvia="webhook_iam"),
    cloudevent(authtype="user", authid="root", authvia="webhook_iam", mac="0" * 64),
    cloudevent(authtype="user", authid="root", authvia="webhook_iam", mac=5),
    cloudevent(authtype="user", authid="root", authvia="webhook_iam", mac="ä"),
    cloudevent(authtype=7, mac=None),
    {**DATA, "mac": "0" * 64},
    {"detail-type": "x", "detail": cloudevent(authtype="user", authid="root", authvia="webhook_iam", mac="0")},
])  # fmt: skip
def test_claims_of_a_sender_about_itself_are_dropped(value: Any) -> None:
    """In any envelope, valid or not: the requester is the sender according to SQS."""
    assert said_of(json.dumps(value)) == SENDER
    assert said_of(json.dumps(value), NOBODY_KNOWN) == NOBODY_KNOWN


def test_a_requester_in_the_data_is_refused() -> None:
    """It is not a field of a request."""
    body = json.dumps({**DATA, "requester": {"type": "user", "id": "root"}})
    found = read(Message(body, "m-1", QUEUE_ARN, NOW), "bms", NOW, MESSAGE_KEYS)
    assert isinstance(found, Rejected)
    assert [fault.field for fault in found.faults] == ["requester"]


class NoKeys:
    """Keys that cannot be read."""

    def mac(self, text: str) -> str:
        raise AwsTrouble("GetSecretValue: no answer")

    def is_mac(self, text: str, mac: str) -> bool:
        raise AwsTrouble("GetSecretValue: no answer")

    def since(self) -> Any:
        raise AwsTrouble("GetSecretValue: no answer")


def test_no_key_is_read_for_a_request_without_a_mac() -> None:
    """The key, which needs a call to AWS, is read only for messages with a MAC."""
    assert said_of(json.dumps(cloudevent(authtype="user")), macs=NoKeys()) == SENDER
    with pytest.raises(AwsTrouble):
        said_of(json.dumps(cloudevent(mac="0")), macs=NoKeys())


# ------------------------------------------------------------------------------------------------ the webhook


WAYS = {
    "signature": (signed(DATA), BY_KEY),
    "bearer": (with_token(DATA), Requester(AuthType.API_KEY, "event-grid", Via.WEBHOOK_BEARER)),
    "iam": (
        http_request("POST", {"content-type": "application/json"}, json.dumps(DATA).encode(), CI),
        Requester(AuthType.SERVICE_ACCOUNT, CI, Via.WEBHOOK_IAM),
    ),
    "claimed": (structured(cloudevent(authtype="user", authid="root", authvia="webhook_iam", mac="0")), BY_KEY),
    "claimed in headers": (
        signed(DATA, headers={"ce-id": "1", "ce-source": "/s", "ce-specversion": "1.0", "ce-authtype": "user",
                              "ce-type": "bms.volume.detach_requested.v1", "ce-authid": "root", "ce-mac": "0"}),
        BY_KEY,
    ),
}  # fmt: skip


def queued(request: Any) -> str:
    """The message that a request to the webhook becomes."""
    queue = FakeQueue()
    answer = endpoint(queue, FakeKeyRing(NAMED), replace(RULES, iam_auth=True)).answer(request)
    assert answer.status == 202, answer
    (message,) = queue.taken
    return message.body


@pytest.mark.parametrize("way", WAYS)
def test_the_webhooks_authenticated_sender_reaches_the_worker(way: str) -> None:
    """The MAC counts, not the role of the webhook function that sent the message."""
    request, proven = WAYS[way]
    assert said_of(queued(request)) == proven


@pytest.mark.parametrize("change", [
    {"authid": "somebody-else"}, {"authtype": "user"}, {"id": "another"}, {"time": "2026-11-22T08:00:00+00:00"},
    {"data": {**DATA, "allow_system_disk": True}}, {"authvia": None}, {"extra": 1},
])  # fmt: skip
def test_a_changed_member_makes_the_mac_invalid(change: dict[str, Any]) -> None:
    """A MAC cannot be used for another request."""
    event = json.loads(queued(signed(DATA)))
    assert said_of(json.dumps({**event, **change})) == SENDER


def test_a_mac_counts_at_the_top_only() -> None:
    """The webhook wraps nothing: a request in another envelope was sent by the sender of the envelope."""
    event = json.loads(queued(signed(DATA)))
    assert said_of(json.dumps({"detail-type": "x", "detail": event})) == SENDER


def test_the_previous_key_still_proves_the_requester() -> None:
    """The key is rotated while messages are in flight."""
    body, old = queued(signed(DATA)), MESSAGE_KEYS.keys[0]
    assert said_of(body, macs=FixedKeys((b"new" * 20, old))) == BY_KEY
    assert said_of(body, macs=FixedKeys((b"new" * 20,))) == SENDER


def test_a_kind_of_a_later_release_is_unknown() -> None:
    """A signed message is read as far as this release knows its fields."""
    event = {**cloudevent(), "authtype": "system", "authid": "x", "authvia": "webhook_iam"}
    assert said_of(with_mac(event, MESSAGE_KEYS.mac)) == Requester(AuthType.UNKNOWN, "x", Via.WEBHOOK_IAM)
    assert said_of(with_mac({**event, "authvia": "carrier_pigeon"}, MESSAGE_KEYS.mac)) == SENDER


def test_without_a_key_the_webhook_accepts_nothing() -> None:
    """503, so that the sender retries; AWS's answer is not shown."""
    queue = FakeQueue()
    answer = replace(endpoint(queue), macs=NoKeys()).answer(signed(DATA))
    problem = problem_of(answer, 503)
    assert queue.taken == []
    assert "GetSecretValue" not in json.dumps(problem)
    assert "GetSecretValue" in answer.note


OWN_NAMES = ("continuation", "progress", "request", "pending_delivery", "event", "to", "since", "attempt")


@pytest.mark.parametrize("name", OWN_NAMES)
def test_nothing_a_caller_writes_makes_a_signed_message_of_another_kind(name: str) -> None:
    """One key signs all kinds of messages, but no top-level name of a signed request comes from its sender."""
    kinds = {"continuation": 1, "progress": {}, "pending_delivery": 1, "event": {}}
    inside = {**DATA, "context": {**kinds, name: 1}}
    for request in (
        structured(cloudevent(inside, **{**kinds, name: 1})),
        signed(inside),
        WAYS["claimed in headers"][0],
    ):
        assert name not in json.loads(queued(request))


# ------------------------------------------------------------------------------------------------ names of keys


def test_a_key_without_a_name_is_named_by_its_fingerprint() -> None:
    """The same key always has the same name, another key another one, and no name reveals the key."""
    other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
    first, again = Keys.parse([LOCAL_SECRET, other]), Keys.parse({"secrets": [other, {"secret": LOCAL_SECRET}]})
    assert first.secrets[0].id == again.secrets[1].id
    assert first.secrets[0].id != first.secrets[1].id
    assert first.secrets[0].id.startswith("sha256:")
    assert len(first.secrets[0].id) == len("sha256:") + 12


@pytest.mark.parametrize("name", ["", "a:b", "sha256:0123456789ab", "a b", "é", "a\n", "-", "x" * 65, 5])
def test_invalid_names(name: object) -> None:
    """A name must not look like a fingerprint, and has to fit into the header of an event."""
    with pytest.raises(ValueError, match="secrets"):
        Keys.parse([{"name": name, "secret": LOCAL_SECRET}])


@pytest.mark.parametrize(
    ("arn", "kind"),
    [
        (CI, AuthType.SERVICE_ACCOUNT),
        ("arn:aws:iam::123456789012:user/ops/bob", AuthType.USER),
        ("arn:aws:iam::123456789012:root", AuthType.USER),
        ("arn:aws-cn:iam::123456789012:user/bob", AuthType.USER),
        ("arn:aws:sts::123456789012:federated-user/bob", AuthType.USER),
        ("arn:aws:sts::123456789012:other/bob", AuthType.UNKNOWN),
    ],
)
def test_arns(arn: str, kind: AuthType) -> None:
    """Roles are service accounts, all others are users."""
    assert iam_requester(arn) == Requester(kind, arn, Via.WEBHOOK_IAM)


@pytest.mark.parametrize("arn", ["", "bob", "arn:aws:iam::1:user/bob", CI + "\r\nx: y", CI + "x" * 500])
def test_an_invalid_arn_is_not_passed_on(arn: str) -> None:
    """The sender is still authenticated by AWS."""
    assert iam_requester(arn) == Requester(AuthType.UNKNOWN, None, Via.WEBHOOK_IAM)


# ---------------------------------------------------------------------------------------------- who is allowed


@pytest.mark.parametrize(
    ("patterns", "allowed"),
    [
        ("", True),
        ("service_account:AROAIL6GAI2XEC672SWG2:*", True),
        ("service_account:AROAIL6GAI2XEC672SWG2:i-12345678901234567", True),
        ("api_key:ci, service_account:*", True),
        ("*:*", True),
        ("service_account:aroail6gai2xec672swg2:*", False),
        ("service_account:AROAIL6GAI2XEC672SWG2", False),
        ("user:*", False),
        ("api_key:AROAIL6GAI2XEC672SWG2:*", False),
        ("user:x,api_key:ci", False),
    ],
)
def test_patterns(patterns: str, allowed: bool) -> None:
    """Each pattern has to match type and id completely; case matters, as it does in ids."""
    settings = load(Settings, {"REQUEST_QUEUE_URL": "q", "ALLOWED_REQUESTERS": patterns})
    assert SENDER.is_allowed(settings.policy.allowed_requesters) is allowed


@pytest.mark.parametrize("patterns", ["AROAIL6GAI2XEC672SWG2:*", "ci", "*", "users:*", "user:a,bob", "API_KEY:ci"])
def test_an_unmatchable_pattern_is_reported(patterns: str) -> None:
    """A deployment that would refuse everybody by mistake fails at its start."""
    with pytest.raises(SettingsError, match="ALLOWED_REQUESTERS"):
        load(Settings, {"REQUEST_QUEUE_URL": "q", "ALLOWED_REQUESTERS": patterns})


def bench(*patterns: str) -> Bench:
    made = Bench()
    policy = replace(made.service.visits.policy, allowed_requesters=patterns)
    made.service = replace(made.service, visits=replace(made.service.visits, policy=policy))
    return made


@pytest.mark.parametrize("dry_run", [False, True])
def test_others_are_refused_before_any_call(dry_run: bool) -> None:
    """One verdict for each volume with its own reason, without a call to the cloud."""
    made = bench("api_key:ci")
    request = {**DATA, "dry_run": dry_run}
    made.service.handle([Message(json.dumps(request), "m-1", QUEUE_ARN, START, sender=SENDER)])
    (data,) = made.bus.data
    assert data["verdict"] == ("checked" if dry_run else "failed")
    assert data["reason"]["code"] == "requester_not_allowed"
    assert data["requester"] == {"type": "service_account", "id": ROLE, "via": "queue"}
    assert data["evidence"]["calls"] == []
    assert data["volume_id"] == VOLUME


def test_a_refusal_does_not_end_the_request_that_it_names() -> None:
    """A refused requester cannot cause the verdict of somebody else's request by naming its id and source."""
    made = bench("api_key:ci")
    event = {
        "specversion": "1.0",
        "id": "4711",
        "source": "/changes",
        "type": "bms.volume.detach_requested.v1",
        "data": DATA,
    }
    made.service.handle([Message(json.dumps(event), "m-1", QUEUE_ARN, START, sender=SENDER)])
    (refusal,) = made.bus.events
    assert refusal["data"]["request"] == {"id": "m-1", "source": QUEUE_ARN}
    assert refusal["id"] == verdict_id(QUEUE_ARN, "m-1", VOLUME, Outcome.FAILED)
    assert refusal["correlationid"] == "4711"


def test_allowed_requests_are_carried_out() -> None:
    """A continuation, which we sent ourselves, was allowed when the request arrived."""
    made = bench("service_account:AROAIL6GAI2XEC672SWG2:*")
    volume = made.disk()
    made.service.handle([Message(made.request(volume), "m-1", QUEUE_ARN, made.clock.now, sender=SENDER)])
    made.run()
    verdict = made.bus.final(volume)
    assert (verdict["verdict"], verdict["requester"]["id"]) == ("detached", ROLE)
    assert made.bus.events[-1]["authtype"] == "service_account"
    assert made.bus.events[-1]["authid"] == ROLE


@pytest.mark.parametrize("sent", [signed(DATA), with_token(DATA)])
def test_403(sent: Any) -> None:
    """An authenticated sender that is not allowed is refused at once."""
    queue = FakeQueue()
    rules = Rules(source="/webhook", allowed_requesters=("api_key:somebody",))
    problem = problem_of(endpoint(queue, FakeKeyRing(NAMED), rules).answer(sent), 403)
    assert "requester" in problem["detail"]
    assert queue.taken == []
    allowed = replace(rules, allowed_requesters=("api_key:*",))
    assert endpoint(queue, FakeKeyRing(NAMED), allowed).answer(sent).status == 202


# ------------------------------------------------------------------------------------------------ the verdict


def test_each_verdict_names_the_requester() -> None:
    """For requests, for messages that are none, and for forged ones; also as attributes of the event."""
    made = Bench()
    bodies = [json.dumps(DATA), "{}", json.dumps({"continuation": 1, "progress": {}})]
    made.service.handle([Message(body, f"m-{at}", QUEUE_ARN, START, sender=SENDER) for at, body in enumerate(bodies)])
    made.run()
    assert [data["requester"] for data in made.bus.data] == [
        {"type": "service_account", "id": ROLE, "via": "queue"}
    ] * 3


def test_an_unknown_requester_is_named_unknown() -> None:
    """Without a sender from SQS the verdict says `unknown`, without an id."""
    made = Bench()
    made.service.handle([Message("{}", "m-1", QUEUE_ARN, START)])
    (data,) = made.bus.data
    assert data["requester"] == {"type": "unknown", "via": "queue"}
    assert made.bus.events[0]["authtype"] == "unknown"
    assert "authid" not in made.bus.events[0]

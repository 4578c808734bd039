"""Verdicts are CloudEvents that a consumer can validate, filter, correlate and deduplicate."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.decision.case import Case, Conclude, detached, failed
from shared.decision.progress import Progress, State
from shared.inbox.read import Rejected
from shared.model import (
    Attachment,
    AuthType,
    Call,
    DetachRequest,
    Detail,
    Fault,
    Listed,
    Message,
    Origin,
    Outcome,
    Reason,
    Requester,
    Seen,
    Via,
    Volume,
    verdict_id,
)
from shared.outbox.events import EventFactory, cut
from shared.outbox.reasons import catalogue
from shared.ports import Event
from shared.redact import REDACTED
from tests.messages import SERVER, START, TRACE, VOLUME, cloudevent_faults, is_uuid, nulls_in

ATTACHMENT = "00000000-0000-4000-8000-000000000001"
REQUEST = DetachRequest(id="4711", source="/changes", requested_at=START, server_id=SERVER, volume_id=VOLUME)
FULL = replace(REQUEST, correlation_id="CHG-1", traceparent=TRACE, tracestate="a=b", context={"ticket": "CHG-1"})
PROGRESS = Progress(first_seen_at=START)
SEEN = Seen(Volume(VOLUME, "in-use", ((SERVER, Attachment()),)), (Listed(VOLUME),))
NOW = START + timedelta(seconds=2, microseconds=345678)
FAULTS = (Fault("server_id", "must be a UUID"), Fault("", "is odd"))
BAD = Rejected(Origin("4715", "/changes", START), FAULTS, "{}")

MADE = {Outcome.DETACHED: detached(Detail.DETACHED_NOW), Outcome.FAILED: failed(Reason.REFUSED_BY_SERVER,
    "as before"), Outcome.CHECKED: Conclude(Outcome.CHECKED, Detail.WOULD_DETACH,
    explanation="all checks passed")}  # fmt: skip
FACTORY = EventFactory()


def case_of(request: DetachRequest = REQUEST, progress: Progress = PROGRESS) -> Case:
    """A case after a look that shows the volume as it was."""
    case = Case(request, Message("", "m-1", "queue", START), progress, seen=SEEN, volume=SEEN.volume, listed=True)
    return replace(case, progress=replace(progress, before=case.state))


def made(kind: str, request: DetachRequest = REQUEST, progress: Progress = PROGRESS) -> Event:
    case = case_of(request, progress)
    if kind == "unconfirmed":
        return FACTORY.unconfirmed(case, "the volume is detaching", NOW)
    return FACTORY.verdict(case, MADE[Outcome(kind)], NOW)


def parsed(event: Event) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(event.body)
    return value


KINDS = ["detached", "failed", "checked", "unconfirmed"]
TYPES = {"detached": "bms.volume.detached.v1", "failed": "bms.volume.detach_failed.v1",
    "checked": "bms.volume.detach_checked.v1", "unconfirmed": "bms.volume.detach_unconfirmed.v1"}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("request_", [REQUEST, FULL], ids=["plain", "full"])
def test_every_verdict_is_a_cloudevent(kind: str, request_: DetachRequest) -> None:
    """Each kind of verdict has all required attributes, of the right types, and nothing is null."""
    event = parsed(made(kind, request_))
    assert cloudevent_faults(event) == []
    assert nulls_in(event) == []
    assert (event["type"], event["data"]["verdict"]) == (TYPES[kind], kind)


def test_a_rejection_is_a_cloudevent() -> None:
    """The answer to an invalid request is a failed verdict like any other."""
    event = parsed(FACTORY.rejected(BAD, NOW))
    assert cloudevent_faults(event) == []
    assert nulls_in(event) == []
    assert (event["type"], event["data"]["detail"]) == ("bms.volume.detach_failed.v1", "invalid_request")
    assert "subject" not in event


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_the_same_on_redelivery(kind: str) -> None:
    """The same request has the same verdict and id, at any time and progress."""
    later = replace(PROGRESS, polls=7, first_seen_at=NOW)
    assert made(kind).id == made(kind, FULL, later).id
    assert is_uuid(made(kind).id)


def test_one_id_for_both_final_verdicts() -> None:
    """Detached and failed share an id, so that a consumer that dedupes never acts on two; the others do not."""
    ids = {kind: made(kind).id for kind in KINDS}
    assert ids["detached"] == ids["failed"]
    assert len({ids["detached"], ids["unconfirmed"], ids["checked"]}) == 3


@pytest.mark.parametrize("field", ["id", "source", "volume_id"])
def test_another_request_has_another_id(field: str) -> None:
    """Request id, source and volume each make a different event."""
    changed: dict[str, Any] = {field: ATTACHMENT}
    other = replace(REQUEST, **changed)
    assert made("detached", other).id != made("detached").id


def test_rejection_and_verdict_of_one_request_share_an_id() -> None:
    """A request that is refused has the same final id that its verdict would have had."""
    bad = Rejected(Origin("4711", "/changes", START), FAULTS, "{}", SERVER, VOLUME)
    assert FACTORY.rejected(bad, NOW).id == made("detached").id


def test_attributes_name_the_deployment() -> None:
    """Source and type prefix are the operator's; the envelope's copies agree with the body."""
    factory = EventFactory("https://detach.example.com/eu", "com.example")
    event = factory.verdict(case_of(), MADE[Outcome.DETACHED], NOW)
    body = parsed(event)
    assert (event.source, event.type) == ("https://detach.example.com/eu", "com.example.volume.detached.v1")
    assert [event.id, event.source, event.type, event.subject] == [
        body[name] for name in ("id", "source", "type", "subject")
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_subject_names_what_it_is_about(kind: str) -> None:
    """A consumer can filter by server and volume without opening the data."""
    assert parsed(made(kind))["subject"] == f"servers/{SERVER}/volumes/{VOLUME}"
    assert parsed(made(kind))["datacontenttype"] == "application/json"


@pytest.mark.parametrize("kind", KINDS)
def test_correlation_and_trace_are_the_requests(kind: str) -> None:
    """The request's correlation and trace are passed on; without them the request's id correlates."""
    plain, full = parsed(made(kind)), parsed(made(kind, FULL))
    assert (full["correlationid"], full["traceparent"], full["tracestate"]) == ("CHG-1", TRACE, "a=b")
    assert plain["correlationid"] == "4711"
    assert {"traceparent", "tracestate"} & plain.keys() == set()


@pytest.mark.parametrize("kind", ["detached", "failed"])
def test_cause_of_a_late_verdict_is_the_unconfirmed_one(kind: str) -> None:
    """The final verdict after an unconfirmed one is caused by that one, any other by the request."""
    unconfirmed = made("unconfirmed")
    late = made(kind, progress=replace(PROGRESS, unconfirmed_id=unconfirmed.id))
    assert parsed(late)["causationid"] == unconfirmed.id
    again = made("unconfirmed", progress=replace(PROGRESS, unconfirmed_id=unconfirmed.id))
    assert [parsed(one)["causationid"] for one in (made(kind), unconfirmed, again)] == ["4711"] * 3


@pytest.mark.parametrize("context", [None, {}, {"ticket": "CHG-1"}, {"a": None, "b": [None, {"c": "\x00ä😀"}]}])
def test_context_is_echoed_as_it_is(context: Any) -> None:
    """The context is echoed value for value, including nulls; no context stays none."""
    data = parsed(made("detached", replace(REQUEST, context=context)))["data"]
    assert data.get("context") == context


def test_evidence_and_timing_tell_how_it_went() -> None:
    """The verdict shows both planes, the DELETEs, the important calls, and the times."""
    call = Call(operation="delete_attachment", at=START, status=202, openstack_request_id="req-1")
    progress = Progress(
        first_seen_at=START, deletes_sent=1, polls=3, calls=(call,), last_error="http_502: bad",
        accepted_at=START + timedelta(seconds=1), followed=Attachment(attachment_id=ATTACHMENT),
    )  # fmt: skip
    data = parsed(made("detached", progress=progress))["data"]
    evidence = data["evidence"]
    assert (evidence["deletes_sent"], evidence["polls"], evidence["last_error"]) == (1, 3, "http_502: bad")
    assert evidence["before"] == evidence["after"]
    assert evidence["calls"][0]["openstack_request_id"] == "req-1"
    assert data["attachment_id"] == ATTACHMENT
    assert data["timing"]["seconds"] == 2.346
    assert data["timing"]["accepted_at"] == "2026-11-23T08:00:01Z"
    assert data["request"] == {"id": "4711", "source": "/changes"}


def test_a_clock_that_goes_back_makes_no_negative_time() -> None:
    """Clocks of two machines may differ, but seconds are never negative."""
    progress = Progress(first_seen_at=NOW + timedelta(seconds=5))
    assert parsed(made("detached", progress=progress))["data"]["timing"]["seconds"] == 0.0


@pytest.mark.parametrize("reason", Reason)
def test_reasons_come_from_the_catalogue(reason: Reason) -> None:
    """A failed verdict says what happened, what was found, what to do, and whether a retry may help."""
    event = FACTORY.verdict(case_of(), failed(reason, "found"), NOW)
    text = catalogue()[reason]
    expected = {"code": reason.value, "message": f"{text.message.removesuffix('.')}: found", "remedy": text.remedy,
                "retryable": text.retryable}  # fmt: skip
    assert expected == parsed(event)["data"]["reason"]


def test_a_rejection_carries_all_faults() -> None:
    """The sender sees each fault by field, the original message, and what was known of it."""
    origin = Origin("4715", "/changes", START, None, "CHG-1", TRACE, "a=b")
    bad = Rejected(origin, FAULTS, '{"a": 1}', SERVER, context={"x": None})
    event = parsed(FACTORY.rejected(bad, NOW))
    data = event["data"]
    assert data["faults"] == [{"field": "server_id", "message": "must be a UUID"}, {"field": "", "message": "is odd"}]
    assert ": server_id must be a UUID; message is odd" in data["reason"]["message"]
    assert (data["original"], data["context"], data["server_id"]) == ('{"a": 1}', {"x": None}, SERVER)
    assert (event["correlationid"], event["causationid"], event["traceparent"]) == ("CHG-1", "4715", TRACE)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "abc"),
        ("äöü", 3, "ä"),
        ("a😀", 4, "a"),
        ("a😀", 5, "a😀"),
        ("", 3, ""),
        ("\ud800x", 2, "?x"),
    ],
)
def test_cut_keeps_characters_whole(text: str, limit: int, expected: str) -> None:
    """At most so many bytes, never half a character, and never an exception."""
    assert cut(text, limit) == expected


@pytest.mark.parametrize("character", ["x", "ä", "€", "😀"])
def test_original_is_cut_at_8_kb(character: str) -> None:
    """A long message is shown by its first 8 KB, in whole characters."""
    bad = Rejected(Origin("1", "/s", START), FAULTS, "." + character * 9000)
    original = parsed(FACTORY.rejected(bad, NOW))["data"]["original"]
    assert 8192 - 4 < len(original.encode()) <= 8192
    assert set(original[1:]) == {character}


# ------------------------------------------------------------------------------------------------- the whole event

BY = Requester(AuthType.API_KEY, "ci", Via.WEBHOOK_BEARER)
ASKED = replace(FULL, requester=BY, project_id="p", task_token="hunter-2/+", context={"a": ["hunter-2/+", None]})
STATE = {"volume_status": "in-use", "listed_by_server": True, "attached_to": [SERVER]}
WENT = replace(
    PROGRESS, followed=Attachment(attachment_id=ATTACHMENT), deletes_sent=1, polls=3, last_error="http_502: bad",
    accepted_at=START + timedelta(seconds=1), calls=(Call(operation="get_volume", at=START, status=503),),
)  # fmt: skip


def attributes(kind: str, **changes: object) -> dict[str, object]:
    """The attributes of an event that answers FULL."""
    name = {"failed": "detach_failed", "unconfirmed": "detach_unconfirmed", "checked": "detach_checked"}[kind]
    event: dict[str, object] = {
        "id": verdict_id("/changes", "4711", VOLUME, Outcome(kind)), "source": "/bms-volume-detach",
        "type": f"bms.volume.{name}.v1", "specversion": "1.0", "time": "2026-11-23T08:00:02.345678Z",
        "subject": f"servers/{SERVER}/volumes/{VOLUME}", "datacontenttype": "application/json",
        "dataschema": f"urn:bms-volume-detach:schema:volume.{name}:v1", "correlationid": "CHG-1",
        "causationid": "4711", "authtype": "api_key", "authid": "ci", "traceparent": TRACE, "tracestate": "a=b",
        **changes,
    }  # fmt: skip
    return {name: value for name, value in event.items() if value is not ...}


def refused(reason: Reason, explanation: str = "") -> dict[str, object]:
    text = catalogue()[reason]
    message = f"{text.message[:-1]}: {explanation}" if explanation else text.message
    said = {"message": message, "remedy": text.remedy, "retryable": text.retryable}
    return {"code": reason.value, **said}


def test_the_whole_of_a_failed_verdict() -> None:
    """Each attribute and each field of the data."""
    told = FACTORY.verdict(case_of(ASKED, WENT), failed(Reason.REFUSED_BY_SERVER, "as before"), NOW, "see hunter-2/+")
    data = parsed(told)["data"]
    (call,), states = data["evidence"].pop("calls"), [data["evidence"].pop(name) for name in ("before", "after")]
    assert (call["operation"], call["at"], call["status"]) == ("get_volume", "2026-11-23T08:00:00Z", 503)
    assert all(state.items() >= STATE.items() for state in states)
    assert parsed(told) | {"data": None} == attributes("failed") | {"data": None}
    assert data == {
        "verdict": "failed", "detail": "refused_by_server", "explanation": "as before",
        "reason": refused(Reason.REFUSED_BY_SERVER, "as before"), "server_id": SERVER, "volume_id": VOLUME,
        "project_id": "p", "attachment_id": ATTACHMENT, "request": {"id": "4711", "source": "/changes"},
        "requester": {"type": "api_key", "id": "ci", "via": "webhook_bearer"}, "context": {"a": [REDACTED, None]},
        "evidence": {"deletes_sent": 1, "polls": 3, "last_error": "http_502: bad"},
        "timing": {"requested_at": "2026-11-23T08:00:00Z", "first_seen_at": "2026-11-23T08:00:00Z",
            "accepted_at": "2026-11-23T08:00:01Z", "concluded_at": "2026-11-23T08:00:02.345678Z", "seconds": 2.346},
        "original": f"see {REDACTED}",
    }  # fmt: skip
    assert (told.outcome, told.reason, told.task_token) == (Outcome.FAILED, Reason.REFUSED_BY_SERVER, "hunter-2/+")
    assert (told.time, told.subject) == ("2026-11-23T08:00:02.345678+00:00", parsed(told)["subject"])


def test_an_unconfirmed_verdict_says_what_is_waited_for() -> None:
    """It is no failure, and the workflow's task goes on."""
    told = FACTORY.unconfirmed(case_of(ASKED, WENT), "the volume is detaching", NOW)
    data = parsed(told)["data"]
    assert parsed(told) | {"data": None} == attributes("unconfirmed") | {"data": None}
    assert (data["verdict"], data["detail"]) == ("unconfirmed", "still_watching")
    assert (data["explanation"], "reason" in data, told.reason) == ("the volume is detaching", False, None)


def test_a_reason_without_more_to_say_is_that_of_the_catalogue() -> None:
    """The message is the sentence of the catalogue."""
    event = FACTORY.verdict(case_of(), failed(Reason.VOLUME_NOT_FOUND), NOW)
    assert parsed(event)["data"]["reason"] == refused(Reason.VOLUME_NOT_FOUND)
    assert "explanation" not in parsed(event)["data"]


OF = Origin("4711", "/changes", START - timedelta(hours=1), None, "CHG-1", TRACE, "a=b", BY)


@pytest.mark.parametrize("volume_id", [VOLUME, None])
@pytest.mark.parametrize("reason", [None, Reason.DEAD_LETTERED])
def test_the_whole_of_a_rejection(volume_id: str | None, reason: Reason | None) -> None:
    """Each attribute and each field of the data; for a dead letter also why it died."""
    bad = Rejected(OF, FAULTS, '{"a": "hunter-2/+"}', SERVER, volume_id, {"a": ["hunter-2/+"]}, "hunter-2/+")
    told = FACTORY.rejected(bad, NOW, reason)
    ended, found = reason or Reason.INVALID_REQUEST, "server_id must be a UUID; message is odd"
    data = {
        "verdict": "failed", "detail": ended.value,
        "reason": refused(ended, found) | ({"cause": "unreadable"} if reason else {}),
        "server_id": SERVER, "volume_id": volume_id, "request": {"id": "4711", "source": "/changes"},
        "requester": {"type": "api_key", "id": "ci", "via": "webhook_bearer"}, "context": {"a": [REDACTED]},
        "evidence": {"deletes_sent": 0, "polls": 0, "calls": []},
        "timing": {"requested_at": "2026-11-23T07:00:00Z", "first_seen_at": "2026-11-23T08:00:02.345678Z",
            "concluded_at": "2026-11-23T08:00:02.345678Z", "seconds": 0.0},
        "faults": [{"field": "server_id", "message": "must be a UUID"}, {"field": "", "message": "is odd"}],
        "original": json.dumps({"a": REDACTED}),
    }  # fmt: skip
    named: dict[str, object] = {"id": verdict_id("/changes", "4711", volume_id, Outcome.FAILED)}
    expected = attributes("failed", **named, **({} if volume_id else {"subject": ...}))
    assert parsed(told) == expected | {"data": {name: value for name, value in data.items() if value is not None}}
    assert (told.outcome, told.reason, told.task_token) == (Outcome.FAILED, ended, "hunter-2/+")


@pytest.mark.parametrize("volume_id", [VOLUME, None])
def test_a_dead_dry_run_is_a_checked_one(volume_id: str | None) -> None:
    """If its server and volume are known. This event has no faults and no original."""
    bad = replace(BAD, origin=OF, server_id=SERVER, volume_id=volume_id, dry_run=True, unconfirmed_id="u")
    told = parsed(FACTORY.rejected(bad, NOW, Reason.DEAD_LETTERED))
    checked = volume_id is not None
    assert (told["data"]["verdict"], told["causationid"]) == ("checked" if checked else "failed", "u")
    assert told["data"]["detail"] == ("would_fail" if checked else "dead_lettered")
    assert ("faults" in told["data"], "original" in told["data"]) == (not checked, not checked)
    assert parsed(FACTORY.rejected(bad, NOW))["data"]["verdict"] == "failed"


def test_faults_are_summarised_in_two_kilobytes() -> None:
    """For any number of faults; the list has each of them."""
    many = tuple(Fault(f"f{number}", "x" * 300) for number in range(20))
    data = parsed(FACTORY.rejected(replace(BAD, faults=many), NOW))["data"]
    summary = "; ".join(f"{fault.field} {fault.message}" for fault in many)
    assert data["reason"]["message"] == f"{catalogue()[Reason.INVALID_REQUEST].message[:-1]}: {summary[:2048]}"
    assert len(data["faults"]) == 20


# ------------------------------------------------------------------------------- what is too long for an event bus


def test_a_verdict_that_is_too_long_says_the_same_in_fewer_words() -> None:
    """Texts of the cloud and the sender are cut, and the calls left out; the evidence stays."""
    state = State(volume_status="s" * 100, attachment=Attachment(device="d" * 100), attached_to=("a" * 100,) * 30)
    went = replace(WENT, last_error="l" * 70_000, before=state)
    case = replace(case_of(ASKED), progress=went)
    short = FACTORY.verdict(
        replace(case, progress=replace(went, last_error="l")), failed(Reason.EXPIRED, "e"), NOW, "o"
    )
    long = FACTORY.verdict(case, failed(Reason.EXPIRED, "e" * 3000), NOW, "o" * 5000)
    said, plain = parsed(long), parsed(short)
    message = f"{catalogue()[Reason.EXPIRED].message[:-1]}: {'e' * 3000}"
    remedy = cut(plain["data"]["reason"]["remedy"], 512)
    evidence = {name: value for name, value in plain["data"]["evidence"].items() if name not in ("calls", "last_error")}
    before = {"volume_status": "s" * 64, "attachment": {"device": "d" * 64}, "attached_to": ["a" * 64] * 20}
    assert said["data"] == plain["data"] | {
        "explanation": "e" * 256, "reason": plain["data"]["reason"] | {"message": message[:512], "remedy": remedy},
        "original": "o" * 1024, "evidence": evidence | {"last_error": "l" * 64, "before": before},
    }  # fmt: skip
    assert said | {"data": None} == plain | {"data": None}
    assert "explanation" not in parsed(FACTORY.verdict(case, detached(Detail.DETACHED_NOW), NOW))["data"]


def test_a_rejection_that_is_too_long_names_twenty_faults() -> None:
    """The bus limits the size of an event."""
    faults = tuple(Fault(f"{number:02}" + "f" * 200, "m" * 3000) for number in range(50))
    data = parsed(FACTORY.rejected(replace(BAD, faults=faults), NOW))["data"]
    assert data["faults"] == [{"field": f"{n:02}" + "f" * 62, "message": "m" * 64} for n in range(20)]
    assert data["evidence"] == {"deletes_sent": 0, "polls": 0}

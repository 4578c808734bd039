"""Envelopes: each yields the same request, with the identity that its sender gave it."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.decision.case import Case
from shared.inbox.read import Ignored, Rejected, read
from shared.model import DetachRequest, Fault, Message, Origin, Reason
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, SERVER, START, TRACE, VOLUME, bare, cloudevent

DATA = bare(SERVER, VOLUME)
SENT = START + timedelta(minutes=1)
TOPIC = "arn:aws:sns:eu-central-1:123456789012:changes"
EIGHT = "2026-11-23T08:00:00Z"


def eventbridge(detail: object, **more: object) -> dict[str, Any]:
    names = {"id": "eb-1", "source": "com.example.changes", "time": "2026-11-23T07:30:00Z"}
    return {"version": "0", "detail-type": "anything", "account": "123456789012", **names, "detail": detail, **more}


def sns(message: object, **more: object) -> dict[str, Any]:
    names = {"MessageId": "sns-1", "TopicArn": TOPIC, "Timestamp": "2026-11-23T07:45:00.123Z"}
    return {"Type": "Notification", **names, "Message": json.dumps(message), "SignatureVersion": "1", **more}


def delivered(value: object) -> Message:
    return Message(json.dumps(value), "m-1", QUEUE_ARN, SENT)


def cases_of(value: object) -> list[Case]:
    found = read(delivered(value), "bms", SENT, MESSAGE_KEYS)
    assert isinstance(found, list), found
    return found


def request_of(value: object) -> DetachRequest:
    (case,) = cases_of(value)
    return case.request


def rejected(value: object) -> Rejected:
    found = read(delivered(value), "bms", SENT, MESSAGE_KEYS)
    assert isinstance(found, Rejected), found
    return found


def fields(found: Rejected) -> list[str]:
    return [fault.field for fault in found.faults]


CE = ("4711", "/changes", START)
ENVELOPES: dict[str, tuple[object, tuple[str, str, datetime]]] = {
    "bare": (DATA, ("m-1", QUEUE_ARN, SENT)),
    "cloudevent": (cloudevent(DATA), CE),
    "eventbridge": (eventbridge(DATA), ("eb-1", "com.example.changes", START - timedelta(minutes=30))),
    "eventbridge cloudevent": (eventbridge(cloudevent(DATA)), CE),
    "sns": (sns(DATA), ("sns-1", TOPIC, datetime(2026, 11, 23, 7, 45, 0, 123000, UTC))),
    "sns cloudevent": (sns(cloudevent(DATA)), CE),
    "sns eventbridge cloudevent": (sns(eventbridge(cloudevent(DATA))), CE),
    "eventbridge sns": (eventbridge(sns(DATA)), ("sns-1", TOPIC, datetime(2026, 11, 23, 7, 45, 0, 123000, UTC))),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_innermost_envelope_names_the_request(name: str) -> None:
    """Each envelope yields its request, identified by the innermost envelope with sender and time."""
    value, identity = ENVELOPES[name]
    request = request_of(value)
    assert identity == (request.id, request.source, request.requested_at)
    assert (request.server_id, request.volume_id) == (SERVER, VOLUME)


@pytest.mark.parametrize("name", ENVELOPES)
def test_redelivery_is_the_same_request(name: str) -> None:
    """A redelivered message has an equal request, and the case knows the first delivery."""
    delivery = replace(delivered(ENVELOPES[name][0]), first_received_at=SENT)
    again = replace(delivery, receive_count=2)
    found: list[Any] = [read(delivery, "bms", SENT, MESSAGE_KEYS), read(again, "bms", SENT, MESSAGE_KEYS)]
    (first,), (second,) = found
    assert first.request == second.request
    assert [first.progress.redelivered_since, second.progress.redelivered_since] == [None, SENT]


def test_missing_attributes_come_from_the_outer_envelope() -> None:
    """A CloudEvent without time has its envelope's time; an unusable id of EventBridge is ignored."""
    assert START - timedelta(minutes=30) == request_of(eventbridge(cloudevent(DATA, time=...))).requested_at
    for unusable in ("", None, 17, "two\nlines", "x" * 5000):
        assert request_of(eventbridge(DATA, id=unusable)).id == "m-1"
    assert request_of(eventbridge(DATA, time="2026-11-23T07:30:00")).requested_at == SENT


def test_null_attributes_are_unset() -> None:
    """A JSON null means a missing attribute (CloudEvents JSON format)."""
    names = ("time", "expirytime", "subject", "correlationid", "traceparent", "tracestate", "dataschema", "data_base64")
    request = request_of(cloudevent(DATA, **dict.fromkeys(names), datacontenttype=None))
    assert (request.requested_at, request.expires_at, request.correlation_id) == (SENT, None, None)


def test_null_required_attributes_are_missing() -> None:
    """id, source and specversion must not be null."""
    assert fields(rejected(cloudevent(DATA, id=None, source=None, specversion=None))) == ["id", "source", "specversion"]


@pytest.mark.parametrize("content_type", [None, ..., "application/json", "APPLICATION/JSON; charset=utf-8", "text/json",
                                          "application/vnd.changes+json", "model/gltf+json"])  # fmt: skip
def test_json_content_types_are_read(content_type: object) -> None:
    """Every JSON media type is read, in any case and with parameters; so is an event without one."""
    assert request_of(cloudevent(DATA, datacontenttype=content_type)).volume_id == VOLUME


@pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "application/xml",
                                          "application/jsonp", "json", "*/*", "", 7, []])  # fmt: skip
def test_other_content_types_are_refused(content_type: object) -> None:
    """Data of another media type is refused."""
    assert fields(rejected(cloudevent(DATA, datacontenttype=content_type))) == ["datacontenttype"]


def test_base64_data_is_read() -> None:
    """Data in base64 gives the same request."""
    encoded = base64.b64encode(json.dumps(DATA).encode()).decode()
    assert request_of(cloudevent(..., data_base64=encoded)).volume_id == VOLUME


@pytest.mark.parametrize("broken", ["%%%", "e30", "bm90IGpzb24=", "WzFd", "/////w==", 5, {"a": 1}])
def test_broken_base64_is_refused(broken: object) -> None:
    """Invalid base64, or base64 of anything but a JSON object, is a fault of data_base64."""
    assert fields(rejected(cloudevent(..., data_base64=broken))) == ["data_base64"]


def test_data_stands_once() -> None:
    """An event with both data and data_base64 is ambiguous."""
    assert "data_base64" in fields(rejected(cloudevent(DATA, data_base64="e30=")))


@pytest.mark.parametrize("broken", [*"\t -_=", "\u00e4"])
def test_only_line_breaks_are_passed_over_in_base64(broken: str) -> None:
    """Some encoders break lines; other characters are invalid."""
    encoded = base64.b64encode(json.dumps(DATA).encode()).decode()
    assert request_of(cloudevent(..., data_base64="\r\n".join([encoded[:76], encoded[76:], ""]))).volume_id == VOLUME
    assert fields(rejected(cloudevent(..., data_base64=encoded[:8] + broken + encoded[8:]))) == ["data_base64"]


@pytest.mark.parametrize("form", ["{}", "\ufeff{}", " {}\n"])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("content_type", [..., "application/json", "text/plain", "text/plain; charset=utf-8"])
def test_json_in_a_text_is_read(form: str, times: int, content_type: object) -> None:
    """Some libraries encode data, and some senders whole events, as a JSON string."""
    text = json.dumps(DATA) if times == 1 else json.dumps(json.dumps(DATA))
    text = form.replace("{}", text)
    assert request_of(cloudevent(text, datacontenttype=content_type)).volume_id == VOLUME
    encoded = base64.b64encode(text.encode()).decode()
    assert request_of(cloudevent(..., data_base64=encoded, datacontenttype=content_type)).volume_id == VOLUME
    assert request_of(eventbridge(text)).volume_id == VOLUME
    assert request_of(text).volume_id == VOLUME


def test_text_within_text_has_a_limit() -> None:
    """Such nesting is a mistake, and the fault says so."""
    text = json.dumps(DATA)
    for _ in range(2):
        text = json.dumps(text)
    assert fields(rejected(cloudevent(text))) == ["data"]


@pytest.mark.parametrize("data", [..., None, [], "text", 5, True, "[]", "5", '{"a": 1, "a": 2}'])
def test_data_is_an_object(data: object) -> None:
    """Data that is missing, null, or a text of anything but an object is not a request."""
    assert fields(rejected(cloudevent(data))) == ["data"]


@pytest.mark.parametrize("name", ["id", "source", "type"])
@pytest.mark.parametrize("value", [..., "", "  ", 5, ["x"], "a\nb", "a\x00b", "x" * 2049])
def test_required_attributes_are_texts(name: str, value: object) -> None:
    """Without id, source or type a redelivery would have no stable identity, so none is invented."""
    assert [name] == fields(rejected(cloudevent(DATA, **{name: value})))


@pytest.mark.parametrize("version", ["0.3", "1.1", "1", 1.0, ""])
def test_only_version_one_is_read(version: object) -> None:
    """In another specversion the same names may mean something else."""
    assert fields(rejected(cloudevent(DATA, specversion=version))) == ["specversion"]


def test_without_specversion_it_is_no_cloudevent() -> None:
    """An event without specversion counts as a bare request, whose unknown names are refused."""
    assert {"specversion", "id", "type"} & set(fields(rejected(cloudevent(DATA, specversion=...))))


@pytest.mark.parametrize(
    "type_", ["bms.volume.detach_requested.v2", "bms.volume.detach_requested", "com.example.other"]
)
def test_another_type_is_refused(type_: str) -> None:
    """A type this service does not serve is refused, with the type that would be right."""
    found = rejected(cloudevent(DATA, type=type_))
    assert [(f.field, f.message) for f in found.faults] == [("type", "must be bms.volume.detach_requested.v1")]


def test_the_prefix_is_the_operators() -> None:
    """The accepted type follows the prefix of the deployment."""
    event = cloudevent(DATA, type="com.example.volume.detach_requested.v1")
    assert isinstance(read(delivered(event), "com.example", SENT, MESSAGE_KEYS), list)
    assert isinstance(read(delivered(event), "bms", SENT, MESSAGE_KEYS), Rejected)


@pytest.mark.parametrize("ending", ["detached", "detach_failed", "detach_unconfirmed", "detach_checked"])
@pytest.mark.parametrize("wrap", [lambda e: e, eventbridge, sns])
def test_own_verdicts_are_ignored(ending: str, wrap: Any) -> None:
    """A verdict that is routed back is not answered, which would start a loop."""
    verdict = cloudevent({"verdict": "whatever"}, type=f"bms.volume.{ending}.v1")
    assert isinstance(read(delivered(wrap(verdict)), "bms", SENT, MESSAGE_KEYS), Ignored)


@pytest.mark.parametrize("name", ["time", "expirytime"])
@pytest.mark.parametrize("value", ["2026-11-23T08:00:00", "2026-11-23", "today", "", 1795420800, "2026-13-01T00:00:00Z",
                                   EIGHT + "\n"])  # fmt: skip
def test_times_have_a_zone(name: str, value: object) -> None:
    """A time without a zone, or an invalid one, is refused: the attachment check and the expiry depend on it."""
    assert [name] == fields(rejected(cloudevent(DATA, **{name: value})))


@pytest.mark.parametrize("value", [EIGHT, "2026-11-23t08:00:00z", "2026-11-23T09:00:00+01:00",
                                   "2026-11-23 08:00:00.000Z", "2026-11-23T08:00:00.000000000Z"])  # fmt: skip
def test_every_spelling_of_a_time_is_read(value: str) -> None:
    """All RFC 3339 spellings of a time give the same time."""
    assert request_of(cloudevent(DATA, time=value)).requested_at == START


def test_extensions_are_honoured() -> None:
    """Expiry, correlation and trace of the event are the request's; other extensions are ignored."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    event = cloudevent(DATA, expirytime="2026-11-23T09:00:00Z", correlationid="CHG-1", traceparent=trace,
                       tracestate="a=b", anything=17)  # fmt: skip
    request = request_of(event)
    assert START + timedelta(hours=1) == request.expires_at
    assert ("CHG-1", trace, "a=b") == (request.correlation_id, request.traceparent, request.tracestate)


@pytest.mark.parametrize("value", [5, "", "a\nb", {"a": 1}])
@pytest.mark.parametrize("name", ["correlationid", "subject"])
def test_extensions_are_texts(name: str, value: object) -> None:
    """Extensions that are echoed must be texts."""
    assert [name] == fields(rejected(cloudevent(DATA, **{name: value})))


def test_wrapping_has_a_limit() -> None:
    """Four envelopes are opened, a fifth is not."""
    value: object = DATA
    for _ in range(4):
        value = eventbridge(value)
    assert request_of(value).volume_id == VOLUME
    found = rejected(eventbridge(value))
    assert (found.origin.id, found.faults) == ("eb-1", (Fault("", "wrapped more than 4 times"),))


@pytest.mark.parametrize("value", [[], [DATA], "text", 5, True, None])
def test_a_request_is_an_object(value: object) -> None:
    """Any other JSON value is refused, bare or wrapped, and the message names its type."""
    for wrapped in (value, eventbridge(value), sns(value)):
        (fault,) = rejected(wrapped).faults
        assert "must be a JSON object, is " in fault.message


@pytest.mark.parametrize(
    ("value", "kind"),
    [([], "an array"), ("", "a string"), (5, "a number"), (0.5, "a number"), (True, "a boolean"), (None, "null")],
)
def test_a_value_that_is_no_object_is_named_by_its_type(value: object, kind: str) -> None:
    """In JSON's terms, with the identity of its envelope."""
    for wrapped, id_ in ((value, "m-1"), (eventbridge(value), "eb-1"), (sns(value), "sns-1")):
        found = rejected(wrapped)
        (fault,) = found.faults
        assert (fault.field, found.origin.id, found.own) == ("", id_, None)
        assert fault.message.startswith(f"must be a JSON object, is {kind}")


@pytest.mark.parametrize("name", ["continuation", "progress", "pending_delivery", "event"])
def test_one_name_of_ours_does_not_make_a_message_ours(name: str) -> None:
    """It is a request with an unknown field."""
    found = rejected(DATA | {name: {"unconfirmed_id": "u"}})
    assert (found.reason, found.own, fields(found)) == (Reason.INVALID_REQUEST, None, [name])
    assert found.unconfirmed_id is None


def test_a_batch_of_one_event_is_the_event() -> None:
    """Some brokers deliver each event as a batch. Two events, or anything else, are refused."""
    assert request_of([cloudevent(DATA)]).id == "4711"
    for value in ([cloudevent(DATA)] * 2, [DATA], []):
        assert rejected(value).faults == (Fault("", "must be a JSON object, is an array"),)


def test_a_text_of_a_text_of_a_text_is_a_text() -> None:
    """Such nesting is a mistake."""
    found = rejected(json.dumps(json.dumps(json.dumps("a"))))
    assert found.faults == (Fault("", "must be a JSON object, is a string"),)


def test_quotes_of_a_message_are_short() -> None:
    """Whatever the encoded size of its characters."""
    name = "\\u0000" * 64
    found = read(Message(f'{{"{name}": 1, "{name}": 2}}', "m-1", QUEUE_ARN, SENT), "bms", SENT, MESSAGE_KEYS)
    assert isinstance(found, Rejected)
    assert [(fault.field, len(fault.message)) for fault in found.faults] == [("", 256)]


TEXT = "must be a non-empty string without control characters"
TIME = "must be an RFC 3339 time with a zone, such as 2026-11-23T08:00:00Z"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"id": ...}, ("id", f"is required and {TEXT}")),
        ({"type": 5}, ("type", f"is required and {TEXT}")),
        ({"subject": ""}, ("subject", TEXT)),
        ({"time": "today"}, ("time", TIME)),
        ({"expirytime": 5}, ("expirytime", TIME)),
        ({"data_base64": "e30="}, ("data_base64", "must not stand beside data")),
        ({"datacontenttype": "application/xml"}, ("datacontenttype", "must be JSON")),
        ({"data": [5]}, ("data", "must be a JSON object")),
        ({"data": ..., "data_base64": "WzFd"}, ("data_base64", "must be the base64 of a JSON object")),
    ],
)
def test_faults_of_an_event_say_what_would_be_right(changes: dict[str, Any], fault: tuple[str, str]) -> None:
    """One sentence for each attribute."""
    found = rejected(cloudevent(**{"data": DATA, **changes}))
    assert fault in [(one.field, one.message) for one in found.faults]


def test_text_that_is_no_json_says_why() -> None:
    """With the identity of its envelope."""
    found = rejected(eventbridge("please"))
    names = ("eb-1", "com.example.changes", START - timedelta(minutes=30))
    assert (found.origin.id, found.origin.source, found.origin.time) == names
    (fault,) = found.faults
    assert fault.field == ""
    assert fault.message.startswith("must be a JSON object, is a string: ")
    assert "line 1" in fault.message


def test_wrong_cloudevent_keeps_what_it_says_of_itself() -> None:
    """An invalid event keeps its identity, trace and data; an invalid extension is ignored."""
    event = cloudevent({**DATA, "context": {"a": 1}}, specversion="2.0", correlationid=5, traceparent=TRACE)
    assert rejected(event) == Rejected(
        Origin("4711", "/changes", START, traceparent=TRACE),
        (
            Fault("specversion", 'must be "1.0"'),
            Fault("correlationid", "must be a non-empty string without control characters"),
        ),
        json.dumps(event), SERVER, VOLUME, {"a": 1},
    )  # fmt: skip


def test_own_verdict_is_called_one() -> None:
    """The log says why nothing is answered."""
    found = read(delivered(cloudevent({}, type="bms.volume.detached.v1")), "bms", SENT, MESSAGE_KEYS)
    assert found == Ignored("bms.volume.detached.v1 is a verdict of this service, not a request")


@pytest.mark.parametrize("inner", [{}, {"traceparent": "broken", "tracestate": "b=2"}])
def test_trace_of_the_outer_event_goes_on(inner: dict[str, Any]) -> None:
    """If the inner event has no readable one."""
    request = request_of(cloudevent(cloudevent(DATA, **inner), traceparent=TRACE, tracestate="a=1"))
    assert (request.traceparent, request.tracestate) == (TRACE, "a=1")


@pytest.mark.parametrize(("length", "text"), [(2048, "x"), (1024, "ä")])
def test_attributes_have_two_kilobytes(length: int, text: str) -> None:
    """Counted in bytes of UTF-8."""
    assert request_of(cloudevent(DATA, correlationid=text * length)).correlation_id == text * length
    assert fields(rejected(cloudevent(DATA, correlationid=text * (length + 1)))) == ["correlationid"]


# ---------------------------------------------------------------------------- attributes beside the data, and Argo

BESIDE = {"ce-specversion": "1.0", "ce_id": "4711", "cloudEvents_source": "/changes", "ce-time": EIGHT,
    "ce-type": "bms.volume.detach_requested.v1", "id": "not an attribute of the event"}  # fmt: skip


def with_attributes(value: object, attributes: dict[str, str]) -> Any:
    message = replace(delivered(value), attributes=attributes)
    return read(message, "bms", SENT, MESSAGE_KEYS)


def by_sns(value: object, attributes: dict[str, Any]) -> Any:
    told = {name: {"Type": "String", "Value": text} for name, text in attributes.items()}
    odd = {"ce-subject": "no entry", "ce-expirytime": {"Type": "Binary"}, "ce-correlationid": {"Value": 5}}
    return read(delivered(sns(value, MessageAttributes={**told, **odd})), "bms", SENT, MESSAGE_KEYS)


@pytest.mark.parametrize("read_with", [with_attributes, by_sns])
@pytest.mark.parametrize("content_type", [{}, {"Content-Type": "application/json"}, {"contentType": "text/json"}])
def test_attributes_of_a_message_make_an_event_of_its_data(read_with: Any, content_type: dict[str, str]) -> None:
    """As in the bindings of CloudEvents, with attributes of SQS or of an SNS notification."""
    (case,) = read_with(DATA, {**BESIDE, **content_type})
    assert (case.request.id, case.request.source, case.request.requested_at) == CE
    assert case.request.volume_id == VOLUME


@pytest.mark.parametrize("read_with", [with_attributes, by_sns])
@pytest.mark.parametrize("name", ["content-type", "Content-Type", "contenttype", "CONTENT_TYPE"])
def test_data_beside_attributes_has_a_type(read_with: Any, name: str) -> None:
    """Another type than JSON is refused, in any spelling of its name."""
    found = read_with(DATA, {**BESIDE, name: "application/xml"})
    assert [fault.field for fault in found.faults] == ["datacontenttype"]


@pytest.mark.parametrize("read_with", [with_attributes, by_sns])
def test_event_that_is_whole_needs_no_attributes(read_with: Any) -> None:
    """A structured event ignores attributes, and attributes without a version make no event of bare data."""
    (case,) = read_with(cloudevent(DATA, id="inner"), BESIDE | {"ce-time": "today"})
    assert case.request.id == "inner"
    (case,) = read_with(DATA, {name: value for name, value in BESIDE.items() if name != "ce-specversion"})
    assert case.request.source != "/changes"


@pytest.mark.parametrize("attributes", ["text", [BESIDE], None, 5])
def test_odd_attributes_of_a_notification_are_ignored(attributes: object) -> None:
    """The notification is read all the same."""
    assert request_of(sns(DATA, MessageAttributes=attributes)).id == "sns-1"


def argo(data: object, **attributes: object) -> dict[str, Any]:
    context = cloudevent(..., **attributes)
    return {"context": context, "data": data}


def encoded(value: object) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


PADDED = [encoded(DATA | {"context": {"": "x" * length}}) for length in range(3)]


@pytest.mark.parametrize(
    "data",
    [
        DATA,
        json.dumps(DATA),
        encoded(DATA),
        *PADDED,
        *(f"{text[:76]}\r\n{text[76:]}\r\n" for text in PADDED),
        {"header": {}, "body": DATA},
        encoded({"header": {"X": ["1"]}, "body": DATA}),
    ],
)
def test_events_of_argo_are_read(data: object) -> None:
    """Data as JSON, as a text of it or in base64; of a webhook event source, the payload of its request."""
    request = request_of(argo(data))
    assert (request.id, request.source, request.requested_at, request.volume_id) == (*CE, VOLUME)


@pytest.mark.parametrize(
    ("data", "field"), [(encoded(DATA) + " ", "data"), ("please", "data_base64"), ("", "data"), (5, "data")]
)
def test_other_data_of_argo_is_refused(data: object, field: str) -> None:
    """Data that is neither JSON nor its base64 is refused."""
    found = rejected(argo(data))
    assert (found.origin.id, fields(found)) == ("4711", [field])


def test_sns_message_is_json() -> None:
    """A notification whose message is plain text is answered with the notification's id."""
    found = rejected({**sns({}), "Message": "please detach my disk"})
    assert (found.origin.id, fields(found)) == ("sns-1", ["Message"])
    assert "line 1" in found.faults[0].message


@pytest.mark.parametrize("time", ["2026-11-23T10:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("wrap", [lambda t: cloudevent(DATA, time=t), lambda t: DATA | {"requested_at": t}])
def test_no_request_is_later_than_its_message(time: str, wrap: Callable[[str], dict[str, Any]]) -> None:
    """A wrong zone or a far year does not allow to detach a disk that was attached after the request."""
    assert request_of(wrap(time)).requested_at == SENT

"""The classification of the cloud's answers: cases pinned by hand, each row of the table, and arbitrary input."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.cloud.answers import TABLE, Row
from shared.cloud.classify import classify
from shared.model import Answer, AnswerClass, Reason
from tests.messages import SERVER, VOLUME

ACCEPTED, DONE_VERIFY, PERMANENT = AnswerClass.ACCEPTED, AnswerClass.DONE_VERIFY, AnswerClass.PERMANENT
RETRY, WAIT, RECONCILE = AnswerClass.RETRY, AnswerClass.WAIT, AnswerClass.RECONCILE
REAUTHENTICATE = AnswerClass.REAUTHENTICATE

Expected = tuple[int, str, AnswerClass, Reason | None]
"""Status, body, kind, reason."""

NOVA_404_PAGE = (
    "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n"
    "  The resource could not be found.<br /><br />\n\n\n\n </body>\n</html>"
)


def fault(name: str, message: str, code: int | str, **more: str) -> str:
    return json.dumps({name: {"message": message, "code": code, **more}})


def service(code: str, message: str = "") -> str:
    return json.dumps({"error": {"message": message, "code": code}})


def keystone(message: str, code: int = 401, title: str = "Unauthorized") -> str:
    return json.dumps({"error": {"code": code, "message": message, "title": title}})


def gateway(code: str, message: str = "") -> str:
    return json.dumps({"error_msg": message, "error_code": code, "request_id": "71d53ba40c3ad62cdea44b5e9ce5996b"})


def bad_request(message: str) -> str:
    return fault("badRequest", message, 400)


def forbidden(message: str) -> str:
    return fault("forbidden", message, 403)


def not_found(message: str) -> str:
    return fault("itemNotFound", message, 404)


def conflict(message: str) -> str:
    return fault("conflictingRequest", message, 409)


def states(*states: str, kind: AnswerClass) -> list[Expected]:
    """What is expected if the server is in each of these states."""
    bodies = [conflict(f"Cannot 'detach_volume' instance {SERVER} while it is in {state}") for state in states]
    return [(409, body, kind, Reason.API_REJECTED if kind is PERMANENT else None) for body in bodies]


def detailed(code: str, detail: object, message: str = "x") -> str:
    return json.dumps({"error": {"message": message, "code": code, "details": [detail]}})


IN_USE = (
    "Invalid volume: Invalid input received: Invalid volume: Unable to detach volume. Volume status must be "
    "'in-use' and attach_status must be 'attached' to detach. (HTTP 400) (Request-ID: req-d2088331)"
)
WRONG_PROJECT = "Malformed request URL: URL's project_id 'a' doesn't match Context's project_id 'b'"
UNEXPECTED = "Unexpected API Error. Please report this.\n<class 'CinderConnectionFailed'>"


def services(status: int, codes: str, kind: AnswerClass, reason: Reason | None = None) -> list[Expected]:
    """One expectation for several codes."""
    return [(status, service(code), kind, reason) for code in codes.split()]


def plain(statuses: str, kind: AnswerClass, reason: Reason | None = None, body: str = "") -> list[Expected]:
    """One expectation for several statuses."""
    return [(int(status), body, kind, reason) for status in statuses.split()]


# Written down from the documents, not from the table.
EXPECTED: list[Expected] = [
    # An answer without a body.
    *plain("200 201 202 204", ACCEPTED),
    (202, " \r\n\t", ACCEPTED, None),
    *plain("203 206", RECONCILE),
    # A 2xx that says something.
    (202, service("Common.0024", "Flow limit exceeded."), RETRY, None),
    (202, gateway("Common.0024", "Flow limit exceeded."), RETRY, None),
    (200, "{}", RECONCILE, None),
    (200, "null", RECONCILE, None),
    (202, '{"job_id": "70a599e0-31e7-49b7-b260-868f441e862b"}', RECONCILE, None),
    (200, "<html>login here</html>", RECONCILE, None),
    (200, service("Xyz.0001"), RECONCILE, None),
    (200, not_found(f"Instance {SERVER} is not attached to volume {VOLUME}"), RECONCILE, None),
    (200, keystone("Unauthorized."), RECONCILE, None),
    # Nova, in the order of its checks.
    (400, bad_request("API Version String x is of invalid format."), PERMANENT, Reason.API_REJECTED),
    (406, fault("computeFault", "Version 2.99 is not supported.", 406), PERMANENT, Reason.API_REJECTED),
    (400, bad_request(WRONG_PROJECT), PERMANENT, Reason.WRONG_PROJECT),
    (403, forbidden("Policy doesn't allow ecs:x to be performed."), PERMANENT, Reason.FORBIDDEN),
    (404, not_found("Instance abc could not be found."), PERMANENT, Reason.SERVER_NOT_FOUND),
    (404, not_found("Volume abc could not be found."), PERMANENT, Reason.VOLUME_NOT_FOUND),
    (404, not_found(f"Instance {SERVER} is not attached to volume {VOLUME}"), DONE_VERIFY, None),
    (404, not_found(f"Instance {SERVER} is not attached."), DONE_VERIFY, None),
    (404, not_found(f"volume_id not found: {VOLUME}"), DONE_VERIFY, None),
    (404, fault("itemnotfound", f"Instance {SERVER} is not attached to volume {VOLUME}", "404"), DONE_VERIFY, None),
    (400, bad_request("Cannot detach a root device volume"), PERMANENT, Reason.SYSTEM_DISK),
    (403, forbidden("Cannot detach a root device volume"), PERMANENT, Reason.SYSTEM_DISK),
    (403, forbidden("Can't detach root device volume"), PERMANENT, Reason.SYSTEM_DISK),
    (409, conflict(f"Instance {SERVER} is locked"), PERMANENT, Reason.SERVER_LOCKED),
    *states("vm_state building", "vm_state deleted", kind=WAIT),
    *states("vm_state error", "vm_state suspended", "vm_state rescued", "vm_state shelved_offloaded", kind=PERMANENT),
    *states("task_state rebooting_hard", "task_state powering-off", "task_state deleting", kind=WAIT),
    (409, conflict(f"Instance {SERVER} is in an invalid state for 'detach_volume'"), WAIT, None),
    (409, conflict("Service is unavailable at this time."), RETRY, None),
    (409, conflict("Something nobody wrote down"), RECONCILE, None),
    (404, not_found(f"Cell is not known for instance {SERVER}"), PERMANENT, Reason.API_REJECTED),
    (400, bad_request(f"Invalid volume: volume {VOLUME} already detached"), DONE_VERIFY, None),
    (400, bad_request(IN_USE), WAIT, None),
    (400, fault("badrequest", IN_USE, "XXX"), WAIT, None),
    (400, bad_request("Invalid volume: something else"), RECONCILE, None),
    (403, forbidden("Cinder says no"), PERMANENT, Reason.FORBIDDEN),
    (500, fault("computeFault", UNEXPECTED, 500), RECONCILE, None),
    (500, fault("computeFault", "The server has either erred or is incapable.", 500), RECONCILE, None),
    (503, fault("serviceUnavailable", "…", 503), RECONCILE, None),
    (413, fault("overLimit", "…", 413, retryAfter="7"), RETRY, None),
    (429, fault("overLimit", "…", 429), RETRY, None),
    # An undocumented message, or one in another language, decides nothing.
    (400, bad_request("The server could not comply with the request."), RECONCILE, None),
    (404, not_found("Instanz nicht gefunden."), RECONCILE, None),
    (404, service("Xyz.0404", "not here"), RECONCILE, None),
    # Identity, and services that check tokens.
    (401, keystone("The request you have made requires authentication."), REAUTHENTICATE, None),
    (401, keystone("The X-Auth-Token is invalid!"), REAUTHENTICATE, None),
    (401, "", REAUTHENTICATE, None),
    (401, "<html>401</html>", REAUTHENTICATE, None),
    (401, fault("unauthorized", "no", 401), REAUTHENTICATE, None),
    (503, "The Keystone service is temporarily unavailable.", RETRY, None),
    (503, "<html><body>The Keystone service is temporarily unavailable.<br /></body></html>", RETRY, None),
    (410, gateway("IAM.0020", "Original auth failover to other regions, please auth downgrade"), RETRY, None),
    (410, "", RECONCILE, None),
    (429, gateway("IAM.0012", "The throttling threshold has been reached."), RETRY, None),
    (401, gateway("IAM.0062"), PERMANENT, Reason.UNAUTHORIZED),
    (403, gateway("IAM.0081"), PERMANENT, Reason.FORBIDDEN),
    # The gateway, under both of its names.
    (401, gateway("APIGW.0301", "Incorrect IAM authentication information"), REAUTHENTICATE, None),
    (401, gateway("APIG.0301", "decrypt token fail"), REAUTHENTICATE, None),
    (401, gateway("APIGW.0307", "The token must be updated."), REAUTHENTICATE, None),
    (404, gateway("APIGW.0101", "The API does not exist"), PERMANENT, Reason.API_REJECTED),
    (404, gateway("APIGW.0103"), PERMANENT, Reason.API_REJECTED),
    (500, gateway("APIG.0103"), PERMANENT, Reason.API_REJECTED),
    (429, gateway("APIG.0308", "policy user over ratelimit"), RETRY, None),
    (429, gateway("APIGW.0308", "policy ip over ratelimit"), RETRY, None),
    *plain("400 413 414 494", PERMANENT, Reason.API_REJECTED, body=gateway("APIGW.0201")),
    (502, gateway("APIGW.0201"), RECONCILE, None),
    (504, gateway("APIG.0201", "Backend timeout"), RECONCILE, None),
    (502, gateway("APIGW.0610"), RECONCILE, None),
    (503, gateway("APIGW.0613"), RETRY, None),
    # The services' own codes, whatever the status.
    (400, service("BMS.0114", f"Volume {VOLUME} is not in server {SERVER} attach volume list."), DONE_VERIFY, None),
    *services(400, "Ecs.0111", DONE_VERIFY),
    (400, service("BMS.0212", "System is overloaded, please try again later."), RETRY, None),
    *services(429, "Common.1503", RETRY),
    *services(400, "BMS.1006", RETRY),
    *services(400, "BMS.0035 BMS.0037 BMS.1001 Ecs.0100", WAIT),
    *services(501, "Ecs.0603", WAIT),
    *services(400, "Ecs.1002 Ecs.1300 BMS.0006 BMS.1003", RECONCILE),
    (400, service("BMS.1007", "Calling interface failed"), RECONCILE, None),
    *services(500, "Common.0001", RECONCILE),
    (400, service("BMS.0032", "Token check fail."), REAUTHENTICATE, None),
    *services(400, "BMS.3011 Common.0013", REAUTHENTICATE),
    *services(401, "Common.0013", REAUTHENTICATE),
    *services(400, "BMS.0004 BMS.0033", PERMANENT, Reason.FORBIDDEN),
    *services(403, "BMS.0033 Pdp.0001", PERMANENT, Reason.FORBIDDEN),
    (403, service("BMS.0288", "Policy doesn't allow x to be performed."), PERMANENT, Reason.FORBIDDEN),
    (400, service("BMS.0040", "The server does not exist."), PERMANENT, Reason.SERVER_NOT_FOUND),
    *services(404, "Ecs.0114 ECS.0614", PERMANENT, Reason.SERVER_NOT_FOUND),
    *services(404, "EVS.5404", PERMANENT, Reason.VOLUME_NOT_FOUND),
    *services(400, "BMS.0103", PERMANENT, Reason.VOLUME_NOT_FOUND),
    *services(400, "Common.0018 Ecs.0023", PERMANENT, Reason.WRONG_PROJECT),
    *services(400, "Ecs.0605", PERMANENT, Reason.SERVER_LOCKED),
    (400, service("BMS.0297", "Fail to attach volume[x]: volume is locked."), PERMANENT, Reason.VOLUME_LOCKED),
    *services(400, "EVS.2068", PERMANENT, Reason.VOLUME_LOCKED),
    *services(400, "BMS.0360", PERMANENT, Reason.VOLUME_FROZEN),
    *services(403, "EVS.2144", PERMANENT, Reason.VOLUME_FROZEN),
    (500, service("EVS.2021", "volume is error_detaching!"), PERMANENT, Reason.VOLUME_ERROR),
    *services(400, "BMS.0002 BMS.0012", PERMANENT, Reason.API_REJECTED),
    # Other places a code can stand.
    (400, '{"code": "Ecs.0111", "message": "flat"}', DONE_VERIFY, None),
    (400, detailed("400", {"code": "BMS.0114", "message": "y"}), DONE_VERIFY, None),
    (400, detailed("Ecs.1000", {"code": "BMS.0040"}), RECONCILE, None),
    # Nothing but a status.
    (404, NOVA_404_PAGE, PERMANENT, Reason.API_REJECTED),
    (404, keystone("Could not find project.", 404, "Not Found"), PERMANENT, Reason.API_REJECTED),
    *plain("300 404 405 406 407 415 494 501", PERMANENT, Reason.API_REJECTED),
    (413, "too large", PERMANENT, Reason.API_REJECTED),
    *plain("0 302 400 408 409 500 504 599", RECONCILE),
    *services(400, "BMS.9999", RECONCILE),
    (403, "<html>WAF</html>", PERMANENT, Reason.FORBIDDEN),
    (429, "", RETRY, None),
    (502, "<html>Bad Gateway</html>", RECONCILE, None),
    (503, "<html>Service Unavailable</html>", RECONCILE, None),
]

BMS_CODES = """
    0001 0002 0003 0004 0005 0006 0008 0009 0010 0011 0012 0013 0014 0015 0017 0018 0019 0021 0022 0023 0025 0026
    0027 0028 0029 0030 0031 0032 0033 0034 0035 0036 0037 0038 0039 0040 0047 0049 0054 0055 0071 0072 0073 0074
    0075 0077 0078 0079 0080 0102 0103 0104 0105 0106 0108 0111 0114 0201 0202 0203 0204 0205 0206 0207 0208 0210
    0211 0212 0213 0214 0215 0216 0217 0218 0219 0222 0223 0246 0288 0290 0297 0315 0360 0395 1001 1002 1003 1004
    1006 1007 1008 1009 1011 2005 3001 3004 3005 3006 3011 3019 3021 3025 3026 3027 3028 3029 3033 3035 3037 3038
    3039"""
ALL_BMS = BMS_CODES.split()


def classified(status: int, body: str | bytes, **headers: str) -> tuple[AnswerClass, Reason | None]:
    answer = classify(Answer(status, headers, body if isinstance(body, bytes) else body.encode()))
    return answer.kind, answer.reason


@pytest.mark.parametrize(("status", "body", "kind", "reason"), EXPECTED)
def test_answer_means(status: int, body: str, kind: AnswerClass, reason: Reason | None) -> None:
    """Each documented, recorded or surprising answer has its pinned classification."""
    assert classified(status, body) == (kind, reason)


# -------------------------------------------------------------------------------------------------- the table


def test_every_bms_code_has_a_row() -> None:
    """All 112 codes of the bare metal error page are there, and the two of the older edition."""
    codes = {f"BMS.{number}" for number in ALL_BMS} | {"Common.0018"}
    assert len(codes) == 112
    assert codes | {"BMS.0400", "BMS.3040"} <= {row.key for row in TABLE}


def named(row: Row) -> str:
    return f"{row.key} {row.source}"


def test_one_bms_code_may_be_a_success() -> None:
    """Of the bare metal service's codes only BMS.0114 may lead to a success."""
    kinds = {number: classified(400, service(f"BMS.{number}"))[0] for number in ALL_BMS}
    assert [number for number, kind in kinds.items() if kind in (ACCEPTED, DONE_VERIFY)] == ["0114"]


@pytest.mark.parametrize("row", [row for row in TABLE if row.message is None], ids=named)
def test_row_is_reached(row: Row) -> None:
    """No row hides another: an answer of a row's shape is classified as the row says."""
    plain = int(row.key[5:]) if row.key.startswith("http_") else 502 if row.key == "APIGW.0201" else 400
    for status in row.status or {plain}:
        for body in _bodies(row.key):
            answer = classify(Answer(status, {}, body.encode()))
            assert (answer.kind, answer.reason) == (row.kind, row.reason)


def _bodies(key: str) -> list[str]:
    if key.startswith("http_"):
        return ["<html><body>no</body></html>", "no", '{"error": "no"}', "[]"]
    if key == "any_code":
        return [service("Xyz.0001"), gateway("APIGW.9999"), fault("itemNotFound", "?", 404)]
    if key.startswith(("APIGW.", "IAM.")):
        return [gateway(key), gateway(key.replace("APIGW", "APIG"))]
    if "." in key:
        return [service(key), service(key.upper()), gateway(key)]
    return [fault(key, "?", 0), fault(key.lower(), "?", "0")]


@pytest.mark.parametrize("row", [row for row in TABLE if row.message is not None], ids=named)
def test_row_with_a_message_is_pinned(row: Row) -> None:
    """Each row with a message has a pinned example with the same outcome."""
    assert row.message is not None
    assert any(
        (kind, reason) == (row.kind, row.reason)
        and (not row.status or status in row.status)
        and re.search(row.message, _message(body))
        for status, body, kind, reason in EXPECTED
    )


def _message(body: str) -> str:
    try:
        inner = next(iter(json.loads(body).values()))
    except (ValueError, AttributeError, StopIteration):
        return body
    return str(inner["message"]) if isinstance(inner, dict) else body


# ------------------------------------------------------------------------------------- code, message, waiting


@pytest.mark.parametrize(
    ("status", "body", "code", "message"),
    [
        (404, not_found("Volume x could not be found."), "itemNotFound", "Volume x could not be found."),
        (400, service("BMS.0114", "m"), "BMS.0114", "m"),
        (429, gateway("APIG.0308", "slow"), "APIG.0308", "slow"),
        (400, service("BMS.9999", "new"), "BMS.9999", "new"),
        (401, keystone("Unauthorized."), "http_401", "Unauthorized."),
        (404, NOVA_404_PAGE, "http_404", "404 Not Found 404 Not Found The resource could not be found."),
        (502, "", "http_502", ""),
        (202, "", "http_202", ""),
        (400, detailed("Xyz.1", {"code": "BMS.0114", "message": "y"}, ""), "BMS.0114", "y"),
    ],
)
def test_code_and_message_are_shown(status: int, body: str, code: str, message: str) -> None:
    """The service's own code and words are kept unchanged."""
    answer = classify(Answer(status, {}, body.encode()))
    assert (answer.code, answer.message) == (code, message)


def test_message_is_redacted() -> None:
    """The gateway's echo of the signed request shows neither access key nor signature."""
    echo = (
        "verify aksk signature fail, canonicalRequest:PUT|/v2/x|host:ecs|authorization:SDK-HMAC-SHA256 "
        "Access=QTWAOYTTINDUT2QVKYUC, SignedHeaders=host, Signature=7be6668032f7|x"
    )
    for body in (gateway("APIGW.0301", echo), echo, f"<html>{echo}</html>", f"<password>{'s3cret' * 3}</password>"):
        message = classify(Answer(401, {}, body.encode())).message
        assert "[redacted]" in message
        assert not re.search("QTWAOYTT|7be66680|s3cret", message)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "17"}, "", 17),
        ({"retry-after": " 0 "}, "", 0),
        ({"retry-after": "86400"}, "", 3600),
        ({"retry-after": "9" * 5000}, "", 3600),
        ({"retry-after": "-5"}, "", None),
        ({"retry-after": "1e3"}, "", None),
        ({"retry-after": "²"}, "", None),
        ({"retry-after": "soon"}, "", None),
        ({"retry-after": "Mon, 23 Nov 2026 08:01:30 GMT"}, "", 90),
        ({"retry-after": "Mon, 23 Nov 2026 07:00:00 GMT"}, "", 0),
        ({"retry-after": "Tue, 23 Nov 2027 08:00:00 GMT"}, "", 3600),
        ({"retry-after": "Mon, 99999999999999 Nov 2026 08:00:00 GMT"}, "", None),
        ({}, fault("overLimit", "", 429, retryAfter="7"), 7),
        ({}, '{"overLimit": {"message": "", "retryAfter": 7.5}}', 7.5),
        ({}, '{"overLimit": {"message": "", "retryAfter": NaN}}', None),
        ({}, '{"overLimit": {"message": "", "retryAfter": Infinity}}', 3600),
        ({}, f'{{"overLimit": {{"message": "", "retryAfter": {10**400}}}}}', 3600),  # an integer, but no float
        ({}, f'{{"overLimit": {{"message": "", "retryAfter": -{10**400}}}}}', None),
        ({}, '{"overLimit": {"message": "", "retryAfter": -1}}', None),
        ({}, '{"overLimit": {"message": "", "retryAfter": true}}', None),
        ({}, '{"overLimit": {"message": "", "retryAfter": [1]}}', None),
        ({"retry-after": "3"}, fault("overLimit", "", 429, retryAfter="7"), 3),
        ({"retry-after": "soon"}, fault("overLimit", "", 429, retryAfter="7"), 7),
        ({}, service("Ecs.0603"), 60),
        ({"retry-after": "5"}, service("Ecs.0603"), 5),
        ({}, "", None),
    ],
)
def test_retry_after(headers: dict[str, str], body: str, seconds: float | None) -> None:
    """The header precedes the body, the body the table; the maximum is an hour."""
    now = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)
    assert classify(Answer(429, headers, body.encode()), now=now).retry_after == seconds


def test_date_needs_now() -> None:
    """Without the time of day a date in Retry-After is ignored."""
    date = (datetime.now(UTC) + timedelta(minutes=1)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert classify(Answer(503, {"retry-after": date})).retry_after is None


# -------------------------------------------------------------------------------------------------- anything


def _envelope(code: object, name: str, message: object, more: object) -> list[object]:
    return [
        {name: {"message": message, "code": code, "retryAfter": more}},
        {"error": {"message": message, "code": code, "details": [{"code": more, "message": message}, more]}},
        {"error": {"message": message, "code": code, "title": more}},
        {"error_msg": message, "error_code": code, "request_id": more},
        {"code": code, "message": message, name: more},
        {name: more, "error": {"code": code}},
        [{name: {"message": message, "code": code}}],
    ]


LEAF = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=30))
KEYS = st.one_of(st.sampled_from([row.key for row in TABLE]), st.text(max_size=20))
MESSAGES = st.one_of(
    st.sampled_from([_message(body) for _, body, _, _ in EXPECTED]),
    st.recursive(LEAF, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2)),
)
CODES = st.one_of(KEYS, LEAF)
ENVELOPES = st.builds(_envelope, CODES, KEYS, MESSAGES, st.one_of(CODES, MESSAGES)).flatmap(st.sampled_from)
STATUSES = st.one_of(st.sampled_from(sorted({status for status, *_ in EXPECTED})), st.integers())
BODIES = st.one_of(
    st.binary(max_size=200),
    st.text(" \t\r\n\x0b\x0c", max_size=5).map(str.encode),
    ENVELOPES.map(lambda document: json.dumps(document).encode()),
    MESSAGES.map(lambda document: json.dumps(document).encode()),
)
HEADERS = st.dictionaries(
    st.one_of(st.just("retry-after"), st.text(max_size=10)),
    st.one_of(st.text(max_size=30), st.integers().map(str), st.datetimes().map(str)),
    max_size=3,
)


@settings(max_examples=500, deadline=None)
@given(STATUSES, HEADERS, BODIES)
@example(400, {}, b"[" * 5_000)
@example(400, {}, b'{"error":' * 5_000)
@example(400, {}, b'{"badRequest": {"code": ' + b"9" * 5000 + b"}}")
@example(404, {}, b'\xff\xfe{"itemNotFound"')
@example(404, {}, b'\xef\xbb\xbf{"itemNotFound": {"message": "\\ud800", "code": 404}}')
@example(200, {}, b"\xef\xbb\xbf")
@example(200, {}, b"\x00")
def test_anything_is_classified(status: int, headers: dict[str, str], body: bytes) -> None:
    """Any answer is classified: as success only if it is one, and with a reason if it is final."""
    answer = classify(Answer(status, headers, body), now=datetime(2026, 11, 23, tzinfo=UTC))
    assert (answer.kind is ACCEPTED) == (status in {200, 201, 202, 204} and not body.strip())
    assert (answer.kind is PERMANENT) == (answer.reason is not None)
    assert answer.retry_after is None or 0 <= answer.retry_after <= 3600
    assert len(answer.message) <= 500
    f"{answer.code} {answer.message}".encode()
    if answer.kind is DONE_VERIFY:
        assert answer.code.lower() in {"bms.0114", "ecs.0111", "itemnotfound", "badrequest"}
        if "." not in answer.code:
            assert status in {400, 404}
            assert re.search("not attached|volume_id not found|already detached", answer.message)

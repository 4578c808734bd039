"""The body of a request: valid and invalid fields, and the report of all faults at once."""

import json
import re
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.inbox.read import Rejected, read
from shared.inbox.request import MESSAGES, OUTSIDE, RequestData, request_faults
from shared.model import DetachRequest, Fault, Message, Origin
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, SERVER, START, TRACE, VOLUME, bare, cloudevent

PROJECT = "c685484a8cc2416b97260938705deb65"
DATA = bare(SERVER, VOLUME)


def found_in(value: object) -> Any:
    return read(Message(json.dumps(value), "m-1", QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)


def requests_of(**data: object) -> list[DetachRequest]:
    found = found_in(data)
    assert isinstance(found, list), found
    return [case.request for case in found]


def faults_of(value: object) -> list[tuple[str, str]]:
    found = found_in(value)
    assert isinstance(found, Rejected), found
    return [(fault.field, fault.message) for fault in found.faults]


def fields(value: object) -> list[str]:
    return [field for field, _ in faults_of(value)]


def test_every_field_is_taken_over() -> None:
    """Each field of the data becomes a field of the request."""
    said: dict[str, Any] = {
        "project_id": PROJECT, "attachment_id": "00000000-0000-4000-8000-000000000001", "unmounted": True,
        "allow_system_disk": True, "dry_run": True, "request_ttl": 7200, "task_token": "token",
        "context": {"ticket": ["CHG-1", 2, None]},
    }  # fmt: skip
    (request,) = requests_of(**DATA, **said)
    assert said == {name: getattr(request, name) for name in said}


def test_permissions_are_off_by_default() -> None:
    """Nothing dangerous is on by default."""
    (request,) = requests_of(**DATA)
    assert (request.unmounted, request.allow_system_disk, request.dry_run) == (False, False, False)
    assert (request.project_id, request.attachment_id, request.task_token, request.context) == (None, None, None, None)
    assert request.request_ttl is None


@pytest.mark.parametrize("name", ["server_id", "volume_id", "attachment_id"])
@pytest.mark.parametrize("spell", [str.upper, lambda text: text.replace("-", ""), lambda text: UUID(text).hex.upper()])
def test_ids_have_one_spelling(name: str, spell: Any) -> None:
    """Upper case and missing dashes are normalised to the cloud's spelling."""
    (request,) = requests_of(**{**DATA, name: spell(SERVER)})
    assert getattr(request, name) == SERVER


@pytest.mark.parametrize("name", ["server_id", "volume_id", "attachment_id"])
@pytest.mark.parametrize(
    "value",
    ["{" + SERVER + "}", "urn:uuid:" + SERVER, SERVER + "\n", "\n" + SERVER, " " + SERVER, SERVER + "/",
     SERVER + "/action", "../" + SERVER, SERVER + "?x=1", SERVER + "%2e", SERVER + "\x00", SERVER[:-1], SERVER + "d",
     SERVER.replace("-", "--"), "95bf24905428432cad9b5e3406f869-dd", "\uff19" + SERVER[1:], "0x" + SERVER[2:],
     "_" + SERVER[1:], "", "*", 5, True, ["x"], {}],
)  # fmt: skip
def test_only_ids_are_ids(name: str, value: object) -> None:
    """Only a UUID can become part of a URL."""
    assert [name] == fields({**DATA, name: value})


@pytest.mark.parametrize("value", [PROJECT.upper(), str(UUID(PROJECT))])
def test_project_has_one_spelling(value: str) -> None:
    """A project id is 32 lower case hex digits, however it is written."""
    (request,) = requests_of(**DATA, project_id=value)
    assert request.project_id == PROJECT


@pytest.mark.parametrize(
    "value", [PROJECT + "\n", PROJECT[:-1], PROJECT + "0", "eu-de", "", "../" + PROJECT, 5, "g" * 32]
)
def test_only_project_ids_are_project_ids(value: object) -> None:
    """A project is named by its id, not by its name or a path."""
    assert fields({**DATA, "project_id": value}) == ["project_id"]


@pytest.mark.parametrize("name", ["unmounted", "allow_system_disk", "dry_run"])
@pytest.mark.parametrize("value", ["true", "yes", 1, 0, None, [], ""])
def test_permissions_are_booleans(name: str, value: object) -> None:
    """Other values, even if they look like yes, are refused."""
    assert [name] == fields({**DATA, name: value})


@pytest.mark.parametrize("value", [1, 604_800, None])
def test_time_to_live_is_up_to_a_week(value: int | None) -> None:
    """Whole seconds; null means unset."""
    (request,) = requests_of(**DATA, request_ttl=value)
    assert request.request_ttl == value


@pytest.mark.parametrize(
    ("value", "fault"),
    [(0, "must be from 1 to 604800"), (-1, "must be from 1 to 604800"), (604_801, "must be from 1 to 604800"),
     (10**30, "must be from 1 to 604800"), (60.0, "must be a whole number"), ("60", "must be a whole number"),
     (True, "must be a whole number"), ([], "must be a whole number")],
)  # fmt: skip
def test_other_times_to_live_are_refused(value: object, fault: str) -> None:
    """Nothing is converted, and the fault says which values are valid."""
    assert faults_of({**DATA, "request_ttl": value}) == [("request_ttl", fault)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("dryrun", "dry_run"), ("dry-run", "dry_run"), ("Dry_Run", "dry_run"), ("server", "server_id"),
     ("serverId", "server_id"), ("volumeid", "volume_id"), ("volumes", "volume_ids"), ("unmount", "unmounted"),
     ("allowSystemDisk", "allow_system_disk"), ("v\u043elume_id", "volume_id"),
     ("force", None), ("id", None), ("source", None), ("", None), ("x" * 120, None)],
)  # fmt: skip
def test_unknown_fields_are_refused_by_name(name: str, meant: str | None) -> None:
    """A typo must not become a detach; the fault suggests the field that was probably meant."""
    hint = f" (did you mean {meant}?)" if meant else ""
    assert [(name, f"is not a field of a request{hint}")] == faults_of({**DATA, name: True})


def test_all_faults_are_said_at_once() -> None:
    """One answer has all faults of the envelope and of the data."""
    data = {"server_id": "x", "volume_id": VOLUME, "volume_ids": [], "attachment_id": VOLUME, "dryrun": True,
            "unmounted": "yes", "context": {"x": "y" * 5000}, "project_id": "eu-de", "task_token": ""}  # fmt: skip
    own = {"server_id", "volume_ids", "attachment_id", "dryrun", "unmounted", "context", "project_id", "task_token"}
    assert own == set(fields(data))
    wrapped = fields(cloudevent(data, id="", time="today", specversion="0.3"))
    assert {"id", "time", "specversion"} | {f"data.{name}" for name in own} == set(wrapped)


def test_ids_that_are_valid_are_named_in_the_answer() -> None:
    """The answer to a rejected request contains its valid parts."""
    found = found_in(
        cloudevent({"server_id": SERVER.upper(), "volume_id": "x", "context": {"a": 1}}, correlationid="C")
    )
    assert (found.server_id, found.volume_id, found.context, found.origin.correlation_id) == (SERVER,
        None, {"a": 1}, "C")  # fmt: skip
    assert (found.origin.id, found.origin.source, found.origin.time) == ("4711", "/changes", START)


@pytest.mark.parametrize(
    "data", [{}, {"server_id": SERVER}, {"server_id": SERVER, "volume_id": None, "volume_ids": None}]
)
def test_a_volume_is_required(data: dict[str, object]) -> None:
    """A request without a volume is refused, and the fault names both fields."""
    assert ("volume_id", "is required (or volume_ids, or all_data_disks)") in faults_of(data)


def test_several_volumes_are_as_many_requests() -> None:
    """Each volume of a list becomes its own request, with the same identity, in the list's order."""
    volumes = [str(UUID(int=number)) for number in range(40)]
    requests = requests_of(server_id=SERVER, volume_ids=volumes, unmounted=True)
    assert volumes == [request.volume_id for request in requests]
    assert {("m-1", SERVER, True)} == {(request.id, request.server_id, request.unmounted) for request in requests}


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"volume_ids": []}, "volume_ids"),
        ({"volume_ids": [str(UUID(int=number)) for number in range(41)]}, "volume_ids"),
        ({"volume_ids": VOLUME}, "volume_ids"),
        ({"volume_ids": {"0": VOLUME}}, "volume_ids"),
        ({"volume_ids": [VOLUME, "x"]}, "volume_ids.1"),
        ({"volume_ids": [VOLUME, None]}, "volume_ids.1"),
        ({"volume_ids": [VOLUME, VOLUME.upper().replace("-", "")]}, "volume_ids"),
        ({"volume_ids": [VOLUME], "volume_id": VOLUME}, "volume_ids"),
        ({"volume_ids": [VOLUME], "attachment_id": SERVER}, "attachment_id"),
    ],
)
def test_lists_of_volumes_have_rules(data: dict[str, object], field: str) -> None:
    """Too many, none, duplicates in any spelling, or a list beside a single volume are refused."""
    assert field in fields({"server_id": SERVER, **data})


def test_context_may_be_four_kilobytes() -> None:
    """The limit counts bytes of the context's JSON, so that a verdict stays small in any alphabet."""
    room = 4096 - len('{"a": ""}')
    assert len(requests_of(**DATA, context={"a": "x" * room})) == 1
    assert fields({**DATA, "context": {"a": "x" * (room + 1)}}) == ["context"]
    assert fields({**DATA, "context": {"a": "ä" * (room // 2 + 1)}}) == ["context"]


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        ({"volume_ids": [VOLUME], "volume_id": VOLUME}, [("volume_ids", "must not stand beside volume_id")]),
        ({"volume_ids": [VOLUME, VOLUME.upper()]}, [("volume_ids", "names a volume twice")]),
        (
            {"volume_ids": [VOLUME], "attachment_id": SERVER, "task_token": "t"},
            [
                ("attachment_id", "goes with a single volume_id only"),
                ("task_token", "goes with a single volume_id only, or with summary, which answers it"),
            ],
        ),
    ],
)
def test_faults_between_fields_are_said(data: dict[str, object], faults: list[tuple[str, str]]) -> None:
    """Each field is valid alone, but not in combination."""
    assert faults_of({"server_id": SERVER, **data}) == faults


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("context", "fault"),
    [
        ({"n": [2**63 - 1, -(2**63)]}, None),
        ({"n": [2**63]}, "must hold no integer of more than 64 bits"),
        ({"n": {"m": -(2**63) - 1}}, "must hold no integer of more than 64 bits"),
        (nested(30), None),
        (nested(31), "must be nested at most 30 deep"),
        ({"a": "x" * 4096}, "must be at most 4096 bytes as JSON"),
    ],
)
def test_context_can_be_carried_on(context: dict[str, Any], fault: str | None) -> None:
    """A context beyond the limits of EventBridge or of our own messages is refused, with the limit."""
    if fault is None:
        assert [request.context for request in requests_of(**DATA, context=context)] == [context]
    else:
        assert faults_of({**DATA, "context": context}) == [("context", fault)]


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("server_id", 5, "must be a UUID as a string"),
        ("server_id", "x", "must be a UUID, such as 95bf2490-5428-432c-ad9b-5e3406f869dd"),
        ("server_id", "{" + SERVER + "}", "must be a UUID without braces or prefix"),
        ("requested_at", "today", "must be an RFC 3339 time with a zone, such as 2026-11-23T08:00:00Z"),
        ("unmounted", "yes", "must be true or false"),
        ("context", [], "must be an object"),
        ("task_token", 5, "must be a text"),
        ("task_token", "", "must have from 1 to 2048 characters"),
        ("task_token", "x" * 2049, "must have from 1 to 2048 characters"),
        ("project_id", "eu-de", "must be 32 hexadecimal digits"),
        ("project_id", 5, "must be a text"),
    ],
)
def test_fault_says_what_would_be_right(name: str, value: object, fault: str) -> None:
    """In JSON's terms, not in those of the validation library."""
    assert faults_of({**DATA, name: value}) == [(name, fault)]


@pytest.mark.parametrize("many", [[], [str(UUID(int=number)) for number in range(41)]])
def test_fault_says_how_many_volumes_would_be_right(many: list[str]) -> None:
    assert [("volume_ids", "must hold from 1 to 40 volumes")] == faults_of({"server_id": SERVER, "volume_ids": many})


LIBRARY = re.compile(
    r"input should|should (be|have)|valid (string|int|list|dict|bool)|validation|dictionary|pydantic", re.I
)
"""How pydantic writes."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
    | st.sampled_from([SERVER, VOLUME, PROJECT, "x" * 2049, 10**30, -1, 0, 1.0, "1", "true", ["x"] * 41]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)  # fmt: skip
FIELDS = st.sampled_from([*RequestData.model_fields, "force"])


def raised_by(data: dict[str, Any]) -> set[str]:
    """The types of pydantic's errors."""
    try:
        RequestData.model_validate(data)
    except ValidationError as error:
        return {item["type"] for item in error.errors()}
    return set()


@given(data=st.dictionaries(FIELDS, JSON, max_size=4))
def test_no_fault_is_in_the_words_of_the_library(data: dict[str, Any]) -> None:
    """Whatever JSON stands in whatever field."""
    assert [] == [fault for fault in request_faults(data, "data") if LIBRARY.search(fault.message)]
    assert raised_by(data) <= OUTSIDE | set(MESSAGES) | {"value_error"}


@pytest.mark.parametrize("name", RequestData.model_fields)
@pytest.mark.parametrize("value", [None, True, -1, 0, 10**30, 0.5, "", "x", "x" * 2049, [], ["x"] * 41, {}, {"a": 1}])
def test_no_field_has_a_fault_in_the_words_of_the_library(name: str, value: Any) -> None:
    """Each kind of value, and each limit, in each field."""
    assert [] == [fault for fault in request_faults({**DATA, name: value}, "") if LIBRARY.search(fault.message)]
    assert raised_by({name: value}) <= OUTSIDE | set(MESSAGES) | {"value_error"}


@pytest.mark.parametrize(
    ("value", "valid"), [("t", True), ("t" * 2048, True), ("", False), ("t" * 2049, False), (5, False), (None, False)]
)
def test_a_waiting_task_gets_the_failure_of_an_invalid_request(value: object, valid: bool) -> None:
    """The workflow gets the failure, if its token can be answered."""
    assert found_in({**DATA, "dryrun": True, "task_token": value}).task_token == (value if valid else None)


@pytest.mark.parametrize("value", ["text", [1], 5, True])
def test_context_is_an_object(value: object) -> None:
    """The context must be an object."""
    assert fields({**DATA, "context": value}) == ["context"]


@pytest.mark.parametrize("value", ["", "x" * 2049, 5, {}])
def test_task_token_is_a_token(value: object) -> None:
    """An unusable token is refused before anything is done."""
    assert fields({**DATA, "task_token": value}) == ["task_token"]


def test_the_earlier_time_counts() -> None:
    """A bare request may set its time, but not a later one than that of its message."""
    early, late = START - timedelta(hours=1), START + timedelta(hours=1)
    assert [early] == [request.requested_at for request in requests_of(**DATA, requested_at=early.isoformat())]
    assert [request.requested_at for request in requests_of(**DATA, requested_at=late.isoformat())] == [START]
    assert fields({**DATA, "requested_at": "2026-11-23T08:00:00"}) == ["requested_at"]


def test_an_id_that_is_too_long_is_refused() -> None:
    """An event id that fits into no verdict is a fault of the request, not a crash."""
    assert fields(cloudevent(DATA, id="x" * 513)) == ["id"]
    assert [case.request.id for case in found_in(cloudevent(DATA, id="x" * 512))] == ["x" * 512]


TOKEN = "AQC-a-token-of-a-task"


def test_wrong_request_is_answered_with_all_that_is_right_in_it() -> None:
    """The answer has every valid field, and the task token only where it is needed."""
    event = cloudevent({**DATA, "context": {"a": 1}, "dry_run": True, "task_token": TOKEN, "dryrun": True},
        id=f"run/{TOKEN}", correlationid=f"of {TOKEN}", traceparent=TRACE, tracestate="a=1",
        expirytime="2026-11-23T09:00:00Z")  # fmt: skip
    origin = Origin("run/[redacted]", "/changes", START, START + timedelta(hours=1), "of [redacted]", TRACE, "a=1")
    held = "must not hold the task token, since every event shows it"
    faults = (
        Fault("dryrun", "is not a field of a request (did you mean dry_run?)"),
        Fault("id", held),
        Fault("correlationid", held),
    )
    assert found_in(event) == Rejected(
        origin, faults, json.dumps(event), SERVER, VOLUME, {"a": 1}, TOKEN, None, dry_run=True
    )


@pytest.mark.parametrize("dry_run", ["true", 1, None, False, ...])
def test_only_a_dry_run_is_answered_as_one(dry_run: object) -> None:
    """An invalid request that may not be a dry run fails."""
    said = {} if dry_run is ... else {"dry_run": dry_run}
    assert found_in({**DATA, "dryrun": True, **said}).dry_run is False


def test_the_report_of_faults_is_bounded() -> None:
    """Names come from the sender, in any length and number."""
    found = found_in({**DATA, **{f"{number:03}{'x' * 200}": 1 for number in range(60)}})
    assert len(found.faults) == 51
    assert {len(fault.field) for fault in found.faults[:50]} == {128}
    assert found.faults[50] == Fault("", "has 10 more faults")

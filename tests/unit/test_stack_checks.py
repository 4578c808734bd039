"""`make doctor STACK=`: the meaning of each fact about a stack, with its cure."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.model import Reason
from tools import stack_checks as checks
from tools.examination import Line, State
from tools.flow import Waiting
from tools.stack_facts import (
    AlarmFacts,
    Alias,
    Asked,
    FunctionFacts,
    RuleFacts,
    SecretFacts,
    SourceMapping,
    StackFacts,
    TopicFacts,
    told,
)

KEPT = timedelta(days=14)
TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms"


def stack(status: str) -> Line:
    return checks.stack(StackFacts("s", status, {}, {}))


def asked(detail: str, code: str = "", calls: Iterable[int | None] = (), project: str = "") -> Asked:
    reason = {"code": code, "message": "what happened", "remedy": "what to do"} if code else None
    evidence = {"calls": [{"status": status} for status in calls]}
    verdict: dict[str, Any] = {"verdict": "checked", "detail": detail, "explanation": "why", "evidence": evidence}
    return Asked("by-hand-1", project, 2.5, verdict | ({"reason": reason} if reason else {}))


def login(found: Asked, known: bool = False) -> Line:
    return checks.login(found, "s", known)


STATES: dict[str, tuple[Line, State, str]] = {
    "deployed": (stack("UPDATE_COMPLETE"), State.OK, ""),
    "being deployed": (stack("UPDATE_IN_PROGRESS"), State.WARN, "check again"),
    "rolled back": (stack("UPDATE_ROLLBACK_COMPLETE"), State.WARN, "describe-stack-events --stack-name s"),
    "stuck": (stack("UPDATE_ROLLBACK_FAILED"), State.FAIL, "continue-update-rollback --stack-name s"),
    "never deployed": (stack("ROLLBACK_COMPLETE"), State.FAIL, "delete-stack --stack-name s"),
    "half deleted": (stack("DELETE_FAILED"), State.FAIL, "describe-stack-events"),
    "a queue": (checks.queue(Waiting(1, 2, 3, KEPT)), State.OK, ""),
    "young": (checks.oldest(timedelta(minutes=2), KEPT, "s"), State.OK, ""),
    "old": (checks.oldest(timedelta(minutes=40), KEPT, "s"), State.WARN, "login of the function"),
    "soon lost": (checks.oldest(timedelta(days=8), KEPT, "s"), State.FAIL, "`make resume STACK=s`"),
    "age unknown": (checks.oldest(None, KEPT, "s"), State.NOT_TRIED, ""),
    "no dead letters": (checks.dead_letters(Waiting(0, 0, 0, KEPT), "s"), State.OK, ""),
    "dead letters": (checks.dead_letters(Waiting(0, 0, 1, KEPT), "s"), State.FAIL, "`make redrive STACK=s DRY=1`"),
    "running": (checks.mapping("requests", SourceMapping("u", "Enabled"), "cure"), State.OK, ""),
    "paused": (checks.mapping("requests", SourceMapping("u", "Disabled"), "cure"), State.WARN, "cure"),
    "being paused": (checks.mapping("requests", SourceMapping("u", "Disabling"), "cure"), State.WARN, "in a minute"),
    "unreadable": (
        checks.mapping("requests", SourceMapping("u", "Enabled", "PROBLEM: access denied"), ""), State.FAIL, "rights",
    ),
    "logged in": (login(asked("would_fail", "server_not_found", [200, 404])), State.OK, ""),
    "would detach": (login(asked("would_detach"), known=True), State.OK, ""),
    "would not detach": (login(asked("would_fail", "server_locked"), known=True), State.WARN, "what to do"),
    "no login": (login(asked("would_fail", "unauthorized")), State.FAIL, "what to do"),
    "may not ask": (login(asked("requester_not_allowed", "requester_not_allowed")), State.NOT_TRIED, "what to do"),
    "cloud away": (login(asked("would_wait", calls=[None, 503])), State.FAIL, "make status REQUEST=by-hand-1 STACK=s"),
    "has to wait": (login(asked("would_wait", calls=[200]), known=True), State.WARN, ""),
    "no verdict": (login(Asked("by-hand-1", "", 120)), State.FAIL, "make status REQUEST=by-hand-1 STACK=s"),
    "heard": (checks.bus([Asked("x", "", 120), asked("would_fail", "server_not_found")]), State.OK, ""),
    "not heard": (checks.bus([Asked("x", "", 120)]), State.FAIL, "verdicts-are-not-emitted"),
    "a rule": (checks.rule(RuleFacts("r", True, ("arn:q",)), "arn:q"), State.OK, ""),
    "a rule that is off": (checks.rule(RuleFacts("r", False, ("arn:q",)), "arn:q"), State.FAIL, "enable-rule --name r"),
    "a rule to nowhere": (checks.rule(RuleFacts("r", True, ()), "arn:q"), State.FAIL, "RequestsFromBus"),
    "a sink": (checks.sink(0), State.OK, ""),
    "a sink that refuses": (checks.sink(3), State.WARN, "the-sink-does-not-take-verdicts"),
    "a topic": (checks.topic("alarm topic", TopicFacts(TOPIC, 2)), State.OK, ""),
    "a topic nobody hears": (checks.topic("alarm topic", TopicFacts(TOPIC, 0, 1)), State.FAIL, "confirm"),
    "a topic that is gone": (checks.topic("alarm topic", TopicFacts(TOPIC, trouble="Gone")), State.FAIL, "name an"),
    "a topic alarms cannot use": (
        checks.topic("alarm topic", TopicFacts(TOPIC, 2, key="alias/aws/sns")), State.FAIL, "cloudwatch.amazonaws.com",
    ),
    "no topic": (checks.no_topic("s"), State.WARN, "AlarmTopicArn="),
}  # fmt: skip


@pytest.mark.parametrize(("line", "state", "cure"), STATES.values(), ids=STATES)
def test_a_fact_has_its_state_and_its_cure(line: Line, state: State, cure: str) -> None:
    """What is as it should be has no cure, and what is not says what to do."""
    assert line.state is state
    assert cure in line.cure
    assert line.cure or state in (State.OK, State.NOT_TRIED) or line.check == "login"


def test_every_reason_of_a_verdict_says_something_about_the_login() -> None:
    """Those that come from before or without a look at the cloud are no proof that the function can log in."""
    about = {reason: login(asked("would_fail", reason)).state for reason in Reason}
    assert {reason for reason, state in about.items() if state is State.FAIL} == checks.NO_LOGIN
    assert {reason for reason, state in about.items() if state is State.NOT_TRIED} == checks.NOT_LOOKED
    assert about[Reason.SERVER_NOT_FOUND] is State.OK


def test_a_project_has_a_login_of_its_own() -> None:
    assert login(asked("would_fail", "server_not_found", project="c685484a8cc2416b")).check == "login c685484a"


def test_functions_are_one_line_unless_something_is_wrong() -> None:
    fine, idle = FunctionFacts("A", "Active"), FunctionFacts("B", "Inactive")
    assert [line.found for line in checks.functions([fine, idle])] == ["A Active, B Inactive"]
    bad = [
        FunctionFacts("C", "Failed", "no role"),
        FunctionFacts("D", "Active", update="Failed", update_why="no key"),
        FunctionFacts("E", "Pending"),
    ]
    lines = list(checks.functions([fine, *bad]))
    assert [(line.state, line.found) for line in lines] == [
        (State.FAIL, "C: Failed, no role"),
        (State.FAIL, "D: update failed, no key"),
        (State.WARN, "E: is being updated"),
    ]
    assert all(line.cure for line in lines)


def test_versions_tell_a_shift_and_a_missing_alias() -> None:
    lines = list(checks.versions({"A": Alias("3", {}), "B": Alias("3", {"4": 0.1}), "C": None}, "s"))
    assert [(line.state, line.found) for line in lines] == [
        (State.WARN, "B: version 3, and 10% to version 4: a gradual deployment is under way"),
        (State.WARN, "C has no alias `live`, so it cannot be rolled back"),
        (State.OK, "A 3; to go back: `make rollback STACK=s`"),
    ]


def test_a_function_that_is_stopped_by_its_reserve_fails() -> None:
    lines = list(checks.concurrency({"A": 0, "B": None, "C": 10}, {"A": "s-A-X"}))
    assert (lines[0].state, lines[1].found) == (State.FAIL, "reserved: C 10")
    assert "delete-function-concurrency --function-name s-A-X" in lines[0].cure
    assert [line.found for line in checks.concurrency({"B": None}, {})] == ["none reserved, none stopped"]


def test_secrets_are_there_or_have_a_cure() -> None:
    at = datetime(2026, 11, 23, 8, tzinfo=UTC)
    found = [
        SecretFacts("a", "the cloud", True, changed=at),
        SecretFacts("b", "the sink", False),
        SecretFacts("c", "the webhook", True, deleted=at),
    ]
    lines = list(checks.secrets(found))
    assert [line.state for line in lines] == [State.OK, State.FAIL, State.FAIL]
    assert lines[0].found == "a (the cloud), changed 2026-11-23"
    assert "create-secret --name b" in lines[1].cure
    assert "restore-secret --secret-id c" in lines[2].cure


def test_an_alarm_that_is_raised_names_its_runbook() -> None:
    raised = AlarmFacts("q", "ALARM", "too old", "It stands. Runbook: docs/operations.md#the-queue-stands-still")
    (line,) = checks.alarms([raised, AlarmFacts("r", "OK")])
    assert (line.state, line.cure) == (State.FAIL, "docs/operations.md#the-queue-stands-still")
    (ticket,) = checks.alarms([AlarmFacts("t", "ALARM", "late", "TICKET: It can wait. Runbook: docs/x")])
    assert ticket.state is State.WARN
    (muted,) = checks.alarms([AlarmFacts("r", "OK", tells=False)])
    assert (muted.state, "enable-alarm-actions --alarm-names r" in muted.cure) == (State.WARN, True)
    (fine,) = checks.alarms([AlarmFacts("q", "OK"), AlarmFacts("r", "INSUFFICIENT_DATA")])
    assert (fine.state, fine.found) == (State.OK, "none of 2 is raised")


def test_the_canary_says_what_it_looks_at() -> None:
    assert checks.canary({}) is None
    on = {"Canary": "15m", "CanaryServerId": "x", "CanaryVolumeId": "y"}
    lines = [checks.canary({"Canary": "off"}), checks.canary({"Canary": "5m"}), checks.canary(on)]
    assert [line.state for line in lines if line] == [State.OK, State.WARN, State.OK]
    assert lines[2]
    assert lines[2].found == "every 15m, for server x and volume y"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172_800, "2 days")],
)
def test_durations_have_one_unit(seconds: int, text: str) -> None:
    assert told(timedelta(seconds=seconds)) == text

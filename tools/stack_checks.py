"""Turns facts about a deployed stack into check results with their cures."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from shared.model import Reason
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

STALLED = timedelta(minutes=30)
"""The age of the oldest message at which `QueueStalledAlarm` is raised."""

AWS_OWN_KEY = "alias/aws/sns"
"""CloudWatch may not use this key of SNS, so a topic with it receives no alarms (Amazon SNS, key management)."""

EVENTS = "`aws cloudformation describe-stack-events --stack-name {stack}` names the resource"
STATUSES: Mapping[str, tuple[State, str, str]] = {
    "CREATE_COMPLETE": (State.OK, "", ""),
    "UPDATE_COMPLETE": (State.OK, "", ""),
    "IMPORT_COMPLETE": (State.OK, "", ""),
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS": (State.OK, "", ""),
    "UPDATE_ROLLBACK_COMPLETE": (State.WARN, "the last deployment failed, and was rolled back", EVENTS),
    "UPDATE_ROLLBACK_FAILED": (
        State.FAIL, "a deployment failed, and could not be rolled back",
        EVENTS + "; then `aws cloudformation continue-update-rollback --stack-name {stack}`",
    ),
    "ROLLBACK_COMPLETE": (
        State.FAIL, "the first deployment failed", "`aws cloudformation delete-stack --stack-name {stack}`, then deploy"
    ),
}  # fmt: skip
"""The meaning of CloudFormation's statuses, and the cures."""


def stack(found: StackFacts) -> Line:
    """The state of the deployment."""
    under_way = (State.WARN, "a deployment is under way", "check again when it has finished")
    broken = (State.FAIL, "the stack is not deployed", EVENTS)
    usual = under_way if found.status.endswith("_IN_PROGRESS") and not found.status.startswith("DELETE") else broken
    state, means, cure = STATUSES.get(found.status, usual)
    return Line("stack", state, ": ".join(filter(None, (found.status, means))), cure.format(stack=found.name))


# ------------------------------------------------------------------------------------------------- queues, mappings


def queue(waiting: Waiting) -> Line:
    """The messages of the request queue, and how long they are kept."""
    return Line("request queue", State.OK, f"{waiting.text}; kept for {told(waiting.retention)}")


def oldest(age: timedelta | None, retention: timedelta, stack: str) -> Line:
    """The age of the oldest message; None if CloudWatch has no value."""
    check = "oldest request"
    if age is None:
        return Line(check, State.NOT_TRIED, "CloudWatch has no value of the last 15 minutes, as for an idle queue")
    found = f"{told(age)} in the queue"
    if age >= retention / 2:
        lost = f"{found}; it is lost after {told(retention)}"
        return Line(
            check, State.FAIL, lost, f"`make resume STACK={stack}` if it is paused; otherwise see the lines below"
        )
    if age >= STALLED:
        return Line(check, State.WARN, found, "see the mapping and the functions below, and the login of the function")
    return Line(check, State.OK, found)


def dead_letters(waiting: Waiting, stack: str) -> Line:
    """The messages of the dead-letter queue."""
    if not waiting.total:
        return Line("dead letters", State.OK, "none")
    return Line(
        "dead letters", State.FAIL, waiting.text, f"`make redrive STACK={stack} DRY=1` shows them and what to do"
    )


def mapping(check: str, found: SourceMapping, cure: str) -> Line:
    """Whether Lambda delivers the messages of a queue to a function. `cure` says how to enable it."""
    last = f"; last batch: {found.last}" if found.last else ""
    if found.state == "Disabled":
        return Line(check, State.WARN, f"disabled: messages wait in the queue{last}", cure)
    if found.state != "Enabled":
        return Line(check, State.WARN, f"{found.state}{last}", "check again in a minute")
    if found.last.startswith("PROBLEM"):
        return Line(
            check, State.FAIL, f"enabled{last}", "deploy again: the function's role needs its rights on the queue"
        )
    return Line(check, State.OK, f"enabled{last}")


# ------------------------------------------------------------------------------------------------------- functions


def functions(found: Sequence[FunctionFacts]) -> Iterator[Line]:
    """Whether each function can be invoked. `Inactive` is fine: an idle function is activated when it is invoked."""
    bad = []
    for one in found:
        if one.state == "Failed":
            bad.append(Line("functions", State.FAIL, f"{one.name}: {one.state}, {one.why}", "deploy again"))
        elif one.update == "Failed":
            bad.append(Line("functions", State.FAIL, f"{one.name}: update failed, {one.update_why}", "deploy again"))
        elif one.state == "Pending" or one.update == "InProgress":
            bad.append(Line("functions", State.WARN, f"{one.name}: is being updated", "check again in a minute"))
    yield from bad or [Line("functions", State.OK, ", ".join(f"{one.name} {one.state}" for one in found))]


def versions(found: Mapping[str, Alias | None], stack: str) -> Iterator[Line]:
    """The version of each function that receives the messages."""
    for name, alias in found.items():
        if alias is None:
            yield Line(
                "versions", State.WARN, f"{name} has no alias `live`, so it cannot be rolled back", "deploy again"
            )
        elif alias.shifted:
            shares = ", ".join(f"{share:.0%} to version {version}" for version, share in alias.shifted.items())
            found_so = f"{name}: version {alias.version}, and {shares}: a gradual deployment is under way"
            yield Line("versions", State.WARN, found_so, "check again when it has finished")
    if told_so := [f"{name} {alias.version}" for name, alias in found.items() if alias and not alias.shifted]:
        yield Line("versions", State.OK, ", ".join(told_so) + f"; to go back: `make rollback STACK={stack}`")


def concurrency(reserved: Mapping[str, int | None], physical: Mapping[str, str]) -> Iterator[Line]:
    """Whether a function is stopped by a reserved concurrency of 0."""
    for name in (name for name, number in reserved.items() if number == 0):
        cure = f"`aws lambda delete-function-concurrency --function-name {physical[name]}`"
        yield Line("concurrency", State.FAIL, f"{name} is stopped: its reserved concurrency is 0", cure)
    if some := {name: number for name, number in reserved.items() if number != 0}:
        known = ", ".join(f"{name} {number}" for name, number in some.items() if number)
        yield Line("concurrency", State.OK, f"reserved: {known}" if known else "none reserved, none stopped")


# --------------------------------------------------------------------------------------------------------- secrets


def secrets(found: Iterable[SecretFacts]) -> Iterator[Line]:
    """Whether each secret exists. The login checks the contents of the cloud's secret."""
    for one in found:
        named = f"{one.name} ({one.purpose})"
        if not one.exists:
            cure = f"`aws secretsmanager create-secret --name {one.name} --secret-string file://…`, or correct its name"
            yield Line("secret", State.FAIL, f"{named} does not exist", cure)
        elif one.deleted:
            cure = f"`aws secretsmanager restore-secret --secret-id {one.name}`"
            yield Line("secret", State.FAIL, f"{named} is scheduled for deletion", cure)
        else:
            yield Line("secret", State.OK, named + (f", changed {one.changed:%Y-%m-%d}" if one.changed else ""))


# ------------------------------------------------------------------------------------------------------- the login

NO_LOGIN = {
    Reason.UNAUTHORIZED,
    Reason.FORBIDDEN,
    Reason.WRONG_PROJECT,
    Reason.API_REJECTED,
    Reason.GAVE_UP,
    Reason.DEAD_LETTERED,
}
"""Reasons that show that the function cannot work in the cloud; their own remedy is the cure."""

NOT_LOOKED = {Reason.REQUESTER_NOT_ALLOWED, Reason.INVALID_REQUEST, Reason.EXPIRED, Reason.NOT_AUTHENTIC}
"""Reasons without a call to the cloud, which say nothing about the login."""

UNUSABLE = (401, 403)


def login(asked: Asked, stack: str, known: bool) -> Line:
    """What a dry run says about the function's login. `known`: the user named an existing server and volume."""
    check = "login" if not asked.project else f"login {asked.project[:8]}"
    if asked.verdict is None:
        cure = f"`make status REQUEST={asked.id} STACK={stack}` shows how far it got"
        return Line(check, State.FAIL, f"no verdict on a dry run within {asked.seconds:.0f} s", cure)
    reason: Mapping[str, Any] = asked.verdict.get("reason") or {}  # type: ignore[assignment]
    code, detail = reason.get("code"), str(asked.verdict["detail"])
    said, remedy = str(reason.get("message") or asked.verdict.get("explanation") or ""), str(reason.get("remedy") or "")
    if code in NO_LOGIN:
        return Line(check, State.FAIL, f"{code}: {said}", remedy)
    if code in NOT_LOOKED:
        return Line(check, State.NOT_TRIED, f"{code}: {said}", remedy)
    if detail == "would_wait" and not _let_in(asked.verdict):
        cure = f"`make status REQUEST={asked.id} STACK={stack}` shows each call and its answer"
        return Line(check, State.FAIL, f"the function cannot reach the cloud: {said}", cure)
    if not known:
        return Line(check, State.OK, "the function logs in; as expected, it finds no server with an invented id")
    if code or detail == "would_wait":
        return Line(check, State.WARN, f"the function logs in; a detach: {code or detail}, {said}", remedy)
    return Line(check, State.OK, f"the function logs in; {detail}: {said}")


def _let_in(verdict: Mapping[str, Any]) -> bool:
    """Whether the cloud answered a call other than by a refusal or an error."""
    calls = verdict.get("evidence", {}).get("calls") or ()
    return any(200 <= (call.get("status") or 0) < 500 and call["status"] not in UNUSABLE for call in calls)


def bus(asked: Sequence[Asked]) -> Line:
    """Whether verdicts reach rules on the bus."""
    if times := [one.seconds for one in asked if one.verdict is not None]:
        return Line("bus", State.OK, f"a rule made for this received the verdict after {min(times):.1f} s")
    return Line("bus", State.FAIL, "no verdict arrived", "see the login; docs/operations.md#verdicts-are-not-emitted")


def rule(found: RuleFacts, queue_arn: str) -> Line:
    """Whether requests on the bus reach the queue."""
    check = "requests by bus"
    if not found.enabled:
        return Line(check, State.FAIL, f"rule {found.name} is disabled", f"`aws events enable-rule --name {found.name}`"
                    " with --event-bus-name")  # fmt: skip
    if queue_arn not in found.targets:
        cure = "create it again as `RequestsFromBus` in template.yaml: docs/operations.md#verdicts-are-not-emitted"
        return Line(check, State.FAIL, f"rule {found.name} does not lead to the request queue", cure)
    return Line(check, State.OK, f"rule {found.name} leads to the request queue")


# ------------------------------------------------------------------------------------------------- sink and alarms


def sink(refused: float) -> Line:
    """How many verdicts the sink refused in the last day."""
    if not refused:
        return Line("sink", State.OK, "it refused no verdict for good in the last day")
    cure = "docs/operations.md#the-sink-does-not-take-verdicts"
    return Line("sink", State.WARN, f"it refused {refused:.0f} verdicts for good in the last day", cure)


TOPICS = {"AlarmTopicArn": "alarm topic", "TicketTopicArn": "ticket topic"}
"""Parameters that name topics, and the lines about them."""


def topic(check: str, found: TopicFacts) -> Line:
    """Whether a topic has subscribers and can receive alarms."""
    if found.trouble:
        cure = "name an existing topic of this region and account, or let its policy allow you to read its attributes"
        return Line(check, State.FAIL, f"{found.arn}: {found.trouble}", cure)
    if found.key == AWS_OWN_KEY:
        cure = "encrypt it with your own key, whose policy allows cloudwatch.amazonaws.com, or with none"
        return Line(check, State.FAIL, f"{found.arn} has the key {AWS_OWN_KEY}, which CloudWatch may not use", cure)
    if not found.confirmed:
        waits = f", {found.pending} not confirmed yet" if found.pending else ""
        cure = "subscribe to it, and confirm with the link in the mail"
        return Line(check, State.FAIL, f"nobody is subscribed to {found.arn}{waits}", cure)
    return Line(check, State.OK, f"{found.confirmed} subscribed to {found.arn}")


def no_topic(stack: str) -> Line:
    """The line for a stack without a topic for alarms."""
    cure = f'`make deploy PARAMETERS="AlarmTopicArn=arn:…"` for {stack}'
    return Line("alarm topic", State.WARN, "none: nobody is notified of an alarm", cure)


TICKET = "TICKET"
"""The start of the description of an alarm that can wait until working hours."""


def alarms(found: Sequence[AlarmFacts]) -> Iterator[Line]:
    """The alarms that are raised; the cure is the runbook that each names."""
    for one in found:
        if one.state == "ALARM":
            since = f" since {one.since:%Y-%m-%d %H:%M} UTC" if one.since else ""
            runbook = one.about.rpartition("Runbook: ")[2] or "docs/operations.md#alarms"
            state = State.WARN if one.about.startswith(TICKET) else State.FAIL
            yield Line("alarm", state, f"{one.name}{since}: {one.reason}", runbook)
        if not one.tells:
            cure = f"`aws cloudwatch enable-alarm-actions --alarm-names {one.name}`"
            yield Line("alarm", State.WARN, f"{one.name}: its actions are disabled", cure)
    if all(one.state != "ALARM" and one.tells for one in found):
        yield Line("alarms", State.OK, f"none of {len(found)} is raised")


def canary(parameters: Mapping[str, str]) -> Line | None:
    """The canary's settings, if the template has one. Its alarm says whether it succeeds."""
    every = parameters.get("Canary")
    if every is None:
        return None
    if every == "off":
        return Line("canary", State.OK, "off")
    server, volume = (parameters.get(name, "") for name in ("CanaryServerId", "CanaryVolumeId"))
    if not (server and volume):
        return Line(
            "canary", State.WARN, f"every {every}, but without a server", "set CanaryServerId and CanaryVolumeId"
        )
    return Line("canary", State.OK, f"every {every}, for server {server} and volume {volume}")

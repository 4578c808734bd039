"""Names the stage of a request that failed: takes what was seen, returns a stage, a reason and a cure.

A stage is named only if something points to it. If two cannot be told apart, the text says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import Any

from shared.decision.case import CREDENTIALS_UNREAD
from shared.model import Detail, Outcome, Reason
from shared.quick import dataclass


class Stage(StrEnum):
    """The stage at which a request stopped: a closed list, the values of the metric's dimension `stage`."""

    SEND = "send"
    QUEUE = "queue"
    FUNCTION = "function"
    CREDENTIALS = "credentials"
    CLOUD = "cloud"
    VERDICT = "verdict"
    BUS = "bus"
    WEBHOOK = "webhook"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Failure:
    """The stage that failed, what was seen, and what to do about it; both are sentences for people."""

    stage: Stage
    why: str
    cure: str


# ----------------------------------------------------------------------------------------------- a verdict has come


OF_REASON: Mapping[Reason, Stage] = {
    Reason.UNAUTHORIZED: Stage.CREDENTIALS,
    Reason.FORBIDDEN: Stage.CREDENTIALS,
    Reason.WRONG_PROJECT: Stage.CREDENTIALS,
    Reason.GAVE_UP: Stage.CLOUD,
    Reason.API_REJECTED: Stage.CLOUD,
    Reason.INCONSISTENT_STATE: Stage.CLOUD,
    Reason.EXPIRED: Stage.QUEUE,
    Reason.DEAD_LETTERED: Stage.FUNCTION,
}
"""The stage by the reason of a verdict. For any other reason, which is a refusal, the stage is `verdict`."""

OWN_CURES: Mapping[Reason, str] = {
    Reason.REQUESTER_NOT_ALLOWED: "add the role of the canary's function to AllowedRequesters: "
    "service_account:<its id, AROA...>:*",
    Reason.EXPIRED: "no function took the request in time: see whether requests wait, and whether the function is "
    "throttled (MaximumConcurrency, the account's concurrency)",
    Reason.SERVER_NOT_FOUND: "set CanaryServerId to a server that is there, and CanaryVolumeId to a data disk of it",
    Reason.VOLUME_NOT_FOUND: "set CanaryVolumeId to a data disk that is attached to the server",
    Reason.ATTACHED_ELSEWHERE: "set CanaryVolumeId to a data disk that is attached to the server",
    Reason.SYSTEM_DISK: "set CanaryVolumeId to a data disk",
    Reason.GAVE_UP: "see whether the cloud's API answers (`make doctor CLOUD=env`, its status page); detaches wait "
    "meanwhile, and give up after RequestTtl",
}
"""Cures for the operator of a canary. For any other reason the verdict's own remedy is used."""

UNREAD_CURE = "correct the secret that is named, or wait for Secrets Manager; the verdicts of others wait, too"

GONE: Mapping[str, Reason] = {
    "would_report_server_gone": Reason.SERVER_NOT_FOUND,
    "would_report_volume_gone": Reason.VOLUME_NOT_FOUND,
}
"""Details of a check that worked but found that the canary's server or volume no longer exists."""


def of_verdict(data: Mapping[str, Any]) -> Failure | None:
    """The failure in the `data` of a verdict; None for a check without a reason.

    `would_wait` and `already_detached` are no failures: both planes of the cloud were read.
    """
    verdict, detail, reason = data.get("verdict"), str(data.get("detail")), data.get("reason") or {}
    code, explanation = str(reason.get("code", "")), str(data.get("explanation") or "")
    if detail in GONE:
        why = f"the verdict is {detail}: {explanation}"
        return Failure(Stage.VERDICT, why, OWN_CURES[GONE[detail]])
    if not code:
        if verdict == Outcome.CHECKED and detail in set(Detail):
            return None
        why = f"a dry run was answered {verdict} ({detail}), not {Outcome.CHECKED}"
        return Failure(Stage.VERDICT, why, "report this with the verdict: a dry run must change nothing")
    why = f"the verdict is {code}: {reason.get('message') or explanation}"
    if CREDENTIALS_UNREAD in why + explanation:
        return Failure(Stage.CREDENTIALS, why, UNREAD_CURE)
    known = Reason(code) if code in set(Reason) else None
    stage = OF_REASON.get(known, Stage.VERDICT) if known else Stage.VERDICT
    cure = (OWN_CURES.get(known) if known else None) or reason.get("remedy") or "see the verdict on the bus"
    return Failure(stage, why, str(cure))


# --------------------------------------------------------------------------------------------------- none has come


@dataclass(frozen=True)
class Silence:
    """What AWS says about a request without a verdict; None where it is unknown.

    `mapping` is the state of the event source mapping, `processed` its last result, and `rule` the state of the rule
    that puts verdicts on the canary's queue. The three counts are of all messages of the request queue: SQS does not
    say which one is the canary's. `unread` says why something is unknown, `queue_trouble` why the canary's own queue
    could not be read.
    """

    mapping: str | None = None
    processed: str | None = None
    rule: str | None = None
    waiting: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    unread: tuple[str, ...] = ()
    queue_trouble: str | None = None


Sign = Callable[[Silence], bool]

RULE_GONE = "gone"
"""The state of a rule that does not exist, or whose bus does not."""

SIGNS: tuple[tuple[Sign, Stage, str, str], ...] = (
    (
        lambda s: s.mapping not in (None, "Enabled"),
        Stage.QUEUE,
        "the event source mapping of the request queue is {mapping}, so no function gets requests",
        "`make resume` if it was paused; if a deployment is under way, wait for it",
    ),
    (
        lambda s: s.rule is not None and not s.rule.startswith("ENABLED"),
        Stage.BUS,
        "the rule that puts verdicts on the canary's queue is {rule}, so none arrives there",
        "enable the rule, or make it and its bus again as the template has them; others may miss verdicts, too",
    ),
    (
        lambda s: s.queue_trouble is not None,
        Stage.BUS,
        "the canary's own queue cannot be read: {queue_trouble}",
        "correct the policy of the queue or of the canary's role; other requests may not be affected",
    ),
    (
        lambda s: bool(s.waiting),
        Stage.QUEUE,
        "{waiting} messages wait in the request queue, and the canary's may be one of them; the last result of the "
        "mapping is {processed}",
        "see whether the function is throttled (its Throttles) or may not read the queue, and whether more comes in "
        "than MaximumConcurrency can work on",
    ),
    (
        lambda s: bool(s.in_flight or s.delayed),
        Stage.FUNCTION,
        "the request was taken and not answered; in the request queue {in_flight} messages are in flight and {delayed} "
        "delayed, the canary's or others'",
        "see the worker's log for an error of the invocation, `look failed`, `record goes back to the queue` and "
        "`event not emitted`: the function fails, or the bus does not take its verdicts",
    ),
    (
        lambda s: (s.waiting, s.in_flight, s.delayed) == (0, 0, 0),
        Stage.BUS,
        "the request has left the queue and no verdict has reached the canary's queue; whether the bus had it "
        "cannot be told from here",
        "look for `event delivered` with this request_id in the worker's log: if it is there, see the target of the "
        "canary's rule and the policy of its queue; if not, the function lost the request",
    ),
)
"""Explanations of a missing verdict, the most certain first: a sign, its stage, the reason and the cure."""


def of_silence(silence: Silence, seconds: float) -> Failure:
    """The failure that explains why no verdict came in `seconds`."""
    told = {name: "not known" if value is None else value for name, value in asdict(silence).items()}
    unread = f" (not known: {'; '.join(silence.unread)})" if silence.unread else ""
    for sign, stage, why, cure in SIGNS:
        if sign(silence):
            return Failure(stage, f"no verdict in {seconds:.0f} s: {why.format(**told)}{unread}", cure)
    return Failure(
        Stage.UNKNOWN,
        f"no verdict in {seconds:.0f} s, and nothing is known about the request{unread}",
        "check whether AWS answers, and the permissions of the canary's role",
    )


# ----------------------------------------------------------------------------------------- before and beside the way


def of_unsent(why: str) -> Failure:
    """The failure if the request queue did not accept the request."""
    cure = "see whether SQS answers, and whether the queue and the right of the canary's role to send are still there"
    return Failure(Stage.SEND, f"the request queue did not take the request: {why}", cure)


def of_webhook(trouble: str) -> Failure:
    """The failure if the webhook endpoint did not answer a GET, or answered that it cannot take requests now."""
    cure = "see the log of the webhook's function for an error; 429 means that its concurrency is used up"
    return Failure(Stage.WEBHOOK, f"the webhook endpoint {trouble}; requests from the queue are processed", cure)

"""Counts what the proofs reach: rules that decided, reasons and details in verdicts, and steps from stage to stage."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial, wraps
from typing import Any

from shared.decision.case import Case, Conclude, Decision, Delete, Requeue
from shared.decision.progress import Progress
from shared.decision.rules import RULES, Rule, decide
from shared.model import Detail, Outcome, Reason
from shared.policy import Policy
from shared.service import Service
from shared.settings import DetachApi
from tests.model.traces import check
from tests.stack import API

Counts = Counter[tuple[str, str]]

STAGES: Mapping[str, Callable[[Progress], object]] = {
    "unconfirmed": lambda progress: progress.unconfirmed_id,
    "accepted": lambda progress: progress.accepted_at,
    "denied": lambda progress: progress.denied,
    "unsettled": lambda progress: progress.unsettled,
    "joined": lambda progress: progress.detaching_since,
    "followed": lambda progress: progress.polls > 1 and progress.followed,
    "new": lambda progress: True,
}
"""The stages of a request, as conditions on its progress; the first one that applies counts."""

TRANSITIONS: Mapping[str, tuple[str, ...]] = {
    "new": ("delete", "requeue", "detached", "failed", "checked"),
    "followed": ("delete", "requeue", "detached", "failed", "checked"),
    "joined": ("requeue", "announce", "detached", "failed", "checked"),
    "unsettled": ("delete", "requeue", "detached", "failed"),
    "denied": ("requeue", "detached", "failed"),
    "accepted": ("requeue", "announce", "detached", "failed"),
    "unconfirmed": ("requeue", "detached", "failed"),
}
"""The allowed steps of each stage. Any other step is a violation, above all a DELETE after an accepted one.

A dry run is `followed` if its earlier looks could not read the action records.
"""

UNREACHED: dict[str, str] = {
    "would_report_detached_now": "a dry run sends no DELETE",
    "would_report_detached_meanwhile": "a dry run sends no DELETE",
    "would_report_detached_by_other": "a dry run ends with its first look, so it has seen nothing before",
    "would_report_volume_gone": "a dry run ends with its first look, so it has seen nothing before",
}
"""Details that exist for dry runs but cannot be reached, and why."""

if API == DetachApi.BMS_V1:
    for detail in ("replaced_by_newer", "would_report_replaced_by_newer"):
        UNREACHED[detail] = "without records and bdm_uuid, a re-attachment cannot be proven"


def stage_of(progress: Progress) -> str:
    return next(name for name, holds in STAGES.items() if holds(progress))


def step_of(decision: Decision) -> str:
    match decision:
        case Delete():
            return "delete"
        case Requeue(announce_unconfirmed=announced):
            return "announce" if announced else "requeue"
        case Conclude(Outcome.DETACHED | Outcome.FAILED | Outcome.CHECKED as outcome):
            return str(outcome)
    raise AssertionError(f"no step: {decision}")


def counting(counts: Counts) -> Callable[[Service], Service]:
    """Make a service count every decision of a rule and every step."""

    def counted(rule: Rule) -> Rule:
        @wraps(rule)
        def answer(case: Case, policy: Policy, now: datetime) -> Decision | None:
            found = rule(case, policy, now)
            if found is not None:
                counts["rule", rule.__name__] += 1
            return found

        return answer

    rules = tuple(map(counted, RULES))
    watch = watching(counts)
    return lambda service: watch(replace(service, visits=replace(service.visits, decide=partial(decide, rules=rules))))


def watching(counts: Counts) -> Callable[[Service], Service]:
    """Make a service count every step and check it against the model."""

    def watched(service: Service) -> Service:
        decides = service.visits.decide

        def decide_and_count(case: Case, policy: Policy, now: datetime) -> Decision:
            decision = decides(case, policy, now)
            counts["transition", f"{stage_of(case.progress)} → {step_of(decision)}"] += 1
            held, of_what = check(case, decision, policy, now)
            counts[f"model {held}", of_what] += 1
            return decision

        return replace(service, visits=replace(service.visits, decide=decide_and_count))

    return watched


def count_verdicts(events: list[dict[str, Any]], counts: Counts) -> None:
    """Count the details and reasons of verdicts."""
    for event in events:
        data = event["data"]
        if "detail" not in data:
            continue  # a summary only repeats its verdicts
        counts["detail", data["detail"]] += 1
        if data.get("reason"):
            counts["reason", data["reason"]["code"]] += 1


def everything() -> Mapping[str, list[str]]:
    """Everything that the proofs should reach, by kind."""
    return {
        "rule": [rule.__name__ for rule in RULES],
        "reason": [str(reason) for reason in Reason],
        "detail": [str(detail) for detail in Detail],
        "transition": [f"{stage} → {step}" for stage, steps in TRANSITIONS.items() for step in steps],
    }


def illegal(counts: Counts) -> Iterator[str]:
    """The counted steps that are not allowed, by `TRANSITIONS` or by the model."""
    legal = everything()["transition"]
    yield from (f"step {name}" for (kind, name), _ in counts.items() if kind == "transition" and name not in legal)
    yield from (f"not a step of the model: {name}" for kind, name in counts if kind == "model differs")


def report_model(counts: Counts, say: Callable[[str], object]) -> None:
    """Report how many looks were checked against the model, and which are outside of it."""
    kinds = ("allowed", "waits", "outside", "differs")
    total = {kind: sum(count for (name, _), count in counts.items() if name == f"model {kind}") for kind in kinds}
    say(
        f"{sum(total.values()):>7,} looks: {total['allowed']:,} steps allowed by the model, {total['waits']:,} waits,"
        f" {total['outside']:,} outside of the model, {total['differs']:,} differences"
    )
    outside = sorted((count, why) for (name, why), count in counts.items() if name == "model outside")
    say("        outside: " + ", ".join(f"{why} {count:,}" for count, why in reversed(outside)))


def report(counts: Counts, say: Callable[[str], object]) -> list[str]:
    """Report what was reached; return what should have been reached and was not."""
    missing = []
    for kind, names in everything().items():
        reached = [name for name in names if counts[kind, name]]
        impossible = [name for name in names if name in UNREACHED and name not in reached]
        note = f", {len(impossible)} cannot be reached" if impossible else ""
        say(f"{len(reached):>7} of {len(names)} {kind}s reached{note}")
        missing += [f"{kind} {name}" for name in names if name not in reached and name not in impossible]
    for name, why in UNREACHED.items():
        if not counts["detail", name]:
            say(f"        {name}: {why}")
    return missing

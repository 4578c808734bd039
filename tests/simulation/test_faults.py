"""Every fault at every call: each request gets one true verdict when the fault is over."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from shared.cloud.classify import classify
from shared.model import Answer, AnswerClass
from simulator import Fault, Kind, bodies, faults
from tests.simulation.prove import STEP
from tests.simulation.stories import BY_NAME, SETTINGS, Story, judged
from tests.simulation.stories import STORIES as ALL
from tests.stack import RECORD, Stack

OF_BOTH = ("get_token", "get_server", "list_attachments", "get_volume", "delete_attachment")
OPERATIONS = (*OF_BOTH, RECORD)
READS = tuple(name for name in OPERATIONS if name != "delete_attachment")
STATUSES = (400, 401, 403, 404, 405, 408, 409, 410, 413, 429, 500, 501, 502, 503, 504)

ENVELOPES: Mapping[str, Callable[[int], Answer]] = {
    "E1 Nova": lambda status: bodies.fault(status, "simulated"),
    "E2 service": lambda status: bodies.service_error("BMS.9999", "simulated", status),
    "E3 gateway": lambda status: bodies.gateway_error("APIGW.9999", "simulated", status),
    "E4 Keystone": lambda status: bodies.keystone_error(status, "simulated"),
    "E5 IAM": lambda status: bodies.iam_error("IAM.9999", "simulated", status),
    "E6 version": lambda status: bodies.nova_fault("computeFault", status, "simulated"),
    "E7 HTML": bodies.html_error,
}
"""The seven error formats, with codes and texts that no answer table knows: no fault gives false information."""

TRANSPORT: dict[str, Kind] = {
    "connection refused": faults.CONNECTION_REFUSED,
    "reset before": faults.RESET_BEFORE,
    "reset after": faults.RESET_AFTER,
    "timeout before": faults.READ_TIMEOUT_BEFORE,
    "timeout after": faults.READ_TIMEOUT_AFTER,
    "truncated": faults.TRUNCATED,
    "slow": faults.slow(20),
}


def _answers() -> dict[str, Kind]:
    """Answers in place of the real one, without an effect of the call or after it."""
    errors = {f"{status} {name}": make(status) for name, make in ENVELOPES.items() for status in STATUSES}
    odd = {
        f"{status} with an error body": Answer(
            status, {"content-type": "application/json"}, json.dumps({"error": {"code": "BMS.9999"}}).encode()
        )
        for status in (200, 202, 204)
    }
    odd["200 of the wrong content type"] = Answer(200, {"content-type": "text/plain"}, b"ok")
    odd["302 elsewhere"] = Answer(302, {"location": "http://elsewhere.test/"}, b"")
    return {
        f"{name}, {when}": kind(answer)
        for name, answer in (errors | odd).items()
        for when, kind in (("without effect", faults.answer), ("after effect", faults.answer_after_effect))
    }


FAULTS: dict[str, Kind] = TRANSPORT | _answers()
LASTING = (AnswerClass.PERMANENT, AnswerClass.REAUTHENTICATE)
PASSING = [
    name
    for name, fault in FAULTS.items()
    if fault.broken or (classify(fault.answer).kind not in LASTING and fault.answer.status != 302)
]
"""Faults that do not lead to a verdict.

A temporary fault that does lead to one (such as a 403) may be answered before a crash and be over after it. A service
without a database then gives two different verdicts; here they have the same id.
"""

STORIES = ("detach", "refused")
CASES = [
    *itertools.product(STORIES, OPERATIONS, FAULTS, (0, 1)),
    *itertools.product(("two-disks",), ("list_volumes",), FAULTS, (0, 1)),
]


def wrong_with(story: Story, *strikes: tuple[str, str, int]) -> list[str]:
    """The violations of a story in which faults hit the nth call of operations."""
    simulation, stage = story.begin()
    struck(simulation, *strikes)
    return judged(simulation, stage)


def struck(simulation: Stack, *strikes: tuple[str, str, int]) -> None:
    """Script faults, each as operation, name of the fault, and number of calls before it."""
    for operation, fault, skip in strikes:
        simulation.cloud.faults.add(Fault(FAULTS[fault], operation, skip=skip))


NOT_AFTER_DEATH = ("never", "expires-unsettled", "dry-run", "dry-run-unsafe", "all-data-disks-checked")
"""Stories that last until their time is over, when a refused read is a verdict, and dry runs, which have no effect."""

AFTER_DEATH = tuple(story.name for story in ALL if story.name not in NOT_AFTER_DEATH)

Refusal = tuple[str, tuple[int, str], str, str, int]
"""A story, the death, and the operation, name of the fault and number of calls before it, counted from the death."""


def refusals_after_death(random: Random, count: int) -> Iterator[Refusal]:
    """Deaths at which one copy of the message is left, each followed by a refusal that would be a verdict otherwise."""
    lasting = [name for name in FAULTS if name not in PASSING]
    points = {name: list(_deaths_of_one_copy(BY_NAME[name])) for name in AFTER_DEATH}
    for _ in range(count):
        name = random.choice(AFTER_DEATH)
        fault = random.choice(READS), random.choice(lasting), random.randrange(2)
        yield name, random.choice(points[name]), *fault


def _deaths_of_one_copy(story: Story) -> Iterator[tuple[int, str]]:
    """Not between the sending of a continuation and the acknowledgement: two copies may get different answers."""
    simulation, _ = story.begin()
    simulation.run()
    for number, effect in enumerate(simulation.effects.log):
        if effect != "acknowledge":
            yield number, "before"
        if effect != "send":
            yield number, "after"


def wrong_after(case: Refusal, **options: Any) -> list[str]:
    """The violations of a story whose process dies, and in which the next delivery meets a refusal."""
    name, death, operation, fault, skip = case
    story = replace(BY_NAME[name], settings={**BY_NAME[name].settings, **SETTINGS})
    simulation, stage = story.begin(frozenset({death}), **options)
    simulation.effects.interventions[death[0] + 1] = lambda _: struck(simulation, (operation, fault, skip))
    return judged(simulation, stage)


def test_a_refusal_after_a_death_hides_no_detach() -> None:
    """The delivery that died may have sent the DELETE, so only a look ends the request."""
    cases = list(refusals_after_death(Random(1), 2000))[::STEP]
    found = {case: wrong for case in cases if (wrong := wrong_after(case))}
    assert found == {}


@pytest.mark.parametrize("operation", [*OPERATIONS, "list_volumes"])
def test_one_fault_at_one_call(operation: str) -> None:
    """A single fault of any kind, at the first or second call of an operation."""
    cases = [case for case in CASES if case[1] == operation][::STEP]
    found = {case: wrong for case in cases if (wrong := wrong_with(BY_NAME[case[0]], case[1:]))}

    assert {} == found

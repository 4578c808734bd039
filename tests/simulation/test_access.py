"""A part of the proofs with each login method: the promises do not depend on how the function logs in."""

import json
from random import Random
from typing import Any

import pytest

from local.verdicts import told
from simulator.scenarios import CATALOGUE
from tests.access import OTHERS, by
from tests.simulation.oracle import Run, violations
from tests.simulation.prove import Judged, judge_crash, judge_fault, judge_rough
from tests.simulation.reach import illegal
from tests.simulation.stories import SHARED_STAGE, STORIES
from tests.simulation.test_faults import CASES
from tests.simulation.test_others import ACTS
from tests.simulation.test_scenarios import played

EFFECTS = 16
"""About the number of effects of most stories; a death after the last effect does nothing."""

FAULTS, WORLDS = 40, 8
"""The numbers of cases for each login method; each method gets different cases."""

GAVE_UP_BY_KEY = "unauthorized-delete"
"""After a refusal a key is not used for 30 s, which is too long for this scenario's time to live of 50 s."""


def wrong_in(found: Judged) -> list[str]:
    return [*found.wrong, *illegal(found.counts)]


@pytest.mark.parametrize("way", OTHERS)
def test_scenarios_end_as_by_password(way: str) -> None:
    """Every scenario of the catalogue ends in its expected verdicts, without violations."""
    found: dict[str, Any] = {}
    with by(way):
        for name, scenario in CATALOGUE.items():
            simulation, stage = played(scenario)
            heard = {event["id"]: event for event in simulation.bus.events}.values()
            got = tuple(
                told([event for event in heard if event["data"]["request"]["id"] == request["id"]])
                for request in stage.requests
            )
            requests = [json.loads(body) for body in stage.bodies()]
            wrong = violations(Run.of(simulation, requests, stage.untouchable, stage.keeps_records))
            rests = name == GAVE_UP_BY_KEY and "key" in way
            if wrong or simulation.errors or got != (("gave_up",) if rests else scenario.expected):
                found[name] = got, wrong, simulation.errors
    assert found == {}


@pytest.mark.parametrize("way", OTHERS)
def test_deaths_and_others_at_work(way: str) -> None:
    """Every story with a death at a random point; in some, somebody else acts before one of the effects."""
    random = Random(way)
    cases = []
    for story in STORIES:
        act = random.choice((None, None, *ACTS)) if story in SHARED_STAGE else None
        point = random.randrange(EFFECTS), random.choice(("before", "after"))
        cases.append((story.name, frozenset({point}), act and act.__name__, random.randrange(EFFECTS)))
    with by(way):
        found = {case: wrong for case in cases if (wrong := wrong_in(judge_crash(case)))}
    assert found == {}


@pytest.mark.parametrize("way", OTHERS)
def test_faults(way: str) -> None:
    """Random faults at random calls, including logins and signed calls."""
    cases = [(story, tuple(strike)) for story, *strike in Random(way).sample(CASES, FAULTS)]
    with by(way):
        found = {case: wrong for case in cases if (wrong := wrong_in(judge_fault(case)))}
    assert found == {}


@pytest.mark.parametrize("way", OTHERS)
def test_rough_worlds(way: str) -> None:
    """Some rough worlds, in which all secrets of the user may be rotated and tokens may be revoked."""
    with by(way):
        seeds = range(OTHERS.index(way) * WORLDS, (OTHERS.index(way) + 1) * WORLDS)
        found = {seed: wrong for seed in seeds if (wrong := wrong_in(judge_rough(seed)))}
    assert found == {}

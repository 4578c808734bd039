"""A slice of the proofs by each way to log in: what is promised does not depend on how a cloud is reached."""

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
"""Most stories have about so many: a death after the last one is none."""

FAULTS, WORLDS = 40, 8
"""Cases for each way; other ways have other ones."""

GAVE_UP_BY_KEY = "unauthorized-delete"
"""A key that was refused rests for 30 s, and a scenario has 50 s in all."""


def wrong_in(found: Judged) -> list[str]:
    return [*found.wrong, *illegal(found.counts)]


@pytest.mark.parametrize("way", OTHERS)
def test_scenarios_end_as_by_password(way: str) -> None:
    """Every scenario of the catalogue ends in the verdicts that it names, and the judge finds nothing wrong."""
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
    """Every story with a death somewhere, and in some of them somebody else acts before one of the effects."""
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
    """Some faults at some calls, logins and signed calls among them."""
    cases = [(story, tuple(strike)) for story, *strike in Random(way).sample(CASES, FAULTS)]
    with by(way):
        found = {case: wrong for case in cases if (wrong := wrong_in(judge_fault(case)))}
    assert found == {}


@pytest.mark.parametrize("way", OTHERS)
def test_rough_worlds(way: str) -> None:
    """Some rough worlds, in which every secret of the user may be rotated and tokens revoked."""
    with by(way):
        seeds = range(OTHERS.index(way) * WORLDS, (OTHERS.index(way) + 1) * WORLDS)
        found = {seed: wrong for seed in seeds if (wrong := wrong_in(judge_rough(seed)))}
    assert found == {}

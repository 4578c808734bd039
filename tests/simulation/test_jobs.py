"""Parts of `make prove API=bms_v1`: the proofs by the job API, on a cloud whose compute API is closed."""

from itertools import islice

import pytest

from local.verdicts import told
from simulator.oracle import disagreement
from simulator.scenarios import BMS_V1, CATALOGUE, Scenario
from tests.simulation.rough import Rough
from tests.simulation.stories import BY_NAME, SCENARIOS, STORIES, Story, by_jobs, effects_of, judged
from tests.simulation.test_faults import FAULTS, OF_BOTH, wrong_with

OPERATIONS = (*OF_BOTH, "get_job", "list_volumes")
POINTS, KINDS, SEEDS, AT_ONCE = 5, 13, 40, 10
"""Points of death for each story; the step through the faults; rough worlds; rough worlds in one test."""


@pytest.mark.parametrize("scenario", CATALOGUE.values(), ids=CATALOGUE)
def test_scenario_ends_as_expected_and_in_truth(scenario: Scenario) -> None:
    """Each request ends in its scenario's expected verdicts for this API, and the cloud's record justifies each."""
    story = next(one for one in SCENARIOS if one.name == scenario.name)  # a story may have the same name
    simulation, stage = by_jobs(story).begin()
    wrong = judged(simulation, stage)
    events, history = simulation.bus.events, simulation.cloud.world.history
    heard = {event["id"]: event for event in reversed(events)}
    once = [heard[id_] for id_ in dict.fromkeys(event["id"] for event in events)]
    got = tuple(
        told([event for event in once if event["data"]["request"]["id"] == request["id"]]) for request in stage.requests
    )
    assert got == scenario.by(BMS_V1).expected
    assert wrong == []
    assert [None] * len(events) == [disagreement(history, event, keeps_records=False) for event in events]


def test_nothing_asks_compute() -> None:
    """No story calls the closed compute API."""
    for story in STORIES:
        simulation, stage = by_jobs(story).begin()
        assert judged(simulation, stage) == []
        paths = [call.path for call in simulation.cloud.calls if call.operation != "get_token"]
        assert {path.split("/")[1] for path in paths} <= {"v1", "v3"}
        assert {path.split("/")[3] for path in paths} <= {"baremetalservers", "jobs", "volumes"}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_crash_changes_nothing(story: Story) -> None:
    """The process dies before or after an effect, and the message is redelivered: one true verdict."""
    story, found = by_jobs(story), {}
    points = [(number, when) for number in range(effects_of(story)) for when in ("before", "after")]
    for point in points[:: max(1, len(points) // POINTS)]:
        simulation, stage = story.begin(frozenset({point}))
        if wrong := judged(simulation, stage):
            found[point] = wrong
    assert found == {}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_fault_at_one_call(operation: str) -> None:
    """Faults of all kinds at the first or second call of an operation."""
    name = "two-disks" if operation == "list_volumes" else "refused" if operation == "get_job" else "detach"
    first = OPERATIONS.index(operation)
    cases = [(fault, skip) for skip in (0, 1) for fault in islice(FAULTS, first, None, KINDS)]
    story = by_jobs(BY_NAME[name])
    found = {case: wrong for case in cases if (wrong := wrong_with(story, (operation, *case)))}
    assert found == {}


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_a_rough_world_breaks_nothing(first: int) -> None:
    """Each request of a rough world gets one true verdict."""
    found = {seed: wrong for seed in range(first, first + AT_ONCE) if (wrong := Rough(seed, api=BMS_V1).violations())}
    assert found == {}


def explanation_of(name: str) -> tuple[str, list[dict[str, str]]]:
    """The explanation of a story's verdict, and its evidence of calls about jobs."""
    simulation, _ = by_jobs(BY_NAME[name]).begin()
    simulation.run()
    (data,) = simulation.bus.data
    return data["explanation"], [call for call in data["evidence"]["calls"] if call["operation"] == "get_job"]


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [("job-failed", "BMS.1007", "Calling interface failed"),
     ("job-failed-in-sub-job", "BMS.0360", "This operation cannot be performed because EVS Disk is frozen")],
)  # fmt: skip
def test_the_verdict_repeats_what_the_job_says(name: str, code: str, text: str) -> None:
    """The code and reason of the job, or of its failed sub job, are in the verdict's explanation and evidence."""
    explanation, calls = explanation_of(name)
    assert f"the job says that the detach failed: {code} {text}; the volume is in-use" == explanation
    assert calls[-1]["code"] == code
    assert text in calls[-1]["message"]


@pytest.mark.parametrize("name", ["job-contradicts-itself", "job-not-readable", "silent-refusal"])
def test_a_job_that_says_nothing_is_quoted_for_nothing(name: str) -> None:
    """Two looks at the volume decide, and the explanation claims only what they show."""
    explanation, calls = explanation_of(name)
    assert "went back to in-use with the same attachment" in explanation
    assert calls

"""`make run SCENARIO=…`: play one scenario or all of them side by side, and hold every verdict against the record."""

from dataclasses import dataclass

from local.console import Console
from local.verdicts import Key, collect, watched
from shared.ports import utc_now
from simulator.oracle import disagreement
from simulator.scenarios import CATALOGUE, SETTINGS, Scenario, scenario_cloud

PATIENCE = 150
"""Seconds; the longest scenario takes about one minute."""


@dataclass(frozen=True)
class Result:
    """What came of one request of a scenario."""

    scenario: Scenario
    expected: str
    got: str
    objection: str | None

    @property
    def right(self) -> bool:
        return self.expected == self.got and self.objection is None


def play(name: str, as_json: bool) -> int:
    """Play one scenario, `all` of them, or `list` them; exit status 0 if every verdict is as expected and true."""
    if name == "list":
        for scenario in CATALOGUE.values():
            print(f"{scenario.name:<30} {scenario.sentence}")
        return 0
    console = Console(as_json, brief=name == "all")
    results = _play(list(CATALOGUE.values()) if name == "all" else [CATALOGUE[name]], console)
    console.say()
    console.say(console.paint(f"  {'':3} {'scenario':<30} {'expected':<36} {'got':<36} by the record", "bold"))
    for result in results:
        name, truth = result.scenario.name, result.objection or "true"
        console.say(f"  {console.mark(result.right)} {name:<30} {result.expected:<36} {result.got:<36} {truth}")
    wrong = [result for result in results if not result.right]
    console.say(f"\n  {len(results) - len(wrong)} of {len(results)} verdicts as expected and true")
    for result in wrong:
        why = result.objection or f"expected {result.expected}"
        console.trouble(f"{result.scenario.name}: {result.got}, {why}")
    return 1 if wrong else 0


def _play(chosen: list[Scenario], console: Console) -> list[Result]:
    cloud = scenario_cloud(utc_now)
    with watched(console, cloud=cloud, overrides=SETTINGS) as stack:
        console.say(f"playing {len(chosen)} scenario{'s' if len(chosen) > 1 else ''} ...")
        wanted: list[tuple[Scenario, str, Key]] = []
        for scenario in chosen:
            stage = scenario.on(cloud)
            for request, body, expected in zip(stage.requests, stage.bodies(), scenario.expected, strict=True):
                stack.request(body)
                wanted.append((scenario, expected, (request["id"], request["data"]["volume_id"])))
        events = collect(stack, console, {key for _, _, key in wanted}, PATIENCE)
        with cloud.lock:
            history = list(cloud.world.history)
    return [
        Result(
            scenario,
            expected,
            " then ".join(event["data"]["detail"] for event in events[key]) or "no verdict",
            next(filter(None, (disagreement(history, event) for event in events[key])), None),
        )
        for scenario, expected, key in wanted
    ]

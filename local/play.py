"""`make run SCENARIO=…`: play one scenario or all of them side by side, and hold every verdict against the record."""

from __future__ import annotations

import os
from dataclasses import dataclass

from local.console import Console, attach_to_functions
from local.stack import running
from local.verdicts import Key, collect
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
    """Exit status: 0 if every verdict is the expected one and true, else 1; 2 for an unknown name."""
    console = Console(as_json=as_json)
    if name == "list":
        for scenario in CATALOGUE.values():
            print(f"{scenario.name:<30} {scenario.sentence}")
        return 0
    if name != "all" and name not in CATALOGUE:
        console.trouble(f"There is no scenario {name}; `make run SCENARIO=list` shows them all.")
        return 2
    chosen = list(CATALOGUE.values()) if name == "all" else [CATALOGUE[name]]
    results = _play(chosen, console, brief=name == "all")
    _table(console, results)
    for result in results:
        if not result.right:
            why = result.objection or f"expected {result.expected}"
            console.trouble(f"{result.scenario.name}: {result.got}, {why}")
    return 0 if all(result.right for result in results) else 1


def _play(chosen: list[Scenario], console: Console, brief: bool) -> list[Result]:
    cloud = scenario_cloud(utc_now)
    attach_to_functions(console)
    console.brief = brief
    with running(os.environ, cloud=cloud, on_error=lambda e: console.trouble(str(e)), overrides=SETTINGS) as stack:
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


def _table(console: Console, results: list[Result]) -> None:
    console.say()
    console.say(console.paint(f"  {'':3} {'scenario':<30} {'expected':<36} {'got':<36} by the record", "bold"))
    for result in results:
        mark = console.paint("ok ", "detached") if result.right else console.paint("NO ", "failed")
        truth = result.objection or "true"
        console.say(f"  {mark} {result.scenario.name:<30} {result.expected:<36} {result.got:<36} {truth}")
    right = sum(result.right for result in results)
    console.say(f"\n  {right} of {len(results)} verdicts as expected and true")

"""`make run SCENARIO=…`: play scenarios and compare every verdict with the simulated cloud's record."""

import os
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from local.console import Console
from local.verdicts import SUMMARY, Key, collect, told, watched
from shared.ports import utc_now
from simulator import Happened
from simulator.oracle import disagreement
from simulator.scenarios import CATALOGUE, Scenario, Stage, scenario_cloud

PATIENCE = 150
"""Seconds; the longest scenario takes about one minute."""


def play(name: str, as_json: bool) -> int:
    """Play one scenario, `all` of them, or `list` them; exit status 0 if every verdict is as expected and true.

    DETACH_API overrides the API of each scenario. Scenarios with the same settings run side by side.
    """
    if name == "list":
        for scenario in CATALOGUE.values():
            print(f"{scenario.name:<30} {scenario.sentence}")
        return 0
    console = Console(as_json, brief=name == "all")
    api = os.environ.get("DETACH_API")
    found = list(CATALOGUE.values()) if name == "all" else [CATALOGUE[name]]
    chosen = sorted((one.by(api) if api else one for one in found), key=_settings)
    played = [one for _, scenarios in groupby(chosen, _settings) for one in _together(console, list(scenarios))]
    console.say()
    console.say(console.paint(f"  {'':3} {'scenario':<30} {'expected':<36} {'got':<36} true by record", "bold"))
    right = [_row(console, *one) for one in played]
    console.say(f"\n  {sum(right)} of {len(right)} verdicts as expected and true")
    return 0 if all(right) else 1


Played = tuple[Stage, str, list[Any], Sequence[Happened]]
"""A scenario, the expectation for one of its requests, the events of that request, and the cloud's history."""


def _settings(scenario: Scenario) -> list[tuple[str, str]]:
    """The key by which scenarios are grouped to run side by side."""
    return sorted(scenario.settings.items())


def _together(console: Console, chosen: Sequence[Scenario]) -> list[Played]:
    cloud = scenario_cloud(utc_now)
    with watched(console, cloud=cloud, settings=chosen[0].settings) as stack:
        about = "".join(f", {name}={value}" for name, value in chosen[0].operator.items())
        console.say(f"playing {len(chosen)} scenario{'s' if len(chosen) > 1 else ''}{about} ...")
        wanted: list[tuple[Stage, str, Key]] = []
        for scenario in chosen:
            stage = scenario.on(cloud)
            sent = zip(stage.requests, stage.bodies(), stage.delays, scenario.expected, strict=True)
            for request, body, delay, expected in sent:
                stack.request(body, delay)
                wanted.append((stage, expected, (request["id"], request["data"].get("volume_id", SUMMARY))))
        events = collect(stack, console, {key for _, _, key in wanted}, PATIENCE)
        with cloud.lock:
            history = list(cloud.world.history)
    return [(stage, expected, events[key], history) for stage, expected, key in wanted]


def _row(console: Console, stage: Stage, expected: str, events: list[Any], history: Sequence[Happened]) -> bool:
    """Show the result of one request of a scenario; returns whether it is as expected and true."""
    got = told(events)
    name, objections = stage.name, (disagreement(history, event, stage.keeps_records) for event in events)
    objection = next(filter(None, objections), None)
    right = got == expected and objection is None
    console.say(f"  {console.mark(right)} {name:<30} {expected:<36} {got:<36} {objection or 'true'}")
    if not right:
        console.trouble(f"{name}: {got}, {objection or f'expected {expected}'}")
    return right

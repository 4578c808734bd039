"""What is measured or deployed, and never typed: benchmarks/results.json, template.yaml, the recordings of a cloud."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

VCPU_MB = 1769
"""At this memory Lambda gives one vCPU, and below it a part in proportion (AWS, Configure Lambda function memory)."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Milliseconds on a whole core of the machine that measured, and megabytes.

    `cpu_1` and `cpu_10` are the CPU of one request in a batch of one and of ten. `cold_start` is from the event to the
    first DELETE of a fresh environment. `billed` is by the seconds that the detach took, with `LATENCY` for each call.
    `looks` is the look schedule that it was measured with.
    """

    cpu_1: float
    cpu_10: float
    cold_start: float
    import_: float
    memory: float
    memory_after: float
    calls_30: float
    billed: Mapping[int, float]
    machine: str
    looks: tuple[int, ...] = ()

    @property
    def per_invocation(self) -> float:
        """CPU that a batch pays once: 1/1 of it is in `cpu_1`, 1/10 in `cpu_10`."""
        return (self.cpu_1 - self.cpu_10) / (1 - 1 / 10)

    @property
    def per_message(self) -> float:
        return self.cpu_1 - self.per_invocation

    @property
    def init(self) -> float:
        """What a cold start takes more than a warm look: runtime, imports, login, as on a whole core."""
        return self.cold_start - self.cpu_1


LATENCY = 50
"""Milliseconds: what a call to the cloud takes in `billed` (benchmarks/method.md)."""


def bench(text: str) -> Bench:
    """The figures of this service in a file of `make bench`."""
    results = json.loads(text)
    ours = {figure["key"]: figure["product"] for figure in results["figures"]}
    machine = results["machine"]
    return Bench(
        cpu_1=ours["cpu_1"],
        cpu_10=ours["cpu_10"],
        cold_start=ours["cold_start"],
        import_=ours["import"],
        memory=ours["memory"],
        memory_after=ours["growth_memory"],
        calls_30=ours["calls_1"],
        billed={int(key.removeprefix("billed_")): value for key, value in ours.items() if key.startswith("billed_")},
        looks=tuple(machine.get("looks", ())),
        machine=f"Python {machine['python']}, {machine['architecture']}",
    )


# ------------------------------------------------------------------------------------------------- the template


@dataclass(frozen=True, slots=True)
class Deployed:
    """What the stack holds all month: metrics that alarms watch, composite alarms, dashboards; `memory` in MB."""

    alarm_metrics: int
    composite_alarms: int
    dashboards: int
    memory: int


class _Loader(yaml.SafeLoader):
    """Reads `!Ref Name` as {"Ref": "Name"}, and all other short forms as nothing: nothing that is counted has one."""


def _short_form(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any] | None:
    return {"Ref": loader.construct_scalar(node)} if tag == "Ref" and isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _short_form)


@cache
def parsed(text: str) -> dict[str, Any]:
    """A template as values; its short forms but `!Ref` are left out. Once for each: it takes a second."""
    template: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    return template


def deployed(text: str, without: Collection[str] = ()) -> Deployed:
    """What is in a template where the conditions of these names do not hold, and all others do."""
    template = parsed(text)
    there = [one for one in template["Resources"].values() if one.get("Condition") not in without]
    by_type = [one["Type"] for one in there]
    alarms = [one["Properties"] for one in there if one["Type"] == "AWS::CloudWatch::Alarm"]
    memory = template["Globals"]["Function"]["MemorySize"]
    if isinstance(memory, dict):
        memory = template["Parameters"][memory["Ref"]]["Default"]
    return Deployed(
        alarm_metrics=sum(map(_watched, alarms)),
        composite_alarms=by_type.count("AWS::CloudWatch::CompositeAlarm"),
        dashboards=by_type.count("AWS::CloudWatch::Dashboard"),
        memory=int(memory),
    )


def _watched(alarm: Mapping[str, Any]) -> int:
    """An alarm on an expression is billed for each metric in it."""
    return sum("MetricStat" in metric for metric in alarm.get("Metrics", ())) or 1


# ------------------------------------------------------------------------------------------------ the recordings


@dataclass(frozen=True, slots=True)
class CallTimes:
    """How long calls of a kind took in the recordings, in milliseconds."""

    calls: int
    median: float
    ninth_decile: float


def call_times(texts: Collection[str]) -> CallTimes:
    """Of all calls in recordings of a real cloud; see tests/recordings/README.md for what they are."""
    took = [float(one) * 1000 for text in texts for one in re.findall(r"^\(took ([\d.]+) s\)$", text, re.MULTILINE)]
    return CallTimes(len(took), median(took), quantiles(took, n=10)[-1])


def our_bench() -> Bench:
    return bench((ROOT / "benchmarks/results.json").read_text(encoding="utf-8"))


def our_template() -> str:
    return (ROOT / "template.yaml").read_text(encoding="utf-8")


def our_call_times() -> CallTimes:
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests/recordings").glob("[0-9]*.txt"))]
    return call_times(texts)

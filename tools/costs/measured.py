"""Reads measured numbers: from benchmarks/results.json, template.yaml, and the recordings of a cloud."""

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
"""The memory with which Lambda gives one vCPU; below, a proportional share (AWS, Configure Lambda function memory)."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Milliseconds on a whole core of the measuring machine, and megabytes.

    `cpu_1` and `cpu_10` are the CPU time of one request in a batch of one and of ten. `cold_start` is the time from
    the event to the first DELETE in a fresh environment. `billed` is keyed by the seconds of the detach, with `LATENCY`
    for each call. `looks` is the look schedule during the measurement.
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
        """The CPU time that a batch needs once: `cpu_1` has all of it, `cpu_10` a tenth."""
        return (self.cpu_1 - self.cpu_10) / (1 - 1 / 10)

    @property
    def per_message(self) -> float:
        return self.cpu_1 - self.per_invocation

    @property
    def init(self) -> float:
        """The additional time of a cold start over a warm look: runtime, imports, login, on a whole core."""
        return self.cold_start - self.cpu_1


LATENCY = 50
"""Milliseconds of a call to the cloud in `billed` (benchmarks/method.md)."""


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
    """The stack's metrics that alarms watch, composite alarms and dashboards; `memory` in MB."""

    alarm_metrics: int
    composite_alarms: int
    dashboards: int
    memory: int


class _Loader(yaml.SafeLoader):
    """Reads `!Ref Name` as {"Ref": "Name"}, and other short forms as None, because nothing counted has one."""


def _short_form(loader: _Loader, tag: str, node: yaml.Node) -> dict[str, Any] | None:
    return {"Ref": loader.construct_scalar(node)} if tag == "Ref" and isinstance(node, yaml.ScalarNode) else None


_Loader.add_multi_constructor("!", _short_form)


@cache
def parsed(text: str) -> dict[str, Any]:
    """Parse a template once, because it takes a second. Of the short forms only `!Ref` has a value."""
    template: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    return template


def deployed(text: str, without: Collection[str] = ()) -> Deployed:
    """The contents of a template when the named conditions are false and all others true."""
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
    """The number of metrics that an alarm is billed for: each metric of an expression counts."""
    return sum("MetricStat" in metric for metric in alarm.get("Metrics", ())) or 1


# ------------------------------------------------------------------------------------------------ the recordings


@dataclass(frozen=True, slots=True)
class CallTimes:
    """The duration of recorded calls, in milliseconds."""

    calls: int
    median: float
    ninth_decile: float


def call_times(texts: Collection[str]) -> CallTimes:
    """The times of all calls in recordings of a real cloud (tests/recordings/README.md)."""
    took = [float(one) * 1000 for text in texts for one in re.findall(r"^\(took ([\d.]+) s\)$", text, re.MULTILINE)]
    return CallTimes(len(took), median(took), quantiles(took, n=10)[-1])


def our_bench() -> Bench:
    return bench((ROOT / "benchmarks/results.json").read_text(encoding="utf-8"))


def our_template() -> str:
    return (ROOT / "template.yaml").read_text(encoding="utf-8")


def our_call_times() -> CallTimes:
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tests/recordings").glob("[0-9]*.txt"))]
    return call_times(texts)

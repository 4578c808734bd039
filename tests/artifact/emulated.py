"""Runs the artifact under Lambda's own emulator and runtime client, in an empty directory."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.harness import emulator, started
from tests.simulation.measured import Samples
from tools.artifact import Recipe

under_the_emulator = [
    pytest.mark.artifact,
    pytest.mark.skipif(emulator() is None, reason="needs the emulator of aws-sam-cli: make artifact, on Linux"),
]

EMULATOR_LINES = re.compile(r"|(START|END|REPORT) RequestId: .*|\d\d \w{3} \d{4} [\d:,]+ \[\w+\] \(rapid\) .*")
"""The lines that the emulator adds to the function's output."""


class Killed(Exception):
    """The emulator ended the invocation, as Lambda does when its time is up."""


class Failed(Exception):
    """The function raised, or its answer is not JSON; the text is the runtime's."""


@dataclass
class Emulated:
    """A running function, with one invocation at a time as in an execution environment."""

    url: str
    log: Path
    seconds: list[float] = field(default_factory=list)

    def invoke(self, event: Any) -> Any:
        """The function's answer. Raises Killed and Failed."""
        response = requests.post(self.url, data=json.dumps(event), timeout=60)
        self.seconds.append(response.elapsed.total_seconds())
        if "Task timed out" in response.text:
            raise Killed(response.text)
        answer = response.json()
        if isinstance(answer, dict) and "errorType" in answer:
            raise Failed(answer["errorMessage"])
        return answer

    @property
    def written(self) -> list[str]:
        """The lines that the function has written: log and metrics."""
        return [line for line in self.log.read_text().splitlines() if not EMULATOR_LINES.fullmatch(line)]

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The entries of the function's log with this message."""
        entries: list[dict[str, Any]] = [json.loads(line) for line in self.written]
        return [entry for entry in entries if entry.get("message") == message]

    def metrics(self) -> Samples:
        """The metrics that CloudWatch would read from the function's output."""
        return Samples.of("\n".join(self.written))


Start = Callable[[str, Mapping[str, str]], AbstractContextManager[Emulated]]


@contextmanager
def emulated(recipe: Recipe, empty: Path, handler: str, variables: Mapping[str, str]) -> Iterator[Emulated]:
    """A handler by its name (`package.module.function`), which is loaded at the first invocation."""
    path = empty.parent / "function.log"
    with path.open("w") as log, started(handler, recipe.directory, variables, empty, log) as (url, _):
        yield Emulated(url, path)

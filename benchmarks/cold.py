"""Cold starts: a bare import in a fresh process, and the first answer under the Lambda Runtime Interface Emulator."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import requests

from benchmarks.packages import Package, environment, python
from tools.artifact import ROOT

IMPORT = """
import importlib, time
began = time.perf_counter(), time.process_time()
for module in {imports!r}.split(", "):
    importlib.import_module(module)
used = time.perf_counter() - began[0], time.process_time() - began[1]
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(*used, int(peak.split()[1]) / 1024)
"""


@dataclass(frozen=True)
class Imported:
    """What the import of a handler took, and the megabytes the process then held."""

    wall: float
    cpu: float
    memory: float


def imported(package: Package, variables: Mapping[str, str]) -> Imported:
    """Import the handler in a fresh process that sees the artifact and nothing else."""
    command = [*python(), "-c", IMPORT.format(imports=package.imports)]
    with TemporaryDirectory() as empty:
        variables = environment(variables, package.recipe.directory)
        done = subprocess.run(command, cwd=empty, env=variables, capture_output=True, text=True, check=True)
    return Imported(*map(float, done.stdout.split()))


@dataclass(frozen=True)
class FirstAnswer:
    """The first invocation of a fresh execution environment, and the next one in the same."""

    first: float
    second: float
    memory: float


LAMBDA = {
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
}
"""What the emulator goes by, unless the function's own variables say otherwise."""


def emulator() -> Path | None:
    """The emulator that aws-sam-cli carries, a program for Linux; None where there is none."""
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine()) if platform.system() == "Linux" else None
    found = (ROOT / ".venv" / "sam").glob(f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}")
    return next(found, None)


def first_answer(package: Package, variables: Mapping[str, str], runtime: Path, events: list[Any]) -> FirstAnswer:
    """Start the emulator with the artifact, invoke it twice, and read its runtime's peak memory."""
    handler = f"{package.imports}.lambda_handler"
    with (
        TemporaryDirectory() as empty,
        started(handler, package.recipe.directory, variables, runtime, Path(empty)) as (url, process),
    ):
        times = [invoked(url, event) for event in events]
        memory = peak_memory(process.pid)
    return FirstAnswer(times[0], times[1], memory)


def invoked(url: str, event: Any) -> float:
    began = time.perf_counter()
    answer = requests.post(url, data=json.dumps(event), timeout=60)
    taken = time.perf_counter() - began
    if answer.status_code != 200 or answer.json() != {"batchItemFailures": []}:
        raise RuntimeError(f"the function answered {answer.text[:500]}")
    return taken


@contextmanager
def started(
    handler: str, code: Path, variables: Mapping[str, str], runtime: Path, empty: Path, log: IO[str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The emulator on two free ports of loopback, and where to invoke; it starts the runtime at the first invocation.

    Both work in the directory `empty`; what they and the function write goes to `log`.
    """
    binary = emulator()
    if binary is None:
        raise RuntimeError("there is no emulator: make .venv/sam/.ready, on Linux")
    api, runtime_api = free_port(), free_port()
    command = [str(binary), "--runtime-interface-emulator-address", f"127.0.0.1:{api}"]
    command += ["--runtime-api-address", f"127.0.0.1:{runtime_api}", *python(), "-m", "awslambdaric", handler]
    everything = {**LAMBDA, "LAMBDA_TASK_ROOT": str(code), **environment(variables, code, runtime)}
    output = log or subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=empty, env=everything, stdout=output, stderr=output)
    try:
        wait_for(api)
        yield f"http://127.0.0.1:{api}/2015-03-31/functions/function/invocations", process
    finally:
        process.terminate()
        process.wait(timeout=10)


def peak_memory(emulator_id: int) -> float:
    """Megabytes, the most that the emulator's child ever held."""
    children = Path(f"/proc/{emulator_id}/task").glob("*/children")
    ids = [child for path in children for child in path.read_text().split()]
    held = [line.split()[1] for child in ids for line in status_of(child) if line.startswith("VmHWM")]
    return max(map(int, held)) / 1024


def status_of(process_id: str) -> list[str]:
    return Path(f"/proc/{process_id}/status").read_text().splitlines()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int, seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.005)
    raise RuntimeError("the emulator did not come up")

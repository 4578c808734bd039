"""What the measurements run on: processes on one clock, the cloud and AWS, artifacts, and Lambda's emulator."""

import json
import logging
import multiprocessing
import os
import platform
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from local.aws_stand_in import ACCOUNT, BUS, CLOUD_SECRET, REGION, REQUESTS, AwsStandIn, queue_arn
from local.demo import LONG_AGO
from local.poller import LambdaContext, Poller
from local.stack import simulator_credentials
from shared.aws.client import EVENTS, AwsClient
from simulator import Behaviour, CloudApi, CloudServer, Deployment, What, World
from tools.artifact import ROOT, SETUPTOOLS, Recipe, build, product

HERE = Path(__file__).parent
PRODUCT, CONVENTIONAL, BARE = "product", "conventional", "bare calls"
MODULES = {PRODUCT: "functions.detach_volume.handler", CONVENTIONAL: "conventional"}
"""What is imported of an artifact."""
PROCESSES = multiprocessing.get_context("spawn")
NEVER_RECEIVED_TWICE = 7200

T = TypeVar("T")
Pair = tuple[str, str]
"""A server and a volume."""

# ------------------------------------------------------------------------------------------ processes on one clock


class Clock:
    """The time of day in every process: real, plus what has been skipped so far."""

    def __init__(self) -> None:
        self._skipped = PROCESSES.Value("d", 0.0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.skipped)

    @property
    def skipped(self) -> float:
        return float(self._skipped.value)

    def skip(self, seconds: float) -> None:
        self._skipped.value += seconds


class Process(BaseManager):
    """Holds one object, so that what is measured shares neither a core's time nor the GIL with anything else."""

    subject: Callable[[], Any]
    held: Any = None


def _make(kind: Callable[..., object], *arguments: object) -> None:
    Process.held = kind(*arguments)


def _held() -> Any:
    return Process.held


Process.register("subject", _held)


@contextmanager
def process(kind: Callable[..., T], *arguments: object) -> Iterator[T]:
    """An object in a process of its own; its methods are called from here."""
    manager = Process(ctx=PROCESSES)
    # The clock can be handed to a process only while that starts.
    manager.start(_make, (kind, *arguments))
    with manager:
        yield manager.subject()


# ---------------------------------------------------------------------------------------------- the cloud and AWS


class Stage:
    """The simulator and moto, both over sockets, both on the moved clock; counts calls and notes verdicts."""

    def __init__(self, clock: Clock) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._clock, self._up = clock, ExitStack()
        self._bus: list[tuple[datetime, str]] = []
        self._world = World(clock)
        self._api = CloudApi(self._world, deployment=Deployment(token_seconds=10**8))
        self._aws = self._up.enter_context(AwsStandIn(visibility_seconds=NEVER_RECEIVED_TWICE))
        self._server = self._up.enter_context(CloudServer(self._api))
        self._aws.put_secret(CLOUD_SECRET, simulator_credentials(self._api))
        self._follow_clock_and_bus()

    def _follow_clock_and_bus(self) -> None:
        from moto.events.models import EventsBackend
        from moto.sqs import models as queues

        put = EventsBackend.put_events

        def noted(backend: EventsBackend, events: list[dict[str, Any]]) -> Any:
            self._bus += [(self._clock(), json.loads(event["Detail"])["subject"]) for event in events]
            return put(backend, events)

        setattr(queues, "unix_time_millis", lambda *_: self._clock().timestamp() * 1000)  # noqa: B010
        setattr(EventsBackend, "put_events", noted)  # noqa: B010
        # Nobody reads the queue behind the bus here, and what is put there would only pile up.
        self._aws.client.call(EVENTS, "RemoveTargets", {"Rule": "verdicts", "EventBusName": BUS, "Ids": ["verdicts"]})

    def environment(self) -> dict[str, str]:
        """What a function finds in its environment here."""
        own = {"EVENT_BUS_NAME": BUS, "CLOUD_SECRET_ID": CLOUD_SECRET}
        return {**self._aws.environment, "REQUEST_QUEUE_URL": self._aws.queue_urls[REQUESTS], **own}

    def set_latency(self, seconds: float) -> None:
        """How long the cloud's API takes to answer anything."""
        self._server.latency = seconds

    def renew(self, servers: int, disks: int, seconds: float | None) -> list[Pair]:
        """Forget everything; make servers with disks whose detach takes that long. None: disks that are on no server.

        The simulator looks through all it holds, so nothing of earlier measurements may be left.
        """
        with self._api.lock:
            for held in (self._world.servers, self._world.volumes, self._world.nova, self._world.cinder):
                held.clear()
            for told in (self._world.history, self._api.calls, self._bus):
                told.clear()
            names = [self._add_server().id for _ in range(servers)]
            return [(server, self._add_disk(server, seconds)) for server in names for _ in range(disks)]

    def _add_server(self) -> Any:
        return self._world.add_server(metadata={"os_type": "Linux"}, root_device="/dev/sda")

    def _add_disk(self, server: str, seconds: float | None) -> str:
        volume = self._world.add_volume(behaviour=Behaviour(seconds=seconds or 0)).id
        if seconds is not None:
            self._world.attach(server, volume, attached_at=LONG_AGO)
        return volume

    def calls(self) -> int:
        """How often the cloud was asked for anything."""
        return len(self._api.calls)

    def send(self, body: str) -> None:
        self._aws.send(REQUESTS, body)

    def due_in(self) -> float | None:
        """Seconds until the next message can be received; None if there is none."""
        from moto.sqs.models import sqs_backends

        messages = sqs_backends[ACCOUNT][REGION].queues[REQUESTS]._messages
        due = min((max(message.delayed_until, message.visible_at) for message in messages), default=None)
        return None if due is None else max(0.0, due / 1000 - self._clock().timestamp() + 0.001)

    def waiting_for_verdict(self) -> list[float]:
        """Of each disk that was let go: seconds from the cloud's end of it to the final verdict on the bus."""
        ended = (What.NOVA_DETACHED, What.CINDER_DETACHED)
        gone = {
            one.volume_id: one.at for one in sorted(self._world.history, key=lambda one: one.at) if one.what in ended
        }
        told = {subject.rsplit("/", 1)[-1]: at for at, subject in self._bus}
        return [(told[volume] - at).total_seconds() for volume, at in gone.items() if volume in told]


# ---------------------------------------------------------------------------------------------------- the handlers


class Spent(NamedTuple):
    """What an invocation took; billed are also the seconds that it slept, which were skipped."""

    wall: float
    cpu: float
    billed: float


@dataclass(frozen=True, kw_only=True)
class Context(LambdaContext):
    """Lambda's context, on the moved clock."""

    clock: Clock
    ends: datetime

    def get_remaining_time_in_millis(self) -> int:
        return int((self.ends - self.clock()) / timedelta(milliseconds=1))


class Handler:
    """One of the handlers, invoked as Lambda does, and measured from inside; what it logs goes nowhere."""

    def __init__(self, name: str, environment: Mapping[str, str], clock: Clock) -> None:
        os.environ.update(environment)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self._clock, self._handle = clock, LOADERS[name](clock)
        # The template's limit for ours, Lambda's own for the one that waits inline.
        self._limit = timedelta(seconds=900 if name == CONVENTIONAL else 60)

    def invoke(self, event: dict[str, Any]) -> tuple[Any, Spent]:
        """The handler's answer, and what it took."""
        context = Context(function_name="benchmark", clock=self._clock, ends=self._clock() + self._limit)
        skipped, cpu, began = self._clock.skipped, time.process_time(), time.perf_counter()
        answer = self._handle(event, context)
        wall, used = time.perf_counter() - began, time.process_time() - cpu
        return answer, Spent(wall, used, wall + self._clock.skipped - skipped)

    def memory(self) -> float:
        """Megabytes it holds now."""
        return megabytes("self", "VmRSS")


def _product(clock: Clock) -> Callable[..., Any]:
    """The handler as deployed, but on the moved clock."""
    from functions.detach_volume import handler
    from shared.bootstrap.detach import build

    service = build(os.environ, clock)
    setattr(handler, "service", lambda: service)  # noqa: B010 - the type checker holds functions for constants
    setattr(handler, "utc_now", clock)  # noqa: B010
    return handler.lambda_handler


def _conventional(clock: Clock) -> Callable[..., Any]:
    """The handler as written, but what it sleeps is skipped."""
    from benchmarks import conventional

    setattr(conventional, "sleep", clock.skip)  # noqa: B010
    return conventional.lambda_handler


def _bare(_: Clock) -> Callable[..., Any]:
    from benchmarks.bare_requests import lambda_handler

    return lambda_handler


LOADERS = {PRODUCT: _product, CONVENTIONAL: _conventional, BARE: _bare}


def megabytes(process_id: str, name: str) -> float:
    """What a process holds, by the name that the kernel has for it."""
    status = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024


@dataclass
class Arena:
    """Everything that is up for a run."""

    stage: Stage
    handlers: Mapping[str, Handler]
    environment: Mapping[str, str]
    clock: Clock

    def invoke(self, name: str, pairs: Sequence[Pair]) -> Spent:
        """One invocation with a record for each of these, which nobody but us has put on a queue."""
        answer, spent = self.handlers[name].invoke(event(pairs))
        if answer["batchItemFailures"]:
            raise RuntimeError(f"{name} gave back {answer}")
        return spent

    def drain(self, name: str) -> list[Spent]:
        """Invoke with what the queue holds until it holds nothing, skipping the time in which nothing is due."""
        spent: list[Spent] = []

        def handle(event: dict[str, Any], _: Any) -> Any:
            answer, took = self.handlers[name].invoke(event)
            spent.append(took)
            return answer

        client = AwsClient(self.environment)
        poller = Poller(client, self.environment["REQUEST_QUEUE_URL"], queue_arn(REQUESTS), handle, wait_seconds=0)
        while (due := self.stage.due_in()) is not None:
            self.clock.skip(due)
            poller.poll()
        return spent


@contextmanager
def arena() -> Iterator[Arena]:
    clock = Clock()
    with ExitStack() as stack:
        stage = stack.enter_context(process(Stage, clock))
        environment = stage.environment()
        handlers = {name: stack.enter_context(process(Handler, name, environment, clock)) for name in LOADERS}
        yield Arena(stage, handlers, environment, clock)


def body(pair: Pair) -> str:
    return json.dumps(dict(zip(("server_id", "volume_id"), pair, strict=True)))


def event(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Messages as Lambda's event source mapping hands them over."""
    sent = str(int(LONG_AGO.timestamp() * 1000) + 10**8)
    times = {"SentTimestamp": sent, "ApproximateFirstReceiveTimestamp": sent, "ApproximateReceiveCount": "1"}
    common = {"attributes": times, "eventSource": "aws:sqs", "eventSourceARN": queue_arn(REQUESTS)}
    return {"Records": [{**common, "messageId": str(uuid.uuid4()), "body": body(pair)} for pair in pairs]}


# ----------------------------------------------------------------------------------- artifacts and Lambda's emulator


def packages() -> dict[str, Recipe]:
    """Both handlers as artifacts for this machine, built the same way; the bytecode is this Python's.

    All metadata of the conventional one stays: openstacksdk finds its own version and its ways to log in by it.
    """
    sources = (HERE / "conventional.py",)
    conventional = Recipe("conventional", HERE / "conventional.lock", sources, host=True, without=SETUPTOOLS)
    recipes = {PRODUCT: product(host=True), CONVENTIONAL: conventional}
    for recipe in recipes.values():
        build(recipe)
    return recipes


def runtime() -> Path:
    """Lambda's runtime client, which Lambda itself puts beside the code."""
    recipe = Recipe("runtime", HERE / "runtime.lock", (), (), True)
    build(recipe)
    return recipe.directory


def python() -> tuple[str, str]:
    """The Python beneath the virtual environment, without whatever is installed there: an artifact brings its own."""
    found = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return str(found if found.exists() else Path(sys.executable).resolve()), "-S"


def surroundings(variables: Mapping[str, str], *paths: Path) -> dict[str, str]:
    """What a process on Lambda has: the function's settings, its code, and nothing of this machine's."""
    own = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PATH": os.defpath}
    return {**variables, **own, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}


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


@contextmanager
def started(
    handler: str, code: Path, variables: Mapping[str, str], empty: Path, log: IO[str] | None = None
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
    everything = {**LAMBDA, "LAMBDA_TASK_ROOT": str(code), **surroundings(variables, code, runtime())}
    output = log or subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=empty, env=everything, stdout=output, stderr=output)
    try:
        wait_for(api)
        yield f"http://127.0.0.1:{api}/2015-03-31/functions/function/invocations", process
    finally:
        process.terminate()
        process.wait(timeout=10)


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

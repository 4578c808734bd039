"""The setup of the measurements: processes that share a clock, the cloud and AWS, artifacts, Lambda's emulator."""

import hashlib
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from math import inf
from multiprocessing.managers import BaseManager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO, Any, NamedTuple, TypeVar

from local.aws_stand_in import ACCOUNT, BUS, CLOUD_SECRET, REGION, REQUESTS, WEBHOOK_SECRET, AwsStandIn, queue_arn
from local.demo import LONG_AGO
from local.poller import LambdaContext, Poller
from local.stack import simulator_credentials
from shared.aws.client import EVENTS, AwsClient
from shared.bootstrap.detach import build as build_service
from simulator import Behaviour, CloudApi, CloudServer, Deployment, What, World
from tools.artifact import ROOT, Recipe, build, product
from tools.sender import LOCAL_SECRET

HERE = Path(__file__).parent
PRODUCT, CONVENTIONAL, BARE = "product", "conventional", "bare calls"
MODULES = {PRODUCT: "functions.detach_volume.handler", CONVENTIONAL: "conventional", BARE: "bare_requests"}
"""The modules of the handlers in their artifacts, where our own modules are at the top."""
WEBHOOK, FASTAPI = "webhook", "FastAPI"
ENDPOINTS = {WEBHOOK: "functions.receive_webhook.handler", FASTAPI: "conventional_webhook"}
"""The modules of the webhook endpoints."""
PROCESSES = multiprocessing.get_context("spawn")

NOVA_LAG = 0.5
"""Seconds by which compute finishes after block storage; 0.3 to 0.7 were recorded."""
SETUPTOOLS = ("setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence.pth")
"""Required by pbr, which needs it only to build packages."""

T = TypeVar("T")
Pair = tuple[str, str]
"""A server and a volume."""

# ------------------------------------------------------------------------------------------ processes on one clock


class Clock:
    """The time of day in every process: the real time, plus the time skipped so far."""

    def __init__(self) -> None:
        self.skipped = PROCESSES.Value("d", 0.0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.skipped.value)

    def skip(self, seconds: float) -> None:
        self.skipped.value += seconds


class Process(BaseManager):
    """The process of one object, so that the measured code shares neither a core nor the GIL."""

    subject: Callable[[], Any]
    held: Any = None


def _make(kind: Callable[..., object], *arguments: object) -> None:
    Process.held = kind(*arguments)


def _held() -> Any:
    return Process.held


Process.register("subject", _held)


@contextmanager
def process(kind: Callable[..., T], *arguments: object) -> Iterator[T]:
    """An object in its own process; its methods are called from here."""
    manager = Process(ctx=PROCESSES)
    # A process can receive the clock only when it starts.
    manager.start(_make, (kind, *arguments))
    with manager:
        yield manager.subject()


# ---------------------------------------------------------------------------------------------- the cloud and AWS


class Backend:
    """The simulator and moto, over sockets and with the moved clock; records the verdicts."""

    def __init__(self, clock: Clock) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        from moto.events.models import EventsBackend
        from moto.sqs import models

        self._clock, self._up, self._world = clock, ExitStack(), World(clock)
        self._api = CloudApi(self._world, deployment=Deployment(token_seconds=10**8))
        self._aws = self._up.enter_context(AwsStandIn(visibility_seconds=7200))  # messages are not redelivered
        self._server = self._up.enter_context(CloudServer(self._api))
        self._aws.put_secret(CLOUD_SECRET, simulator_credentials(self._api))
        self._aws.put_secret(WEBHOOK_SECRET, {"secrets": [LOCAL_SECRET]})
        self._queues: Any = models.sqs_backends[ACCOUNT][REGION].queues
        self._emitted: list[tuple[str, datetime]] = []
        put = EventsBackend.put_events

        def note_and_put(backend: EventsBackend, events: list[dict[str, Any]]) -> Any:
            self._emitted += [(json.loads(event["Detail"])["subject"], clock()) for event in events]
            return put(backend, events)

        setattr(models, "unix_time_millis", lambda *_: clock().timestamp() * 1000)  # noqa: B010
        setattr(EventsBackend, "put_events", note_and_put)  # noqa: B010
        # Nothing reads the queue behind the bus here, and filling it takes a fifth of a batch's time.
        self._aws.client.call(EVENTS, "RemoveTargets", {"Rule": "verdicts", "EventBusName": BUS, "Ids": ["verdicts"]})

    def environment(self) -> dict[str, str]:
        """The environment variables of a function here."""
        own = {"EVENT_BUS_NAME": BUS, "CLOUD_SECRET_ID": CLOUD_SECRET, "WEBHOOK_SECRET_ID": WEBHOOK_SECRET}
        return {**self._aws.environment, "REQUEST_QUEUE_URL": self._aws.queue_urls[REQUESTS], **own}

    def set_latency(self, seconds: float) -> None:
        """Set how long each call of the cloud's API takes."""
        self._server.latency = seconds

    def renew(self, servers: int, disks: int, seconds: float | None, task: str | None = None) -> list[Pair]:
        """Clear the cloud, and create servers with disks whose detach takes that long; None creates unattached disks.

        The service waits for a server with a `task`. The simulator searches all objects, so those of earlier
        measurements have to go.
        """
        world, api = self._world, self._api
        with api.lock:
            for held in (
                world.servers,
                world.volumes,
                world.nova,
                world.cinder,
                world.history,
                api.calls,
                self._emitted,
            ):
                held.clear()
            self._queues[REQUESTS]._messages.clear()
            kind: dict[str, Any] = {"metadata": {"os_type": "Linux"}, "root_device": "/dev/sda", "task_state": task}
            names = [world.add_server(**kind).id for _ in range(servers)]
            slow = Behaviour(seconds=seconds, nova_lag=min(NOVA_LAG, seconds)) if seconds is not None else Behaviour()
            pairs = [(name, world.add_volume(behaviour=slow).id) for name in names for _ in range(disks)]
            for server, volume in pairs if seconds is not None else ():
                world.attach(server, volume, attached_at=LONG_AGO)
            return pairs

    def calls(self) -> int:
        """The number of calls to the cloud."""
        return len(self._api.calls)

    def first_delete(self) -> datetime:
        """When the first DELETE arrived."""
        return next(call.at for call in self._api.calls if call.method == "DELETE")

    def send(self, body: str) -> None:
        self._aws.send(REQUESTS, body)

    def skip_to_next(self) -> bool:
        """Move the clock to when the next message becomes visible; False if there is none."""
        messages = self._queues[REQUESTS]._messages
        if messages:
            due = min(max(message.delayed_until, message.visible_at) for message in messages) / 1000
            self._clock.skip(max(0.0, due - self._clock().timestamp() + 0.001))
        return bool(messages)

    def waiting_for_verdict(self) -> list[float]:
        """For each detached disk: seconds from the end in the cloud to the final verdict on the bus."""
        ended = (What.NOVA_DETACHED, What.CINDER_DETACHED)
        gone = {found.volume_id: found.at for found in self._world.history if found.what in ended}
        last = {subject.rsplit("/", 1)[-1]: at for subject, at in self._emitted}
        return [(last[volume] - at).total_seconds() for volume, at in gone.items() if volume in last]


class _Sqs(BaseHTTPRequestHandler):
    """SendMessage and SendMessageBatch of SQS's JSON protocol."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # send the answer in one piece

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "Entries" in request:
            answer: dict[str, Any] = {
                "Successful": [{"Id": one["Id"], **self._accepted(one)} for one in request["Entries"]],
                "Failed": [],
            }
        else:
            answer = self._accepted(request)
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _accepted(self, message: Mapping[str, Any]) -> dict[str, str]:
        digest = hashlib.md5(message["MessageBody"].encode(), usedforsecurity=False).hexdigest()
        return {"MessageId": str(uuid.uuid4()), "MD5OfMessageBody": digest}

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


class QueueStub:
    """A queue that accepts every message and drops it. moto cannot accept 50 a second on the measuring machine."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Sqs)
        Thread(target=self._server.serve_forever, daemon=True).start()

    def environment(self) -> dict[str, str]:
        """The variables that send a function's SQS calls here."""
        return {"AWS_ENDPOINT_URL_SQS": f"http://127.0.0.1:{self._server.server_port}"}


# ---------------------------------------------------------------------------------------------------- the handlers


class Spent(NamedTuple):
    """The time of an invocation; `billed` includes the seconds that it slept, which were skipped."""

    wall: float
    cpu: float
    billed: float


class Handler:
    """One of the handlers, invoked as by Lambda and measured from inside; its log is dropped."""

    def __init__(self, name: str, environment: Mapping[str, str], clock: Clock) -> None:
        os.environ.update(environment)
        sys.path.append(str(HERE))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        self._clock, self._handle = clock, load(name, clock)
        # The template's timeout for ours, Lambda's maximum for the one that waits inline.
        self._spent: list[Spent] = []
        self._context = LambdaContext("benchmark", timeout_seconds=900 if name == CONVENTIONAL else 60)

    def invoke(self, event: dict[str, Any], _: Any = None) -> Any:
        skipped, cpu, began = self._clock.skipped.value, time.process_time(), time.perf_counter()
        answer = self._handle(event, self._context)
        wall, used = time.perf_counter() - began, time.process_time() - cpu
        self._spent.append(Spent(wall, used, wall + self._clock.skipped.value - skipped))
        return answer

    def spent(self) -> list[Spent]:
        """The time of each invocation since the last call."""
        spent, self._spent = self._spent, []
        return spent

    def memory(self) -> float:
        """Megabytes of memory now."""
        return megabytes("self", "VmRSS")


def load(name: str, clock: Clock) -> Callable[..., Any]:
    """The unchanged handler with the moved clock. Sleeps of the conventional one are skipped."""
    module: Any = import_module(MODULES[name])
    if name == PRODUCT:
        service = build_service(os.environ, clock)
        module.service, module.utc_now = lambda: service, clock
    if name == CONVENTIONAL:
        module.sleep = clock.skip
    return module.lambda_handler  # type: ignore[no-any-return]


def megabytes(process_id: str, name: str) -> float:
    """The memory of a process, by the kernel's name for it."""
    status = Path(f"/proc/{process_id}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024


@dataclass
class Setup:
    """Everything that runs for the measurements."""

    clock: Clock
    backend: Backend
    handlers: Mapping[str, Handler]

    def invoke(self, name: str, pairs: Sequence[Pair]) -> Spent:
        """One invocation with a record for each of these, without a queue."""
        answer, [spent] = self.handlers[name].invoke(event(pairs)), self.handlers[name].spent()
        if answer["batchItemFailures"]:
            raise RuntimeError(f"{name} returned {answer}")
        return spent

    def drain(self, name: str, polls: float = inf) -> list[Spent]:
        """Invoke the handler until the queue is empty, skipping the waits.

        Ends after `polls` polls at the latest.
        """
        handler, environment = self.handlers[name], self.backend.environment()
        url = environment["REQUEST_QUEUE_URL"]
        poller = Poller(AwsClient(environment), url, queue_arn(REQUESTS), handler.invoke, wait_seconds=0)
        while polls > 0 and self.backend.skip_to_next():
            poller.poll()
            polls -= 1
        return handler.spent()


@contextmanager
def set_up() -> Iterator[Setup]:
    clock = Clock()
    with ExitStack() as stack:
        backend = stack.enter_context(process(Backend, clock))
        environment = backend.environment()
        handlers = {name: stack.enter_context(process(Handler, name, environment, clock)) for name in MODULES}
        yield Setup(clock, backend, handlers)


def body(pair: Pair, **fields: object) -> str:
    return json.dumps({"server_id": pair[0], "volume_id": pair[1], **fields})


def event(pairs: Sequence[Pair], at: datetime = LONG_AGO) -> dict[str, Any]:
    """Messages that were sent at this time, in the format of Lambda's event source mapping."""
    sent = str(int(at.timestamp() * 1000))
    times = {"SentTimestamp": sent, "ApproximateFirstReceiveTimestamp": sent, "ApproximateReceiveCount": "1"}
    common = {"attributes": times, "eventSource": "aws:sqs", "eventSourceARN": queue_arn(REQUESTS)}
    return {"Records": [{**common, "messageId": pair[1], "body": body(pair)} for pair in pairs]}


# ----------------------------------------------------------------------------------- artifacts and Lambda's emulator


def packages() -> dict[str, Recipe]:
    """All handlers as artifacts for this machine and Python, built in the same way.

    The conventional ones keep all metadata, because openstacksdk finds its version and its login plugins by it.
    """
    ours = product(host=True)
    recipes = {PRODUCT: ours, CONVENTIONAL: peer("conventional"), WEBHOOK: ours, FASTAPI: peer("conventional_webhook")}
    for recipe in recipes.values():
        build(recipe)
    return recipes


def peer(name: str) -> Recipe:
    """The artifact of a conventional handler: a module of this folder, and its lock file."""
    lock, source = HERE / f"{name.replace('_', '-')}.lock", HERE / f"{name}.py"
    return Recipe(name.replace("_", "-"), lock, (source,), host=True, without=SETUPTOOLS)


def runtime() -> Path:
    """Lambda's runtime client, which Lambda adds to the code."""
    recipe = Recipe("runtime", HERE / "runtime.lock", (), (), host=True)
    build(recipe)
    return recipe.directory


def python() -> tuple[str, str]:
    """The base Python of the virtual environment, without its packages, because an artifact has its own."""
    found = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return str(found if found.exists() else Path(sys.executable).resolve()), "-S"


def process_environment(variables: Mapping[str, str], *paths: Path) -> dict[str, str]:
    """The environment of a process on Lambda: the function's settings and code, and nothing of this machine."""
    own = {"PYTHONPATH": os.pathsep.join(map(str, paths)), "PATH": os.defpath}
    return {**variables, **own, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1"}


LAMBDA = {"AWS_LAMBDA_FUNCTION_TIMEOUT": "60", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256"}
"""The emulator's variables, which the function's own can override."""


def emulator() -> Path | None:
    """The emulator in aws-sam-cli, a program for Linux; None if there is none."""
    machine = {"x86_64": "x86_64", "aarch64": "arm64"}.get(platform.machine()) if platform.system() == "Linux" else None
    found = (ROOT / ".venv" / "sam").glob(f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}")
    return next(found, None)


@contextmanager
def started(
    handler: str, code: Path, variables: Mapping[str, str], empty: Path, log: IO[str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the emulator on two free loopback ports, and yield its address. The first invocation starts the runtime.

    Both run in the directory `empty`; their output and the function's goes to `log`.
    """
    binary = emulator()
    if binary is None:
        raise RuntimeError("there is no emulator: make .venv/sam/.ready, on Linux")
    api, runtime_api = free_port(), free_port()
    command = [str(binary), "--runtime-interface-emulator-address", f"127.0.0.1:{api}"]
    command += ["--runtime-api-address", f"127.0.0.1:{runtime_api}", *python(), "-m", "awslambdaric", handler]
    everything = {**LAMBDA, "LAMBDA_TASK_ROOT": str(code), **process_environment(variables, code, runtime())}
    output = log or subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=empty, env=everything, stdout=output, stderr=output)
    try:
        for _ in range(2000):
            with suppress(OSError), socket.create_connection(("127.0.0.1", api), 1):
                break
            time.sleep(0.005)
        yield f"http://127.0.0.1:{api}/2015-03-31/functions/function/invocations", process
    finally:
        process.terminate()
        process.wait(timeout=10)


@contextmanager
def emulated(
    module: str, recipe: Recipe, variables: Mapping[str, str]
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a handler's artifact under the emulator, in an empty directory."""
    with (
        TemporaryDirectory() as empty,
        started(f"{module}.lambda_handler", recipe.directory, variables, Path(empty)) as up,
    ):
        yield up


def peak(emulator: subprocess.Popen[bytes]) -> float:
    """The peak memory in megabytes of the function under the emulator."""
    children = " ".join(path.read_text() for path in Path(f"/proc/{emulator.pid}/task").glob("*/children"))
    return max(megabytes(child, "VmHWM") for child in children.split())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])

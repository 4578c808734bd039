"""`make soak`: send many requests through the whole local stack, and check all verdicts at the end.

Meanwhile answers fail, requests are duplicated, servers move, secrets change, and the function restarts.
"""

import argparse
import itertools
import json
import resource
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from local.aws_stand_in import CLOUD_SECRET, MESSAGE_KEY, REQUESTS
from local.console import Console
from local.stack import Stack, simulator_credentials
from local.verdicts import watched
from shared.aws.client import SQS
from shared.bootstrap.detach import service
from shared.ports import AwsTrouble, utc_now
from simulator import Behaviour, CloudApi, Happened, Kind, Refused, World, bodies, faults
from simulator.exchange import Request
from simulator.faults import Faults
from simulator.oracle import disagreement
from tools.exit_status import FINAL

DISKS_PER_SERVER = 20
REQUEST = {"specversion": "1.0", "source": "/soak", "type": "bms.volume.detach_requested.v1"}
WAVE = 250
"""Requests in flight at one time. SQS takes any number, but moto becomes slow with many."""

KINDS: tuple[Kind, ...] = (
    faults.RESET_BEFORE,
    faults.RESET_AFTER,
    faults.TRUNCATED,
    faults.answer(bodies.html_error(502)),
    faults.answer(bodies.html_error(503)),
    faults.answer_after_effect(bodies.html_error(504)),
    faults.answer(bodies.nova_fault("overLimit", 429, "slow down", retry_after=1)),
)


class RandomFaults(Faults):
    """Fails calls at random."""

    def __init__(self, rate: float, seed: int) -> None:
        super().__init__()
        self._rate = rate
        self._random = Random(seed)
        self.struck = 0

    def strike(self, request: Request) -> Kind | None:
        if request.operation == "get_token" or self._random.random() >= self._rate:
            return super().strike(request)
        self.struck += 1
        return self._random.choice(KINDS)


TROUBLES_EVERY = 6
"""Seconds between two disturbances of cloud, secrets or function."""

KEY_LASTS = 300
"""Minimum seconds between two rotations of our messages' key; messages stay in the queue for less."""


@dataclass
class Troubles:
    """Disturbs the cloud, the secrets and the function, one after the other, until stopped; counts each.

    Tokens are revoked at the earliest half a minute after a change of the password, because a secret that was just
    read is not read again for so long.
    """

    cloud: CloudApi
    stack: Stack
    random: Random
    counts: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _waited: float = 0

    def run(self) -> None:
        happen = itertools.cycle((self._move, self._change_password, self._move, self._restart, self._change_key,
                                  self._move, self._kill_tokens, self._move))  # fmt: skip
        while not self._stop.wait(TROUBLES_EVERY):
            self._waited += TROUBLES_EVERY
            happened = next(happen)
            with self.cloud.lock:
                happened()

    def stop(self) -> None:
        self._stop.set()

    def _move(self) -> None:
        """Move servers with disks, for some seconds."""
        world = self.cloud.world
        servers = sorted({one.server_id for one in world.nova.values()})
        for server in self.random.sample(servers, min(3, len(servers))):
            with suppress(Refused):
                world.move(server, self.random.choice(("resize", "live-migration")), seconds=3, reserved_after=0.5)
                self.counts["servers moved"] += 1

    def _change_password(self) -> None:
        self.cloud.identity.change_password(f"password-{self.random.getrandbits(64):x}")
        self.stack.aws.rotate_secret(CLOUD_SECRET, simulator_credentials(self.cloud))
        self.counts["passwords changed"] += 1

    def _change_key(self) -> None:
        """Rotate the key, but not twice while a message may be in the queue, as the operators' guide says."""
        if self.counts["keys of our messages rotated"] * KEY_LASTS > self._waited:
            return
        self.stack.aws.rotate_secret(MESSAGE_KEY, {"key": f"{self.random.getrandbits(256):064x}"})
        self.counts["keys of our messages rotated"] += 1

    def _restart(self) -> None:
        """Drop what a process of the function keeps: connections, token, secrets, memory."""
        service.cache_clear()
        self.counts["function restarted"] += 1

    def _kill_tokens(self) -> None:
        self.cloud.revoke_tokens()
        self.counts["all tokens revoked"] += 1


@dataclass
class Soak:
    """The requests, all events, and the ids and verdicts of the final ones by request."""

    cloud: CloudApi
    faults: RandomFaults
    requests: list[dict[str, Any]]
    events: list[dict[str, Any]] = field(default_factory=list)
    ids: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    said: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    @property
    def asked(self) -> set[str]:
        return {request["id"] for request in self.requests}

    @property
    def answered(self) -> int:
        return len(self.asked & self.ids.keys())

    def send(self, stack: Stack, duplicates: float, random: Random) -> None:
        """Send all requests, some of them twice, with at most WAVE in flight."""
        client, url = stack.aws.client, stack.aws.queue_urls[REQUESTS]
        for first in range(0, len(self.requests), 8):
            while first - self.answered > WAVE:
                time.sleep(0.05)
            batch = self.requests[first : first + 8]
            batch += [request for request in batch if random.random() < duplicates][:2]
            entries = [{"Id": str(at), "MessageBody": json.dumps(request)} for at, request in enumerate(batch)]
            while True:  # after a timeout moto may have taken them; then they are duplicates, as with SQS
                with suppress(AwsTrouble):
                    client.call(SQS, "SendMessageBatch", {"QueueUrl": url, "Entries": entries})
                    break

    def take(self, stack: Stack) -> None:
        """Record the events from the bus."""
        for event in stack.aws.verdicts(wait_seconds=0):
            request_id, verdict = event["data"]["request"]["id"], event["data"]["verdict"]
            if verdict in FINAL:
                self.ids[request_id].add(event["id"])
                self.said[request_id].add(verdict)
            self.events.append(event)

    def untrue(self) -> list[str]:
        """The disagreements of verdicts with the cloud's record, which is grouped by volume for speed."""
        history: dict[str | None, list[Happened]] = defaultdict(list)
        for entry in self.cloud.world.history:
            history[entry.volume_id].append(entry)
        judged = (disagreement(history[event["data"].get("volume_id")], event) for event in self.events)
        return list(filter(None, judged))

    def report(self, console: Console, drained: float, troubles: Troubles) -> bool:
        """Show the results; returns whether all are as required."""
        untrue, asked = self.untrue(), self.asked
        rows = (
            ("requests", len(self.requests), None),
            ("cloud calls", len(self.cloud.calls), None),
            ("faults injected", self.faults.struck, None),
            *((name, count, None) for name, count in sorted(troubles.counts.items())),
            ("events emitted", len(self.events), None),
            ("lost (no final verdict)", len(asked - self.ids.keys()), 0),
            ("verdicts without a request", len(self.ids.keys() - asked), 0),
            ("requests with two final verdict ids", sum(len(ids) > 1 for ids in self.ids.values()), 0),
            ("requests with contradicting verdicts", sum(len(said) > 1 for said in self.said.values()), 0),
            ("verdicts the cloud's record disagrees with", len(untrue), 0),
        )
        console.say()
        for name, value, wanted in rows:
            console.say(f"  {console.mark(None if wanted is None else value == wanted)} {name:<44} {value:>9,}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        console.say(f"      {'queue drained in':<44} {drained:>8.0f} s")
        console.say(f"      {'peak memory, without moto':<44} {peak:>6.0f} MiB")
        quarters = " ".join(f"{memory:,}" for memory in troubles.memory)
        console.say(f"      {'MiB at each quarter, with the cloud record':<44} {quarters}")
        for wrong in untrue[:5]:
            console.trouble(wrong)
        return all(wanted in (None, value) for _, value, wanted in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--faults", type=float, default=0.05, help="share of the cloud's answers that fail")
    parser.add_argument("--duplicates", type=float, default=0.02, help="share of the requests that are sent twice")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30, help="give up after so many minutes")
    asked = parser.parse_args()
    random, world = Random(asked.seed), World(utc_now, seed=asked.seed)
    faulty = RandomFaults(asked.faults, asked.seed)
    soak = Soak(CloudApi(world), faulty, list(_requests(world, asked.requests, random)))
    soak.cloud.faults = soak.faults
    console = Console(brief=True)
    began = told = time.monotonic()
    deadline = began + asked.minutes * 60
    with watched(console, cloud=soak.cloud, under_load=True) as stack:
        troubles = Troubles(soak.cloud, stack, Random(asked.seed))
        threading.Thread(target=troubles.run, daemon=True).start()
        sending = ThreadPoolExecutor(1).submit(soak.send, stack, asked.duplicates, random)
        while soak.answered < asked.requests and time.monotonic() < deadline:
            if sending.done():
                sending.result()  # raises the error that ended the sending, if any
            soak.take(stack)
            if soak.answered * 4 >= asked.requests * (len(troubles.memory) + 1):
                troubles.memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
            if time.monotonic() - told > 5:
                told = time.monotonic()
                console.at(f"{soak.answered:>6} of {asked.requests} requests have their verdict")
        drained = time.monotonic() - began
        troubles.stop()
        while stack.aws.waiting(REQUESTS) and time.monotonic() < deadline:
            time.sleep(0.5)
        for _ in range(20):
            soak.take(stack)
    return 0 if soak.report(console, drained, troubles) else 1


def _requests(world: World, count: int, random: Random) -> Iterator[dict[str, Any]]:
    """Create servers with twenty disks each, and one request for each disk."""
    server_id = ""
    long_ago = world.now - timedelta(days=1)
    for number in range(count):
        if number % DISKS_PER_SERVER == 0:
            server_id = world.add_server(name=f"server-{number}", metadata={"os_type": "Linux"}).id
        refuse = random.random() < 0.05
        behaviour = Behaviour(seconds=random.uniform(0.5, 4), nova_lag=random.uniform(-0.5, 0.7), refuse=refuse)
        volume_id = world.add_volume(name=f"volume-{number}", behaviour=behaviour).id
        world.attach(server_id, volume_id, attached_at=long_ago)
        data = {"server_id": server_id, "volume_id": volume_id}
        yield {**REQUEST, "id": f"soak-{number}", "time": world.now.isoformat(), "data": data}


if __name__ == "__main__":
    sys.exit(main())

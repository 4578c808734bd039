"""`make soak`: many requests through the whole local stack, and a reckoning at the end.

Meanwhile answers go wrong, requests come twice, servers are moved, secrets change, and the function starts anew.
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
"""Requests on their way at one time: SQS takes any number, its stand-in grows slow with many."""

WEATHER: tuple[Kind, ...] = (
    faults.RESET_BEFORE,
    faults.RESET_AFTER,
    faults.TRUNCATED,
    faults.answer(bodies.html_error(502)),
    faults.answer(bodies.html_error(503)),
    faults.answer_after_effect(bodies.html_error(504)),
    faults.answer(bodies.nova_fault("overLimit", 429, "slow down", retry_after=1)),
)


class Rain(Faults):
    """A fault for any call, by chance."""

    def __init__(self, rate: float, seed: int) -> None:
        super().__init__()
        self._rate = rate
        self._random = Random(seed)
        self.fallen = 0

    def strike(self, request: Request) -> Kind | None:
        if request.operation == "get_token" or self._random.random() >= self._rate:
            return super().strike(request)
        self.fallen += 1
        return self._random.choice(WEATHER)


TROUBLES_EVERY = 6
"""Seconds between two things that happen to cloud, secrets and function while the requests are carried out."""

KEY_LASTS = 300
"""Seconds that a key of our messages is the current one at least; they lie in the queue for less."""


@dataclass
class Troubles:
    """What happens meanwhile, one thing after the other, until it is stopped; each is counted.

    Tokens die half a minute after the password was changed at the earliest: for so long a secret that was just read is
    not read again.
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
        """A server with disks on it, for some seconds."""
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
        """Not twice while a message may lie in the queue, as the operators are told."""
        if self.counts["keys of our messages rotated"] * KEY_LASTS > self._waited:
            return
        self.stack.aws.rotate_secret(MESSAGE_KEY, {"key": f"{self.random.getrandbits(256):064x}"})
        self.counts["keys of our messages rotated"] += 1

    def _restart(self) -> None:
        """A new process of the function, as far as it keeps anything: connections, token, secrets, memory."""
        service.cache_clear()
        self.counts["function restarted"] += 1

    def _kill_tokens(self) -> None:
        self.cloud.revoke_tokens()
        self.counts["all tokens revoked"] += 1


@dataclass
class Soak:
    """Requests to a cloud, and what came out: all events; by request, ids and words of the final ones."""

    cloud: CloudApi
    rain: Rain
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
        """Keep a wave of requests on their way, some of them twice."""
        client, url = stack.aws.client, stack.aws.queue_urls[REQUESTS]
        for first in range(0, len(self.requests), 8):
            while first - self.answered > WAVE:
                time.sleep(0.05)
            batch = self.requests[first : first + 8]
            batch += [request for request in batch if random.random() < duplicates][:2]
            entries = [{"Id": str(at), "MessageBody": json.dumps(request)} for at, request in enumerate(batch)]
            while True:  # a stand-in that is slow for a moment has taken them or not: then they come twice, as by SQS
                with suppress(AwsTrouble):
                    client.call(SQS, "SendMessageBatch", {"QueueUrl": url, "Entries": entries})
                    break

    def take(self, stack: Stack) -> None:
        """Take in what has come off the bus."""
        for event in stack.aws.verdicts(wait_seconds=0):
            request_id, verdict = event["data"]["request"]["id"], event["data"]["verdict"]
            if verdict in FINAL:
                self.ids[request_id].add(event["id"])
                self.said[request_id].add(verdict)
            self.events.append(event)

    def untrue(self) -> list[str]:
        """What the cloud's record says against verdicts; looked up by volume, since there are many."""
        history: dict[str | None, list[Happened]] = defaultdict(list)
        for entry in self.cloud.world.history:
            history[entry.volume_id].append(entry)
        judged = (disagreement(history[event["data"].get("volume_id")], event) for event in self.events)
        return list(filter(None, judged))

    def report(self, console: Console, drained: float, troubles: Troubles) -> bool:
        """Show the reckoning; whether everything is as it has to be."""
        untrue, asked = self.untrue(), self.asked
        rows = (
            ("requests", len(self.requests), None),
            ("cloud calls", len(self.cloud.calls), None),
            ("faults injected", self.rain.fallen, None),
            *((name, count, None) for name, count in sorted(troubles.counts.items())),
            ("events emitted", len(self.events), None),
            ("lost (no final verdict)", len(asked - self.ids.keys()), 0),
            ("verdicts of what nobody asked for", len(self.ids.keys() - asked), 0),
            ("requests with two final verdict ids", sum(len(ids) > 1 for ids in self.ids.values()), 0),
            ("requests told two different things", sum(len(said) > 1 for said in self.said.values()), 0),
            ("verdicts the cloud's record disagrees with", len(untrue), 0),
        )
        console.say()
        for name, value, wanted in rows:
            console.say(f"  {console.mark(None if wanted is None else value == wanted)} {name:<44} {value:>9,}")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        console.say(f"      {'queue drained in':<44} {drained:>8.0f} s")
        console.say(f"      {'peak memory, all but the AWS stand-in':<44} {peak:>6.0f} MiB")
        quarters = " ".join(f"{memory:,}" for memory in troubles.memory)
        console.say(f"      {'MiB at each quarter, the cloud records it all':<44} {quarters}")
        for wrong in untrue[:5]:
            console.trouble(wrong)
        return all(wanted in (None, value) for _, value, wanted in rows)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--faults", type=float, default=0.05, help="part of the cloud's answers that go wrong")
    parser.add_argument("--duplicates", type=float, default=0.02, help="part of the requests that are sent twice")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=30, help="give up after so long")
    asked = parser.parse_args()
    random, world = Random(asked.seed), World(utc_now, seed=asked.seed)
    soak = Soak(CloudApi(world), Rain(asked.faults, asked.seed), list(_requests(world, asked.requests, random)))
    soak.cloud.faults = soak.rain
    console = Console(brief=True)
    began = told = time.monotonic()
    deadline = began + asked.minutes * 60
    with watched(console, cloud=soak.cloud, under_load=True) as stack:
        troubles = Troubles(soak.cloud, stack, Random(asked.seed))
        threading.Thread(target=troubles.run, daemon=True).start()
        sending = ThreadPoolExecutor(1).submit(soak.send, stack, asked.duplicates, random)
        while soak.answered < asked.requests and time.monotonic() < deadline:
            if sending.done():
                sending.result()  # what ended it before all were sent ends the soak
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
    """Disks on servers, twenty to one, each with one request."""
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

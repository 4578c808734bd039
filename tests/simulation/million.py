"""`make million`: sends very many requests to one process on virtual time, and reports what grows in it.

Requests come in waves, with faults, duplicates, moves, revoked tokens and changed passwords. After each wave its
requests are checked and the simulated cloud is cleared, so that only the service itself can grow.
"""

import argparse
import gc
import json
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any

from simulator import Behaviour, Fault, Refused
from simulator.scenarios import scenario_cloud
from simulator.scenarios.stage import ATTACHED_BEFORE
from tests.simulation.oracle import Run, violations
from tests.simulation.test_faults import FAULTS, PASSING
from tests.stack import LINES, Stack

SETTINGS = {"CONFIRM_TIMEOUT": "600", "WATCH_TIMEOUT": "6000", "REQUEST_TTL": "1800"}
WAVE, DISKS = 100, 10
REQUEST = {"specversion": "1.0", "source": "/million", "type": "bms.volume.detach_requested.v1"}
OPERATIONS = ("get_server", "list_attachments", "get_volume", "list_volumes", "delete_attachment")


@dataclass
class Million:
    """One service with its simulated cloud, and the counts so far."""

    random: Random
    simulation: Stack = field(default_factory=lambda: Stack(scenario_cloud, SETTINGS))
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def wave(self, first: int, count: int) -> None:
        """Send `count` requests at once, run them to the end, check them, and clear the cloud."""
        simulation, random, world = self.simulation, self.random, self.simulation.cloud.world
        simulation.batch = random.randint(1, 10)
        requests: list[Mapping[str, Any]] = list(self._requests(first, count))
        for request in requests:
            message = simulation.queue.put(json.dumps(request), random.choice((0, 0, 0, 2)))
            if random.random() < 0.02:
                simulation.queue.put(message.body, random.choice((0, 3)), id=message.id)
                self.counts["duplicates"] += 1
        for _ in range(count // 20):
            kind, operation = FAULTS[random.choice(PASSING)], random.choice(OPERATIONS)
            simulation.cloud.faults.add(Fault(kind, operation, skip=random.randrange(3 * count)))
        for server in random.sample(sorted(world.servers), 1):
            world.at(random.uniform(0, 3), partial(self._move, server))
        world.at(2, random.choice((simulation.cloud.revoke_tokens, self._change_password, lambda: None)))
        simulation.run(100_000)
        run = Run.of(simulation, requests, set(), rough=True)
        self.wrong += [f"requests {first}-{first + count}: {wrong}" for wrong in violations(run)]
        self.counts["requests"] += len(requests)
        self.counts["cloud calls"] += len(simulation.cloud.calls)
        self.counts["events"] += len(simulation.bus.events)
        self.counts.update(event["data"]["detail"] for event in simulation.bus.events)
        self._forget()

    def _requests(self, first: int, count: int) -> Iterator[dict[str, Any]]:
        world, random, server = self.simulation.cloud.world, self.random, ""
        for number in range(first, first + count):
            if number % DISKS == 0:
                server = world.add_server(metadata={"os_type": "Linux"}, root_device="/dev/sda").id
            refuse = random.random() < 0.03
            behaviour = Behaviour(random.uniform(0.5, 5), random.uniform(-0.4, 0.7), refuse=refuse)
            volume = world.add_volume(behaviour=behaviour).id
            world.attach(server, volume, attached_at=world.now - ATTACHED_BEFORE)
            data = {"server_id": server, "volume_id": volume}
            yield {**REQUEST, "id": f"m-{number}", "time": world.now.isoformat(), "data": data}

    def _move(self, server: str) -> None:
        with suppress(Refused):
            self.simulation.cloud.world.move(server, seconds=8)

    def _change_password(self) -> None:
        identity = self.simulation.cloud.identity
        identity.change_password(f"password-{self.random.getrandbits(64):x}")
        identity.revoke_tokens()

    def _forget(self) -> None:
        """Clear the cloud, the queue, the bus and the log, but not the service."""
        simulation, world = self.simulation, self.simulation.cloud.world
        for plane in (world.servers, world.volumes, world.nova, world.cinder, world.reserved, world.actions):
            plane.clear()
        world.timeline.entries.clear()
        world.timeline.by_volume.clear()
        identity = simulation.cloud.identity
        for kept in (world.history, simulation.cloud.calls, simulation.bus.events, simulation.queue.ever,
                     simulation.queue.sent, simulation.effects.log, simulation.errors, identity.issued,
                     identity.passwords, LINES, simulation.late):  # fmt: skip
            kept.clear()
        simulation.bus.offered.clear()
        simulation.cloud.faults.clear()
        simulation.unfinished.clear()
        simulation.queue.copies = False
        simulation._first_line = 0
        simulation.clock.sleep(timedelta(hours=1).total_seconds())

    def grown(self) -> dict[str, int]:
        """The current size of the process and of the service's memory."""
        gc.collect()
        visits = self.simulation.service.visits
        return {
            "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "objects": len(gc.get_objects()),
            "threads": threading.active_count(),
            "remembered requests": len(visits.asked),
            "remembered DELETEs": len(visits.sent_at),
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.million", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    million, began = Million(Random(asked.seed)), time.monotonic()
    marks = {asked.requests * tenth // 10 for tenth in range(1, 11)}
    for first in range(0, asked.requests, WAVE):
        million.wave(first, min(WAVE, asked.requests - first))
        if any(first < mark <= first + WAVE for mark in marks) or first == 0:
            held = ", ".join(f"{value:,} {name}" for name, value in million.grown().items())
            print(f"{million.counts['requests']:>11,} requests, {time.monotonic() - began:>6.0f} s: {held}", flush=True)
    print()
    for name, count in million.counts.most_common():
        print(f"{count:>11,} {name}")
    print(f"{len(million.wrong):>11,} violations")
    for wrong in million.wrong[:5]:
        print(f"            {wrong}")
    return 1 if million.wrong else 0


if __name__ == "__main__":
    sys.exit(main())

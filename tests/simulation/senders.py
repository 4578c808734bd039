"""Messages that end without a read of the cloud: invalid, forged or not allowed requests, and dead letters."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from simulator import What
from simulator.scenarios import scenario_cloud
from simulator.scenarios.stage import Stage
from tests.messages import bare, cloudevent
from tests.simulation.reach import Counts, count_verdicts, counting
from tests.simulation.stories import SETTINGS
from tests.stack import Stack


@dataclass(frozen=True)
class Sender:
    """A kind of message: how to write it, the expected reason, and the operator's ALLOWED_REQUESTERS.

    With `dies`, every delivery of it dies.
    """

    name: str
    body: Callable[[str, str], str]
    reason: str
    allowed: str = ""
    dies: bool = False


def _forged(server: str, volume: str) -> str:
    request = {"id": "4711", "source": "/x", "server_id": server, "volume_id": volume}
    return json.dumps({"continuation": 1, "request": request, "progress": {}, "mac": "0" * 64})


SENDERS = (
    Sender("no volume", lambda server, volume: json.dumps({"server_id": server}), "invalid_request"),
    Sender("no JSON", lambda server, volume: "detach it, please", "invalid_request"),
    Sender("an event of another type", lambda *ids: json.dumps(cloudevent(bare(*ids), type="a.b")), "invalid_request"),
    Sender("forged progress", _forged, "not_authentic"),
    Sender("somebody else", lambda *ids: json.dumps(bare(*ids)), "requester_not_allowed", "user:AROATHEONLYONE*"),
    Sender("somebody else, in a dry run", lambda *ids: json.dumps(bare(*ids, dry_run=True)), "requester_not_allowed",
           "user:AROATHEONLYONE*"),
    Sender("a delivery that always dies", lambda *ids: json.dumps(bare(*ids)), "dead_lettered", dies=True),
)  # fmt: skip


def sender_cases() -> Iterator[tuple[str, int | None]]:
    """Each kind undisturbed, and with a death before or after one of its first two effects."""
    for sender in SENDERS:
        yield from ((sender.name, number) for number in (None, *range(4)) if not (sender.dies and number is not None))


def judge_sender(case: tuple[str, int | None]) -> tuple[list[str], Counts]:
    """Play a case; it must end in one verdict with the right reason, without a DELETE or a leftover message."""
    name, number = case
    sender = next(one for one in SENDERS if one.name == name)
    counts: Counts = Counts()
    settings = SETTINGS | ({"ALLOWED_REQUESTERS": sender.allowed} if sender.allowed else {})
    deaths = frozenset() if number is None else frozenset({(number // 2, ("before", "after")[number % 2])})
    if sender.dies:
        deaths = frozenset((number, "before") for number in range(400))
    simulation = Stack(scenario_cloud, settings, deaths, mutate=counting(counts))
    stage = Stage(simulation.cloud, name)
    server = stage.server()
    simulation.queue.put(sender.body(server, stage.disk(server)))
    if sender.dies:
        _die_until_dead(simulation)
    simulation.run()
    count_verdicts(simulation.bus.events, counts)
    return list(_wrong(simulation, sender)), counts


def _die_until_dead(simulation: Stack) -> None:
    """Let each delivery die at its first effect, until the queue moves the message to the dead-letter queue."""
    while simulation.queue.messages:
        simulation.effects.deaths = frozenset({(len(simulation.effects.log), "after")})
        simulation.step()
    simulation.effects.deaths = frozenset()


def _wrong(simulation: Stack, sender: Sender) -> Iterator[str]:
    ids = {event["id"] for event in simulation.bus.events}
    codes = {(event["data"].get("reason") or {}).get("code") for event in simulation.bus.events}
    if len(ids) != 1 or codes != {sender.reason}:
        yield f"answered {len(ids)} times, with {sorted(map(str, codes))}"
    if any(entry.what is What.DELETE_RECEIVED for entry in simulation.cloud.world.history):
        yield "a DELETE was sent"
    if simulation.queue.messages or simulation.queue.dead_letters:
        yield "messages are left"

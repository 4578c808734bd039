"""What must hold of every run, judged from the simulated world's own history."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulator import Happened, What
from simulator.oracle import disagreement
from tests.stack import Stack

SKEW = timedelta(seconds=5)
FINAL = ("detached", "failed", "checked")


@dataclass(frozen=True)
class Run:
    """A run that is over: who asked for what, what was emitted, what happened, what was logged."""

    requests: list[Mapping[str, Any]]
    events: list[dict[str, Any]]
    history: list[Happened]
    leftovers: int = 0
    secrets: tuple[str, ...] = ()
    logs: list[str] = field(default_factory=list)
    untouchable: frozenset[str] = frozenset()
    copies: bool = False

    @classmethod
    def of(cls, simulation: Stack, requests: list[Mapping[str, Any]], untouchable: set[str]) -> Run:
        identity = simulation.cloud.identity
        return cls(
            requests,
            simulation.bus.events,
            simulation.cloud.world.history,
            len(simulation.queue.messages) + len(simulation.queue.dead_letters),
            (identity.user.password, *identity.issued),
            simulation.logs,
            frozenset(untouchable),
            simulation.queue.copies,
        )

    def final(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        volume = request["data"]["volume_id"]
        return [
            event
            for event in self.events
            if (event["data"]["request"]["id"], event["data"].get("volume_id")) == (request["id"], volume)
            and event["data"]["verdict"] in FINAL
        ]

    def deletes(self, what: What) -> list[Happened]:
        return [entry for entry in self.history if entry.what is what]


Invariant = Callable[[Run], Iterator[str]]


def one_final_verdict_id(run: Run) -> Iterator[str]:
    """Exactly one final verdict id for each request and volume, and nothing left in the queues."""
    for request in run.requests:
        ids = {event["id"] for event in run.final(request)}
        if len(ids) != 1:
            yield f"{request['id']} has {len(ids)} final verdict ids"
    if run.leftovers:
        yield f"{run.leftovers} messages are left"


def no_contradiction(run: Run) -> Iterator[str]:
    """No final verdict says something else than an earlier one of the same request.

    Two things are not promised; both have the same id, so that a consumer which dedupes hears only the first.
    What died five times over is answered as unknown, though one delivery may have got as far as its verdict. And a
    second copy of a request, looked at for the first time after somebody attached the disk anew, is `superseded`.
    """
    for request in run.requests:
        said = {(e["data"]["verdict"], (e["data"].get("reason") or {}).get("code")) for e in run.final(request)}
        later_world = {("failed", "dead_lettered")} | ({("failed", "superseded")} if run.copies else set())
        said -= later_world
        if len(said) > 1:
            yield f"{request['id']} was told {sorted(map(str, said))}"


def verdicts_are_true(run: Run) -> Iterator[str]:
    """Each verdict agrees with the world at its time; above all, detached means detached."""
    for event in run.events:
        if objection := disagreement(run.history, event):
            yield f"{event['data']['request']['id']}: {objection}"


def nothing_newer_is_cut(run: Run) -> Iterator[str]:
    """No DELETE takes effect on an attachment made after every request for it."""
    made = {entry.attachment_id: entry.at for entry in run.history if entry.what is What.ATTACHED}
    for entry in run.deletes(What.DELETE_ACCEPTED):
        asked = [
            datetime.fromisoformat(request["time"])
            for request in run.requests
            if request["data"]["volume_id"] == entry.volume_id and request["data"]["server_id"] == entry.server_id
        ]
        if asked and made[entry.attachment_id] > max(asked) + SKEW:
            yield f"attachment {entry.attachment_id} is newer than the request and was cut"


def one_effective_delete(run: Run) -> Iterator[str]:
    """At most one DELETE takes effect on one attachment, and none is sent after one that was accepted."""
    accepted = [entry.attachment_id for entry in run.deletes(What.DELETE_ACCEPTED)]
    refused = {entry.attachment_id for entry in run.deletes(What.DETACH_REFUSED)}
    for attachment in set(accepted) - refused:
        if accepted.count(attachment) > 1:
            yield f"attachment {attachment} was sent {accepted.count(attachment)} effective DELETEs"


def gates_hold(run: Run) -> Iterator[str]:
    """For a disk that must not be touched (unsafe, a dry run, attached later) no DELETE is sent at all."""
    for entry in run.deletes(What.DELETE_RECEIVED):
        if entry.volume_id in run.untouchable:
            yield f"a DELETE was sent for {entry.volume_id}"


def nothing_secret(run: Run) -> Iterator[str]:
    """No token and no password stands in any event or log line."""
    for text in (*map(str, run.events), *run.logs):
        for secret in run.secrets:
            if secret in text:
                yield "a secret got out"


INVARIANTS: tuple[Invariant, ...] = (
    one_final_verdict_id,
    no_contradiction,
    verdicts_are_true,
    nothing_newer_is_cut,
    one_effective_delete,
    gates_hold,
    nothing_secret,
)


def violations(run: Run) -> list[str]:
    """All that is wrong with a run, each with the name of its invariant."""
    return [f"{invariant.__name__}: {what}" for invariant in INVARIANTS for what in invariant(run)]

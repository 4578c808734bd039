"""What must hold of every run, judged from the simulated world's own history."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulator import Happened, What
from simulator.expected import Asked, Promise, View, answers_about, objection
from simulator.oracle import bindings
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
    views: Sequence[View | None] = ()

    @classmethod
    def of(
        cls, simulation: Stack, requests: list[Mapping[str, Any]], untouchable: set[str], keeps_records: bool = True
    ) -> Run:
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
            views_of(simulation, requests, keeps_records),
        )

    def final(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        volume = request["data"]["volume_id"]
        return [
            event
            for event in self.events
            if (event["data"]["request"]["id"], event["data"].get("volume_id")) == (request["id"], volume)
            and event["data"]["verdict"] in FINAL
        ]

    def about(self, request: Mapping[str, Any]) -> list[Happened]:
        asked = request["data"]["server_id"], request["data"]["volume_id"]
        return [entry for entry in self.history if (entry.server_id, entry.volume_id) == asked]

    def attached_at_once(self, request: Mapping[str, Any]) -> bool:
        """Whether somebody attached the disk anew so soon after the request that two clocks may disagree on it."""
        asked = datetime.fromisoformat(request["time"])
        made = [entry.at for entry in self.about(request) if entry.what is What.ATTACHED]
        return any(asked < at <= asked + SKEW + timedelta(seconds=1) for at in made)

    def binding(self, entry: Happened) -> str | None:
        """What a move keeps and an attach renews: the first attachment's id stands for it."""
        about = [h for h in self.history if (h.server_id, h.volume_id) == (entry.server_id, entry.volume_id)]
        return bindings(about).get(entry.attachment_id or "")

    def deletes(self, what: What) -> list[Happened]:
        return [entry for entry in self.history if entry.what is what]


def views_of(simulation: Stack, requests: Sequence[Mapping[str, Any]], keeps_records: bool = True) -> list[View | None]:
    """What is known of each event, by the record; None for one that answers no request of these."""
    promise = promise_of(simulation)
    asked = {key: asked_of(simulation, request, requests) for request in requests for key in _keys(request)}
    calls = simulation.cloud.calls
    found: list[View | None] = []
    for event in simulation.bus.events:
        data, said = event["data"], simulation.bus.offered[json.dumps(event)]
        known = asked.get((data["request"]["id"], data.get("volume_id")))
        if known is None or data.get("server_id") != known.data["server_id"]:
            found.append(None)
            continue
        began, at = said.began + promise.ahead, said.at + promise.ahead
        answers = answers_about(calls, data["server_id"], data["volume_id"], began, at)
        records = keeps_records and simulation.cloud.deployment.instance_actions
        found.append(View(simulation.cloud, known, promise, began, at, records, answers))
    return found


def _keys(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    data = request["data"]
    yield from ((request["id"], volume) for volume in data.get("volume_ids", [data.get("volume_id")]))


def promise_of(simulation: Stack) -> Promise:
    """What the operator of a simulation has set."""
    policy = simulation.settings.policy
    return Promise(
        confirm=policy.confirm_timeout,
        watch=policy.watch_timeout,
        ttl=policy.request_ttl,
        ttl_limit=policy.request_ttl_limit,
        ahead=simulation.cloud.world.now - simulation.clock() if simulation.cloud_is_ahead else timedelta(),
        running=str(policy.running_server_policy),
    )


def asked_of(simulation: Stack, request: Mapping[str, Any], requests: Sequence[Mapping[str, Any]]) -> Asked:
    """A request with what the queue did with its messages."""
    queue, data = simulation.queue, request["data"]
    mine = [one for one in queue.ever if _is_of(one.body, request)]
    same_disk = [
        one for one in requests
        if one is not request and (one["data"]["server_id"], one["data"].get("volume_id"))
        == (data["server_id"], data.get("volume_id"))
    ]  # fmt: skip
    return Asked(
        request,
        [(one.sent_at, one.first_received_at) for one in mine if one.first_received_at],
        deaths=bool(simulation.unfinished & {one.id for one in mine}) or queue.copies,
        shared=bool(same_disk),
        dead_lettered=bool({one.id for one in mine} & set(queue.died)),
    )


def _is_of(body: str, request: Mapping[str, Any]) -> bool:
    """Whether a message is the request itself, or a continuation of it."""
    value = json.loads(body)
    return bool(value.get("id") == request["id"] or value.get("request", {}).get("id") == request["id"])


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

    Three things are not promised; all have the same id, so that a consumer which dedupes hears only the first.
    What died five times over is answered as unknown, though one delivery may have got as far as its verdict. A
    second copy of a request, looked at for the first time much later, is `expired`, or `superseded` if somebody
    attached the disk anew. And so is a redelivery, if that was within what clocks may differ by from the request.
    """
    for request in run.requests:
        said = {(e["data"]["verdict"], (e["data"].get("reason") or {}).get("code")) for e in run.final(request)}
        later_world = {("failed", "dead_lettered")}
        later_world |= {("failed", "superseded"), ("failed", "expired")} if run.copies else set()
        later_world |= {("failed", "superseded")} if run.attached_at_once(request) else set()
        said -= later_world
        if len(said) > 1:
            yield f"{request['id']} was told {sorted(map(str, said))}"


def verdicts_are_true(run: Run) -> Iterator[str]:
    """Each verdict agrees with the world at its time; above all, detached means detached."""
    for event, view in zip(run.events, run.views, strict=True):
        if view and (why := objection(view, event["data"])):
            yield f"{event['data']['request']['id']}: {why}"


def nothing_newer_is_cut(run: Run) -> Iterator[str]:
    """No DELETE takes effect on an attachment made after every request for it."""
    made: dict[str | None, datetime] = {e.attachment_id: e.at for e in run.history if e.what is What.ATTACHED}
    for entry in run.deletes(What.DELETE_ACCEPTED):
        asked = [
            datetime.fromisoformat(request["time"])
            for request in run.requests
            if request["data"]["volume_id"] == entry.volume_id and request["data"]["server_id"] == entry.server_id
        ]
        if asked and made[run.binding(entry)] > max(asked) + SKEW:
            yield f"attachment {entry.attachment_id} is newer than the request and was cut"


def one_effective_delete(run: Run) -> Iterator[str]:
    """At most one DELETE takes effect on one binding, moved or not, and none is sent after one that was accepted."""
    accepted = [run.binding(entry) for entry in run.deletes(What.DELETE_ACCEPTED)]
    refused = {run.binding(entry) for entry in run.deletes(What.DETACH_REFUSED)}
    for binding in set(accepted) - refused:
        if accepted.count(binding) > 1:
            yield f"binding {binding} was sent {accepted.count(binding)} effective DELETEs"


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

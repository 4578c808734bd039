"""The invariants of every run, checked against the simulated world's own history."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulator import Happened, What
from simulator.expected import SentRequest, VerdictSettings, View, answers_about, objection
from tests.simulation.summaries import (
    Summed,
    is_summary,
    one_summary_id,
    summaries_are_complete,
    summaries_come_last,
    summaries_list_what_was_there,
    system_disk_stays,
    with_volumes,
)
from tests.stack import Queued, Stack

SKEW = timedelta(seconds=5)
FINAL = ("detached", "failed", "checked")


@dataclass(frozen=True)
class Run:
    """A finished run: its requests, events, history and logs.

    In a `rough` run, others change the requested disks at any time, also between two deliveries of a request.

    `events` are the verdicts; `summed` has the summaries. `binding_of` has the binding of each attachment, and `made`
    the time at which each binding was made. `late` are DELETEs that were not finished when their invocation ended.
    `looks` are the times at which each volume was read.
    """

    requests: list[Mapping[str, Any]]
    events: list[dict[str, Any]]
    history: list[Happened]
    leftovers: int = 0
    secrets: tuple[str, ...] = ()
    logs: list[str] = field(default_factory=list)
    untouchable: frozenset[str] = frozenset()
    copies: bool = False
    views: Sequence[View | None] = ()
    binding_of: Mapping[str | None, str] = field(default_factory=dict)
    made: Mapping[str, datetime] = field(default_factory=dict)
    late: Sequence[str] = ()
    rough: bool = False
    looks: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    summed: Sequence[Summed] = ()

    @classmethod
    def of(
        cls,
        simulation: Stack,
        requests: list[Mapping[str, Any]],
        untouchable: set[str],
        keeps_records: bool = True,
        rough: bool = False,
    ) -> Run:
        identity, timeline = simulation.cloud.identity, simulation.cloud.world.timeline
        requests = [dict(with_volumes(request, simulation.bus.events)) for request in requests]
        binding_of: dict[str | None, str] = {}
        made: dict[str, datetime] = {}
        for volume_id in list(timeline.by_volume):
            for _, at, one in timeline.ever(volume_id):
                binding_of[one.id] = one.bdm_id
                since = min(at, one.attached_at or at)
                made[one.bdm_id] = min(made.get(one.bdm_id, since), since)
        looks: dict[str, list[datetime]] = defaultdict(list)
        for call in simulation.cloud.calls:
            if call.operation == "get_volume" and call.volume_id:
                looks[call.volume_id].append(call.at)
        return cls(
            requests,
            _verdicts(simulation),
            simulation.cloud.world.history,
            len(simulation.queue.messages) + len(simulation.queue.dead_letters),
            tuple(
                {
                    identity.user.password,
                    *identity.passwords,
                    *identity.issued,
                    *simulation.access.secrets,
                    *_planted(requests),
                }
            ),
            simulation.logs,
            frozenset(untouchable),
            simulation.queue.copies,
            views_of(simulation, requests, keeps_records),
            binding_of,
            made,
            simulation.late,
            rough,
            looks,
            summed_of(simulation, requests),
        )

    def final(self, request: Mapping[str, Any], volume: str | None) -> list[dict[str, Any]]:
        return [
            event
            for event in self.events
            if (event["data"]["request"]["id"], event["data"].get("volume_id")) == (request["id"], volume)
            and event["data"]["verdict"] in FINAL
        ]

    def attached_at_once(self, request: Mapping[str, Any]) -> bool:
        """Whether somebody attached a disk so soon after the request that clock skew hides the order."""
        asked, where = datetime.fromisoformat(request["time"]), request["data"]["server_id"]
        made = [one.at for one in self.history if one.what is What.ATTACHED and one.server_id == where]
        return any(asked < at <= asked + SKEW + timedelta(seconds=1) for at in made)

    def cannot_tell(self, request_id: str, volume: str | None) -> bool:
        """Whether a delivery died, and the cloud keeps no action records to tell a moved attachment from a newer one.

        That matters if the cloud does not show the time of the attachment, or if others moved or attached the disk. The
        delivery that did not follow an attachment yet may take a new one for the meant one; the other one does not.
        """
        views = self.views_of(request_id, volume)
        timeless = (one for view in views for moment in view.moments for one in (*moment.shown, moment.listed) if one)
        silent = any(not view.keeps_records for view in views)
        if not (silent and views[0].asked.deaths):
            return False
        since = views[0].asked.requested_at
        renewed = (one for one in self.happened(*BY_OTHERS) if one.volume_id == volume and one.at > since)
        return any(one.attached_at is None for one in timeless) or any(True for _ in renewed)

    def views_of(self, request_id: str, volume: str | None) -> list[View]:
        """The views of each final verdict of a request."""
        return [
            view
            for event, view in zip(self.events, self.views, strict=True)
            if view and (event["data"]["request"]["id"], event["data"].get("volume_id")) == (request_id, volume)
            and event["data"]["verdict"] in FINAL
        ]  # fmt: skip

    def happened(self, *whats: What) -> list[Happened]:
        return [entry for entry in self.history if entry.what in whats]


def _planted(requests: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The secrets in requests: their task tokens."""
    return (token for request in requests if (token := request["data"].get("task_token")))


def views_of(simulation: Stack, requests: Sequence[Mapping[str, Any]], keeps_records: bool = True) -> list[View | None]:
    """The view of each verdict; None for one that answers none of these requests."""
    settings = settings_of(simulation)
    messages: dict[str, list[Queued]] = defaultdict(list)
    for message in simulation.queue.ever:
        messages[_request_of(message.body)].append(message)
    wishes = Counter((one["data"]["server_id"], volume) for one in requests for _, volume in _keys(one))
    asked = {
        key: asked_of(simulation, _for(request, key[1]), messages[request["id"]], wishes)
        for request in requests
        for key in _keys(request)
    }
    calls = simulation.cloud.calls
    found: list[View | None] = []
    for event in _verdicts(simulation):
        data, said = event["data"], simulation.bus.offered[json.dumps(event)]
        known = asked.get((data["request"]["id"], data.get("volume_id")))
        if known is None or data.get("server_id") != known.data["server_id"]:
            found.append(None)
            continue
        began, at = said.began + settings.ahead, said.at + settings.ahead
        received = min(known.first_received + settings.ahead, began)
        answers = answers_about(calls, (data["server_id"], data.get("volume_id", "")), received, began, at)
        records = keeps_records and simulation.cloud.deployment.instance_actions
        found.append(View(simulation.cloud, known, settings, began, at, records, answers))
    return found


def _verdicts(simulation: Stack) -> list[dict[str, Any]]:
    return [event for event in simulation.bus.events if not is_summary(event)]


def summed_of(simulation: Stack, requests: Sequence[Mapping[str, Any]]) -> list[Summed]:
    """Each request with all its events."""
    messages: dict[str, list[Queued]] = defaultdict(list)
    for message in simulation.queue.ever:
        messages[_request_of(message.body)].append(message)
    said: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for event in simulation.bus.events:
        said[event["data"]["request"]["id"]].append(event)
    ahead, until = settings_of(simulation).ahead, simulation.cloud.world.now
    found = []
    for request in requests:
        asked = asked_of(simulation, request, messages[request["id"]], Counter())
        found.append(Summed(asked, said[request["id"]], simulation.cloud, asked.first_received + ahead, until))
    return found


def _for(request: Mapping[str, Any], volume: str | None) -> Mapping[str, Any]:
    """The request for one of its volumes; without a volume if its disks could not be listed."""
    return {**request, "data": {**request["data"], "volume_id": volume or ""}}


def _keys(request: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    data = request["data"]
    yield from ((request["id"], volume) for volume in data.get("volume_ids", [data.get("volume_id")]))


def settings_of(simulation: Stack) -> VerdictSettings:
    """The operator's settings of a simulation."""
    policy = simulation.settings.policy
    return VerdictSettings(
        confirm=policy.confirm_timeout,
        watch=policy.watch_timeout,
        ttl=policy.request_ttl,
        ttl_limit=policy.request_ttl_limit,
        ahead=simulation.cloud_ahead,
        running=str(policy.running_server_policy),
        kind=str(policy.server_kind),
    )


def asked_of(
    simulation: Stack, request: Mapping[str, Any], mine: Sequence[Queued], wishes: Counter[tuple[str, str | None]]
) -> SentRequest:
    """A request with the record of its messages in the queue; `wishes` counts the requests for each disk."""
    queue, data = simulation.queue, request["data"]
    return SentRequest(
        request,
        [(one.sent_at, one.first_received_at - queue.ahead) for one in mine if one.first_received_at],
        deaths=bool(simulation.unfinished & {one.id for one in mine}) or queue.copies,
        shared=wishes[data["server_id"], data.get("volume_id")] > 1,
        dead_lettered=bool({one.id for one in mine} & set(queue.died)),
        late=max((one.late for one in mine), default=timedelta()),
    )


def _request_of(body: str) -> str:
    """The id of the request in a message, which is the request itself or a continuation."""
    value = json.loads(body)
    return str(value.get("id") or value.get("request", {}).get("id"))


Invariant = Callable[[Run], Iterator[str]]


def one_final_verdict_id(run: Run) -> Iterator[str]:
    """Each volume of a request gets exactly one final verdict id, and the queues are empty."""
    for request in run.requests:
        for _, volume in _keys(request):
            ids = {event["id"] for event in run.final(request, volume)}
            if len(ids) != 1:
                yield f"{request['id']} has {len(ids)} final verdict ids"
    if run.leftovers:
        yield f"{run.leftovers} messages are left"


TIME_IS_OVER = {("failed", "expired"), ("failed", "gave_up")}
"""Failures by a timeout. Two deliveries of a request may find different ones of its times over."""


def no_contradiction(run: Run) -> Iterator[str]:
    """No final verdict of a request contradicts an earlier one.

    There are five exceptions. All these verdicts have the same id, so a consumer that deduplicates gets only the first.

    - A request whose message became a dead letter is answered as unknown, although a delivery may have had a verdict.
    - A second copy of a request, first read much later, may be `expired` or `gave_up`, or `superseded` if somebody
      attached the disk again.
    - A redelivery may be `superseded` if somebody attached the disk again within the clock skew of the request, or if
      the cloud shows neither the time of the attachment nor action records.
    - If a request has an expiry time, two deliveries may fail for different reasons. None fails if another detached.
    - A redelivery does not find a server or volume that was deleted after the delivery before it.
    """
    for request, volume in ((asked, volume) for asked in run.requests for _, volume in _keys(asked)):
        said = {(e["data"]["verdict"], (e["data"].get("reason") or {}).get("code")) for e in run.final(request, volume)}
        later_world = {("failed", "dead_lettered")}
        kinds = ("failed", "checked")
        later_world |= (
            {(kind, code) for kind in kinds for code in ("superseded", "expired", "gave_up")} if run.copies else set()
        )
        unknown = run.attached_at_once(request) or run.cannot_tell(request["id"], volume)
        later_world |= {(kind, "superseded") for kind in kinds} if unknown else set()
        later_world |= {("failed", code) for code in _deleted(run, request["id"], volume)}
        all_failed = run.rough and {kind for kind, _ in said} == {"failed"}
        if said <= TIME_IS_OVER or all_failed:
            later_world |= TIME_IS_OVER
        said -= later_world
        changed = _others_acted(run, request["id"], volume) or (
            run.rough and _world_has_changed(run, request["id"], volume)
        )
        if len(said) > 1 and not changed:
            yield f"{request['id']} was told {sorted(map(str, said))}"


BY_OTHERS = (What.MOVING, What.MOVED, What.ATTACHED)


def _others_acted(run: Run, request_id: str, volume: str | None) -> bool:
    """Whether a delivery died, and others moved or attached the disk between its first and last verdict.

    After `detached`, a redelivery must not fail because of an attachment made since: the request's progress says that
    there was an earlier delivery. It may fail if the server was moved, too, because then the two cannot be told apart.
    """
    views = run.views_of(request_id, volume)
    if len(views) < 2 or not views[0].asked.deaths:
        return False
    found = [one for one in run.happened(*BY_OTHERS) if one.server_id == views[0].where[0]]
    first, last = min(view.began for view in views), max(view.offered for view in views)
    said = [event["data"]["verdict"] for event in run.events if event["data"]["request"]["id"] == request_id]
    forgot = "failed" in said and "detached" in said[: said.index("failed")]
    moved = any(one.what is What.MOVED for one in found)
    acted = any(first <= one.at <= last and one.volume_id == volume for one in found)
    return acted and (moved or not forgot)


def _deleted(run: Run, request_id: str, volume: str | None) -> Iterator[str]:
    """The "not found" reasons that a redelivery may give for what was deleted after a delivery that died."""
    views = run.views_of(request_id, volume)
    if len(views) > 1 and views[0].asked.deaths:
        life = max(views, key=lambda view: view.offered).life
        if any(one.server for one in life) and life[-1].server is None:
            yield "server_not_found"
        if any(one.volume for one in life) and life[-1].volume is None:
            yield "volume_not_found"


def _world_has_changed(run: Run, request_id: str, volume: str | None) -> bool:
    """Whether a delivery died or was duplicated, and the world changed between its verdicts.

    Others changed the disk or its server, or the cloud answered the DELETEs of the deliveries differently.
    """
    views = run.views_of(request_id, volume)
    if len(views) < 2 or not views[0].asked.deaths:
        return False
    timeline, (server, disk) = views[0].cloud.world.timeline, views[0].where
    first, last = min(view.began for view in views), max(view.offered for view in views)
    deletes = {call.status for view in views for call in view.answers if call.method == "DELETE"}
    return len(deletes) > 1 or len(timeline.changes(server, disk, first, last)) > 2


def verdicts_are_true(run: Run) -> Iterator[str]:
    """The cloud's record justifies each verdict at its time; above all, `detached` means detached."""
    for event, view in zip(run.events, run.views, strict=True):
        if view and (why := objection(view, event["data"])):
            yield f"{event['data']['request']['id']}: {why}"


def nothing_newer_is_cut(run: Run) -> Iterator[str]:
    """No DELETE takes effect on a binding that is newer than every request for the disk."""
    for entry in run.happened(What.DELETE_ACCEPTED):
        asked = [
            datetime.fromisoformat(request["time"])
            for request in run.requests
            if request["data"]["server_id"] == entry.server_id
            and entry.volume_id in {volume for _, volume in _keys(request)}
        ]
        made = run.made[run.binding_of[entry.attachment_id]]
        if asked and made > max(asked) + SKEW + timedelta(seconds=1):
            yield f"attachment {entry.attachment_id} is newer than the request and was cut"


def one_effective_delete(run: Run) -> Iterator[str]:
    """No DELETE is accepted for a binding, moved or not, while an accepted one is still being carried out.

    Exception: as long as the cloud shows nothing of an accepted detach, a second request or a delivery after a death
    cannot know of it. A delivery that knows of the acceptance must not send a DELETE.
    """
    blind = {view.where for view in run.views if view and (view.asked.shared or view.asked.deaths)}
    at_work: dict[str, bool] = {}
    for entry in run.happened(What.DELETE_ACCEPTED, What.DETACHING, What.DETACH_REFUSED):
        binding = run.binding_of[entry.attachment_id]
        if entry.what is What.DETACH_REFUSED:
            at_work.pop(binding, None)
        elif entry.what is What.DETACHING:
            at_work[binding] = True
        elif at_work.get(binding, False) or (binding in at_work and (entry.server_id, entry.volume_id) not in blind):
            yield f"binding {binding} was sent a second effective DELETE"
        else:
            at_work[binding] = False


def nothing_outlives_its_invocation(run: Run) -> Iterator[str]:
    """No DELETE is under way when the handler returns or Lambda stops it."""
    yield from run.late


def evidence_agrees(run: Run) -> Iterator[str]:
    """The evidence of a verdict does not contradict the verdict."""
    for event in run.events:
        data = event["data"]
        for wrong, why in _contradictions(data):
            if wrong:
                yield f"{data['request']['id']}: said {data['detail']}, {why}"


def _contradictions(data: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    evidence, reason = data["evidence"], data.get("reason") or {}
    after, sent, detail = evidence.get("after"), evidence.get("deletes_sent", 0), data["detail"]
    timing = [data["timing"].get(name) for name in ("first_seen_at", "accepted_at", "concluded_at")]
    times = [datetime.fromisoformat(time) for time in timing if time]
    yield times != sorted(times), f"and its times are out of order: {timing}"
    yield bool(reason) and reason["code"] != detail and data["verdict"] != "checked", f"for the reason {reason}"
    yield sent < 0 or (data["verdict"] == "checked" and sent > 0), f"and {sent} DELETEs are on record"
    yield detail in ("detached_now", "refused_by_server") and not timing[1], "and no DELETE was accepted"
    yield detail == "already_detached" and bool(timing[1]), "and a DELETE was accepted"
    if after is None:
        return
    here = after.get("attachment") or after.get("listed_by_server")
    gone = data["verdict"] == "detached" and detail != "replaced_by_newer"
    yield gone and bool(here), f"and the evidence shows {here}"
    yield detail in HOLDS and not here, "and the evidence shows no attachment"
    status = after.get("volume_status")
    yield detail == "volume_error" and not str(status).startswith("error"), f"of a volume that is {status}"
    yield detail in ("volume_gone", "volume_not_found") and status is not None, f"of a volume that is {status}"


OFTEN = timedelta(minutes=5)
LOOKS = 60
"""The most reads of a volume in `OFTEN`. A long request has about 40 in its first five minutes, and fewer later."""


def nothing_is_hammered(run: Run) -> Iterator[str]:
    """No volume is read in a loop without pauses."""
    asking = Counter(volume for request in run.requests for _, volume in _keys(request))
    for volume, times in run.looks.items():
        deaths = any(view.asked.deaths for view in run.views if view and view.where[1] == volume)
        limit = LOOKS * asking[volume] * (2 if deaths or run.copies else 1)
        for number in range(limit, len(times) if limit else 0):
            if times[number] - times[number - limit] < OFTEN:
                yield f"volume {volume} was read more than {limit} times in {OFTEN}"
                break


HOLDS = {"refused_by_server", "stuck_detaching", "system_disk", "attestation_required", "server_running", "superseded",
         "server_locked", "volume_protected", "not_bare_metal"}  # fmt: skip
"""The details whose evidence must show an attachment."""


def gates_hold(run: Run) -> Iterator[str]:
    """No DELETE is sent for a disk that must stay attached (unsafe, a dry run, attached later)."""
    for entry in run.happened(What.DELETE_RECEIVED):
        if entry.volume_id in run.untouchable:
            yield f"a DELETE was sent for {entry.volume_id}"


def nothing_secret(run: Run) -> Iterator[str]:
    """No token, task token or password, old or new, appears in an event or log line."""
    for text in (*map(str, run.events), *run.logs):
        for secret in run.secrets:
            if secret in text:
                yield "a secret got out"


INVARIANTS: tuple[Invariant, ...] = (
    one_summary_id,
    summaries_come_last,
    summaries_are_complete,
    summaries_list_what_was_there,
    system_disk_stays,
    one_final_verdict_id,
    no_contradiction,
    verdicts_are_true,
    nothing_newer_is_cut,
    one_effective_delete,
    nothing_outlives_its_invocation,
    evidence_agrees,
    nothing_is_hammered,
    gates_hold,
    nothing_secret,
)


def violations(run: Run) -> list[str]:
    """All violations of a run, each with the name of its invariant."""
    return [f"{invariant.__name__}: {what}" for invariant in INVARIANTS for what in invariant(run)]

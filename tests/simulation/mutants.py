"""Mutants: variants of the product with one rule broken, and the invariant that must catch each."""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from shared.decision.case import Case, Conclude, Decision, Delete, Requeue, detached, failed
from shared.decision.meant import Standing
from shared.decision.requeue import after_delete
from shared.decision.rules import RULES, Rule, decide, gone_from_both, in_progress, not_meant, nothing_there, refused
from shared.group import Group
from shared.model import Classified, Detail, Ended, Message, Reason
from shared.outbox.events import EventFactory
from shared.outbox.observer import Observer
from shared.outbox.outbox import Outbox
from shared.policy import Policy
from shared.ports import Event, Unsent
from shared.service import Service
from shared.telemetry.logs import logger
from simulator.scenarios.stage import Stage
from tests.simulation.stories import BY_NAME, judged
from tests.simulation.test_others import Act, before, swap
from tests.stack import Stack

Mutate = Callable[[Service], Service]


def with_rules(rules: Sequence[Rule]) -> Mutate:
    return lambda service: replace(service, visits=replace(service.visits, decide=partial(decide, rules=rules)))


def without(*names: str) -> Mutate:
    """The table of rules without some rules."""
    kept = tuple(rule for rule in RULES if rule.__name__ not in names)
    assert len(RULES) - len(names) == len(kept)
    return with_rules(kept)


def with_rule(name: str, other: Rule) -> Mutate:
    """The table of rules with one rule replaced."""
    assert name in {rule.__name__ for rule in RULES}
    return with_rules(tuple(other if rule.__name__ == name else rule for rule in RULES))


def settling(after: Any) -> Mutate:
    """Replace the decision after a DELETE."""
    return lambda service: replace(service, visits=replace(service.visits, after_delete=after))


def with_outlets(**changes: Any) -> Mutate:
    return lambda service: replace(service, outlets=replace(service.outlets, **changes))


def trust_block_storage_alone(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    return None if case.volume is None or case.ours else detached(Detail.DETACHED_NOW)


def trust_compute_alone(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    return None if case.volume is None or case.listed else detached(Detail.DETACHED_NOW)


def trust_the_answer(case: Case, answer: Classified, policy: Policy, now: datetime) -> Requeue | Conclude:
    """A 202 is a success, as in many services."""
    decision = after_delete(case, answer, policy, now)
    return detached(Detail.DETACHED_NOW) if case.progress.accepted_at else decision


def a_lost_answer_is_a_refusal(case: Case, answer: Classified, policy: Policy, now: datetime) -> Requeue | Conclude:
    """A lost answer is a failure, as in many services."""
    decision = after_delete(case, answer, policy, now)
    return failed(Reason.REFUSED_BY_SERVER) if case.progress.unsettled else decision


def trust_the_record(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """A job's success is proof of the detach."""
    ended = case.seen.ended if case.seen else None
    return detached(Detail.DETACHED_NOW) if ended is Ended.SUCCEEDED else refused(case, policy, now)


def another_delete(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    return Delete() if case.progress.accepted_at and case.progress.idle_reads else None


def idle_once_is_refused(case: Case, _policy: Policy, _now: datetime) -> Decision | None:
    return failed(Reason.REFUSED_BY_SERVER) if case.progress.accepted_at else None


def forget_redelivery(case: Case, policy: Policy, now: datetime) -> Decision | None:
    return not_meant(replace(case, progress=replace(case.progress, redelivered_since=None)), policy, now)


def any_other_is_newer(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """A new attachment id means that somebody attached the disk again, even after a move."""
    if case.standing is Standing.MOVED:
        return detached(Detail.REPLACED_BY_NEWER)
    return not_meant(case, policy, now)


def unknown_is_moved(case: Case, policy: Policy, now: datetime) -> Decision | None:
    return None if case.standing is Standing.UNKNOWN else not_meant(case, policy, now)


def always(decision: Decision) -> Mutate:
    """The decision is always the same."""
    return lambda service: replace(service, visits=replace(service.visits, decide=lambda *_: decision))


def changed(rule: str, change: Callable[[Case], Case]) -> Mutate:
    """A rule that gets a changed case."""
    real = next(one for one in RULES if one.__name__ == rule)
    return with_rule(rule, lambda case, policy, now: real(change(case), policy, now))


def with_server(**changes: Any) -> Callable[[Case], Case]:
    def change(case: Case) -> Case:
        seen = case.seen
        return (
            replace(case, seen=replace(seen, server=replace(seen.server, **changes))) if seen and seen.server else case
        )

    return change


def with_request(**changes: Any) -> Callable[[Case], Case]:
    return lambda case: replace(case, request=replace(case.request, **changes))


def unprotected(case: Case) -> Case:
    return replace(case, volume=replace(case.volume, metadata={})) if case.volume else case


def at_another_device(case: Case) -> Case:
    """Move every disk away from the root device, so that it counts as a data disk."""
    ours = replace(case.ours, device="/dev/sdx") if case.ours else None
    listing = tuple(replace(one, device="/dev/sdx") for one in (case.seen and case.seen.listing) or ())
    return replace(case, ours=ours, seen=replace(case.seen, listing=listing) if case.seen else None)


def believe_a_refusal(case: Case, answer: Classified, policy: Policy, now: datetime) -> Requeue | Conclude:
    """A clear refusal ends the request at once, even if a gateway answered instead of the service."""
    denial = case.progress.denied
    return failed(denial.reason, denial.why) if denial else after_delete(case, answer, policy, now)


def throttled_is_by_other(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """A throttled DELETE had no effect, so somebody else must have detached the disk."""
    decision = gone_from_both(case, policy, now)
    return detached(Detail.DETACHED_BY_OTHER) if decision == detached(Detail.DETACHED_MEANWHILE) else decision


def expiry_ends_everything(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """A request ends at its expiry time, even if a detach is under way."""
    expires = case.request.expires_at
    return failed(Reason.EXPIRED) if expires and now >= expires else None


def missing_server_is_success(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """If the server does not exist, its disks are detached."""
    if case.seen and case.seen.listing_read and case.seen.listing is None:
        return detached(Detail.SERVER_GONE)
    return nothing_there(case, policy, now)


def confirmed_or_failed(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """The confirm timeout is a failure, as in many services."""
    decision = in_progress(case, policy, now)
    announces = isinstance(decision, Requeue) and decision.announce_unconfirmed
    return failed(Reason.REFUSED_BY_SERVER) if announces else decision


def announce_at_once(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """Announce `unconfirmed` at the first look after the DELETE."""
    decision = in_progress(case, policy, now)
    fresh = isinstance(decision, Requeue) and not case.progress.unconfirmed_id
    return replace(decision, announce_unconfirmed=True) if fresh and isinstance(decision, Requeue) else decision


def stuck_at_once(case: Case, policy: Policy, now: datetime) -> Decision | None:
    return failed(Reason.STUCK_DETACHING) if case.volume and case.volume.status == "detaching" else None


def carry_out_dry_run(service: Service) -> Service:
    """A dry run is carried out."""

    def decide_for_real(case: Case, policy: Policy, now: datetime) -> Decision:
        return decide(replace(case, request=replace(case.request, dry_run=False)), policy, now)

    return replace(service, visits=replace(service.visits, decide=decide_for_real))


def without_deadline(service: Service) -> Service:
    """Neither the visit nor the calls respect the invocation's deadline."""
    visits, hour = service.visits, timedelta(hours=1)
    return replace(
        service, visits=replace(visits, clouds=LateClouds(visits.clouds), clock=lambda: visits.clock() - hour)
    )


@dataclass
class LateClouds:
    """Clouds whose calls may take an hour longer than the deadline."""

    clouds: Any

    def key(self, project_id: str | None) -> Any:
        return self.clouds.key(project_id)

    def select(self, project_id: str | None, deadline: datetime | None) -> Any:
        return self.clouds.select(project_id, deadline and deadline + timedelta(hours=1))


class NoMemory(dict[Any, Any]):
    """A dict that stores nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


def without_pause(service: Service) -> Service:
    """After a lost answer, the DELETE is repeated as soon as a look shows the disk idle."""
    service = without("unsettled")(service)
    return replace(service, visits=replace(service.visits, sent_at=NoMemory()))


@dataclass(frozen=True, slots=True)
class FalseEvidence(EventFactory):
    """Verdicts whose evidence shows the first look instead of the last."""

    def verdict(self, *arguments: Any) -> Event:
        event = EventFactory.verdict(self, *arguments)
        body = json.loads(event.body)
        shown = body["data"]["evidence"]
        shown["after"] = shown.get("before")
        return replace(event, body=json.dumps(body))


@dataclass(frozen=True, slots=True)
class ShowingToken(EventFactory):
    """Verdicts that contain the task token."""

    def verdict(self, case: Case, *arguments: Any) -> Event:
        event = EventFactory.verdict(self, case, *arguments)
        body = json.loads(event.body) | {"request": repr(case.request.task_token)}
        return replace(event, body=json.dumps(body))


@dataclass(frozen=True, slots=True)
class ChangingVerdict(EventFactory):
    """A redelivery gets a different verdict."""

    def verdict(self, case: Case, conclusion: Conclude, *arguments: Any) -> Event:
        again = case.message.receive_count > 1
        return EventFactory.verdict(self, case, failed(Reason.GAVE_UP) if again else conclusion, *arguments)


class LosingBus:
    """A bus that accepts events and loses them."""

    def emit(self, events: Any, deadline: Any = None) -> dict[Any, Any]:
        return {}


def look_every_second(case: Case, policy: Policy, now: datetime) -> Decision | None:
    """After a lost answer, look every second until the time to live ends."""
    late = now >= case.request.requested_at + timedelta(seconds=900)
    return Requeue(1, "the outcome is unknown") if case.progress.unsettled and not late else None


@dataclass
class FirstOnly:
    """A queue that sends only the first continuation of a batch."""

    queue: Any

    def send(self, messages: Any, deadline: Any = None) -> Any:
        return self.queue.send(dict(list(messages.items())[:1]), deadline)


def first_only(service: Service) -> Service:
    outlets = service.outlets
    return replace(service, outlets=replace(outlets, queue=FirstOnly(outlets.queue)))


@dataclass(frozen=True, slots=True)
class RandomIds(EventFactory):
    """Verdicts with a new id for each emission, as in many services."""

    def verdict(self, *arguments: Any) -> Event:
        event = EventFactory.verdict(self, *arguments)
        return replace(event, body=event.body.replace(event.id, str(uuid.uuid4())))


class LosingQueue:
    """A queue that accepts messages and loses them."""

    def send(self, messages: Any, deadline: Any = None) -> dict[Any, Any]:
        return {}


class LoggingPassword(Observer):
    """Logs the password of the simulated cloud."""

    def step(self, step: Any) -> None:
        logger.info("login", extra={"login": "demo-password"})


def attach_later(simulation: Stack, stage: Stage) -> None:
    """Somebody attaches the free disk to the server, late enough that clock skew does not matter."""
    asked = stage.requests[0]["data"]
    stage.later(20, partial(stage.world.attach, asked["server_id"], asked["volume_id"]))


class OverAfterOne(Group):
    """A group that is over as soon as one volume is."""

    @property
    def is_over(self) -> bool:
        return any(member.is_over for member in self.volumes) or not self.volumes


class OverBeforeBus(Group):
    """A group that is over when every volume has its verdict, even if the bus has not accepted it yet."""

    @property
    def is_over(self) -> bool:
        return all(member.said for member in self.volumes)


@dataclass(frozen=True)
class Regrouped(Service):
    """A service that uses another class of groups."""

    kind: type[Group] = Group

    def _due(self, message: Message, group: Group, outbox: Outbox) -> list[Case]:
        return super()._due(message, self.kind.model_construct(**dict(group)), outbox)


def regrouped(kind: type[Group]) -> Mutate:
    return lambda service: Regrouped(service.prefix, service.visits, service.outlets, service.acknowledge, kind)


@dataclass
class SlowBus:
    """A bus that accepts each verdict at the third attempt, and a summary at once."""

    bus: Any
    offered: Counter[str] = field(default_factory=Counter)

    def emit(self, events: Any, deadline: Any = None) -> dict[Any, Any]:
        self.offered.update(event.id for event in events.values())
        late = {key for key, event in events.items() if not event.is_summary and self.offered[event.id] < 3}
        taken = {key: event for key, event in events.items() if key not in late}
        return {**dict.fromkeys(late, Unsent("ThrottlingException")), **self.bus.emit(taken, deadline)}


def over_before_bus(service: Service) -> Service:
    outlets = service.outlets
    return regrouped(OverBeforeBus)(replace(service, outlets=replace(outlets, bus=SlowBus(outlets.bus))))


@dataclass(frozen=True, slots=True)
class ShortSummary(EventFactory):
    """Summaries that omit a volume."""

    def summary(self, group: Group, now: datetime) -> Event:
        return EventFactory.summary(self, group.model_copy(update={"volumes": group.volumes[1:]}), now)


@dataclass(frozen=True, slots=True)
class RandomSummaryIds(EventFactory):
    """Summaries with a new id for each emission."""

    def summary(self, group: Group, now: datetime) -> Event:
        event = EventFactory.summary(self, group, now)
        return replace(event, body=event.body.replace(event.id, str(uuid.uuid4())))


@dataclass
class RootlessClouds:
    """Clouds whose servers show a wrong root device."""

    clouds: Any

    def key(self, project_id: str | None) -> Any:
        return self.clouds.key(project_id)

    def select(self, project_id: str | None, deadline: datetime | None) -> Any:
        return RootlessCloud(self.clouds.select(project_id, deadline))


@dataclass
class RootlessCloud:
    """A cloud that shows a wrong root device; everything else is right."""

    cloud: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.cloud, name)

    def server(self, server_id: str) -> Any:
        reading = self.cloud.server(server_id)
        return replace(reading, value=reading.value and replace(reading.value, root_device="/dev/nowhere"))


def rootless(service: Service) -> Service:
    return replace(service, visits=replace(service.visits, clouds=RootlessClouds(service.visits.clouds)))


@dataclass(frozen=True)
class Mutant:
    """A broken variant, a story that reveals it, the act of others if needed, and the invariant that must catch it.

    With `deaths`, it shows only if a delivery dies.
    """

    rule: str
    mutate: Mutate
    story: str
    caught_by: str
    act: Act | None = None
    deaths: bool = False


ONE_ANSWER: Mapping[str, Mutate] = {
    "forbidden": always(failed(Reason.FORBIDDEN)),
    "gave_up": always(failed(Reason.GAVE_UP)),
    "superseded": always(failed(Reason.SUPERSEDED)),
    "server_not_found": always(failed(Reason.SERVER_NOT_FOUND)),
    "already_detached": always(detached(Detail.ALREADY_DETACHED)),
}
"""Products that always give the same verdict."""

MUTANTS = (
    Mutant("compute is not asked", with_rule("gone_from_both", trust_block_storage_alone), "planes-apart",
           "verdicts_are_true"),
    Mutant("block storage is not asked", with_rule("gone_from_both", trust_compute_alone), "planes-ahead",
           "verdicts_are_true"),
    Mutant("a 202 is believed", settling(trust_the_answer), "detach", "verdicts_are_true"),
    Mutant("a job's success is believed", with_rule("refused", trust_the_record), "job-claims-success",
           "verdicts_are_true"),
    Mutant("another DELETE after an accepted one", with_rule("refused", another_delete), "marked-very-late",
           "one_effective_delete"),
    Mutant("a lost answer is a refusal", settling(a_lost_answer_is_a_refusal),
           "lost-with-effect", "verdicts_are_true"),
    Mutant("any attachment is meant", without("not_meant"), "newer", "gates_hold"),
    Mutant("a newer attachment is taken for the old", without("not_meant"), "late", "verdicts_are_true", swap),
    Mutant("a moved attachment is taken for a newer one", with_rule("not_meant", any_other_is_newer), "resized",
           "verdicts_are_true"),
    Mutant("an unknown attachment is taken for a moved one", with_rule("not_meant", unknown_is_moved),
           "newer-unknown",
           "gates_hold"),
    Mutant("an earlier delivery is forgotten", with_rule("not_meant", forget_redelivery), "already-detached",
           "no_contradiction", attach_later, deaths=True),
    Mutant("one idle look is a refusal", with_rule("refused", idle_once_is_refused), "marked-late",
           "verdicts_are_true"),
    Mutant("no safety gates", without("unsafe"), "unsafe", "gates_hold"),
    Mutant("random event ids", with_outlets(events=RandomIds()), "detach",
           "one_final_verdict_id", deaths=True),
    Mutant("continuations get lost", with_outlets(queue=LosingQueue()), "detach", "one_final_verdict_id"),
    Mutant("a clear refusal is believed", settling(believe_a_refusal), "denied-after-effect",
           "verdicts_are_true"),
    Mutant("a throttle had no effect", with_rule("gone_from_both", throttled_is_by_other),
           "throttled-with-effect", "verdicts_are_true"),
    Mutant("no pause after a lost answer", without_pause, "lost-and-marked-late",
           "one_effective_delete"),
    Mutant("a timeout is a failure", with_rule("in_progress", confirmed_or_failed), "never",
           "verdicts_are_true"),
    Mutant("unconfirmed is announced at once", with_rule("in_progress", announce_at_once), "detach",
           "verdicts_are_true"),
    Mutant("every detach under way is stuck", with_rule("in_progress", stuck_at_once), "detach",
           "verdicts_are_true"),
    Mutant("a missing server is success", with_rule("nothing_there", missing_server_is_success), "wrong-server",
           "verdicts_are_true"),
    Mutant("an expiry ends a detach under way", with_rule("expired", expiry_ends_everything),
           "expires-meanwhile", "verdicts_are_true"),
    Mutant("after an expiry there is a look every second", with_rule("unsettled", look_every_second),
           "expires-unsettled", "nothing_is_hammered"),
    Mutant("a system disk counts as a data disk", changed("unsafe", at_another_device), "system-disk", "gates_hold"),
    Mutant("a lock is ignored", changed("unsafe", with_server(locked=False)), "locked", "gates_hold"),
    Mutant("the kind of the server is ignored", changed("unsafe", with_server(tags=("__type_baremetal",))),
           "virtual", "gates_hold"),
    Mutant("protection is ignored", changed("unsafe", unprotected), "protected", "gates_hold"),
    Mutant("an attestation is assumed", changed("unsafe", with_request(unmounted=True)), "unsafe", "gates_hold"),
    Mutant("a dry run is carried out", carry_out_dry_run, "dry-run", "gates_hold"),
    Mutant("the deadline is ignored", without_deadline, "slow-cloud", "nothing_outlives_its_invocation"),
    Mutant("one case of a batch is lost", first_only, "two-disks", "one_final_verdict_id"),
    Mutant("verdicts get lost", with_outlets(bus=LosingBus()), "detach", "one_final_verdict_id"),
    Mutant("a redelivery gets a different verdict", with_outlets(events=ChangingVerdict()), "already-detached",
           "no_contradiction", deaths=True),
    Mutant("evidence is made up", with_outlets(events=FalseEvidence()), "detach", "evidence_agrees"),
    Mutant("a task token is shown", with_outlets(events=ShowingToken()), "task-token", "nothing_secret"),
    *(Mutant(f"always {name}", mutate, "detach", "verdicts_are_true") for name, mutate in ONE_ANSWER.items()),
    Mutant("a summary does not wait for the last volume", regrouped(OverAfterOne), "summed-up",
           "summaries_are_complete"),
    Mutant("a summary does not wait for the bus", over_before_bus, "all-data-disks", "summaries_come_last"),
    Mutant("a verdict is missing in the summary", with_outlets(events=ShortSummary()), "summed-up",
           "summaries_are_complete"),
    Mutant("a summary has random ids", with_outlets(events=RandomSummaryIds()), "no-data-disks", "one_summary_id",
           deaths=True),
    Mutant("the system disk is listed with the data disks", rootless, "all-data-disks",
           "summaries_list_what_was_there"),
    Mutant("the system disk is detached with the data disks", rootless, "all-data-disks", "system_disk_stays"),
    Mutant("a password is logged", with_outlets(observers=(LoggingPassword(),)), "detach", "nothing_secret"),
)  # fmt: skip


def violations_of(mutant: Mutant) -> list[str]:
    """All violations of the mutant, over the points at which others act and the process dies."""
    story = BY_NAME[mutant.story]
    simulation, stage = story.begin(mutate=mutant.mutate)
    found = judged(simulation, stage)
    count = len(simulation.effects.log)
    points = range(0, count, max(1, count // 25))
    for number in points if mutant.act else [None]:
        for death in [None, *points] if mutant.deaths else [None]:
            deaths = frozenset() if death is None else frozenset({(death, "after")})
            simulation, stage = story.begin(deaths, mutate=mutant.mutate)
            if mutant.act and number is not None:
                simulation.effects.interventions[number] = partial(before, mutant.act, simulation, stage)
            found += judged(simulation, stage)
    return found

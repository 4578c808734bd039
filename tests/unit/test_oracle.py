"""The oracle of verdicts objects to untrue hand-made verdicts, and to no true ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from simulator import Behaviour, What, World
from simulator.oracle import Record, disagreement
from tests.messages import START
from tests.stack import Clock


class Scene:
    """One disk on one server, attached before the request, and a verdict about it."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.clock = Clock()
        self.world = World(self.clock)
        self.server = self.world.add_server().id
        self.volume = self.world.add_volume(behaviour=behaviour or Behaviour()).id
        self.first = self.world.attach(self.server, self.volume)
        self.asked = START + timedelta(seconds=1)

    def until(self, seconds: float) -> Scene:
        self.clock.sleep(seconds - (self.clock() - START).total_seconds())
        self.world.advance()
        return self

    def delete(self) -> None:
        """Our own accepted DELETE."""
        attachment = self.world.is_attached(self.server, self.volume)
        self.world.note(What.DELETE_ACCEPTED, self.server, self.volume, attachment)
        self.world.begin_detach(self.server, self.volume)

    @property
    def now_attached(self) -> str | None:
        return self.world.is_attached(self.server, self.volume)

    def objection(
        self,
        verdict: str,
        said: str,
        attachment_id: str | None,
        keeps_records: bool = True,
        reads: Mapping[str, float] | None = None,
    ) -> str | None:
        """What the oracle has against a verdict given now; `said` is its detail, and its reason if it failed.

        `reads` are the calls that it rests on, each with its second.
        """
        calls = [
            {"operation": operation, "at": (START + timedelta(seconds=at)).isoformat()}
            for operation, at in (reads or {}).items()
        ]
        data: dict[str, Any] = {
            "verdict": verdict,
            "detail": said,
            "server_id": self.server,
            "volume_id": self.volume,
            "attachment_id": attachment_id,
            "evidence": {"after": {}, "calls": calls},
            "timing": {"requested_at": self.asked.isoformat(), "concluded_at": self.clock().isoformat()},
        }
        if verdict == "failed":
            data["reason"] = {"code": said}
        return disagreement(self.world.history, {"data": data}, keeps_records)


def untouched(scene: Scene) -> None:
    """The disk is attached as ever."""
    scene.until(10)


def resized(scene: Scene) -> None:
    scene.until(2).world.move(scene.server)
    scene.until(10)


def half_moved(scene: Scene) -> None:
    """Cinder shows no attachment, Nova lists the next one."""
    scene.until(2).world.move(scene.server)
    scene.until(4)


def migrating(scene: Scene) -> None:
    """Cinder shows both attachments."""
    scene.until(2).world.move(scene.server, "live-migration")
    scene.until(5)


def offloaded(scene: Scene) -> None:
    scene.until(2).world.shelve(scene.server)
    scene.until(10)


def unshelved(scene: Scene) -> None:
    offloaded(scene)
    scene.world.unshelve(scene.server)
    scene.until(20)


def swapped(scene: Scene) -> None:
    scene.until(2).world.swap_volume(scene.server, scene.volume)


def reattached(scene: Scene) -> None:
    """Somebody has detached the disk and attached it again."""
    scene.until(2).world.begin_detach(scene.server, scene.volume)
    scene.until(10).world.attach(scene.server, scene.volume)
    scene.until(11)


def reattached_while_offloaded(scene: Scene) -> None:
    """By its times the disk looks as if it had been moved."""
    offloaded(scene)
    scene.world.begin_detach(scene.server, scene.volume)
    scene.world.attach(scene.server, scene.volume)
    scene.world.unshelve(scene.server)
    scene.until(20)


def let_go_by_one_plane(scene: Scene) -> None:
    """Cinder shows no attachment, Nova lists it still."""
    scene.until(2).delete()
    scene.until(4.2)


def detached_by_us(scene: Scene) -> None:
    scene.until(2).delete()
    scene.until(10)


def moved_and_detached_by_us(scene: Scene) -> None:
    resized(scene)
    scene.delete()
    scene.until(20)


def deleted_half_moved(scene: Scene) -> None:
    """The server is gone before Cinder has shown the next attachment."""
    half_moved(scene)
    scene.world.delete_server(scene.server)
    scene.until(20)


Happening = Callable[[Scene], None]
STILL_THERE = (untouched, resized, half_moved, migrating, offloaded, unshelved, swapped, let_go_by_one_plane)
DETACHED = ("detached_now", "detached_by_other", "detached_meanwhile", "already_detached", "replaced_by_newer",
    "server_gone", "volume_gone")  # fmt: skip


@pytest.mark.parametrize("detail", DETACHED)
@pytest.mark.parametrize("happened", STILL_THERE, ids=lambda happened: happened.__name__)
def test_detached_is_untrue_while_a_plane_holds_the_binding(happened: Happening, detail: str) -> None:
    """Whatever the detail, and whichever of its attachments the verdict names, or none."""
    scene = Scene()
    happened(scene)
    for named in (scene.first, scene.now_attached, *scene.world.nova, *scene.world.cinder, None):
        assert scene.objection("detached", detail, named), named


@dataclass(frozen=True)
class Case:
    """What happened, what is said of it, of which attachment, and whether that is true."""

    happened: Happening
    verdict: str
    said: str
    named: str = "first"
    true: bool = True
    behaviour: Behaviour | None = None
    keeps_records: bool = True


FAILED_BACK_END = Behaviour(error_after=4)
REFUSED = Behaviour(refuse=True)
CASES = (
    Case(detached_by_us, "detached", "detached_now"),
    Case(moved_and_detached_by_us, "detached", "detached_now"),
    Case(resized, "detached", "detached_now", true=False),
    Case(reattached, "detached", "replaced_by_newer"),
    Case(reattached, "detached", "replaced_by_newer", named="none"),
    Case(reattached, "detached", "detached_by_other", true=False),
    Case(reattached, "detached", "replaced_by_newer", named="present", true=False),
    Case(detached_by_us, "detached", "replaced_by_newer", true=False),
    Case(reattached_while_offloaded, "detached", "replaced_by_newer"),
    Case(reattached, "failed", "superseded", named="none"),
    Case(reattached_while_offloaded, "failed", "superseded", named="none"),
    Case(untouched, "failed", "superseded", named="unknown"),
    Case(resized, "failed", "superseded", true=False),
    Case(resized, "failed", "superseded", named="present", true=False),
    Case(resized, "failed", "superseded", named="none", true=False),
    Case(unshelved, "failed", "superseded", named="none", true=False),
    Case(migrating, "failed", "superseded", named="none", true=False),
    Case(swapped, "failed", "superseded", named="none", true=False),
    Case(resized, "failed", "superseded", named="none", keeps_records=False),
    Case(resized, "failed", "superseded", keeps_records=False),
    Case(detached_by_us, "failed", "superseded", true=False, keeps_records=False),
    Case(detached_by_us, "failed", "refused_by_server", behaviour=REFUSED),
    Case(detached_by_us, "failed", "refused_by_server", true=False),
    Case(untouched, "failed", "refused_by_server", true=False),
    Case(moved_and_detached_by_us, "failed", "refused_by_server", behaviour=REFUSED),
    Case(detached_by_us, "failed", "refused_by_server", behaviour=FAILED_BACK_END),
    Case(detached_by_us, "failed", "stuck_detaching", behaviour=FAILED_BACK_END),
    Case(moved_and_detached_by_us, "failed", "stuck_detaching", behaviour=FAILED_BACK_END),
    Case(detached_by_us, "failed", "stuck_detaching", true=False),
    Case(half_moved, "failed", "superseded", named="none", true=False),
    Case(half_moved, "failed", "server_not_found", true=False),
    Case(deleted_half_moved, "detached", "server_gone"),
    Case(deleted_half_moved, "failed", "server_not_found"),
    Case(deleted_half_moved, "failed", "superseded", true=False),
    Case(half_moved, "unconfirmed", "still_watching"),
    Case(detached_by_us, "unconfirmed", "still_watching", true=False),
)


def _named(case: Case) -> str:
    how = "true" if case.true else "untrue"
    return f"{case.happened.__name__}, {case.said} of {case.named}, {how}"


@pytest.mark.parametrize("case", CASES, ids=_named)
def test_verdicts(case: Case) -> None:
    """The oracle objects to what is untrue by the history alone, and to nothing else."""
    scene = Scene(case.behaviour)
    case.happened(scene)
    named = {"first": scene.first, "present": scene.now_attached, "none": None, "unknown": scene.world.new_id()}
    objection = scene.objection(case.verdict, case.said, named[case.named], case.keeps_records)
    assert (objection is None) is case.true, objection


def test_a_request_that_came_after_the_disk_was_attached_again_means_that_one() -> None:
    """Then a move of it is no re-attachment."""
    scene = Scene()
    reattached(scene)
    scene.asked = scene.clock()
    scene.world.move(scene.server)
    scene.until(30)
    assert scene.objection("failed", "superseded", None)
    assert scene.objection("detached", "replaced_by_newer", None)


def test_a_newer_attachment_is_one_made_after_the_end_of_the_older() -> None:
    """A history in which the other one was there all along does not bear out `replaced_by_newer`."""
    scene = Scene()
    reattached(scene)
    history = scene.world.history
    ends = [h for h in history if h.what in (What.CINDER_DETACHED, What.NOVA_DETACHED)]
    (again,) = (h for h in history if h.what is What.ATTACHED and h.attachment_id != scene.first)
    scene.world.history = [h for h in history if h not in (*ends, again)] + [replace(again, at=START), *ends]
    assert scene.objection("detached", "replaced_by_newer", scene.first)


def test_a_held_attachment_has_its_present_id() -> None:
    """A move renews the id under which the same binding is held."""
    scene = Scene()
    resized(scene)

    def record(seconds: float) -> Record:
        return Record(scene.world.history, scene.server, scene.volume, START + timedelta(seconds=seconds))

    assert record(3).held == {scene.first}
    assert record(10).held == {scene.now_attached}
    assert record(10).held_bindings == {scene.first}
    assert record(3).holds(scene.now_attached)


@pytest.mark.parametrize(("listed_at", "true"), [(4.4, False), (4.6, True)])
def test_detached_rests_on_the_last_read_of_either_plane(listed_at: float, true: bool) -> None:
    """Cinder lets go at 4 s and is read, Nova lets go at 4.5 s: true if the list is read after that."""
    scene = Scene(Behaviour(seconds=2, nova_lag=0.5)).until(2)
    scene.delete()
    scene.until(10)
    reads = {"get_volume": 4.2, "list_attachments": listed_at}
    assert (scene.objection("detached", "detached_now", scene.first, reads=reads) is None) is true

"""The simulated cloud's state machine, on a clock that moves only when told to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from simulator import RUNNING, STOPPED, Behaviour, Refused, What, World
from simulator.inventory import Action, Happened
from tests.messages import START
from tests.stack import Clock


class Scene:
    """One server with one attached volume, and queries about them."""

    def __init__(self, behaviour: Behaviour | None = None, multiattach: bool = False, seed: int = 0) -> None:
        self.clock = Clock()
        self.world = World(self.clock, seed)
        self.server = self.world.add_server().id
        made = self.world.add_volume(multiattach=multiattach, behaviour=behaviour or Behaviour())
        self.volume = made.id
        self.attachment = self.world.attach(self.server, self.volume)

    def begin(self) -> str:
        return self.world.begin_detach(self.server, self.volume)

    def pass_(self, seconds: float) -> Scene:
        self.clock.sleep(seconds)
        self.world.advance()
        return self

    def until(self, seconds: float) -> Scene:
        """Move the clock to that many seconds after the start."""
        return self.pass_(seconds - (self.clock() - START).total_seconds())

    def record(self, action: str) -> Action:
        return next(a for a in self.world.actions.values() if a.action == action)

    @property
    def seen(self) -> str:
        """The server's status and task."""
        server = self.world.servers[self.server]
        return f"{server.status}/{server.task_state}"

    @property
    def names(self) -> tuple[str, list[str]]:
        """Which attachment Nova lists, and which ones Cinder shows: the first one or another."""
        (listed,), shown = (
            ["old" if id == self.attachment else "new" for id in plane]
            for plane in (self.world.nova, self.world.cinder)
        )
        return listed, shown

    @property
    def status(self) -> str:
        return self.world.volumes[self.volume].status

    @property
    def planes(self) -> tuple[bool, bool]:
        """Whether Nova and Cinder hold the first attachment."""
        return self.attachment in self.world.nova, self.attachment in self.world.cinder

    @property
    def happened(self) -> list[Happened]:
        """What happened since the server was made."""
        return [entry for entry in self.world.history if entry.what is not What.SERVER_CREATED]

    @property
    def history(self) -> list[tuple[What, float]]:
        return [(h.what, (h.at - START).total_seconds()) for h in self.happened]


def test_cinder_finishes_before_nova() -> None:
    """Between the two planes' ends the volume is available and Nova still lists it."""
    scene = Scene(Behaviour(seconds=2, nova_lag=0.5))
    scene.begin()
    assert (scene.status, scene.planes) == ("detaching", (True, True))
    assert scene.pass_(2).planes == (True, False)
    assert scene.status == "available"
    assert scene.pass_(0.5).planes == (False, False)


def test_nova_may_come_first() -> None:
    """With a negative lag Nova's list is empty while Cinder still says detaching."""
    scene = Scene(Behaviour(seconds=2, nova_lag=-1))
    scene.begin()
    assert scene.pass_(1).planes == (False, True)
    assert scene.status == "detaching"
    assert scene.world.is_attached(scene.server, scene.volume) == scene.attachment
    assert scene.pass_(1).planes == (False, False)
    assert scene.world.is_attached(scene.server, scene.volume) is None


def test_history_has_the_times_at_which_things_took_place() -> None:
    """A late read changes neither the times nor the order of events."""
    scene = Scene(Behaviour(seconds=2, nova_lag=0.5))
    scene.begin()
    scene.pass_(60)
    assert scene.history == [(What.ATTACHED, 0.0), (What.DETACHING, 0.0), (What.CINDER_DETACHED, 2.0),
        (What.NOVA_DETACHED, 2.5)]  # fmt: skip
    assert {h.attachment_id for h in scene.happened} == {scene.attachment}


def test_refusal_leaves_the_same_attachment() -> None:
    """After a refused detach the volume is in-use with the same attachment, and the action record says Error."""
    scene = Scene(Behaviour(seconds=4, refuse=True))
    scene.world.begin_detach(scene.server, scene.volume, "req-1")
    assert scene.status == "detaching"
    scene.pass_(4)
    assert (scene.status, scene.planes) == ("in-use", (True, True))
    assert scene.history[-1] == (What.DETACH_REFUSED, 4.0)
    assert scene.world.actions["req-1"].failed


def test_stuck_may_end() -> None:
    """With stuck_seconds the detach completes late."""
    scene = Scene(Behaviour(stuck=True, stuck_seconds=900))
    scene.begin()
    assert scene.pass_(899).status == "detaching"
    assert scene.pass_(2).planes == (False, False)


def test_marked_late() -> None:
    """Within the mark lag the volume shows in-use; the end is not later."""
    scene = Scene(Behaviour(seconds=10, mark_lag=6))
    scene.begin()
    assert scene.pass_(5).status == "in-use"
    assert scene.pass_(1).status == "detaching"
    assert scene.pass_(4).status == "available"


def test_a_failed_storage_back_end() -> None:
    """The volume stays detaching for good on both planes; only the record says that it failed."""
    scene = Scene(Behaviour(error_after=4.0))
    scene.begin()
    assert scene.until(3.9).record("detach_volume").finished_at is None
    record = scene.until(4.0).record("detach_volume")
    assert (record.failed, record.finished_at) == (True, START + timedelta(seconds=4))
    assert (scene.pass_(86400).status, scene.planes) == ("detaching", (True, True))
    assert scene.history[-1] == (What.DETACH_FAILED, 4.0)


def test_a_passing_error() -> None:
    """The volume shows an error for a while, and is detached on time."""
    scene = Scene(Behaviour(seconds=10, error_status="error", error_seconds=3))
    scene.begin()
    seen = [scene.until(at).status for at in (0.0, 2.9, 3.0, 9.9, 10.0)]
    assert seen == ["error", "error", "detaching", "detaching", "available"]


def test_an_error_that_lasts_until_the_end() -> None:
    """A volume may be detached while it still shows an error."""
    scene = Scene(Behaviour(seconds=2, error_status="error", error_seconds=30))
    scene.begin()
    assert (scene.until(1.9).status, scene.until(2.0).status) == ("error", "available")
    assert scene.pass_(60).status == "available"


@pytest.mark.parametrize("nova_lag", [0.5, -1, 0])
def test_the_record_ends_shortly_after_cinder(nova_lag: float) -> None:
    """Success is recorded 0.3 s after Cinder's end, whatever Nova's list shows."""
    scene = Scene(Behaviour(seconds=2, nova_lag=nova_lag))
    scene.begin()
    assert scene.until(2.2).record("detach_volume").finished_at is None
    record = scene.until(2.3).record("detach_volume")
    assert (record.failed, record.finished_at) == (False, START + timedelta(seconds=2.3))


def test_second_acceptance_within_the_mark_lag_has_no_effect_of_its_own() -> None:
    """Two detaches that are accepted before the mark end the attachment once, at the time of the first."""
    scene = Scene(Behaviour(seconds=10, mark_lag=6))
    scene.begin()
    scene.pass_(2).begin()
    scene.pass_(60)
    ends = [entry for entry in scene.history if entry[0] is What.CINDER_DETACHED]
    assert ends == [(What.CINDER_DETACHED, 10.0)]


def test_second_detach_while_detaching_is_refused() -> None:
    """Cinder begins a detach only of a volume in use."""
    scene = Scene()
    scene.begin()
    with pytest.raises(Refused, match="detaching"):
        scene.begin()


def test_shared_volume_never_becomes_available_while_held() -> None:
    """A detach from one of two servers marks the whole volume, which then is in-use again."""
    scene = Scene(multiattach=True)
    other = scene.world.add_server().id
    kept = scene.world.attach(other, scene.volume)
    scene.begin()
    assert scene.status == "detaching"
    with pytest.raises(Refused):
        scene.world.begin_detach(other, scene.volume)
    scene.pass_(60)
    assert (scene.status, scene.planes) == ("in-use", (False, False))
    assert scene.world.is_attached(other, scene.volume) == kept


def test_attaching_again_makes_a_new_attachment() -> None:
    """The same volume on the same server has another attachment id each time."""
    scene = Scene()
    scene.begin()
    scene.pass_(60)
    again = scene.world.attach(scene.server, scene.volume)
    assert again != scene.attachment
    assert scene.world.is_attached(scene.server, scene.volume) == again


def test_attach_of_a_volume_not_free_is_refused_and_recorded() -> None:
    """Nova does not attach a detaching volume, and the history has the attempt."""
    scene = Scene()
    scene.begin()
    with pytest.raises(Refused):
        scene.world.attach(scene.world.add_server().id, scene.volume)
    assert scene.world.history[-1].what is What.ATTACH_REFUSED


def test_someone_else_acts_on_time() -> None:
    """A scheduled action happens on time, and a refused one does not stop the simulation."""
    scene = Scene(Behaviour(seconds=2, nova_lag=0.5))
    scene.world.at(1, lambda: scene.world.attach(scene.server, scene.volume))
    scene.world.at(4, lambda: scene.world.attach(scene.server, scene.volume))
    scene.begin()
    scene.pass_(60)
    assert scene.history[-4:] == [(What.ATTACH_REFUSED, 1.0), (What.CINDER_DETACHED, 2.0),
        (What.NOVA_DETACHED, 2.5), (What.ATTACHED, 4.0)]  # fmt: skip


def test_deleting_a_server_frees_its_volumes() -> None:
    """A deleted server has no attachments on either plane, and a detach under way ends."""
    scene = Scene()
    scene.begin()
    scene.world.delete_server(scene.server)
    assert (scene.status, scene.planes) == ("available", (False, False))
    ends = [what for what, _ in scene.pass_(60).history[2:]]
    assert ends == [What.CINDER_DETACHED, What.NOVA_DETACHED, What.SERVER_DELETED]


@pytest.mark.parametrize("keep_listed", [True, False])
def test_deleting_a_volume(keep_listed: bool) -> None:
    """Cinder forgets a deleted volume at once; Nova keeps listing it only after a forced delete."""
    scene = Scene()
    scene.world.delete_volume(scene.volume, keep_listed=keep_listed)
    assert scene.planes == (keep_listed, False)
    assert scene.world.history[-1].what is What.VOLUME_DELETED


@pytest.mark.parametrize(
    ("kind", "looks"),
    [
        ("resize", ((0.0, "RESIZE/resize_prep", "in-use", "old", ["old"]),
            (1.0, "RESIZE/resize_migrating", "reserved", "new", []),
            (4.0, "RESIZE/resize_finish", "attaching", "new", []),
            (5.0, "RESIZE/resize_finish", "in-use", "new", ["new"]),
            (6.0, "VERIFY_RESIZE/None", "in-use", "new", ["new"]))),
        ("live-migration", ((0.0, "MIGRATING/migrating", "in-use", "old", ["old"]),
            (1.0, "MIGRATING/migrating", "attaching", "new", ["old"]),
            (2.0, "MIGRATING/migrating", "in-use", "new", ["new", "old"]),
            (4.0, "MIGRATING/migrating", "in-use", "new", ["new"]),
            (6.0, "ACTIVE/None", "in-use", "new", ["new"]))),
        ("evacuate", ((0.0, "REBUILD/rebuilding", "in-use", "old", ["old"]),
            (1.0, "REBUILD/rebuilding", "reserved", "new", []),
            (4.0, "REBUILD/rebuild_block_device_mapping", "attaching", "new", []),
            (5.0, "REBUILD/rebuild_block_device_mapping", "in-use", "new", ["new"]),
            (6.0, "ACTIVE/None", "in-use", "new", ["new"]))),
    ],
)  # fmt: skip
def test_a_move_step_by_step(kind: str, looks: tuple[tuple[float, str, str, str, list[str]], ...]) -> None:
    """Nova lists the next attachment first; Cinder shows none for a while, or both, as recorded."""
    scene = Scene()
    scene.world.move(scene.server, kind)
    for at, server, volume, listed, shown in looks:
        scene.until(at)
        assert (at, scene.seen, scene.status, *scene.names) == (at, server, volume, listed, shown)


def test_a_move_renews_the_attachment_of_the_same_binding() -> None:
    """The binding stays, and the attachment is dated by when Cinder began to attach it."""
    scene = Scene()
    before = scene.world.nova[scene.attachment]
    scene.world.move(scene.server, "resize", seconds=60, reserved_after=10, attaching_after=40)
    (after,) = scene.pass_(60).world.nova.values()
    assert (after.bdm_id, after.device) == (before.bdm_id, before.device)
    assert after.id != before.id
    assert after.attached_at == START + timedelta(seconds=40)
    assert scene.world.cinder == {after.id: after}


def test_history_of_a_move() -> None:
    """A move is no detach: the history has its start and the new attachment beside the old one."""
    scene = Scene()
    scene.world.move(scene.server)
    scene.pass_(60)
    assert scene.history == [(What.ATTACHED, 0.0), (What.MOVING, 0.0), (What.MOVED, 5.0)]
    moving, moved = scene.happened[1:]
    assert (moving.attachment_id, moving.detail) == (scene.attachment, "resize")
    assert (moved.attachment_id, moved.detail) == (*scene.world.nova, scene.attachment)


@pytest.mark.parametrize(("kind", "ends"), [("resize", 6.0), ("live-migration", 6.0), ("evacuate", 8.0)])
def test_record_of_a_move(kind: str, ends: float) -> None:
    """The record is open during the move; that of an evacuation stays open a little longer."""
    scene = Scene()
    scene.world.move(scene.server, kind)
    assert scene.until(ends - 0.5).record(kind).finished_at is None
    assert scene.until(ends).record(kind).finished_at == START + timedelta(seconds=ends)


def test_confirming_a_resize_changes_no_attachment() -> None:
    """A resized server is ACTIVE again when somebody confirms, and a stopped one SHUTOFF."""
    for state, seen in ((RUNNING, "ACTIVE/None"), (STOPPED, "SHUTOFF/None")):
        scene = Scene()
        scene.world.set_server(scene.server, **state)
        scene.world.move(scene.server, "migrate")
        held = dict(scene.pass_(6).world.nova)
        scene.world.confirm_resize(scene.server)
        assert (scene.seen, scene.world.nova, scene.world.cinder) == (seen, held, held)
        with pytest.raises(Refused):
            scene.world.confirm_resize(scene.server)


def test_a_moved_server_is_on_another_host() -> None:
    """Only where it has arrived does it show another host."""
    scene = Scene()
    was = scene.world.servers[scene.server].host
    scene.world.move(scene.server, "live-migration")
    assert scene.until(5.9).world.servers[scene.server].host == was
    assert scene.until(6.0).world.servers[scene.server].host != was


def test_an_evacuation_leaves_a_dead_host() -> None:
    """No other move can begin there."""
    scene = Scene()
    scene.world.set_server(scene.server, host_up=False)
    with pytest.raises(Refused, match="down"):
        scene.world.move(scene.server, "resize")
    scene.world.move(scene.server, "evacuate")
    assert scene.pass_(6).world.servers[scene.server].host_up


@pytest.mark.parametrize("act", ["move", "begin_detach", "shelve"])
def test_nothing_else_begins_during_a_move(act: str) -> None:
    """A server with a task refuses everybody, the two attachments of a live migration included."""
    scene = Scene()
    scene.world.move(scene.server, "live-migration")
    scene.until(3.0)
    arguments = (scene.server, scene.volume) if act == "begin_detach" else (scene.server,)
    with pytest.raises(Refused, match="migrating"):
        getattr(scene.world, act)(*arguments)


def test_no_move_while_a_volume_is_being_detached() -> None:
    """Nova refused so when a disk was stuck."""
    scene = Scene(Behaviour(stuck=True))
    scene.begin()
    with pytest.raises(Refused, match="detaching"):
        scene.world.move(scene.server)


@pytest.mark.parametrize("kind", ["resize", "live-migration"])
@pytest.mark.parametrize("at", [0.5, 1.5, 3.0, 4.5, 5.5])
def test_deleting_a_server_or_a_volume_while_it_moves(kind: str, at: float) -> None:
    """Whatever is left of the move comes to nothing, and no plane holds anything."""
    for delete in (World.delete_server, World.delete_volume):
        scene = Scene()
        scene.world.move(scene.server, kind)
        scene.until(at)
        delete(scene.world, scene.server if delete is World.delete_server else scene.volume)
        world = scene.pass_(60).world
        assert (world.nova, world.cinder, world.reserved) == ({}, {}, {})
        assert [v.status for v in world.volumes.values()] == ["available"] * len(world.volumes)


def test_a_shared_volume_stays_in_use_while_one_of_its_servers_moves() -> None:
    """During a live migration it has three attachments."""
    scene = Scene(multiattach=True)
    scene.world.attach(scene.world.add_server().id, scene.volume)
    scene.world.move(scene.server, "live-migration")
    seen = {(scene.until(tenth / 10).status, len(scene.world.cinder)) for tenth in range(70)}
    assert seen == {("in-use", 2), ("in-use", 3)}


def test_a_detach_that_is_marked_after_the_move_fails() -> None:
    """What was accepted for an attachment that is renewed before it is marked has no effect, and the record says so."""
    scene = Scene(Behaviour(seconds=20, mark_lag=10))
    scene.world.begin_detach(scene.server, scene.volume, "req-1")
    scene.world.move(scene.server)
    scene.pass_(60)
    assert scene.names == ("new", ["new"])
    assert scene.world.actions["req-1"].failed
    assert scene.history[-1] == (What.DETACH_REFUSED, 10.0)


def test_a_volume_migration_renews_the_attachment() -> None:
    """The same binding on the same server, at once, with a record of its own."""
    scene = Scene()
    scene.pass_(5).world.swap_volume(scene.server, scene.volume)
    assert (scene.status, *scene.names) == ("in-use", "new", ["new"])
    assert scene.record("swap_volume").finished_at == START + timedelta(seconds=5)
    assert [what for what, _ in scene.history] == [What.ATTACHED, What.MOVING, What.MOVED]
    with pytest.raises(Refused, match="not attached"):
        scene.world.swap_volume(scene.server, scene.world.add_volume().id)


# ------------------------------------------------------------------------------------------------------ shelved


def test_shelved_on_its_host() -> None:
    """The volumes are attached as before, and a detach goes its usual way."""
    scene = Scene()
    scene.world.shelve(scene.server, offload=False)
    assert scene.seen == "ACTIVE/shelving"
    assert (scene.until(2.0).seen, scene.status, *scene.names) == ("SHELVED/None", "in-use", "old", ["old"])
    scene.begin()
    assert (scene.status, scene.until(4.5).planes) == ("detaching", (False, False))


def test_unshelved_on_its_host() -> None:
    """Nothing changes but the server's state."""
    scene = Scene()
    scene.world.shelve(scene.server, offload=False)
    scene.until(2.0).world.unshelve(scene.server)
    assert (scene.until(4.0).seen, scene.status, *scene.names) == ("ACTIVE/None", "in-use", "old", ["old"])


@pytest.mark.parametrize("at_once", [True, False])
def test_offloaded_and_unshelved(at_once: bool) -> None:
    """Cinder shows no attachment until the server is back, and then the one that Nova has listed since."""
    scene = Scene()
    scene.world.shelve(scene.server, offload=at_once)
    scene.until(2.0)
    if not at_once:
        scene.world.offload(scene.server)
    assert (scene.seen, scene.status, *scene.names) == ("SHELVED_OFFLOADED/None", "reserved", "new", [])
    listed = list(scene.world.nova)
    scene.world.unshelve(scene.server, seconds=4)
    assert scene.until(3.0).seen == "SHELVED_OFFLOADED/unshelving"
    assert (scene.status, *scene.names) == ("attaching", "new", [])
    assert (scene.until(6.0).seen, scene.status, *scene.names) == ("ACTIVE/None", "in-use", "new", ["new"])
    assert list(scene.world.cinder) == listed
    assert scene.world.cinder[listed[0]].attached_at == START + timedelta(seconds=3)
    assert [what for what, _ in scene.history] == [What.ATTACHED, What.MOVING, What.MOVED]


def test_detached_from_an_offloaded_server() -> None:
    """There is no host to wait for: available and no longer listed at once."""
    scene = Scene(Behaviour(refuse=True))
    scene.world.shelve(scene.server)
    scene.until(2.0)
    (listed,) = scene.world.nova
    assert scene.begin() == listed
    assert (scene.status, scene.world.nova, scene.world.cinder) == ("available", {}, {})
    assert scene.record("detach_volume").finished_at == START + timedelta(seconds=2)
    assert [what for what, _ in scene.history[-2:]] == [What.CINDER_DETACHED, What.NOVA_DETACHED]
    scene.world.unshelve(scene.server)
    assert (scene.pass_(60).status, scene.seen) == ("available", "ACTIVE/None")
    assert scene.record("detach_volume").finished_at == START + timedelta(seconds=2)


def test_attached_to_an_offloaded_server() -> None:
    """Neither device nor time before the server is back, and the same attachment afterwards."""
    scene = Scene()
    scene.world.shelve(scene.server)
    scene.until(2.0).begin()
    again = scene.world.attach(scene.server, scene.volume)
    held = scene.world.cinder[again]
    assert (scene.status, held.device, held.attached_at) == ("in-use", None, None)
    scene.until(10.0).world.unshelve(scene.server)
    held = scene.until(12.0).world.cinder[again]
    assert scene.world.nova == {again: held}
    assert (scene.status, held.device) == ("in-use", "/dev/sdb")
    assert held.attached_at == START + timedelta(seconds=10)
    started = [a.started_at for a in scene.world.actions.values() if a.action == "attach_volume"]
    assert started == [START, START + timedelta(seconds=2)]


# --------------------------------------------------------------------------------------------------------- names


def test_same_seed_same_ids() -> None:
    """Two worlds with one seed agree on every id, two seeds on none."""
    first, second, other = Scene(seed=7), Scene(seed=7), Scene(seed=8)
    assert first.world.history == second.world.history
    assert first.world.snapshot() == second.world.snapshot()
    assert first.attachment != other.attachment

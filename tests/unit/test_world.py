"""The simulated cloud's state machine, on a clock that moves only when told to."""

from __future__ import annotations

import pytest

from simulator import Behaviour, Refused, What, World
from tests.messages import START
from tests.stack import Clock


class Scene:
    """One server with one volume on it, and what a test asks about them."""

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

    @property
    def status(self) -> str:
        return self.world.volumes[self.volume].status

    @property
    def planes(self) -> tuple[bool, bool]:
        """Whether Nova and Cinder hold the first attachment."""
        return self.attachment in self.world.nova, self.attachment in self.world.cinder

    @property
    def history(self) -> list[tuple[What, float]]:
        return [(h.what, (h.at - START).total_seconds()) for h in self.world.history]


def test_cinder_lets_go_before_nova() -> None:
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
    """Looking late does not move what happened, nor change its order."""
    scene = Scene(Behaviour(seconds=2, nova_lag=0.5))
    scene.begin()
    scene.pass_(60)
    assert scene.history == [(What.ATTACHED, 0.0), (What.DETACHING, 0.0), (What.CINDER_DETACHED, 2.0),
        (What.NOVA_DETACHED, 2.5)]  # fmt: skip
    assert {h.attachment_id for h in scene.world.history} == {scene.attachment}


def test_refusal_leaves_the_same_attachment() -> None:
    """A refused detach goes back to in-use with the attachment it had, and the action record says Error."""
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
    """Within the mark lag the volume shows in-use, and the end comes when it would have come anyway."""
    scene = Scene(Behaviour(seconds=10, mark_lag=6))
    scene.begin()
    assert scene.pass_(5).status == "in-use"
    assert scene.pass_(1).status == "detaching"
    assert scene.pass_(4).status == "available"


def test_second_acceptance_within_the_mark_lag_has_no_effect_of_its_own() -> None:
    """Two detaches accepted before the mark cut the attachment once, at the time of the first."""
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
    """A detach from one of two servers marks the whole volume and gives it back in-use."""
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


def test_attach_of_a_volume_not_free_is_refused_and_told() -> None:
    """Nova does not attach a volume that is detaching, and the history keeps the attempt."""
    scene = Scene()
    scene.begin()
    with pytest.raises(Refused):
        scene.world.attach(scene.world.add_server().id, scene.volume)
    assert scene.world.history[-1].what is What.ATTACH_REFUSED


def test_someone_else_acts_on_time() -> None:
    """A scheduled action happens at its own time, and one that is refused does not stop the world."""
    scene = Scene(Behaviour(seconds=2, nova_lag=0.5))
    scene.world.at(1, lambda: scene.world.attach(scene.server, scene.volume))
    scene.world.at(4, lambda: scene.world.attach(scene.server, scene.volume))
    scene.begin()
    scene.pass_(60)
    assert scene.history[-4:] == [(What.ATTACH_REFUSED, 1.0), (What.CINDER_DETACHED, 2.0),
        (What.NOVA_DETACHED, 2.5), (What.ATTACHED, 4.0)]  # fmt: skip


def test_deleting_a_server_frees_its_volumes() -> None:
    """After a server is gone no plane holds anything for it, and a detach under way comes to nothing."""
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


def test_same_seed_same_ids() -> None:
    """Two worlds with one seed agree on every id, two seeds on none."""
    first, second, other = Scene(seed=7), Scene(seed=7), Scene(seed=8)
    assert first.world.history == second.world.history
    assert first.world.snapshot() == second.world.snapshot()
    assert first.attachment != other.attachment

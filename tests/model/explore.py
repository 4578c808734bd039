"""Explores the model breadth first within bounds, and checks that it is safe and that it always can end."""

from collections import defaultdict, deque
from collections.abc import Set
from dataclasses import dataclass, field

from tests.model.states import Left, World
from tests.model.steps import Violation, start, steps

ANSWERS_OF_THE_CLOUD = {("failed", "refused_by_server"), ("failed", "forbidden")}
"""Verdicts that rest on an answer of the cloud; a second delivery repeats them only if the cloud repeats its answer."""

STUCK = {("failed", "stuck_detaching")}
"""The verdict after a failure of the storage."""


@dataclass
class Explored:
    """The numbers of worlds, steps and ends found, and the first error (`wrong`) with the steps to it (`path`)."""

    worlds: int = 0
    steps: int = 0
    ends: int = 0
    wrong: str | None = None
    path: list[str] = field(default_factory=list)

    @property
    def report(self) -> str:
        return "\n".join([str(self.wrong), *(f"  {number:>3}. {step}" for number, step in enumerate(self.path, 1))])


def explore(left: Left, broken: Set[str] = frozenset(), most: int = 5_000_000) -> Explored:
    """Visit every reachable world once. Stops at the first error; the path to it is a shortest one.

    Raises AssertionError if there are more than `most` worlds.
    """
    first = start(left)
    came: dict[World, tuple[World, str] | None] = {first: None}
    before: dict[World, list[World]] = defaultdict(list)
    ends: list[World] = []
    found = Explored()
    waiting = deque([first])
    while waiting:
        world = waiting.popleft()
        moved = False
        try:
            for name, then in steps(world, broken):
                moved = True
                found.steps += 1
                before[then].append(world)
                if then not in came:
                    came[then] = (world, name)
                    waiting.append(then)
        except Violation as violation:
            return _wrong(found, came, world, str(violation))
        if _is_over(world):
            ends.append(world)
            if why := _wrong_end(world, left):
                return _wrong(found, came, world, why)
        elif not moved:
            return _wrong(found, came, world, "nothing can happen any more, and it is not over")
        if len(came) > most:
            raise AssertionError(f"more than {most} worlds: the bound is too wide")
    found.worlds, found.ends = len(came), len(ends)
    stuck = _never_ending(came, before, ends)
    return _wrong(found, came, stuck, "it may go on for ever from here") if stuck else found


def _is_over(world: World) -> bool:
    return not world.queue and world.worker is None


def _wrong_end(world: World, left: Left) -> str | None:
    """Why an end is wrong; None if it is right.

    Every request gets a verdict. All verdicts are of one kind unless the world was disturbed between deliveries.
    Without any disturbance and before the timeouts, no verdict is `failed`, except after a failure of the storage.
    """
    if not world.said:
        return "the message is gone, and nobody was told"
    kinds = {kind for kind, _ in world.said - ANSWERS_OF_THE_CLOUD}
    if world.left == left and not world.time and "failed" in kinds - {"failed" for one in STUCK if one in world.said}:
        return f"nobody disturbed it, and it was told {sorted(world.said)}"
    if len(kinds) > 1 and not _disturbed(world):
        return f"told {sorted(world.said)}"
    return None


def _disturbed(world: World) -> bool:
    """Whether the world changed so that a service without a database may give two deliveries different verdicts."""
    return world.cloud.fresh > 2 or not world.cloud.server or world.cloud.volume == "gone" or world.time > 0


def _never_ending(
    came: dict[World, tuple[World, str] | None], before: dict[World, list[World]], ends: list[World]
) -> World | None:
    """A world from which no end can be reached; None if there is none."""
    good, waiting = set(ends), deque(ends)
    while waiting:
        for world in before[waiting.popleft()]:
            if world not in good:
                good.add(world)
                waiting.append(world)
    return next((world for world in came if world not in good), None)


def _wrong(found: Explored, came: dict[World, tuple[World, str] | None], world: World, why: str) -> Explored:
    found.worlds, found.wrong = len(came), why
    at = came[world]
    while at is not None:
        world, name = at
        found.path.insert(0, name)
        at = came[world]
    return found

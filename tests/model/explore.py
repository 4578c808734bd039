"""Breadth-first exploration of the model up to a bound: it is safe everywhere, and ends everywhere."""

from collections import defaultdict, deque
from collections.abc import Set
from dataclasses import dataclass, field

from tests.model.states import Left, World
from tests.model.steps import Violation, start, steps

ANSWERS_OF_THE_CLOUD = {("failed", "refused_by_server"), ("failed", "forbidden")}
"""What a second delivery hears again only if the cloud says it again."""

STUCK = {("failed", "stuck_detaching")}
"""The storage has failed."""


@dataclass
class Explored:
    """All worlds that were met, and the first thing that is wrong, with the way to it."""

    worlds: int = 0
    steps: int = 0
    ends: int = 0
    wrong: str | None = None
    way: list[str] = field(default_factory=list)

    @property
    def told(self) -> str:
        return "\n".join([str(self.wrong), *(f"  {number:>3}. {step}" for number, step in enumerate(self.way, 1))])


def explore(left: Left, broken: Set[str] = frozenset(), most: int = 5_000_000) -> Explored:
    """Every world that can be reached, each once; stops at the first violation, whose way is a shortest one."""
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
    """One kind of verdict, but for what a second delivery may find otherwise; undisturbed and in time, a detach."""
    if not world.said:
        return "the message is gone, and nobody was told"
    kinds = {kind for kind, _ in world.said - ANSWERS_OF_THE_CLOUD}
    if world.left == left and not world.time and "failed" in kinds - {"failed" for one in STUCK if one in world.said}:
        return f"nobody disturbed it, and it was told {sorted(world.said)}"
    if len(kinds) > 1 and not _disturbed(world):
        return f"told {sorted(world.said)}"
    return None


def _disturbed(world: World) -> bool:
    """Whether the world itself changed between two deliveries: no service without a memory says the same then."""
    return world.cloud.fresh > 2 or not world.cloud.server or world.cloud.volume == "gone" or world.time > 0


def _never_ending(
    came: dict[World, tuple[World, str] | None], before: dict[World, list[World]], ends: list[World]
) -> World | None:
    """A world from which no way leads to an end."""
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
        found.way.insert(0, name)
        at = came[world]
    return found

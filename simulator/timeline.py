"""Records every state that each server, volume and attachment of the world ever had, with its time."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

Value = TypeVar("Value")
Note = Callable[[str, str, object], None]


class Recorded(dict[str, Value]):
    """A dict of objects by id that notes each change; None stands for a removed object."""

    def __init__(self, name: str, note: Note, items: Mapping[str, Value] | Iterable[tuple[str, Value]] = ()) -> None:
        super().__init__(items)
        self._name = name
        self._note = note

    def __setitem__(self, key: str, value: Value) -> None:
        if self.get(key) != value:
            self._note(self._name, key, value)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._note(self._name, key, None)

    def pop(self, key: str, *default: Any) -> Any:
        if key in self:
            self._note(self._name, key, None)
        return super().pop(key, *default)

    def become(self, items: Mapping[str, Value]) -> None:
        """Replace the contents, in this order; only differences are noted."""
        for key in [key for key in self if key not in items]:
            self._note(self._name, key, None)
        for key, value in items.items():
            if self.get(key) != value:
                self._note(self._name, key, value)
        self.clear()
        self.update(items)


class Plane:
    """An attribute of type `Recorded`; assigning a new mapping notes the differences."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._kept = f"_{name}"

    def __get__(self, world: Any, owner: type | None = None) -> Any:
        return getattr(world, self._kept)

    def __set__(self, world: Any, items: Mapping[str, Any]) -> None:
        if not hasattr(world, self._kept):
            setattr(world, self._kept, Recorded(self._name, world.timeline.note, items))
        elif items is not getattr(world, self._kept):
            getattr(world, self._kept).become(items)


Entry = tuple[datetime, Any]


@dataclass
class Timeline:
    """The states of every server, volume and attachment, by plane and id, in order of time."""

    now: Callable[[], datetime]
    entries: dict[tuple[str, str], list[Entry]] = field(default_factory=lambda: defaultdict(list))
    by_volume: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))

    def note(self, plane: str, id: str, value: object) -> None:
        """Record a new state; None if the object is gone."""
        self.entries[plane, id].append((self.now(), value))
        volume_id = getattr(value, "volume_id", None)
        if volume_id:
            self.by_volume[volume_id].add((plane, id))

    def at(self, plane: str, id: str, moment: datetime) -> Any:
        """The state of an object at the end of a moment; None if it did not exist then."""
        entries = self.entries.get((plane, id), ())
        found = bisect_right(entries, moment, key=lambda entry: entry[0])
        return entries[found - 1][1] if found else None

    def attachments(self, plane: str, volume_id: str, moment: datetime) -> list[Any]:
        """The attachments of a volume that a plane held at a moment."""
        keys = (key for key in self.by_volume.get(volume_id, ()) if key[0] == plane)
        return [held for key in keys if (held := self.at(*key, moment)) is not None]

    def ever(self, volume_id: str) -> Iterator[tuple[str, datetime, Any]]:
        """Every state of every attachment of a volume: plane, time and attachment."""
        for plane, id in self.by_volume.get(volume_id, ()):
            for at, value in self.entries[plane, id]:
                if value is not None:
                    yield plane, at, value

    def changes(self, server_id: str, volume_id: str, since: datetime, until: datetime) -> list[datetime]:
        """The times in an interval at which a disk, its server or its attachments changed, and both ends."""
        keys = [("servers", server_id), ("volumes", volume_id), *self.by_volume.get(volume_id, ())]
        found = {at for key in keys for at, _ in self.entries.get(key, ()) if since <= at <= until}
        return sorted(found | {since, until})

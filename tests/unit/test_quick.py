"""Our `dataclass` against that of the standard library, on classes of every shape that is used."""

import copy
import dataclasses
import pickle
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, asdict, astuple, field, fields, is_dataclass, replace
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from shared.quick import dataclass as quick

Decorator = Callable[..., Any]


def made(dataclass: Decorator, **options: bool) -> Any:
    @dataclass(**options)
    class Point:
        """Two required fields, and every kind of default."""

        x: int
        y: "int | None"
        name: str = "p"
        tags: Mapping[str, int] = field(default_factory=dict)
        secret: str = field(default="s", repr=False)
        receipt: str | None = field(default=None, compare=False)
        kind: ClassVar[str] = "point"

        @property
        def sum(self) -> int:
            return self.x + (self.y or 0)

    return Point


Point: Any = made(quick, frozen=True)
Standard: Any = made(dataclasses.dataclass, frozen=True)
BOTH = (Point, Standard)


def test_what_is_told_of_it() -> None:
    assert Point.__match_args__ == Standard.__match_args__
    assert [repr(one) for one in fields(Point)] == [repr(one) for one in fields(Standard)]
    assert Point.kind == "point"
    assert is_dataclass(Point)


@pytest.mark.parametrize(
    ("given", "named"),
    [((1, 2), {}), ((1,), {"y": None}), ((), {"x": 1, "y": 2, "tags": {"a": 1}}), ((1, 2, "n", {}, "t", "r"), {})],
)
def test_an_instance(given: tuple[Any, ...], named: dict[str, Any]) -> None:
    ours, theirs = Point(*given, **named), Standard(*given, **named)
    assert asdict(ours) == asdict(theirs)
    assert astuple(ours) == astuple(theirs)
    assert repr(ours) == repr(theirs).replace("Standard", "Point")
    assert ours.sum == theirs.sum


@pytest.mark.parametrize(
    ("given", "named"), [((), {}), ((1,), {}), ((1, 2), {"x": 3}), ((1, 2), {"z": 3}), (tuple(range(7)), {})]
)
@pytest.mark.parametrize("cls", BOTH)
def test_a_call_that_does_not_fit(cls: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="argument"):
        cls(*given, **named)


@pytest.mark.parametrize("cls", BOTH)
def test_equality(cls: Any) -> None:
    assert cls(1, 2) == cls(1, 2, receipt="another")
    assert cls(1, 2) != cls(1, 3)
    assert cls(1, 2) != (1, 2, "p", {}, "s")
    assert made(quick, frozen=True)(1, 2) != cls(1, 2)


@pytest.mark.parametrize("dataclass", [quick, dataclasses.dataclass])
def test_hashes(dataclass: Decorator) -> None:
    cls = made(dataclass, frozen=True)
    assert hash(cls(1, 2, tags=())) == hash(cls(1, 2, tags=(), receipt="another"))
    with pytest.raises(TypeError):
        hash(cls(1, 2))  # as what is in it
    with pytest.raises(TypeError):
        hash(made(dataclass)(1, 2))
    by_identity = made(dataclass, eq=False)
    assert len({by_identity(1, 2), by_identity(1, 2)}) == 2


@pytest.mark.parametrize("cls", BOTH)
def test_it_does_not_change(cls: Any) -> None:
    point = cls(1, 2)
    with pytest.raises(FrozenInstanceError):
        point.x = 2
    with pytest.raises(FrozenInstanceError):
        point.other = 2
    with pytest.raises(FrozenInstanceError):
        del point.x
    assert replace(point, x=5) == cls(5, 2)
    assert copy.deepcopy(point) == point
    assert copy.copy(point) == point


@pytest.mark.parametrize("dataclass", [quick, dataclasses.dataclass])
def test_what_changes(dataclass: Decorator) -> None:
    @dataclass
    class Counted:
        first: int
        seen: list[int] = field(default_factory=list)
        sum: int = field(init=False)

        def __post_init__(self) -> None:
            self.sum = self.first

        def __repr__(self) -> str:
            return "own"

    one, other = Counted(1), Counted(1)
    assert one == other
    one.seen.append(1)
    one.sum += 1
    assert (one.sum, one.seen, other.seen) == (2, [1], [])
    assert repr(one) == "own"


@quick(frozen=True)
class Kept:
    """At the top of a module, so that it can be pickled."""

    value: int
    more: tuple[int, ...] = ()


def test_the_standard_library_takes_a_subclass() -> None:
    """With fields of its own, after those of ours."""

    @dataclasses.dataclass(frozen=True)
    class More(Kept):
        other: str = "o"

    assert More(1, other="x") == More(1, (), "x")
    assert repr(More(1)).endswith("More(value=1, more=(), other='o')")


def test_it_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(Kept(1, (2,)))) == Kept(1, (2,))


def test_it_is_matched() -> None:
    match Kept(1):
        case Kept(value, more=()):
            assert value == 1
        case _:
            pytest.fail("not matched")


def test_pydantic_takes_it() -> None:
    class Model(BaseModel):
        kept: Kept

    assert Model.model_validate_json('{"kept": {"value": 1, "more": [2]}}').kept == Kept(1, (2,))
    assert Model(kept=Kept(3)).model_dump() == {"kept": {"value": 3, "more": ()}}

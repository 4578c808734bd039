"""The closed catalogue of failure reasons with texts for people (`reasons.toml`)."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from shared.model import Reason
from shared.quick import dataclass


@dataclass(frozen=True)
class ReasonText:
    """What happened, and what to do about it. `retryable` means that a retry may succeed although nobody changes
    anything."""

    message: str
    remedy: str
    retryable: bool = False


@cache
def catalogue() -> Mapping[Reason, ReasonText]:
    """Read on the first failure, not at each cold start."""
    import tomllib

    entries = tomllib.loads(Path(__file__).with_name("reasons.toml").read_text(encoding="utf-8"))
    return {Reason(code): ReasonText(**entry) for code, entry in entries.items()}

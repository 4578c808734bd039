"""The closed catalogue of reasons why a request ended without a detach, for people to act on (`reasons.toml`)."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from shared.model import Reason
from shared.quick import dataclass


@dataclass(frozen=True)
class ReasonText:
    """What happened, and what to do about it. `retryable`: it may succeed later without anybody changing anything."""

    message: str
    remedy: str
    retryable: bool = False


@cache
def catalogue() -> Mapping[Reason, ReasonText]:
    """Read when a request fails for the first time, not at each cold start."""
    import tomllib

    entries = tomllib.loads(Path(__file__).with_name("reasons.toml").read_text(encoding="utf-8"))
    return {Reason(code): ReasonText(**entry) for code, entry in entries.items()}

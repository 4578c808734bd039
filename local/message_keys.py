"""Fixed keys for our own messages, for samples and tests that have no secret."""

import hmac
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """The first key signs; all are accepted. Without a key every message of ours is refused."""

    keys: tuple[bytes, ...] = ()
    made: datetime = datetime(1970, 1, 1, tzinfo=UTC)

    def mac(self, text: str) -> str:
        return hmac.digest(self.keys[0], text.encode(), "sha256").hex()

    def is_mac(self, text: str, mac: str) -> bool:
        return mac in [FixedKeys((key,)).mac(text) for key in self.keys]

    def since(self) -> datetime:
        return self.made

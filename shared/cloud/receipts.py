"""What an accepted DELETE left behind, and how to ask how it ended. A back end with jobs is one more class here.

A receipt travels in the continuation as a text that only this module reads.
"""

from dataclasses import dataclass
from typing import Protocol

from shared.model import Ended
from shared.ports import Reading


class Records(Protocol):
    """The records that a cloud keeps of operations. Raises CloudTrouble."""

    def action(self, server_id: str, request_id: str) -> Reading[Ended]: ...


class Receipt(Protocol):
    """Asks how a DELETE ended. Raises CloudTrouble."""

    def ended(self, records: Records, server_id: str) -> Reading[Ended]: ...


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """Nova's record of the operation, under the id of the request that asked for it (Nova API, server actions)."""

    request_id: str

    def ended(self, records: Records, server_id: str) -> Reading[Ended]:
        return records.action(server_id, self.request_id)


def receipt_of(text: str) -> Receipt:
    return ActionRecord(text)

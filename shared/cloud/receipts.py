"""What an accepted DELETE left behind, and how to ask how it ended. A back end with jobs is one more class here.

A receipt travels in the continuation as a text that only this module reads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from shared.cloud.parse import action_ended
from shared.model import Ended
from shared.ports import Reading

ReadCompute = Callable[[str, str, Callable[[Any], Ended]], Reading[Ended]]
"""Reads a path of the compute service: the operation's name, the path, and how its answer is understood."""


class Receipt(Protocol):
    """Asks how a DELETE ended. Raises CloudTrouble."""

    def ended(self, read: ReadCompute, server_id: str) -> Reading[Ended]: ...


@dataclass(frozen=True, slots=True)
class ActionRecord:
    """Nova's record of the operation, under the id of the request that asked for it (Nova API, server actions)."""

    request_id: str

    def ended(self, read: ReadCompute, server_id: str) -> Reading[Ended]:
        return read("get_action", f"servers/{server_id}/os-instance-actions/{self.request_id}", action_ended)


def receipt_of(text: str) -> Receipt:
    return ActionRecord(text)

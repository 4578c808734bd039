"""The event bus on EventBridge: `Detail` is the whole CloudEvent, `DetailType` its type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.aws.client import EVENTS, AwsClient, batches
from shared.ports import AwsTrouble, Event


class EventBus:
    """Puts events in batches and reads every entry: PutEvents answers 200 for events it did not take."""

    def __init__(self, client: AwsClient, name: str) -> None:
        self._client = client
        self._name = name

    def emit(self, events: Sequence[Event]) -> Mapping[int, str]:
        failed: dict[int, str] = {}
        for group in batches([len(event.body.encode()) for event in events]):
            entries = [
                {
                    "EventBusName": self._name,
                    "Source": events[at].source,
                    "DetailType": events[at].type,
                    "Detail": events[at].body,
                }
                for at in group
            ]
            try:
                answer = self._client.call(EVENTS, "PutEvents", {"Entries": entries})
            except AwsTrouble as trouble:
                failed |= dict.fromkeys(group, str(trouble))
                continue
            results = answer.get("Entries") or []
            for at, result in zip(group, [*results, *({},) * (len(group) - len(results))], strict=True):
                if not result.get("EventId"):
                    code, message = result.get("ErrorCode", "not taken"), result.get("ErrorMessage", "")
                    failed[at] = f"{code} {message}".strip()
        return failed

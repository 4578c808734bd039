"""The event bus on EventBridge: `Detail` is the whole CloudEvent, `DetailType` its type."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.aws.client import EVENTS, AwsClient, batches
from shared.ports import AwsTrouble, Event, K, Unsent


@dataclass(frozen=True, slots=True)
class EventBus:
    """Puts events in batches and reads every entry: PutEvents answers 200 for events it did not take."""

    client: AwsClient
    name: str

    def emit(self, events: Mapping[K, Event]) -> Mapping[K, Unsent]:
        unsent: dict[K, Unsent] = {}
        for group in batches(events, lambda event: len(event.body.encode())):
            entries = [
                {"EventBusName": self.name, "Source": event.source, "DetailType": event.type, "Detail": event.body}
                for event in group.values()
            ]
            try:
                answer = self.client.call(EVENTS, "PutEvents", {"Entries": entries})
            except AwsTrouble as trouble:
                unsent |= dict.fromkeys(group, Unsent(str(trouble), cause=trouble))
                continue
            results = answer.get("Entries") or []
            for key, result in zip(group, [*results, *({},) * (len(group) - len(results))], strict=True):
                if not result.get("EventId"):
                    code, message = result.get("ErrorCode", "not taken"), result.get("ErrorMessage", "")
                    unsent[key] = Unsent(f"{code} {message}".strip())
        return unsent

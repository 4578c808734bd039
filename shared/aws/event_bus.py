"""Emits events to an EventBridge bus: `Detail` is the whole CloudEvent, `DetailType` its type."""

from collections.abc import Mapping
from datetime import datetime

from shared.aws.client import EVENTS, LONGEST_TRACE_HEADER, TRACE_HEADER, AwsClient, Left, lists_in, send_all
from shared.aws.errors import NoAnswer, throttles
from shared.ports import Event, K, Unsent
from shared.quick import dataclass

TRANSIENT = ("InternalFailure", "InternalException", "ServiceUnavailable")
"""Error codes of an entry for which a retry may succeed soon, besides throttling."""


@dataclass(frozen=True)
class EventBus:
    """Puts events in batches and checks every entry: PutEvents answers 200 even if it did not accept all events."""

    client: AwsClient
    name: str

    def emit(self, events: Mapping[K, Event], deadline: datetime | None = None) -> Mapping[K, Unsent]:
        return send_all(self.client, events, _size, self._offer, deadline)

    def _offer(self, events: Mapping[K, Event], ends: datetime) -> dict[K, Left]:
        """Make one call; return the events that the bus did not accept, with their errors. Raises AwsTrouble."""
        trace = self.client.environment.get(TRACE_HEADER, "")
        more = {"EventBusName": self.name} | ({"TraceHeader": trace} if 0 < len(trace) <= LONGEST_TRACE_HEADER else {})
        entries = [
            {"Source": event.source, "DetailType": event.type, "Detail": event.body, **more}
            for event in events.values()
        ]
        answer = self.client.call(EVENTS, "PutEvents", {"Entries": entries}, ends)
        (results,) = lists_in(answer, "Entries")
        if len(results) > len(entries):
            raise NoAnswer(f"PutEvents: {len(results)} results for {len(entries)} events")
        told = [*results, *({},) * (len(entries) - len(results))]
        return {key: _left(result) for key, result in zip(events, told, strict=True) if not result.get("EventId")}


def _size(event: Event) -> int:
    """The size of an entry (EventBridge: calculating the size of an entry)."""
    return sum(len(part.encode()) for part in (event.body, event.source, event.type))


def _left(result: Mapping[str, object]) -> Left:
    code = str(result.get("ErrorCode", "not taken"))
    why = f"{code} {result.get('ErrorMessage', '')}".strip()
    return Left(Unsent(why, throttles(code)), throttles(code) or code in TRANSIENT)

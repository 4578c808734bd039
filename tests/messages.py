"""Builders of requests, records and events for tests, and a check of CloudEvents."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from local.message_keys import FixedKeys
from shared.decision.progress import Progress
from shared.model import DetachRequest
from shared.own_messages import VERSION, Continuation, WaitingDelivery
from shared.ports import Event
from shared.strict_json import MAC, signed

MESSAGE_KEYS = FixedKeys((b"the key of our own messages in tests",))


@dataclass
class RotatingKeys:
    """Keys of our own messages that can be rotated. The previous key is still accepted."""

    keys: tuple[bytes, ...] = (b"the first key of our own messages",)

    def rotate(self) -> None:
        self.keys = (b"the next of " + self.keys[0], self.keys[0])

    def mac(self, text: str) -> str:
        return FixedKeys(self.keys).mac(text)

    def is_mac(self, text: str, mac: str) -> bool:
        return FixedKeys(self.keys).is_mac(text, mac)

    def since(self) -> datetime:
        return FixedKeys().made


START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)
ALWAYS_NEW = datetime(2100, 1, 1, tzinfo=UTC)
"""A time in the future, which counts as now, so that a request never expires."""

SERVER = "95bf2490-5428-432c-ad9b-5e3406f869dd"
VOLUME = "b53f23bd-ee8f-49ec-9420-d1acfeaf91d6"
OTHER_VOLUME = "4b02f8ad-1c4f-4c2e-9d0b-7a6c1d0a52f3"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
QUEUE_ARN = "arn:aws:sqs:eu-central-1:123456789012:volume-detach-requests"


def bare(server_id: str, volume_id: str, **more: object) -> dict[str, Any]:
    """The smallest request, as bare JSON."""
    return {"server_id": server_id, "volume_id": volume_id, **more}


def cloudevent(data: object, **attributes: object) -> dict[str, Any]:
    """A request as a CloudEvent; an attribute of `...` is left out."""
    event: dict[str, Any] = {"specversion": "1.0", "id": "4711", "source": "/changes",
        "type": "bms.volume.detach_requested.v1", "time": "2026-11-23T08:00:00Z",
        "datacontenttype": "application/json", "data": data, **attributes}  # fmt: skip
    return {name: value for name, value in event.items() if value is not ...}


def continuation(request: DetachRequest, progress: Progress) -> str:
    """The continuation of a case."""
    message = Continuation(continuation=VERSION, request=request, progress=progress)
    return ours(message.model_dump(mode="json", exclude_defaults=True, by_alias=True))


def waiting(to: str, event: Event, **more: Any) -> str:
    """The message of a verdict that waits for delivery to a consumer."""
    return ours(WaitingDelivery(to=to, event=event, **{"since": START, **more}).model_dump(mode="json"))


def ours(value: Mapping[str, Any]) -> str:
    """One of our own messages with any contents and a valid MAC."""
    return signed({name: item for name, item in value.items() if name != MAC}, MESSAGE_KEYS.mac)


def sqs_record(body: str, message_id: str, sent_at: datetime = ALWAYS_NEW) -> dict[str, Any]:
    """A record of Lambda's event."""
    milliseconds = str(int(sent_at.timestamp() * 1000))
    return {
        "messageId": message_id,
        "receiptHandle": f"receipt-{message_id}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": "1",
            "SentTimestamp": milliseconds,
            "SenderId": "AIDAIENQZJOLO23YVJ4VO",
            "ApproximateFirstReceiveTimestamp": milliseconds,
        },
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": QUEUE_ARN,
        "awsRegion": "eu-central-1",
    }


REQUIRED_ATTRIBUTES = ("id", "source", "specversion", "type")
TEXT_ATTRIBUTES = (*REQUIRED_ATTRIBUTES, "subject", "datacontenttype", "correlationid", "causationid", "traceparent")


def cloudevent_faults(event: Mapping[str, Any]) -> list[str]:
    """Check an event by the JSON schema of CloudEvents 1.0: required names, types, no empty text."""
    faults = [f"{name} is missing" for name in REQUIRED_ATTRIBUTES if name not in event]
    texts = [name for name in (*TEXT_ATTRIBUTES, "time", "tracestate") if name in event]
    faults += [f"{name} is not a string" for name in texts if not (isinstance(event[name], str) and event[name])]
    if event.get("specversion") != "1.0":
        faults.append("specversion is not 1.0")
    if datetime.fromisoformat(str(event.get("time", START.isoformat()))).tzinfo is None:
        faults.append("time has no zone")
    faults += [f"{name} is not an attribute name" for name in event if not (name.isascii() and name.isalnum())]
    if not isinstance(event.get("data"), dict):
        faults.append("data is not an object")
    return faults


def nulls_in(value: object) -> list[str]:
    """The paths of all nulls in a JSON value."""
    if isinstance(value, dict):
        return [f"{key}.{path}" for key, item in value.items() for path in nulls_in(item)]
    if isinstance(value, list):
        return [f"{at}.{path}" for at, item in enumerate(value) for path in nulls_in(item)]
    return [""] if value is None else []


def is_uuid(text: str) -> bool:
    return str(UUID(text)) == text

"""Input that nobody sent in good faith: the samples, bent and broken by chance, and answered all the same."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from shared.cloud.classify import classify
from shared.inbox.read import Rejected, read
from shared.model import Answer, AnswerClass, Classified, Message
from shared.outbox.events import EventFactory
from tests.messages import MESSAGE_KEYS

SAMPLES = [path.read_text() for path in sorted((Path(__file__).parents[2] / "events").glob("*.json"))]
NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
EVENTS = EventFactory()

NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1e308, "", " ", "\x00", "a\nb", "\ud800", "../../etc/passwd", "http://elsewhere.test/",
    "95bf2490-5428-432c-ad9b-5e3406f869dd/..", "{95bf2490-5428-432c-ad9b-5e3406f869dd}", "x" * 5000, [], {}, [[]],
    {"specversion": "1.0"}, {"detail-type": "x", "detail": {}}, {"continuation": 1, "progress": {}},
    "2026-13-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59",
)  # fmt: skip
NAMES = (
    *("server_id", "volume_id", "volume_ids", "dry_run", "data", "detail", "Message", "Type", "TopicArn", "id", "time"),
    *("specversion", "continuation", "pending_delivery", "progress", "request", "constructor", "__proto__"),
)


def inputs(count: int, seed: int) -> Iterator[str]:
    """So many texts: samples with values and names exchanged, then some of them broken as text."""
    random = Random(seed)
    for _ in range(count):
        value = json.loads(random.choice(SAMPLES))
        for _ in range(random.randrange(4)):
            value = _bend(value, random)
        text = json.dumps(value)
        yield _break(text, random) if random.random() < 0.4 else text


def _bend(value: Any, random: Random) -> Any:
    """Exchange one thing somewhere inside."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        name = random.choice(list(value))
        if random.random() < 0.15:
            return {**value, random.choice(NAMES): random.choice(NASTY)}
        return {**value, name: _bend(value[name], random)}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        return [*value[:at], _bend(value[at], random), *value[at + 1 :]]
    return random.choice(NASTY)


def _break(text: str, random: Random) -> str:
    """Damage the text itself: cut it, double a part, change a character, nest it deeply."""
    at = random.randrange(len(text) + 1)
    match random.randrange(5):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + chr(random.randrange(0x250)) + text[at + 1 :]
        case 2:
            return text[:at] + text[at // 2 : at] + text[at:]
        case 3:
            return "[" * random.randrange(200) + text
        case _:
            return text.replace('"', random.choice(("'", '"', "\\", '\\"')), 3)


def wrong_with(text: str) -> str | None:
    """What the product does wrong with an input, if anything: raising, or an answer that is no answer."""
    message = Message(text, "m-1", "arn:aws:sqs:eu-central-1:123456789012:requests", NOW)
    found = read(message, "bms", NOW, MESSAGE_KEYS)
    if isinstance(found, Rejected):
        event = json.loads(EVENTS.rejected(found, NOW).body)
        if event["data"]["reason"]["code"] != found.reason or not event["data"]["faults"]:
            return "rejected without a fault"
    answer = Answer(len(text) % 500 + 100, {"retry-after": text[:20]}, text.encode("utf-8", "surrogatepass"))
    return _wrong_class(answer, classify(answer, now=NOW))


def _wrong_class(answer: Answer, found: Classified) -> str | None:
    if found.kind is AnswerClass.ACCEPTED and (answer.status not in (200, 201, 202, 204) or answer.body.strip()):
        return f"{answer.status} with a body was taken for accepted"
    return None

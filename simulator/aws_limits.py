"""AWS's limits as pure checks: each returns the error with which AWS refuses an input, or None.

They follow AWS's API references for SendMessageBatch, PutEvents and the task tokens of Step Functions. Two test doubles
use them: the HTTP server behind the adapters, and the in-memory queue and bus.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple


class Refusal(NamedTuple):
    """An error of AWS, by its code and message."""

    code: str
    message: str


# ---------------------------------------------------------------------------------------------------------- SQS

MESSAGE_BYTES = 1024 * 1024
"""The limit of a message, and of a whole batch (SendMessageBatch)."""

BATCH_ENTRIES = 10
"""The most entries of SendMessageBatch and of PutEvents."""

LONGEST_DELAY = 900
"""Seconds."""

REFUSED_BY_SQS = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that SendMessage refuses with InvalidMessageContents."""

ENTRY_ID = re.compile(r"[A-Za-z0-9_-]{1,80}\Z")


def of_message(body: str, delay: object = 0, most_bytes: int = MESSAGE_BYTES) -> Refusal | None:
    """Why SQS refuses one message; `most_bytes` is the queue's own limit."""
    if not body:
        return Refusal("MissingParameter", "The request must contain the parameter MessageBody.")
    if found := REFUSED_BY_SQS.search(body):
        character = f"U+{ord(found.group()):04X}"
        return Refusal("InvalidMessageContents", f"Invalid characters were found in the message body: {character}")
    if _bytes(body) > most_bytes:
        return Refusal("InvalidParameterValue", f"Message must be shorter than {most_bytes} bytes.")
    if isinstance(delay, bool) or not isinstance(delay, int) or not 0 <= delay <= LONGEST_DELAY:
        return Refusal("InvalidParameterValue", f"DelaySeconds is {delay}, must be between 0 and {LONGEST_DELAY}.")
    return None


def of_message_batch(entries: Sequence[Mapping[str, Any]]) -> Refusal | None:
    """Why SQS refuses a whole SendMessageBatch. Errors of single entries are not part of this: see `of_message`."""
    ids = [str(entry.get("Id", "")) for entry in entries]
    if not entries:
        return Refusal("EmptyBatchRequest", "There should be at least one SendMessageBatchRequestEntry.")
    if len(entries) > BATCH_ENTRIES:
        return Refusal("TooManyEntriesInBatchRequest", f"Maximum number of entries per request are {BATCH_ENTRIES}.")
    if len(set(ids)) != len(ids):
        return Refusal("BatchEntryIdsNotDistinct", "Two or more batch entries have the same Id.")
    if wrong := [id_ for id_ in ids if not ENTRY_ID.match(id_)]:
        return Refusal("InvalidBatchEntryId", f"The Id {wrong[0]!r} may hold letters, digits, - and _ only.")
    if sum(_bytes(str(entry.get("MessageBody", ""))) for entry in entries) > MESSAGE_BYTES:
        return Refusal("BatchRequestTooLong", f"Batch requests cannot be longer than {MESSAGE_BYTES} bytes.")
    return None


# -------------------------------------------------------------------------------------------------- EventBridge

EVENT_BYTES = 1024 * 1024
"""The limit of an entry, and of a whole request (PutEvents)."""

DETAIL_TYPE_CHARACTERS = 128
DETAIL_LEVELS = 1000
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**63 - 1
"""The limits of `Detail` in PutEventsRequestEntry."""


def of_event(source: str, detail_type: str, detail: str) -> Refusal | None:
    """Why EventBridge refuses one entry of PutEvents."""
    if not source or not detail_type or not detail:
        return Refusal("InvalidArgument", "Parameters Source, DetailType and Detail are required.")
    if source.startswith("aws."):
        return Refusal("NotAuthorizedForSourceException", f"Not authorized for the source {source}.")
    if len(detail_type) > DETAIL_TYPE_CHARACTERS:
        return Refusal("InvalidArgument", f"DetailType must not be longer than {DETAIL_TYPE_CHARACTERS} characters.")
    if event_bytes(source, detail_type, detail) > EVENT_BYTES:
        return Refusal("ValidationException", f"The entry is larger than {EVENT_BYTES} bytes.")
    try:
        value = json.loads(detail)
    except (ValueError, RecursionError):
        return Refusal("MalformedDetail", "Detail is malformed.")
    if not isinstance(value, dict):
        return Refusal("MalformedDetail", "Detail must be a JSON object.")
    if _levels(value) > DETAIL_LEVELS:
        return Refusal("MalformedDetail", f"Detail is nested more than {DETAIL_LEVELS} levels deep.")
    if any(not SMALLEST_INTEGER <= number <= LARGEST_INTEGER for number in _integers(value)):
        return Refusal("MalformedDetail", "Detail holds an integer of more than 64 bits.")
    return None


def of_events(entries: Sequence[Mapping[str, Any]]) -> Refusal | None:
    """Why EventBridge refuses a whole PutEvents."""
    if not 1 <= len(entries) <= BATCH_ENTRIES:
        return Refusal("ValidationException", f"entries must have 1 to {BATCH_ENTRIES} members, has {len(entries)}")
    sizes = (event_bytes(*(str(entry.get(name, "")) for name in EVENT_PARTS)) for entry in entries)
    if sum(sizes) > EVENT_BYTES:
        return Refusal("ValidationException", f"Total size of the entries is more than {EVENT_BYTES} bytes.")
    return None


EVENT_PARTS = ("Source", "DetailType", "Detail")


def event_bytes(source: str, detail_type: str, detail: str) -> int:
    """The size that EventBridge counts for an entry without `Time` and `Resources`."""
    return sum(map(_bytes, (source, detail_type, detail)))


def _integers(value: object) -> Iterator[int]:
    """Every integer in a JSON value, at any depth."""
    rest = [value]
    while rest:
        match rest.pop():
            case bool():
                pass
            case int() as number:
                yield number
            case dict() as members:
                rest += members.values()
            case list() as items:
                rest += items


def _levels(value: object) -> int:
    """The nesting depth of a JSON value; 0 unless it is an array or an object."""
    level, rest = 0, [value]
    while nested := [one for one in rest if isinstance(one, dict | list)]:
        level += 1
        rest = [inner for one in nested for inner in (one.values() if isinstance(one, dict) else one)]
    return level


# ----------------------------------------------------------------------------------------------- Step Functions

TOKEN_CHARACTERS, OUTPUT_BYTES, ERROR_CHARACTERS, CAUSE_CHARACTERS = 2048, 262_144, 256, 32_768
"""The limits of SendTaskSuccess (`output` in bytes of UTF-8) and SendTaskFailure.

Characters are counted here in UTF-16 units. AWS does not say what it counts; a text that fits in UTF-16 units also fits
in code points.
"""


def of_task_success(token: str, output: str) -> Refusal | None:
    """Why Step Functions refuses a SendTaskSuccess."""
    if refused := of_task_token(token):
        return refused
    if _bytes(output) > OUTPUT_BYTES:
        return Refusal("InvalidOutput", f"The output is longer than {OUTPUT_BYTES} bytes.")
    try:
        json.loads(output)
    except (ValueError, RecursionError):
        return Refusal("InvalidOutput", "The output is not JSON.")
    return None


def of_task_failure(token: str, error: str = "", cause: str = "") -> Refusal | None:
    """Why Step Functions refuses a SendTaskFailure."""
    if refused := of_task_token(token):
        return refused
    for name, value, most in (("error", error, ERROR_CHARACTERS), ("cause", cause, CAUSE_CHARACTERS)):
        if utf16_units(value) > most:
            return Refusal("ValidationException", f"Value at '{name}' must have length less than or equal to {most}")
    return None


def of_task_token(token: str) -> Refusal | None:
    """Why Step Functions refuses a task token."""
    if not 1 <= utf16_units(token) <= TOKEN_CHARACTERS:
        return Refusal("ValidationException", f"Value at 'taskToken' must have length 1 to {TOKEN_CHARACTERS}")
    return None


# ------------------------------------------------------------------------------------------------ every service

CLOCK_SKEW = timedelta(minutes=5)


def of_signing_time(signed_at: datetime, now: datetime) -> Refusal | None:
    """Why AWS refuses a request because of the time in its signature."""
    if abs(signed_at - now) > CLOCK_SKEW:
        return Refusal("RequestTimeTooSkewed", "The difference between the request time and the current time is large.")
    return None


def utf16_units(text: str) -> int:
    return len(text) + sum(character > "\uffff" for character in text)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))

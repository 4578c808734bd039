"""`make telemetry`: every log message and metric of the functions, with its meaning."""

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shared.telemetry.metrics import NAMESPACE

WIDTH = 100
"""Characters of a line."""

ABOUT = (
    "Messages are constant; what differs is in fields. A line about a request carries request_id, request_source, "
    "correlation_id, server_id, volume_id, requester_type and requester_id as far as they are known. Every line "
    "carries version, the release that wrote it. Secrets, task tokens and bodies are never logged."
)

LOG_LINES: Mapping[str, str] = {
    "request stepped": "One look at a volume: what both planes said, the calls, the decision, and why.",
    "look failed": "Our own code failed at a look, which is repeated. The traceback belongs in an issue.",
    "event delivered": "The bus or a consumer (field to) has taken an event.",
    "event not taken yet": "A consumer did not take an event; it is offered again in the logged seconds.",
    "event not emitted": "The bus did not take an event; it is offered again until the bus takes it.",
    "event refused": "A consumer refused an event for good, such as with a 4xx.",
    "event given up": "A consumer did not take an event within DeliveryTtl.",
    "request rejected": "A message is no valid request; it was answered with its faults.",
    "message ignored": "A message holds nothing to answer, such as a test event; it was deleted.",
    "record goes back to the queue": "AWS or our code failed on a message; it is delivered again after 6 minutes.",
    "dead letter": "A message was answered from the dead-letter queue.",
    "webhook answered": "One HTTP request to the webhook: its status, and why.",
    "settings not read": "Names of settings of the cloud that are set and have no meaning here.",
    "canary ended": "One run of the canary: its seconds, or the stage that failed, why, and a remedy.",
}
"""By message: when it is written."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric; `dimensions` are those in addition to `service`."""

    about: str
    unit: str = "Count"
    dimensions: tuple[str, ...] = ()


SECONDS = "Seconds"

METRICS: Mapping[str, Metric] = {
    "Requests": Metric("Requests at their first look. One for all data disks counts once."),
    "Verdicts": Metric(
        "Events that the bus has taken, in all and by dimension. Repeated ones count again, summaries do not.",
        dimensions=("verdict", "reason"),
    ),
    "SecondsToVerdict": Metric("Seconds from the first look to the final verdict.", SECONDS),
    "SecondsInDetaching": Metric("Seconds since the cloud accepted the detach, at each look.", SECONDS),
    "OldestInFlight": Metric("Seconds since the first look at a request that goes on waiting.", SECONDS),
    "SecondsOverdue": Metric("Seconds that a request or its verdict is past its limit; 0 while in time.", SECONDS),
    "CloudCalls": Metric("Calls to the cloud; answer is 2xx to 5xx, or none.", dimensions=("operation", "answer")),
    "Throttled": Metric("Answers of the cloud that ask for fewer calls, whatever their status."),
    "Unconfirmed": Metric("Events that say detach_unconfirmed."),
    "AuthorisationFailures": Metric("Verdicts unauthorized or forbidden, and credentials that cannot be read."),
    "DeadLetters": Metric("Requests that were answered dead_lettered."),
    "ForgedMessages": Metric("Messages that claim to be our own and carry no valid MAC."),
    "EmitFailures": Metric(
        "Final refusals by a consumer (sink, task, bucket), and every refusal by the bus.", dimensions=("to",)
    ),
    "RecordsReturned": Metric("Messages that were returned to their queue, and looks that failed and are repeated."),
    "CanarySeconds": Metric("Seconds from the canary's request to its verdict, of runs that passed.", SECONDS),
    "CanaryFailures": Metric("Runs of the canary that failed.", dimensions=("stage",)),
}
"""By name: what it counts or times."""


def telemetry() -> str:
    """All log messages, then all metrics."""
    metrics = {f"{name}{_told_apart(one)}": one.about for name, one in METRICS.items()}
    head = f"Metrics in the namespace {NAMESPACE}, with the dimension service (the stack's name):"
    return "\n".join((_filled(ABOUT), "", *_listed(LOG_LINES.items()), "", head, "", *_listed(metrics.items())))


def _told_apart(metric: Metric) -> str:
    return f" [{', '.join(metric.dimensions)}]" if metric.dimensions else ""


def _listed(entries: Iterable[tuple[str, str]]) -> list[str]:
    return [_filled(f"{name}: {about}", "  ") for name, about in entries]


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, initial_indent="", subsequent_indent=indent)

"""Calculates the bill in US dollars from the user's numbers, counts, measured times and prices.

details.md has the same formula; the letters in comments are those of that text.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, isfinite

from shared.policy import SECRET_KEPT
from tools.costs.counted import CHECK, between
from tools.costs.measured import VCPU_MB, Bench, Deployed
from tools.costs.prices import Prices, WrongNumber

MONTH = 730 * 3600
"""Seconds of a month: AWS's 730 hours."""

IDLE = 600
"""Seconds after which an idle environment counts as gone. An assumption: AWS does not document it."""

POLL = 20
"""Seconds of an empty long poll, SQS's maximum."""

POLLERS = 5
"""Concurrent polls of a quiet queue whose mapping has a MaximumConcurrency (Lambda, Configuring scaling behavior for
SQS event source mappings)."""

MAPPINGS = 2
"""Queues that Lambda polls: requests and dead letters."""

PLATFORM_BYTES = 500
"""Bytes that Lambda itself logs for an invocation: START, END, REPORT. An assumption."""

OTHER_BYTES = 1_500
"""Bytes that the webhook or the canary logs for a request, including metrics. An assumption."""

CANARY_WAY = 500
"""Milliseconds that a canary waits for queue and bus, in addition to the look. An assumption."""

CANARY_METRICS = 2
"""Custom metrics of the canary itself."""

SECRETS = 2
"""Secrets: the cloud's credentials, and the key of the service's own messages. The webhook has one more."""

KEY_REUSED = 300
"""Seconds for which SQS reuses a data key, by default (Amazon SQS, Estimating AWS KMS costs)."""

TRACED_REST = 0.05
"""X-Ray records one request a second of each function, and this share of the rest."""


@dataclass(frozen=True, slots=True)
class Number:
    """A number that the user may set: its `name` in `make costs`, and its bounds."""

    name: str
    least: float
    most: float
    about: str
    whole: bool = False

    def of(self, text: str) -> float:
        """Parse a number. Raises WrongNumber."""
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not (isfinite(number) and self.least <= number <= self.most) or (self.whole and number != int(number)):
            kind = "a whole number" if self.whole else "a number"
            raise WrongNumber(f"{self.name}={text}: give {kind} from {self.least:,g} to {self.most:,.0f}, {self.about}")
        return number


NUMBERS: Sequence[Number] = (
    Number("DETACHES", 0, 1e9, "detaches a month (one disk each)"),
    Number("CLOUD_MS", 1, 36_000, "milliseconds that one call to the cloud takes"),
    Number("SECONDS", 1, 3_600, "seconds that the cloud takes for a detach"),
    Number("BATCH", 1, 10, "messages in one invocation, on average"),
    Number("MEMORY", 128, 10_240, "MB of memory of each function", whole=True),
    Number("COLD", 0, 1, "the share of requests that begin with a cold start"),
    Number("INIT_MS", 0, 60_000, "additional milliseconds that a cold start is billed"),
    Number("AWS_MS", 0, 6_000, "milliseconds that a call to SQS or EventBridge takes"),
    Number("CANARY", 0, 1e6, "looks of the canary a month"),
    Number("WEBHOOK", 0, 1, "the share of requests that come by the webhook"),
    Number("KEYS", 0, 100, "KMS keys of your own", whole=True),
    Number("ENDPOINTS", 0, 100, "VPC interface endpoints times their zones", whole=True),
    Number("NATS", 0, 10, "NAT gateways", whole=True),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """The user's numbers, with the names and units of `NUMBERS`.

    None is derived: `cold` from the rate, `init_ms` from the bench, `memory` from the template.
    """

    detaches: float = 1000
    cloud_ms: float = 300
    seconds: float = 30
    batch: float = 1
    memory: float | None = None
    cold: float | None = None
    init_ms: float | None = None
    aws_ms: float = 20
    canary: float = 0
    webhook: float = 0
    keys: float = 0
    endpoints: float = 0
    nats: float = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill; `grows` says whether it grows with the number of requests."""

    what: str
    quantity: float
    unit: str
    usd: float
    grows: bool = True


@dataclass(frozen=True, slots=True)
class Work:
    """The invocations of one kind in a month, their billed milliseconds when warm, and their cold starts."""

    invocations: float = 0
    warm_ms: float = 0
    cold_starts: float = 0
    cold_ms: float = 0


INIT = "Lambda, cold starts (INIT, login)"


@dataclass(frozen=True, slots=True)
class Bill:
    """A month's bill; `cold` is the share of detaches with a cold start, `detaches` the worker's work for detaches."""

    lines: Sequence[Line]
    cold: float
    detaches: Work

    @property
    def usd(self) -> float:
        return sum(line.usd for line in self.lines)

    @property
    def standing(self) -> float:
        """The cost without any request."""
        return sum(line.usd for line in self.lines if not line.grows)


@dataclass(frozen=True, slots=True)
class Works:
    """The work of a month: detaches, dry runs of the canary, the canary itself, the webhook."""

    detaches: Work
    checks: Work
    canary: Work
    webhook: Work

    @property
    def all(self) -> Sequence[Work]:
        return self.detaches, self.checks, self.canary, self.webhook


def cold_share(a_month: float) -> float:
    """The share of requests, at random times, before which the function was idle for longer than IDLE."""
    return exp(-a_month / MONTH * IDLE)


def vcpu(memory: float) -> float:
    """The share of one core that a function with that memory gets; more than one does not help a single thread."""
    return min(1.0, memory / VCPU_MB)


def share_of_cold_starts(usage: Usage) -> float:
    """The share of detaches with a cold start: none if a canary runs more often than every IDLE seconds."""
    if usage.cold is not None:
        return usage.cold
    return 0.0 if canary_keeps_warm(usage) else cold_share(usage.detaches)


def canary_keeps_warm(usage: Usage) -> bool:
    return usage.canary > MONTH / IDLE


def works(usage: Usage, bench: Bench, memory: float) -> Works:
    """The work of a month. A cold process also logs in, with one more call; the canary waits for it."""
    core = vcpu(memory)
    init = bench.init / core if usage.init_ms is None else usage.init_ms
    cold = init + usage.cloud_ms
    one = between(usage.seconds)
    looks, by_http = usage.canary, usage.detaches * usage.webhook
    cold_looks = 0.0 if canary_keeps_warm(usage) else looks
    cpu = (bench.per_invocation / usage.batch + bench.per_message) / core
    alone = bench.cpu_1 / core + usage.aws_ms
    check = CHECK.calls * usage.cloud_ms + alone
    # The canary sends a request, waits for the verdict, and deletes it from its queue.
    canary = alone + 2 * usage.aws_ms + check + CANARY_WAY
    waiting = (one.calls * usage.cloud_ms + one.invocations * usage.aws_ms) / usage.batch
    return Works(
        detaches=Work(
            usage.detaches * one.invocations / usage.batch,
            usage.detaches * (waiting + one.invocations * cpu),
            usage.detaches * share_of_cold_starts(usage) / usage.batch,
            cold,
        ),
        checks=Work(looks, looks * check, cold_looks, cold),
        canary=Work(looks, looks * canary, cold_looks, init + cold),
        webhook=Work(by_http, by_http * alone, by_http * cold_share(by_http), init),
    )


def bill(usage: Usage, prices: Prices, bench: Bench, deployed: Deployed) -> Bill:
    """A month's bill. The lines are in the order of the details."""
    memory = deployed.memory if usage.memory is None else usage.memory
    done = works(usage, bench, memory)
    lines = (
        *_lambda(done, memory / 1024, prices),
        *_messages(usage, done, prices),
        *_observed(usage, done, prices, deployed),
        *_secrets(usage, prices),
        *_network(usage, prices),
    )
    return Bill(lines, share_of_cold_starts(usage), done.detaches)


def _lambda(done: Works, gb: float, prices: Prices) -> Iterator[Line]:
    invocations = sum(work.invocations for work in done.all)
    duration = gb * sum(work.warm_ms for work in done.all) / 1000
    starts = gb * sum(work.cold_starts * work.cold_ms for work in done.all) / 1000
    yield Line("Lambda, requests", invocations, "", invocations * prices.lambda_request)
    yield Line("Lambda, duration", duration, "GB-s", duration * prices.lambda_gb_second)
    yield Line(INIT, starts, "GB-s", starts * prices.lambda_gb_second)


def _messages(usage: Usage, done: Works, prices: Prices) -> Iterator[Line]:
    one, invocations = between(usage.seconds), done.detaches.invocations
    # Each request is sent; each invocation receives and deletes; all but the last of a detach send a continuation.
    # A canary's verdict also goes through a queue.
    messages = usage.detaches + 3 * invocations - usage.detaches / usage.batch + 6 * usage.canary
    polls = MAPPINGS * POLLERS * MONTH / POLL
    events = one.events * usage.detaches + CHECK.events * usage.canary
    archived = (one.event_bytes * usage.detaches + CHECK.event_bytes * usage.canary) / 1e9
    yield Line("SQS, requests", messages, "", messages * prices.sqs_request)
    yield Line("SQS, empty polls", polls, "", polls * prices.sqs_request, grows=False)
    yield Line("EventBridge, events", events, "", events * prices.event)
    yield Line("EventBridge, archive", archived, "GB", archived * (prices.archive_gb + prices.archive_gb_month))


def _observed(usage: Usage, done: Works, prices: Prices, deployed: Deployed) -> Iterator[Line]:
    one, hours = between(usage.seconds), MONTH / 3600
    invocations = sum(work.invocations for work in done.all)
    logged = one.log_bytes * usage.detaches + CHECK.log_bytes * usage.canary
    logged += OTHER_BYTES * (done.webhook.invocations + done.canary.invocations) + PLATFORM_BYTES * invocations
    logs = logged / 1e9
    # A metric is billed for each hour in which it was written; in the worst case each request has its own hour.
    written = min(hours, usage.detaches) * one.metrics + min(hours, usage.canary) * (CHECK.metrics + CANARY_METRICS)
    metrics = written / hours
    alarms = deployed.alarm_metrics * prices.alarm_month + deployed.composite_alarms * prices.composite_alarm_month
    watched = deployed.alarm_metrics + deployed.composite_alarms
    traces = traced(done.detaches.invocations + done.checks.invocations)
    traces += traced(done.canary.invocations) + traced(done.webhook.invocations)
    yield Line("CloudWatch, logs", logs, "GB", logs * (prices.log_gb + prices.log_gb_month))
    yield Line("CloudWatch, custom metrics", metrics, "months", metrics * prices.metric_month)
    yield Line("CloudWatch, alarms", watched, "", alarms, grows=False)
    dashboards = deployed.dashboards * prices.dashboard_month
    yield Line("CloudWatch, dashboard", deployed.dashboards, "", dashboards, grows=False)
    yield Line("X-Ray, traces", traces, "", traces * prices.trace)


def traced(invocations: float) -> float:
    """The traces that X-Ray records for a function whose invocations are spread over the month."""
    return min(invocations, MONTH + TRACED_REST * max(0.0, invocations - MONTH))


def _secrets(usage: Usage, prices: Prices) -> Iterator[Line]:
    secrets = SECRETS + bool(usage.webhook)
    reads = usage.detaches * (1 + between(usage.seconds).seconds / SECRET_KEPT) + usage.canary
    calls = secrets * min(reads, POLLERS * MONTH / SECRET_KEPT)
    # AWS's formula, R = (B / D) * (2 * P + C), with two producers and one consumer; each read of a secret adds one.
    key_calls = MONTH / KEY_REUSED * (2 * 2 + 1) + calls if usage.keys else 0.0
    yield Line("Secrets Manager, secrets", secrets, "", secrets * prices.secret_month, grows=False)
    yield Line("Secrets Manager, calls", calls, "", calls * prices.secret_call)
    yield Line("KMS, keys", usage.keys, "", usage.keys * prices.key_month, grows=False)
    yield Line("KMS, calls", key_calls, "", key_calls * prices.key_call, grows=False)


def _network(usage: Usage, prices: Prices) -> Iterator[Line]:
    hours = MONTH / 3600
    yield Line("VPC, endpoints", usage.endpoints, "", usage.endpoints * hours * prices.endpoint_hour, grows=False)
    yield Line("VPC, NAT gateways", usage.nats, "", usage.nats * hours * prices.nat_hour, grows=False)


CONDITIONS = {"HasCanary": "canary", "HasWebhook": "webhook"}
"""Conditions of the template that depend on the user's numbers."""

LEFT_OUT = frozenset({"HasSink"})
"""Conditions that count as false: their resources are left out of the bill."""


def not_deployed(usage: Usage) -> frozenset[str]:
    """The conditions of the template that do not hold."""
    return LEFT_OUT | {name for name, number in CONDITIONS.items() if not getattr(usage, number)}

"""List prices of AWS in US dollars: us-east-1, arm64, first tier, no free tier."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import isfinite

CHECKED = "2026-11-28"
"""The day on which the prices were checked."""


class WrongNumber(ValueError):
    """A number of the user cannot be used; the message says which, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars for one unit each; see `UNITS`."""

    lambda_request: float = 0.20e-6
    lambda_gb_second: float = 1.33334e-5
    sqs_request: float = 0.40e-6
    event: float = 1.00e-6
    archive_gb: float = 0.10
    archive_gb_month: float = 0.023
    log_gb: float = 0.50
    log_gb_month: float = 0.03
    metric_month: float = 0.30
    alarm_month: float = 0.10
    composite_alarm_month: float = 0.50
    dashboard_month: float = 3.00
    trace: float = 5.00e-6
    secret_month: float = 0.40
    secret_call: float = 0.05 / 10_000
    key_month: float = 1.00
    key_call: float = 0.03 / 10_000
    endpoint_hour: float = 0.01
    nat_hour: float = 0.045

    def but(self, text: str) -> "Prices":
        """The same with other prices, from `name=value` separated by spaces. Raises WrongNumber."""
        given = dict(_price(word) for word in text.split())
        return replace(self, **given)


def _price(word: str) -> tuple[str, float]:
    name, _, value = word.partition("=")
    known = [field.name for field in fields(Prices)]
    if name not in known:
        raise WrongNumber(f"PRICES: there is no price {name!r}; there are {', '.join(known)}")
    try:
        price = float(value)
    except ValueError:
        price = float("nan")
    if not (isfinite(price) and price >= 0):
        raise WrongNumber(f"PRICES: {name}={value} is not a price; write US dollars for one unit, such as {name}=0.5")
    return name, price


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a price, the usual number of units (`per`), and the source it was checked against (`seen`)."""

    of: str
    per: int
    seen: str


INFRACOST = "Infracost"
GUIDES = "guides of 2026"
AWS_PAGE = "a copy of AWS's page"

UNITS: Mapping[str, Unit] = {
    "lambda_request": Unit("Lambda requests", 1_000_000, INFRACOST),
    "lambda_gb_second": Unit("Lambda GB-second (arm64)", 1, INFRACOST),
    "sqs_request": Unit("SQS requests, standard queue, each 64 KB", 1_000_000, INFRACOST),
    "event": Unit("EventBridge custom events, each 64 KB", 1_000_000, INFRACOST),
    "archive_gb": Unit("GB into the archive of the bus", 1, INFRACOST),
    "archive_gb_month": Unit("GB kept there for a month", 1, INFRACOST),
    "log_gb": Unit("GB of Lambda's logs, Standard class", 1, INFRACOST),
    "log_gb_month": Unit("GB of logs kept for a month", 1, INFRACOST),
    "metric_month": Unit("custom metric for a month, by the hour", 1, GUIDES),
    "alarm_month": Unit("metric that an alarm watches, for a month", 1, INFRACOST),
    "composite_alarm_month": Unit("composite alarm for a month", 1, GUIDES),
    "dashboard_month": Unit("dashboard for a month", 1, INFRACOST),
    "trace": Unit("X-Ray traces recorded", 1_000_000, AWS_PAGE),
    "secret_month": Unit("secret for a month", 1, INFRACOST),
    "secret_call": Unit("calls of Secrets Manager", 10_000, INFRACOST),
    "key_month": Unit("KMS key of your own for a month", 1, INFRACOST),
    "key_call": Unit("calls of KMS", 10_000, INFRACOST),
    "endpoint_hour": Unit("VPC interface endpoint in one zone, an hour", 1, INFRACOST),
    "nat_hour": Unit("NAT gateway, an hour", 1, INFRACOST),
}

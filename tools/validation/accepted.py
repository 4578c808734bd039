"""Accepted findings, each with its reason. An entry that no longer matches a finding is reported too."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from tools.validation.findings import Finding


class Accepted(NamedTuple):
    rule: str
    where: str
    """A pattern for the location."""
    message: str
    """A pattern for the message."""
    reason: str


_WEBHOOK = "Lambda has no function URLs there (docs/operations.md); without the parameter Webhook none is made."
_VPC = (
    "Lambda creates network interfaces, whose ARNs are not known; the next statement denies it to the function's code."
)

ACCEPTED = (
    Accepted("region", "Resources/ReceiveWebhookFunctionUrl", ".*'(eu-south-2|us-gov-west-1)'", _WEBHOOK),
    Accepted("E3006", "Resources/ReceiveWebhookFunctionUrl/Type", ".*'us-gov-west-1'", _WEBHOOK),
    Accepted("CKV_AWS_111", "Resources/(DetachVolume|ReportDeadLetter|ReceiveWebhook|RunCanary)Role", ".*", _VPC),
)


def left(found: Iterable[Finding], accepted: Iterable[Accepted] = ACCEPTED) -> tuple[list[Finding], list[Accepted]]:
    """The findings that are not accepted, and the entries that match no finding."""
    entries = tuple(accepted)
    used: set[Accepted] = set()
    rest = []
    for one in found:
        by = [entry for entry in entries if _matches(entry, one)]
        used.update(by)
        if not by:
            rest.append(one)
    return rest, [entry for entry in entries if entry not in used]


def _matches(entry: Accepted, found: Finding) -> bool:
    same = entry.rule == found.rule and re.fullmatch(entry.where, found.where)
    return bool(same and re.fullmatch(entry.message, found.message, re.DOTALL))

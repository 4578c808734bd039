"""Hosts of AWS's services in each partition, with FIPS 140 and dual-stack (IPv4 and IPv6) variants.

They follow the rules that AWS publishes for its SDKs (partitions and endpoint rule sets), for the services that are
called here. Tests compare every combination with those rule sets.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple


class Partition(NamedTuple):
    """The domains of a partition."""

    suffix: str
    dual_stack: str


COMMERCIAL = ""
PARTITIONS: Mapping[str, Partition] = {
    "cn-": Partition("amazonaws.com.cn", "api.amazonwebservices.com.cn"),
    "us-gov-": Partition("amazonaws.com", "api.aws"),
    "us-iso-": Partition("c2s.ic.gov", "api.aws.ic.gov"),
    "us-isob-": Partition("sc2s.sgov.gov", "api.aws.scloud"),
    "eu-isoe-": Partition("cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"),
    "us-isof-": Partition("csp.hci.ic.gov", "api.aws.hci.ic.gov"),
    "eusc-": Partition("amazonaws.eu", "api.amazonwebservices.eu"),
    COMMERCIAL: Partition("amazonaws.com", "api.aws"),
}
"""Partitions by the prefix of their regions. An unknown region is one of the commercial partition."""

PLAIN, FIPS, DUAL, BOTH = (False, False), (True, False), (False, True), (True, True)
"""Variants: FIPS, dual-stack."""

FORMS = {
    PLAIN: "{service}.{region}.{suffix}",
    FIPS: "{service}-fips.{region}.{suffix}",
    DUAL: "{service}.{region}.{dual_stack}",
    BOTH: "{service}-fips.{region}.{dual_stack}",
}

S3_FORMS = {
    PLAIN: "s3.{region}.{suffix}",
    FIPS: "s3-fips.{region}.{suffix}",
    DUAL: "s3.dualstack.{region}.{suffix}",
    BOTH: "s3-fips.dualstack.{region}.{suffix}",
}

EXCEPTIONS: Mapping[tuple[str, str, tuple[bool, bool]], str] = {
    # All hosts in GovCloud are validated.
    ("sqs", "us-gov-", FIPS): FORMS[PLAIN],
    ("events", "us-gov-", FIPS): FORMS[PLAIN],
    ("events", "us-gov-", BOTH): FORMS[DUAL],
    ("states", "us-gov-west-1", FIPS): FORMS[PLAIN],
    ("states", "us-gov-", DUAL): FORMS[BOTH],
    # Its IPv4 hosts also answer over IPv6.
    ("secretsmanager", COMMERCIAL, DUAL): FORMS[PLAIN],
    ("secretsmanager", COMMERCIAL, BOTH): FORMS[FIPS],
    ("secretsmanager", "us-gov-", DUAL): FORMS[PLAIN],
    ("secretsmanager", "us-gov-", BOTH): FORMS[FIPS],
    ("secretsmanager", "cn-", DUAL): FORMS[PLAIN],
}
"""By service, prefix of the region (or its whole name), and variant."""


@lru_cache(maxsize=32)
def host(service: str, region: str, fips: bool = False, dual_stack: bool = False) -> str:
    """The host of a service in a region: `sqs.eu-central-1.amazonaws.com`."""
    begins = next(begins for begins in PARTITIONS if region.startswith(begins))
    wanted = (fips, dual_stack)
    form = S3_FORMS[wanted] if service == "s3" else FORMS[wanted]
    for where in (begins, region):
        form = EXCEPTIONS.get((service, where, wanted), form)
    return form.format(service=service, region=region, **PARTITIONS[begins]._asdict())

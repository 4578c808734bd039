"""Where AWS's services are, in each partition, and for FIPS 140 and dual-stack (IPv4 and IPv6) as each service has it.

The rules are those that AWS publishes for its SDKs (partitions and endpoint rule sets), as far as they concern the
services that are called here. The tests compare every combination with the rule sets themselves.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple


class Partition(NamedTuple):
    """What the names of a partition's hosts end in."""

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
"""By how the names of their regions begin. A region that is not known is one of the commercial partition."""

PLAIN, FIPS, DUAL, BOTH = (False, False), (True, False), (False, True), (True, True)
"""What is wanted: FIPS, dual-stack."""

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
    # All that there is in GovCloud is validated.
    ("sqs", "us-gov-", FIPS): FORMS[PLAIN],
    ("events", "us-gov-", FIPS): FORMS[PLAIN],
    ("events", "us-gov-", BOTH): FORMS[DUAL],
    ("states", "us-gov-west-1", FIPS): FORMS[PLAIN],
    ("states", "us-gov-", DUAL): FORMS[BOTH],
    # Its hosts of IPv4 answer by IPv6 too.
    ("secretsmanager", COMMERCIAL, DUAL): FORMS[PLAIN],
    ("secretsmanager", COMMERCIAL, BOTH): FORMS[FIPS],
    ("secretsmanager", "us-gov-", DUAL): FORMS[PLAIN],
    ("secretsmanager", "us-gov-", BOTH): FORMS[FIPS],
    ("secretsmanager", "cn-", DUAL): FORMS[PLAIN],
}
"""By service, how a region begins (or its whole name), and what is wanted."""


@lru_cache(maxsize=32)
def host(service: str, region: str, fips: bool = False, dual_stack: bool = False) -> str:
    """The host of a service in a region: `sqs.eu-central-1.amazonaws.com`."""
    begins = next(begins for begins in PARTITIONS if region.startswith(begins))
    wanted = (fips, dual_stack)
    form = S3_FORMS[wanted] if service == "s3" else FORMS[wanted]
    for where in (begins, region):
        form = EXCEPTIONS.get((service, where, wanted), form)
    return form.format(service=service, region=region, **PARTITIONS[begins]._asdict())

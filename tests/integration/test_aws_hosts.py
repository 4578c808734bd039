"""Every service is called at the address that AWS's SDK would use, in every region and with the same variables."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import boto3
import pytest
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.endpoint_provider import EndpointProvider  # type: ignore[import-untyped]
from botocore.exceptions import EndpointProviderError  # type: ignore[import-untyped]
from botocore.loaders import Loader  # type: ignore[import-untyped]

from local.aws_stand_in import CREDENTIALS
from shared.aws.client import EVENTS, SECRETS, SQS, STATES, AwsClient, Protocol
from shared.aws.deployment import LAMBDA
from shared.aws.verdict_store import WRITES, address

BUCKET = "verdicts"
SERVICES = {"sqs": SQS, "events": EVENTS, "secretsmanager": SECRETS, "stepfunctions": STATES, "s3": WRITES,
            "lambda": LAMBDA}  # fmt: skip
"""The services by botocore's names."""

PARTITIONS: dict[str, Any] = Loader().load_data("partitions")
REGIONS = sorted(r for p in PARTITIONS["partitions"] for r in p["regions"] if not r.endswith("-global"))
SWITCHES = ("AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT")


def ours(service: str, region: str, variables: Mapping[str, str]) -> str:
    place = AwsClient({**CREDENTIALS, "AWS_REGION": region, **variables}).place(SERVICES[service])
    return address(BUCKET, place).rstrip("/") if service == "s3" else place.url


def by_rules(service: str, region: str, fips: bool, dual_stack: bool) -> str | None:
    """The endpoint by the service's rule set; None if there is none."""
    rules = EndpointProvider(Loader().load_service_model(service, "endpoint-rule-set-1"), PARTITIONS)
    bucket = {"Bucket": BUCKET} if service == "s3" else {}
    try:
        url: str = rules.resolve_endpoint(Region=region, UseFIPS=fips, UseDualStack=dual_stack, **bucket).url
    except EndpointProviderError:
        return None
    return url


@pytest.mark.parametrize("service", SERVICES)
def test_addresses_follow_the_rule_sets(service: str) -> None:
    """The addresses agree in each region of each partition, with and without FIPS and dual-stack.

    FIPS in China is left out: S3's rules refuse it, and the other rules give hosts that do not exist.
    """
    wrong = {}
    for region, fips, dual_stack in product(REGIONS, (False, True), (False, True)):
        if fips and region.startswith("cn-"):
            continue
        switches = dict(zip(SWITCHES, (str(on).lower() for on in (fips, dual_stack)), strict=True))
        expected, found = by_rules(service, region, fips, dual_stack), ours(service, region, switches)
        if found != expected:
            wrong[region, fips, dual_stack] = found, expected
    assert wrong == {}
    assert len(REGIONS) > 40


def by_boto3(service: str, region: str, variables: Mapping[str, str], patch: pytest.MonkeyPatch) -> str:
    for name, value in {"AWS_DEFAULT_REGION": region, **variables}.items():
        patch.setenv(name, value)
    client = boto3.client(service, config=Config(s3={"addressing_style": "path"}))
    return str(client.meta.endpoint_url)


OWN = {
    "sqs": "AWS_ENDPOINT_URL_SQS",
    "events": "AWS_ENDPOINT_URL_EVENTBRIDGE",
    "secretsmanager": "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    "stepfunctions": "AWS_ENDPOINT_URL_SFN",
    "s3": "AWS_ENDPOINT_URL_S3",
    "lambda": "AWS_ENDPOINT_URL_LAMBDA",
}
SETTINGS: dict[str, dict[str, str]] = {
    "none": {},
    "one for all": {"AWS_ENDPOINT_URL": "https://all.example:8443"},
    "one each": {variable: f"https://{service}.example" for service, variable in OWN.items()},
    "one each and one for all": {
        "AWS_ENDPOINT_URL": "https://all.example", **{v: f"https://{s}.example" for s, v in OWN.items()},
    },
    "ignored": {"AWS_ENDPOINT_URL": "https://all.example", "AWS_ENDPOINT_URL_SQS": "https://sqs.example",
                "AWS_ENDPOINT_URL_S3": "https://s3.example", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
    "FIPS": {"AWS_USE_FIPS_ENDPOINT": "true"},
    "FIPS in capitals": {"AWS_USE_FIPS_ENDPOINT": "TRUE"},
    "neither": {"AWS_USE_FIPS_ENDPOINT": "false", "AWS_USE_DUALSTACK_ENDPOINT": "false"},
}  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("service", SERVICES)
def test_variables_have_the_same_meaning_as_in_the_sdk(
    service: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's own address takes precedence over the common one, and that over AWS's."""
    variables = SETTINGS[setting]
    client = AwsClient({**CREDENTIALS, "AWS_REGION": "us-west-2", **variables})
    found = client.place(SERVICES[service])

    assert found.url == by_boto3(service, "us-west-2", variables, monkeypatch)
    assert found.is_own is ("one" in setting.split() and setting != "none")


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://127.0.0.1:5000", "http://127.0.0.1:5000/verdicts/"),
     ("http://127.0.0.1:5000/", "http://127.0.0.1:5000/verdicts/"),
     ("", "https://verdicts.s3.us-west-2.amazonaws.com/")],
)  # fmt: skip
def test_a_bucket_is_in_the_path_of_a_custom_address(url: str, expected: str) -> None:
    """At S3 itself, the bucket is part of the host name."""
    client = AwsClient({**CREDENTIALS, "AWS_REGION": "us-west-2", "AWS_ENDPOINT_URL": url})
    assert address(BUCKET, client.place(WRITES)) == expected


def test_each_service_has_its_own_variable() -> None:
    protocols: list[Protocol] = list(SERVICES.values())
    assert {protocol.variable for protocol in protocols} == set(OWN.values())

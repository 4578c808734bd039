"""Our own rules: the template works in each partition, names do not collide, and the region offers the resources.

A rule takes a resolved template and its place, and returns findings.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tools.validation.findings import Finding
from tools.validation.template import Json, Place

SERVICE_PRINCIPAL = re.compile(r"[a-z0-9-]+\.amazonaws\.com")
"""Service principals, which are the same in every partition for the services that are used here."""

NAMED_IN_ITS_PARENT = {"AWS::Lambda::Alias"}
"""Types whose names need not be unique among stacks."""

GLOBAL = {"AWS::IAM::Role", "AWS::IAM::ManagedPolicy", "AWS::IAM::User", "AWS::IAM::Group", "AWS::S3::Bucket"}
"""Types whose names have to be unique in all regions."""

LACKING: dict[str, frozenset[str]] = {
    "AWS::Lambda::Url": frozenset({
        "ap-south-2", "ap-southeast-4", "ap-southeast-5", "ap-southeast-6", "ap-southeast-7", "ap-east-2", "ca-west-1",
        "eu-south-2", "eu-central-2", "il-central-1", "me-central-1", "us-gov-east-1", "us-gov-west-1",
    })
}  # fmt: skip
"""Resource types that a region does not offer, although they may be registered there. Sources:
https://docs.aws.amazon.com/lambda/latest/dg/urls-configuration.html,
https://docs.aws.amazon.com/govcloud-us/latest/UserGuide/govcloud-lambda.html."""


def texts(item: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a value, keys included, with its path."""
    match item:
        case str():
            yield where, item
        case dict():
            for key, inner in item.items():
                yield where, str(key)
                yield from texts(inner, f"{where}/{key}" if where else str(key))
        case list():
            for number, inner in enumerate(item):
                yield from texts(inner, f"{where}/{number}")


def partition(template: Json, place: Place) -> Iterator[Finding]:
    """ARNs, endpoints and links that work in another partition only."""
    for section in ("Resources", "Outputs"):
        for where, text in texts(template.get(section, {}), section):
            for arn in re.findall(r"\barn:(aws[a-z-]*):", text):
                if arn != place.partition:
                    yield Finding("partition", where, f'"arn:{arn}:" does not exist in partition {place.partition}')
            for found in re.finditer(r"[\w.{}$:-]*\bamazonaws\.com(\.cn)?\b", text):
                written = found[0]
                endpoint = not SERVICE_PRINCIPAL.fullmatch(text) and not written.endswith(place.suffix)
                if endpoint or (written.endswith(".cn") and place.suffix != "amazonaws.com.cn"):
                    yield Finding("partition", where, f'"{written}": endpoints end with {place.suffix} there')
            if "console.aws.amazon.com" in text and place.console not in text:
                yield Finding("partition", where, f"the console is at {place.console} there")


def names(template: Json, _: Place) -> Iterator[Finding]:
    """Physical names that would collide in two stacks or two regions."""
    for name, resource in template["Resources"].items():
        type_ = resource["Type"]
        if type_ in NAMED_IN_ITS_PARENT:
            continue
        properties, noun = resource.get("Properties", {}), type_.rpartition("::")[2]
        for key in {"Name", f"{noun}Name"} & properties.keys():
            for wanted in ["AWS::StackName", *(["AWS::Region"] if type_ in GLOBAL else [])]:
                if wanted not in json.dumps(properties[key]):
                    where = f"Resources/{name}/Properties/{key}"
                    yield Finding("name", where, f"a physical name without {wanted} collides with another stack's")


def regions(template: Json, place: Place) -> Iterator[Finding]:
    """Resources that the region does not offer."""
    for name, resource in template["Resources"].items():
        if place.region in LACKING.get(resource["Type"], ()):
            yield Finding("region", f"Resources/{name}", f"{resource['Type']} is not offered in '{place.region}'")


RULES: tuple[Callable[[Json, Place], Iterator[Finding]], ...] = (partition, names, regions)

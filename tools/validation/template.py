"""Reads a template as plain values, and lists the regions to validate it for."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cfnlint.decode.decode import decode_str

ROOT = Path(__file__).parents[2]

Json = dict[str, Any]
Values = dict[str, str]
"""Parameters by name. As in CloudFormation, every value is text."""

ACCOUNT = "123456789012"


@dataclass(frozen=True, slots=True)
class Place:
    region: str
    partition: str
    suffix: str
    """The domain of AWS's endpoints there (AWS::URLSuffix)."""
    console: str
    """The domain of AWS's console there."""

    @property
    def pseudo(self) -> Values:
        """The pseudo parameters that depend on the place alone."""
        named = {"Region": self.region, "Partition": self.partition, "URLSuffix": self.suffix}
        return {f"AWS::{name}": value for name, value in named.items()}


_AWS = ("aws", "amazonaws.com", "console.aws.amazon.com")

PLACES = (
    Place("eu-central-1", *_AWS),
    Place("us-east-1", *_AWS),
    Place("eu-south-2", *_AWS),
    Place("cn-north-1", "aws-cn", "amazonaws.com.cn", "console.amazonaws.cn"),
    Place("us-gov-west-1", "aws-us-gov", "amazonaws.com", "console.amazonaws-us-gov.com"),
    Place("us-iso-east-1", "aws-iso", "c2s.ic.gov", "console.c2shome.ic.gov"),
    Place("us-isob-east-1", "aws-iso-b", "sc2s.sgov.gov", "console.sc2shome.sgov.gov"),
)
"""Partitions and suffixes are from botocore's endpoints.json. cfn-lint's schemas of the ISO regions list the same
types as us-east-1, so types that are missing there are not found."""


def read(text: str) -> Json:
    """A template with the long forms of its functions. Raises ValueError if it cannot be read."""
    template, errors = decode_str(text)
    if errors or template is None:
        raise ValueError("; ".join(str(error.message) for error in errors) or "the template is empty")
    return dict(json.loads(json.dumps(template)))

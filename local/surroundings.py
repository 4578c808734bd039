"""What of a caller's environment the local stack must not see: an AWS of theirs, and proxies on the way to itself."""

from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Where moto, the simulated cloud and the webhook listen."""


def without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """All but what leads boto3, botocore and our own client to somebody's account."""
    return {name: value for name, value in environment.items() if not name.startswith("AWS_") and name != "BOTO_CONFIG"}


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables, in both spellings, by which no proxy is asked for this machine; for others all is as it was."""
    told = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in told.split(",") if host.strip()]
    value = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
    return {"no_proxy": value, "NO_PROXY": value}

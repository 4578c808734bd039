"""Keeps the caller's AWS settings and proxies away from the local stack."""

from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""The addresses of moto, the simulated cloud and the webhook."""


def without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the variables that lead an AWS client to the caller's account."""
    return {name: value for name, value in environment.items() if not name.startswith("AWS_") and name != "BOTO_CONFIG"}


def past_proxies(environment: Mapping[str, str]) -> dict[str, str]:
    """`no_proxy` in both spellings, extended by the loopback addresses."""
    told = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    hosts = [host.strip() for host in told.split(",") if host.strip()]
    value = "*" if "*" in hosts else ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
    return {"no_proxy": value, "NO_PROXY": value}

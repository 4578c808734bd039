"""Fixtures: a local AWS, the simulated cloud over both transports, and both together."""

import logging
import os
from collections.abc import Callable, Iterator

import pytest
import requests

from local.aws_stand_in import DEAD_LETTERS, REQUESTS, VERDICTS, AwsStandIn
from local.stack import Stack, running
from shared.aws.client import SQS
from shared.bootstrap.detach import service
from simulator import CloudServer
from tests.scripted import Script, scripted_server
from tests.stack import Site, in_process


@pytest.fixture(scope="session")
def aws_server() -> Iterator[AwsStandIn]:
    """One AWS for all tests: the stand-in keeps its state per process."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with AwsStandIn() as aws:
        yield aws


@pytest.fixture
def aws(aws_server: AwsStandIn, monkeypatch: pytest.MonkeyPatch) -> AwsStandIn:
    """AWS with empty queues."""
    monkeypatch.setenv("MOTO_SQS_ENFORCE_STRICT_QUEUE_PURGE_BEHAVIOUR", "false")
    for name in (REQUESTS, DEAD_LETTERS, VERDICTS):
        aws_server.client.call(SQS, "PurgeQueue", {"QueueUrl": aws_server.queue_urls[name]})
    return aws_server


@pytest.fixture
def function_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Set a function's variables as Lambda does, and rebuild its service from them."""

    def use(values: dict[str, str]) -> None:
        for name in [name for name in os.environ if name.startswith(("OS_", "AWS_"))]:
            monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        service.cache_clear()

    yield use
    service.cache_clear()


@pytest.fixture(params=["socket", "in process"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """The same cloud, over a socket and without one."""
    if request.param == "in process":
        yield Site(http=in_process, over_socket=False)
        return
    site = Site()
    with CloudServer(site.api, hold=0.02):
        yield site


@pytest.fixture
def script() -> Iterator[Script]:
    """A web server in place of AWS with scripted answers."""
    with scripted_server() as script:
        yield script


@pytest.fixture
def stack(aws_server: AwsStandIn) -> Iterator[Stack]:
    """Queue, function, simulated cloud and bus, as `make run` starts them."""
    endpoint = aws_server.environment["AWS_ENDPOINT_URL"]
    assert requests.post(f"{endpoint}/moto-api/reset", timeout=5).status_code == 200
    with running({}, keeps_verdicts=True) as stack:
        yield stack

"""Trace and correlation of a request are in all its events and log lines."""

import json
from typing import Any

import pytest

from simulator import Behaviour
from simulator.scenarios import scenario_cloud
from simulator.scenarios.stage import Stage
from tests.messages import TRACE
from tests.stack import Stack

SETTINGS = {"CONFIRM_TIMEOUT": "60", "WATCH_TIMEOUT": "600", "REQUEST_TTL": "1800"}
LATE = Behaviour(stuck=True, stuck_seconds=120)


def played(envelope: dict[str, Any], **data: Any) -> Stack:
    simulation = Stack(scenario_cloud, SETTINGS)
    stage = Stage(simulation.cloud, "traced")
    server = stage.server()
    stage.request(server, stage.disk(server, behaviour=LATE), envelope=envelope, **data)
    simulation.queue.put(stage.bodies()[0])
    simulation.run()
    return simulation


@pytest.mark.parametrize("data", [{}, {"dry_run": True}, {"dry_rum": True}], ids=["late", "dry run", "invalid"])
def test_every_verdict_carries_the_flow(data: dict[str, Any]) -> None:
    """Every verdict of a valid or invalid request has them, also after continuations."""
    envelope = {"traceparent": TRACE, "tracestate": "a=b", "correlationid": "CHG-1"}
    events = played(envelope, **data).bus.events
    assert events
    for event in events:
        assert (TRACE, "a=b", "CHG-1") == (event["traceparent"], event["tracestate"], event["correlationid"])


def test_every_line_carries_the_flow() -> None:
    """Every log line about a look or a verdict has the trace and the correlation."""
    lines = [json.loads(line) for line in played({"traceparent": TRACE, "correlationid": "CHG-1"}).logs]
    assert {"request stepped", "event delivered"} <= {line["message"] for line in lines}
    assert {(TRACE, "CHG-1")} == {(line.get("traceparent"), line.get("correlation_id")) for line in lines}


def test_without_a_correlation_the_request_is_one() -> None:
    """The request's id is the default correlation; there is no default trace."""
    simulation = played({})
    assert {"traced-1"} == {event["correlationid"] for event in simulation.bus.events}
    assert {"traced-1"} == {json.loads(line)["correlation_id"] for line in simulation.logs}
    assert not any("traceparent" in event for event in simulation.bus.events)


def test_each_verdict_names_what_caused_it() -> None:
    """The cause of `unconfirmed` is the request, and that of the final verdict is `unconfirmed`."""
    first, final = played({}).bus.events
    assert ("traced-1", first["id"]) == (first["causationid"], final["causationid"])

"""`make status`: the course of a request as its log tells it, with every look, wait and call."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber  # type: ignore[import-untyped]

from simulator import Behaviour, bodies, faults
from tests.messages import START
from tests.simulation.stories import BY_NAME, SETTINGS, Story, one
from tools.deployed import MOST_LINES, Log
from tools.exit_status import Exit
from tools.status import as_text, of_request, show

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@dataclass
class FakeLog:
    """A log of so many lines; it keeps what was asked for."""

    found: list[dict[str, Any]]
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    def lines(self, text: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        self.asked.append((text, since, until))
        return [line for line in self.found if text in json.dumps(line)]


def played(story: Story, dry: bool = False) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """The first request of a story, and the lines that the functions log of it."""
    simulation, stage = story.begin(dry=dry)
    simulation.run()
    return json.loads(stage.bodies()[0]), [json.loads(line) for line in simulation.logs]


def shown(story: Story, capsys: pytest.CaptureFixture[str], dry: bool = False) -> tuple[Exit, list[str]]:
    request, lines = played(story, dry)
    status = show(FakeLog(lines), request["id"], "", 3600, NOW)
    return status, capsys.readouterr().out.splitlines()


def test_a_detach_is_told_look_by_look(capsys: pytest.CaptureFixture[str]) -> None:
    """When, what both planes said, each call with its answer, how long it waited, and who got the verdict."""
    status, rows = shown(BY_NAME["detach"], capsys)
    text = "\n".join(rows)
    assert status is Exit.DETACHED
    assert rows[0].startswith("request ")
    assert "DELETE answered 202 req-" in text
    assert "listed by the server" in text
    assert "no longer listed by the server" in text
    assert "DETACHED · detached_now" in text
    for call in ("get_server 200", "list_attachments 200", "get_volume 200", "delete_attachment 202"):
        assert call in text
    assert "waits 1 s" in text
    assert "verdict delivered to bus" in text


@pytest.mark.parametrize(
    ("story", "status"),
    [
        (BY_NAME["unsafe"], Exit.FAILED),
        (BY_NAME["already-detached"], Exit.DETACHED),
        (Story("away", one(kind=faults.answer(bodies.html_error(503)))), Exit.DETACHED),
        (Story("refused", one(Behaviour(seconds=3, refuse=True))), Exit.FAILED),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_final_verdict_is_the_exit_status(story: Story, status: Exit, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(story, capsys)[0] is status


def test_a_request_that_is_not_over_is_open(capsys: pytest.CaptureFixture[str]) -> None:
    simulation, stage = Story("never", one(Behaviour(stuck=True)), settings=SETTINGS).begin()
    for _ in range(40):
        simulation.step()
    lines = [json.loads(line) for line in simulation.logs]
    status = show(FakeLog(lines), stage.requests[0]["id"], "", 3600, NOW)
    assert status is Exit.OPEN
    assert "no final verdict yet" in capsys.readouterr().out


def test_one_volume_of_several(capsys: pytest.CaptureFixture[str]) -> None:
    """Requests for other volumes, and other requests, are left out."""
    lines = [
        {"timestamp": START.isoformat(), "message": "request stepped", "request_id": "4711", "volume_id": volume,
         "volume_status": "in-use", "decision": "wait", "seconds": 1, "why": "x"} for volume in ("a", "b")
    ]  # fmt: skip
    other = lines[0] | {"request_id": "47110", "volume_id": "c"}
    assert show(FakeLog([*lines, other]), "4711", "b", 3600, NOW) is Exit.OPEN
    text = capsys.readouterr().out
    assert "volume b" in text
    assert "volume a" not in text
    assert "volume c" not in text


def test_the_webhooks_answer_is_part_of_it() -> None:
    line = {"timestamp": START.isoformat(), "message": "webhook answered", "http_status": 202,
            "requests": ["/changes 4711 a"]}  # fmt: skip
    (steps,) = of_request([line], "4711").values()
    assert list(as_text(steps)) == [f"  {START:%H:%M:%S}      +0.0 s  webhook answered 202"]
    assert of_request([line], "471") == {}


def test_a_request_that_the_log_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    log = FakeLog([])
    assert show(log, "4711", "", 7200, NOW) is Exit.USAGE
    assert log.asked == [("4711", NOW - timedelta(hours=2), NOW)]
    assert capsys.readouterr().err == (
        "The log of the last 2 h knows nothing of request 4711: check the id, or look further back with SINCE=7d.\n"
    )


def test_with_json_the_lines_themselves_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    request, lines = played(BY_NAME["detach"])
    show(FakeLog(lines), request["id"], "", 3600, NOW, as_json=True)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert printed == [line for line in lines if line.get("request_id") == request["id"]]


# ---------------------------------------------------------------------------------------------- Logs Insights


def test_the_log_is_searched_by_insights() -> None:
    """The query is one that CloudWatch takes, as far as botocore's model of it says; it is waited for."""
    logs = boto3.client("logs", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    line = {"message": "request stepped", "timestamp": "2026-11-23T08:00:00Z"}
    rows = [
        [{"field": "@timestamp", "value": "x"}, {"field": "@message", "value": json.dumps(line)}],
        [{"field": "@message", "value": "REPORT RequestId: x"}],
    ]
    paused: list[float] = []
    with Stubber(logs) as stub:
        query = 'fields @timestamp, @message | filter strcontains(@message, "47\\"11") | sort @timestamp asc'
        asked = {"logGroupNames": ["a", "b"], "startTime": int(START.timestamp()), "endTime": int(NOW.timestamp()) + 1,
                 "queryString": query, "limit": MOST_LINES}  # fmt: skip
        stub.add_response("start_query", {"queryId": "q-1"}, asked)
        stub.add_response("get_query_results", {"status": "Running", "results": []}, {"queryId": "q-1"})
        stub.add_response("get_query_results", {"status": "Complete", "results": rows}, {"queryId": "q-1"})
        assert Log(logs, ("a", "b"), paused.append).lines('47"11', START, NOW) == [line]
        stub.assert_no_pending_responses()
    assert paused == [1]


def test_a_query_that_fails_is_said() -> None:
    logs = boto3.client("logs", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(logs) as stub:
        stub.add_response("start_query", {"queryId": "q-1"})
        stub.add_response("get_query_results", {"status": "Failed", "results": []})
        with pytest.raises(TimeoutError, match="did not finish the query"):
            Log(logs, ("a",)).lines("x", START, NOW)

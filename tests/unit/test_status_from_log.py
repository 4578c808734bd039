"""`make status`: the history of a request from its log, with every look, wait and call."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber  # type: ignore[import-untyped]

from simulator import Behaviour, bodies, faults
from tests.messages import START
from tests.simulation.stories import BY_NAME, SETTINGS, Story, one
from tools.deployed import MOST_LINES, Log
from tools.exit_status import Exit
from tools.status import FileLog, is_about, show

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)


@dataclass
class FakeLog:
    """A log of so many lines; it keeps what was asked for."""

    found: list[dict[str, Any]]
    asked: list[tuple[str, datetime, datetime]] = field(default_factory=list)

    def lines(self, request_id: str, since: datetime, until: datetime) -> list[dict[str, Any]]:
        self.asked.append((request_id, since, until))
        return [line for line in self.found if is_about(line, request_id)]


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
    assert "not listed by the server" in text
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


def line_of(message: str, **fields: Any) -> dict[str, Any]:
    return {"timestamp": START.isoformat(), "message": message, "request_id": "4711", "request_source": "/a", **fields}


def test_a_volume_that_the_request_does_not_name(capsys: pytest.CaptureFixture[str]) -> None:
    log = FakeLog([line_of("request stepped", volume_id="a", decision="wait")])
    assert show(log, "4711", "db-01-data", 3600, NOW) is Exit.USAGE
    assert capsys.readouterr().err.endswith("has nothing about volume db-01-data of request 4711; it names a.\n")


def test_two_senders_with_one_id_are_two_requests(capsys: pytest.CaptureFixture[str]) -> None:
    """One failure is a failure."""
    ends = {"volume_id": "a", "decision": "conclude", "detail": "x"}
    log = FakeLog([
        line_of("request stepped", outcome="failed", **ends),
        line_of("request stepped", request_source="/b", outcome="detached", **ends),
    ])  # fmt: skip
    assert show(log, "4711", "", 3600, NOW) is Exit.FAILED
    text = capsys.readouterr().out
    assert "4711 of /a" in text
    assert "4711 of /b" in text


def test_a_verdict_that_was_delivered_is_final(capsys: pytest.CaptureFixture[str]) -> None:
    """Invalid requests and dead letters have no look that concluded them."""
    delivered = line_of("event delivered", to="bus", event_type="bms.volume.detach_failed.v1", volume_id="a")
    assert show(FakeLog([line_of("request rejected", volume_id="a"), delivered]), "4711", "", 60, NOW) is Exit.FAILED
    assert "no final verdict yet" not in capsys.readouterr().out


def test_text_of_the_cloud_cannot_control_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    said = line_of("request stepped", volume_id="a", decision="wait", why="no \x1b]0;x\x07\nDETACHED")
    show(FakeLog([said]), "4711", "", 60, NOW)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert not any(line.startswith("DETACHED") for line in text.splitlines())


def test_the_webhooks_answer_is_part_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    line = {"timestamp": START.isoformat(), "message": "webhook answered", "http_status": 202,
            "requests": ["/changes 4711 a"]}  # fmt: skip
    assert show(FakeLog([line]), "4711", "", 60, NOW) is Exit.OPEN
    assert f"  {START:%H:%M:%S}      +0.0 s  webhook answered 202" in capsys.readouterr().out
    assert show(FakeLog([line]), "471", "", 60, NOW) is Exit.USAGE


def test_the_logs_of_stacks_on_this_machine_are_one(tmp_path: Path) -> None:
    """In the order of time, with what stands in a line whatever it is."""
    odd = line_of("request stepped", why="a\u2028b", request_id='4711"\\')
    for number, at in ((1, START + timedelta(seconds=1)), (2, START)):
        line = odd | {"timestamp": at.isoformat(), "number": number}
        (tmp_path / f"serve-{number}.log").write_text(f"REPORT\n{json.dumps(line, ensure_ascii=False)}\n")
    log = FileLog(tuple(sorted(tmp_path.glob("*.log"))))
    assert [line["number"] for line in log.lines('4711"\\', START, NOW)] == [2, 1]
    assert log.lines("4711", START, NOW) == []


def test_a_request_that_the_log_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    log = FakeLog([])
    assert show(log, "4711", "", 7200, NOW) is Exit.USAGE
    assert log.asked == [("4711", NOW - timedelta(hours=2), NOW)]
    assert capsys.readouterr().err == (
        "The log of the last 2 h has nothing about request 4711: check the id, or look further back (SINCE=7d).\n"
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
    line = {"message": "request stepped", "timestamp": "2026-11-23T08:00:00Z", "request_id": '47"11'}
    rows = [
        [{"field": "@timestamp", "value": "x"}, {"field": "@message", "value": json.dumps(line)}],
        [{"field": "@message", "value": "REPORT RequestId: x"}],
    ]
    paused: list[float] = []
    with Stubber(logs) as stub:
        query = (
            'fields @timestamp, @message | filter request_id = "47\\"11" or (message = "webhook answered" and '
            'strcontains(@message, "47\\\\\\"11")) | sort @timestamp asc'
        )
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

"""The local server's API for the page of `make serve`: servers, requests, events, and reset."""

import http.client
import json
import logging
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from local.aws_stand_in import AwsStandIn
from local.cloud_controls import CloudControls
from local.demo import FREE_VOLUME, SERVER, STOPPED_SERVER, STOPPED_VOLUME, VOLUME, WINDOWS_VOLUME, demo_cloud
from local.function_url import Asked
from local.live import KEPT, Live
from local.site import FILES, OWN_HEADER, Site
from shared.policy import Policy, RunningServerPolicy
from tests.local_page import OWN, Served, served
from tools.sender import LOCAL_SECRET


@pytest.fixture(scope="module")
def page(aws_server: AwsStandIn) -> Iterator[Served]:
    with served(aws_server) as page:
        yield page


@pytest.fixture(autouse=True)
def _as_at_the_start(request: pytest.FixtureRequest) -> None:
    if "page" in request.fixturenames:
        assert request.getfixturevalue("page").post("reset").status_code == 200


def events_of(page: Served) -> Iterator[tuple[str, Any]]:
    """The name and data of each server-sent event, until none arrives for ten seconds."""
    name = ""
    with requests.get(page.url("events"), stream=True, timeout=10) as stream:
        assert stream.headers["Content-Type"] == "text/event-stream"
        for line in stream.iter_lines(chunk_size=1, decode_unicode=True):
            kind, _, value = line.partition(": ")
            if kind == "event":
                name = value
            elif kind == "data":
                yield name, json.loads(value)


def course_of(page: Served, id_: str) -> list[dict[str, Any]]:
    """The stream's events of a request, up to its final verdict."""
    events = []
    for name, data in events_of(page):
        if name == "request" and data["name"] == id_:
            events.append(data)
            if data["verdicts"]:
                return events
    raise AssertionError("the stream ended without a verdict")


def body_for(
    server_id: str = SERVER, volume_id: str = VOLUME, scenario: str = "ordinary", **data: bool
) -> dict[str, Any]:
    return {"scenario": scenario, "data": {"server_id": server_id, "volume_id": volume_id, **data}}


# ------------------------------------------------------------------------------------------------ servers and events


def test_the_servers_and_what_would_be_refused(page: Served) -> None:
    """The page gets each disk's name, size, device and status, and the gates' refusal with its reason."""
    disks = page.disks()
    assert {disks[VOLUME][name] for name in ("name", "size", "device", "status")} == {
        "db-01-data", 10, "/dev/sdb", "in-use"}  # fmt: skip
    assert "refused" not in disks[VOLUME]
    system = next(disk for disk in disks.values() if disk["name"] == "db-01-system")
    assert (system["refused"], "is the system disk" in system["why"]) == ("system_disk", True)
    assert disks[WINDOWS_VOLUME]["attest"] is True
    free = requests.get(page.url("servers"), timeout=10).json()["free"]
    assert [disk["volume_id"] for disk in free] == [FREE_VOLUME]


def test_the_stream_has_the_looks_and_the_verdict(page: Served) -> None:
    """The stream has each look at both planes, the DELETE with its answer, and the verdict of the bus."""
    answer = page.post("requests", body_for()).json()
    assert answer["status"] == 202
    course = course_of(page, answer["id"])[-1]
    looks = [(step.get("listed_by_server"), step.get("volume_status"), step["delete"]) for step in course["steps"]]
    assert looks[0] == (True, "in-use", "202")
    assert looks[-1] == (False, "available", None)
    verdict = course["verdicts"][0]["event"]
    assert (verdict["data"]["detail"], verdict["id"]) == (
        "detached_now", answer["answer"]["requests"][0]["verdict_id"])  # fmt: skip
    assert VOLUME not in page.disks()


def test_later_subscribers_get_the_earlier_requests(page: Served) -> None:
    """A stream begins with the stored requests, followed by `ready`."""
    id_ = page.post("requests", body_for(dry_run=True)).json()["id"]
    course_of(page, id_)
    for name, data in events_of(page):
        if name == "ready":
            assert id_ in data["names"]
            return


@pytest.mark.parametrize(
    ("scenario", "detail"), [("moves", "detached_now"), ("refuses", "refused_by_server"), ("away", "detached_now")]
)
def test_a_scenario_has_its_expected_verdict(page: Served, scenario: str, detail: str) -> None:
    """The scenarios are a moving server, a refusing server, and a cloud that does not answer."""
    id_ = page.post("requests", body_for(STOPPED_SERVER, STOPPED_VOLUME, scenario)).json()["id"]
    course = course_of(page, id_)[-1]
    assert course["verdicts"][0]["event"]["data"]["detail"] == detail
    if scenario == "away":
        assert "volume_status" not in course["steps"][0]


def test_an_unreachable_cloud_is_reported(page: Served) -> None:
    """The list of servers has the reason, and a reset ends the outage."""
    page.post("requests", body_for(scenario="away"))
    assert "does not answer" in requests.get(page.url("servers"), timeout=10).json()["away"]
    page.post("reset")
    assert VOLUME in page.disks()


def test_a_reset_attaches_everything_again(page: Served) -> None:
    """After a reset, a detached disk is attached, and can be detached again."""
    for _ in range(2):
        id_ = page.post("requests", body_for()).json()["id"]
        assert course_of(page, id_)[-1]["verdicts"][0]["event"]["data"]["detail"] == "detached_now"
        page.post("reset")
        assert page.disks()[VOLUME]["status"] == "in-use"


def test_a_refusal_by_the_webhook_is_passed_on(page: Served) -> None:
    """The page gets the endpoint's answer."""
    answer = page.post("requests", body_for(volume_id="no-such-form")).json()
    assert answer["status"] == 422
    assert answer["answer"]["errors"]


# ------------------------------------------------------------------------------------------------------ allowed callers


@pytest.mark.parametrize("name", ["requests", "reset"])
def test_a_foreign_page_is_refused(page: Served, name: str) -> None:
    """A POST with another origin, or without the page's own header, is refused without an effect."""
    for headers in ({**OWN, "Origin": "https://evil.example"}, {**OWN, "Origin": "null"}, {}):
        answer = requests.post(page.url(name), json=body_for(), headers=headers, timeout=10)
        assert answer.status_code == 403
    assert page.disks()[VOLUME]["status"] == "in-use"
    assert requests.options(page.url(name), timeout=10).headers.keys().isdisjoint({"Access-Control-Allow-Origin"})


@pytest.mark.parametrize("name", ["servers", "events"])
def test_another_name_of_this_machine_is_refused(page: Served, name: str) -> None:
    """Another host name is refused, since a foreign page could use DNS rebinding."""
    assert requests.get(page.url(name), headers={"Host": "evil.example"}, timeout=10).status_code == 403


def test_localhost_is_accepted(page: Served) -> None:
    port = urlsplit(page.stack.webhook_url).port
    host = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    assert page.post("reset", **host).status_code == 200


def test_invalid_requests_of_the_page(page: Served) -> None:
    """An unknown path is 404, a wrong method 405, and an invalid body 400."""
    assert requests.get(page.url("nothing"), timeout=10).status_code == 404
    assert requests.get(page.url("reset"), timeout=10).status_code == 405
    bodies: list[object] = [{}, [], {"scenario": "x", "data": {}}, {"scenario": "ordinary", "data": {"server_id": 1}}]
    for body in bodies:
        assert page.post("requests", body).status_code == 400
    assert requests.post(page.url("requests"), data=b"{", headers=OWN, timeout=10).status_code == 400


def test_no_page_contains_the_secret(page: Served) -> None:
    """The local server signs requests, so neither pages nor scripts need the secret."""
    for shown in page.site.pages().values():
        assert LOCAL_SECRET not in shown.body


def test_the_content_security_policy_is_strict(page: Served) -> None:
    """The pages have no inline scripts, styles or handlers, and load nothing from other hosts."""
    answer = requests.get(page.stack.webhook_url, timeout=10)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';")
    assert "unsafe" not in policy
    for file in FILES.glob("*.html"):
        assert re.findall(r"\son\w+=|\sstyle=|<style|<script>|//", file.read_text()) == [], file.name


def test_a_disconnected_client_affects_no_other(page: Served) -> None:
    """After a client disconnects, others are still served."""
    connection = http.client.HTTPConnection(urlsplit(page.stack.webhook_url).netloc, timeout=10)
    connection.request("GET", "/_demo/events")
    assert connection.getresponse().status == 200
    connection.close()
    assert page.post("reset").status_code == 200


def test_the_page_cannot_change_a_real_cloud() -> None:
    """With a real cloud, the page has no form, and its requests are refused."""
    site = Site(real_cloud=True)
    index = site.pages()["/"].body
    assert "for the simulated cloud" in index
    assert "<form" not in index
    assert 'id="list"' in index
    assert 'id="operation-requestDetach"' in index
    headers = Message()
    headers["Host"], headers[OWN_HEADER] = "127.0.0.1:8080", "page"
    for name in ("requests", "reset"):
        answer = site.answer(Asked("POST", f"/_demo/{name}", headers, json.dumps(body_for()).encode()))
        assert answer
        assert answer.status == 409
    servers = site.answer(Asked("GET", "/_demo/servers", headers, b""))
    assert servers
    assert servers.body == '{"simulated": false}'


def test_the_page_uses_the_operators_policy(page: Served) -> None:
    """With `stopped_only`, the page shows that disks of a running server are refused."""
    assert page.stack.cloud
    strict = CloudControls(page.stack.cloud, Policy(running_server_policy=RunningServerPolicy.STOPPED_ONLY)).inventory()
    disks = {disk["volume_id"]: disk for server in strict["servers"] for disk in server["disks"]}
    assert disks[VOLUME]["refused"] == "server_running"
    assert "refused" not in disks[STOPPED_VOLUME]


# ---------------------------------------------------------------------------------------------- stored requests


def line(message: str, id_: str = "4711", **fields: object) -> logging.LogRecord:
    about = {"request_source": "/changes", "request_id": id_, "server_id": SERVER, "volume_id": VOLUME}
    return logging.makeLogRecord({"msg": message, "levelno": logging.INFO, **about, **fields})


def kept(live: Live) -> list[dict[str, Any]]:
    """The stored requests with which a new stream begins."""
    requests_ = []
    with closing(live.stream()) as stream:
        for event in stream:
            name, data = (part.partition(": ")[2] for part in event.strip().split("\n"))
            if name == "ready":
                break
            requests_.append(json.loads(data))
    return requests_


def test_a_repeated_request_is_shown_separately() -> None:
    """A copy after the verdict is another entry with its own link."""
    live = Live()
    live.emit(line("request stepped", decision="conclude", detail="detached_now"))
    live.emit(line("request stepped", decision="wait", why="w", seconds=1))
    live.emit(line("request stepped", decision="conclude", detail="already_detached"))
    assert [(found["name"], len(found["steps"])) for found in kept(live)] == [("4711", 1), ("4711~2", 2)]


def test_a_failed_look_is_shown() -> None:
    live = Live()
    live.emit(line("look failed", failures=1))
    assert kept(live)[0]["steps"][0]["decision"] == "failed"


def test_the_oldest_requests_are_dropped() -> None:
    """The number of stored requests is limited."""
    live = Live()
    for number in range(KEPT + 5):
        live.emit(line("request stepped", str(number), decision="wait", why="w", seconds=1))
    assert [found["name"] for found in kept(live)] == [str(number) for number in range(5, KEPT + 5)]


def test_a_verdict_without_a_look_is_kept_once() -> None:
    """An invalid request has no look and no volume; an event that arrives twice is stored once."""
    live = Live()
    event = {
        "id": "e",
        "data": {"verdict": "failed", "detail": "invalid_request", "request": {"id": "m", "source": "s"}},
    }
    live.verdict(event)
    live.verdict(event)
    assert [(found["name"], len(found["verdicts"])) for found in kept(live)] == [("m", 1)]


def test_a_refusing_disk_is_restored_afterwards() -> None:
    """The scenario `refuses` restores the disk's behaviour, even if it is chosen twice."""
    now = [datetime(2026, 11, 23, 8, tzinfo=UTC)]
    cloud = demo_cloud(lambda: now[0])
    usual, controls = cloud.world.volumes[VOLUME].behaviour, CloudControls(cloud, Policy())
    for _ in range(2):
        controls.arrange("refuses", SERVER, VOLUME)
        assert cloud.world.volumes[VOLUME].behaviour.refuse
        now[0] += timedelta(seconds=1)
    now[0] += timedelta(minutes=1)
    cloud.world.advance()
    assert cloud.world.volumes[VOLUME].behaviour == usual

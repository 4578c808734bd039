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
    """Name and data of the server-sent events, until nothing comes for ten seconds."""
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
    told = []
    for name, data in events_of(page):
        if name == "request" and data["name"] == id_:
            told.append(data)
            if data["verdicts"]:
                return told
    raise AssertionError("the stream has ended")


def wish(server_id: str = SERVER, volume_id: str = VOLUME, scenario: str = "ordinary", **data: bool) -> dict[str, Any]:
    return {"scenario": scenario, "data": {"server_id": server_id, "volume_id": volume_id, **data}}


# ----------------------------------------------------------------------------------------------------- what is shown


def test_the_servers_and_what_would_be_refused(page: Served) -> None:
    """Names, sizes, devices and states; what the gates say of each disk, with the reason."""
    disks = page.disks()
    assert {disks[VOLUME][name] for name in ("name", "size", "device", "status")} == {
        "db-01-data", 10, "/dev/sdb", "in-use"}  # fmt: skip
    assert "refused" not in disks[VOLUME]
    system = next(disk for disk in disks.values() if disk["name"] == "db-01-system")
    assert (system["refused"], "is the system disk" in system["why"]) == ("system_disk", True)
    assert disks[WINDOWS_VOLUME]["attest"] is True
    free = requests.get(page.url("servers"), timeout=10).json()["free"]
    assert [disk["volume_id"] for disk in free] == [FREE_VOLUME]


def test_the_stream_tells_the_course_and_the_verdict(page: Served) -> None:
    """Each look with what both planes said, the DELETE with its answer, and the verdict as it came off the bus."""
    answer = page.post("requests", wish()).json()
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
    """A stream begins with the requests that are kept, and then says that these were all."""
    id_ = page.post("requests", wish(dry_run=True)).json()["id"]
    course_of(page, id_)
    for name, data in events_of(page):
        if name == "ready":
            assert id_ in data["names"]
            return


@pytest.mark.parametrize(
    ("scenario", "detail"), [("moves", "detached_now"), ("refuses", "refused_by_server"), ("away", "detached_now")]
)
def test_a_scenario_ends_as_it_says(page: Served, scenario: str, detail: str) -> None:
    """The request meets a server that moves, one that refuses, or a cloud that is away."""
    id_ = page.post("requests", wish(STOPPED_SERVER, STOPPED_VOLUME, scenario)).json()["id"]
    course = course_of(page, id_)[-1]
    assert course["verdicts"][0]["event"]["data"]["detail"] == detail
    if scenario == "away":
        assert "volume_status" not in course["steps"][0]


def test_a_cloud_that_is_away_is_said(page: Served) -> None:
    """The list of servers says why it cannot be read; a reset brings the cloud back."""
    page.post("requests", wish(scenario="away"))
    assert "does not answer" in requests.get(page.url("servers"), timeout=10).json()["away"]
    page.post("reset")
    assert VOLUME in page.disks()


def test_a_reset_attaches_everything_again(page: Served) -> None:
    """What was detached is there again, and can be detached again at once."""
    for _ in range(2):
        id_ = page.post("requests", wish()).json()["id"]
        assert course_of(page, id_)[-1]["verdicts"][0]["event"]["data"]["detail"] == "detached_now"
        page.post("reset")
        assert page.disks()[VOLUME]["status"] == "in-use"


def test_the_webhooks_no_is_passed_on(page: Served) -> None:
    """The page gets the endpoint's answer."""
    answer = page.post("requests", wish(volume_id="no-such-form")).json()
    assert answer["status"] == 422
    assert answer["answer"]["errors"]


# ------------------------------------------------------------------------------------------------------ who is heard


@pytest.mark.parametrize("name", ["requests", "reset"])
def test_a_foreign_page_is_refused(page: Served, name: str) -> None:
    """Neither with another origin, nor without the header that a foreign page cannot send; nothing happens."""
    for headers in ({**OWN, "Origin": "https://evil.example"}, {**OWN, "Origin": "null"}, {}):
        answer = requests.post(page.url(name), json=wish(), headers=headers, timeout=10)
        assert answer.status_code == 403
    assert page.disks()[VOLUME]["status"] == "in-use"
    assert requests.options(page.url(name), timeout=10).headers.keys().isdisjoint({"Access-Control-Allow-Origin"})


@pytest.mark.parametrize("name", ["servers", "events"])
def test_another_name_of_this_machine_is_refused(page: Served, name: str) -> None:
    """Somebody else's DNS may lead here, with a page of theirs (DNS rebinding)."""
    assert requests.get(page.url(name), headers={"Host": "evil.example"}, timeout=10).status_code == 403


def test_localhost_is_a_name_too(page: Served) -> None:
    port = urlsplit(page.stack.webhook_url).port
    host = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    assert page.post("reset", **host).status_code == 200


def test_what_is_not_there(page: Served) -> None:
    """An unknown path is 404, a wrong method 405, a body that is no request 400; the function is not asked."""
    assert requests.get(page.url("nothing"), timeout=10).status_code == 404
    assert requests.get(page.url("reset"), timeout=10).status_code == 405
    bodies: list[object] = [{}, [], {"scenario": "x", "data": {}}, {"scenario": "ordinary", "data": {"server_id": 1}}]
    for body in bodies:
        assert page.post("requests", body).status_code == 400
    assert requests.post(page.url("requests"), data=b"{", headers=OWN, timeout=10).status_code == 400


def test_no_page_holds_the_secret(page: Served) -> None:
    """The local server signs; the secret is in no page and no script."""
    for shown in page.site.pages().values():
        assert LOCAL_SECRET not in shown.body


def test_the_policy_lets_nothing_in(page: Served) -> None:
    """No inline script, no inline style, no handler in an attribute, nothing from elsewhere."""
    answer = requests.get(page.stack.webhook_url, timeout=10)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';")
    assert "unsafe" not in policy
    for file in FILES.glob("*.html"):
        assert re.findall(r"\son\w+=|\sstyle=|<style|<script>|//", file.read_text()) == [], file.name


def test_a_client_that_hangs_up_is_forgotten(page: Served) -> None:
    """Its stream ends with the next event, and others are served."""
    connection = http.client.HTTPConnection(urlsplit(page.stack.webhook_url).netloc, timeout=10)
    connection.request("GET", "/_demo/events")
    assert connection.getresponse().status == 200
    connection.close()
    assert page.post("reset").status_code == 200


def test_a_real_cloud_gets_nothing_from_the_page() -> None:
    """The page says so, has no form, and what it could ask for is refused."""
    site = Site(real_cloud=True)
    index = site.pages()["/"].body
    assert "for the simulated cloud" in index
    assert "<form" not in index
    assert 'id="list"' in index
    assert 'id="operation-requestDetach"' in index
    headers = Message()
    headers["Host"], headers[OWN_HEADER] = "127.0.0.1:8080", "page"
    for name in ("requests", "reset"):
        answer = site.answer(Asked("POST", f"/_demo/{name}", headers, json.dumps(wish()).encode()))
        assert answer
        assert answer.status == 409
    servers = site.answer(Asked("GET", "/_demo/servers", headers, b""))
    assert servers
    assert servers.body == '{"simulated": false}'


def test_the_gates_are_the_operators(page: Served) -> None:
    """With `stopped_only` a running server keeps its disks, and the page says so."""
    assert page.stack.cloud
    strict = CloudControls(page.stack.cloud, Policy(running_server_policy=RunningServerPolicy.STOPPED_ONLY)).inventory()
    disks = {disk["volume_id"]: disk for server in strict["servers"] for disk in server["disks"]}
    assert disks[VOLUME]["refused"] == "server_running"
    assert "refused" not in disks[STOPPED_VOLUME]


# --------------------------------------------------------------------------------------------- what is kept of it all


def line(message: str, id_: str = "4711", **fields: object) -> logging.LogRecord:
    about = {"request_source": "/changes", "request_id": id_, "server_id": SERVER, "volume_id": VOLUME}
    return logging.makeLogRecord({"msg": message, "levelno": logging.INFO, **about, **fields})


def kept(live: Live) -> list[dict[str, Any]]:
    """What a new stream begins with."""
    requests_ = []
    with closing(live.stream()) as stream:
        for event in stream:
            name, data = (part.partition(": ")[2] for part in event.strip().split("\n"))
            if name == "ready":
                break
            requests_.append(json.loads(data))
    return requests_


def test_the_same_request_again_is_another_course() -> None:
    """A copy that is looked at after the verdict does not go on where that one ended, and has a link of its own."""
    live = Live()
    live.emit(line("request stepped", decision="conclude", detail="detached_now"))
    live.emit(line("request stepped", decision="wait", why="w", seconds=1))
    live.emit(line("request stepped", decision="conclude", detail="already_detached"))
    assert [(found["name"], len(found["steps"])) for found in kept(live)] == [("4711", 1), ("4711~2", 2)]


def test_a_look_that_our_code_failed_on_is_shown() -> None:
    live = Live()
    live.emit(line("look failed", failures=1))
    assert kept(live)[0]["steps"][0]["decision"] == "failed"


def test_the_oldest_make_room() -> None:
    """The number of kept requests is limited."""
    live = Live()
    for number in range(KEPT + 5):
        live.emit(line("request stepped", str(number), decision="wait", why="w", seconds=1))
    assert [found["name"] for found in kept(live)] == [str(number) for number in range(5, KEPT + 5)]


def test_a_verdict_without_a_look_is_kept_once() -> None:
    """A request that was invalid has no look and no volume; an event that comes twice is one."""
    live = Live()
    event = {
        "id": "e",
        "data": {"verdict": "failed", "detail": "invalid_request", "request": {"id": "m", "source": "s"}},
    }
    live.verdict(event)
    live.verdict(event)
    assert [(found["name"], len(found["verdicts"])) for found in kept(live)] == [("m", 1)]


def test_a_disk_that_was_to_refuse_is_as_usual_afterwards() -> None:
    """Also if it was to refuse twice."""
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

"""`make detach`: its output and its exit status."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.messages import SERVER, VOLUME
from tools.detach import CHECK, Detach, Order, Target, seconds_of
from tools.exit_status import Exit
from tools.progress import STILL, Progress

ORDER = Order("db-01", "data")
TARGET = Target(SERVER, VOLUME, "db-01", "data")
IDLE = {"volume_status": "in-use", "listed_by_server": True, "attached_to": [SERVER]}
GONE = {"volume_status": "available", "listed_by_server": False, "attached_to": []}
WOULD = ("checked", "would_detach", IDLE)
REFUSAL = {"code": "attestation_required", "message": "It may be mounted.", "remedy": "Unmount it."}


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeService:
    """Answers each request with its next script: verdicts, looks, or an interruption."""

    progress: Progress
    clock: Clock
    scripts: Iterator[Sequence[Any]]
    prefix: str = "bms"
    asked: list[dict[str, Any]] = field(default_factory=list)
    _coming: list[Any] = field(default_factory=list)

    def ask(self, body: str) -> None:
        self.asked.append(json.loads(body))
        self._coming = list(next(self.scripts))

    def heard(self) -> list[Mapping[str, Any]]:
        self.clock.now += 1
        what = self._coming.pop(0) if self._coming else None
        if isinstance(what, type):
            raise what
        if isinstance(what, dict):
            self.progress.take({"request_id": self.asked[-1]["id"], **what}, "request stepped")
            return []
        return [event_of(self.asked[-1], *what)] if what else []


def event_of(request: Mapping[str, Any], verdict: str, detail: str, after: Any, reason: Any = None) -> dict[str, Any]:
    data = {
        "verdict": verdict,
        "detail": detail,
        "explanation": "all checks passed" if detail == "would_detach" else None,
        "reason": reason,
        "request": {"id": request["id"], "source": request["source"]},
        "evidence": {"after": after, "deletes_sent": 1, "polls": 3},
        "timing": {"seconds": 2.25},
    }
    return {"id": f"{verdict} of {request['id']}", "data": data}


Run = tuple[Exit, FakeService]
Play = Callable[..., Run]


@pytest.fixture
def play() -> Play:
    def run(
        *scripts: Iterable[Any], order: Order = ORDER, says: bool = True, as_json: bool = False, target: Target = TARGET
    ) -> Run:
        clock = Clock()
        progress = Progress(as_json, clock)
        service = FakeService(progress, clock, iter([list(script) for script in scripts]))
        detach = Detach(service, progress, order, target, lambda question: says, "by-hand-1")
        return detach.run(), service

    return run


def test_a_detach_is_checked_asked_about_and_followed_to_its_end(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    """The dry run comes first; each look is a line, and the verdict shows its evidence."""
    sent = {"volume_status": "in-use", "listed_by_server": True, "why": "accepted; the volume is in-use",
            "calls": ["get_server 200", "delete_attachment 202 req-1"], "deletes_sent": 1}  # fmt: skip
    status, service = play([WOULD], [sent, ("detached", "detached_now", GONE)])
    assert status is Exit.DETACHED
    assert [one["data"].get("dry_run", False) for one in service.asked] == [True, False]
    assert [one["id"] for one in service.asked] == ["by-hand-1-check", "by-hand-1"]
    assert capsys.readouterr().out.splitlines() == [
        "  check   would_detach: all checks passed",
        "    1.0s  volume in-use · listed by the server · DELETE answered 202 req-1 · the volume is in-use",
        "DETACHED · detached_now  data from db-01",
        "  compute does not list it; block storage: available, attached to no server",
        "  2.2 s, DELETEs sent: 1, looks: 3, event detached of by-hand-1",
    ]


def test_no_detach_is_requested_if_it_would_be_refused(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """The output has the reason, its remedy, and the option of this command."""
    status, service = play([("checked", "would_fail", IDLE, REFUSAL)])
    assert (status, len(service.asked)) == (Exit.FAILED, 1)
    assert capsys.readouterr().out.splitlines() == [
        "NOT DETACHED · attestation_required: the check failed, so no detach was requested  data from db-01",
        "  compute lists it; block storage: in-use, attached to db-01",
        "  2.2 s, DELETEs sent: 1, looks: 3, event checked of by-hand-1-check",
        "  It may be mounted.",
        "  → Unmount it.",
        "  → With this command: --unmounted (make: UNMOUNTED=1).",
    ]


@pytest.mark.parametrize(
    ("final", "status"),
    [
        (("detached", "already_detached", GONE), Exit.DETACHED),
        (("failed", "refused_by_server", IDLE, REFUSAL), Exit.FAILED),
        (("failed", "server_not_found", None, REFUSAL), Exit.FAILED),
    ],
)
def test_the_final_verdict_is_the_exit_status(final: tuple[Any, ...], status: Exit, play: Play) -> None:
    assert play([WOULD], [("unconfirmed", "still_watching", IDLE), final])[0] is status


@pytest.mark.parametrize(
    ("detail", "status"),
    [("would_detach", Exit.DETACHED), ("would_wait", Exit.OPEN), ("would_report_already_detached", Exit.DETACHED)],
)
def test_a_dry_run_ends_with_the_check(detail: str, status: Exit, play: Play) -> None:
    found, service = play([("checked", detail, IDLE)], order=Order("a", "b", dry=True))
    assert (found, len(service.asked)) == (status, 1)


def test_the_answer_no_requests_nothing(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    status, service = play([WOULD], says=False)
    assert (status, len(service.asked)) == (Exit.USAGE, 1)
    assert capsys.readouterr().out.endswith("No detach was requested.\n")


def test_without_a_final_verdict_in_time_it_is_open(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """An unconfirmed verdict is not final. The last look and the request are known."""
    looking = {"volume_status": "detaching", "why": "the volume is detaching", "deletes_sent": 1}
    status, service = play([WOULD], [looking, ("unconfirmed", "still_watching", IDLE)], order=Order("a", "b", wait=30))
    assert status is Exit.OPEN
    progress = service.progress
    assert (progress.asked, progress.final, progress.look.sent, progress.seconds) == ("by-hand-1", [], True, 30)
    assert "UNCONFIRMED" in capsys.readouterr().out


def test_no_detach_is_requested_if_the_check_has_no_verdict(play: Play) -> None:
    status, service = play([], [], [], [], [])
    assert status is Exit.OPEN
    assert {one["id"] for one in service.asked} == {"by-hand-1-check"}
    assert (service.progress.asked, service.progress.seconds) == (None, CHECK)


def test_a_check_whose_verdict_was_missed_is_sent_again(play: Play) -> None:
    """As the same request, so that it has the same verdict; the detach is requested once."""
    status, service = play([None] * 20, [WOULD], [None] * 60 + [("detached", "detached_now", GONE)])
    assert status is Exit.DETACHED
    assert [one["id"] for one in service.asked] == ["by-hand-1-check", "by-hand-1-check", "by-hand-1"]
    assert service.asked[0] == service.asked[1]


def test_only_the_attachment_that_was_shown_is_detached(play: Play) -> None:
    """A disk that is attached again while the user is asked stays attached."""
    wanted = replace(TARGET, attachment_id="259f4329-e6f4-490b-9a16-4106cf6a659e")
    _, service = play([WOULD], [("detached", "detached_now", GONE)], target=wanted)
    assert [one["data"]["attachment_id"] for one in service.asked] == [wanted.attachment_id] * 2


def test_a_final_verdict_stands_whatever_comes_with_it(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    """A queue does not keep the order: an unconfirmed verdict may arrive later."""
    status, service = play([WOULD], [("detached", "detached_now", GONE)])
    service.progress.heard(event_of({"id": "by-hand-1", "source": "/by-hand"}, "unconfirmed", "still_watching", IDLE))
    assert status is Exit.DETACHED
    assert "UNCONFIRMED" not in capsys.readouterr().out


def test_an_interruption_leaves_the_request(play: Play) -> None:
    """Also if the request was sent and its answer was lost."""
    clock = Clock()
    progress = Progress(clock=clock)
    service = FakeService(progress, clock, iter([[WOULD], [{"volume_status": "detaching"}, KeyboardInterrupt]]))
    detach = Detach(service, progress, ORDER, TARGET, lambda question: True, "by-hand-1")
    with pytest.raises(KeyboardInterrupt):
        detach.run()
    stopped = progress.seconds
    clock.now += 5
    assert (progress.asked, progress.seconds) == ("by-hand-1", stopped)


def test_with_json_stdout_has_events_and_nothing_else(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play([WOULD], [{"volume_status": "detaching"}, ("detached", "detached_now", GONE)], as_json=True)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["data"]["verdict"] for event in events] == ["checked", "detached"]


def test_attestations_are_passed_on(play: Play) -> None:
    order = Order("a", "b", unmounted=True, allow_system_disk=True)
    _, service = play([WOULD], [("detached", "detached_now", GONE)], order=order)
    assert service.asked[-1]["data"] == {
        "server_id": SERVER, "volume_id": VOLUME, "unmounted": True, "allow_system_disk": True
    }  # fmt: skip


def test_looks_at_other_requests_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(clock=Clock())
    progress.begin("mine")
    progress.take({"request_id": "other", "volume_status": "in-use"}, "request stepped")
    assert capsys.readouterr().out == ""


def test_without_a_terminal_a_line_says_that_it_continues(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = Progress(clock=clock)
    progress.begin("mine")
    progress.tick()
    clock.now += STILL
    progress.tick()
    progress.tick()
    assert capsys.readouterr().out == "   15.0s  still in the queue\n"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("7d", 604800), (" 5m ", 300)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "1.5h", "-1s", "10 m", "9999999s", "1w", "0", "999999d"])
def test_invalid_durations(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 90s, 10m or 2h|is not between a second and a year"):
        seconds_of(text)

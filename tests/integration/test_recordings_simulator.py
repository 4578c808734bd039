"""The simulator answers recorded requests like the real cloud in the same state."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest

from simulator import Behaviour
from tests.recordings.compare import answers_differ
from tests.recordings.reader import Exchange, names, recording
from tests.recordings.stage import VOLUME_IN_PATH, Slowly, Stage, is_login

At = tuple[str, int]
"""An exchange: the first two digits of its recording, and its number in it."""

# ----------------------------------------------------------------------------- differences that are accepted

NOT_REQUESTED: Mapping[str, Callable[[Exchange], bool]] = {
    "a change: the simulator accepts none over HTTP, so the test changes the world": lambda e: (
        (e.method == "POST" and not is_login(e))
        or (e.method == "DELETE" and re.search(r"/servers/[^/]+$", e.path) is not None)
    ),
    "Nova's list of versions: the simulator has one address, where Keystone answers": lambda e: (
        e.path == "/" and e.request_headers["host"].endswith(":8774")
    ),
}


class KnownDifference(NamedTuple):
    """An accepted difference: its recordings, its place in the answer, and its cause."""

    recordings: tuple[str, ...]
    where: str
    why: str


KNOWN_DIFFERENCES = (
    KnownDifference(
        ("08", "09", "16", "17"),
        r"^(15|7|11|17) \.volumeAttachments\[[1-4]\]\.attachment_id",
        "a real move renews the disks of a server one after another, the simulator all at once",
    ),
    KnownDifference(
        ("08", "17"),
        r"^(9|17|19|31) \.server\.OS-EXT-STS:task_state: '(resize_migrat|rebuild_)",
        "real resizes and evacuations have more task states, and change them a bit earlier",
    ),
    KnownDifference(
        ("17",),
        r"^30 \.volume\.(status|attachments)",
        "in a real evacuation a disk attaches within half a second, here in half of the remaining time",
    ),
    KnownDifference(
        ("14", "16", "17"),
        r"^(49|50|33|34|43|44) \.instanceActions\[\d\]\.user_id",
        "an administrator did it; the simulator does not record the caller",
    ),
    KnownDifference(
        ("10",), r"\.volume\.metadata\.(readonly|attached_mode)", "Cinder's own os-attach records its mode"
    ),
    KnownDifference(
        ("11",),
        r"^3 \.server\.OS-EXT-SRV-ATTR:",
        "an administrator is shown more; the simulator shows everybody the same",
    ),
    KnownDifference(("20",), r"^4 \.volume\.(migration_status|os-vol-|.*host_name)", "an administrator is shown more"),
)


# -------------------------------------------------------------------------------- the course of the recordings

ACTORS: Mapping[At, str] = {
    ("04", 9): "another project",
    ("04", 10): "reader",
    ("04", 11): "unscoped",
    ("11", 3): "admin",
    ("12", 45): "reader",
    ("20", 4): "admin",
}
"""The callers other than the usual user."""

BEHAVIOURS: Mapping[At, Behaviour] = {
    ("03", 2): Behaviour(seconds=1.6, nova_lag=0.6),
    ("06", 0): Behaviour(seconds=5.0, refuse=True),
    ("07", 3): Behaviour(seconds=1.6, nova_lag=0.6),
    ("07", 21): Behaviour(seconds=1.6, nova_lag=0.6),
    ("07", 38): Behaviour(),
    ("08", 41): Behaviour(seconds=2.0, nova_lag=0.6),
    ("08", 51): Behaviour(seconds=1.9, nova_lag=0.3),
    ("09", 19): Behaviour(),
    ("10", 6): Behaviour(seconds=1.8, nova_lag=0.6),
    ("12", 0): Behaviour(seconds=7.0, nova_lag=1.0),
    ("12", 14): Behaviour(seconds=6.0, refuse=True),
    ("12", 28): Behaviour(error_after=5.0),
    ("14", 10): Behaviour(seconds=1.7, nova_lag=0.6),
    ("15", 21): Behaviour(seconds=4.5, nova_lag=0.5),
    ("16", 35): Behaviour(seconds=1.6, nova_lag=0.6),
    ("17", 45): Behaviour(seconds=2.0, nova_lag=0.4),
    ("19", 0): Behaviour(seconds=7.2, nova_lag=0.6),
    ("19", 10): Behaviour(seconds=5.2, refuse=True),
    ("19", 20): Behaviour(error_after=4.5),
}
"""The course of the accepted DELETEs."""

MOVES: Mapping[At, Slowly] = {
    ("08", 4): lambda world, server: world.move(server, "resize", 46.9, 32.5, 40.5),
    ("09", 4): lambda world, server: world.shelve(server, seconds=10.0),
    ("09", 26): lambda world, server: world.unshelve(server, seconds=17.0),
    ("14", 4): lambda world, server: world.shelve(server, offload=False, seconds=8.0),
    ("14", 22): lambda world, server: world.offload(server, seconds=9.0),
    ("14", 40): lambda world, server: world.unshelve(server, seconds=20.0),
    ("16", 4): lambda world, server: world.move(server, "live-migration", 58.0, 25.0, 35.0),
    ("17", 0): lambda world, server: world.move(server, "live-migration", 30.0),
    ("17", 10): lambda world, server: world.move(server, "evacuate", 17.4, 8.0, 13.4),
}
"""The course of the recorded moves, in seconds."""

Event = Callable[[Stage], object]


def _servers(**state: Any) -> Event:
    return lambda stage: [stage.world.set_server(id, **state) for id in stage.world.servers]


def _status(status: str) -> Event:
    return lambda stage: stage.world.set_volume(VOLUME_IN_PATH.findall(stage.exchanges[0].path)[0], status=status)


def _root_disk(stage: Stage) -> None:
    (server,), (volume,) = (
        re.findall(pattern, stage.exchanges[12].path) for pattern in (r"/servers/([^/]+)", r"attachments/([^/]+)")
    )
    stage.world.attach(server, volume, "/dev/sda")


def _attach_to_both(stage: Stage) -> None:
    for id in stage.world.servers:
        for volume in stage.world.volumes:
            stage.world.attach(id, volume, "/dev/sdb")


EVENTS: Mapping[At, Event] = {
    ("04", 0): _root_disk,
    ("05", 14): _servers(status="ACTIVE", task_state=None),
    ("07", 38): _attach_to_both,
    ("17", 5): _servers(host_up=False),
    **{
        ("18", number): _status(status)
        for number, status in (
            (0, "maintenance"),
            (3, "reserved"),
            (6, "attaching"),
            (9, "error"),
            (12, "error_extending"),
            (15, "available"),
            (18, "in-use"),
        )
    },
    ("21", 0): _servers(locked=True, locked_reason="audit"),
    ("21", 7): _servers(locked=True, locked_reason="audit"),
}
"""Changes just before an exchange that have no recorded request."""


# ----------------------------------------------------------------------------------------------------- the tests


def _play(name: str) -> list[str]:
    """All differences of one recording, each with the number of its exchange."""
    stage, found = Stage(recording(name)), []
    for number, exchange in enumerate(stage.exchanges):
        at = name[:2], number
        stage.at(exchange)
        if at in EVENTS:
            EVENTS[at](stage)
        if at in BEHAVIOURS:
            stage.world.set_volume(VOLUME_IN_PATH.findall(exchange.path)[0], behaviour=BEHAVIOURS[at])
        if any(fits(exchange) for fits in NOT_REQUESTED.values()):
            stage.change(exchange, MOVES.get(at))
            continue
        answer = stage.ask(exchange, ACTORS.get(at, "member"))
        found += [f"{number} {difference}" for difference in answers_differ(exchange, answer, stage.pairs)]
    return found


@pytest.mark.parametrize("name", names())
def test_the_simulator_answers_as_recorded(name: str) -> None:
    """Status, headers, names, types and values are those of the real cloud, apart from known differences."""
    known = [known for known in KNOWN_DIFFERENCES if name[:2] in known.recordings]
    found = _play(name)
    unknown = [line for line in found if not any(re.search(k.where, line) for k in known)]
    assert unknown == []
    assert [k for k in known if not any(re.search(k.where, line) for line in found)] == [], "a known difference is gone"

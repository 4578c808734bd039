"""What `make run` prints about a verdict."""

import json
from typing import Any

import pytest

from local.console import Console
from shared.inbox.read import Rejected, read
from shared.model import Message
from shared.outbox.events import EventFactory
from tests.messages import MESSAGE_KEYS, QUEUE_ARN, SERVER, START, VOLUME


@pytest.mark.parametrize(
    ("data", "about"),
    [
        ({"server_id": SERVER, "volume_id": VOLUME, "dryrun": True}, f"servers/{SERVER}/volumes/{VOLUME}"),
        ({"server_id": SERVER, "all_data_disks": True, "volume_ids": [VOLUME]}, f"servers/{SERVER}"),
        ({"server_id": SERVER, "volume_ids": []}, f"servers/{SERVER}"),
        ({"server_id": SERVER}, f"servers/{SERVER}"),
        ({"server_id": "x", "volume_id": VOLUME}, "no server known"),
    ],
)
def test_a_rejected_request_is_shown_with_its_server(
    data: dict[str, Any], about: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And with its volume, if it is about a single one."""
    found = read(Message(json.dumps(data), "m-1", QUEUE_ARN, START), "bms", START, MESSAGE_KEYS)
    assert isinstance(found, Rejected)
    Console().verdict(json.loads(EventFactory().rejected(found, START).body))
    assert about == capsys.readouterr().out.splitlines()[1].strip()

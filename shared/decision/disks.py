"""Finds the disks that a request for all data disks is for. Pure, like the rules."""

from collections.abc import Mapping
from datetime import datetime

from shared.decision.case import Case, Conclude, Disks, Requeue, failed
from shared.decision.gates import is_system_disk
from shared.decision.requeue import as_check, requeue
from shared.model import Listed, Reason, Server, Volume
from shared.policy import DISKS, Policy


def unnamed(listing: tuple[Listed, ...]) -> list[str]:
    """The volumes whose entry in the server's list has no device: they must be read to know what they are."""
    return [entry.volume_id for entry in listing if not entry.device]


def data_disks(server: Server, listing: tuple[Listed, ...], volumes: Mapping[str, Volume | None]) -> tuple[str, ...]:
    """Every listed volume except the system disk, by the rule of the gates. `volumes` are the `unnamed` ones.

    The server's state makes no difference. A volume that block storage does not know cannot be identified as the system
    disk: it is included, and its own verdict says what is wrong.
    """
    others = (one for one in listing if one.volume_id not in server.boot_volumes)
    kept = (one.volume_id for one in others if not is_system_disk(volumes.get(one.volume_id), one.device, server))
    return tuple(dict.fromkeys(kept))


def after_listing(
    case: Case,
    server: Server | None,
    listing: tuple[Listed, ...] | None,
    volumes: Mapping[str, Volume | None],
    policy: Policy,
    now: datetime,
) -> Disks | Requeue | Conclude:
    """The result of the look that lists the disks. A missing server ends the request."""
    if server is None:
        ending = failed(Reason.SERVER_NOT_FOUND, "its disks cannot be listed: check the id and the project")
        return as_check(ending) if case.request.dry_run else ending
    if listing is None:
        # The server existed a moment ago; the next look tells whether it still does.
        decision = requeue(case, policy, now, "compute knows the server but has no list of its disks")
        return as_check(decision) if case.request.dry_run and isinstance(decision, Conclude) else decision
    found = data_disks(server, listing, volumes)
    if len(found) > DISKS:
        many = f"the server has {len(found)} data disks; one request takes at most {DISKS}: name them with volume_ids"
        ending = failed(Reason.INVALID_REQUEST, many)
        return as_check(ending) if case.request.dry_run else ending
    return Disks(found)

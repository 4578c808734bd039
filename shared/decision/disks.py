"""Which disks a request for all data disks of a server is for. Pure, as the rules are."""

from collections.abc import Mapping
from datetime import datetime

from shared.decision.case import Case, Conclude, Disks, Requeue, failed
from shared.decision.gates import is_system_disk
from shared.decision.requeue import as_check, requeue
from shared.model import Listed, Reason, Server, Volume
from shared.policy import DISKS, Policy


def unnamed(listing: tuple[Listed, ...]) -> list[str]:
    """The volumes of which the server's list tells no device: they have to be read to know what they are."""
    return [entry.volume_id for entry in listing if not entry.device]


def data_disks(server: Server, listing: tuple[Listed, ...], volumes: Mapping[str, Volume | None]) -> tuple[str, ...]:
    """Every listed volume but the system disk, by the rule of the gates; `volumes` are those that are `unnamed`.

    Which state the server is in makes no difference. A volume that block storage does not know is no system disk that
    anybody could tell: it is listed, and what is wrong with it is for its own verdict to say.
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
    """What follows the look that lists the disks. A server that is not there ends the request."""
    if server is None:
        ending = failed(Reason.SERVER_NOT_FOUND, "its disks cannot be listed: check the id and the project")
        return as_check(ending) if case.request.dry_run else ending
    if listing is None:
        # It was there a moment ago: the next look tells whether it still is.
        decision = requeue(case, policy, now, "compute knows the server, and has no list of its disks")
        return as_check(decision) if case.request.dry_run and isinstance(decision, Conclude) else decision
    found = data_disks(server, listing, volumes)
    if len(found) > DISKS:
        many = (
            f"the server has {len(found)} data disks, and one request is for {DISKS} at most: name them by volume_ids"
        )
        ending = failed(Reason.INVALID_REQUEST, many)
        return as_check(ending) if case.request.dry_run else ending
    return Disks(found)

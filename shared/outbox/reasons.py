"""The closed catalogue of reasons why a request ended without a detach, for people to act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from shared.model import Reason


@dataclass(frozen=True, slots=True)
class ReasonText:
    """What happened, and what to do about it at three in the morning.

    `retryable` says that the same wish, sent again later under a new event id, may succeed without anybody
    changing anything. Only two are: what failed there was a cloud, or we, being out of order for a while.
    """

    message: str
    remedy: str
    retryable: bool = False


CATALOGUE: Mapping[Reason, ReasonText] = MappingProxyType(
    {
        Reason.INVALID_REQUEST: ReasonText(
            "The request is not one that can be carried out; nothing was sent to the cloud.",
            "Read the faults listed in the verdict, correct the named fields (docs: the request event; "
            "`make servers` lists the ids) and send the request again under a new event id.",
        ),
        Reason.EXPIRED: ReasonText(
            "The request's own `expirytime` had passed before the volume was detached.",
            "If the detach is still wanted, send it under a new event id with a later `expirytime` or none."
            " If this happens often, look at the age of the oldest message in the request queue.",
        ),
        Reason.SUPERSEDED: ReasonText(
            "The volume is attached by a newer attachment than the one the request is about; it was left alone.",
            "Somebody attached the volume again after the request was issued. Check `attachment_id` and "
            "`attached_at` with `openstack volume show <volume_id>`; to detach the new attachment, send a "
            "new request that names it in `attachment_id`.",
        ),
        Reason.SERVER_NOT_FOUND: ReasonText(
            "The compute service knows no such server in this project.",
            "Check `server_id` and `project_id` with `openstack server show <server_id>` or `make servers`."
            " If the server was deleted, `openstack volume show <volume_id>` tells whether the volume still"
            " lists it.",
        ),
        Reason.VOLUME_NOT_FOUND: ReasonText(
            "The block storage service knows no such volume in this project.",
            "Check `volume_id` and `project_id` with `openstack volume show <volume_id>`. If the volume was"
            " deleted, there is nothing left to detach and the request can be closed.",
        ),
        Reason.ATTACHED_ELSEWHERE: ReasonText(
            "The volume is attached, but not to the server the request names.",
            "Look at `evidence` or `openstack volume show <volume_id> -c attachments` for the server that "
            "has it. If that is the one meant, send a new request with its `server_id`.",
        ),
        Reason.WRONG_PROJECT: ReasonText(
            "The credentials belong to another project than the one that was asked for.",
            "Compare the request's `project_id` with OS_PROJECT_ID, or `project_id` in the secret that "
            "CLOUD_SECRET_ID names. The token must be scoped to the project that owns server and volume, "
            "not to a domain.",
        ),
        Reason.SYSTEM_DISK: ReasonText(
            "The volume is the disk that the server starts from, and detaching it is refused.",
            "Make sure that `volume_id` is the disk meant: `make servers` shows which one is the system "
            "disk. If it has to be detached, stop the server first and send a new request with "
            "`allow_system_disk: true`; a server without its system disk does not start. OpenStack itself "
            "never lets go of a root volume.",
        ),
        Reason.ATTESTATION_REQUIRED: ReasonText(
            "The server is running and would not protect mounted data, and nobody said that the disk is unmounted.",
            "Take the disk offline in the server (Windows: `Set-Disk -IsOffline $true`; Linux: `umount`) or"
            " stop the server, then send a new request with `unmounted: true`.",
        ),
        Reason.SERVER_RUNNING: ReasonText(
            "The operator allows detaching from stopped servers only, and this one is running.",
            "Stop the server (`openstack server stop <server_id>`; a shutdown inside a bare metal server "
            "does not count) and send a new request. The setting is RUNNING_SERVER_POLICY.",
        ),
        Reason.SERVER_LOCKED: ReasonText(
            "The server is locked, so nothing about it may be changed.",
            "Find out who locked it and why, then `openstack server unlock <server_id>` and send a new request.",
        ),
        Reason.VOLUME_LOCKED: ReasonText(
            "The cloud has locked the volume, most likely for an order that is not paid.",
            "Look for open orders and arrears of the account in the cloud's billing console. When they are "
            "settled, send a new request; if there are none, open a ticket with the volume id and the "
            "request ids in `evidence`.",
        ),
        Reason.VOLUME_FROZEN: ReasonText(
            "The cloud has frozen the volume, or suspended the account it belongs to.",
            "Check the account's balance and standing in the cloud's billing console, have the resource "
            "unfrozen, then send a new request.",
        ),
        Reason.VOLUME_PROTECTED: ReasonText(
            "The volume's own metadata forbid detaching it (`detach_protection=true`).",
            "Ask the owner of the volume. If it may go: `openstack volume unset --property "
            "detach_protection <volume_id>`, then send a new request.",
        ),
        Reason.VOLUME_ERROR: ReasonText(
            "The volume is in an error state from which the cloud does not detach it.",
            "Look at `openstack volume show <volume_id> -c status -c attachments`. Resetting the state is "
            "for the cloud's operator: open a ticket with the volume id and the request ids in `evidence`.",
        ),
        Reason.REFUSED_BY_SERVER: ReasonText(
            "The cloud accepted the detach, then the server did not let go of the disk; it is attached as before.",
            "Most likely it is in use: log in, find it with `lsblk`, see who uses it with `fuser -vm "
            "<mountpoint>`, then `umount` it (and `swapoff`, `vgchange -an` or `mdadm --stop` where they "
            "hold it), or stop the server. Then send a new request.",
        ),
        Reason.STUCK_DETACHING: ReasonText(
            "The cloud accepted the detach and has neither finished nor undone it for as long as we watch.",
            "The volume stays in `detaching` until the cloud's operator acts: open a ticket with the volume"
            " id, the server id and the request ids in `evidence`. Do not attach, delete or rebuild "
            "anything meanwhile. A new request later tells how it ended (WATCH_TIMEOUT is how long we "
            "watch).",
        ),
        Reason.FORBIDDEN: ReasonText(
            "This may not be done: not with these credentials, or not in this project.",
            "Give the user the rights for the action named in `evidence`: on Open Telekom Cloud "
            "`ecs:serverVolumeAttachments:delete`, `ecs:serverVolumeAttachments:list`, `ecs:servers:get`, "
            "`ecs:serverVolumes:use`, `evs:volumes:get` and `evs:volumes:detach`; elsewhere the role "
            "`member`. A suspended account, an empty balance or an address that is not allowed look the "
            "same. If the project is not served here, add it to ALLOWED_PROJECTS and give it its secret.",
        ),
        Reason.UNAUTHORIZED: ReasonText(
            "The cloud does not accept the credentials, with a fresh token either.",
            "Check user, password or application credential in the secret that CLOUD_SECRET_ID names (or "
            "OS_USERNAME, OS_PASSWORD and so on) and OS_AUTH_URL with `openstack token issue`; look for an "
            "expired password, a locked user, or an address of another region. Correct the secret before "
            "anything else is sent: repeated failures lock the user.",
        ),
        Reason.API_REJECTED: ReasonText(
            "The cloud rejected the call in a way that repeating it does not change.",
            "Read code and message of the last call in `evidence`. A 404 or 405 of the gateway: check "
            "COMPUTE_ENDPOINT, VOLUME_ENDPOINT and OS_REGION_NAME. A `vm_state` such as error, suspended or"
            " rescued: bring the server back to running or stopped first. Anything else: open a ticket with"
            " the request id.",
        ),
        Reason.GAVE_UP: ReasonText(
            "The cloud could not carry out the detach, or not answer for it, within the time a request has.",
            "Read the last error in the verdict and see whether the cloud has an incident. Check the volume"
            " with `openstack volume show <volume_id>`, then send a new request; REQUEST_TTL is how long we"
            " try.",
            retryable=True,
        ),
        Reason.INCONSISTENT_STATE: ReasonText(
            "Compute and block storage contradict each other about this attachment, and go on doing so.",
            "Compare `openstack server volume list <server_id>` with `openstack volume show <volume_id> -c "
            "status -c attachments`. Only the cloud's operator can repair it: open a ticket with both "
            "outputs, and do not attach the volume anywhere else until it is settled.",
        ),
        Reason.DEAD_LETTERED: ReasonText(
            "Our own function failed on this request again and again; how far it got is not known.",
            "Look for the request's id in the function's log; the message stands in `original`. Compare "
            "`openstack volume show <volume_id>` with `openstack server volume list <server_id>` to see how it "
            "ended. When the cause is gone, send the request again under a new event id: it starts from what the "
            "cloud shows.",
            retryable=True,
        ),
    }
)

"""Nova's faults, in the order in which `DELETE os-volume_attachments` checks; Cinder's have the same shape.

Messages may be translated, so a row that depends on a message only leads to reads that confirm it, or refuses. The same
fault with another message falls through to `any_code` and the plain status.
"""

from functools import partial

from shared.cloud.answers.row import Meaning, Row
from shared.model import AnswerClass, Reason

DONE, REJECTED, FORBIDDEN = AnswerClass.DONE_VERIFY, Reason.API_REJECTED, Reason.FORBIDDEN
RECONCILE, RETRY, WAIT = AnswerClass.RECONCILE, AnswerClass.RETRY, AnswerClass.WAIT

NOT_ATTACHED_BEFORE_QUEENS = r"^Instance \S+ is not attached\.$|^volume_id not found: "
NOT_IN_USE = r"^Invalid volume: .*status must be 'in-use'"
OTHER_PROJECT = r"^Malformed request URL: URL's project_id"
ROOT_DEVICE = r"^Can(?:not|'t) detach (?:a )?root device volume"


def _fault(key: str, status: int | None, check: str, meaning: Meaning, message: str | None = None) -> Row:
    source = f"Nova DELETE os-volume_attachments, {check}"
    return Row(key, meaning, source, {status} if status else (), message)


_bad_request = partial(_fault, "badRequest", 400)
_forbidden = partial(_fault, "forbidden", 403)
_not_found = partial(_fault, "itemNotFound", 404)
_conflict = partial(_fault, "conflictingRequest", 409)

ROWS: tuple[Row, ...] = (
    _bad_request("check 2: microversion", REJECTED, r"^API Version String "),
    _fault("computeFault", 406, "check 2: microversion", REJECTED),
    _bad_request("check 3: project of URL and token", Reason.WRONG_PROJECT, OTHER_PROJECT),
    _forbidden("check 4: policy", FORBIDDEN, r"^Policy doesn't allow "),
    _not_found("check 5: server", Reason.SERVER_NOT_FOUND, r"^Instance \S+ could not be found"),
    _not_found("check 7: volume", Reason.VOLUME_NOT_FOUND, r"^Volume \S+ could not be found"),
    _not_found("check 8: attachment", DONE, r"^Instance \S+ is not attached to volume \S+"),
    _not_found("check 8: attachment, before Queens", DONE, NOT_ATTACHED_BEFORE_QUEENS),
    _forbidden("check 9: root device, up to Queens", Reason.SYSTEM_DISK, ROOT_DEVICE),
    _bad_request("check 9: root device, from Rocky on", Reason.SYSTEM_DISK, ROOT_DEVICE),
    _conflict("check 10: lock", Reason.SERVER_LOCKED, r"^Instance \S+ is locked"),
    # A server that is being built will be ready; one that is deleted will not be found by the next reads.
    _conflict("check 11: vm_state that ends by itself", WAIT, r" while it is in vm_state (?:building|deleted)\b"),
    _conflict("checks 6 and 11: vm_state that forbids it", REJECTED, r" while it is in vm_state "),
    _conflict("check 12: task_state", WAIT, r" while it is in task_state "),
    _conflict("check 13: never launched", WAIT, r" is in an invalid state for 'detach_volume'"),
    _conflict("check 14: compute host down, from Wallaby on", RETRY, r"^Service is unavailable at this time"),
    _not_found("check 15: server in an unknown cell, Queens", REJECTED, r"^Cell is not known for instance "),
    _bad_request("check 16: volume status, Mitaka", DONE, r"\bvolume \S+ already detached"),
    _bad_request("check 16: begin_detaching refused, nothing was begun", WAIT, NOT_IN_USE),
    _bad_request("check 16: volume status", RECONCILE, r"^Invalid volume: "),
    _forbidden("check 17: Cinder's policy", FORBIDDEN),
    _fault("computeFault", None, "checks 15 and 18: anything else", RECONCILE),
    Row("overLimit", RETRY, "Nova faults: throttled, as 413 or 429"),
    Row("serviceUnavailable", RECONCILE, "Nova faults: 503 does not say how far it got"),
    _fault("unauthorized", 401, "check 1: token", AnswerClass.REAUTHENTICATE),
)

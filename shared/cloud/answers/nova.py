"""Nova's faults, in the order in which `DELETE os-volume_attachments` checks; Cinder's have the same shape.

Messages are translatable, so a row that a message decides only ever says what the reads then confirm, or
refuses; a fault of these names with another message falls through to `any_code` and the plain status.
"""

from __future__ import annotations

from shared.cloud.answers.row import Row
from shared.model import AnswerClass, Reason

NOVA = "Nova DELETE os-volume_attachments"

BAD_REQUEST = frozenset({400})
FORBIDDEN = frozenset({403})
NOT_FOUND = frozenset({404})
NOT_ACCEPTABLE = frozenset({406})
CONFLICT = frozenset({409})

ROWS: tuple[Row, ...] = (
    Row(
        "badRequest",
        AnswerClass.PERMANENT,
        Reason.API_REJECTED,
        f"{NOVA}, check 2: microversion",
        BAD_REQUEST,
        r"^API Version String ",
    ),
    Row("computeFault", AnswerClass.PERMANENT, Reason.API_REJECTED, f"{NOVA}, check 2: microversion", NOT_ACCEPTABLE),
    Row(
        "badRequest",
        AnswerClass.PERMANENT,
        Reason.WRONG_PROJECT,
        f"{NOVA}, check 3: project of URL and token",
        BAD_REQUEST,
        r"^Malformed request URL: URL's project_id",
    ),
    Row(
        "forbidden",
        AnswerClass.PERMANENT,
        Reason.FORBIDDEN,
        f"{NOVA}, check 4: policy",
        FORBIDDEN,
        r"^Policy doesn't allow ",
    ),
    Row(
        "itemNotFound",
        AnswerClass.PERMANENT,
        Reason.SERVER_NOT_FOUND,
        f"{NOVA}, check 5: server",
        NOT_FOUND,
        r"^Instance \S+ could not be found",
    ),
    Row(
        "itemNotFound",
        AnswerClass.PERMANENT,
        Reason.VOLUME_NOT_FOUND,
        f"{NOVA}, check 7: volume",
        NOT_FOUND,
        r"^Volume \S+ could not be found",
    ),
    Row(
        "itemNotFound",
        AnswerClass.DONE_VERIFY,
        None,
        f"{NOVA}, check 8: attachment",
        NOT_FOUND,
        r"^Instance \S+ is not attached to volume \S+",
    ),
    Row(
        "itemNotFound",
        AnswerClass.DONE_VERIFY,
        None,
        f"{NOVA}, check 8: attachment, before Queens",
        NOT_FOUND,
        r"^Instance \S+ is not attached\.$|^volume_id not found: ",
    ),
    Row(
        "forbidden",
        AnswerClass.PERMANENT,
        Reason.SYSTEM_DISK,
        f"{NOVA}, check 9: root device, up to Queens",
        FORBIDDEN,
        r"^Can(?:not|'t) detach (?:a )?root device volume",
    ),
    Row(
        "badRequest",
        AnswerClass.PERMANENT,
        Reason.SYSTEM_DISK,
        f"{NOVA}, check 9: root device, from Rocky on",
        BAD_REQUEST,
        r"^Can(?:not|'t) detach (?:a )?root device volume",
    ),
    Row(
        "conflictingRequest",
        AnswerClass.PERMANENT,
        Reason.SERVER_LOCKED,
        f"{NOVA}, check 10: lock",
        CONFLICT,
        r"^Instance \S+ is locked",
    ),
    # A server that is being built will be ready; one that is deleted will not be found by the next reads.
    Row(
        "conflictingRequest",
        AnswerClass.WAIT,
        None,
        f"{NOVA}, check 11: vm_state that ends by itself",
        CONFLICT,
        r" while it is in vm_state (?:building|deleted)\b",
    ),
    Row(
        "conflictingRequest",
        AnswerClass.PERMANENT,
        Reason.API_REJECTED,
        f"{NOVA}, checks 6 and 11: vm_state that forbids it",
        CONFLICT,
        r" while it is in vm_state ",
    ),
    Row(
        "conflictingRequest",
        AnswerClass.WAIT,
        None,
        f"{NOVA}, check 12: task_state",
        CONFLICT,
        r" while it is in task_state ",
    ),
    Row(
        "conflictingRequest",
        AnswerClass.WAIT,
        None,
        f"{NOVA}, check 13: never launched",
        CONFLICT,
        r" is in an invalid state for 'detach_volume'",
    ),
    Row(
        "conflictingRequest",
        AnswerClass.RETRY,
        None,
        f"{NOVA}, check 14: compute host down, from Wallaby on",
        CONFLICT,
        r"^Service is unavailable at this time",
    ),
    Row(
        "itemNotFound",
        AnswerClass.PERMANENT,
        Reason.API_REJECTED,
        f"{NOVA}, check 15: server in an unknown cell, Queens",
        NOT_FOUND,
        r"^Cell is not known for instance ",
    ),
    Row(
        "badRequest",
        AnswerClass.DONE_VERIFY,
        None,
        f"{NOVA}, check 16: volume status, Mitaka",
        BAD_REQUEST,
        r"\bvolume \S+ already detached",
    ),
    Row(
        "badRequest",
        AnswerClass.WAIT,
        None,
        f"{NOVA}, check 16: begin_detaching refused, nothing was begun",
        BAD_REQUEST,
        r"^Invalid volume: .*status must be 'in-use'",
    ),
    Row(
        "badRequest", AnswerClass.RECONCILE, None, f"{NOVA}, check 16: volume status", BAD_REQUEST, r"^Invalid volume: "
    ),
    Row("forbidden", AnswerClass.PERMANENT, Reason.FORBIDDEN, f"{NOVA}, check 17: Cinder's policy", FORBIDDEN),
    Row("computeFault", AnswerClass.RECONCILE, None, f"{NOVA}, checks 15 and 18: anything else"),
    Row("overLimit", AnswerClass.RETRY, None, "Nova faults: throttled, as 413 or 429"),
    Row("serviceUnavailable", AnswerClass.RECONCILE, None, "Nova faults: 503 does not say how far it got"),
    Row("unauthorized", AnswerClass.REAUTHENTICATE, None, f"{NOVA}, check 1: token", frozenset({401})),
)

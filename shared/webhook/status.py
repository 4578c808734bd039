"""The status resource, `requests/{verdict id}`: reports what became of a request to senders that only have HTTP."""

import re
from dataclasses import replace
from datetime import datetime
from json import dumps, loads

from shared.model import DetachRequest
from shared.ports import AwsTrouble, Kept
from shared.signatures import Authenticated, Keys
from shared.webhook.receive import HttpRequest, Refusal, Rules, admitted
from shared.webhook.responses import HttpAnswer, UnderWay, entry_of, final, problem, summary_of, under_way

READS = ("GET", "HEAD")
"""The methods of the resource. A POST to any path is a request, since `requests/detach` may be an operator's route."""

VERDICT_ID = re.compile("[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def segment_of(path: str) -> str | None:
    """The part of the path in place of the id, if it is a status resource; it is not decoded.

    The stage and base path of an HTTP API may come before it.
    """
    *_, parent, last = ["", *path.split("/")]
    return last if parent == "requests" and last else None


def verdict_id_in(segment: str) -> str | None:
    """The id in lower case; None for text that is not a UUID."""
    return segment.lower() if VERDICT_ID.fullmatch(segment) else None


def may_read(request: HttpRequest, rules: Rules, keys: Keys, now: datetime) -> Authenticated | Refusal:
    """The sender, authenticated as for a POST but with an empty body: a POST's signature is not valid for a GET."""
    return admitted(replace(request, body=b"", too_large=False), rules, keys, now)


def mark_of(request: DetachRequest, now: datetime) -> tuple[str, str]:
    """The verdict id of an enqueued request, and the text that is stored until the verdict.

    For a request without a volume it is the summary's id. The text names the request; the sender's other data (context,
    task token) is not stored.
    """
    id_ = entry_of(request).verdict_id if request.volume_id else summary_of(request).summary_id
    known = UnderWay(
        status="accepted",
        verdict_id=id_,
        id=request.id,
        source=request.source,
        server_id=request.server_id,
        volume_id=request.volume_id or None,
        requested_at=request.requested_at,
        accepted_at=now,
    )
    return id_, known.model_dump_json(exclude_none=True)


def answer_of(verdict_id: str, kept: Kept) -> HttpAnswer:
    """The answer about a request. Raises AwsTrouble if what is stored cannot be read."""
    if kept.verdict is not None:
        return final(kept.verdict)
    try:
        mark = UnderWay.model_validate_json(kept.mark) if kept.mark is not None else None
        if kept.unconfirmed is not None:
            return under_way(_unconfirmed(verdict_id, kept.unconfirmed, mark))
    except (ValueError, KeyError, TypeError) as error:
        raise AwsTrouble(f"what is kept of {verdict_id} cannot be read: {type(error).__name__}") from error
    return under_way(mark) if mark else problem(404, "no request is known whose verdict has this id")


def _unconfirmed(verdict_id: str, event: str, mark: UnderWay | None) -> UnderWay:
    said = loads(event)
    data = said["data"]
    told = {
        "status": "unconfirmed",
        "verdict_id": verdict_id,
        "id": data["request"]["id"],
        "source": data["request"]["source"],
        "server_id": data["server_id"],
        "volume_id": data["volume_id"],
        "requested_at": data["timing"]["requested_at"],
        "unconfirmed_since": said["time"],
        "explanation": data.get("explanation"),
    }
    known = UnderWay.model_validate_json(dumps(told))
    return known.model_copy(update={"accepted_at": mark.accepted_at}) if mark else known

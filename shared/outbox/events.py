"""Makes CloudEvents of verdicts and summaries. Their ids are derived from the request, so a repetition has the same
id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from shared.decision.case import Case, Conclude
from shared.inbox.read import Rejected
from shared.model import SUMMARY, Cause, DetachRequest, Detail, Origin, Outcome, Reason, summary_id, verdict_id
from shared.outbox.reasons import catalogue
from shared.policy import EVENT_BYTES, ORIGINAL_BYTES, SUMMARY_BYTES
from shared.ports import Event
from shared.quick import dataclass

if TYPE_CHECKING:
    from shared.group import Group
    from shared.outbox.verdict import ReasonData, VerdictData

# The models of events and the library for CloudEvents are imported with the first verdict: they take 14 ms, and few
# requests end right after a cold start.


def _as_json(attributes: Mapping[str, Any], data: Mapping[str, Any]) -> bytes:
    from cloudevents.core.formats.json import JSONFormat
    from cloudevents.core.v1.event import CloudEvent

    return JSONFormat().write(CloudEvent(dict(attributes), dict(data)))


@dataclass(frozen=True)
class EventFactory:
    """Makes events of one deployment: its `source` and the prefix of its event types."""

    source: str = "/bms-volume-detach"
    prefix: str = "bms"

    def verdict(self, case: Case, conclusion: Conclude, now: datetime, original: str | None = None) -> Event:
        """The final verdict on a case, or the verdict on a dry run; `original` is the message, for dead letters."""
        from shared.outbox.verdict import Evidence, RequestRef, Timing, VerdictData

        request, progress, explanation = case.request, case.progress, conclusion.explanation
        data = VerdictData(
            verdict=conclusion.outcome,
            detail=conclusion.detail,
            explanation=explanation or None,
            reason=reason_data(conclusion.reason, explanation, conclusion.cause) if conclusion.reason else None,
            server_id=request.server_id,
            volume_id=request.volume_id or None,
            project_id=request.project_id,
            attachment_id=progress.followed.attachment_id if progress.followed else request.attachment_id,
            request=RequestRef(id=request.id, source=request.source),
            requester=request.requester,
            context=_context(request.context, request.task_token),
            evidence=Evidence(
                before=progress.before,
                after=case.state,
                deletes_sent=progress.deletes_sent,
                polls=progress.polls,
                calls=progress.calls,
                last_error=progress.last_error,
            ),
            timing=Timing(
                requested_at=request.requested_at,
                first_seen_at=progress.first_seen_at,
                accepted_at=progress.accepted_at,
                concluded_at=now,
                seconds=round(max(0.0, (now - progress.first_seen_at).total_seconds()), 3),
            ),
            original=_original(original, request.task_token) if original is not None else None,
        )
        announced = None if conclusion.outcome is Outcome.UNCONFIRMED else progress.unconfirmed_id
        # The summary answers the task of a request for several volumes; `unconfirmed` of each volume shows that work
        # goes on.
        token = None if request.summary and conclusion.outcome is not Outcome.UNCONFIRMED else request.task_token
        return self._event(data, request, token, now, caused_by=announced or request.id)

    def unconfirmed(self, case: Case, why: str, now: datetime) -> Event:
        """The `unconfirmed` event: the outcome is not known yet, and the detach is still being watched."""
        return self.verdict(case, Conclude(Outcome.UNCONFIRMED, Detail.STILL_WATCHING, explanation=why), now)

    def rejected(self, rejected: Rejected, now: datetime, reason: Reason | None = None) -> Event:
        """The verdict on an invalid message: all its faults and the original, cut at 8 KB.

        A dead letter was accepted as a request before: it ends with the event type of its request.
        """
        from shared.outbox.verdict import Evidence, RequestRef, Timing, VerdictData

        origin, reason = rejected.origin, reason or rejected.reason
        dead = reason is Reason.DEAD_LETTERED
        summary = "; ".join(f"{fault.field or 'message'} {fault.message}" for fault in rejected.faults)
        checked = dead and rejected.dry_run and None not in (rejected.server_id, rejected.volume_id)
        data = VerdictData(
            verdict=Outcome.CHECKED if checked else Outcome.FAILED,
            detail=Detail.WOULD_FAIL if checked else reason,
            reason=reason_data(reason, cut(summary, SUMMARY_BYTES), Cause.UNREADABLE if dead else None),
            server_id=rejected.server_id,
            volume_id=rejected.volume_id,
            request=RequestRef(id=origin.id, source=origin.source),
            requester=origin.requester,
            context=_context(rejected.context, rejected.task_token),
            evidence=Evidence(),
            timing=Timing(requested_at=origin.time, first_seen_at=now, concluded_at=now, seconds=0.0),
            faults=None if checked else rejected.faults,
            original=None if checked else _original(rejected.original, rejected.task_token),
        )
        return self._event(data, origin, rejected.task_token, now, caused_by=rejected.unconfirmed_id or origin.id)

    def summary(self, group: Group, now: datetime) -> Event:
        """The summary of a request, after the last of its verdicts."""
        # Imported only for summaries.
        from shared.outbox.summary import summary_data

        request = group.request
        data = summary_data(group, _context(request.context, request.task_token), now)
        id_ = summary_id(request.source, request.id, request.dry_run)
        attributes = self._attributes(id_, SUMMARY, request.subject, request, request.id, now)
        body = _as_json(attributes, data.model_dump(mode="json", exclude_none=True))
        return self._written(attributes, body.decode(), data.outcome, None, request.task_token)

    def _event(
        self, data: VerdictData, origin: Origin | DetachRequest, task_token: str | None, now: datetime, caused_by: str
    ) -> Event:
        id_, reason = verdict_id(origin.source, origin.id, data.volume_id, data.verdict), data.reason
        attributes = self._attributes(id_, data.verdict.event_name, subject_of(data), origin, caused_by, now)
        said = data.model_dump(mode="json", exclude_none=True)
        body = _as_json(attributes, said)
        if len(body) > EVENT_BYTES:
            body = _as_json(attributes, _shortened(said))
        return self._written(attributes, body.decode(), data.verdict, reason.code if reason else None, task_token)

    def _attributes(
        self, id_: str, name: str, subject: str | None, origin: Origin | DetachRequest, caused_by: str, now: datetime
    ) -> dict[str, Any]:
        attributes = {
            "id": id_,
            "source": self.source,
            "type": f"{self.prefix}.volume.{name}.v1",
            "specversion": "1.0",
            "time": now.astimezone(UTC),
            "subject": subject,
            "datacontenttype": "application/json",
            # The `$id` of a schema in docs/schemas: the same in every deployment, whatever its prefix.
            "dataschema": f"urn:bms-volume-detach:schema:volume.{name}:v1",
            "correlationid": origin.correlation_id or origin.id,
            "causationid": caused_by,
            # CloudEvents, extension "Auth Context".
            "authtype": origin.requester.type.value,
            "authid": origin.requester.id,
            "traceparent": origin.traceparent,
            "tracestate": origin.tracestate,
        }
        return {name: value for name, value in attributes.items() if value is not None}

    def _written(
        self, attributes: Mapping[str, Any], body: str, outcome: Outcome, reason: Reason | None, task_token: str | None
    ) -> Event:
        return Event(
            id=attributes["id"],
            type=attributes["type"],
            source=self.source,
            subject=attributes.get("subject"),
            time=attributes["time"].isoformat(),
            body=body,
            outcome=outcome,
            reason=reason,
            task_token=task_token,
        )


def _shortened(said: dict[str, Any]) -> dict[str, Any]:
    """The same data, shortened: texts of the cloud and the sender are cut, and the result stays."""
    evidence = dict(said["evidence"])
    evidence.pop("calls")
    shorter = {**said, "evidence": _cut_all(evidence, 64)}
    for name, limit in (("explanation", 256), ("reason", 512), ("original", 1024), ("faults", 64)):
        if name in said:
            shorter[name] = _cut_all(said[name], limit)
    return shorter


def _cut_all(value: Any, limit: int) -> Any:
    """The value with every text and every list cut."""
    match value:
        case str():
            return cut(value, limit)
        case dict():
            return {name: _cut_all(item, limit) for name, item in value.items()}
        case list():
            return [_cut_all(item, limit) for item in value[:20]]
    return value


def subject_of(data: VerdictData) -> str | None:
    """The subject of the event, so that a consumer can filter without reading the data.

    As in `DetachRequest.subject`, a verdict about no single volume names the server alone.
    """
    if not data.server_id:
        return None
    about = f"servers/{data.server_id}"
    return f"{about}/volumes/{data.volume_id}" if data.volume_id else about


def reason_data(reason: Reason, explanation: str, cause: Cause | None = None) -> ReasonData:
    from shared.outbox.verdict import ReasonData

    text = catalogue()[reason]
    message = f"{text.message.removesuffix('.')}: {explanation}" if explanation else text.message
    return ReasonData(code=reason, message=message, remedy=text.remedy, retryable=text.retryable, cause=cause)


@lru_cache(maxsize=1)
def _original(text: str, token: str | None) -> str:
    """The message to show. Cached, since all volumes of a message show the same, and redacting takes long."""
    # Imported only for messages that an event shows.
    from shared.outbox.original import shown

    return cut(shown(text, token), ORIGINAL_BYTES)


def _context(context: dict[str, JsonValue] | None, token: str | None) -> Any:
    if not context:
        return context
    from shared.outbox.original import echoed

    return echoed(context, token)


def cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, without a partial character."""
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")

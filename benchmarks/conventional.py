"""The conventional handler for comparison: boto3, openstacksdk and Powertools, waiting inline.

It is as good as this design allows: clients live as long as the process, only failed records are redelivered, it
checks the same safety facts, looks as often, and requires both planes to agree before it reports `detached`.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import boto3
import openstack
from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from openstack.exceptions import ConflictException, NotFoundException
from pydantic import BaseModel, ConfigDict, ValidationError

ENDPOINT = os.environ.get("AWS_ENDPOINT_URL")
logger = Logger(service="conventional")
processor = BatchProcessor(event_type=EventType.SQS, raise_on_entire_batch_failure=False)
events = boto3.client("events", endpoint_url=ENDPOINT)
secrets = boto3.client("secretsmanager", endpoint_url=ENDPOINT)
sleep = time.sleep

CONFIRM_TIMEOUT = 600
FENCE_SKEW = 5


class Request(BaseModel):
    """The request's data."""

    model_config = ConfigDict(extra="forbid")

    server_id: uuid.UUID
    volume_id: uuid.UUID
    project_id: str | None = None
    requested_at: datetime | None = None
    unmounted: bool = False
    allow_system_disk: bool = False
    dry_run: bool = False


class Refused(Exception):
    """The request ends here; the message is the verdict's reason."""


@lru_cache(maxsize=1)
def cloud() -> Any:
    """One login for the life of the process."""
    values = json.loads(secrets.get_secret_value(SecretId=os.environ["CLOUD_SECRET_ID"])["SecretString"])
    return openstack.connect(load_yaml_config=False, load_envvars=False, **values)


def pauses() -> Iterator[float]:
    """Pauses of up to 3 s for half a minute, then up to 15 s, until the timeout."""
    waited = 0.0
    for pause in itertools.chain([1, 1, 2, 2, *[3] * 8, 4, 5, 6, 7, 8, 10, 12], itertools.repeat(15)):
        if waited >= CONFIRM_TIMEOUT:
            return
        yield pause
        waited += pause


def attachment_of(volume: Any, server_id: str) -> dict[str, Any] | None:
    return next((found for found in volume.attachments if found["server_id"] == server_id), None)


def check(request: Request, server: Any, volume: Any, attachment: dict[str, Any], asked_at: datetime) -> None:
    """Refuse a detach that would lose data."""
    attached_at = datetime.fromisoformat(attachment["attached_at"]).replace(tzinfo=UTC)
    if (attached_at - asked_at).total_seconds() > FENCE_SKEW:
        raise Refused("superseded")
    if server.is_locked:
        raise Refused("server_locked")
    if volume.metadata.get("detach_protection") == "true":
        raise Refused("volume_protected")
    if server.task_state:
        raise TimeoutError(f"the server is {server.task_state}")
    system = attachment["device"] == (server.root_device_name or "/dev/sda")
    running = server.status != "SHUTOFF"
    if system and (running or not request.allow_system_disk):
        raise Refused("system_disk")
    if running and server.metadata.get("os_type", "").lower() != "linux" and not request.unmounted:
        raise Refused("attestation_required")


def detach(request: Request, asked_at: datetime, context: Any) -> str:
    """Detach, wait until both planes agree, and return the outcome."""
    server_id, volume_id = str(request.server_id), str(request.volume_id)
    if request.project_id and request.project_id != cloud().current_project_id:
        raise Refused("wrong_project")
    try:
        server = cloud().compute.get_server(server_id)
        volume = cloud().block_storage.get_volume(volume_id)
    except NotFoundException as error:
        raise Refused("server_or_volume_not_found") from error
    attachment = attachment_of(volume, server_id)
    if attachment is None:
        if listed(server, volume_id):
            raise Refused("inconsistent_state")
        return "already_detached"
    check(request, server, volume, attachment, asked_at)
    if request.dry_run:
        return "checked"
    if volume.status == "in-use":
        try:
            cloud().compute.delete_volume_attachment(server, volume_id)
        except ConflictException as error:
            raise TimeoutError("another operation is running on the server") from error
    return proven(server, volume_id, context)


def proven(server: Any, volume_id: str, context: Any) -> str:
    """Poll until the disk is gone on both planes, or is refused."""
    seen_detaching = False
    for pause in pauses():
        if context.get_remaining_time_in_millis() < (pause + 10) * 1000:
            raise TimeoutError("continues with the next delivery")
        sleep(pause)
        volume = cloud().block_storage.get_volume(volume_id)
        seen_detaching = seen_detaching or volume.status == "detaching"
        if attachment_of(volume, server.id) is None:
            if not listed(server, volume_id):
                return "detached_now"
        elif seen_detaching and volume.status == "in-use":
            raise Refused("refused_by_server")
    raise Refused("unconfirmed")


def listed(server: Any, volume_id: str) -> bool:
    return any(found.volume_id == volume_id for found in cloud().compute.volume_attachments(server))


def read(record: SQSRecord) -> tuple[Request, dict[str, Any], datetime]:
    """The request from a bare body or a CloudEvent, its id and source, and its time."""
    body = json.loads(record.body)
    cloud_event = body if "specversion" in body else {}
    request = Request.model_validate(body.get("data") if cloud_event else body)
    sent_at = datetime.fromtimestamp(int(record.attributes.sent_timestamp) / 1000, UTC)
    time_ = cloud_event.get("time")
    asked_at = request.requested_at or (datetime.fromisoformat(time_.replace("Z", "+00:00")) if time_ else sent_at)
    return request, cloud_event or {"id": record.message_id, "source": record.event_source_arn}, asked_at


def emit(kind: str, detail: str, envelope: dict[str, Any], subject: str) -> None:
    event = {
        "specversion": "1.0",
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{envelope['source']} {envelope['id']} {subject}")),
        "source": os.environ.get("EVENT_SOURCE", "/conventional"),
        "type": kind,
        "subject": subject,
        "time": datetime.now(UTC).isoformat(),
        "data": {"detail": detail, "request": {"id": envelope["id"], "source": envelope["source"]}},
    }
    entry = {
        "EventBusName": os.environ["EVENT_BUS_NAME"],
        "Source": event["source"],
        "DetailType": kind,
        "Detail": json.dumps(event),
    }
    answer = events.put_events(Entries=[entry])
    if answer["FailedEntryCount"]:
        raise RuntimeError(f"verdict not emitted: {answer['Entries'][0].get('ErrorCode')}")


def handle(record: SQSRecord, lambda_context: Any) -> None:
    """One request from its message to its verdict."""
    try:
        request, envelope, asked_at = read(record)
    except (ValidationError, ValueError) as error:
        envelope = {"id": record.message_id, "source": record.event_source_arn}
        logger.warning("invalid request", extra={"why": str(error)})
        emit("bms.volume.detach_failed.v1", "invalid_request", envelope, "requests")
        return
    subject = f"servers/{request.server_id}/volumes/{request.volume_id}"
    try:
        detail = detach(request, asked_at, lambda_context)
        kind = "bms.volume.detach_checked.v1" if detail == "checked" else "bms.volume.detached.v1"
    except Refused as refused:
        kind, detail = "bms.volume.detach_failed.v1", str(refused)
    logger.info("request concluded", extra={"subject": subject, "detail": detail})
    emit(kind, detail, envelope, subject)


@logger.inject_lambda_context(clear_state=True)
def lambda_handler(event: dict[str, Any], context: Any) -> Any:
    """Handle the records one after the other, as Powertools does."""
    return process_partial_response(event=event, record_handler=handle, processor=processor, context=context)

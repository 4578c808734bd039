"""The conventional webhook for comparison: FastAPI behind Mangum, with standardwebhooks and boto3.

It is as good as this design allows: clients, the secret and the verifier live as long as the process, and lifespan
events and documentation are off.
"""

from __future__ import annotations

import json
import os
import uuid
from datetime import datetime
from functools import lru_cache
from typing import Any

import boto3
from fastapi import FastAPI, HTTPException, Request
from mangum import Mangum
from pydantic import BaseModel, ConfigDict, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

SOURCE = "/bms-volume-detach/webhook"
LARGEST = 64 * 1024

app = FastAPI(openapi_url=None)
queue = boto3.client("sqs")
secrets = boto3.client("secretsmanager")


class DetachData(BaseModel):
    """The request's data."""

    model_config = ConfigDict(extra="forbid")

    server_id: uuid.UUID
    volume_id: uuid.UUID
    project_id: str | None = None
    requested_at: datetime | None = None
    unmounted: bool = False
    allow_system_disk: bool = False
    dry_run: bool = False


@lru_cache(maxsize=1)
def verifiers() -> list[Webhook]:
    """One verifier for each valid secret."""
    secret = json.loads(secrets.get_secret_value(SecretId=os.environ["WEBHOOK_SECRET_ID"])["SecretString"])
    return [Webhook(one) for one in secret["secrets"]]


def is_signed(body: bytes, headers: dict[str, str]) -> bool:
    for verifier in verifiers():
        try:
            verifier.verify(body.decode(), headers)
        except WebhookVerificationError:
            continue
        return True
    return False


async def receive(request: Request) -> dict[str, Any]:
    """Authenticate and validate a request, put it on the queue as a CloudEvent, and return the id of its verdict."""
    body, headers = await request.body(), dict(request.headers)
    if len(body) > LARGEST:
        raise HTTPException(413)
    if not is_signed(body, headers):
        raise HTTPException(401)
    try:
        data = DetachData.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_context=False)) from error
    id_ = headers["webhook-id"]
    event = {
        "specversion": "1.0",
        "id": id_,
        "source": SOURCE,
        "type": "bms.volume.detach_requested.v1",
        "data": data.model_dump(mode="json", exclude_unset=True),
    }
    queue.send_message(QueueUrl=os.environ["REQUEST_QUEUE_URL"], MessageBody=json.dumps(event))
    verdict = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{SOURCE} {id_} {data.volume_id}"))
    return {"accepted": [{"volume_id": str(data.volume_id), "verdict_id": verdict}]}


app.add_api_route("/", receive, methods=["POST"], status_code=202)
lambda_handler = Mangum(app, lifespan="off")

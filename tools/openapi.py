"""The OpenAPI 3.1 document of the webhook endpoint, generated from its request and response models."""

import json
from collections.abc import Mapping
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from pydantic.json_schema import models_json_schema

from shared.inbox.request import RequestData
from shared.policy import BATCH_EVENTS, BODY_BYTES
from shared.webhook.http_binding import BATCHED, STRUCTURED
from shared.webhook.responses import EVENT_TYPE, PROBLEM_TYPE, Accepted, AcceptedBatch, Problem, UnderWay

EVENTS = Path(__file__).parent.parent / "events"
EXAMPLES = ("webhook_bare.json", "detach_cloudevent.json")

Schema = dict[str, Any]

DESCRIPTION = f"""\
Asks for volumes to be detached from a server. The webhook endpoint authenticates the sender, validates \
the request, puts it on the queue and answers `202`; it never waits for the cloud. The verdict follows later: one \
event for each volume on the event bus, with the id that the answer names, and a summary of several volumes if you \
ask for one. If the deployment keeps verdicts, \
`GET requests/{{verdict_id}}` returns the verdict too; `status_url` in the answer is its address.

A request is a CloudEvent (structured, binary or batched mode of the HTTP binding 1.0.2) or bare JSON. The \
content type decides which: `{STRUCTURED}`, `{BATCHED}`, or `application/json`, which is a CloudEvent in binary mode \
if there are `ce-` headers. Standard Webhooks signs the body and its own headers only, so in binary mode only TLS \
protects the event's attributes.

You may send the same request again. A CloudEvent is identified by its `source` and `id`, bare JSON by the \
`webhook-id` (or `Idempotency-Key`): the same request leads to the same verdict id. A volume that was attached after \
the request was made is not touched. The time of the request is the `time` of the CloudEvent, or `requested_at`. A \
sender that retries should set one of them, because the default, `webhook-timestamp`, changes with each attempt."""

ANSWERS: Mapping[int, str] = {
    202: "Everything valid is in the queue. For a batch, the answer lists the invalid events beside the others.",
    400: "The body is not JSON, or is ambiguous JSON.",
    401: "The sender is not authenticated: no signature with a known secret, or one more than five minutes old.",
    403: "The sender is known, but is not among those who may send requests (ALLOWED_REQUESTERS).",
    405: "Send requests with POST; OPTIONS is for the handshake.",
    413: f"More than {BODY_BYTES} bytes, or a batch of more than {BATCH_EVENTS} events.",
    415: "A content type that this endpoint does not read.",
    422: "The request is not valid: `errors` lists every faulty field (of a batch: `events`).",
    429: "The queue is throttled: send the same request again after `Retry-After` seconds.",
    503: "The queue did not take everything, or the keys of the endpoint or of the service's messages cannot be "
    "read: send the same request again after `Retry-After` seconds. `enqueued` and `missing` say what is in the queue; "
    "nothing is done twice.",
}

HEADERS: Mapping[int, Mapping[str, str]] = {
    202: {"Location": "The `status_url` of the summary, or of a single request, if the deployment keeps verdicts."},
    401: {"WWW-Authenticate": "The supported ways to authenticate."},
    405: {"Allow": "The supported methods."},
    429: {"Retry-After": "Seconds."},
    503: {"Retry-After": "Seconds."},
}

PARAMETERS: Mapping[str, str] = {
    "webhook-id": "Standard Webhooks: the message, the same in each attempt. Without a full stop.",
    "webhook-timestamp": "Standard Webhooks: the time of this attempt, in seconds since 1970.",
    "webhook-signature": "Standard Webhooks: `v1,` and the base64 of the HMAC-SHA256; spaces separate several.",
    "Idempotency-Key": "Identifies a bare JSON request without a `webhook-id`.",
    "ce-specversion": "Binary mode: `1.0`.",
    "ce-id": "Binary mode: the event's id.",
    "ce-source": "Binary mode: the event's source.",
    "ce-type": "Binary mode: `{prefix}.volume.detach_requested.v1`.",
    "ce-time": "Binary mode: when the request was made.",
    "ce-expirytime": "Binary mode: when the request expires.",
    "ce-correlationid": "Binary mode: echoed in every verdict.",
}

STATUS_ANSWERS: Mapping[int, str] = {
    200: "The final verdict, or the summary: the same CloudEvent as on the event bus. `docs/schemas/` describes its "
    "`data`.",
    202: "Not decided yet: in the queue or being worked on (`accepted`), or accepted by the cloud and not proven yet "
    "(`unconfirmed`). Ask again after `Retry-After` seconds.",
    401: "The sender is not authenticated. The signature has to cover the empty body.",
    403: "The sender is known, but is not among those who may send requests (ALLOWED_REQUESTERS).",
    404: "No known request has this verdict id, or the deployment keeps no verdicts. Kept verdicts expire; a request "
    "sent to the queue is known from its first event on.",
    503: "The kept verdicts, or the keys of the endpoint, cannot be read: ask again after `Retry-After` seconds.",
}

STATUS_HEADERS: Mapping[int, Mapping[str, str]] = {**HEADERS, 202: {"Retry-After": "Seconds."}}

SIGNATURE_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

SENDERS: Mapping[str, Schema] = {
    "standardWebhooks": {"type": "apiKey", "in": "header", "name": "webhook-signature",
                         "description": "A Standard Webhooks signature by one of the endpoint's secrets (`whsec_…`)."},
    "bearer": {"type": "http", "scheme": "bearer",
               "description": "For senders that cannot sign; only if tokens are configured."},
    "awsIam": {"type": "http", "scheme": "AWS4-HMAC-SHA256",
               "description": "For senders in AWS; only if the Function URL's AuthType is AWS_IAM."},
}  # fmt: skip
"""How senders authenticate."""

STRING: Schema = {"type": "string"}
TEXT: Schema = {"type": "string", "minLength": 1}
TIME: Schema = {"type": "string", "format": "date-time"}

ATTRIBUTES: Mapping[str, Schema] = {
    "specversion": {"const": "1.0"},
    "id": {**TEXT, "maxLength": 512},
    "source": {**TEXT, "maxLength": 2048, "format": "uri-reference"},
    "type": {
        **STRING,
        "pattern": r"\.volume\.detach_requested\.v1$",
        "description": "`{EVENT_TYPE_PREFIX}.volume.detach_requested.v1`; the default prefix is `bms`.",
    },
    "time": {**TIME, "description": "When the request was made. A volume attached later is not touched."},
    "subject": TEXT,
    "datacontenttype": {**STRING, "examples": ["application/json"]},
    "expirytime": {**TIME, "description": "When the request expires."},
    "correlationid": {**TEXT, "description": "Echoed in every verdict."},
    "traceparent": TEXT,
    "tracestate": TEXT,
    "data": {"$ref": "#/components/schemas/RequestData"},
}


@cache
def document() -> Schema:
    """The whole document. Callers must not change it."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Webhook for volume detach requests", "version": "1.0.0", "description": DESCRIPTION},
        "servers": [{"url": "/", "description": "The Function URL, or the route of an HTTP API."}],
        "security": [{name: []} for name in SENDERS],
        "paths": {
            "/": {"post": _post(), "options": _handshake()},
            "/requests/{verdict_id}": {"get": _status("get"), "head": _status("head")},
        },
        "components": {"schemas": _schemas(), "securitySchemes": SENDERS},
    }


def _post() -> Schema:
    bare, event = (json.loads((EVENTS / name).read_text("utf-8")) for name in EXAMPLES)
    content = {
        "application/json": {"schema": _ref("RequestData"), "example": json.loads(bare["body"])},
        STRUCTURED: {"schema": _ref("CloudEvent"), "example": event},
        BATCHED: {"schema": _ref("CloudEventBatch")},
    }
    return {
        "operationId": "requestDetach",
        "summary": "Ask for a detach",
        "parameters": [_parameter(name, meaning) for name, meaning in PARAMETERS.items()],
        "requestBody": {"required": True, "content": content},
        "responses": {str(status): _answer(status) for status in ANSWERS},
    }


VERDICT_ID: Schema = {
    "name": "verdict_id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "format": "uuid"},
    "description": "The `verdict_id` of the answer to the POST. Anything but a UUID is answered with 404.",
}


def _status(method: str) -> Schema:
    """The operation that returns the state of a request. HEAD has the same answers without their bodies."""
    head = method == "head"
    return {
        "operationId": "headOfStatus" if head else "status",
        "summary": "The same without a body" if head else "Get the state of a request",
        "parameters": [VERDICT_ID, *(_parameter(name, PARAMETERS[name]) for name in SIGNATURE_HEADERS)],
        "responses": {str(status): _status_answer(status, head) for status in STATUS_ANSWERS},
    }


def _status_answer(status: int, head: bool) -> Schema:
    told = {"description": STATUS_ANSWERS[status], **_headers(STATUS_HEADERS.get(status, {}))}
    content: Schema = {PROBLEM_TYPE: {"schema": _ref("Problem")}}
    if status == HTTPStatus.OK:
        verdict = json.loads((EVENTS / "verdicts" / "detached.json").read_text("utf-8"))
        content = {EVENT_TYPE: {"schema": _ref("VerdictEvent"), "example": verdict}}
    elif status == HTTPStatus.ACCEPTED:
        content = {"application/json": {"schema": _ref("UnderWay"), "examples": _under_way()}}
    return told if head else {**told, "content": content}


def _under_way() -> Schema:
    verdict = json.loads((EVENTS / "verdicts" / "detached.json").read_text("utf-8"))
    request, timing = verdict["data"]["request"], verdict["data"]["timing"]
    accepted = {
        "status": "accepted",
        "verdict_id": verdict["id"],
        **request,
        "server_id": verdict["data"]["server_id"],
        "volume_id": verdict["data"]["volume_id"],
        "requested_at": timing["requested_at"],
        "accepted_at": timing["first_seen_at"],
    }
    late = {"unconfirmed_since": verdict["time"], "explanation": "the volume is detaching"}
    return {"accepted": {"value": accepted}, "unconfirmed": {"value": {**accepted, "status": "unconfirmed", **late}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _parameter(name: str, meaning: str, required: bool = False) -> Schema:
    return {"name": name, "in": "header", "required": required, "schema": STRING, "description": meaning}


def _headers(meanings: Mapping[str, str]) -> Schema:
    headers = {name: {"description": meaning, "schema": STRING} for name, meaning in meanings.items()}
    return {"headers": headers} if headers else {}


def _answer(status: int) -> Schema:
    content: Schema = {PROBLEM_TYPE: {"schema": _ref("Problem")}}
    if status == HTTPStatus.ACCEPTED:
        content = {"application/json": {"schema": {"oneOf": [_ref("Accepted"), _ref("AcceptedBatch")]}}}
    return {"description": ANSWERS[status], **_headers(HEADERS.get(status, {})), "content": content}


def _handshake() -> Schema:
    """CloudEvents WebHook 1.0.2 §4."""
    consent = {
        "WebHook-Allowed-Origin": "The origin, or `*`.",
        "WebHook-Allowed-Rate": "`*`: any rate.",
        "Allow": "`POST`",
    }
    return {
        "operationId": "askToSend",
        "summary": "Ask whether an origin may send (CloudEvents WebHook handshake)",
        "security": [],
        "parameters": [
            _parameter("WebHook-Request-Origin", "The DNS name of the sender.", required=True),
            _parameter("WebHook-Request-Rate", "Deliveries a minute."),
        ],
        "responses": {
            "200": {"description": "The origin may send.", **_headers(consent)},
            "405": {**_answer(405), "description": "The origin is not among those allowed."},
        },
    }


def _schemas() -> Schema:
    said = (Accepted, AcceptedBatch, UnderWay, Problem)
    modes = [(RequestData, "validation"), *((model, "serialization") for model in said)]
    _, definitions = models_json_schema(modes, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: Schema = definitions["$defs"]
    every = {"required": ["all_data_disks"], "properties": {"all_data_disks": {"const": True}}}
    schemas["RequestData"]["oneOf"] = [{"required": ["volume_id"]}, {"required": ["volume_ids"]}, every]
    event = {
        "type": "object",
        "description": "A CloudEvent 1.0 in JSON. Other extension attributes are ignored.",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": ATTRIBUTES,
    }
    batch = {"type": "array", "minItems": 1, "maxItems": BATCH_EVENTS, "items": _ref("CloudEvent")}
    verdict = {
        "type": "object",
        "description": "The CloudEvent 1.0 of a verdict or a summary; `docs/schemas/` has a schema for each type.",
        "required": ["specversion", "id", "source", "type", "time", "data"],
        "properties": {
            "specversion": ATTRIBUTES["specversion"],
            "id": {**STRING, "format": "uuid"},
            "source": {**TEXT, "format": "uri-reference"},
            "type": {**STRING, "pattern": r"\.volume\.(detached|detach_failed|detach_checked|detach_summary)\.v1$"},
            "time": TIME,
            "data": {"type": "object"},
        },
    }
    return {"CloudEvent": event, "CloudEventBatch": batch, "VerdictEvent": verdict, **schemas}

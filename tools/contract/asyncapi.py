"""The AsyncAPI 3.1 document of every channel: who sends what to whom, and by which rules."""

from collections.abc import Mapping
from typing import Any

from tools.contract.schemas import EMITTED, REQUEST

Part = dict[str, Any]

JSON_SCHEMA = "application/schema+json;version=2020-12"
CLOUDEVENT = "application/cloudevents+json"

DESCRIPTION = """\
Detaches volumes from servers on request of an event, proves it, and says so in an event. Every request ends in \
exactly one final verdict (`detached` or `detach_failed`; `detach_checked` for a dry run) for each of its volumes; a \
`detach_unconfirmed` may come before. The final verdict has one id whatever it says and however often it is delivered. \
A request for all data disks of a server, or for several volumes with `summary`, ends in one `detach_summary`, after \
the last of its verdicts.

Event types begin with the deployment's prefix, `bms` unless set otherwise; here they are named without it."""

CHANNELS: Mapping[str, Part] = {
    "requestQueue": {
        "address": "{requestQueue}",
        "title": "Request queue (SQS)",
        "description": "Requests as CloudEvents or bare JSON, alone or inside an SNS notification, an EventBridge "
        "event, or one inside another. Messages of our own wait here too; their form is no part of this contract.",
        "parameters": {"requestQueue": {"description": "The stack's output RequestQueueUrl."}},
        "bindings": {"sqs": {"queue": {"name": "requestQueue", "fifoQueue": False}, "bindingVersion": "0.2.0"}},
    },
    "deadLetterQueue": {
        "address": "{deadLetterQueue}",
        "title": "Dead-letter queue (SQS)",
        "description": "Messages that no delivery brought to an end. Each request in them is answered from here "
        "with the reason `dead_lettered`, by `detach_failed` or, a dry run, by `detach_checked`, and stays only "
        "while that is not possible.",
        "parameters": {"deadLetterQueue": {"description": "Of the stack; its name is made by AWS."}},
        "bindings": {"sqs": {"queue": {"name": "deadLetterQueue", "fifoQueue": False}, "bindingVersion": "0.2.0"}},
    },
    "webhook": {
        "address": "/",
        "title": "Webhook endpoint (HTTP)",
        "description": "Signed deliveries; see openapi.json for the answers and for the handshake.",
    },
    "eventBus": {
        "address": "{eventBus}",
        "title": "Event bus (EventBridge)",
        "description": "`detail` is the whole CloudEvent, `detail-type` its type, `source` its source.",
        "parameters": {"eventBus": {"description": "The stack's output EventBusName."}},
    },
    "httpSink": {
        "address": "{sinkUrl}",
        "title": "HTTP sink",
        "description": "Every verdict, and every summary, as a POST, structured or (SINK_MODE=binary) binary, signed "
        "by Standard Webhooks with the event's id as `webhook-id`. 2xx is a yes. 408, 425, 429, 5xx and no answer are "
        "tried again, by Retry-After or at growing intervals, for DELIVERY_TTL; anything else is a no for good.",
        "parameters": {"sinkUrl": {"description": "The setting SINK_URL: https."}},
    },
    "taskToken": {
        "address": "states.amazonaws.com",
        "title": "Task token (Step Functions)",
        "description": "For a request with `task_token`. `detached` and `detach_checked`: SendTaskSuccess with the "
        "event as output. `detach_failed`: SendTaskFailure with the reason code as error and the event as cause "
        "(without its longest parts if it is over 32768 characters). `detach_unconfirmed`: SendTaskHeartbeat. Of a "
        "request with a summary that event answers in place of the verdicts: by its outcome, a failure with the error "
        "`failed`.",
    },
}

OPERATIONS: Mapping[str, tuple[str, str, str]] = {
    "takeRequest": ("receive", "requestQueue", "Step each request towards its verdict."),
    "answerDeadLetter": ("receive", "deadLetterQueue", "Answer what could not be handled."),
    "takeWebhook": ("receive", "webhook", "Prove the sender, validate, put on the request queue."),
    "emitVerdict": ("send", "eventBus", "Say what came of a request; always, and first."),
    "postVerdict": ("send", "httpSink", "The same to an HTTP endpoint, if there is one."),
    "answerTask": ("send", "taskToken", "The same to a workflow, if one waits."),
}

METHOD = {"http": {"method": "POST", "bindingVersion": "0.3.0"}}
OPERATION_BINDINGS: Mapping[str, Part] = {"takeWebhook": METHOD, "postVerdict": METHOD}


def document() -> Part:
    """The whole document; schemas are those under docs/schemas."""
    return {
        "asyncapi": "3.1.0",
        "info": {"title": "Volume detach", "version": "1.0.0", "description": DESCRIPTION},
        "defaultContentType": CLOUDEVENT,
        "channels": {channel: _channel(channel, action) for action, channel, _ in OPERATIONS.values()},
        "operations": {name: _operation(name) for name in OPERATIONS},
        "components": {"messages": _messages()},
    }


def _channel(name: str, action: str) -> Part:
    """We receive requests and send verdicts."""
    carried = (REQUEST, f"{REQUEST}.bare") if action == "receive" else EMITTED
    return {**CHANNELS[name], "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in carried}}


def _operation(name: str) -> Part:
    action, channel, summary = OPERATIONS[name]
    bindings = {"bindings": OPERATION_BINDINGS[name]} if name in OPERATION_BINDINGS else {}
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary, **bindings}


def _messages() -> Part:
    bare = _message(f"{REQUEST}.v1.data", "A request without an envelope: equal to the event's `data`.")
    request = _message(f"{REQUEST}.v1", "Asks for volumes to be detached from a server.")
    sent = {name: _message(f"{name}.v1", description) for name, (description, _) in EMITTED.items()}
    return {REQUEST: request, f"{REQUEST}.bare": {**bare, "contentType": "application/json"}, **sent}


def _message(schema: str, summary: str) -> Part:
    payload = {"schemaFormat": JSON_SCHEMA, "schema": {"$ref": f"schemas/{schema}.json"}}
    return {"name": schema, "summary": summary, "contentType": CLOUDEVENT, "payload": payload}

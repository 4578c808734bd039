"""The AsyncAPI 3.1 document: every channel, with its senders, messages and rules."""

from collections.abc import Mapping
from typing import Any

from tools.contract.schemas import EMITTED, REQUEST

Part = dict[str, Any]

JSON_SCHEMA = "application/schema+json;version=2020-12"
CLOUDEVENT = "application/cloudevents+json"

DESCRIPTION = """\
Detaches volumes from servers when an event asks for it, proves the outcome, and emits it as an event. Every request \
ends in exactly one final verdict for each of its volumes (`detached` or `detach_failed`; `detach_checked` for a dry \
run). A `detach_unconfirmed` may come before. The final verdict has the same id in each delivery, whatever it says. \
A request for all data disks of a server, or for several volumes with `summary`, ends in one `detach_summary`, after \
the last of its verdicts.

Event types begin with the deployment's prefix, by default `bms`; this document leaves it out."""

CHANNELS: Mapping[str, Part] = {
    "requestQueue": {
        "address": "{requestQueue}",
        "title": "Request queue (SQS)",
        "description": "Requests as CloudEvents or bare JSON, alone or inside an SNS notification, an EventBridge "
        "event, or one inside another. The service's own messages wait here too; their format is not part of this "
        "contract.",
        "parameters": {"requestQueue": {"description": "The stack's output RequestQueueUrl."}},
        "bindings": {"sqs": {"queue": {"name": "requestQueue", "fifoQueue": False}, "bindingVersion": "0.2.0"}},
    },
    "deadLetterQueue": {
        "address": "{deadLetterQueue}",
        "title": "Dead-letter queue (SQS)",
        "description": "Messages that no delivery could finish. Each request in them gets a verdict with the reason "
        "`dead_lettered`: `detach_failed`, or `detach_checked` for a dry run. A message stays here only until its "
        "verdicts are emitted.",
        "parameters": {"deadLetterQueue": {"description": "The stack's queue; AWS generates its name."}},
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
        "description": "Every verdict and every summary as a POST, structured or (SINK_MODE=binary) binary, signed "
        "by Standard Webhooks with the event's id as `webhook-id`. 2xx accepts it. After 408, 425, 429, 5xx or no "
        "answer it is sent again, by Retry-After or at growing intervals, for DELIVERY_TTL. Any other answer refuses "
        "it for good.",
        "parameters": {"sinkUrl": {"description": "The setting SINK_URL: https."}},
    },
    "taskToken": {
        "address": "states.amazonaws.com",
        "title": "Task token (Step Functions)",
        "description": "For a request with `task_token`. `detached` and `detach_checked`: SendTaskSuccess with the "
        "event as output. `detach_failed`: SendTaskFailure with the reason code as error and the event as cause "
        "(without its longest parts if it is over 32768 characters). `detach_unconfirmed`: SendTaskHeartbeat. For a "
        "request with a summary, only the summary answers the task: by its outcome, where `failed` is also the error.",
    },
}

OPERATIONS: Mapping[str, tuple[str, str, str]] = {
    "takeRequest": ("receive", "requestQueue", "Take the next step of each request towards its verdict."),
    "answerDeadLetter": ("receive", "deadLetterQueue", "Emit verdicts for requests that could not be handled."),
    "takeWebhook": ("receive", "webhook", "Authenticate the sender, validate the request, put it on the queue."),
    "emitVerdict": ("send", "eventBus", "Emit the verdict; always, and first."),
    "postVerdict": ("send", "httpSink", "Send the verdict to an HTTP endpoint, if one is set."),
    "answerTask": ("send", "taskToken", "Send the verdict to a workflow, if one waits."),
}

METHOD = {"http": {"method": "POST", "bindingVersion": "0.3.0"}}
OPERATION_BINDINGS: Mapping[str, Part] = {"takeWebhook": METHOD, "postVerdict": METHOD}


def document() -> Part:
    """The whole document; it refers to the schemas in docs/schemas."""
    return {
        "asyncapi": "3.1.0",
        "info": {"title": "Volume detach", "version": "1.0.0", "description": DESCRIPTION},
        "defaultContentType": CLOUDEVENT,
        "channels": {channel: _channel(channel, action) for action, channel, _ in OPERATIONS.values()},
        "operations": {name: _operation(name) for name in OPERATIONS},
        "components": {"messages": _messages()},
    }


def _channel(name: str, action: str) -> Part:
    """A channel, with the messages for its direction: the service receives requests and sends verdicts."""
    carried = (REQUEST, f"{REQUEST}.bare") if action == "receive" else EMITTED
    return {**CHANNELS[name], "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in carried}}


def _operation(name: str) -> Part:
    action, channel, summary = OPERATIONS[name]
    bindings = {"bindings": OPERATION_BINDINGS[name]} if name in OPERATION_BINDINGS else {}
    return {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": summary, **bindings}


def _messages() -> Part:
    bare = _message(f"{REQUEST}.v1.data", "A request without an envelope: the event's `data` alone.")
    request = _message(f"{REQUEST}.v1", "Asks for volumes to be detached from a server.")
    sent = {name: _message(f"{name}.v1", description) for name, (description, _) in EMITTED.items()}
    return {REQUEST: request, f"{REQUEST}.bare": {**bare, "contentType": "application/json"}, **sent}


def _message(schema: str, summary: str) -> Part:
    payload = {"schemaFormat": JSON_SCHEMA, "schema": {"$ref": f"schemas/{schema}.json"}}
    return {"name": schema, "summary": summary, "contentType": CLOUDEVENT, "payload": payload}

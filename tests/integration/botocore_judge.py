"""AWS as botocore's models describe it: a second implementation besides moto that shares nothing with our client.

A loopback server receives raw requests. It checks each against the service's model (operation, protocol, members,
limits) and with botocore's signer, and sends an answer or an error as the model describes it.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]
from botocore.loaders import Loader  # type: ignore[import-untyped]
from botocore.model import ServiceModel, Shape  # type: ignore[import-untyped]

from local.aws_stand_in import CREDENTIALS

SERVICES = {"AmazonSQS": "sqs", "AWSEvents": "events", "secretsmanager": "secretsmanager",
            "AWSStepFunctions": "stepfunctions"}  # fmt: skip
"""Botocore's names for the prefixes of targets."""


@cache
def model_of(service: str) -> ServiceModel:
    return ServiceModel(Loader().load_service_model(service, "service-2"), service)


@dataclass(frozen=True)
class Received:
    """One request as it arrived; header names are in lower case."""

    headers: Mapping[str, str]
    body: bytes
    path: str = "/"

    @property
    def operation(self) -> tuple[str, str]:
        prefix, _, operation = self.headers.get("x-amz-target", "").partition(".")
        return SERVICES.get(prefix, ""), operation


def objections(received: Received, host: str) -> Iterator[str]:
    """Everything that is wrong with a request, by the model and the signature."""
    service, operation = received.operation
    if not service or operation not in model_of(service).operation_names:
        yield f"no such operation: {received.headers.get('x-amz-target')}"
        return
    metadata = model_of(service).metadata
    if received.headers.get("content-type") != f"application/x-amz-json-{metadata['jsonVersion']}":
        yield f"content type {received.headers.get('content-type')}"
    if metadata["targetPrefix"] != received.headers["x-amz-target"].partition(".")[0]:
        yield "another target prefix"
    shape = model_of(service).operation_model(operation).input_shape
    try:
        value = json.loads(received.body)
    except ValueError as error:
        yield f"no JSON: {error}"
        return
    if shape is not None:
        yield from _faults(value, shape, operation)
    yield from _signature(received, service, host)


KINDS: Mapping[str, Any] = {
    "structure": dict, "map": dict, "list": list, "string": str, "blob": str, "boolean": bool,
    "integer": int, "long": int, "double": (int, float), "timestamp": (int, float),
}  # fmt: skip
"""The JSON types for each type of a model."""


def _faults(value: Any, shape: Shape, at: str) -> Iterator[str]:
    """The faults of a value by its shape: types, unknown and missing members, lengths, ranges, patterns, enums."""
    if not isinstance(value, KINDS[shape.type_name]):
        yield f"{at} is {value!r:.40}, no {shape.type_name}"
        return
    limits = shape.metadata
    size = value if shape.type_name in ("integer", "long") else len(value) if hasattr(value, "__len__") else None
    if size is not None and not limits.get("min", size) <= size <= limits.get("max", size):
        yield f"{at} has {size}, allowed are {limits.get('min')} to {limits.get('max')}"
    if "enum" in limits and value not in limits["enum"]:
        yield f"{at} is none of {limits['enum']}"
    if "pattern" in limits and not re.fullmatch(limits["pattern"], value, re.DOTALL):
        yield f"{at} does not match {limits['pattern']}"
    if shape.type_name == "structure":
        members = getattr(shape, "members")  # noqa: B009 - the shape's class follows from its type
        yield from (f"{at} has no member {name}" for name in value if name not in members)
        yield from (f"{at} lacks {name}" for name in getattr(shape, "required_members") if name not in value)  # noqa: B009
        for name in value.keys() & members.keys():
            yield from _faults(value[name], members[name], f"{at}.{name}")
    elif shape.type_name == "list":
        for number, one in enumerate(value):
            yield from _faults(one, getattr(shape, "member"), f"{at}[{number}]")  # noqa: B009
    elif shape.type_name == "map":
        for name, one in value.items():
            yield from _faults(one, getattr(shape, "value"), f"{at}.{name}")  # noqa: B009


def _signature(received: Received, service: str, host: str) -> Iterator[str]:
    """Check that botocore's signature over the signed headers is the same."""
    header = received.headers.get("authorization", "")
    scope = re.search(r"Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request", header)
    signed = re.search(r"SignedHeaders=([^,]+)", header)
    if not scope or not signed:
        yield f"no signature: {header!r}"
        return
    name = model_of(service).metadata.get("signingName", model_of(service).metadata["endpointPrefix"])
    if scope[4] != name:
        yield f"signed for {scope[4]}, not for {name}"
    names = signed[1].split(";")
    if not {"host", "x-amz-date", "x-amz-target"} <= set(names):
        yield f"only {names} are signed"
    if received.headers.get("x-amz-content-sha256", digest := sha256(received.body).hexdigest()) != digest:
        yield "the body differs from the signed one"
    request = AWSRequest("POST", f"http://{host}{received.path}", data=received.body)
    for name_ in names:
        request.headers[name_] = received.headers[name_]
    request.context["timestamp"] = received.headers["x-amz-date"]
    environment = dict(CREDENTIALS)
    keys = Credentials(environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"])
    signer = SigV4Auth(keys, name, scope[3])
    canonical = signer.canonical_request(request)
    if signer.signature(signer.string_to_sign(request, canonical), request) not in header:
        yield "the signature differs"


# --------------------------------------------------------------------------------------------------------- answers


def example(shape: Shape | None, seen: tuple[str, ...] = ()) -> Any:
    """A value of a shape with all of its members."""
    if shape is None or shape.name in seen:
        return {}
    deeper = (*seen, shape.name)
    match shape.type_name:
        case "structure":
            return {name: example(one, deeper) for name, one in getattr(shape, "members").items()}  # noqa: B009
        case "list":
            return [example(getattr(shape, "member"), deeper)]  # noqa: B009
        case "map":
            return {"name": example(getattr(shape, "value"), deeper)}  # noqa: B009
        case "boolean":
            return False
        case "integer" | "long" | "double" | "timestamp":
            return shape.metadata.get("min", 1)
        case _:
            return (shape.metadata.get("enum") or ["a text"])[0]


@dataclass(frozen=True)
class Answer:
    """An answer of the server, such as an error in one of its notations."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def errors_of(service: str, operation: str) -> Iterator[tuple[str, Answer]]:
    """Every error that the model declares for an operation, and those of all operations, in each notation."""
    model = model_of(service)
    for shape in model.operation_model(operation).error_shapes:
        status = shape.metadata.get("error", {}).get("httpStatusCode", 400)
        code = shape.metadata.get("error", {}).get("code", shape.name)
        space = f"com.amazonaws.{service}#{shape.name}"
        yield shape.name, Answer(status, {"__type": shape.name, "message": "as the model says"})
        yield shape.name, Answer(status, {"__type": space, "Message": "as the model says"},
                                 {"x-amzn-query-error": f"{code};Sender"})  # fmt: skip
        yield (
            shape.name,
            Answer(status, {"message": "as the model says"}, {"x-amzn-ErrorType": f"{shape.name}:http://x/"}),
        )


@dataclass
class Judge:
    """The received requests, their faults, and the answers."""

    host: str = ""
    received: list[Received] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    answer: Answer | None = None
    answers: dict[str, Any] = field(default_factory=dict)

    def receive(self, received: Received) -> Answer:
        self.received.append(received)
        service, operation = received.operation
        found = list(objections(received, self.host))
        self.wrong += found
        if found:
            return Answer(400, {"__type": "ValidationException", "message": "; ".join(found)})
        if self.answer:
            return self.answer
        shape = model_of(service).operation_model(operation).output_shape
        return Answer(body={**example(shape), **self.answers.get(operation, {})})


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    judge: Judge


class _Connection(BaseHTTPRequestHandler):
    server: _Listener
    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        received = Received({name.lower(): value for name, value in self.headers.items()}, body, self.path)
        answer = self.server.judge.receive(received)
        text = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: Any) -> None:
        """Log nothing: the judge keeps the requests."""


@contextmanager
def judging() -> Iterator[Judge]:
    """Run the server on a free local port inside the `with` block."""
    listener = _Listener(("127.0.0.1", 0), _Connection)
    listener.judge = Judge(f"127.0.0.1:{listener.server_port}")
    serve = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    serve.start()
    try:
        yield listener.judge
    finally:
        listener.shutdown()
        listener.server_close()
        serve.join()

"""A schema registry as botocore's model describes it: a local server that keeps schemas and their versions.

moto has none. Requests are checked against the model of `schemas`: paths, members, enums and lengths.
"""

import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.validate import ParamValidator  # type: ignore[import-untyped]

from tests.integration.botocore_judge import model_of

PAGE = 2
"""Schemas on one page of a list, so that a client has to follow pages."""

ROUTES = {
    ("GET", 4): "ListSchemas",
    ("GET", 6): "DescribeSchema",
    ("POST", 6): "CreateSchema",
    ("PUT", 6): "UpdateSchema",
    ("DELETE", 6): "DeleteSchema",
}
"""Operations by the method and the number of parts of /v1/registries/name/{registry}/schemas[/name/{schema}]."""

Answer = tuple[int, str, dict[str, Any]]
"""Status, error code (empty if none), and body."""


@dataclass
class SchemaRegistry:
    """The versions of each schema, the oldest first. Each operation in `refused` is answered with that error."""

    name: str
    schemas: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, method: str, url: str, body: bytes) -> Answer:
        parts = [unquote(part) for part in urlsplit(url).path.removeprefix("/v1/").split("/")]
        operation = ROUTES[method, len(parts)]
        registry, schema = parts[2], parts[5] if len(parts) == 6 else ""
        if operation in self.refused:
            status, code = self.refused[operation]
            return status, code, {"Code": code, "Message": f"no {operation} for you"}
        given = json.loads(body) if body else {}
        if found := list(self._faults(operation, given, registry, schema)):
            self.wrong += found
            return 400, "BadRequestException", {"Code": "BadRequest", "Message": "; ".join(found)}
        if registry != self.name or (operation not in ("ListSchemas", "CreateSchema") and schema not in self.schemas):
            return 404, "NotFoundException", {"Code": "NotFound", "Message": f"{schema} does not exist"}
        return self._done(operation, given, schema, parse_qs(urlsplit(url).query))

    def _done(self, operation: str, given: dict[str, Any], schema: str, query: Mapping[str, list[str]]) -> Answer:
        match operation:
            case "ListSchemas":
                start = int(query.get("nextToken", ["0"])[0])
                names = [{"SchemaName": name} for name in sorted(self.schemas)[start : start + PAGE]]
                more = {"NextToken": str(start + PAGE)} if start + PAGE < len(self.schemas) else {}
                return 200, "", {"Schemas": names, **more}
            case "DescribeSchema":
                return 200, "", {"SchemaVersion": str(len(self.schemas[schema])), **self.schemas[schema][-1]}
            case "DeleteSchema":
                del self.schemas[schema]
                return 204, "", {}
            case "CreateSchema" if schema in self.schemas:
                return 409, "ConflictException", {"Code": "Conflict", "Message": f"{schema} exists"}
        self.schemas.setdefault(schema, []).append(given | {"SchemaName": schema})
        return 201 if operation == "CreateSchema" else 200, "", {"SchemaVersion": str(len(self.schemas[schema]))}

    def _faults(self, operation: str, given: dict[str, Any], registry: str, schema: str) -> Iterator[str]:
        shape = model_of("schemas").operation_model(operation).input_shape
        whole = {"RegistryName": registry, **({"SchemaName": schema} if schema else {}), **given}
        if (report := ParamValidator().validate(whole, shape)).has_errors():
            yield report.generate_report()
        for name in whole.keys() & shape.members.keys():
            limits = shape.members[name].metadata
            if len(whole[name]) > limits.get("max", len(whole[name])):
                yield f"{name} has {len(whole[name])} characters"
            if "enum" in limits and whole[name] not in limits["enum"]:
                yield f"{name} is none of {limits['enum']}"
        yield from (f"no member {name}" for name in whole.keys() - shape.members.keys())
        if schema and not re.fullmatch(r"[A-Za-z0-9._@-]{1,385}", schema):
            yield f"{schema} is not a schema's name"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    registry: SchemaRegistry


class _Connection(BaseHTTPRequestHandler):
    server: _Listener

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, code, content = self.server.registry.answer(self.command, self.path, body)
        text = b"" if status == 204 else json.dumps(content).encode()
        self.send_response(status)
        if code:
            self.send_header("x-amzn-ErrorType", code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""


@contextmanager
def serving(name: str) -> Iterator[SchemaRegistry]:
    """Run an empty registry of that name on a free local port."""
    listener = _Listener(("127.0.0.1", 0), _Connection)
    listener.registry = SchemaRegistry(name, address=f"http://127.0.0.1:{listener.server_port}")
    serve = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    serve.start()
    try:
        yield listener.registry
    finally:
        listener.shutdown()
        listener.server_close()
        serve.join()

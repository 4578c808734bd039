"""Protection of the local services from web pages and from other users of this machine."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

HERE = ("127.0.0.1", "localhost")
FORBIDDEN = b"This service is for the command that started it."

Start = Callable[..., Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]


def is_foreign(headers: Mapping[str, str], port: int) -> bool:
    """Whether a request comes from a foreign web page: another origin, or another host name (DNS rebinding).

    `headers` has names in their usual spelling, such as `Origin`.
    """
    hosts = {f"{name}:{port}" for name in HERE}
    origin = headers.get("Origin")
    return headers.get("Host", "").lower() not in hosts or (origin is not None and urlsplit(origin).netloc not in hosts)


@dataclass(frozen=True)
class Guarded:
    """A WSGI application that accepts only requests signed with the access key of this run, and no web pages."""

    app: App
    key: str | None

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        told = {
            name: environ[f"HTTP_{name.upper()}"] for name in ("Origin", "Host") if f"HTTP_{name.upper()}" in environ
        }
        signed = self.key is None or f"Credential={self.key}/" in environ.get("HTTP_AUTHORIZATION", "")
        if not signed or is_foreign(told, int(environ["SERVER_PORT"])):
            start("403 Forbidden", [("Content-Type", "text/plain"), ("Content-Length", str(len(FORBIDDEN)))])
            return [FORBIDDEN]
        return self.app(environ, start)

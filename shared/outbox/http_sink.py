"""Sends verdicts to an HTTP endpoint: one POST each, as CloudEvents signed by Standard Webhooks."""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import quote

import requests
from standardwebhooks import Webhook

from shared.policy import LONGEST_OFFER, SINK_ANSWER, SINK_CONNECT
from shared.ports import AwsTrouble, Event, NotTaken
from shared.quick import dataclass
from shared.retry_after import seconds
from shared.settings import SinkMode
from shared.signatures import ID, SIGNATURE, TIMESTAMP, SinkKeys

TRY_AGAIN = {408, 425, 429}
"""Statuses that are retried, as is every 5xx."""

VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
"""Characters that a header value may contain unescaped (CloudEvents HTTP binding 1.0.2 §3.1.3.2)."""


@dataclass(frozen=True)
class HttpSink:
    """POSTs every event to `url`. The event's id is the webhook's id, so that the receiver recognises repetitions."""

    url: str
    keys: Callable[[], SinkKeys]
    clock: Callable[[], datetime]
    mode: SinkMode = SinkMode.STRUCTURED
    http: requests.Session = field(default_factory=requests.Session)
    threads: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 4, "sink"))

    def wants(self, _: Event) -> bool:
        """Every event: a sink filters for itself."""
        return True

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        """POST the event; any 2xx means that it was taken. Redirects are not followed, since a signature is for one
        receiver.

        Ends within LONGEST_OFFER and before the deadline. The POST runs in a thread that is then abandoned, because
        nothing else ends an answer whose headers come byte by byte.
        """
        headers, body = CONTENT[self.mode](json.loads(event.body), event.body)
        latest = self.clock() + timedelta(seconds=LONGEST_OFFER)
        try:
            keys = self.keys()
            signed = self._signature(keys, event.id, body)
            left = (min(latest, deadline or latest) - self.clock()).total_seconds()
            if left <= 0:
                return NotTaken("no time was left to send it", again=True)
            posting = self.threads.submit(self._posted, {**headers, **signed}, body, keys.verify, left)
            return posting.result(left)
        except AwsTrouble as trouble:
            return NotTaken(str(trouble), again=True)
        except TimeoutError:
            posting.cancel()
            return NotTaken(f"no answer within {left:.1f} s", again=True)
        except requests.RequestException as error:
            return NotTaken(f"no answer ({type(error).__name__})", again=True)

    def _posted(self, headers: Mapping[str, str], body: str, verify: str | bool, seconds: float) -> NotTaken | None:
        with self.http.post(
            self.url,
            data=body.encode(),
            headers=headers,
            timeout=(min(SINK_CONNECT, seconds), min(SINK_ANSWER, seconds)),
            verify=verify,
            allow_redirects=False,
            stream=True,  # the body is not read, however long it is
        ) as response:
            return self._answered(response)

    def _answered(self, response: requests.Response) -> NotTaken | None:
        status = response.status_code
        if 200 <= status < 300:
            return None
        again = status >= 500 or status in TRY_AGAIN
        retry_after = seconds(response.headers.get("Retry-After"), self.clock()) if again else None
        return NotTaken(f"HTTP {status}", again, retry_after)

    def _signature(self, keys: SinkKeys, id: str, body: str) -> Mapping[str, str]:
        """Sign with every secret, so that the receiver can change to a new one at any time."""
        secrets = [key.text for key in keys.secrets]
        if not secrets:
            raise AwsTrouble("there is no secret to sign with")
        now = self.clock().astimezone(UTC)
        signatures = " ".join(Webhook(secret).sign(id, now, body) for secret in secrets)
        return {ID: id, TIMESTAMP: str(int(now.timestamp())), SIGNATURE: signatures}


def _structured(event: Mapping[str, object], body: str) -> tuple[dict[str, str], str]:
    return {"Content-Type": "application/cloudevents+json; charset=utf-8"} | _trace(event), body


def _binary(event: Mapping[str, object], _: str) -> tuple[dict[str, str], str]:
    attributes = {name: value for name, value in event.items() if name not in ("data", "datacontenttype")}
    headers = {f"ce-{name}": quote(str(value), safe=VISIBLE) for name, value in attributes.items()}
    content_type = {"Content-Type": str(event["datacontenttype"])}
    return headers | content_type | _trace(event), json.dumps(event["data"], ensure_ascii=False)


def _trace(event: Mapping[str, object]) -> dict[str, str]:
    """The trace headers, which continue the trace in the receiver (W3C Trace Context)."""
    names = ("traceparent", "tracestate") if "traceparent" in event else ()
    values = {name: str(event[name]) for name in names if name in event}
    return {name: value for name, value in values.items() if value.isascii()}


CONTENT = {SinkMode.STRUCTURED: _structured, SinkMode.BINARY: _binary}

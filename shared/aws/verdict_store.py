"""Stores what became of requests in an S3 bucket: a consumer of verdicts, which the webhook endpoint reads.

`requests/{verdict id}.json` holds the event of the final verdict, and before that the mark of an accepted request. The
`unconfirmed` event has its own key next to it. So no writer has to read first: a mark is written only if nothing is
there (`If-None-Match`), a verdict always, and `unconfirmed` cannot overwrite a verdict.
"""

import json
import re
from collections.abc import Callable, Mapping
from concurrent.futures import wait
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

import requests

from shared.aws.client import AwsClient, Place, Protocol
from shared.aws.errors import AwsError, NoAnswer
from shared.model import Outcome, verdict_id
from shared.policy import AWS_ANSWER, AWS_CONNECT, MARK_PATIENCE, STATUS_PATIENCE
from shared.ports import AwsTrouble, Event, Kept, NotTaken
from shared.quick import dataclass

PREFIX = "requests/"
"""The prefix of every key; the template's permissions are for this prefix."""

EVENT_TYPE, MARK_TYPE = "application/cloudevents+json", "application/json"

PUT, GET, LIST = "PutObject", "GetObject", "ListObjectsV2"
METHODS = {PUT: "PUT", GET: "GET", LIST: "GET"}
"""The operations of S3 that are called, and their HTTP methods."""

WRITES = Protocol("s3", "AWS_ENDPOINT_URL_S3", "", "", AWS_ANSWER, attempts=1)
READS = WRITES._replace(patience=STATUS_PATIENCE, attempts=2)
"""Writes are not retried here, since a verdict that was not stored is offered again from the queue. Reads are retried,
since a sender waits for the answer."""

THERE_ALREADY = {"PreconditionFailed", "ConditionalRequestConflict"}
"""Errors of a conditional PUT: an object exists, or is being written now (S3, conditional writes)."""


@dataclass(frozen=True)
class S3VerdictStore:
    """Stores every verdict and every `unconfirmed`. It has its own `client`, so that S3 does not delay other calls."""

    client: AwsClient
    bucket: str

    # ------------------------------------------------------------------------------------------- as a consumer

    def wants(self, _: Event) -> bool:
        """Every event: somebody may ask about each request."""
        return True

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        """Store the event, in one attempt: if that fails, it waits in the queue and is offered again."""
        once = partial(self._once, PUT, key_of(event), event.body, {"Content-Type": EVENT_TYPE})
        try:
            self.client.call(WRITES, PUT, {}, deadline, once)
        except AwsTrouble as trouble:  # a missing policy or bucket can be corrected, too
            return NotTaken(str(trouble), again=True)
        return None

    # ------------------------------------------------------------------------------- for the webhook endpoint

    def mark(self, marks: Mapping[str, str]) -> str | None:
        """Write all marks in parallel, one attempt each. After MARK_PATIENCE the rest is abandoned; a late mark is
        harmless."""
        headers = {"Content-Type": MARK_TYPE, "If-None-Match": "*"}
        putting = [
            self.client.threads.submit(self._once, PUT, final_key(id_), mark, headers, MARK_PATIENCE)
            for id_, mark in marks.items()
        ]
        ended, late = wait(putting, MARK_PATIENCE)
        for one in late:
            one.cancel()
        troubles = [no for no in (one.exception() for one in ended) if no and not _is_there_already(no)]
        bugs = [no for no in troubles if not isinstance(no, AwsTrouble)]
        if bugs:
            raise bugs[0]
        why = str(troubles[0]) if troubles else f"{PUT}: no answer within {MARK_PATIENCE} s"
        return f"{len(troubles) + len(late)} of {len(putting)} not marked: {why}" if troubles or late else None

    def find(self, id_: str) -> Kept:
        """What is stored of a request. Raises AwsTrouble, also for an object that is not ours."""
        ends = self.client.clock() + timedelta(seconds=STATUS_PATIENCE)
        found = self._read(final_key(id_), ends)
        if found is not None and _is_event(found):
            return Kept(verdict=found)
        return Kept(mark=found, unconfirmed=self._read(unconfirmed_key(id_), ends))

    def _read(self, key: str, ends: datetime) -> str | None:
        try:
            return self._asked(GET, partial(self._once, GET, key, "", {}), ends)
        except AwsError as error:
            if error.code == "NoSuchKey" or (error.code == "AccessDenied" and not self._is_listed(key, ends)):
                return None
            raise

    def _is_listed(self, key: str, ends: datetime) -> bool:
        """Whether the object exists. Raises AwsTrouble if that cannot be found out.

        GetObject answers AccessDenied for a missing key unless the caller may list the bucket (S3, GetObject,
        permissions). We may list it under our prefix, and it is not documented that this is enough.
        """
        asked = {"list-type": "2", "max-keys": "1", "prefix": key}
        listing = self._asked(LIST, partial(self._once, LIST, "", "", {}, query=asked), ends)
        return "<Key>" in listing

    def _asked(self, operation: str, once: Callable[[float], str], ends: datetime) -> str:
        """A read, which is retried."""
        return str(self.client.call(READS, operation, {}, ends, once))

    def _once(
        self,
        operation: str,
        key: str,
        body: str,
        headers: Mapping[str, str],
        seconds: float,
        query: Mapping[str, str] | None = None,
    ) -> str:
        """One signed request. Raises AwsTrouble."""
        place = self.client.place(WRITES)
        url = address(self.bucket, place) + key
        try:
            response = self.client.http.request(
                METHODS[operation],
                url + (f"?{urlencode(query, quote_via=quote)}" if query else ""),
                data=body.encode(),
                headers=headers,
                auth=place.auth,
                timeout=(min(AWS_CONNECT, seconds), seconds),
                verify=self.client.environment.get("AWS_CA_BUNDLE") or True,
                allow_redirects=False,
            )
            text = response.content.decode()
        except UnicodeDecodeError as error:
            raise AwsTrouble(f"{operation}: the answer is not text") from error
        except OSError as error:  # of which RequestException is one
            raise NoAnswer(f"{operation}: no answer ({type(error).__name__})") from error
        if response.status_code == 200:
            return text
        raise AwsError(operation, response.status_code, *error_in(text, response))


def error_in(text: str, response: requests.Response) -> tuple[str, str]:
    """The code and message of an error. This is the only XML that is read here, and it is flat (S3, error
    responses)."""
    code, message = (re.search(f"<{name}>([^<]{{1,300}})</{name}>", text) for name in ("Code", "Message"))
    return code[1] if code else response.reason or "UnknownError", message[1] if message else ""


def address(bucket: str, place: Place) -> str:
    """The URL before the bucket's keys: virtual-hosted style, as AWS recommends; path style at a custom endpoint."""
    return f"{place.url}/{bucket}/" if place.is_own else f"{place.url.replace('://', f'://{bucket}.', 1)}/"


def final_key(id_: str) -> str:
    return f"{PREFIX}{id_}.json"


def unconfirmed_key(id_: str) -> str:
    return f"{PREFIX}{id_}.unconfirmed.json"


def key_of(event: Event) -> str:
    """The key of an event: both events of a request use the id of the final verdict, which `unconfirmed` does not
    name."""
    if event.outcome is not Outcome.UNCONFIRMED:
        return final_key(event.id)
    data: dict[str, Any] = json.loads(event.body)["data"]
    asked = data["request"]
    return unconfirmed_key(verdict_id(asked["source"], asked["id"], data["volume_id"], Outcome.DETACHED))


def _is_event(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AwsTrouble("the stored text is not JSON") from error
    return isinstance(value, dict) and "specversion" in value


def _is_there_already(no: BaseException) -> bool:
    return isinstance(no, AwsError) and no.code in THERE_ALREADY

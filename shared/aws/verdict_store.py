"""What became of requests, as objects of an S3 bucket: a consumer of verdicts, and what the webhook endpoint reads.

`requests/{verdict id}.json` holds the final verdict's event, and before it the mark of who accepted the request. The
event `unconfirmed` has a key of its own beside it. So no writer has to read what is there: a mark is put only where
nothing is (`If-None-Match`), a verdict in any case, and what is unconfirmed can never take a verdict's place.
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
"""Of every key; the template's permissions end here."""

EVENT_TYPE, MARK_TYPE = "application/cloudevents+json", "application/json"

PUT, GET, LIST = "PutObject", "GetObject", "ListObjectsV2"
METHODS = {PUT: "PUT", GET: "GET", LIST: "GET"}
"""The operations of S3 that are called, and how."""

WRITES = Protocol("s3", "AWS_ENDPOINT_URL_S3", "", "", AWS_ANSWER, attempts=1)
READS = WRITES._replace(patience=STATUS_PATIENCE, attempts=2)
"""A verdict that is not kept waits in the queue, and is offered again; a sender who asks waits for the answer."""

THERE_ALREADY = {"PreconditionFailed", "ConditionalRequestConflict"}
"""Errors of a conditional PUT: something is kept there, or is being put there now (S3, conditional writes)."""


@dataclass(frozen=True)
class S3VerdictStore:
    """Keeps every verdict and every `unconfirmed`. The `client` is its own, so that S3 holds up nobody else's calls."""

    client: AwsClient
    bucket: str

    # ------------------------------------------------------------------------------------------- as a consumer

    def wants(self, _: Event) -> bool:
        """All of them: each answers a request that somebody may ask about."""
        return True

    def deliver(self, event: Event, deadline: datetime | None = None) -> NotTaken | None:
        """One attempt: a verdict that is not kept waits in the queue, and is offered again."""
        once = partial(self._once, PUT, key_of(event), event.body, {"Content-Type": EVENT_TYPE})
        try:
            self.client.call(WRITES, PUT, {}, deadline, once)
        except AwsTrouble as trouble:  # a policy or a bucket that is not there can be put right, too
            return NotTaken(str(trouble), again=True)
        return None

    # ------------------------------------------------------------------------------- for the webhook endpoint

    def mark(self, marks: Mapping[str, str]) -> str | None:
        """All at once, one attempt each. After MARK_PATIENCE nobody waits any more: a late mark is harmless."""
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
        """Raises AwsTrouble, also for an object that is none of ours."""
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
        """Whether there is such an object. Raises AwsTrouble if we may not know.

        GetObject says AccessDenied of a key that is not there to who may not list the bucket (S3, GetObject,
        permissions). We may list it under our prefix, and nothing says that this is enough for GetObject to say more.
        """
        asked = {"list-type": "2", "max-keys": "1", "prefix": key}
        listing = self._asked(LIST, partial(self._once, LIST, "", "", {}, query=asked), ends)
        return "<Key>" in listing

    def _asked(self, operation: str, once: Callable[[float], str], ends: datetime) -> str:
        """A read, which another attempt may follow."""
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
            raise AwsTrouble(f"{operation}: the answer is no text") from error
        except OSError as error:  # of which RequestException is one
            raise NoAnswer(f"{operation}: no answer ({type(error).__name__})") from error
        if response.status_code == 200:
            return text
        raise AwsError(operation, response.status_code, *error_in(text, response))


def error_in(text: str, response: requests.Response) -> tuple[str, str]:
    """The code and the message of an error; the only XML here that is read, and it is flat (S3, error responses)."""
    code, message = (re.search(f"<{name}>([^<]{{1,300}})</{name}>", text) for name in ("Code", "Message"))
    return code[1] if code else response.reason or "UnknownError", message[1] if message else ""


def address(bucket: str, place: Place) -> str:
    """Where the bucket's keys begin: virtual-hosted style, as AWS asks for; path style at an endpoint of one's own."""
    return f"{place.url}/{bucket}/" if place.is_own else f"{place.url.replace('://', f'://{bucket}.', 1)}/"


def final_key(id_: str) -> str:
    return f"{PREFIX}{id_}.json"


def unconfirmed_key(id_: str) -> str:
    return f"{PREFIX}{id_}.unconfirmed.json"


def key_of(event: Event) -> str:
    """Both events of a request stand under the id of the final verdict, which `unconfirmed` does not name itself."""
    if event.outcome is not Outcome.UNCONFIRMED:
        return final_key(event.id)
    data: dict[str, Any] = json.loads(event.body)["data"]
    asked = data["request"]
    return unconfirmed_key(verdict_id(asked["source"], asked["id"], data["volume_id"], Outcome.DETACHED))


def _is_event(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AwsTrouble("what is kept is no JSON") from error
    return isinstance(value, dict) and "specversion" in value


def _is_there_already(no: BaseException) -> bool:
    return isinstance(no, AwsError) and no.code in THERE_ALREADY

"""Reads the state of this deployment for the canary: the event source mapping, the rule, the queue, the endpoint."""

from collections.abc import Callable
from concurrent.futures import TimeoutError as Late
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import requests

from shared.aws.client import EVENTS, AwsClient, Protocol
from shared.aws.errors import AwsError, NoAnswer
from shared.aws.sqs import SqsQueue
from shared.canary.stages import RULE_GONE, Silence
from shared.policy import AWS_ANSWER, AWS_CONNECT, CANARY_COUNTS, CANARY_PAUSE, CANARY_WEBHOOK
from shared.ports import AwsTrouble
from shared.quick import dataclass

GET_MAPPING, MAPPINGS = "GetEventSourceMapping", "/2015-03-31/event-source-mappings/"
"""An operation of Lambda's REST API, and its path (Lambda API reference)."""

LAMBDA = Protocol("lambda", "AWS_ENDPOINT_URL_LAMBDA", "", "", AWS_ANSWER, attempts=2)

CANNOT_TAKE = 429
"""Lambda's answer at a function URL while the function is throttled (Lambda, function URLs, throttling)."""


@dataclass(frozen=True)
class Deployment:
    """Reads the parts that are given; the others stay unknown. `rule_arn` ends with the names of bus and rule."""

    client: AwsClient
    requests: SqsQueue
    mapping_id: str | None = None
    rule_arn: str | None = None
    webhook_url: str | None = None

    def silence(self, deadline: datetime) -> Silence:
        found = Silence()
        for ask in (self._of_mapping, self._of_rule, self._of_queue):
            try:
                found = ask(found, deadline)
            except AwsTrouble as trouble:
                found = replace(found, unread=(*found.unread, str(trouble)))
        return found

    def webhook(self) -> str | None:
        """Why the endpoint takes no requests, or None. An unauthenticated GET is refused, and a refusal is an
        answer."""
        url = self.webhook_url
        if not url:
            return None
        getting = self.client.threads.submit(self._status, url)
        try:
            status = getting.result(CANARY_WEBHOOK)
        except Late:
            getting.cancel()
            return f"did not answer in {CANARY_WEBHOOK} s"
        except OSError as error:  # of which RequestException is one
            return f"does not answer ({type(error).__name__})"
        return f"answers {status}" if status >= 500 or status == CANNOT_TAKE else None

    def _status(self, url: str) -> int:
        got = self.client.http.get(url, timeout=(AWS_CONNECT, CANARY_WEBHOOK), allow_redirects=False, stream=True)
        with got:
            return got.status_code

    def _of_mapping(self, found: Silence, deadline: datetime) -> Silence:
        if not self.mapping_id:
            return found
        once: Callable[[float], Any] = partial(self._mapping_once, self.mapping_id)
        told = self.client.call(LAMBDA, GET_MAPPING, {}, deadline, once)
        return replace(found, mapping=_text(told.get("State")), processed=_text(told.get("LastProcessingResult")))

    def _mapping_once(self, mapping_id: str, seconds: float) -> dict[str, Any]:
        """One signed request. Raises AwsTrouble."""
        place = self.client.place(LAMBDA)
        try:
            response = self.client.http.get(
                f"{place.url}{MAPPINGS}{quote(mapping_id, safe='')}",
                auth=place.auth,
                timeout=(min(AWS_CONNECT, seconds), seconds),
                verify=self.client.environment.get("AWS_CA_BUNDLE") or True,
                allow_redirects=False,
            )
            answer = response.json()
        except requests.JSONDecodeError:
            answer = None
        except OSError as error:
            raise NoAnswer(f"{GET_MAPPING}: no answer ({type(error).__name__})") from error
        told = answer if isinstance(answer, dict) else {}
        if response.status_code == 200 and told:
            return told
        code = (response.headers.get("x-amzn-errortype") or "UnknownError").split(":")[0]
        raise AwsError(GET_MAPPING, response.status_code, code, str(told.get("Message") or told.get("message") or ""))

    def _of_rule(self, found: Silence, deadline: datetime) -> Silence:
        if not self.rule_arn:
            return found
        *bus, name = self.rule_arn.split(":rule/", 1)[1].split("/")
        asked = {"Name": name} | ({"EventBusName": bus[0]} if bus else {})
        try:
            told = self.client.call(EVENTS, "DescribeRule", asked, deadline)
        except AwsError as error:
            if error.code == "ResourceNotFoundException":
                return replace(found, rule=RULE_GONE)
            raise
        return replace(found, rule=_text(told.get("State")))

    def _of_queue(self, found: Silence, deadline: datetime) -> Silence:
        """Count the messages several times, since one that waits only for a moment is no sign."""
        counts = [self.requests.counts(deadline)]
        for _ in range(CANARY_COUNTS - 1):
            self.client.sleep(CANARY_PAUSE)
            counts.append(self.requests.counts(deadline))
        waiting, in_flight, delayed = zip(*counts, strict=True)
        return replace(found, waiting=min(waiting), in_flight=max(in_flight), delayed=max(delayed))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None

"""AWS by signed JSON calls: one client for SQS, EventBridge, Secrets Manager and Step Functions."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests_aws4auth import AWS4Auth

from shared.policy import AWS_ANSWER, AWS_ATTEMPTS, AWS_BATCH, AWS_BATCH_BYTES, AWS_CONNECT
from shared.ports import AwsTrouble, K

T = TypeVar("T")


class Protocol(NamedTuple):
    """How a service wants to be called."""

    endpoint: str
    target: str
    json_version: str


SQS = Protocol("sqs", "AmazonSQS", "1.0")
EVENTS = Protocol("events", "AWSEvents", "1.1")
SECRETS = Protocol("secretsmanager", "secretsmanager", "1.1")
STATES = Protocol("states", "AWSStepFunctions", "1.0")


class AwsError(AwsTrouble):
    """An answer of AWS that is a no; `code` is the service's own."""

    def __init__(self, operation: str, status: int, code: str, message: str) -> None:
        super().__init__(f"{operation}: {code} ({status}) {message}".strip())
        self.status = status
        self.code = code

    @property
    def passing(self) -> bool:
        """Whether the same call may succeed in a moment: server errors and throttling in its several names."""
        return self.status >= 500 or self.throttled or self.code in PASSING

    @property
    def throttled(self) -> bool:
        return self.status == 429 or throttles(self.code)


def throttles(code: str) -> bool:
    """Whether an error code of AWS means "not so fast": `ThrottlingException`, `RequestThrottled`, and so on."""
    return "Throttl" in code or code == "TooManyRequestsException"


PASSING = {"RequestTimeout", "RequestTimeoutException", "TooManyRequestsException", "RequestThrottled",
           "KmsThrottled", "SlowDown", "LimitExceededException", "InternalFailure"}  # fmt: skip


def _session() -> requests.Session:
    http = requests.Session()
    http.verify = os.environ.get("AWS_CA_BUNDLE") or True
    for scheme in ("https://", "http://"):
        http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=16, max_retries=0))
    return http


@dataclass(frozen=True, slots=True)
class AwsClient:
    """Signs and sends. Credentials are read from `environment` at each attempt: Lambda's change over time."""

    environment: Mapping[str, str]
    http: requests.Session = field(default_factory=_session)
    sleep: Callable[[float], None] = time.sleep

    def call(self, service: Protocol, operation: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """One operation; retried with full jitter where a retry can help. Raises AwsTrouble."""
        body = json.dumps(payload, ensure_ascii=False).encode()
        for attempt in range(1, AWS_ATTEMPTS + 1):
            try:
                return self._once(service, operation, body)
            except AwsError as error:
                if not error.passing or attempt == AWS_ATTEMPTS:
                    raise
            except requests.RequestException as error:
                if attempt == AWS_ATTEMPTS:
                    raise AwsTrouble(f"{operation}: no answer ({type(error).__name__})") from error
            self.sleep(random.uniform(0, 0.1 * 2**attempt))  # noqa: S311 - jitter, no secret
        raise AssertionError("the last attempt returns or raises")

    def _once(self, service: Protocol, operation: str, body: bytes) -> dict[str, Any]:
        environment = self.environment
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or ""
        if not (region and environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY")):
            raise AwsTrouble("AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set")
        auth = AWS4Auth(
            environment["AWS_ACCESS_KEY_ID"],
            environment["AWS_SECRET_ACCESS_KEY"],
            region,
            service.endpoint,
            session_token=environment.get("AWS_SESSION_TOKEN"),
        )
        url = environment.get("AWS_ENDPOINT_URL") or f"https://{service.endpoint}.{region}.amazonaws.com"
        response = self.http.post(
            url.rstrip("/") + "/",
            data=body,
            headers={
                "Content-Type": f"application/x-amz-json-{service.json_version}",
                "X-Amz-Target": f"{service.target}.{operation}",
            },
            auth=auth,
            timeout=(AWS_CONNECT, AWS_ANSWER),
            allow_redirects=False,
        )
        try:
            answer = response.json() if response.content else {}
        except ValueError:
            answer = {}
        answer = answer if isinstance(answer, dict) else {}
        if response.status_code == 200:
            return answer
        code = str(answer.get("__type") or response.headers.get("x-amzn-errortype") or "").split("#")[-1]
        message = str(answer.get("message") or answer.get("Message") or "")
        raise AwsError(operation, response.status_code, code.split(":")[0] or "UnknownError", message[:300])


def batches(items: Mapping[K, T], size: Callable[[T], int]) -> Iterator[dict[K, T]]:
    """The items, grouped so that a group fits into one call: at most ten, and not too many bytes."""
    group: dict[K, T] = {}
    weight = 0
    for key, item in items.items():
        if group and (len(group) == AWS_BATCH or weight + size(item) > AWS_BATCH_BYTES):
            yield group
            group, weight = {}, 0
        group[key] = item
        weight += size(item)
    if group:
        yield group

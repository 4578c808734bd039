"""Calls AWS by signed JSON requests: one client for SQS, EventBridge, Secrets Manager and Step Functions.

A limit applies to the whole call: name resolution, connecting, headers, body, attempts and the pauses between them.
"""

import json
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeVar
from urllib.request import getproxies

import requests
from requests.adapters import HTTPAdapter
from requests_aws4auth import AWS4Auth

from shared.aws.errors import AwsError, NoAnswer
from shared.aws.hosts import host
from shared.policy import (
    AWS_ANSWER,
    AWS_ATTEMPTS,
    AWS_BATCH,
    AWS_BATCH_BYTES,
    AWS_CONNECT,
    AWS_PATIENCE,
    AWS_ROUNDS,
    AWS_SHORTEST,
    AWS_THREADS,
    SECRET_PATIENCE,
)
from shared.ports import AwsTrouble, Clock, K, Unsent, utc_now
from shared.quick import dataclass

T = TypeVar("T")


class Protocol(NamedTuple):
    """How a service is called, how many seconds a call may last, and how often it is attempted.

    `name` is the service's name in its address and signatures; `variable` is the environment variable with another
    address.
    """

    name: str
    variable: str
    target: str
    json_version: str
    patience: float = AWS_PATIENCE
    attempts: int = AWS_ATTEMPTS


SQS = Protocol("sqs", "AWS_ENDPOINT_URL_SQS", "AmazonSQS", "1.0")
EVENTS = Protocol("events", "AWS_ENDPOINT_URL_EVENTBRIDGE", "AWSEvents", "1.1")
SECRETS = Protocol("secretsmanager", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "secretsmanager", "1.1", SECRET_PATIENCE)
STATES = Protocol("states", "AWS_ENDPOINT_URL_SFN", "AWSStepFunctions", "1.0", attempts=1)
"""One attempt: an answer to a task that was not accepted waits in the queue and is sent again."""


class Place(NamedTuple):
    """The address of a service, without a slash at the end, and what signs requests to it."""

    auth: AWS4Auth
    url: str
    is_own: bool = False
    """Whether the environment sets the address; then it is not in AWS's usual form."""


KINDS = ("FIPS", "DUALSTACK")


def _session() -> requests.Session:
    http = requests.Session()
    # Otherwise `requests` looks through the whole environment for proxies at each request.
    http.trust_env = bool(getproxies())
    for scheme in ("https://", "http://"):
        http.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=AWS_THREADS, max_retries=0))
    return http


_signer = lru_cache(maxsize=8)(AWS4Auth)
"""Derives a signing key for one day. Each day gets its own signer, since several threads use it."""


@dataclass(frozen=True)
class AwsClient:
    """Signs and sends requests. Credentials are read from `environment` at each attempt, since Lambda changes them.

    They are in the environment only without SnapStart: with it Lambda offers them by HTTP, which is not supported here.

    Each attempt runs in a thread of `threads` and is abandoned when its time is over, because no socket option limits
    name resolution or an answer that comes byte by byte. Such a thread ends by itself and begins no other attempt.
    """

    environment: Mapping[str, str]
    http: requests.Session = field(default_factory=_session)
    sleep: Callable[[float], None] = time.sleep
    clock: Clock = utc_now
    threads: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, AWS_THREADS, "aws"))

    def call(
        self,
        service: Protocol,
        operation: str,
        payload: Mapping[str, Any],
        deadline: datetime | None = None,
        once: Callable[[float], Any] | None = None,
    ) -> Any:
        """Call one operation within the service's patience and before the deadline; retry it where that can help.

        A service that does not speak JSON passes `once`, which makes one attempt of so many seconds. Raises AwsTrouble,
        also if no time is left to send anything.
        """
        once = once or partial(self._once, service, operation, json.dumps(payload, ensure_ascii=False).encode())
        attempts, latest = service.attempts, self.clock() + timedelta(seconds=service.patience)
        ends, stale = min(latest, deadline or latest), False
        for attempt in range(1, attempts + 1):
            left = (ends - self.clock()).total_seconds()
            if left <= 0:
                raise AwsTrouble(f"{operation}: no time is left, so nothing was sent")
            # An attempt that hangs leaves time for another one, on a new connection.
            seconds = min(left, AWS_ANSWER, max(left / 2, AWS_SHORTEST) if attempt < attempts else left)
            doing = self.threads.submit(once, seconds)
            try:
                return doing.result(seconds)
            except (AwsError, NoAnswer) as no:
                trouble: AwsError | NoAnswer = no
            except TimeoutError:
                doing.cancel()
                trouble = NoAnswer(f"{operation}: no answer within {seconds:.1f} s")
            once_more = isinstance(trouble, AwsError) and trouble.stale and not stale
            pause = random.uniform(0, 0.1 * 2**attempt)  # noqa: S311 - jitter, no secret
            in_time = self.clock() + timedelta(seconds=pause) < ends
            if attempt == attempts or not (trouble.passing or once_more) or not in_time:
                raise trouble
            stale = stale or once_more
            self.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def place(self, service: Protocol) -> Place:
        """The address of the service in our region, and what signs a request to it. Raises AwsTrouble."""
        environment = self.environment
        region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or ""
        if not (region and environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY")):
            raise AwsTrouble("AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set")
        keys = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        token, today = environment.get("AWS_SESSION_TOKEN"), f"{datetime.now(UTC):%Y%m%d}"
        auth = _signer(*keys, region, service.name, today, session_token=token)
        own = None
        if environment.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() != "true":
            own = environment.get(service.variable) or environment.get("AWS_ENDPOINT_URL")
        if own:
            return Place(auth, own.rstrip("/"), is_own=True)
        fips, dual_stack = (environment.get(f"AWS_USE_{kind}_ENDPOINT", "").lower() == "true" for kind in KINDS)
        return Place(auth, f"https://{host(service.name, region, fips, dual_stack)}")

    def _once(self, service: Protocol, operation: str, body: bytes, seconds: float) -> dict[str, Any]:
        place, http = self.place(service), self.http
        headers = {
            **http.headers,
            "Content-Type": f"application/x-amz-json-{service.json_version}",
            "X-Amz-Target": f"{service.target}.{operation}",
        }
        # The other work of a session (cookies, hooks, redirects, .netrc) is a fifth of a call's CPU.
        request, url = requests.PreparedRequest(), f"{place.url}/"
        try:
            request.method, request.url = "POST", url
            request.prepare_headers(headers)
            request.prepare_body(body, None)
            request.prepare_auth(place.auth)
            # Set for each request, since REQUESTS_CA_BUNDLE overrides the session's value.
            verify = self.environment.get("AWS_CA_BUNDLE") or True
            around: Any = http.merge_environment_settings(url, {}, False, verify, None)
            timeout = min(AWS_CONNECT, seconds), seconds
            response = http.get_adapter(url).send(request, timeout=timeout, **around)
            answer = response.json() if response.content else {}
        except requests.JSONDecodeError:
            answer = None
        except OSError as error:  # of which RequestException is one
            raise NoAnswer(f"{operation}: no answer ({type(error).__name__})") from error
        if response.status_code == 200:
            if not isinstance(answer, dict):
                raise NoAnswer(f"{operation}: the answer is no JSON object")
            return answer
        told = answer if isinstance(answer, dict) else {}
        code = str(told.get("__type") or response.headers.get("x-amzn-errortype") or "").split("#")[-1]
        message = str(told.get("message") or told.get("Message") or "")
        raise AwsError(operation, response.status_code, code.split(":")[0] or "UnknownError", message[:300])


TRACE_HEADER, LONGEST_TRACE_HEADER = "_X_AMZN_TRACE_ID", 500
"""The variable with X-Ray's header of the invocation, and the longest header that EventBridge accepts."""


# --------------------------------------------------------------------------------------------- several in one call


class Left(NamedTuple):
    """An entry of a call that AWS did not accept: why, and whether a retry may help soon."""

    unsent: Unsent
    again: bool


def send_all(
    client: AwsClient,
    items: Mapping[K, T],
    size: Callable[[T], int],
    offer: Callable[[Mapping[K, T], datetime], Mapping[K, Left]],
    deadline: datetime | None,
) -> dict[K, Unsent]:
    """Send many items in as few calls as possible, within AWS_PATIENCE and before the deadline; return those not
    accepted.

    `offer` makes one call, returns what AWS did not accept, and raises AwsTrouble. Those items are sent again after a
    pause, up to AWS_ROUNDS times in all. If a call is refused because of an item, each half is sent separately.
    """
    latest = client.clock() + timedelta(seconds=AWS_PATIENCE)
    ends, unsent = min(latest, deadline or latest), dict[K, Unsent]()
    work = [(group, 1) for group in batches(items, size)]
    while work:
        group, number = work.pop(0)
        try:
            left = offer(group, ends)
        except AwsTrouble as trouble:
            if isinstance(trouble, AwsError) and trouble.of_entries and len(group) > 1:
                keys = list(group)
                halves = keys[: len(keys) // 2], keys[len(keys) // 2 :]
                work[:0] = [({key: group[key] for key in half}, number) for half in halves]
                continue
            throttled = isinstance(trouble, AwsError) and trouble.throttled
            unsent |= dict.fromkeys(group, Unsent(str(trouble), throttled, trouble))
            continue
        again = {key: group[key] for key, one in left.items() if one.again}
        pause = random.uniform(0, 0.1 * 2**number)  # noqa: S311 - jitter, no secret
        if again and number < AWS_ROUNDS and client.clock() + timedelta(seconds=pause) < ends:
            client.sleep(pause)
            work.append((again, number + 1))
            left = {key: one for key, one in left.items() if not one.again}
        unsent |= {key: one.unsent for key, one in left.items()}
    return unsent


def batches(items: Mapping[K, T], size: Callable[[T], int]) -> list[dict[K, T]]:
    """The items in groups that fit into one call: at most ten, with a limit in bytes."""
    groups: list[dict[K, T]] = []
    weight = 0
    for key, item in items.items():
        if not groups or len(groups[-1]) == AWS_BATCH or weight + size(item) > AWS_BATCH_BYTES:
            groups.append({})
            weight = 0
        groups[-1][key] = item
        weight += size(item)
    return groups


def lists_in(answer: Mapping[str, Any], *names: str) -> list[list[Mapping[str, Any]]]:
    """Lists of objects in an answer, empty if missing. Raises NoAnswer if one is something else."""
    found = [answer.get(name) or [] for name in names]
    for name, value in zip(names, found, strict=True):
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise NoAnswer(f"{name} in the answer is no list of objects")
    return found

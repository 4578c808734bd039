"""Verdicts in a bucket, with the S3 of the local stack, and S3's errors."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urljoin

import pytest
import requests
from botocore.auth import S3SigV4Auth  # type: ignore[import-untyped]
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from local.aws_stand_in import CREDENTIALS, REGION, VERDICT_BUCKET, AwsStandIn
from local.demo import SERVER, VOLUME
from local.stack import Stack
from shared.aws.client import AwsClient
from shared.aws.sqs import SqsQueue
from shared.aws.verdict_store import WRITES, S3VerdictStore, address, final_key, key_of, unconfirmed_key
from shared.bootstrap.detach import build
from shared.bootstrap.webhook import build_webhook
from shared.decision.case import Case, Conclude, detached
from shared.decision.progress import Progress
from shared.model import DetachRequest, Detail, Message, Outcome, Reason, verdict_id
from shared.outbox.events import EventFactory
from shared.policy import AWS_ANSWER, MARK_PATIENCE, STATUS_PATIENCE
from shared.ports import AwsTrouble, Event, Kept
from shared.webhook.http_binding import STRUCTURED
from tests.http_requests import DATA, body_of, cloudevent, endpoint, problem_of, signed, status_request
from tests.messages import QUEUE_ARN, START
from tests.scripted import BROKEN, Reply, Script, client_of
from tools.sender import Post, deliver

REQUEST = DetachRequest(id="ticket ä/%2e", source="/changes", requested_at=START, server_id=SERVER, volume_id=VOLUME)
CASE = Case(REQUEST, Message("", "m", QUEUE_ARN, START), Progress(first_seen_at=START))
FINAL, UNCONFIRMED = EventFactory().verdict(CASE, detached(Detail.DETACHED_NOW), START), EventFactory().unconfirmed(
    CASE, "the volume is detaching", START
)  # fmt: skip
ID = FINAL.id
MARK = '{"status": "accepted"}'

MISSING = Reply(404, b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
DENIED = Reply(403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>")
EXISTING = Reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")
EMPTY = Reply(200, b"<ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>")
LISTED = Reply(
    200, b"<ListBucketResult><KeyCount>1</KeyCount><Contents><Key>requests/x</Key></Contents></ListBucketResult>"
)


@pytest.fixture
def store(aws: AwsStandIn) -> Iterator[S3VerdictStore]:
    """An empty bucket."""
    yield S3VerdictStore(aws.client, VERDICT_BUCKET)
    for key in (final_key(ID), unconfirmed_key(ID)):
        at(aws, key, "DELETE")


def at(aws: AwsStandIn, key: str, method: str = "GET") -> requests.Response:
    """The object in S3."""
    place = aws.client.place(WRITES)
    return requests.request(method, address(VERDICT_BUCKET, place) + key, auth=place.auth, timeout=5)


def scripted(script: Script, *replies: Reply) -> S3VerdictStore:
    script.then(*replies)
    return S3VerdictStore(client_of(script), VERDICT_BUCKET)


@pytest.fixture
def hanging() -> Iterator[S3VerdictStore]:
    """The store with an S3 that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield S3VerdictStore(AwsClient({**CREDENTIALS, "AWS_ENDPOINT_URL": url}), VERDICT_BUCKET)


# ------------------------------------------------------------------------------------------------- in a bucket


def test_a_verdict_replaces_the_mark(store: S3VerdictStore, aws: AwsStandIn) -> None:
    """The store returns nothing, then the mark, then the emitted event with its media type."""
    assert store.find(ID) == Kept()
    assert store.mark({ID: MARK}) is None
    assert store.find(ID) == Kept(mark=MARK)
    assert store.deliver(FINAL) is None
    assert store.find(ID) == Kept(verdict=FINAL.body)
    kept = at(aws, f"requests/{ID}.json")
    assert (kept.content.decode(), kept.headers["Content-Type"]) == (FINAL.body, "application/cloudevents+json")


def test_a_mark_never_replaces_anything(store: S3VerdictStore) -> None:
    """A mark replaces neither an earlier verdict nor an earlier mark, and this is no error."""
    store.mark({ID: MARK})
    assert store.mark({ID: "{}"}) is None
    assert store.find(ID) == Kept(mark=MARK)
    store.deliver(FINAL)
    assert store.mark({ID: MARK}) is None
    assert store.find(ID) == Kept(verdict=FINAL.body)


@pytest.mark.parametrize("final_first", [True, False])
def test_an_unconfirmed_event_never_replaces_a_verdict(store: S3VerdictStore, final_first: bool) -> None:
    """The verdict is returned in either order; without it, the mark and the unconfirmed event are."""
    store.mark({ID: MARK})
    if not final_first:
        assert store.deliver(UNCONFIRMED) is None
        assert store.find(ID) == Kept(mark=MARK, unconfirmed=UNCONFIRMED.body)
    store.deliver(FINAL)
    if final_first:
        assert store.deliver(UNCONFIRMED) is None
    assert store.find(ID) == Kept(verdict=FINAL.body)


def test_the_last_verdict_counts(store: S3VerdictStore) -> None:
    """The latest verdict is returned."""
    failed = EventFactory().verdict(CASE, Conclude(Outcome.FAILED, Reason.EXPIRED, Reason.EXPIRED), START)
    for event in (failed, FINAL):
        store.deliver(event)
    assert store.find(ID) == Kept(verdict=FINAL.body)


def test_every_event_has_its_key() -> None:
    """A final verdict has the key of its id, `unconfirmed` one next to it, and a dry run that of its announced id."""
    checked = EventFactory().verdict(
        replace(CASE, request=replace(REQUEST, dry_run=True)), Conclude(Outcome.CHECKED, Detail.WOULD_DETACH), START
    )
    assert key_of(FINAL) == f"requests/{ID}.json"
    assert key_of(UNCONFIRMED) == f"requests/{ID}.unconfirmed.json"
    assert key_of(checked) == final_key(verdict_id(REQUEST.source, REQUEST.id, VOLUME, Outcome.CHECKED))
    assert all(S3VerdictStore(AwsClient({}), "b").wants(event) for event in (FINAL, UNCONFIRMED, checked))


def test_many_marks(store: S3VerdictStore, aws: AwsStandIn) -> None:
    """The forty volumes of one event are marked in one call."""
    ids = [f"00000000-0000-4000-8000-{number:012}" for number in range(40)]
    assert store.mark(dict.fromkeys(ids, MARK)) is None
    for id_ in ids:
        assert at(aws, final_key(id_)).content.decode() == MARK
        at(aws, final_key(id_), "DELETE")


# ----------------------------------------------------------------------------------------------- end to end


def get(stack: Stack, url: str, method: str = "GET") -> requests.Response:
    """A signed request for a status."""
    headers = Post({}, b"").signed(stack.webhook_secret, datetime.now(UTC)).headers
    return requests.request(method, url, headers=headers, timeout=10)


def test_from_a_signed_post_to_the_verdict(stack: Stack) -> None:
    """The link of the 202 leads to the state of the request, and finally to the event of the bus."""
    post = Post({"content-type": STRUCTURED}, json.dumps(cloudevent(time=...)).encode())
    accepted = deliver(post.signed(stack.webhook_secret, datetime.now(UTC)), stack.webhook_url)
    url = urljoin(stack.webhook_url, accepted.headers["Location"])
    first = get(stack, url)
    assert (first.status_code, first.json()["status"], first.headers["Retry-After"]) == (202, "accepted", "5")
    emitted: list[dict[str, Any]] = []
    for _ in range(30):
        emitted += stack.aws.verdicts()
        if emitted:
            break
    answer, end = get(stack, url), time.monotonic() + 10
    while answer.status_code == 202 and time.monotonic() < end:  # consumers get it after the bus
        answer = get(stack, url)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/cloudevents+json")
    assert [answer.json()] == emitted
    assert get(stack, url, "HEAD").headers["Content-Length"] == answer.headers["Content-Length"]


def test_status_requests_need_a_signature(stack: Stack) -> None:
    """A status request without a signature gets a 401, and one for an unknown request a 404."""
    url = f"{stack.webhook_url}requests/{ID}"
    assert requests.get(url, timeout=10).status_code == 401
    assert get(stack, url).status_code == 404
    assert get(stack, f"{stack.webhook_url}requests/..%2f..%2f{ID}").status_code == 404


# ------------------------------------------------------------------------------------------------ errors of S3


def seconds(do: Callable[[], object]) -> float:
    begun = time.monotonic()
    do()
    return time.monotonic() - begun


def test_a_hanging_s3_delays_no_request(hanging: S3VerdictStore) -> None:
    """Each request gets its 202 in time, since hanging attempts do not pile up."""
    answers: list[Any] = []
    for _ in range(3):
        assert seconds(lambda: answers.append(endpoint(store=hanging).answer(signed(DATA)))) < MARK_PATIENCE + 0.8
    assert [answer.status for answer in answers] == [202] * 3
    assert all("1 of 1 not marked" in answer.note for answer in answers)


def test_a_hanging_s3_is_reported(hanging: S3VerdictStore) -> None:
    """A status request gets a 503 within its time limit."""
    answers: list[Any] = []
    path = f"/requests/{ID}"
    assert seconds(lambda: answers.append(endpoint(store=hanging).answer(status_request(path)))) < STATUS_PATIENCE + 1
    problem_of(answers[0], 503)


def test_a_verdict_is_stored_later_if_s3_hangs(hanging: S3VerdictStore) -> None:
    """There is one attempt per delivery, so that other messages are not delayed."""
    found: list[Any] = []
    assert seconds(lambda: found.append(hanging.deliver(FINAL))) < AWS_ANSWER + 1
    assert found[0].again


def test_nothing_is_stored_after_the_deadline(hanging: S3VerdictStore) -> None:
    """No attempt is made after the deadline."""
    found = hanging.deliver(FINAL, datetime(2020, 1, 1, tzinfo=UTC))
    assert found
    assert (found.again, "nothing was sent" in found.why) == (True, True)


@pytest.mark.parametrize("reply", [Reply(500, b"oops"), Reply(503, b"<Code>SlowDown</Code>"), BROKEN, DENIED,
                                   Reply(404, b"<Code>NoSuchBucket</Code>"), Reply(301, b"")])  # fmt: skip
def test_a_verdict_that_s3_refuses_waits(script: Script, reply: Reply) -> None:
    """Any error is retried, since it may be corrected within the day of retries."""
    found = scripted(script, reply).deliver(FINAL)
    assert found
    assert found.again
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    ("reply", "why"),
    [(EXISTING, None), (Reply(409, b"<Code>ConditionalRequestConflict</Code>"), None),
     (DENIED, "1 of 1 not marked: PutObject: AccessDenied (403) Access Denied"),
     (Reply(500, b"oops"), "1 of 1 not marked: PutObject: Internal Server Error (500)"),
     (BROKEN, "1 of 1 not marked: PutObject: no answer (ConnectionError)")],
)  # fmt: skip
def test_the_outcome_of_a_mark(script: Script, reply: Reply, why: str | None) -> None:
    """A mark is tried once, with a condition that detects an existing object."""
    assert scripted(script, reply).mark({ID: MARK}) == why
    assert [(asked.method, asked.headers["if-none-match"]) for asked in script.asked] == [("PUT", "*")]


@pytest.mark.parametrize("reply", [Reply(500, b"oops"), Reply(503, b"<Code>SlowDown</Code>"), BROKEN])
def test_a_failed_read_is_repeated_once(script: Script, reply: Reply) -> None:
    """A temporary error is retried once, and a lasting one is reported."""
    store = scripted(script, reply, Reply(200, FINAL.body.encode()), reply)
    assert store.find(ID) == Kept(verdict=FINAL.body)
    with pytest.raises(AwsTrouble):
        store.find(ID)
    assert len(script.asked) == 4


def test_a_missing_object_is_distinguished_from_a_forbidden_one(script: Script) -> None:
    """S3 answers 403 for both; listing the key distinguishes them."""
    assert scripted(script, DENIED, EMPTY, DENIED, EMPTY).find(ID) == Kept()
    assert [asked.path.partition("?")[2] for asked in script.asked[1::2]] == [
        f"list-type=2&max-keys=1&prefix=requests%2F{ID}.json",
        f"list-type=2&max-keys=1&prefix=requests%2F{ID}.unconfirmed.json",
    ]


@pytest.mark.parametrize("listing", [LISTED, DENIED])
def test_a_forbidden_read_is_an_error(script: Script, listing: Reply) -> None:
    """An object that exists or may exist is never reported as unknown."""
    with pytest.raises(AwsTrouble, match="AccessDenied"):
        scripted(script, DENIED, listing).find(ID)


def test_a_missing_bucket_is_an_error(script: Script) -> None:
    """A missing bucket does not mean that the request is unknown."""
    with pytest.raises(AwsTrouble, match="NoSuchBucket"):
        scripted(script, Reply(404, b"<Error><Code>NoSuchBucket</Code></Error>")).find(ID)


@pytest.mark.parametrize("body", [b"<html>", b"\xff"])
def test_a_foreign_object_is_an_error(script: Script, body: bytes) -> None:
    """An object that is not ours is an error."""
    with pytest.raises(AwsTrouble):
        scripted(script, Reply(200, body)).find(ID)


# ------------------------------------------------------------------------------------------ addresses, signatures


CALLS: dict[str, Callable[[S3VerdictStore], object]] = {
    "a mark": lambda store: store.mark({ID: MARK}),
    "a verdict": lambda store: store.deliver(replace(FINAL, body=FINAL.body + " €")),
    "a look": lambda store: store.find(ID),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_signature_equals_that_of_botocore(script: Script, name: str) -> None:
    """The signature follows S3's rules and includes the session token, as in AWS's library."""
    script.then(DENIED, EMPTY)
    CALLS[name](S3VerdictStore(client_of(script, AWS_SESSION_TOKEN="token"), VERDICT_BUCKET))
    for asked in script.asked:
        parts = dict(part.strip().split("=", 1) for part in asked.headers["authorization"].split(" ", 1)[1].split(","))
        names = parts["SignedHeaders"].split(";")
        assert {"host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"} <= set(names)
        request: Any = AWSRequest(
            asked.method, script.url + asked.path, {n: asked.headers[n] for n in names}, asked.body
        )
        request.context["timestamp"] = asked.headers["x-amz-date"]
        signer: Any = S3SigV4Auth(Credentials("local", "local", "token"), "s3", REGION)
        canonical = signer.canonical_request(request)
        assert parts["Signature"] == signer.signature(signer.string_to_sign(request, canonical), request)


def test_the_endpoint_returns_the_stored_verdict(store: S3VerdictStore) -> None:
    """With the real store, the endpoint returns its mark, then `unconfirmed`, then the verdict."""
    one = endpoint(store=store)
    event = cloudevent(id=REQUEST.id)
    (promised,) = body_of(one.answer(signed(event, STRUCTURED)))["requests"]
    assert promised["verdict_id"] == ID
    answers_seen: list[tuple[int, str | None]] = []
    late: tuple[Event | None, ...] = (None, UNCONFIRMED, FINAL)
    for after in late:
        if after:
            store.deliver(after)
        answer = one.answer(status_request(f"/{promised['status_url']}"))
        answers_seen.append((answer.status, body_of(answer).get("status")))
    assert answers_seen == [(202, "accepted"), (202, "unconfirmed"), (200, None)]


# ------------------------------------------------------------------------------------------------- the wiring

WIRED = """
import json, sys
from shared.bootstrap.dead_letters import build as dead_letters
from shared.bootstrap.detach import build as detach
from shared.bootstrap.webhook import build_webhook
environment = {"REQUEST_QUEUE_URL": "q", "CLOUD_SECRET_ID": "c", **json.loads(sys.argv[1])}
built = [detach(environment).outlets, dead_letters(environment).outlets]
print(json.dumps({
    "consumers": [list(outlets.consumers.named) for outlets in built],
    "store": build_webhook(environment).store is not None,
    "loaded": "shared.aws.verdict_store" in sys.modules,
}))
"""


@pytest.mark.parametrize("named", [True, False])
def test_the_store_is_loaded_only_with_a_bucket(named: bool) -> None:
    """With a bucket all three functions use the store, and otherwise none loads it."""
    settings = {"VERDICT_BUCKET": "verdicts" if named else ""}
    done = subprocess.run(
        [sys.executable, "-c", WIRED, json.dumps(settings)], capture_output=True, text=True, timeout=60, check=True
    )
    consumers = ["bucket", "task"] if named else ["task"]
    assert json.loads(done.stdout) == {"consumers": [consumers] * 2, "store": named, "loaded": named}


def test_s3_has_its_own_threads_and_connections() -> None:
    """The store shares neither threads nor connections with the queue, so that it cannot delay it."""
    environment = {"REQUEST_QUEUE_URL": "q", "CLOUD_SECRET_ID": "c", "VERDICT_BUCKET": "verdicts"}
    webhook, outlets = build_webhook(environment), build(environment).outlets
    pairs = ((webhook.store, webhook.queue), (outlets.consumers.named["bucket"], outlets.queue))
    for store, queue in pairs:
        assert isinstance(store, S3VerdictStore)
        assert isinstance(queue, SqsQueue)
        assert store.client.threads is not queue.client.threads
        assert store.client.http is not queue.client.http

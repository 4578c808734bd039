"""A sample of each verdict: real output of the service, run in virtual time against the simulated cloud."""

import heapq
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, Self

import requests

from local.aws_stand_in import REQUESTS, queue_arn
from local.demo import MOUNTED_VOLUME, SERVER, VOLUME, demo_cloud
from local.message_keys import FixedKeys
from local.stack import simulator_credentials
from shared.cloud.openstack import Projects, connect
from shared.model import AuthType, Message, Requester
from shared.outbox.dead_letters import DeadLetters
from shared.outbox.events import EventFactory
from shared.outbox.outbox import Outlets
from shared.policy import Policy
from shared.ports import Event, K, QueueMessage, Unsent
from shared.service import Service
from shared.settings import CloudCredentials, load
from shared.signatures import Keys
from shared.visit import Visits
from shared.webhook.endpoint import WebhookEndpoint
from shared.webhook.http_binding import STRUCTURED
from shared.webhook.receive import HttpRequest, Rules
from simulator import Behaviour, CloudApi, InProcessAdapter
from tools.sender import LOCAL_SECRET, Post

START = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)

SENDER = Requester(AuthType.SERVICE_ACCOUNT, "AROAEXAMPLEOFAROLEIDX:change-management")
SNS, EVENTBRIDGE = (Requester(AuthType.USER, f"AIDAEXAMPLEOF{name}") for name in ("SNSUSERX", "EVENTBUS"))
"""Senders as SQS names them. AWS's own services send as IAM users."""

TOKEN = "a-token-of-the-samples"
KEYS = Keys.parse({
    "secrets": [{"name": "ci", "secret": LOCAL_SECRET}], "bearer_tokens": [{"name": "event-grid", "secret": TOKEN}]
})  # fmt: skip
ROLE = "arn:aws:sts::123456789012:assumed-role/change-management/run-17"


class Rehearsal:
    """The service with a queue, a bus and a clock in memory. Its output is reproducible, including the ids."""

    def __init__(self, arrange: Callable[[CloudApi], object] = lambda api: None) -> None:
        self.now = START
        self.events: list[Event] = []
        self._due: list[tuple[datetime, int, str]] = []
        self._sent = 0
        api = demo_cloud(self.clock)
        # keystoneauth1 uses the real clock, so tokens must not expire by it.
        api.deployment.token_seconds = 10 * 365 * 86400
        arrange(api)
        http = requests.Session()
        http.mount("http://", InProcessAdapter(api))
        credentials = load(CloudCredentials, simulator_credentials(api))
        macs = FixedKeys((b"samples",))
        outlets = Outlets(self, self, macs, EventFactory(), self.clock)
        rules = Rules("/bms-volume-detach/webhook", iam_auth=True)
        self.webhook = WebhookEndpoint(rules, self, self, macs, self.clock)
        projects = Projects(lambda read: connect(read, http, self.clock), lambda _: credentials)
        self.service = Service("bms", Visits(projects, Policy(), self.clock), outlets)
        self.dead_letters = DeadLetters("bms", outlets)

    def clock(self) -> datetime:
        return self.now

    def keys(self, newest: bool = False) -> Keys:  # noqa: ARG002 - there is one version
        """The keys of the webhook endpoint."""
        return KEYS

    def emit(self, events: Mapping[K, Event], _: datetime | None = None) -> Mapping[K, Unsent]:
        self.events += events.values()
        return {}

    def send(self, messages: Mapping[K, QueueMessage], _: datetime | None = None) -> Mapping[K, Unsent]:
        for message in messages.values():
            self._sent += 1
            heapq.heappush(self._due, (self.now + timedelta(seconds=message.delay), self._sent, message.body))
        return {}

    def play(self, request: Mapping[str, Any], sender: Requester = SENDER) -> Self:
        """Send a request and deliver until nothing is left."""
        self.send({"request": QueueMessage(json.dumps(request))})
        return self._deliver(sender)

    def post(self, headers: Mapping[str, str] = {}, iam: str | None = None, signed: bool = False) -> Self:
        """Send the request to the webhook, and deliver messages until nothing is left."""
        sent = Post({"content-type": STRUCTURED, **headers}, json.dumps(_request()).encode())
        sent = sent.signed(LOCAL_SECRET, self.now, "msg_4711") if signed else sent
        answer = self.webhook.answer(HttpRequest("POST", sent.headers, sent.body, "http-request-1", iam))
        assert answer.status == 202, answer  # noqa: S101
        return self._deliver(SENDER)

    def _deliver(self, sender: Requester) -> Self:
        while self._due:
            at, number, body = heapq.heappop(self._due)
            self.now = max(self.now, at)
            receipts = self.service.handle([self._message(body, number, sender)])
            assert not receipts.unsent, receipts  # noqa: S101
        return self

    def bury(self, request: Mapping[str, Any]) -> Self:
        """Deliver a request as a dead letter, as after five failed receives."""
        self.now += timedelta(minutes=30)
        self.dead_letters.handle([replace(self._message(json.dumps(request), 1), sent_at=START, receive_count=6)])
        return self

    def _message(self, body: str, number: int, sender: Requester = SENDER) -> Message:
        return Message(body, f"message-{number}", queue_arn(REQUESTS), self.now, sender=sender)


def _request(volume_id: str = VOLUME, **data: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "4711",
        "source": "/changes",
        "type": "bms.volume.detach_requested.v1",
        "time": "2026-11-23T08:00:00Z",
        "correlationid": "CHG-1",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "data": {"server_id": SERVER, "volume_id": volume_id, "context": {"ticket": "CHG-1"}, **data},
    }


def _several(**data: Any) -> dict[str, Any]:
    """A request for several volumes."""
    request = _request(**data)
    request["data"].pop("volume_id")
    return request


def _over_sns() -> dict[str, Any]:
    topic = "arn:aws:sns:eu-central-1:123456789012:changes"
    return {"Type": "Notification", "MessageId": "m-4711", "TopicArn": topic, "Message": json.dumps(_request())}


def _over_eventbridge() -> dict[str, Any]:
    return {"version": "0", "id": "e-4711", "source": "changes", "detail-type": "detach", "detail": _request()}


def _slow(api: CloudApi) -> None:
    """Let the cloud take a quarter of an hour for the detach."""
    api.world.set_volume(VOLUME, behaviour=Behaviour(stuck=True, stuck_seconds=900))


SAMPLES: Mapping[str, Callable[[], Rehearsal]] = {
    "detached": lambda: Rehearsal().play(_request()),
    "detach_unconfirmed": lambda: Rehearsal(_slow).play(_request()),
    "detached_after_unconfirmed": lambda: Rehearsal(_slow).play(_request()),
    "detach_checked": lambda: Rehearsal().play(_request(dry_run=True)),
    "detach_summary": lambda: Rehearsal().play(_several(all_data_disks=True)),
    "detach_failed": lambda: Rehearsal().play(_request(MOUNTED_VOLUME)),
    "detach_failed_invalid_request": lambda: Rehearsal().play(_request(dry_rum=True)),
    "detach_failed_dead_lettered": lambda: Rehearsal().bury(_request()),
    "detached_asked_over_sns": lambda: Rehearsal().play(_over_sns(), SNS),
    "detached_asked_over_eventbridge": lambda: Rehearsal().play(_over_eventbridge(), EVENTBRIDGE),
    "detached_asked_by_webhook_key": lambda: Rehearsal().post(signed=True),
    "detached_asked_by_bearer_token": lambda: Rehearsal().post({"authorization": f"Bearer {TOKEN}"}),
    "detached_asked_by_iam": lambda: Rehearsal().post(iam=ROLE),
}
"""The rehearsal for each sample. The sample is its last event, except for `detach_unconfirmed`: its first."""


@cache
def sample(name: str) -> dict[str, Any]:
    """A sample by its name."""
    events = SAMPLES[name]().events
    event: dict[str, Any] = json.loads(events[0 if name == "detach_unconfirmed" else -1].body)
    return event


def documents() -> dict[str, Callable[[], object]]:
    return {f"events/verdicts/{name}.json": partial(sample, name) for name in SAMPLES}

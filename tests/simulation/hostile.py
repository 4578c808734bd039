"""Plays hostile messages in batches together with ordinary requests, and checks that neither harms the other.

Each batch of ten runs to its end on virtual time, through the real service and a queue and a bus with AWS's limits. The
cloud gives absurd answers to some calls about the hostile requests. The checks use only the world's state and the
events: ordinary requests end as if they were alone, each hostile message gets one answer for each volume it asks for,
and nothing that the service sends exceeds AWS's limits.
"""

import base64
import json
import random as jitter
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from uuid import UUID

import requests

from functions.sqs_batch import answer_batch
from shared.model import Message
from shared.outbox.outbox import Receipts
from shared.policy import CONTEXT_BYTES, CONTEXT_LEVELS, POLL, VOLUMES
from shared.ports import AwsTrouble
from shared.service import Service
from simulator import Behaviour, What
from simulator.aws_limits import of_message
from tests.messages import bare, cloudevent, sqs_record
from tests.simulation.summaries import is_summary
from tests.stack import Bench, CountingAdapter, Queued
from tests.unit.test_envelope_entries import ENTRIES
from tests.virtual_aws import VirtualAws

SAMPLES = [path.read_text() for path in sorted((Path(__file__).parents[2] / "events").glob("*.json"))]

NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 10**400, 1e308, "", " ", "\x00", "a\nb", "\ud800", "../../etc/passwd", "http://elsewhere.test/",
    "95bf2490-5428-432c-ad9b-5e3406f869dd/..", "{95bf2490-5428-432c-ad9b-5e3406f869dd}", "x" * 5000, [], {}, [[]],
    {"specversion": "1.0"}, {"detail-type": "x", "detail": {}}, {"continuation": 1, "progress": {}},
    "2026-13-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "\ufffe", "AQC" * 400,
)  # fmt: skip
NAMES = (
    *("server_id", "volume_id", "volume_ids", "dry_run", "data", "detail", "Message", "Type", "TopicArn", "id", "time"),
    *("specversion", "continuation", "pending_delivery", "progress", "request", "constructor", "__proto__", "mac"),
    *("requester", "authtype", "authid", "task_token", "taskToken", "context", "data_base64", "expirytime"),
)
ODD = ("\x00", "\x1f", "\x7f", "\x85", "\u2028", "\ufffe", "\uffff", "\U0001fffe", "\ufeff", "😀", "ä", '"', "\\")
TIMES = ("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1969-12-31T23:59:59Z", "2016-12-31T23:59:60Z",
         "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59-23:59", "2100-01-01t00:00:00z")  # fmt: skip

ACCEPTED, REFUSED, EITHER, SILENT = "accepted", "refused", "either", "silent"
"""The required end of a hostile message; EITHER is for randomly changed messages, which may still be valid."""


@dataclass(frozen=True)
class Hostile:
    """A hostile message: its body, its required end, and the number of `answers` if it is accepted.

    It is sent `copies` times, as separate messages. With `one_event` they are copies of the same event.
    """

    kind: str
    body: str
    fate: str = EITHER
    answers: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict)
    copies: int = 1
    one_event: bool = False


@dataclass(frozen=True)
class Target:
    """The target of a hostile request: the hostile requests' own server, and a disk."""

    server: str
    disk: str
    number: int

    def data(self, **more: Any) -> dict[str, Any]:
        return bare(self.server, self.disk, **more)

    def event(self, data: Any = None, **more: Any) -> dict[str, Any]:
        event = cloudevent(
            self.data() if data is None else data, id=f"hostile-{self.number}", time="2100-01-01T00:00:00Z"
        )
        return {**event, **more}


Make = Callable[[Random, Target], Hostile]
KINDS: dict[str, Make] = {}


def kind(make: Make) -> Make:
    KINDS[make.__name__] = make
    return make


def a(
    random: Random, text: object, fate: str = EITHER, answers: int = 1, attributes: Mapping[str, str] | None = None
) -> Hostile:
    """A message with a JSON body, in which non-ASCII characters are escaped or not at random."""
    body = text if isinstance(text, str) else json.dumps(text, ensure_ascii=random.random() < 0.7)
    return Hostile("", body, fate, answers, attributes or {})


@kind
def bent(random: Random, target: Target) -> Hostile:
    value: Any = random.choice(
        [target.data(), target.event(), ENTRIES["rule"](target.event()), json.loads(random.choice(SAMPLES))]
    )
    for _ in range(random.randrange(1, 4)):
        value = _bend(value, random)
    return a(random, value)


@kind
def broken(random: Random, target: Target) -> Hostile:
    return a(random, _break(json.dumps(target.event()), random))


@kind
def deep(random: Random, target: Target) -> Hostile:
    levels = random.choice([CONTEXT_LEVELS - 1, CONTEXT_LEVELS, CONTEXT_LEVELS + 1, 45, 2000])
    context: Any = 1
    for _ in range(min(levels, 400) - 1):
        context = {"a": context}
    return a(random, target.event(target.data(context=context)), ACCEPTED if levels <= CONTEXT_LEVELS else REFUSED)


@kind
def wide(random: Random, target: Target) -> Hostile:
    room = (CONTEXT_BYTES - 60) // 6
    return a(random, target.data(context={"t": "".join(random.choice(ODD) for _ in range(room))}), ACCEPTED)


@kind
def odd_characters(random: Random, target: Target) -> Hostile:
    odd = random.choice(ODD)
    return a(random, target.data(context={odd: [odd]}, task_token=f"t{odd}"), ACCEPTED)


@kind
def odd_attributes(random: Random, target: Target) -> Hostile:
    return a(
        random, target.event(**{random.choice(["source", "correlationid", "id", "subject"]): f"x{random.choice(ODD)}"})
    )


@kind
def huge_numbers(random: Random, target: Target) -> Hostile:
    number = random.choice([2**63, -(2**63) - 1, 10**4000, 2**64])
    return a(random, target.data(context={"n": [number]}), REFUSED)


@kind
def largest_numbers(random: Random, target: Target) -> Hostile:
    return a(random, target.data(context={"n": [2**63 - 1, 1.7976931348623157e308, -0.0, 5e-324]}), ACCEPTED)


@kind
def odd_times(random: Random, target: Target) -> Hostile:
    return a(random, target.event(**{random.choice(["time", "expirytime"]): random.choice(TIMES)}))


@kind
def forged_continuation(random: Random, target: Target) -> Hostile:
    now = "2026-11-23T08:00:00Z"
    request = {
        "id": "4711",
        "source": "/changes",
        "requested_at": now,
        "server_id": target.server,
        "volume_id": target.disk,
    }
    progress = {"first_seen_at": now, "accepted_at": now, "deletes_sent": random.randrange(3)}
    macs: list[dict[str, Any]] = [{}, {"mac": "0" * 64}, {"mac": None}, {"mac": "ä"}]
    mac = random.choice(macs)
    return a(random, {"continuation": 1, "request": request, "progress": progress, **mac}, REFUSED)


@kind
def forged_delivery(random: Random, target: Target) -> Hostile:
    event: dict[str, Any] = {"id": "e", "type": "t", "source": "/s", "subject": None, "time": "now", "body": "{}"}
    event |= {"outcome": "detached", "task_token": "AQC"}
    to = random.choice(["bus", "sink", "task"])
    return a(random, {"pending_delivery": 1, "to": to, "event": event, "since": "2026-11-23T08:00:00Z"}, REFUSED)


@kind
def own_verdict(random: Random, target: Target) -> Hostile:
    name = random.choice(["detached", "detach_failed", "detach_unconfirmed", "detach_checked"])
    return a(random, random.choice(list(ENTRIES.values()))(target.event({}, type=f"bms.volume.{name}.v1")), SILENT)


@kind
def wrapped(random: Random, target: Target) -> Hostile:
    value: Any = target.event()
    times = random.choice([2, 3, 4])
    for _ in range(times):
        value = random.choice([ENTRIES["sns"], ENTRIES["rule"]])(value)
    return a(random, value, ACCEPTED if times < 4 else REFUSED)


@kind
def names_that_stand_twice(random: Random, target: Target) -> Hostile:
    return a(random, json.dumps(target.data()).replace("{", '{"dry_run": true, "dry_run": false, ', 1), REFUSED)


@kind
def half_characters(random: Random, target: Target) -> Hostile:
    return a(random, json.dumps(target.data(context={"a": "\ud800"})), REFUSED)


@kind
def secrets(random: Random, target: Target) -> Hostile:
    name = random.choice(["password", "taskToken", "api_key", "requester", "authid"])
    return a(random, target.data(**{name: "AQCEAAAAKgAAAAMA"}), REFUSED)


@kind
def many_volumes(random: Random, target: Target) -> Hostile:
    volumes = [str(UUID(int=random.getrandbits(128))) for _ in range(VOLUMES)]
    return a(random, {"server_id": target.server, "volume_ids": volumes}, ACCEPTED, VOLUMES)


@kind
def the_same_volume_twice(random: Random, target: Target) -> Hostile:
    return a(random, {"server_id": target.server, "volume_ids": [target.disk, target.disk.upper()]}, REFUSED)


@kind
def sent_often(random: Random, target: Target) -> Hostile:
    """Copies of one event: all verdicts have the same id."""
    return replace(a(random, target.event(), ACCEPTED), copies=3, one_event=True)


@kind
def many_for_one_volume(random: Random, target: Target) -> Hostile:
    """Separate requests for the same volume."""
    return replace(a(random, target.data(), ACCEPTED), copies=3)


@kind
def legal_and_odd(random: Random, target: Target) -> Hostile:
    text = json.dumps(target.data())
    forms: list[object] = [
        "\ufeff" + text,
        json.dumps(text),
        target.event(text, datacontenttype="text/plain"),
        {**target.event(), "data": None, "data_base64": base64.b64encode(text.encode()).decode()},
        {**target.event(), "tracestate": "", "traceparent": "x" * 3000},
        [target.event()],
    ]
    return a(random, random.choice(forms), ACCEPTED)


@kind
def binary_mode(random: Random, target: Target) -> Hostile:
    event = {name: value for name, value in target.event().items() if name not in ("data", "datacontenttype")}
    attributes = {f"ce-{name}": str(value) for name, value in event.items()}
    return a(random, json.dumps(target.data()), ACCEPTED, attributes=attributes)


@kind
def large(random: Random, target: Target) -> Hostile:
    return a(random, json.dumps({**target.data(), "note": random.choice(["x", '"', "😀"]) * 100_000}), REFUSED)


def _bend(value: Any, random: Random) -> Any:
    """Replace one value at a random place in a JSON value."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        name = random.choice(list(value))
        if random.random() < 0.15:
            return {**value, random.choice(NAMES): random.choice(NASTY)}
        return {**value, name: _bend(value[name], random)}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        return [*value[:at], _bend(value[at], random), *value[at + 1 :]]
    return random.choice(NASTY)


def _break(text: str, random: Random) -> str:
    """Damage a JSON text: cut it, repeat a part, change a character, or nest it deeply."""
    at = random.randrange(len(text) + 1)
    match random.randrange(5):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + chr(random.randrange(0x20, 0x250)) + text[at + 1 :]
        case 2:
            return text[:at] + text[at // 2 : at] + text[at:]
        case 3:
            return "[" * random.randrange(200) + text
        case _:
            return text.replace('"', random.choice(("'", '"', "\\", '\\"')), 3)


# ---------------------------------------------------------------------------------------------------- the cloud

RETRY_AFTER = ("9999999999999", "-1", "NaN", "1e999", "Fri, 31 Dec 9999 23:59:59 GMT", "\xff", "9" * 5000)
ABSURD, TRICKLING = 0.2, 0.1
"""The share of calls about hostile requests with an absurd answer, and the share of these that take `TRICKLE`."""
TRICKLE = 2.5
"""Seconds that a slow absurd answer takes."""
ODD_TIMES = ("0001-01-01T00:00:00", "9999-12-31T23:59:59.999999", "yesterday", "", None, 5)


class AbsurdAdapter(CountingAdapter):
    """The in-process cloud, with absurd answers to some of the calls about hostile requests."""

    def __init__(self, bench: "Crowd") -> None:
        super().__init__(bench.cloud, bench.effects, bench.clock)
        self._bench = bench

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        bench, asked = self._bench, str(request.path_url)
        if not any(one in asked for one in bench.hostile_ids) or bench.random.random() >= ABSURD:
            return super().send(request, *arguments, **options)
        bench.absurd += 1
        if bench.random.random() < TRICKLING:
            bench.trickled += TRICKLE
            bench.clock.sleep(TRICKLE)
        if request.method == "DELETE" or bench.random.random() < 0.2:
            return _refused(request, bench.random)
        answer = super().send(request, *arguments, **options)
        _make_absurd(answer, bench.random)
        return answer


def _refused(request: requests.PreparedRequest, random: Random) -> requests.Response:
    """A throttling answer without an effect, with a Retry-After that is not a valid time."""
    answer = requests.Response()
    answer.request, answer.url, answer.status_code = request, str(request.url), random.choice([413, 429, 503])
    answer.headers["Retry-After"] = random.choice(RETRY_AFTER)
    over = '{"overLimit": {"code": 413, "message": "come again", "retryAfter": %s}}'
    later = random.choice(["1e999", "-1e999", "NaN", str(10**400), str(10**4200), "[]", '"9999999999999"'])
    answer._content = random.choice(["", "{", "[[[[", "null", over % later, over % later]).encode()
    return answer


def _make_absurd(answer: requests.Response, random: Random) -> None:
    match random.randrange(6):
        case 0:
            answer.status_code = random.choice([429, 503, 413])
            answer.headers["Retry-After"] = random.choice(RETRY_AFTER)
        case 1:
            answer._content = random.choice(
                [b"", b"[]", b"null", b"\xff\xfe", b"{" * 2000, b'{"volume": 5}', b"<html>"]
            )
        case 2:
            answer.status_code = random.choice([100, 204, 302, 404, 418, 500, 599])
        case _:
            answer._content = _absurd(answer.content, random)


def _absurd(content: bytes, random: Random) -> bytes:
    """The same document with one value replaced, and some times out of range."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    bent = json.dumps(_bend(value, random)).replace('"attached_at": "', '"attached_at": "' * random.randrange(2), 1)
    for name in ("attached_at", "updated_at", "start_time", "created_at"):
        if random.random() < 0.3:
            bent = bent.replace(f'"{name}": ', f'"{name}": {json.dumps(random.choice(ODD_TIMES))}, "x": ', 1)
    return bent.encode()


# ---------------------------------------------------------------------------------------------------- the batch


OURS = "our own code failed"
"""The log line for an exception that a visit caught. No input may cause one."""


def record_of(message: Queued) -> dict[str, Any]:
    """A message as an SQS record of a Lambda event."""
    record = sqs_record(message.body, message.id, message.sent_at)
    received = int((message.first_received_at or message.sent_at).timestamp() * 1000)
    record["attributes"]["ApproximateFirstReceiveTimestamp"] = str(received)
    record["attributes"]["ApproximateReceiveCount"] = str(message.receive_count)
    texts = {name: {"dataType": "String", "stringValue": value} for name, value in message.attributes.items()}
    return {**record, "messageAttributes": texts}


Count = tuple[str, str]
"""A kind of message and how it ended."""

TROUBLE = 0.08
"""The share of AWS calls, and of entries of AWS calls, that fail during an AWS disturbance."""
SKEWS = (-120, -3, 0, 3, 120)
"""Clock skews in seconds."""


class Crowd(Bench):
    """A batch of ten: the hostile messages, and ordinary requests (bystanders) for other servers."""

    def __init__(
        self,
        hostile: list[Make],
        seed: int,
        mutate: Callable[[Service], Service] = lambda service: service,
        trouble: float = 0.0,
    ) -> None:
        self.random = Random(seed)
        self.hostile_ids: set[str] = set()
        self.absurd = 0
        self.trickled = 0.0
        self.odd: Callable[[Queued], Mapping[str, Any]] = lambda message: {}
        # The clocks of the queue and of the cloud have random skews, independent of each other.
        queue, cloud = (timedelta(seconds=self.random.choice(SKEWS)) for _ in range(2))
        super().__init__(cloud_ahead=cloud, mutate=mutate)
        self.queue.ahead = queue
        # The AWS clients' pauses use the global random generator.
        jitter.seed(seed)
        self.aws = VirtualAws(self.queue, self.bus, self.clock, self.random, trouble)
        bus, to_queue = self.aws.outlets()
        self.outlets = replace(self.outlets, bus=bus, queue=to_queue)
        self.service = self._start()
        self.sent: list[tuple[Hostile, str, str]] = []
        self.refused_by_queue: list[str] = []
        self.hostile_ids.add(self.server)
        for number, make in enumerate(hostile):
            self._send_hostile(make, number)
        self.bystanders: dict[str, tuple[str, str]] = {}
        for number in range(10 - len(hostile)):
            server = self.world.add_server(metadata={"os_type": "Linux"}).id
            disk = self.world.add_volume(behaviour=Behaviour(seconds=3)).id
            self.world.attach(server, disk, attached_at=self.clock() - timedelta(days=3))
            queued = self.queue.put(json.dumps(bare(server, disk)), id=f"bystander-{number}")
            self.bystanders[queued.id] = server, disk
        self.random.shuffle(self.queue.messages)

    def _send_hostile(self, make: Make, number: int) -> None:
        disk = self.disk(behaviour=Behaviour(seconds=3))
        self.hostile_ids.add(disk)
        found = make(self.random, Target(self.server, disk, number))
        if of_message(found.body):
            self.refused_by_queue.append(found.kind)  # SQS refuses the message, so the sender knows
            return
        for copy in range(found.copies):
            queued = self.queue.put(found.body, id=f"hostile-{number}" + f"-{copy}" * bool(copy))
            queued.attributes = found.attributes
            if not copy or not found.one_event:
                self.sent.append((found, queued.id, disk))

    def clouds(self) -> Any:
        from local.stack import simulator_credentials
        from shared.cloud.openstack import Projects, connector
        from shared.settings import CloudCredentials, load

        http = requests.Session()
        http.trust_env = False
        http.mount("http://", AbsurdAdapter(self))
        credentials = load(CloudCredentials, simulator_credentials(self.cloud))
        connect = partial(connector(self.settings.detach_api), http=http, clock=self.clock)
        return Projects(connect, lambda _: credentials)

    def violations(self) -> Iterator[str]:
        """All violations at the end of the run."""
        yield from (f"AWS refused {why}" for why in self.aws.illegal)
        # A message may go back to the queue only because AWS does not accept the service's messages.
        passing = (AwsTrouble, AssertionError) if self.aws.happened else ()
        yield from (f"raised {error!r}" for error in self.errors if not isinstance(error, passing))
        failures = {json.loads(line).get("last_error") for line in self.logs if OURS in line}
        yield from (f"our own code failed on its input: {failure}" for failure in failures)
        if self.queue.messages or self.queue.dead_letters:
            yield f"left over: {len(self.queue.messages)} messages, {len(self.queue.dead_letters)} dead letters"
        if self.queue.died:
            yield f"dead letters: {self.queue.died}"
        told = [event for event in self._verdicts() if event["data"]["verdict"] != "unconfirmed"]
        names = {message_id for found, message_id, _ in self.sent if not found.one_event} | self.bystanders.keys()
        once = Counter(event["id"] for event in told if event["data"]["request"]["id"] in names)
        if not self.aws.happened and any(count > 1 for count in once.values()):
            yield "a verdict was emitted twice, although AWS accepted everything"
        finals = list({event["id"]: event["data"] for event in told}.values())
        for message_id, (server, disk) in self.bystanders.items():
            if self.world.is_attached(server, disk):
                yield f"the bystander's disk {disk} is still attached"
            if {e["data"]["verdict"] for e in told if e["data"]["request"]["id"] == message_id} != {"detached"}:
                yield f"the bystander {message_id} also got another verdict"
            mine = [data for data in finals if data["request"]["id"] == message_id]
            if [(data["verdict"], data.get("server_id"), data.get("volume_id")) for data in mine] != [
                ("detached", server, disk)
            ]:
                yield f"the bystander {message_id} got {[(data['verdict'], data['detail']) for data in mine]}"
            elif self.aws.happened:
                continue  # it may have been redelivered, so its time and calls say nothing
            elif mine[0]["timing"]["seconds"] > alone().seconds + LATER + self.trickled:
                yield f"the bystander {message_id} waited {mine[0]['timing']['seconds']} s, alone {alone().seconds}"
            asked = sum(server in call.path or disk in call.path for call in self.cloud.calls)
            if asked > alone().calls:
                yield f"the bystander {message_id} cost {asked} calls, alone {alone().calls}"
        others = [data for data in finals if data["request"]["id"] not in self.bystanders]
        yield from self._unanswered([event["data"] for event in told])
        cut = {entry.volume_id for entry in self.world.history if entry.what is What.DELETE_ACCEPTED}
        for found, message_id, disk in self.sent:
            yield from self._wrong_with(found, message_id, disk, others, cut)

    def deliver(self, batch: list[Queued], elsewhere: bool = False) -> None:
        """Run one invocation with records like those of Lambda."""

        def handle(messages: Sequence[Message]) -> Receipts:
            receipts = self.service.handle(messages)
            self.errors += [why.cause or AssertionError(why.why) for why in receipts.unsent.values()]
            return receipts

        answer = answer_batch({"Records": [{**record_of(message), **self.odd(message)} for message in batch]}, handle)
        failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
        for message in batch:
            if message.id not in failed:
                self.queue.acknowledge(message)

    def counts(self) -> Counter[Count]:
        """How messages of each kind ended, and the disturbances of the cloud and of AWS."""
        told = {event["data"]["request"]["id"]: event["data"]["detail"] for event in self._verdicts()}
        ends = [(found.kind, _end_of(found, told.get(message_id))) for found, message_id, _ in self.sent]
        refused = [(kind, NOT_SENT) for kind in self.refused_by_queue]
        happened = {("AWS", what): count for what, count in self.aws.happened.items()}
        ordinary = {(ORDINARY, CARRIED): len(self.bystanders)}
        return Counter(ends + refused) + Counter(ordinary | happened | {("cloud", "absurd answers"): self.absurd})

    def _verdicts(self) -> Iterator[dict[str, Any]]:
        """Events about one volume. A sample that is bent into a request for all data disks ends in a summary, too."""
        return (event for event in self.bus.events if not is_summary(event))

    def _unanswered(self, finals: list[dict[str, Any]]) -> Iterator[str]:
        """Messages whose answers have an unpredictable request id: only the number of such answers is checked."""
        names = {message_id for _, message_id, _ in self.sent} | self.bystanders.keys()
        told = Counter(data["request"]["id"] for data in finals)
        renamed = [found.kind for found, message_id, _ in self.sent if found.fate == EITHER and not told[message_id]]
        answers = sum(count for name, count in told.items() if name not in names)
        if not len(renamed) <= answers <= VOLUMES * len(renamed):
            yield f"{len(renamed)} messages had {answers} answers: {renamed}"

    def _wrong_with(
        self, found: Hostile, message_id: str, disk: str, others: list[dict[str, Any]], cut: set[Any]
    ) -> Iterator[str]:
        answers = [data for data in others if data["request"]["id"] == message_id]
        said = Counter(data["detail"] for data in answers)
        if found.fate == REFUSED and (list(said) not in (["invalid_request"], ["not_authentic"]) or disk in cut):
            yield f"{found.kind}: a message that must be refused was answered {dict(said)}"
        if found.fate == ACCEPTED and ("invalid_request" in said or len(answers) != found.answers):
            yield f"{found.kind}: a request that must be accepted was answered {dict(said)}"
        if found.fate == SILENT and answers:
            yield f"{found.kind}: a verdict was answered {dict(said)}"
        if len({data.get("volume_id") for data in answers}) != len(answers):
            yield f"{found.kind}: answered more than once: {dict(said)}"
        if "invalid_request" in said and disk in cut:
            yield f"{found.kind}: an invalid request caused a DELETE"


ORDINARY = "ordinary"
CARRIED, REJECTED, IGNORED, RENAMED, NOT_SENT = "carried out", "rejected", "ignored", "under another id", "not sent"


def _end_of(found: Hostile, detail: str | None) -> str:
    if detail is None:
        return IGNORED if found.fate == SILENT else RENAMED
    return REJECTED if detail in ("invalid_request", "not_authentic") else CARRIED


ONLY_REJECTED = (
    *("broken", "half_characters", "huge_numbers", "secrets", "large", "forged_continuation", "forged_delivery"),
    *("names_that_stand_twice", "the_same_volume_twice"),
)
ENDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(ONLY_REJECTED, (REJECTED,)),
    **dict.fromkeys(("bent", "odd_attributes", "deep", "wrapped"), (CARRIED, REJECTED)),
    "own_verdict": (IGNORED,),
    "AWS": ("answers lost", "calls refused", "events not taken", "messages not taken"),
    "cloud": ("absurd answers",),
}
"""The ends that some messages of each kind must reach; by default, some must be carried out."""


def never_reached(counts: Counter[Count]) -> list[str]:
    """The ends that no message reached, so that the proof says nothing about them."""
    wanted = {name: ENDS.get(name, (CARRIED,)) for name in (*KINDS, ORDINARY, "AWS", "cloud")}
    return [f"{name}: {end}" for name, ends in wanted.items() for end in ends if not counts[name, end]]


class Alone(NamedTuple):
    """The time to the verdict and the calls of an ordinary request in a batch without hostile messages."""

    seconds: float
    calls: int


LATER = POLL[1] + 0.1
"""The seconds by which the other messages of a batch may delay a request.

A call takes a millisecond here, and 40 volumes need many calls. If a look misses the end of a detach by a little, the
next look finds it.
"""


@lru_cache
def alone() -> Alone:
    """The longest time and the most calls of ten ordinary requests."""
    crowd = Crowd([], seed=0)
    crowd.run()
    finals = [event["data"]["timing"]["seconds"] for event in crowd.bus.events]
    ids = crowd.bystanders.values()
    calls = [sum(server in call.path or disk in call.path for call in crowd.cloud.calls) for server, disk in ids]
    return Alone(max(finals), max(calls))


SELDOM = {"many_volumes": 0.1}
"""The weights of kinds that take long; the others have 1."""


def drawn(seed: int, count: int = 9) -> list[str]:
    """Random kinds for the hostile messages of a batch."""
    return Random(seed).choices(list(KINDS), [SELDOM.get(name, 1) for name in KINDS], k=count)


def play(makes: list[str], seed: int, mutate: Callable[[Service], Service] = lambda service: service) -> Crowd:
    """Play a batch with hostile messages of these kinds to its end. With every fourth seed, some AWS calls fail."""
    trouble = TROUBLE if seed % 4 == 3 else 0.0
    crowd = Crowd([_named(name) for name in makes], seed, mutate, trouble)
    crowd.run()
    return crowd


def _named(name: str) -> Make:
    def make(random: Random, target: Target) -> Hostile:
        found = KINDS[name](random, target)
        return replace(found, kind=name)

    return make

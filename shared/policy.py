"""Every time and limit, with its unit and its reason. Numbers that follow from others are computed.

Plain numbers are seconds, unless their name says bytes or a comment says otherwise. `Policy` is what the operator sets;
`Settings` fills it.
"""

from datetime import timedelta
from enum import StrEnum

from shared.quick import dataclass

# ------------------------------------------------------------------------------------- one invocation (template.yaml)

INVOCATION = 60
"""The function's time limit."""

VISIBILITY = 6 * INVOCATION
"""How long a received message is hidden: six times the time limit, as AWS recommends (Lambda: using SQS, queue
settings)."""

MAX_RECEIVES = 25
"""A message is dead-lettered after this many deliveries without acknowledgement.

During an outage in which SQS still delivers but accepts nothing, or Secrets Manager does not answer, each message
returns every VISIBILITY: twenty times in two hours. That leaves five deliveries for other causes.
"""

SUSPECT_AFTER = 3
"""A message that was delivered more often than this is processed alone: it may be what ends the process."""

TIME_TO_SEND = 8
"""Kept at the end of an invocation for the outbox."""

OUTLIVE = 1
"""The last calls to the cloud end at the deadline. Their threads are waited for this much longer, to learn the
result."""

SERVERS_AT_ONCE = 10
"""Visits that run in parallel: Lambda delivers at most ten messages, each about one server."""

# ------------------------------------------------------------------------------------------- calls to the cloud

CLOUD_CONNECT, CLOUD_ANSWER = 5, 30
"""To connect, and to wait for bytes; for every call, including calls to Keystone."""

LONGEST_CALL = CLOUD_CONNECT + CLOUD_ANSWER + 1
"""A whole call including headers and body, with one second to spare. No call outlasts the deadline."""

LONGEST_DELETE = 15
"""The whole DELETE, including the connection. It is sent only if this much time is left, because no call may be open
when the handler returns. Nova answers a DELETE in one or two seconds; if an answer takes longer, the next look reads
the effect."""

LONGEST_RETRY_AFTER = 3600
"""The upper limit for a wait that the cloud asks for in `Retry-After`."""

SHORTEST_LOOK = 5
"""A look begins only if this much of the invocation is left."""

FRESH = 2
"""The maximum age of a read of a server or its list that a gate uses or cases share."""

COPIES_REMEMBERED = 500
"""How many requests with a sent DELETE a process remembers, so that a copy of one does not take the detach for another
requester's."""

PUT_BACK = 2
"""The delay of a case for which there was no time to look."""

# ------------------------------------------------------------------------------------- secrets and logins, webhook

SECRET_KEPT = 300
"""The maximum age of a secret: a rotated secret is in use within this time, without a refusal."""

SECRET_KEPT_AT_MOST = 4 * 3600
"""The maximum age of a secret while Secrets Manager does not answer: longer than its known outages."""

SECRET_PATIENCE = SHORTEST_LOOK
"""The time to read a secret. A look begins only if this much of the invocation is left."""

SECRET_AWAY = 10
"""How long a secret is not requested again after Secrets Manager did not answer. Callers in this time share that
result."""

SECRET_NEWEST = 30
"""The maximum age of a secret after its content was refused. A stranger can make the service read it this often."""

TOKEN_LEFT = 120
"""A token is replaced when it expires this soon: longer than a call may take."""

LOGIN_PAUSES = (0, 30, 600, 900)
"""How long a login waits after the first, second, third and any later refusal of the same credentials.

The first refusal may be a mistake of Keystone's. After that, at most four attempts fall into any fifteen minutes: Open
Telekom Cloud locks a user after five failures in fifteen minutes.
"""

KEY_PAUSES = (30, 600, 900)
"""How long an access key is not used after its first, second and any later refusal in a row.

More than five wrong signatures in a row lock a key for five minutes (Huawei Cloud, API Request Signing Guide). With
SIGNED_AT_ONCE there are at most four in fifteen minutes.
"""

SIGNED_AT_ONCE = 3
"""How many signed requests may be open in parallel; before the first success, only one."""

SIGNATURE_AGE = 900
"""The maximum difference between the time of a signature and now, in both directions (Huawei Cloud, API Request Signing
Guide)."""

UPGRADE = 900
"""How long after the creation of the message key unsigned messages are accepted: the previous release, which does not
sign, may still be sending."""

SIGNATURE_TOLERANCE = 300
"""How far the signed time of a webhook may differ from ours (Standard Webhooks, verifying the timestamp)."""

# --------------------------------------------------------------------------------------------------- calls to AWS

AWS_CONNECT, AWS_ANSWER = 2, 4
"""To connect, and for one whole attempt, including name resolution and every byte of the answer."""

AWS_SHORTEST = 1.5
"""An attempt that can be repeated gets half of the time left, but at least this much."""

AWS_PATIENCE = TIME_TO_SEND
"""The time for everything that is sent to one service in one go: attempts, pauses, batches and rounds."""

AWS_ATTEMPTS = 4
AWS_ROUNDS = 3
"""How often, in all, entries that SQS or EventBridge rejected from a batch are sent."""

AWS_THREADS = 16
"""Attempts that run in parallel: one for each visited server, and some that may hang."""

SPARE = 1
"""The part of TIME_TO_SEND that stays free at the end, for the answer to Lambda."""

BUS_SHARE, CONTINUATIONS_SHARE = 0.4, 0.6
"""The shares of the sending time: for the bus, and then for continuations. The rest is for waiting deliveries."""

AWS_BATCH = 10
"""Entries in one call: SendMessageBatch and PutEvents take ten."""

AWS_BATCH_BYTES = 900_000
"""Both accept 1 MiB in all; the difference is for the names around the bodies."""

GROUP_BYTES = 240_000
"""A message with several volumes is compressed above this size. A queue that was created before SQS accepted 1 MiB
accepts 256 KiB; the difference is for the MAC."""

LONGEST_DELAY = 900
"""The longest delay that SQS supports."""

# ------------------------------------------------------------------------------------------------------ consumers

SINK_CONNECT, SINK_ANSWER = 3, 10

LONGEST_OFFER = SINK_CONNECT + SINK_ANSWER + 1
"""One whole offer, including reading the signing key. An offer is made only if this much time is left."""

PATIENCE = 10
"""How long one batch waits for slow consumers. Later batches offer the rest."""

# ------------------------------------------------------------------------------------------------ kept verdicts

MARK_PATIENCE = 1
"""For all marks of one webhook delivery. Marks are optional, and the sender waits for the 202."""

STATUS_PATIENCE = 4
"""To look up one request. A sender that polls will ask again."""

STATUS_AGAIN = {"accepted": 5, "unconfirmed": 60}
"""When a sender should ask again: most detaches end within half a minute, and an unconfirmed one gets a look every 60 s
or less often."""

# ------------------------------------------------------------------------------------------------------ the canary

CANARY_INVOCATION = 270
"""The time limit of the canary function: shorter than the 300 s between two runs, so that runs never overlap."""

CANARY_BOUND = 240
"""How long the canary waits for its verdict. A dry run is answered within seconds."""

CANARY_WAIT, CANARY_PAUSE = 2, 1
"""The wait for a message in one call, which must end within AWS_ANSWER; and the pause after a failed call."""

CANARY_HIDDEN = 5
"""How long a received message is hidden from other runs, which may be waiting for it."""

CANARY_COUNTS = 3
"""How often the messages of the request queue are counted, with CANARY_PAUSE before each count."""

CANARY_EVIDENCE = 15
"""To collect evidence from AWS about a request without an answer."""

CANARY_WEBHOOK = 5
"""For the answer of the webhook endpoint, including cold starts."""

# ------------------------------------------------------------------------------------------ sizes of what comes in

BODY_BYTES = 64 * 1024
"""The size that every consumer of CloudEvents should accept (CloudEvents 1.0.2, size limits); the webhook accepts no
more."""

BATCH_EVENTS = 100
CONTEXT_BYTES = 4096
CONTEXT_LEVELS = 30
"""`context` is nested some levels deep in our messages and verdicts, which are read up to `strict_json.DEEPEST`."""

EVENT_BYTES = 64 * 1024
"""The size that intermediaries have to forward (CloudEvents 1.0.2, size limits). A larger event drops evidence."""

VOLUMES = 40
"""In one request: a bare metal server has at most this many (`decision.bare_metal`)."""

DISKS = 100
"""Data disks of one server that one request may ask for. The message that carries them must fit into SQS, with up to
CALLS_KEPT calls for each disk (fewer if needed), and their summary must fit into one event."""

ENVELOPES = 4
FAULTS = 50
"""More than a well-meant request has. All faults together must fit into one event."""

ORIGINAL_BYTES = 8192
SUMMARY_BYTES = 2048

CALLS_KEPT = 20
ATTACHED_TO_KEPT = 20
"""Evidence stays small although a request may be watched for hours."""

# --------------------------------------------------------------------------------------------------- DELETE rules

UNSETTLED_LIMIT = 3
"""How many DELETEs with an unknown outcome a request may have, and the seconds between them. Each may have had an
effect, so the volume is read before another one is sent."""
UNSETTLED_PAUSE = 30

REFUSAL_READS = 2
"""Idle reads in a row that mean a refusal. Where `detaching` was never seen, they count only after
REFUSAL_UNMARKED_AFTER."""
REFUSAL_UNMARKED_AFTER = 60
"""Longer than a slow cloud needs to mark the volume: one with a slow message bus took 30 s after its 202."""

ERROR_READS = 2
"""Looks in a row that must show an error status, since it may pass. After an accepted DELETE they count only after
ERROR_AFTER."""
ERROR_AFTER = 30

RECORD_AFTER = 30
"""While the volume is `detaching`, every other look from this time on reads the action record."""

RECORD_SLACK = 5
"""How far the times of Nova's action records and Cinder's attachments may differ."""

# ---------------------------------------------------------------------------------------------------------- waits


@dataclass(frozen=True)
class Backoff:
    """Seconds that start at `first` and are multiplied by `factor` each attempt, up to `cap`; jitter subtracts up to a
    third."""

    first: float
    factor: float
    cap: float


Steps = tuple[int, ...]
"""Seconds for each attempt; the last one repeats. There is no jitter, so disks of one server stay in step."""

POLL: Steps = (1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 10, 12, 15)
"""While a detach is under way. Looks are due 1, 3, 5, 8, 11, 14 … seconds after the acceptance, even if the previous
one was late. Chosen by simulation (`benchmarks/schedule.py`): looks are closest together at the ages at which most
detaches end."""

JUST_CHANGED = 10
"""If block storage released the volume this recently, compute is about to release it too: the next look is a second
later."""

AT_ONCE: Steps = (1,)
"""After an answer that says nothing about the outcome."""

RETRY = Backoff(first=5, factor=2, cap=60)
"""While no detach is under way."""

WATCH = Backoff(first=60, factor=2, cap=900)
"""After `detach_unconfirmed`."""

AFTER_FAILURE = Backoff(first=60, factor=2, cap=900)
"""After a look that failed in our own code. The cloud's state may change, or a release may fix the code."""

FAILURES = 6
"""After this many failed looks in a row, about half an hour, the request is answered as dead-lettered."""

OFFER_AGAIN = Backoff(first=5, factor=3, cap=900)
"""For a consumer that has not taken a verdict."""

EMIT_AGAIN = Backoff(first=5, factor=2, cap=120)
"""For the bus, which is retried until it takes the verdict: nothing else reports how a request ended."""

LATE_LOOK = LONGEST_DELAY
"""A request is overdue this long after the moment that ends it. The look at that moment may be delivered late, or three
times, VISIBILITY apart."""

LATE_VERDICT = 1800
"""A verdict is overdue when the bus has not taken it for this long. By then its alarm has fired
(`EmitFailuresAlarm`)."""


# --------------------------------------------------------------------------------------------- the operator's part


class RunningServerPolicy(StrEnum):
    """What the operator allows on running servers: the platform's checks, an attestation in each request, or no detach
    at all."""

    PLATFORM = "platform"
    ATTEST = "attest"
    STOPPED_ONLY = "stopped_only"


class ServerKind(StrEnum):
    """The kind of server that this deployment may detach volumes from."""

    ANY = "any"
    BARE_METAL = "bare_metal"


@dataclass(frozen=True)
class Policy:
    """The operator's choices. The core gets them as a value and reads no settings."""

    confirm_timeout: timedelta = timedelta(seconds=600)
    watch_timeout: timedelta = timedelta(hours=6)
    request_ttl: timedelta = timedelta(hours=1)
    fence_skew: timedelta = timedelta(seconds=5)
    running_server_policy: RunningServerPolicy = RunningServerPolicy.PLATFORM
    request_ttl_limit: timedelta = timedelta(days=1)
    allowed_requesters: tuple[str, ...] = ()
    server_kind: ServerKind = ServerKind.ANY

"""Every time and limit, with its unit and its reason. What follows from another number is computed from it.

Plain numbers are seconds, unless their name says bytes or a comment says otherwise. `Policy` is what the operator
sets; `Settings` fills it.
"""

from datetime import timedelta
from enum import StrEnum

from shared.quick import dataclass

# ------------------------------------------------------------------------------------- one invocation (template.yaml)

INVOCATION = 60
"""The function's time limit."""

VISIBILITY = 6 * INVOCATION
"""How long a received message is hidden: six time limits, as AWS asks for (Lambda: using SQS, queue settings)."""

MAX_RECEIVES = 25
"""After so many deliveries that were not acknowledged a message is a dead letter.

While SQS delivers and takes nothing, or Secrets Manager does not answer, each message comes again after VISIBILITY:
twenty times in two hours. Five deliveries are left for what else may happen.
"""

SUSPECT_AFTER = 3
"""A message that has been delivered more often than this is worked on by itself: it may be what ends the process."""

TIME_TO_SEND = 8
"""Kept at the end of an invocation for the outbox."""

OUTLIVE = 1
"""The last calls to the cloud end at the deadline; their threads are waited for a little longer, to know how."""

SERVERS_AT_ONCE = 10
"""Visits that run side by side: Lambda hands over ten messages at most, each about one server."""

# ------------------------------------------------------------------------------------------- calls to the cloud

CLOUD_CONNECT, CLOUD_ANSWER = 5, 30
"""To connect, and to wait for bytes, for every call, the ones to Keystone too."""

LONGEST_CALL = CLOUD_CONNECT + CLOUD_ANSWER + 1
"""A whole call, its headers and body included; one to spare. No call goes on past the deadline."""

LONGEST_DELETE = 15
"""The whole DELETE, connecting included. It is sent only if so much is left: nothing may be on its way when the
handler returns. Nova answers it in a second or two, and what takes longer is looked at instead."""

LONGEST_RETRY_AFTER = 3600
"""No cloud is waited for longer than this on its own word."""

SHORTEST_LOOK = 5
"""With less than this left of the invocation no look is begun."""

FRESH = 2
"""How old a read of a server or its list may be when a gate is asked of it, or a case shares it."""

COPIES_REMEMBERED = 500
"""Requests whose DELETE was sent by this process, so that a copy of one is not taken for somebody else's detach."""

PUT_BACK = 2
"""The delay of a case that there was no time to look at."""

# ------------------------------------------------------------------------------------- secrets and logins, webhook

SECRET_KEPT = 300
"""How old a secret may be: a rotated one takes over within this time without a refusal."""

SECRET_KEPT_AT_MOST = 4 * 3600
"""How old a secret may be while Secrets Manager does not answer: longer than its outages are known to last."""

SECRET_PATIENCE = SHORTEST_LOOK
"""To read a secret. No look is begun with less left of the invocation."""

SECRET_AWAY = 10
"""So long a secret is not asked for again after Secrets Manager did not answer: others wait for the same answer."""

SECRET_NEWEST = 30
"""How old it may be once its content was refused. This is also how often a stranger can make us read it."""

TOKEN_LEFT = 120
"""A token is not used any more when it ends so soon: longer than a call may take."""

LOGIN_PAUSES = (0, 30, 600, 900)
"""So long a login is not repeated with the same credentials after its first, second, third and any later refusal.

The first may have been Keystone's mistake. After that, four tries at most fall into any fifteen minutes: Open Telekom
Cloud locks a user after five failures in fifteen minutes.
"""

KEY_PAUSES = (30, 600, 900)
"""So long no request is signed with the same access key after its first, second and any later refusal in a row.

More than five wrong signatures in a row lock a key for five minutes (Huawei Cloud, API Request Signing Guide). With
SIGNED_AT_ONCE there are four at most in fifteen minutes.
"""

SIGNED_AT_ONCE = 3
"""So many signed requests may be unanswered at once; before the first one is accepted, a single one."""

SIGNATURE_AGE = 900
"""A signature that is older, or younger by as much, is refused (Huawei Cloud, API Request Signing Guide)."""

UPGRADE = 900
"""So long after the key of our own messages was made the release before, which signs none, may still be sending."""

SIGNATURE_TOLERANCE = 300
"""How far the signed time of a webhook may be from ours (Standard Webhooks, verifying the timestamp)."""

# --------------------------------------------------------------------------------------------------- calls to AWS

AWS_CONNECT, AWS_ANSWER = 2, 4
"""To connect, and one attempt as a whole, the name's resolution and every byte of the answer included."""

AWS_SHORTEST = 1.5
"""An attempt that has another one behind it gets half of what is left, but no less than this."""

AWS_PATIENCE = TIME_TO_SEND
"""All that is sent at one time to one service: attempts, pauses, groups of ten and rounds."""

AWS_ATTEMPTS = 4
AWS_ROUNDS = 3
"""How often SQS and EventBridge are offered what they left out of a batch, in all."""

AWS_THREADS = 16
"""Attempts under way at one time: one for each server that is visited, and some that do not end."""

SPARE = 1
"""What is left of TIME_TO_SEND when everything has been sent or given up: for the answer to Lambda."""

BUS_SHARE, CONTINUATIONS_SHARE = 0.4, 0.6
"""Of the time that is left to send: for the bus, and then for continuations. The rest is for waiting deliveries."""

AWS_BATCH = 10
"""Entries in one call: SendMessageBatch and PutEvents take ten."""

AWS_BATCH_BYTES = 900_000
"""Both take 1 MiB in all; a little is left for the names around the bodies."""

GROUP_BYTES = 240_000
"""A message that carries several volumes is packed rather than be larger. A queue that was made before SQS took 1 MiB
takes 256 KiB; a little is left for the MAC."""

LONGEST_DELAY = 900
"""What SQS can delay a message by."""

# ------------------------------------------------------------------------------------------------------ consumers

SINK_CONNECT, SINK_ANSWER = 3, 10

LONGEST_OFFER = SINK_CONNECT + SINK_ANSWER + 1
"""One offer as a whole, the key to sign with included. No consumer is asked whose answer might come too late."""

PATIENCE = 10
"""What one batch spends on consumers that answer slowly. What is left of it is offered by later batches."""

# ------------------------------------------------------------------------------------------------ kept verdicts

MARK_PATIENCE = 1
"""The marks of one delivery to the webhook, all together. They are a convenience, and its sender waits for the 202."""

STATUS_PATIENCE = 4
"""To look up what is kept of one request. A sender that polls asks again anyway."""

STATUS_AGAIN = {"accepted": 5, "unconfirmed": 60}
"""When to ask again: most detaches end in half a minute; one that did not is looked at every 60 s and more."""

# ------------------------------------------------------------------------------------------------------ the canary

CANARY_INVOCATION = 270
"""The time limit of its function: less than the 300 s between two runs, so that no two are at work at one time."""

CANARY_BOUND = 240
"""The longest that it waits for its verdict. A detach is checked within seconds."""

CANARY_WAIT, CANARY_PAUSE = 2, 1
"""To wait for a message in one call, which has to end within AWS_ANSWER; and the pause after a call that failed."""

CANARY_HIDDEN = 5
"""A message that was received is hidden from other runs for so long; one of them may wait for it."""

CANARY_COUNTS = 3
"""How often the messages of the request queue are counted, each time after such a pause."""

CANARY_EVIDENCE = 15
"""To ask AWS what is known of a request that was not answered."""

CANARY_WEBHOOK = 5
"""For the answer of the webhook endpoint, cold starts included."""

# ------------------------------------------------------------------------------------------ sizes of what comes in

BODY_BYTES = 64 * 1024
"""What every consumer of CloudEvents should take (CloudEvents 1.0.2, size limits); the webhook takes no more."""

BATCH_EVENTS = 100
CONTEXT_BYTES = 4096
CONTEXT_LEVELS = 30
"""It stands in messages and verdicts of ours, some levels down; those are read with `strict_json.DEEPEST`."""

EVENT_BYTES = 64 * 1024
"""What intermediaries have to forward (CloudEvents 1.0.2, size limits). An event says less of its evidence rather than
be larger."""

VOLUMES = 40
"""In one request: no bare metal server has more (`decision.bare_metal`)."""

DISKS = 100
"""Data disks of one server that one request may ask for. The message that carries them has to fit into SQS, with
CALLS_KEPT calls of each or, if it does not, with some less; their summary has to fit into one event."""

ENVELOPES = 4
FAULTS = 50
"""More than any honest request has. All of them together have to fit into one event."""

ORIGINAL_BYTES = 8192
SUMMARY_BYTES = 2048

CALLS_KEPT = 20
ATTACHED_TO_KEPT = 20
"""Evidence stays small: a request may be watched for hours."""

# --------------------------------------------------------------------------------------------------- DELETE rules

UNSETTLED_LIMIT = 3
"""DELETEs without a known outcome (design rule 2), this far apart:"""
UNSETTLED_PAUSE = 30

REFUSAL_READS = 2
"""Idle reads in a row that mean a refusal (design rule 4); where `detaching` was never seen, only after this time:"""
REFUSAL_UNMARKED_AFTER = 60
"""A cloud whose message bus is slow has marked the volume 30 s after its 202."""

ERROR_READS = 2
"""An error status may pass: so many looks in a row have to show it; after an accepted DELETE only from this time on:"""
ERROR_AFTER = 30

RECORD_AFTER = 30
"""While the volume says `detaching`, the action record is asked from this time on, at every other look."""

RECORD_SLACK = 5
"""How far the times of Nova's action records and of Cinder's attachments may lie apart."""

# ---------------------------------------------------------------------------------------------------------- waits


@dataclass(frozen=True)
class Backoff:
    """Seconds from `first`, times `factor` each attempt, up to `cap`; jitter takes off up to a third."""

    first: float
    factor: float
    cap: float


Steps = tuple[int, ...]
"""Seconds for each attempt; the last goes on for ever. Without jitter: disks of one server stay in step."""

POLL: Steps = (1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 10, 12, 15)
"""While a detach is under way. Its looks are due at 1, 3, 5, 8, 11, 14 … seconds after the acceptance, however late the
one before was. Chosen by simulation (`benchmarks/schedule.py`): the more often detaches end at an age, the closer."""

JUST_CHANGED = 10
"""A volume that was let go so short a time ago is about to be let go by compute too: a look a second later sees it."""

AT_ONCE: Steps = (1,)
"""After an answer that says nothing of the outcome."""

RETRY = Backoff(first=5, factor=2, cap=60)
"""While nothing is."""

WATCH = Backoff(first=60, factor=2, cap=900)
"""After `detach_unconfirmed`."""

AFTER_FAILURE = Backoff(first=60, factor=2, cap=900)
"""After a look that our own code failed on. What the cloud shows may change, or a release may correct the code."""

FAILURES = 6
"""So many such looks in a row, about half an hour, and the request is answered as dead-lettered."""

OFFER_AGAIN = Backoff(first=5, factor=3, cap=900)
"""For a consumer that has not taken a verdict."""

EMIT_AGAIN = Backoff(first=5, factor=2, cap=120)
"""For the bus, which is asked until it takes the verdict: nobody else can say how a request ended."""

LATE_LOOK = LONGEST_DELAY
"""A request is overdue so long after the moment that ends it. The look that meets the moment may be delivered late, or
three times, VISIBILITY apart."""

LATE_VERDICT = 1800
"""A verdict is overdue that the bus has not taken for so long. Its alarm has fired by then (`EmitFailuresAlarm`)."""


# --------------------------------------------------------------------------------------------- the operator's part


class RunningServerPolicy(StrEnum):
    """What the operator allows on running servers: the platform's own checks, attested ones, or none."""

    PLATFORM = "platform"
    ATTEST = "attest"
    STOPPED_ONLY = "stopped_only"


class ServerKind(StrEnum):
    """Which servers the operator lets this deployment detach from."""

    ANY = "any"
    BARE_METAL = "bare_metal"


@dataclass(frozen=True)
class Policy:
    """What the operator sets. It is handed to the core, which reads no settings."""

    confirm_timeout: timedelta = timedelta(seconds=600)
    watch_timeout: timedelta = timedelta(hours=6)
    request_ttl: timedelta = timedelta(hours=1)
    fence_skew: timedelta = timedelta(seconds=5)
    running_server_policy: RunningServerPolicy = RunningServerPolicy.PLATFORM
    request_ttl_limit: timedelta = timedelta(days=1)
    allowed_requesters: tuple[str, ...] = ()
    server_kind: ServerKind = ServerKind.ANY

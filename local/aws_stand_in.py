"""A local AWS: a moto server with the queues, the bus, the rule, the secrets and the bucket for verdicts."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Self

from local.poller import delete, receive
from local.private import Guarded
from shared.aws.client import EVENTS, SECRETS, SQS, AwsClient
from shared.aws.verdict_store import WRITES, address
from shared.policy import AWS_ANSWER, MAX_RECEIVES, VISIBILITY
from shared.ports import AwsTrouble

REGION = "eu-central-1"
ACCOUNT = "123456789012"
BUS = "volume-detach"
REQUESTS, DEAD_LETTERS, VERDICTS = "volume-detach-requests", "volume-detach-dead-letters", "verdicts"
CANARY_VERDICTS, CANARY_RULE = "volume-detach-canary-verdicts", "canary-verdicts"
CLOUD_SECRET, WEBHOOK_SECRET = "volume-detach/cloud", "volume-detach/webhook"
MESSAGE_KEY = "volume-detach/message-key"
VERDICT_BUCKET = "volume-detach-verdicts"

CREDENTIALS = {
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
}
"""moto accepts any credentials; the account is always 123456789012."""


def queue_arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


@dataclass
class AwsStandIn:
    """Context manager: starts the server and creates everything on entry, stops it on exit.

    Listens on a free loopback port. A received message is hidden for `visibility_seconds`, by default the template's
    visibility timeout. `private` accepts only requests signed with the access key of this run, because it holds real
    secrets.
    """

    visibility_seconds: int = VISIBILITY
    environment: dict[str, str] = field(default_factory=dict)
    queue_urls: dict[str, str] = field(default_factory=dict)
    own_process: bool = False
    private: bool = False
    _ending: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        os.environ.setdefault("MOTO_ACCOUNT_ID", ACCOUNT)
        key = f"KEY{token_hex(24)}" if self.private else None
        port = self._spawn() if self.own_process and not key else self._start(key)
        mine = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": token_hex(32)} if key else {}
        self.environment = {**CREDENTIALS, **mine, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
        self._create()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def _start(self, key: str | None) -> int:
        """Start a server in a thread of this process; returns its port."""
        os.environ["MOTO_DISABLE_GLOBAL_CORS"] = "true"  # otherwise every web page may call it
        # Imported here because moto loads boto3 and flask.
        from moto.core.base_backend import BackendDict
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import make_server

        # moto keeps its state per process; an earlier server may have left some.
        BackendDict.reset()
        app = Guarded(DomainDispatcherApplication(create_backend_app), key)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        serving = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        serving.start()
        self._ending.callback(serving.join, 10)
        self._ending.callback(server.shutdown)
        return int(server.server_port)

    def _spawn(self) -> int:
        """Start a server in its own process, so that it can use another core; returns its port."""
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        self._ending.callback(server.wait, 10)
        self._ending.callback(server.terminate)
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.1)
        raise AwsTrouble("the AWS stand-in does not start")

    @property
    def client(self) -> AwsClient:
        return AwsClient(self.environment)

    def _create(self) -> None:
        call = self.client.call
        redrive = {"deadLetterTargetArn": queue_arn(DEAD_LETTERS), "maxReceiveCount": MAX_RECEIVES}
        hidden = {"VisibilityTimeout": str(self.visibility_seconds)}
        dead_letters = {"MessageRetentionPeriod": "1209600", **hidden}
        requests = {"RedrivePolicy": json.dumps(redrive), **hidden}
        queues = {DEAD_LETTERS: dead_letters, REQUESTS: requests, VERDICTS: {}}
        for name, attributes in queues.items():
            self.queue_urls[name] = call(SQS, "CreateQueue", {"QueueName": name, "Attributes": attributes})["QueueUrl"]
        call(EVENTS, "CreateEventBus", {"Name": BUS})
        self.put_secret(MESSAGE_KEY, {"key": token_hex(32)})
        self._create_bucket()
        # A rule sends every event to a queue that is read here: only events that passed through the bus are shown.
        every = {"EventPattern": json.dumps({"detail-type": [{"prefix": ""}]})}
        call(EVENTS, "PutRule", {"Name": "verdicts", "EventBusName": BUS, **every})
        target = {"Id": "verdicts", "Arn": queue_arn(VERDICTS)}
        call(EVENTS, "PutTargets", {"Rule": "verdicts", "EventBusName": BUS, "Targets": [target]})

    def _create_bucket(self) -> None:
        """Create the bucket with a plain request, because S3 has no JSON protocol."""
        place = self.client.place(WRITES)
        body = (
            f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        )
        url = address(VERDICT_BUCKET, place)
        self.client.http.put(url, data=body, auth=place.auth, timeout=AWS_ANSWER).raise_for_status()

    def add_canary(self) -> dict[str, str]:
        """Create the queue and the rule for the canary's verdicts, as in the template; returns their settings."""
        call, pattern = self.client.call, {"detail": {"data": {"context": {"canary": [{"exists": True}]}}}}
        url = self.queue_urls[CANARY_VERDICTS] = call(SQS, "CreateQueue", {"QueueName": CANARY_VERDICTS})["QueueUrl"]
        rule = {"Name": CANARY_RULE, "EventBusName": BUS, "EventPattern": json.dumps(pattern), "State": "ENABLED"}
        arn = call(EVENTS, "PutRule", rule)["RuleArn"]
        target = {"Id": CANARY_VERDICTS, "Arn": queue_arn(CANARY_VERDICTS)}
        call(EVENTS, "PutTargets", {"Rule": CANARY_RULE, "EventBusName": BUS, "Targets": [target]})
        return {"CANARY_QUEUE_URL": url, "CANARY_RULE_ARN": arn}

    def put_secret(self, name: str, value: object) -> None:
        self.client.call(SECRETS, "CreateSecret", {"Name": name, "SecretString": json.dumps(value)})

    def rotate_secret(self, name: str, value: object) -> None:
        """Store a new current version of a secret. The old one stays readable as the previous version."""
        self.client.call(SECRETS, "PutSecretValue", {"SecretId": name, "SecretString": json.dumps(value)})

    def send(self, queue: str, body: str, delay: int = 0) -> str:
        """Put a message on a queue, visible after `delay` seconds; returns the message id."""
        payload = {"QueueUrl": self.queue_urls[queue], "MessageBody": body, "DelaySeconds": delay}
        return str(self.client.call(SQS, "SendMessage", payload)["MessageId"])

    def receive(self, queue: str, wait_seconds: int = 1) -> list[dict[str, Any]]:
        """Receive and delete up to ten messages of a queue; returns their JSON values."""
        client, url = self.client, self.queue_urls[queue]
        messages = receive(client, url, wait_seconds)
        delete(client, url, messages)
        return [json.loads(message["Body"]) for message in messages]

    def verdicts(self, wait_seconds: int = 1) -> list[dict[str, Any]]:
        """Up to ten events that the bus delivered since the last call."""
        return [envelope["detail"] for envelope in self.receive(VERDICTS, wait_seconds)]

    def waiting(self, queue: str) -> int:
        """How many messages a queue holds, visible, delayed or in flight."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        asked = {"QueueUrl": self.queue_urls[queue], "AttributeNames": names}
        found = self.client.call(SQS, "GetQueueAttributes", asked)["Attributes"]
        return sum(int(found.get(name, 0)) for name in names)

"""AWS on this machine: a moto server with the queues, the bus, the rule and the secret of the template."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from shared.aws.client import EVENTS, SECRETS, SQS, AwsClient
from shared.ports import AwsTrouble

REGION = "eu-central-1"
ACCOUNT = "123456789012"
BUS = "volume-detach"
REQUESTS, DEAD_LETTERS, VERDICTS = "volume-detach-requests", "volume-detach-dead-letters", "verdicts"
CLOUD_SECRET, WEBHOOK_SECRET, SINK_SECRET = "volume-detach/cloud", "volume-detach/webhook", "volume-detach/sink"
MAX_RECEIVES = 5

CREDENTIALS = {
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
}
"""moto takes any; the account is always 123456789012."""


def queue_arn(name: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


@dataclass
class AwsStandIn(AbstractContextManager["AwsStandIn"]):
    """Up on entry with everything created, gone on exit; listens on loopback only, on a free port."""

    visibility_seconds: int = 30
    environment: dict[str, str] = field(default_factory=dict)
    queue_urls: dict[str, str] = field(default_factory=dict)
    own_process: bool = False
    _server: Any = None

    def __enter__(self) -> AwsStandIn:
        os.environ.setdefault("MOTO_ACCOUNT_ID", ACCOUNT)
        # moto loads boto3 and flask: only where a stack is wanted.
        from moto.server import ThreadedMotoServer

        if self.own_process:
            self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": self._spawn()}
        else:
            self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
            self._server.start()
            host, port = self._server.get_host_and_port()
            self.environment = {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
        self._create()
        return self

    def __exit__(self, *_: object) -> None:
        if self.own_process:
            self._server.terminate()
            self._server.wait(10)
        else:
            self._server.stop()

    def _spawn(self) -> str:
        """A server beside this process, so that under load the two do not share one core; its address."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return f"http://127.0.0.1:{port}"
            time.sleep(0.1)
        raise AwsTrouble("the AWS stand-in does not start")

    @property
    def client(self) -> AwsClient:
        return AwsClient(self.environment)

    def _create(self) -> None:
        client = self.client
        self._queue(client, DEAD_LETTERS, {"MessageRetentionPeriod": "1209600"})
        redrive = {"deadLetterTargetArn": queue_arn(DEAD_LETTERS), "maxReceiveCount": MAX_RECEIVES}
        self._queue(
            client, REQUESTS, {"VisibilityTimeout": str(self.visibility_seconds), "RedrivePolicy": json.dumps(redrive)}
        )
        self._queue(client, VERDICTS, {})
        client.call(EVENTS, "CreateEventBus", {"Name": BUS})
        # What is shown has travelled through the bus: a rule hands every event to a queue that is read here.
        client.call(
            EVENTS,
            "PutRule",
            {"Name": "verdicts", "EventBusName": BUS, "EventPattern": json.dumps({"detail-type": [{"prefix": ""}]})},
        )
        client.call(
            EVENTS,
            "PutTargets",
            {"Rule": "verdicts", "EventBusName": BUS, "Targets": [{"Id": "verdicts", "Arn": queue_arn(VERDICTS)}]},
        )

    def _queue(self, client: AwsClient, name: str, attributes: Mapping[str, str]) -> None:
        answer = client.call(SQS, "CreateQueue", {"QueueName": name, "Attributes": dict(attributes)})
        self.queue_urls[name] = str(answer["QueueUrl"])

    def put_secret(self, name: str, value: object) -> None:
        payload = {"Name": name, "SecretString": json.dumps(value)}
        self.client.call(SECRETS, "CreateSecret", payload)

    def send(self, queue: str, body: str) -> str:
        """Put a message on a queue; its message id."""
        payload = {"QueueUrl": self.queue_urls[queue], "MessageBody": body}
        return str(self.client.call(SQS, "SendMessage", payload)["MessageId"])

    def receive(self, queue: str, wait_seconds: int = 1) -> list[dict[str, Any]]:
        """Take up to ten messages off a queue, as JSON values."""
        client, url = self.client, self.queue_urls[queue]
        answer = client.call(
            SQS, "ReceiveMessage", {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": wait_seconds}
        )
        messages = answer.get("Messages") or []
        if messages:
            entries = [
                {"Id": str(at), "ReceiptHandle": message["ReceiptHandle"]} for at, message in enumerate(messages)
            ]
            client.call(SQS, "DeleteMessageBatch", {"QueueUrl": url, "Entries": entries})
        return [json.loads(message["Body"]) for message in messages]

    def waiting(self, queue: str) -> int:
        """How many messages a queue holds, visible, delayed or in flight."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        answer = self.client.call(
            SQS, "GetQueueAttributes", {"QueueUrl": self.queue_urls[queue], "AttributeNames": names}
        )
        return sum(int(answer["Attributes"].get(name, 0)) for name in names)

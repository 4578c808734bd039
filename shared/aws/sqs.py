"""The request queue on SQS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.aws.client import SQS, AwsClient, AwsError, batches, throttles
from shared.ports import AwsTrouble, Message, Throttled

ROUNDS = 3
"""How often what SQS left out of a batch is offered."""


class SqsQueue:
    """Sends in batches and reads `Failed`: SQS answers 200 for a batch of which it took only a part."""

    def __init__(self, client: AwsClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, messages: Sequence[Message]) -> Mapping[int, str]:
        failed: dict[int, str] = {}
        for group in batches([len(message.body.encode()) for message in messages]):
            missing: Mapping[int, str] = dict.fromkeys(group, "")
            try:
                for _ in range(ROUNDS):
                    missing = self._offer({at: messages[at] for at in missing})
                    if not missing:
                        break
            except AwsTrouble as trouble:  # the client has repeated the call where that can help
                throttled = isinstance(trouble, AwsError) and trouble.throttled
                missing = dict.fromkeys(missing, Throttled(trouble) if throttled else str(trouble))
            failed |= missing
        return failed

    def _offer(self, messages: Mapping[int, Message]) -> dict[int, str]:
        """One call; the positions SQS did not take, with the error of each. Raises AwsTrouble."""
        entries = [
            {"Id": str(at), "MessageBody": message.body, "DelaySeconds": message.delay}
            for at, message in messages.items()
        ]
        answer = self._client.call(SQS, "SendMessageBatch", {"QueueUrl": self._url, "Entries": entries})
        taken = {str(entry.get("Id")) for entry in answer.get("Successful") or ()}
        errors = {str(entry.get("Id")): entry for entry in answer.get("Failed") or ()}
        return {at: _said(errors.get(str(at), {})) for at in messages if str(at) not in taken}


def _said(error: Mapping[str, object]) -> str:
    code = str(error.get("Code", "not taken"))
    text = f"{code} {error.get('Message', '')}".strip()
    return Throttled(text) if throttles(code) else text

"""The request queue on SQS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.adapters.aws import SQS, AwsClient, batches
from shared.ports import AwsTrouble, Message


class SqsQueue:
    """Sends in batches and reads `Failed`: SQS answers 200 for a batch of which it took only a part."""

    def __init__(self, client: AwsClient, url: str) -> None:
        self._client = client
        self._url = url

    def send(self, messages: Sequence[Message]) -> Mapping[int, str]:
        failed: dict[int, str] = {}
        for group in batches([len(message.body.encode()) for message in messages]):
            entries = [
                {"Id": str(at), "MessageBody": messages[at].body, "DelaySeconds": messages[at].delay} for at in group
            ]
            try:
                answer = self._client.call(SQS, "SendMessageBatch", {"QueueUrl": self._url, "Entries": entries})
            except AwsTrouble as trouble:
                failed |= dict.fromkeys(group, str(trouble))
                continue
            taken = {str(entry.get("Id")) for entry in answer.get("Successful") or ()}
            errors = {str(entry.get("Id")): entry for entry in answer.get("Failed") or ()}
            for at in group:
                if str(at) not in taken:
                    error = errors.get(str(at), {})
                    failed[at] = f"{error.get('Code', 'not taken')} {error.get('Message', '')}".strip()
        return failed

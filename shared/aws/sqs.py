"""The request queue on SQS."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.aws.client import SQS, AwsClient, AwsError, batches, throttles
from shared.policy import AWS_ROUNDS
from shared.ports import AwsTrouble, K, QueueMessage, Unsent


@dataclass(frozen=True, slots=True)
class SqsQueue:
    """Sends in batches and reads `Failed`: SQS answers 200 for a batch of which it took only a part."""

    client: AwsClient
    url: str

    def send(self, messages: Mapping[K, QueueMessage]) -> Mapping[K, Unsent]:
        unsent: dict[K, Unsent] = {}
        for group in batches(messages, lambda message: len(message.body.encode())):
            left: Mapping[K, Unsent] = dict.fromkeys(group, Unsent("not offered"))
            try:
                for _ in range(AWS_ROUNDS):
                    left = self._offer({key: group[key] for key in left})
                    if not left:
                        break
            except AwsTrouble as trouble:  # the client has repeated the call where that can help
                throttled = isinstance(trouble, AwsError) and trouble.throttled
                left = dict.fromkeys(left, Unsent(str(trouble), throttled, trouble))
            unsent |= left
        return unsent

    def _offer(self, messages: Mapping[K, QueueMessage]) -> dict[K, Unsent]:
        """One call; what SQS did not take, with the error of each. Raises AwsTrouble."""
        keys = {str(number): key for number, key in enumerate(messages)}
        entries = [
            {"Id": id_, "MessageBody": messages[key].body, "DelaySeconds": messages[key].delay}
            for id_, key in keys.items()
        ]
        answer = self.client.call(SQS, "SendMessageBatch", {"QueueUrl": self.url, "Entries": entries})
        taken = {str(entry.get("Id")) for entry in answer.get("Successful") or ()}
        errors = {str(entry.get("Id")): entry for entry in answer.get("Failed") or ()}
        return {key: _unsent(errors.get(id_, {})) for id_, key in keys.items() if id_ not in taken}


def _unsent(error: Mapping[str, object]) -> Unsent:
    code = str(error.get("Code", "not taken"))
    return Unsent(f"{code} {error.get('Message', '')}".strip(), throttles(code))

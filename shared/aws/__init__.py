"""Adapters for AWS: signed calls over `requests`, without boto3, behind `Queue`, `Bus`, `Consumer` and `VerdictStore`.

`client` signs, sends and retries. `sqs`, `event_bus`, `task_tokens` and `secrets` are for one service each.
`webhook_keys` reads the webhook's keys from a secret. `verdict_store` keeps verdicts in S3, which does not speak JSON.
`deployment` collects evidence for the canary. It may import `ports`, `settings`, `signatures`, `policy`, `model` and
the values of `canary`, and knows no cloud.
"""

"""AWS by signed calls over `requests`, without boto3: adapters of `Queue`, `Bus`, `Consumer` and `VerdictStore`.

`client` signs, sends and repeats; `sqs`, `event_bus`, `task_tokens` and `secrets` are one service each;
`webhook_keys` reads the webhook's keys from a secret; `verdict_store` keeps verdicts in S3, the one service that speaks
no JSON; `deployment` asks what the canary has to know of this deployment. It may use `ports`, `settings`,
`signatures`, `policy`, `model` and the values of `canary`, and knows no cloud.
"""

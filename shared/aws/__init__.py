"""AWS by signed JSON calls over `requests`, without boto3: adapters of the ports `Queue`, `Bus` and `Consumer`.

`client` signs, sends and repeats; `sqs`, `event_bus`, `task_tokens` and `secrets` are one service each;
`webhook_keys` reads the webhook's keys from a secret. It may use `ports`, `settings`, `signatures`, `policy` and
`model`, and knows no cloud.
"""

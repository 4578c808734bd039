"""The IAM actions that each command on a deployed stack needs. A denied call prints them."""

from collections.abc import Mapping

_STACK = ("cloudformation:DescribeStacks",)
_PARTS = (*_STACK, "cloudformation:DescribeStackResource")
_QUEUE = ("sqs:GetQueueAttributes",)
_MAPPING = ("lambda:GetEventSourceMapping", "lambda:UpdateEventSourceMapping")
_AGE = ("cloudwatch:GetMetricStatistics",)
_LOGS = ("logs:FilterLogEvents",)

_ASK = (
    *_PARTS,
    "sqs:SendMessage",
    "events:PutRule",
    "events:PutTargets",
    "events:RemoveTargets",
    "events:DeleteRule",
    "sqs:CreateQueue",
    "sqs:SetQueueAttributes",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:DeleteQueue",
)
_FLOW = (*_STACK, *_QUEUE, *_MAPPING, *_AGE)

READS = (
    *_STACK,
    "cloudformation:ListStackResources",
    *_QUEUE,
    *_AGE,
    "cloudwatch:DescribeAlarms",
    "lambda:GetEventSourceMapping",
    "lambda:GetFunctionConfiguration",
    "lambda:GetAlias",
    "lambda:GetFunctionConcurrency",
    "secretsmanager:DescribeSecret",
    "events:DescribeRule",
    "events:ListTargetsByRule",
    "sns:GetTopicAttributes",
)
"""What `make doctor` reads, by the name of the operation."""

PERMISSIONS: Mapping[str, tuple[str, ...]] = {
    "detach": (*_ASK, *_LOGS),
    "status": (*_PARTS, "logs:StartQuery", "logs:GetQueryResults"),
    "doctor": tuple(dict.fromkeys((*READS, *_ASK))),
    "pause": _FLOW,
    "resume": _FLOW,
    "drain": _FLOW,
    "redrive": (
        *_PARTS,
        *_LOGS,
        *_MAPPING,
        *_QUEUE,
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:SendMessage",
    ),
    "rollback": (
        *_STACK,
        "cloudformation:ListStackResources",
        *_QUEUE,
        *_AGE,
        "lambda:ListVersionsByFunction",
        "lambda:GetAlias",
        "lambda:UpdateAlias",
    ),
    "remove": (
        *_STACK,
        "cloudformation:ListStackResources",
        "cloudformation:DeleteStack",
        *_QUEUE,
        "events:ListRules",
        "logs:DeleteLogGroup",
    ),
    "schemas": (
        *_STACK,
        "schemas:DescribeSchema",
        "schemas:CreateSchema",
        "schemas:UpdateSchema",
        "schemas:ListSchemas",
        "schemas:DeleteSchema",
    ),
}
"""By command: its actions (AWS, Service Authorization Reference)."""

RESOURCES: Mapping[str, str] = {
    "detach": "The rule and the queue are called by-hand-*. The log is read on the functions' log groups.",
    "status": "On the functions' log groups.",
    "doctor": "Its dry run needs what detach needs.",
    "redrive": "On both queues, the mapping of the dead-letter queue, and the functions' log groups.",
    "remove": "And whatever CloudFormation deletes. logs:DeleteLogGroup is for ALSO=logs.",
    "schemas": "On registry/<registry> and schema/<registry>/*. ListSchemas and DeleteSchema are for REMOVE=1.",
}
"""Notes on the permissions of a command."""


def needs_of(command: str) -> str:
    """The permissions of a command, as one text. A command without an entry needs those of `detach`."""
    known = command if command in PERMISSIONS else "detach"
    return ", ".join(PERMISSIONS[known]) + (f". {RESOURCES[known].rstrip('.')}" if known in RESOURCES else "")

"""Reads the facts about a deployed stack from AWS. It changes nothing, and reads no value of a secret."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import boto3
from botocore.exceptions import ClientError  # type: ignore[import-untyped]

from shared.ports import Clock, utc_now
from tools.deployed import Unknown, described, is_denied
from tools.flow import Waiting, oldest_in, waiting_in
from tools.stack_facts import (
    AlarmFacts,
    Alias,
    FunctionFacts,
    Resource,
    RuleFacts,
    SecretFacts,
    SourceMapping,
    StackFacts,
    TopicFacts,
)

ALIAS = "live"
"""The alias through which each function of the template is invoked."""

FUNCTION = "AWS::Lambda::Function"
ALARMS = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
NAMESPACE = "BmsVolumeDetach"

MISSING = ("ResourceNotFoundException", "NotFound", "NotFoundException")
NO_TOPIC = (*MISSING, "InvalidParameter", "InvalidParameterException")


def described_stack(name: str) -> StackFacts:
    """Raises Unknown, one of AwsFailed."""
    found = described(name)
    return StackFacts(
        name,
        found["StackStatus"],
        {one["ParameterKey"]: one["ParameterValue"] for one in found.get("Parameters", ())},
        {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", ())},
        bool(found.get("EnableTerminationProtection")),
    )


def listed_resources(name: str) -> dict[str, Resource]:
    """The resources of a stack, by logical name. Raises one of AwsFailed."""
    pages = boto3.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=name)
    listed = (one for page in pages for one in page["StackResourceSummaries"])
    found = (one for one in listed if one["ResourceStatus"] != "DELETE_COMPLETE")
    return {one["LogicalResourceId"]: Resource(one["ResourceType"], one.get("PhysicalResourceId", "")) for one in found}


@dataclass(frozen=True)
class StackReader:
    """Reads one stack. Every method raises one of AwsFailed, and Unknown if the stack lacks a part."""

    stack: StackFacts
    list_resources: Callable[[str], Mapping[str, Resource]] = listed_resources
    clock: Clock = utc_now
    client: Callable[[str], Any] = field(default=boto3.client)

    @cached_property
    def resources(self) -> Mapping[str, Resource]:
        return self.list_resources(self.stack.name)

    def output(self, name: str) -> str:
        try:
            return self.stack.outputs[name]
        except KeyError:
            raise Unknown(f"The stack {self.stack.name} has no output {name}: is it one of this service?") from None

    def functions(self) -> dict[str, str]:
        """The name of each function in AWS, by logical name."""
        return {name: one.physical for name, one in sorted(self.resources.items()) if one.kind == FUNCTION}

    # ------------------------------------------------------------------------------------------ queues, mappings

    def waiting(self, output: str) -> Waiting:
        """The messages of the queue whose URL is that output."""
        return waiting_in(self.client("sqs"), self.output(output))

    def queue_arn(self) -> str:
        asked = {"QueueUrl": self.output("RequestQueueUrl"), "AttributeNames": ["QueueArn"]}
        return str(self.client("sqs").get_queue_attributes(**asked)["Attributes"]["QueueArn"])

    def oldest(self) -> timedelta | None:
        """The age of the oldest message of the request queue, from CloudWatch's last value."""
        return oldest_in(self.client("cloudwatch"), self.output("RequestQueueUrl"), self.clock())

    def oldest_if_allowed(self) -> timedelta | None:
        """The same; also None without the permission to read CloudWatch."""
        try:
            return self.oldest()
        except ClientError as error:
            if is_denied(error):
                return None
            raise

    def mapping(self, output: str) -> SourceMapping:
        id_ = self.output(output)
        found = self.client("lambda").get_event_source_mapping(UUID=id_)
        return SourceMapping(id_, found["State"], found.get("LastProcessingResult") or "")

    # ------------------------------------------------------------------------------------------------- functions

    def function_facts(self) -> list[FunctionFacts]:
        ask = self.client("lambda").get_function_configuration
        return [_function(name, ask(FunctionName=physical)) for name, physical in self.functions().items()]

    def aliases(self) -> dict[str, Alias | None]:
        """The alias of each function, or None."""
        return {name: self.alias(physical) for name, physical in self.functions().items()}

    def alias(self, function: str) -> Alias | None:
        try:
            found = self.client("lambda").get_alias(FunctionName=function, Name=ALIAS)
        except ClientError as error:
            if error.response["Error"]["Code"] in MISSING:
                return None
            raise
        shifted = (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return Alias(found["FunctionVersion"], shifted, found.get("RevisionId", ""))

    def reserved(self) -> dict[str, int | None]:
        """The reserved concurrency of each function, or None."""
        ask = self.client("lambda").get_function_concurrency
        return {
            name: ask(FunctionName=physical).get("ReservedConcurrentExecutions")
            for name, physical in self.functions().items()
        }

    # --------------------------------------------------------------------------------------------------- secrets

    def secret_names(self) -> dict[str, str]:
        """The purpose of each secret, by name or ARN: those of the parameters, and the one that the stack created."""
        given = self.stack.parameters
        named = {given.get("CloudSecretId", ""): "the cloud"}
        for project in self.projects():
            named[f"{given.get('CloudSecretPrefix', '')}{project}"] = f"project {project}"
        named[given.get("AllowedProjectsSecretId", "")] = "the projects that are served"
        if "ReceiveWebhookFunction" in self.resources and given.get("Webhook") != "iam":
            named[given.get("WebhookSecretId", "")] = "the webhook"
        if given.get("SinkUrl"):
            named[given.get("SinkSecretId", "")] = "the sink"
        if made := self.resources.get("MessageKey"):
            named[made.physical] = "the key of our own messages"
        return {name: purpose for name, purpose in named.items() if name}

    def projects(self) -> list[str]:
        """The projects that are served in addition to that of the cloud's secret."""
        return [one for one in self.stack.parameters.get("AllowedProjects", "").split(",") if one]

    def secrets(self) -> list[SecretFacts]:
        return [self._secret(name, purpose) for name, purpose in self.secret_names().items()]

    def _secret(self, name: str, purpose: str) -> SecretFacts:
        try:
            found = self.client("secretsmanager").describe_secret(SecretId=name)
        except ClientError as error:
            if error.response["Error"]["Code"] in MISSING:
                return SecretFacts(name, purpose, False)
            raise
        changed = found.get("LastChangedDate")
        return SecretFacts(found["Name"], purpose, True, found.get("DeletedDate"), changed)

    # ----------------------------------------------------------------------------------------------- bus, alarms

    def rule(self) -> RuleFacts:
        """The rule that sends requests from the bus to the queue. Its physical name is `bus|rule`."""
        made = self.resources.get("RequestsFromBus")
        if made is None:
            raise Unknown(f"The stack {self.stack.name} has no rule RequestsFromBus.")
        name, events = made.physical.rpartition("|")[2], self.client("events")
        of = {"EventBusName": self.output("EventBusName")}
        found = events.describe_rule(Name=name, **of)
        targets = events.list_targets_by_rule(Rule=name, **of)["Targets"]
        return RuleFacts(name, found["State"].startswith("ENABLED"), tuple(one["Arn"] for one in targets))

    def refused_by_sink(self) -> float:
        """How many verdicts the sink refused for good in the last day."""
        of = {"service": self.stack.name, "to": "sink"}
        now = self.clock()
        found = self.client("cloudwatch").get_metric_statistics(
            Namespace=NAMESPACE,
            MetricName="EmitFailures",
            Dimensions=[{"Name": key, "Value": value} for key, value in of.items()],
            StartTime=now - timedelta(days=1),
            EndTime=now,
            Period=3600,
            Statistics=["Sum"],
        )
        return float(sum(point["Sum"] for point in found["Datapoints"]))

    def topic(self, arn: str) -> TopicFacts:
        try:
            found = self.client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
        except ClientError as error:
            told = error.response["Error"]
            if told["Code"] in NO_TOPIC:
                return TopicFacts(arn, trouble=f"{told['Code']}: {told.get('Message', '')}".rstrip(": "))
            raise
        confirmed, pending = (int(found.get(f"Subscriptions{what}", 0)) for what in ("Confirmed", "Pending"))
        return TopicFacts(arn, confirmed, pending, found.get("KmsMasterKeyId", ""))

    def alarms(self) -> list[AlarmFacts]:
        names = [one.physical for one in self.resources.values() if one.kind in ALARMS]
        ask = self.client("cloudwatch").describe_alarms
        found: list[Mapping[str, Any]] = []
        for start in range(0, len(names), 100):  # the limit of one call
            answer = ask(AlarmNames=names[start : start + 100], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
            found += answer.get("MetricAlarms", ()) + answer.get("CompositeAlarms", [])
        return [_alarm(one) for one in found]


def _function(name: str, found: Mapping[str, Any]) -> FunctionFacts:
    return FunctionFacts(
        name,
        found.get("State", "Active"),
        found.get("StateReason", ""),
        found.get("LastUpdateStatus", "Successful"),
        found.get("LastUpdateStatusReason", ""),
    )


def _alarm(found: Mapping[str, Any]) -> AlarmFacts:
    since = found.get("StateUpdatedTimestamp")
    return AlarmFacts(
        found["AlarmName"],
        found["StateValue"],
        " ".join(str(found.get("StateReason", "")).split()),
        found.get("AlarmDescription", ""),
        since.astimezone(UTC) if isinstance(since, datetime) else None,
        found.get("ActionsEnabled", True),
    )

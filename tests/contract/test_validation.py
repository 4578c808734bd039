"""`make validate` finds faults of a single combination of switches and region, and names it."""

import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations, product
from typing import Any

import pytest

from tests.contract.test_template import TEMPLATE
from tools.validation.__main__ import main
from tools.validation.accepted import ACCEPTED, Accepted, left
from tools.validation.conditions import permitted
from tools.validation.findings import Finding
from tools.validation.linters import CHECKOV, checkov, covering
from tools.validation.matrix import rows_of
from tools.validation.resolve import resolved
from tools.validation.run import Report, combinations_of, validated
from tools.validation.samples import at, matching, sample
from tools.validation.switches import Switch, defaults_of, switches_of
from tools.validation.template import PLACES, ROOT, Json, read

SOUND = """
AWSTemplateFormatVersion: "2010-09-09"
Transform: AWS::Serverless-2016-10-31
Parameters:
  Webhook: {Type: String, Default: "off", AllowedValues: ["off", iam, public]}
  SinkUrl: {Type: String, Default: "", AllowedPattern: "(https://[!-~]+)?"}
  SinkSecretId: {Type: String, Default: "", AllowedPattern: "[a-z]{0,64}"}
  TopicArn: {Type: String, Default: "", AllowedPattern: "(arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+)?"}
  Days: {Type: Number, Default: 30, AllowedValues: [1, 30, 365]}
Conditions:
  HasWebhook: !Not [!Equals [!Ref Webhook, "off"]]
  IsPublic: !Equals [!Ref Webhook, public]
  HasSink: !Not [!Equals [!Ref SinkUrl, ""]]
  HasTopic: !Not [!Equals [!Ref TopicArn, ""]]
  HasAll: !And [!Condition HasSink, !Condition IsPublic]
Rules:
  Signed:
    RuleCondition: !Not [!Equals [!Ref SinkUrl, ""]]
    Assertions:
      - {Assert: !Not [!Equals [!Ref SinkSecretId, ""]], AssertDescription: SinkSecretId must be set beside SinkUrl.}
Globals:
  Function: {Runtime: python3.13, Handler: app.handler, CodeUri: .}
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      AssumeRolePolicyDocument:
        Version: "2012-10-17"
        Statement: [{Effect: Allow, Principal: {Service: lambda.amazonaws.com}, Action: "sts:AssumeRole"}]
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      Role: !GetAtt Role.Arn
      Environment: {Variables: {SINK: !Ref SinkUrl, SECRET: !Ref SinkSecretId, QUEUE: !Ref Queue}}
  Queue:
    Type: AWS::SQS::Queue
    Properties: {SqsManagedSseEnabled: true}
  Logs:
    Type: AWS::Logs::LogGroup
    UpdateReplacePolicy: Retain
    DeletionPolicy: Retain
    Properties: {RetentionInDays: !Ref Days}
  SinkQueue:
    Type: AWS::SQS::Queue
    Condition: HasSink
    Properties: {SqsManagedSseEnabled: true}
  Topic:
    Type: AWS::SNS::Subscription
    Condition: HasTopic
    Properties: {Protocol: sqs, TopicArn: !Ref TopicArn, Endpoint: !GetAtt Queue.Arn}
Outputs:
  Where: {Value: !If [HasAll, !Ref SinkQueue, !Ref Queue]}
"""
PUBLIC_SINK = "Webhook=public SinkUrl=https://aaaaaaaaaaaaaaaaa SinkSecretId=aaaaaaaaaaaaaaaaa"
SINK = "SinkUrl=https://aaaaaaaaaaaaaaaaa SinkSecretId=aaaaaaaaaaaaaaaaa"


def nothing(texts: Sequence[str]) -> list[list[Finding]]:
    """In the place of checkov."""
    return [[] for _ in texts]


@pytest.fixture
def template() -> Json:
    return read(SOUND)


def found(template: Json) -> list[str]:
    return [finding.line(defaults_of(template)) for finding in validated(template, nothing).findings]


def test_a_sound_template_has_no_findings(template: Json) -> None:
    """Every combination was looked at, identical templates once, and what was given is as it was."""
    report = validated(template, nothing)
    assert report.findings == ()
    assert (report.switches, report.regions) == (5, 7)
    assert report.combinations > report.templates > 10
    assert template == read(SOUND)


def wrong_property(template: Json) -> None:
    template["Resources"]["SinkQueue"]["Properties"]["VisibilityTimeOut"] = 60


def wrong_value_of_a_pair(template: Json) -> None:
    retention = {"Fn::If": ["HasAll", 5_000_000, 60]}
    template["Resources"]["Queue"]["Properties"]["MessageRetentionPeriod"] = retention


def partition_of_its_own(template: Json) -> None:
    template["Resources"]["Topic"]["Properties"]["Endpoint"] = {"Fn::Sub": "arn:aws:sqs:${AWS::Region}:1:q"}


def endpoint_of_its_own(template: Json) -> None:
    url = {"Fn::Sub": "https://sqs.${AWS::Region}.amazonaws.com"}
    template["Outputs"]["Endpoint"] = {"Condition": "IsPublic", "Value": url}


def type_that_a_region_lacks(template: Json) -> None:
    url = {"AuthType": "AWS_IAM", "TargetFunctionArn": {"Ref": "Worker"}}
    template["Resources"]["Url"] = {"Type": "AWS::Lambda::Url", "Condition": "HasWebhook", "Properties": url}


type_that_is_not_offered = partial(type_that_a_region_lacks)
"""The same, in a region whose registry has the type all the same."""


def reference_to_what_is_not_there(template: Json) -> None:
    template["Resources"]["Logs"]["Properties"]["Tags"] = [{"Key": "queue", "Value": {"Ref": "SinkQueue"}}]


def name_of_its_own(template: Json) -> None:
    template["Resources"]["SinkQueue"]["Properties"]["QueueName"] = "verdicts"


def role_of_all_regions(template: Json) -> None:
    template["Resources"]["Role"]["Properties"]["RoleName"] = {"Fn::Sub": "${AWS::StackName}-worker"}


FAULTS: dict[Callable[[Json], None], tuple[str, ...]] = {
    wrong_property: ("E3002 Resources/SinkQueue/Properties/VisibilityTimeOut", f"with {SINK} in eu-central-1 and"),
    wrong_value_of_a_pair: ("E3034 Resources/Queue/Properties/MessageRetentionPeriod", f"with {PUBLIC_SINK} TopicArn="),
    partition_of_its_own: ('"arn:aws:" does not exist in partition aws-cn', "with TopicArn=arn:aws-cn:sns:cn-north-1:"),
    endpoint_of_its_own: ("partition Outputs/Endpoint/Value", "amazonaws.com.cn", "with Webhook=public in cn-north-1"),
    type_that_a_region_lacks: ("E3006 Resources/Url/Type", "not exist in 'us-gov-west-1'", "in us-gov-west-1"),
    type_that_is_not_offered: ("region Resources/Url", "not offered in 'eu-south-2'", "in eu-south-2"),
    reference_to_what_is_not_there: ("Resources/Logs/Properties/Tags/0/Value", "SinkQueue", "with the defaults"),
    name_of_its_own: ("name Resources/SinkQueue/Properties/QueueName", f"with {SINK} in"),
    role_of_all_regions: ("name Resources/Role/Properties/RoleName", "without AWS::Region"),
}  # fmt: skip
"""What is planted, and what has to be in a line of what is said."""


@pytest.fixture(scope="module")
def faulty() -> tuple[Json, Report]:
    """All faults in one template, and what was found."""
    template = read(SOUND)
    for plant in FAULTS:
        plant(template)
    return template, validated(template, checkov_of_one)


def checkov_of_one(texts: Sequence[str]) -> list[list[Finding]]:
    """In the place of checkov, what it would say of one resource."""
    fault = Finding("CKV_1", "Resources/SinkQueue", "no")
    return [[fault] if "SinkQueue" in read(text)["Resources"] else [] for text in texts]


@pytest.mark.parametrize("plant", FAULTS)
def test_a_fault_is_found_and_its_combination_named(plant: Callable[[Json], None], faulty: tuple[Json, Report]) -> None:
    """Whatever linter sees it, in whatever combination it shows, the simplest one is named."""
    template, report = faulty
    lines = [finding.line(defaults_of(template)) for finding in report.findings]
    assert any(all(part in line for part in FAULTS[plant]) for line in lines), "\n".join(lines)


def test_what_sam_refuses_is_found(template: Json) -> None:
    """The transform's own words, with the combination."""
    template["Resources"]["Worker"]["Properties"]["Events"] = {"Requests": {"Type": "Queue", "Properties": {}}}
    lines = found(template)
    assert len(lines) == 1
    assert all(part in lines[0] for part in ("transform template.yaml", "Worker", "the defaults in eu-central-1"))


@pytest.mark.parametrize("rule", ["E3002", "CKV_1"])
def test_a_fault_under_one_switch_is_no_finding_of_the_others(rule: str, faulty: tuple[Json, Report]) -> None:
    """Each combination that has it, and no other; checkov too, although it was given a few templates only."""
    template, report = faulty
    (finding,) = [one for one in report.findings if one.rule == rule]
    linted = {one for one in combinations_of(template, full=False) if one.linted}
    assert set(finding.combinations) == {one for one in linted if one.values["SinkUrl"]}


@pytest.mark.skipif(not CHECKOV.exists(), reason="needs `make validate` once (300 MB)")
def test_checkov_looks_at_what_is_resolved(template: Json) -> None:
    """Encryption that is switched off under one switch is found."""
    resource = template["Resources"]["SinkQueue"]
    resource.update({"Type": "AWS::SNS::Topic", "Properties": {}})
    template["Outputs"]["Where"] = {"Value": {"Ref": "Queue"}}
    made = resolved(template, defaults_of(template) | {"SinkUrl": "https://a"}, PLACES[0])
    (said,) = checkov([json.dumps({**made, "Resources": {"SinkQueue": made["Resources"]["SinkQueue"]}})])
    assert ["CKV_AWS_26"] == [finding.rule for finding in said]


def test_every_switch_is_found(template: Json) -> None:
    """By its choices, or because a condition or a rule compares it; a value that is made up keeps its pattern."""
    switches = {switch.name: switch for switch in switches_of(template)}
    assert list(switches) == list(template["Parameters"])
    assert switches["Webhook"].values == ("off", "iam", "public")
    assert (switches["Webhook"].off, switches["Webhook"].on) == ("off", "public")
    assert switches["SinkUrl"].values == ("", "https://aaaaaaaaaaaaaaaaa")
    assert {name for name, switch in switches.items() if not switch.decides} == {"Days"}


def test_the_switches_of_the_product_are_found() -> None:
    """All that have choices, and all that its conditions name."""
    template = read((ROOT / "template.yaml").read_text())
    names = {switch.name for switch in switches_of(template)}
    choices = {name for name, parameter in TEMPLATE["Parameters"].items() if "AllowedValues" in parameter}
    assert choices | {"SinkUrl", "VerdictBucket", "AlarmTopicArn"} <= names
    assert "CloudSecretId" not in names
    for combination in combinations_of(template, full=False):
        for name, value in combination.values.items():
            pattern = template["Parameters"][name].get("AllowedPattern", ".*")
            assert re.fullmatch(pattern, value), (name, value)


@pytest.mark.parametrize("full", [False, True])
def test_each_value_is_there_alone_and_each_pair_together(full: bool, template: Json) -> None:
    """None, all, each value against the defaults, and every pair that the rules let through."""
    switches = [switch for switch in switches_of(template) if full or switch.decides]
    rows = rows_of(switches_of(template), lambda chosen: permitted(chosen, template), full)
    values = [row.values for row in rows]
    assert all(permitted(defaults_of(template) | one, template) for one in values)
    assert {row.kind for row in rows} >= {"defaults", "all on", "alone", "pairs"}
    for a, b in combinations(switches, 2):
        for x, y in product(a.values, b.values):
            refused = {a.name: x, b.name: y} == {"SinkUrl": "https://aaaaaaaaaaaaaaaaa", "SinkSecretId": ""}
            assert any(one[a.name] == x and one[b.name] == y for one in values) is not refused
    for switch in switches_of(template):
        assert {one[switch.name] for one in values} == set(switch.values)
    alone = [{k for k, v in row.chosen if v != defaults_of(template)[k]} for row in rows if row.kind == "alone"]
    assert {"Webhook"} in alone
    assert {"SinkUrl", "SinkSecretId"} in alone
    assert len(rows) < (30 if full else 20)


def test_pairs_take_few_rows() -> None:
    """Ten switches of three values have 405 pairs: the smallest known array has 14 rows, the product 59,049."""
    switches = [Switch(f"s{n}", ("a", "b", "c"), "a", "a", "c", True) for n in range(10)]
    assert len(rows_of(switches, lambda _: True, full=False)) <= 2 + 20 + 25


def test_forbidden_combinations_are_left_out(template: Json) -> None:
    """A value that cannot be had at all is no combination, and the search for it ends."""
    template["Rules"]["NoSink"] = {"Assertions": [{"Assert": {"Fn::Equals": [{"Ref": "SinkUrl"}, ""]}}]}
    assert all(one.values["SinkUrl"] == "" for one in combinations_of(template, full=False))


def test_a_rule_may_turn_a_region_away(template: Json) -> None:
    """What CloudFormation would not begin to create there is not looked at there."""
    contains = {"Fn::Contains": [["eu-south-2", "us-gov-west-1"], {"Ref": "AWS::Region"}]}
    template["Rules"]["Offered"] = {
        "RuleCondition": {"Fn::Not": [{"Fn::Equals": [{"Ref": "Webhook"}, "off"]}]},
        "Assertions": [{"Assert": {"Fn::Not": [contains]}, "AssertDescription": "no function URLs"}],
    }
    type_that_a_region_lacks(template)
    assert found(template) == []


@pytest.mark.parametrize(
    ("pattern", "value"),
    [
        ("(https://[!-~]+)?", "https://aaaaaaaaaaaaaaaaa"),
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}", "aaaaaaaa-aaaa"),
        ("(a|bc)", "bc"),
        ("(?!aws)[!-~]{1,3}", "aaa"),
        ("x*?[^b].", "xaa"),
    ],
)
def test_a_value_is_made_of_a_pattern(pattern: str, value: str) -> None:
    """What is optional is there, and what may be long is long enough to be an id."""
    assert matching(pattern).startswith(value)


def test_a_value_that_cannot_be_made_up_is_asked_for() -> None:
    with pytest.raises(ValueError, match="Name: no value can be made up; give the parameter an AllowedPattern"):
        sample("Name", {"Type": "String", "AllowedPattern": "(?!a)[a-z]"}, frozenset())


def test_an_arn_is_one_of_the_place() -> None:
    """Or it would be a finding that the template is not to blame for."""
    (china,) = [place for place in PLACES if place.partition == "aws-cn"]
    assert at(china, "arn:aws:sns:eu-central-1:1:a,arn:aws:sns:x:2:b") == (
        "arn:aws-cn:sns:cn-north-1:123456789012:a,arn:aws-cn:sns:cn-north-1:123456789012:b"
    )
    assert at(china, "arn:aws:iam::1:policy/a") == "arn:aws-cn:iam::123456789012:policy/a"


def test_what_is_resolved_is_what_is_created(template: Json) -> None:
    """Resources, outputs and values of conditions that do not hold are gone, and so are parameters."""
    template["Resources"]["Queue"]["DependsOn"] = ["SinkQueue", "Role"]
    template["Resources"]["Queue"]["Properties"] = {
        "QueueName": {"Fn::If": ["HasSink", "a", {"Ref": "AWS::NoValue"}]},
        "Tags": [{"Fn::If": ["HasAll", {"Key": "a", "Value": "b"}, {"Ref": "AWS::NoValue"}]}],
        "KmsMasterKeyId": {"Fn::Sub": "${AWS::StackName}-${Webhook}-${!kept}-${own}"},
        "DelaySeconds": {"Fn::Select": [1, {"Fn::Split": [",", {"Fn::Sub": "0,${Days}"}]}]},
    }
    template["Resources"]["Queue"]["Properties"]["KmsMasterKeyId"]["Fn::Sub"] = ["${AWS::StackName}-${Webhook}-${own}",
        {"own": {"Fn::GetAtt": ["Role", "Arn"]}}]  # fmt: skip
    made = resolved(template, defaults_of(template), PLACES[0])
    assert {"SinkQueue", "Topic"}.isdisjoint(made["Resources"])
    assert {"Parameters", "Conditions", "Rules"}.isdisjoint(made)
    sub = {"Fn::Sub": ["${AWS::StackName}-off-${own}", {"own": {"Fn::GetAtt": ["Role", "Arn"]}}]}
    assert made["Resources"]["Queue"] == {
        "Type": "AWS::SQS::Queue",
        "DependsOn": ["Role"],
        "Properties": {"Tags": [], "KmsMasterKeyId": sub, "DelaySeconds": "30"},
    }
    assert made["Outputs"] == {"Where": {"Value": {"Ref": "Queue"}}}
    assert made["Resources"]["Logs"]["Properties"] == {"RetentionInDays": 30}


def test_few_templates_hold_every_resource() -> None:
    of = {"a": frozenset("12"), "b": frozenset("123"), "c": frozenset("4"), "d": frozenset("1")}
    assert covering(of) == ["b", "c"]


def test_an_accepted_finding_is_not_reported_and_still_exists() -> None:
    """An entry without a finding is said, so that the list does not outlive what it is about."""
    entries = (Accepted("E1", "Resources/A", ".*", "why"), Accepted("E2", "Resources/A", ".*", "why"))
    other = Finding("E1", "Resources/B", "no")
    assert left([Finding("E1", "Resources/A", "no"), other], entries) == ([other], [entries[1]])
    assert all(entry.reason.endswith(".") for entry in ACCEPTED)


@pytest.mark.parametrize(
    ("text", "says"),
    [("Resources: [", "cannot be validated"), ("Parameters: {A: {Type: String}}\nResources: {}", "no Default: A")],
)
def test_a_template_that_cannot_be_read_is_said(
    text: str, says: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2: nothing was looked at."""
    (tmp_path / "template.yaml").write_text(text)
    assert main(["--template", str(tmp_path / "template.yaml")]) == 2
    assert says in capsys.readouterr().err

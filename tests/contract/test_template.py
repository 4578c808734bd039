"""The template fits the code: the functions have the settings and permissions that they need, and no more."""

import re
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from inspect import getsource
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from shared.aws import deployment, verdict_store
from shared.bootstrap.detach import outlets
from shared.canary.run import MARK
from shared.policy import (
    CANARY_INVOCATION,
    INVOCATION,
    MAX_RECEIVES,
    VISIBILITY,
    Policy,
    RunningServerPolicy,
    ServerKind,
)
from shared.settings import DetachApi, Settings, SettingsError, SinkMode, load

ROOT = Path(__file__).parents[2]
ELSEWHERE = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL", "REVISION", "AWS_USE_FIPS_ENDPOINT",
             "AWS_USE_DUALSTACK_ENDPOINT", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_EVENTBRIDGE",
             "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_ENDPOINT_URL_SFN", "AWS_ENDPOINT_URL_S3",
             "AWS_ENDPOINT_URL_LAMBDA"}  # fmt: skip
"""Variables that libraries and the client of AWS read, and what tells a version from another."""

VARIABLES = {name: str(field.alias) for name, field in Settings.model_fields.items()}
"""What each setting is called in the environment."""

NOT_SET = {"CANARY_BOUND", "FENCE_SKEW"}
"""Settings whose defaults are right in every deployment of this template."""

IAM_ACTION = {"SendMessageBatch": "SendMessage", "DeleteMessageBatch": "DeleteMessage", "ListObjectsV2": "ListBucket"}
"""Actions that differ from the operation: batch operations need that of the single one; S3 has its own names."""

BY_LAMBDA = {
    "sqs": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
    "logs": {"logs:CreateLogStream", "logs:PutLogEvents"},
    "xray": {"xray:PutTraceSegments", "xray:PutTelemetryRecords"},
}
"""What Lambda does in a function's name: with the queue that it reads for it, its log, its traces."""

IN_A_VPC = {f"ec2:{do}" for do in ("CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets",
            "DeleteNetworkInterface", "AssignPrivateIpAddresses", "UnassignPrivateIpAddresses")}  # fmt: skip
"""What Lambda does where the functions are in a VPC (Lambda, execution role permissions)."""

SERVICES = {"SQS": "sqs", "EVENTS": "events", "SECRETS": "secretsmanager", "STATES": "states"}


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as plain values: `!GetAtt A.Arn` as {"GetAtt": "A.Arn"}."""


def _short_form(loader: Loader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {tag: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {tag: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {tag: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _short_form)
TEMPLATE: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader)
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]
DEFAULTS: dict[str, Any] = TEMPLATE["Globals"]["Function"]
FUNCTIONS = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::Serverless::Function"}
QUEUES = {name: r["Properties"] for name, r in RESOURCES.items() if r["Type"] == "AWS::SQS::Queue"}
CONSUMERS = [
    (function, event["Properties"])
    for function, properties in FUNCTIONS.items()
    for event in properties.get("Events", {}).values()
    if event["Type"] == "SQS"
]


def timeout_of(function: str, asked: str | None = None) -> int:
    """The timeout, where the parameter says `asked`, or nothing."""
    value = FUNCTIONS[function].get("Timeout", DEFAULTS["Timeout"])
    return int(value if isinstance(value, int) else asked or TEMPLATE["Parameters"][value["Ref"]]["Default"])


def visibility_of(queue: Mapping[str, Any], asked: str | None = None) -> int:
    """How long a queue hides a message, where the parameter says `asked`, or nothing."""
    name, parameter, key = queue["VisibilityTimeout"]["FindInMap"]
    return int(TEMPLATE["Mappings"][name][asked or TEMPLATE["Parameters"][parameter["Ref"]]["Default"]][key])


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def variables_of(function: str) -> dict[str, Any]:
    own: dict[str, Any] = FUNCTIONS[function].get("Environment", {}).get("Variables", {})
    return {**DEFAULTS["Environment"]["Variables"], **own}


def read_by(function: str) -> set[str]:
    """The variables behind the settings that the wiring of a function reads, directly or by a property of theirs."""
    handler = getsource(import_module(FUNCTIONS[function]["Handler"].rpartition(".")[0]))
    (wiring,) = re.findall(r"^from (shared\.bootstrap\.\w+) import", handler, re.M)
    source = getsource(import_module(wiring))
    if re.search(r"^from shared\.bootstrap\.detach import outlets$", source, re.M):
        source += getsource(outlets)
    names = set(re.findall(r"\bsettings\.(\w+)", source))
    getters = [(name, p.fget) for name, p in vars(Settings).items() if isinstance(p, property) and name in names]
    behind = {field for _, getter in getters if getter for field in fields_behind(getter)}
    return {VARIABLES[name] for name in names - dict(getters).keys() | behind}


def fields_behind(getter: Callable[[Settings], object]) -> set[str]:
    """The settings that a property is made of."""
    settings, fields = load(Settings, {"REQUEST_QUEUE_URL": "queue", "ALLOWED_PROJECTS": "0" * 32}), set[str]()

    class Recorder:
        def __getattr__(self, name: str) -> object:
            fields.add(name)
            return getattr(settings, name)

    getter(cast("Settings", Recorder()))
    return fields


def queue_of(source: dict[str, Any]) -> dict[str, Any]:
    """The queue an event source reads, by its `!GetAtt`."""
    queue: dict[str, Any] = QUEUES[source["Queue"]["GetAtt"].removesuffix(".Arn")]
    return queue


def documents_of(function: str) -> list[dict[str, Any]]:
    """The policies of a function's role."""
    role = RESOURCES[FUNCTIONS[function]["Role"]["GetAtt"].removesuffix(".Arn")]["Properties"]
    # And none of AWS's managed policies, which allow all resources.
    assert set(role) == {"AssumeRolePolicyDocument", "PermissionsBoundary", "Policies", "Tags"}
    return [policy["PolicyDocument"] for policy in role["Policies"]]


def statements_of(function: str) -> Iterator[dict[str, Any]]:
    """What a function may do, the conditional statements too."""
    for policy in documents_of(function):
        for statement in policy["Statement"]:
            yield statement["If"][1] if "If" in statement else statement


KEEPING = {
    "DetachVolumeFunction": {"s3:PutObject"},
    "ReportDeadLetterFunction": {"s3:PutObject"},
    "ReceiveWebhookFunction": {"s3:PutObject", "s3:GetObject", "s3:ListBucket"},
}
"""What the functions do with the bucket of verdicts, where there is one."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_bucket_of_verdicts_is_used_only_where_it_is_named(name: str) -> None:
    """Without VerdictBucket no statement names S3; with it those that do go no further than the keys of the code."""
    statements = [s for policy in documents_of(name) for s in policy["Statement"]]
    conditional = [s["If"] for s in statements if "If" in s and s["If"][0] == "HasVerdictBucket"]
    assert [s for s in statements if "s3:" in str(s) and s.get("If") not in conditional] == []
    assert [otherwise for _, _, otherwise in conditional] == [{"Ref": "AWS::NoValue"}] * len(conditional)
    then = [statement for _, statement, _ in conditional]
    actions = [a for s in then for a in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])]
    assert sorted(actions) == sorted(KEEPING.get(name, ()))
    bucket = "arn:${AWS::Partition}:s3:::${VerdictBucket}"
    for statement in then:
        listing = statement["Action"] == "s3:ListBucket"
        keys = f"{verdict_store.PREFIX}*"
        assert statement["Resource"] == {"Sub": bucket if listing else f"{bucket}/{keys}"}
        condition = {"StringEquals": {"aws:ResourceAccount": {"Ref": "AWS::AccountId"}}}
        assert statement["Condition"] == condition | ({"StringLike": {"s3:prefix": keys}} if listing else {})
    assert TEMPLATE["Conditions"]["HasVerdictBucket"] == {"Not": [{"Equals": [{"Ref": "VerdictBucket"}, ""]}]}


@pytest.mark.parametrize(
    ("bucket", "taken"),
    [("", True), ("verdicts", True), ("our-verdicts-123456789012", True), ("a" * 63, True), ("a" * 64, False),
     ("ab", False), ("Verdicts", False), ("ver_dicts", False), ("-verdicts", False), ("verdicts-", False),
     ("our.verdicts", False), ("verdicts/x", False), ("verdicts\n", False), ("s3://verdicts", False)],
)  # fmt: skip
def test_a_bucket_that_the_template_takes_is_one_that_the_settings_take(bucket: str, taken: bool) -> None:
    """And no name that S3 refuses, or that its certificate does not cover."""
    pattern = TEMPLATE["Parameters"]["VerdictBucket"]["AllowedPattern"]
    assert (re.fullmatch(pattern, bucket) is not None) is taken
    if taken:
        assert settings_of("ReceiveWebhookFunction", VerdictBucket=bucket).verdict_bucket == (bucket or None)
        return
    with pytest.raises(SettingsError, match="VERDICT_BUCKET"):
        settings_of("ReceiveWebhookFunction", VerdictBucket=bucket)


def actions_of(function: str) -> set[str]:
    """What the function may do, but for a VPC and a key."""
    found: set[str] = set()
    for statement in statements_of(function):
        if statement["Effect"] != "Allow" or statement["Sid"] in ("LambdaJoinsTheVpc", "UseTheKey"):
            continue
        action = statement["Action"]
        found |= {action} if isinstance(action, str) else set(action)
    return found


def called_by_adapters() -> set[str]:
    """The actions behind every AWS operation that stands in the adapters."""
    source = "\n".join(path.read_text() for path in (ROOT / "shared" / "aws").glob("*.py"))
    called = {
        f"{SERVICES[service]}:{IAM_ACTION.get(operation, operation)}"
        for service, operation in re.findall(r"\((SQS|EVENTS|SECRETS|STATES), \"(\w+)\"", source)
    }
    called |= {f"s3:{IAM_ACTION.get(operation, operation)}" for operation in verdict_store.METHODS}
    called |= {f"lambda:{deployment.GET_MAPPING}"}
    return called | {f"states:{operation}" for operation in re.findall(r"\"(SendTask\w+)\"", source)}


def test_there_is_something_to_test() -> None:
    """The template holds the functions, queues and bus of the design."""
    assert {"DetachVolumeFunction", "RequestQueue", "DeadLetterQueue", "EventBus"} <= set(RESOURCES)
    assert CONSUMERS


@pytest.mark.parametrize("name", FUNCTIONS)
def test_handlers_can_be_imported(name: str) -> None:
    """Each function's handler is its own, where the template says, and can be called."""
    assert FUNCTIONS[name]["Handler"] == f"functions.{snake(name.removesuffix('Function'))}.handler.lambda_handler"
    module, _, function = FUNCTIONS[name]["Handler"].rpartition(".")
    assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_variables_are_settings(name: str) -> None:
    """The code reads every variable that is set; a misspelt one would silently use the default."""
    assert set(variables_of(name)) - ELSEWHERE <= set(VARIABLES.values())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_settings_are_variables(name: str) -> None:
    """Every setting that a function reads is set, and so is the name under which its metrics are found."""
    assert read_by(name) - NOT_SET | {"POWERTOOLS_SERVICE_NAME"} <= set(variables_of(name))


def test_no_setting_is_forgotten() -> None:
    """Each is set for some function, or is one that need not be; and what the functions read is known."""
    assert set(VARIABLES) == set(Settings.model_fields)
    assert set().union(*map(variables_of, FUNCTIONS)) - ELSEWHERE == set(VARIABLES.values()) - NOT_SET
    assert set().union(*map(read_by, FUNCTIONS)) == set(VARIABLES.values())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_variables_are_their_parameters(name: str) -> None:
    """A variable that is a parameter's is the one of that name: no timeout stands for another."""
    referring = {
        v: value["Ref"] for v, value in variables_of(name).items() if isinstance(value, dict) and "Ref" in value
    }
    parameters = {v: p for v, p in referring.items() if p in TEMPLATE["Parameters"] and v not in ELSEWHERE}
    assert parameters
    assert {v: snake(parameter).upper() for v, parameter in parameters.items()} == {v: v for v in parameters}


def test_parameters_allow_what_settings_allow() -> None:
    """A prefix that the template takes is one that the settings take."""
    patterns = [m.pattern for m in Settings.model_fields["event_type_prefix"].metadata if hasattr(m, "pattern")]
    assert [f"^{TEMPLATE['Parameters']['EventTypePrefix']['AllowedPattern']}$"] == patterns


def test_times_are_those_of_the_policy() -> None:
    """The template's numbers are the code's."""
    queue = QUEUES["RequestQueue"]
    numbers = timeout_of("DetachVolumeFunction"), visibility_of(queue), queue["RedrivePolicy"]["maxReceiveCount"]
    assert numbers == (INVOCATION, VISIBILITY, MAX_RECEIVES)
    assert timeout_of("RunCanaryFunction") == CANARY_INVOCATION


EVERY = TEMPLATE["Mappings"]["CanaryEvery"]


@pytest.mark.parametrize("often", TEMPLATE["Parameters"]["Canary"]["AllowedValues"])
def test_a_canary_is_over_before_the_next_one_begins(often: str) -> None:
    """The rate of each choice is the period of the alarm, and longer than the function may run."""
    rate = re.fullmatch(r"rate\((\d+) (minutes?|hours?)\)", EVERY[often]["Rate"])
    if often == "off":
        assert rate is None
        return
    assert rate
    seconds = int(rate[1]) * (3600 if rate[2].startswith("hour") else 60)
    assert (rate[1] == "1") is not rate[2].endswith("s")  # EventBridge takes no other
    assert EVERY[often]["Seconds"] == seconds > timeout_of("RunCanaryFunction")
    assert often == f"{int(rate[1])}{rate[2][0]}"


def test_all_of_the_canary_is_there_only_if_it_is_switched_on() -> None:
    """Its resources have the condition, and no others have it."""
    canarys = {name for name in RESOURCES if "Canary" in name}
    assert {name for name, r in RESOURCES.items() if r.get("Condition") == "HasCanary"} == canarys
    assert TEMPLATE["Conditions"]["HasCanary"] == {"Not": [{"Equals": [{"Ref": "Canary"}, "off"]}]}


def test_a_canary_names_what_it_checks() -> None:
    """A canary without a server or a volume is refused before anything is deployed."""
    rule = TEMPLATE["Rules"]["CanaryHasSomethingToCheck"]
    assert holds(rule["RuleCondition"], {"Canary": "5m"})
    assert not holds(rule["RuleCondition"], {"Canary": "off"})
    for assertion, name in zip(rule["Assertions"], ("CanaryServerId", "CanaryVolumeId"), strict=True):
        assert name in assertion["AssertDescription"]
        assert holds(assertion["Assert"], {name: "x"})
        assert not holds(assertion["Assert"], {name: ""})


UUID = f"{'0' * 8}-0000-4000-8000-{'f' * 12}"


@pytest.mark.parametrize(
    ("name", "good"), [("CanaryServerId", UUID), ("CanaryVolumeId", UUID), ("CanaryProjectId", "a" * 32)]
)
def test_template_and_settings_accept_the_canarys_names(name: str, good: str) -> None:
    """Ids in the one spelling that the template takes; nothing else gets through."""
    pattern = TEMPLATE["Parameters"][name]["AllowedPattern"]
    assert re.fullmatch(pattern, good)
    assert good in repr(settings_of("RunCanaryFunction", **{name: good}))
    for bad in ("db-01", good.upper() + "X", f"{good},{good}"):
        assert not re.fullmatch(pattern, bad)
        with pytest.raises(SettingsError, match=snake(name).upper()):
            settings_of("RunCanaryFunction", **{name: bad})


def test_the_verdicts_that_the_canary_hears_are_marked_as_its_own() -> None:
    """The rule looks where the canary puts its mark, and the verdicts echo it."""
    pattern = RESOURCES["CanaryVerdictsFromBus"]["Properties"]["EventPattern"]
    assert pattern["detail"] == {"data": {"context": {MARK: [{"exists": True}]}}}
    assert pattern["source"] == [{"Ref": "EventSource"}]


@pytest.mark.parametrize(("function", "source"), CONSUMERS, ids=[name for name, _ in CONSUMERS])
def test_visibility_outlasts_the_function(function: str, source: dict[str, Any]) -> None:
    """Six times any timeout, as AWS recommends: no batch is redelivered while a function handles it."""
    for asked in TEMPLATE["Parameters"]["Timeout"]["AllowedValues"]:
        assert visibility_of(queue_of(source), asked) == 6 * timeout_of(function, asked)


@pytest.mark.parametrize(("function", "source"), CONSUMERS, ids=[name for name, _ in CONSUMERS])
def test_partial_failures_are_reported(function: str, source: dict[str, Any]) -> None:
    """Without ReportBatchItemFailures one bad record would bring back the whole batch."""
    assert source["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert source["BatchSize"] <= 10
    assert "FilterCriteria" not in source  # messages that a filter does not match are deleted


def test_requests_have_dead_letters() -> None:
    """Dead letters and waiting requests are kept as long as SQS can keep them."""
    redrive = QUEUES["RequestQueue"]["RedrivePolicy"]
    assert redrive["deadLetterTargetArn"] == {"GetAtt": "DeadLetterQueue.Arn"}
    times, hidden = redrive["maxReceiveCount"], visibility_of(QUEUES["RequestQueue"])
    assert 2 * 3600 < (times - 1) * hidden < 4 * 3600  # AWS away for two hours is no reason to give up
    assert {queue["MessageRetentionPeriod"] for name, queue in QUEUES.items() if name != "CanaryVerdicts"} == {
        14 * 86400
    }


@pytest.mark.parametrize("name", QUEUES)
def test_queues_are_encrypted(name: str) -> None:
    """Requests name servers and may carry a task token: with a key of KMS if there is one, else with SQS's own."""
    assert QUEUES[name]["SqsManagedSseEnabled"] == {"If": ["HasKey", {"Ref": "AWS::NoValue"}, True]}
    assert QUEUES[name]["KmsMasterKeyId"]["If"][0] == "HasKey"


def test_the_loop_is_allowed() -> None:
    """Lambda would stop a function that writes to its own queue without this; no other function has it."""
    loops = {
        name: properties["RecursiveLoop"] for name, properties in FUNCTIONS.items() if "RecursiveLoop" in properties
    }
    assert loops == {"DetachVolumeFunction": "Allow"}


def test_policies_allow_what_is_called() -> None:
    """All functions together may do what the adapters call, and what Lambda does for them, and nothing else."""
    allowed = set().union(*(actions_of(name) for name in FUNCTIONS))
    assert allowed == called_by_adapters().union(*BY_LAMBDA.values())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_roles_let_lambda_do_its_part(name: str) -> None:
    """Messages are taken from the function's own queue, if it has one, and its log goes to its own group."""
    allowed = [s for s in statements_of(name) if s["Effect"] == "Allow" and isinstance(s["Action"], list)]
    of = {action: s["Resource"] for s in allowed for action in s["Action"]}
    queues = [source["Queue"] for function, source in CONSUMERS if function == name]
    if name != "RunCanaryFunction":  # which reads its queue itself
        assert [of.get(action) for action in sorted(BY_LAMBDA["sqs"])] == [queues[0] if queues else None] * 3
    group = FUNCTIONS[name]["LoggingConfig"]["LogGroup"]["Ref"]
    assert [of[action] for action in sorted(BY_LAMBDA["logs"])] == [{"GetAtt": f"{group}.Arn"}] * 2
    assert BY_LAMBDA["xray"] <= set(of)


def test_the_worker_has_what_it_needs() -> None:
    """The worker may requeue, emit verdicts, and read its credentials."""
    needed = {"sqs:SendMessage", "events:PutEvents", "secretsmanager:GetSecretValue"}
    assert needed <= actions_of("DetachVolumeFunction")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_policies_name_their_resources(name: str) -> None:
    """Nothing is allowed on everything, but for task tokens and traces, for which IAM has no resource."""
    wide = [s for s in statements_of(name) if s["Resource"] == "*"]
    actions = [s["Action"] if isinstance(s["Action"], list) else [s["Action"]] for s in wide if s["Effect"] == "Allow"]
    allowed = [a for group in actions for a in group if a not in {*BY_LAMBDA["xray"], *IN_A_VPC}]
    assert [a for a in allowed if not a.startswith("states:SendTask")] == []
    assert all("*" not in str(s["Action"]) for s in statements_of(name) if s["Effect"] == "Allow")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_vpc_is_joined_by_lambda_alone(name: str) -> None:
    """Lambda uses the function's role for it; the function's own code may not, even if it is compromised."""
    conditional = [s["If"] for policy in documents_of(name) for s in policy["Statement"] if "If" in s]
    allow, deny = (then for condition, then, _ in conditional if condition == "HasVpc")
    assert (allow["Effect"], set(allow["Action"])) == ("Allow", IN_A_VPC)
    assert (deny["Effect"], deny["Action"], deny["Resource"]) == ("Deny", "ec2:*", "*")
    assert set(deny["Condition"]["ArnLike"]) == {"lambda:SourceFunctionArn"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_key_is_used_by_way_of_its_services(name: str) -> None:
    """The role may use the key of the stack for queues and secrets, and for nothing else."""
    conditional = [s["If"] for policy in documents_of(name) for s in policy["Statement"] if "If" in s]
    (statement,) = (then for condition, then, _ in conditional if condition == "HasKey")
    assert set(statement["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey"}
    services = [via["Sub"].split(".")[0] for via in statement["Condition"]["StringEquals"]["kms:ViaService"]]
    assert services == (["sqs"] if name == "RunCanaryFunction" else ["sqs", "secretsmanager"])


def settings_of(function: str, **parameters: str) -> Settings:
    """What the function would read in an environment with the parameters' defaults."""
    values = {name: str(p.get("Default", "")) for name, p in TEMPLATE["Parameters"].items()} | parameters

    def value(item: Any) -> str:
        match item:
            case {"Ref": str(name)}:
                return values.get(name, name)
            case {"Sub": str(text)}:
                return re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text)
            case {"GetAtt": "CanaryVerdictsFromBus.Arn"}:
                return "arn:aws:events:eu-central-1:123456789012:rule/bus/rule"
            case {"FindInMap": ["Partitions", _, str(key)]}:
                return str(TEMPLATE["Mappings"]["Partitions"]["aws"][key])
            case {"If": [str(condition), then, otherwise]}:
                return value(then if holds(TEMPLATE["Conditions"][condition], values) else otherwise)
        return str(item)

    return load(Settings, {name: value(v) for name, v in variables_of(function).items()})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_defaults_make_sense(name: str) -> None:
    """A deployment without parameters has valid settings, the documented defaults."""
    settings = settings_of(name)
    assert settings.policy == Policy()
    assert settings.project_secrets == {}


WITH = {"ConfirmTimeout": {"WatchTimeout": "604800"}, "WatchTimeout": {"ConfirmTimeout": "30"}}
"""What another parameter has to be for each value of this one to make sense."""


def test_parameters_stay_within_settings() -> None:
    """Every choice and every bound of a parameter is one that the settings take, and no choice of theirs is missing."""
    variables = variables_of("DetachVolumeFunction").items()
    used = {v["Ref"] for name, v in variables if isinstance(v, dict) and "Ref" in v and name not in ELSEWHERE}
    parameters = {name: p for name, p in TEMPLATE["Parameters"].items() if name in used}
    for name, parameter in parameters.items():
        bounds = [parameter[bound] for bound in ("MinValue", "MaxValue") if bound in parameter]
        for taken in [*bounds, *parameter.get("AllowedValues", [])]:
            settings_of("DetachVolumeFunction", **WITH.get(name, {}), **{name: str(taken)})
    assert parameters["SinkMode"]["AllowedValues"] == list(SinkMode)
    assert parameters["RunningServerPolicy"]["AllowedValues"] == list(RunningServerPolicy)
    assert parameters["DetachApi"]["AllowedValues"] == list(DetachApi)
    assert parameters["ServerKind"]["AllowedValues"] == list(ServerKind)


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_parameters_are_described_and_bounded(name: str) -> None:
    """Each says what it is, has a default, and a pattern, choices or bounds that its default keeps."""
    parameter = TEMPLATE["Parameters"][name]
    assert parameter["Description"]
    default = parameter["Default"]
    if "AllowedValues" in parameter:
        assert default in parameter["AllowedValues"]
    elif parameter["Type"] == "Number":
        assert parameter["MinValue"] <= default <= parameter["MaxValue"]
    else:
        assert re.fullmatch(parameter["AllowedPattern"], default)


def test_projects_have_secrets_that_may_be_read() -> None:
    """The name that the code makes of a project's id begins as the policy says."""
    settings = settings_of("DetachVolumeFunction", AllowedProjects="1" * 32 + "," + "2" * 32)
    (statement,) = [s for s in statements_of("DetachVolumeFunction") if s["Sid"] == "ReadProjectCredentials"]
    prefix = TEMPLATE["Parameters"]["CloudSecretPrefix"]["Default"]
    assert statement["Resource"]["Sub"].endswith(":secret:${CloudSecretPrefix}*")
    assert settings.project_secrets == {project: prefix + project for project in ("1" * 32, "2" * 32)}


def test_template_and_settings_accept_the_same_projects() -> None:
    """The template and the settings accept the same values for the projects."""
    pattern = TEMPLATE["Parameters"]["AllowedProjects"]["AllowedPattern"]
    for good in ("", "1" * 32, "1" * 32 + "," + "a" * 32):
        assert re.fullmatch(pattern, good)
        settings_of("DetachVolumeFunction", AllowedProjects=good)
    for bad in ("eu-de", "1" * 31, "G" * 32):
        assert not re.fullmatch(pattern, bad)
        with pytest.raises(SettingsError):
            settings_of("DetachVolumeFunction", AllowedProjects=bad)


def holds(condition: Any, parameters: Mapping[str, str]) -> bool:
    """What CloudFormation makes of a condition, as far as the template's rules use them."""
    match condition:
        case {"Not": [inner]}:
            return not holds(inner, parameters)
        case {"Equals": [{"Ref": str(name)}, value]}:
            return bool(parameters[name] == value)
        case {"Condition": str(name)}:
            return holds(TEMPLATE["Conditions"][name], parameters)
        case {"And": list(several)}:
            return all(holds(one, parameters) for one in several)
    pytest.fail(f"the template's rules use a condition that this test cannot weigh: {condition}")


@pytest.mark.parametrize("url", ["", "https://sink.example.com"])
@pytest.mark.parametrize("secret", ["", "volume-detach/sink"])
def test_a_sink_without_its_secret_is_not_deployed(url: str, secret: str) -> None:
    """The template's rule turns away exactly those parameters that the settings would, and names both."""
    rule = TEMPLATE["Rules"]["VerdictsAreSigned"]
    (assertion,) = rule["Assertions"]
    parameters = {"SinkUrl": url, "SinkSecretId": secret}
    assert {name for name in parameters if name in assertion["AssertDescription"]} == set(parameters)
    if not holds(rule["RuleCondition"], parameters) or holds(assertion["Assert"], parameters):
        settings_of("DetachVolumeFunction", **parameters)
        return
    with pytest.raises(SettingsError, match="SINK_SECRET_ID must be set beside SINK_URL"):
        settings_of("DetachVolumeFunction", **parameters)

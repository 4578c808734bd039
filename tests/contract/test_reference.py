"""What an operator looks up by a command is what there is: parameters, log messages, metrics, permissions."""

import re
import subprocess
from functools import cache

import botocore.session  # type: ignore[import-untyped]
import pytest
from botocore import xform_name

from shared.settings import Settings
from tests.contract.documented import MAKEFILE, ROOT, plain_environment
from tests.contract.test_template import TEMPLATE
from tools.costs.measured import parsed
from tools.permissions import PERMISSIONS, READS, RESOURCES, needs_of
from tools.reference.parameters import parameters, variables
from tools.reference.permissions import permissions
from tools.reference.telemetry import LOG_LINES, METRICS, SECONDS, telemetry

SENTENCE = re.compile(r"[A-Z0-9].*\.", re.DOTALL)
UNITS = re.compile(r"\b(seconds|MB|days|batches|deliveries|requests)\b", re.IGNORECASE)


def deployed() -> str:
    """The sources of all that is deployed."""
    return "\n".join(path.read_text() for top in ("shared", "functions") for path in (ROOT / top).rglob("*.py"))


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("reference", ["parameters", "permissions", "telemetry"])
def test_make_prints_it(reference: str) -> None:
    """By the command that the page names."""
    done = subprocess.run(
        ["make", "--no-print-directory", reference],
        cwd=ROOT, env=plain_environment(), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    made = {
        "parameters": lambda: parameters((ROOT / "template.yaml").read_text()),
        "permissions": permissions,
        "telemetry": telemetry,
    }
    assert (done.returncode, done.stdout) == (0, f"{made[reference]()}\n")


# ---------------------------------------------------------------------------------------------------- parameters


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_a_parameter_is_explained(name: str) -> None:
    """In sentences that stand alone, with the unit of a number; they and the default are printed."""
    parameter = TEMPLATE["Parameters"][name]
    about = one_line(parameter["Description"])
    assert SENTENCE.fullmatch(about)
    assert len(about.split()) > 4
    assert not about.startswith("The same")
    if parameter["Type"] == "Number" or name in ("Timeout", "LogRetentionDays"):
        assert UNITS.search(about)
    (printed,) = [
        part for part in parameters((ROOT / "template.yaml").read_text()).split("\n\n") if part.startswith(f"{name} = ")
    ]
    assert about in one_line(printed)
    default = str(parameter["Default"]) or '""'
    assert printed.splitlines()[0].startswith(f"{name} = {default}")
    assert all(str(value) in printed for value in parameter.get("AllowedValues", ()))


def test_a_parameter_names_its_variable() -> None:
    """A setting that has a parameter is told by both names, for people who set it outside of the template."""
    template = (ROOT / "template.yaml").read_text()
    told, made = variables(parsed(template)), one_line(parameters(template))
    of_ours = {variable for variable in told.values() if not variable.startswith(("AWS_", "POWERTOOLS_"))}
    assert len(of_ours) > 20
    assert of_ours <= {name.upper() for name in Settings.model_fields}
    assert told["ConfirmTimeout"] == "CONFIRM_TIMEOUT"
    assert [variable for variable in told.values() if f"Variable: {variable}." not in made] == []


# ------------------------------------------------------------------------------------------ log lines and metrics


def test_every_log_line_and_metric_is_explained() -> None:
    """What the code writes is what is explained, no more and no less."""
    source = deployed()
    assert set(LOG_LINES) == set(re.findall(r"(?:logger\.\w+|write)\(\s*\"([a-z ]+)\"", source))
    assert set(METRICS) == set(re.findall(r"(?:meters\.\w+|counted\.append|seconds\.append)\(\(?\"(\w+)\"", source))
    said = one_line(telemetry())
    for name, about in [*LOG_LINES.items(), *((name, one.about) for name, one in METRICS.items())]:
        assert SENTENCE.fullmatch(about)
        assert len(about.split()) > 3
        assert name in said
        assert about in said


def test_units_and_dimensions_are_those_of_the_code() -> None:
    """A metric of seconds says so, and dimensions are the ones that it is told apart by."""
    source = deployed()
    seconds = set(re.findall(r"(?:meters\.seconds|seconds\.append)\(\(?\"(\w+)\"", source))
    assert {name for name, one in METRICS.items() if one.unit == SECONDS} == seconds
    assert {name for name, one in METRICS.items() if one.about.startswith("Seconds ")} == seconds
    counted = re.findall(r"meters\.count\(\"(\w+)\"((?:, \w+=[^,()]+(?:\([^()]*\))?[^,()]*)*)\)", source)
    by = {name: tuple(re.findall(r"(\w+)=", told)) for name, told in counted if told}
    by |= {
        name: tuple(re.findall(r'"(\w+)":', told))
        for name, told in re.findall(r'counted\.append\(\("(\w+)", \{([^}]+)\}', source)
    }
    assert {name: one.dimensions for name, one in METRICS.items() if one.dimensions} == by


# --------------------------------------------------------------------------------------------------- permissions

SOURCES = {
    "detach": ("deployed",),
    "status": ("deployed",),
    "doctor": ("stack_reader", "deployed"),
    "pause": ("flow",),
    "redrive": ("redrive",),
    "rollback": ("rollback", "stack_reader"),
    "remove": ("removal",),
    "schemas": ("schemas",),
}
"""By command: the modules in which it calls AWS."""


@cache
def operations(service: str) -> dict[str, str]:
    """The operations of a service, by what boto3 calls them."""
    names = botocore.session.get_session().get_service_model(service).operation_names
    return {xform_name(name): f"{service}:{name}" for name in names}


def actions_in(module: str) -> set[str]:
    """The actions of the operations that a module calls; one on a batch has no action of its own."""
    words = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", (ROOT / f"tools/{module}.py").read_text()))
    services = {action.partition(":")[0] for actions in PERMISSIONS.values() for action in actions}
    found = {action for service in services for word, action in operations(service).items() if word in words}
    return {action.removesuffix("Batch") for action in found}


@pytest.mark.parametrize("command", PERMISSIONS)
def test_permissions_are_actions_of_aws(command: str) -> None:
    """Each is an operation that AWS has, none stands twice, and they are printed and told where one is denied."""
    actions = PERMISSIONS[command]
    assert len(set(actions)) == len(actions)
    assert [one for one in actions if one not in operations(one.partition(":")[0]).values()] == []
    assert "cloudformation:DescribeStacks" in actions
    (printed,) = [part for part in permissions().split("\n\n") if part.startswith(f"make {command}\n")]
    assert [one for one in actions if one not in printed or one not in needs_of(command)] == []
    assert RESOURCES.get(command, "") in one_line(printed)


def test_what_the_commands_call_is_what_they_need() -> None:
    """Every operation in their modules is a permission of one of the commands that use the module, and of no other."""
    for module in {module for modules in SOURCES.values() for module in modules}:
        users = [command for command, modules in SOURCES.items() if module in modules]
        assert actions_in(module) <= {action for command in users for action in PERMISSIONS[command]}, module
    for command, modules in SOURCES.items():
        shared = {action for module in (*modules, "deployed", "flow", "stack_reader") for action in actions_in(module)}
        unexplained = {one for one in PERMISSIONS[command] if one not in shared}
        assert not unexplained, command


def test_every_command_on_a_stack_has_its_permissions() -> None:
    """Each target of the Makefile that takes STACK=, and no other."""
    recipes = re.findall(r"^([\w -]+):.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    on_a_stack = {name for names, recipe in recipes if "--stack" in recipe for name in names.split()}
    assert on_a_stack == set(PERMISSIONS)
    assert set(READS) <= set(PERMISSIONS["doctor"])

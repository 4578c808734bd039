"""`make deploy` between build and deployment: checks the parameters, and gives the release a revision of its own.

SAM publishes a version of a function when the template or the code changes, not when the value of a parameter does. So
the values stand in the template by a hash, as the variable REVISION of every function.
"""

import argparse
import difflib
import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from shared.settings import Settings, SettingsError, load
from tools.exit_status import Exit
from tools.validation.conditions import permitted
from tools.validation.resolve import resolved
from tools.validation.switches import defaults_of
from tools.validation.template import PLACES, ROOT, Json, Values, read

BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
UNSET = "REVISION: unset"

QUOTED = 'a value with a space, and one that is empty, as Name="value", and quotes need quotes in a shell'
QUOTES = ('"', "'")
PAIR = re.compile(r""" +([A-Za-z0-9]+)=("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|[^ "\\])+)""")
PAIRS = re.compile(rf"(?:{PAIR.pattern})*\s*")
"""Parameters in one text, as sam finds them there; it passes over what is none."""


class Faulty(Exception):
    """The parameters, or the file that they stand in, cannot be used; each fault is a line."""


def parameters_of(config: Path, given: Sequence[str]) -> Values:
    """What `sam deploy` sets: the values that are given, or else those of the file. Raises Faulty."""
    return pairs_in(given or settings_in(config).get("parameter_overrides", ()))


def settings_in(config: Path) -> Json:
    """What the file sets for `sam deploy`: its own section wins over that of all commands. Raises Faulty."""
    try:
        told = tomllib.loads(config.read_text())
    except (OSError, ValueError) as error:
        raise Faulty(f"{config}: {error}") from error
    found: Json = {}
    for command in ("global", "deploy"):
        section: Any = told
        for name in ("default", command, "parameters"):
            section = section.get(name, {}) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise Faulty(f"{config}: [default.{command}.parameters] must be a table")
        found |= section
    return found


def pairs_in(told: Any) -> Values:
    """The values as sam takes them from its file or its command line; where it would leave some out, raises Faulty."""
    match told:
        case str():
            text = f" {told.strip()}"
            if not PAIRS.fullmatch(text):
                raise Faulty(f"{told}: a parameter is given as Name=value; {QUOTED}")
            return {name: _unquoted(value) for name, value in PAIR.findall(text)}
        case dict() if all(isinstance(value, str | int | float) for value in told.values()):
            return {name: _unquoted(str(value)) for name, value in told.items()}
        case list() | tuple():
            return {name: value for one in told for name, value in pairs_in(one).items()}
    raise Faulty(f"{told}: a parameter is given as Name=value")


def _unquoted(value: str) -> str:
    inner = value[1:-1] if value and value[0] == value[-1] and value[0] in QUOTES else value
    return inner.replace("\\ ", " ").replace('\\"', '"').replace("\\'", "'")


def kept_in(config: Path) -> Values | None:
    """What the parameters are in the stack of the file, and stay if none is named. None if AWS does not tell.

    Raises Faulty.
    """
    told = settings_in(config)
    if "stack_name" not in told:
        return None
    try:
        session = boto3.Session(profile_name=told.get("profile"), region_name=told.get("region"))
        (found,) = session.client("cloudformation").describe_stacks(StackName=told["stack_name"])["Stacks"]
    except ClientError as error:
        return {} if error.response["Error"]["Code"] == "ValidationError" else None
    except BotoCoreError:
        return None
    return {one["ParameterKey"]: one.get("ParameterValue", "") for one in found.get("Parameters", ())}


def faults_in(template: Json, values: Values, kept: Values | None) -> Iterator[str]:
    """What CloudFormation would refuse, or the functions at their first invocation; one sentence each.

    Whether values go together depends on those that the stack keeps: where they are not known, nothing is said of it.
    """
    known = template["Parameters"]
    wrong = [name for name in values if name not in known]
    for name in wrong:
        near = difflib.get_close_matches(name, known, 1)
        yield f"{name}: there is no such parameter{f'; {near[0]} is one' if near else ''}"
    checked = {name: value for name, value in values.items() if name in known}
    bad = {name: why for name, value in checked.items() if (why := fault_of(known[name], value))}
    yield from (f"{name}={values[name]}: {why}" for name, why in bad.items())
    if wrong or bad or kept is None:
        return
    stays = {name: value for name, value in kept.items() if name in known}
    everything = defaults_of(template) | stays | checked
    for rule in template.get("Rules", {}).values():
        if permitted(PLACES[0].pseudo | everything, template | {"Rules": {"one": rule}}) is False:
            yield from (str(one["AssertDescription"]) for one in rule["Assertions"])
            return
    try:
        load(Settings, variables_of(template, everything))
    except SettingsError as error:
        yield str(error)


def fault_of(parameter: Mapping[str, Any], value: str) -> str | None:
    """What is wrong with the value of one parameter; None if nothing is."""
    choices = [str(choice) for choice in parameter.get("AllowedValues", ())]
    if choices and value not in choices:
        return f"must be one of {', '.join(choices)}"
    if parameter["Type"] == "Number":
        least, most = parameter.get("MinValue", 0), parameter.get("MaxValue")
        if not value.isdecimal() or not least <= int(value) <= (most or int(value)):
            return f"must be a whole number from {least} to {most}"
    elif "AllowedPattern" in parameter and not re.fullmatch(parameter["AllowedPattern"], value):
        return f"does not look like one: {parameter['Description']}"
    return None


def variables_of(template: Json, values: Values) -> dict[str, str]:
    """The variables of the functions, as far as they are the values of parameters; what else they need is made up."""
    made = resolved(template, values, PLACES[0])
    of_all = made_of_globals(template, values)
    functions = [one["Properties"] for one in made["Resources"].values() if one["Type"] == "AWS::Serverless::Function"]
    own = [function.get("Environment", {}).get("Variables", {}) for function in functions]
    merged = of_all | {name: value for variables in own for name, value in variables.items()}
    known = {name: str(value) for name, value in merged.items() if isinstance(value, str | int)}
    needed = (name.upper() for name, field in Settings.model_fields.items() if field.is_required())
    return dict.fromkeys(needed, "x") | known


def made_of_globals(template: Json, values: Values) -> Json:
    """The variables that all functions have."""
    globals_ = template["Globals"]["Function"]["Environment"]["Variables"]
    whole = template | {"Resources": {"all": {"Type": "x", "Properties": globals_}}, "Outputs": {}}
    found: Json = resolved(whole, values, PLACES[0])["Resources"]["all"]["Properties"]
    return found


def revision_of(values: Values) -> str:
    """The same for the same values; 12 hex digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def written(built: str, values: Values) -> str:
    """The built template with the revision. Raises Faulty if it has no place for it, or more than one."""
    if built.count(UNSET) != 1:
        raise Faulty(f"{BUILT}: {UNSET!r} stands there {built.count(UNSET)} times; run `sam build` again")
    return built.replace(UNSET, f"REVISION: r-{revision_of(values)}")


def main(arguments: Sequence[str] | None = None, kept: Callable[[Path], Values | None] = kept_in) -> Exit:
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "samconfig.toml", help="where sam finds the parameters")
    parser.add_argument("--template", type=Path, default=BUILT, help="the template that `sam build` has written")
    parser.add_argument("parameters", nargs="*", help="Name=value, instead of those of the file")
    asked = parser.parse_args(arguments)
    try:
        values = parameters_of(asked.config, asked.parameters)
        if faults := list(faults_in(read((ROOT / "template.yaml").read_text()), values, kept(asked.config))):
            raise Faulty("\n".join(faults))
        asked.template.write_text(written(asked.template.read_text(), values))
    except (Faulty, OSError) as error:
        print(f"Nothing was deployed.\n{error}", file=sys.stderr)
        return Exit.USAGE
    print(f"Revision r-{revision_of(values)}: {len(values)} parameters are set, all others keep their values.")
    return Exit.DETACHED


if __name__ == "__main__":
    sys.exit(main())

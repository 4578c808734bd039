"""The step of `make deploy` between build and deployment: check the parameters, and set the revision.

SAM publishes a new version of a function when the template or the code changes, but not when a parameter changes.
So a hash of the parameters is written into the template, as the variable REVISION of every function.
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

QUOTED = 'write an empty value, or one with a space, as Name="value"; in a shell, quote the quotes too'
QUOTES = ('"', "'")
PAIR = re.compile(r""" +([A-Za-z0-9]+)=("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?:\\.|[^ "\\])+)""")
PAIRS = re.compile(rf"(?:{PAIR.pattern})*\s*")
"""Parameters in one text, as sam parses them; sam ignores the rest."""


class Faulty(Exception):
    """The parameters or their file cannot be used; each fault is a line."""


def parameters_of(config: Path, given: Sequence[str]) -> Values:
    """The parameters of `sam deploy`: the given ones, or else those of the file. Raises Faulty."""
    return pairs_in(given or settings_in(config).get("parameter_overrides", ()))


def settings_in(config: Path) -> Json:
    """The file's settings for `sam deploy`, whose section overrides the global one. Raises Faulty."""
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
    """The parameters as sam parses them in its file or command line. Raises Faulty where sam would ignore some."""
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
    """The current parameters of the stack that the file names; a deployment keeps those that it does not set.

    None if AWS cannot be asked. Raises Faulty.
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
    """Faults that CloudFormation or the functions would refuse, one sentence each.

    Whether values fit together depends on those that the stack keeps; if these are not known, that is not checked.
    """
    known = template["Parameters"]
    wrong = [name for name in values if name not in known]
    for name in wrong:
        near = difflib.get_close_matches(name, known, 1)
        yield f"{name}: there is no such parameter{f'; do you mean {near[0]}?' if near else ''}"
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
    """What is wrong with the value of a parameter; None if nothing."""
    choices = [str(choice) for choice in parameter.get("AllowedValues", ())]
    if choices and value not in choices:
        return f"must be one of {', '.join(choices)}"
    if parameter["Type"] == "Number":
        least, most = parameter.get("MinValue", 0), parameter.get("MaxValue")
        if not value.isdecimal() or not least <= int(value) <= (most or int(value)):
            return f"must be a whole number from {least} to {most}"
    elif "AllowedPattern" in parameter and not re.fullmatch(parameter["AllowedPattern"], value):
        return f"is not valid: {parameter['Description']}"
    return None


def variables_of(template: Json, values: Values) -> dict[str, str]:
    """The functions' variables that come from parameters; other required ones get a dummy value."""
    made = resolved(template, values, PLACES[0])
    of_all = made_of_globals(template, values)
    functions = [one["Properties"] for one in made["Resources"].values() if one["Type"] == "AWS::Serverless::Function"]
    own = [function.get("Environment", {}).get("Variables", {}) for function in functions]
    merged = of_all | {name: value for variables in own for name, value in variables.items()}
    known = {name: str(value) for name, value in merged.items() if isinstance(value, str | int)}
    needed = (name.upper() for name, field in Settings.model_fields.items() if field.is_required())
    return dict.fromkeys(needed, "x") | known


def made_of_globals(template: Json, values: Values) -> Json:
    """The variables of all functions."""
    globals_ = template["Globals"]["Function"]["Environment"]["Variables"]
    whole = template | {"Resources": {"all": {"Type": "x", "Properties": globals_}}, "Outputs": {}}
    found: Json = resolved(whole, values, PLACES[0])["Resources"]["all"]["Properties"]
    return found


def revision_of(values: Values) -> str:
    """A hash of the values, 12 hex digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def written(built: str, values: Values) -> str:
    """The built template with the revision. Raises Faulty unless it has exactly one placeholder."""
    if built.count(UNSET) != 1:
        raise Faulty(f"{BUILT}: contains {UNSET!r} {built.count(UNSET)} times instead of once; run `sam build` again")
    return built.replace(UNSET, f"REVISION: r-{revision_of(values)}")


def main(arguments: Sequence[str] | None = None, kept: Callable[[Path], Values | None] = kept_in) -> Exit:
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "samconfig.toml", help="sam's file with the parameters")
    parser.add_argument("--template", type=Path, default=BUILT, help="the template that `sam build` wrote")
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

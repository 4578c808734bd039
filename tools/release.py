"""`make deploy` between build and deployment: checks the parameters, and gives the release a revision of its own.

SAM publishes a version of a function when the template or the code changes, not when the value of a parameter does. So
the values stand in the template by a hash, as the variable REVISION of every function.
"""

import argparse
import difflib
import hashlib
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from shared.settings import Settings, SettingsError, load
from tools.exit_status import Exit
from tools.validation.conditions import permitted
from tools.validation.resolve import resolved
from tools.validation.switches import defaults_of
from tools.validation.template import PLACES, ROOT, Json, Values, read

BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
UNSET = "REVISION: unset"


class Faulty(Exception):
    """The parameters, or the file that they stand in, cannot be used; each fault is a line."""


def parameters_of(config: Path, given: Sequence[str]) -> Values:
    """What `sam deploy` sets: the values that are given, or else those of the file. Raises Faulty."""
    if given:
        return dict(_pair(text) for text in given)
    try:
        told = tomllib.loads(config.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Faulty(f"{config}: {error}") from error
    listed: Any = told.get("default", {}).get("deploy", {}).get("parameters", {}).get("parameter_overrides", [])
    return dict(_pair(text) for text in (shlex.split(listed) if isinstance(listed, str) else map(str, listed)))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise Faulty(f"{text}: a parameter is given as Name=value")
    return name, value


def faults_in(template: Json, values: Values) -> Iterator[str]:
    """What CloudFormation would refuse, or the functions at their first invocation; one sentence each."""
    known = template["Parameters"]
    wrong = [name for name in values if name not in known]
    for name in wrong:
        near = difflib.get_close_matches(name, known, 1)
        yield f"{name}: there is no such parameter{f'; {near[0]} is one' if near else ''}"
    checked = {name: value for name, value in values.items() if name in known}
    bad = {name: why for name, value in checked.items() if (why := fault_of(known[name], value))}
    yield from (f"{name}={values[name]}: {why}" for name, why in bad.items())
    if wrong or bad:
        return
    everything = defaults_of(template) | checked
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
    """The variables of the functions, as far as they are the values of parameters."""
    made = resolved(template, values, PLACES[0])
    of_all = made_of_globals(template, values)
    functions = [one["Properties"] for one in made["Resources"].values() if one["Type"] == "AWS::Serverless::Function"]
    own = [function.get("Environment", {}).get("Variables", {}) for function in functions]
    merged = of_all | {name: value for variables in own for name, value in variables.items()}
    return {name: str(value) for name, value in merged.items() if isinstance(value, str | int)} | STANDS_FOR


STANDS_FOR = {"REQUEST_QUEUE_URL": "https://queue"}
"""What the functions cannot do without, and CloudFormation alone knows. All else that it alone knows is left out."""


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


def main(arguments: Sequence[str] | None = None) -> Exit:
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "samconfig.toml", help="where sam finds the parameters")
    parser.add_argument("--template", type=Path, default=BUILT, help="the template that `sam build` has written")
    parser.add_argument("parameters", nargs="*", help="Name=value, instead of those of the file")
    asked = parser.parse_args(arguments)
    try:
        values = parameters_of(asked.config, asked.parameters)
        if faults := list(faults_in(read((ROOT / "template.yaml").read_text()), values)):
            raise Faulty("\n".join(faults))
        asked.template.write_text(written(asked.template.read_text(), values))
    except (Faulty, OSError) as error:
        print(f"Nothing was deployed.\n{error}", file=sys.stderr)
        return Exit.USAGE
    print(f"Revision r-{revision_of(values)}: {len(values)} parameters are set, all others keep their values.")
    return Exit.DETACHED


if __name__ == "__main__":
    sys.exit(main())

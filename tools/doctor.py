"""`make doctor`: check whether a cloud, or a deployed stack (--stack), has what a detach needs; print cures if not.

It changes nothing there. A stack is sent a dry run.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from local.console import is_rich
from local.demo import demo_cloud
from local.interrupts import carried_out
from local.real_cloud import api_of, found_in
from local.stack import simulator_credentials
from local.surroundings import past_proxies
from shared.cloud.openstack import connector
from shared.ports import Clock, utc_now
from shared.settings import DetachApi, SettingsError
from simulator import CloudServer
from tools.cloud_faults import completed, credentials
from tools.cloud_files import CloudsError
from tools.clouds import Found
from tools.examination import Examination, Line, State

COLOURS = {State.OK: "32", State.WARN: "33", State.FAIL: "31", State.NOT_TRIED: "2"}
MARKS = {State.NOT_TRIED: "-"}
"""The start of a line, if not its state."""


def examined(found: Found, clock: Clock = utc_now, api: DetachApi = DetachApi.COMPUTE) -> Iterator[Line]:
    """Check a cloud, lazily, one line a check. Raises CloudsError before the first."""
    known = credentials(found)
    return Examination(completed(found, known), connector(api)(lambda _: known, clock=clock), known.verify).lines()


def report(lines: Iterator[Line], as_json: bool, colour: bool) -> int:
    """Print each line as soon as it is known; returns exit status 1 if a check failed, else 0."""
    failed = False
    for line in lines:
        print(json.dumps(asdict(line), ensure_ascii=False) if as_json else text(line, colour), flush=True)
        failed |= line.state is State.FAIL
    return 1 if failed else 0


def text(line: Line, colour: bool) -> str:
    mark = f"{MARKS.get(line.state, line.state):<5}"
    shown = f"\x1b[{COLOURS[line.state]}m{mark}\x1b[0m" if colour else mark
    told = f"not tried: {line.found}" if line.state is State.NOT_TRIED else line.found
    return f"{shown} {line.check:<17} {told}" + (f"\n{'':23} → {line.cure}" if line.cure else "")


@contextmanager
def cloud(real_cloud: bool) -> Iterator[Found]:
    """The cloud of the environment, or a simulated one for the length of the block. Raises CloudsError."""
    if real_cloud:
        yield found_in(os.environ)
        return
    api = demo_cloud(utc_now)
    with CloudServer(api):
        yield Found(simulator_credentials(api), "A simulated cloud; CLOUD=env checks yours")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.doctor", description=__doc__)
    parser.add_argument("--stack", help="a deployed stack, instead of a cloud")
    parser.add_argument("--server", default="", help="the id of a server for the dry run of a stack")
    parser.add_argument("--volume", default="", help="the id of a volume of that server")
    parser.add_argument("--cloud", choices=["simulator", "env"], default="simulator",
                        help="the simulated cloud, or the real one of the OS_… variables or a clouds.yaml")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object per line on stdout")
    asked = parser.parse_args()
    os.environ |= past_proxies(os.environ)
    if asked.stack is not None:
        return stack(asked)
    try:
        with cloud(asked.cloud == "env") as found:
            return report(examined(found, api=api_of(os.environ)), asked.json, is_rich(sys.stdout))
    except (CloudsError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 2


def stack(asked: argparse.Namespace) -> int:
    """Check a deployed stack; returns exit status 2 if there is none or AWS cannot be reached."""
    from tools.deployed import AwsFailed, Unknown, explained
    from tools.stack_doctor import of_stack
    from tools.stack_reader import StackReader, described_stack

    if bool(asked.server) != bool(asked.volume):
        print("Give the ids of both SERVER= and VOLUME=, or neither.", file=sys.stderr)
        return 2
    try:
        reader = StackReader(described_stack(asked.stack))
    except Unknown as error:
        print(error, file=sys.stderr)
        return 2
    except AwsFailed as error:
        print(explained(error, asked.stack, "cloudformation:DescribeStacks"), file=sys.stderr)
        return 2
    return report(of_stack(reader, asked.server, asked.volume).lines(), asked.json, is_rich(sys.stdout))


if __name__ == "__main__":
    sys.exit(carried_out(main))

"""The commands `python -m tools detach|status|pause|resume|drain|rollback|remove|schemas …`, which make calls.

Exit status: 0 detached (or a dry run says that it would be), 1 a final failure, 2 usage or configuration (no detach
was requested), 3 no final verdict yet.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from local.function_url import PortTaken
from local.interrupts import unexpected
from local.real_cloud import api_of, check_cloud, cloud_values, connect, unread
from local.stack import Stack, simulator_credentials
from local.surroundings import past_proxies
from local.verdicts import LOGS, watched
from shared.cloud.openstack import OpenStackCloud
from shared.ports import CloudTrouble, utc_now
from shared.settings import SettingsError
from tools.detach import Detach, Order, Service, find, seconds_of
from tools.exit_status import Exit, of_events
from tools.inventory import NotFound, policy_of
from tools.permissions import needs_of
from tools.progress import Progress
from tools.status import FileLog, Lines, show


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools", description=__doc__, formatter_class=Described)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="detach|status|pause|resume|drain|rollback|remove|schemas"
    )
    detach = commands.add_parser("detach", help="detach one volume from one server, and wait for the verdict",
                                 description=__doc__, formatter_class=Described)  # fmt: skip
    detach.add_argument("--server", required=True, type=named, help="the server's id or name")
    detach.add_argument("--volume", required=True, type=named, help="the volume's id, name or device")
    detach.add_argument("--cloud", choices=["simulator", "env"], help="the simulated cloud (the default without "
                        "--stack), or the one of OS_… variables")  # fmt: skip
    detach.add_argument("--stack", type=named, help="a deployed stack, instead of the function on this machine")
    detach.add_argument("--dry", action="store_true", help="only say what would happen")
    detach.add_argument("--yes", action="store_true", help="do not ask")
    detach.add_argument("--unmounted", action="store_true", help="you attest that the disk is not mounted")
    detach.add_argument("--allow-system-disk", action="store_true", help="allow the system disk if the server is off")
    detach.add_argument("--wait", type=length, default="10m", help="how long to wait: 90s, 10m (default), 2h")
    detach.add_argument("--json", action="store_true", help="print only the events, one a line")
    status = commands.add_parser("status", help="show the history of a request, from the log")
    status.add_argument("--request", required=True, type=named, help="the id of the request")
    status.add_argument("--volume", default="", help="only this volume of it")
    status.add_argument("--stack", type=named, help="a deployed stack, instead of `make serve` on this machine")
    status.add_argument("--since", type=length, default="24h", help="how far to look back: 90m, 24h (default), 7d")
    status.add_argument("--json", action="store_true", help="print the lines of the log, one a line")
    for name, about in STACK_COMMANDS.items():
        command = commands.add_parser(name, help=about)
        command.add_argument("--stack", required=True, type=named, help="the name of the deployed stack")
        if name == "drain":
            command.add_argument("--wait", type=length, default="7h", help="how long to wait (default 7h)")
        else:
            command.add_argument("--yes", action="store_true", help="do not ask")
        if name == "rollback":
            command.add_argument(
                "--to", type=int, help="the worker's version to go back to (default: that of the previous deployment)"
            )
        if name == "remove":
            command.add_argument("--wait", type=length, default="30m", help="how long to wait (default 30m)")
            command.add_argument("--also", choices=["logs"], help="delete the log groups too")
            command.add_argument(
                "--lose-requests", action="store_true", help="delete even if messages are lost without a verdict"
            )
    schemas = commands.add_parser("schemas", help="publish the event schemas in the stack's schema registry")
    schemas.add_argument("--stack", required=True, type=named, help="the name of the deployed stack")
    schemas.add_argument("--remove", action="store_true", help="remove them, before the stack is deleted")
    return parser.parse_args(given)


STACK_COMMANDS = {
    "pause": "stop the delivery of requests to the function; they wait in the queue",
    "resume": "resume the delivery of requests to the function",
    "drain": "wait until no request is left",
    "rollback": "return the functions to an earlier version, in seconds",
    "remove": "delete a stack, and list what remains",
}


def named(text: str) -> str:
    """A name. Raises ArgumentTypeError if it is empty, as an unset variable of make is."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def length(text: str) -> float:
    """A duration in seconds. Raises ArgumentTypeError."""
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


class Described(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the description."""


@dataclass(frozen=True)
class Here:
    """The functions on this machine."""

    stack: Stack

    @property
    def prefix(self) -> str:
        return self.stack.environment.get("EVENT_TYPE_PREFIX", "bms")

    def ask(self, body: str) -> None:
        self.stack.request(body)

    def heard(self) -> list[dict[str, object]]:
        return self.stack.aws.verdicts()


@contextmanager
def opened(
    asked: argparse.Namespace, progress: Progress, session: str
) -> Iterator[tuple[Service, OpenStackCloud | None]]:
    """Open the functions that the request goes to, and the cloud for looking up names."""
    if asked.stack:
        import boto3

        from tools.deployed import Deployed, Log, names_of

        names = names_of(asked.stack)
        log = Log(boto3.client("logs"), names.log_groups)
        cloud = connect(cloud_values(os.environ), api_of(os.environ)) if asked.cloud == "env" else None
        with Deployed(names, session, progress.take, log) as deployed:
            yield deployed, cloud
        return
    real = asked.cloud == "env"
    if sys.stderr.isatty():
        print("Starting the function on this machine ...", file=sys.stderr)
    with watched(progress, real, introduced=False) as stack:
        values = cloud_values(os.environ) if real else simulator_credentials(stack.cloud) if stack.cloud else {}
        yield Here(stack), connect(values, api_of(stack.environment))


def detach(asked: argparse.Namespace) -> Exit:
    if asked.stack and asked.cloud == "simulator":
        return _trouble("A deployed stack has its own cloud: leave out CLOUD, or set CLOUD=env to look up names.")
    if not (asked.dry or asked.yes or sys.stdin.isatty()):
        return _trouble("There is no terminal to ask on: add --yes (make: YES=1) to detach, or --dry (DRY=1) to check.")
    if asked.cloud == "env" and (trouble := check_cloud(os.environ)):
        return _trouble(trouble)
    order = Order(asked.server, asked.volume, asked.wait, asked.dry, asked.unmounted, asked.allow_system_disk)
    policy = policy_of(os.environ)
    progress = Progress(asked.json)
    if not asked.stack and asked.cloud != "env":
        progress.say("A simulated cloud, new for each command; CLOUD=env uses yours.")
    session = f"by-hand-{uuid4().hex[:12]}"
    confirm: Callable[[str], bool] = (lambda question: True) if asked.yes else on_terminal
    status, why = Exit.OPEN, ""
    try:
        with opened(asked, progress, session) as (service, cloud):
            target = find(cloud, order, progress, policy)
            status = Detach(service, progress, order, target, confirm, session).run()
    except KeyboardInterrupt:
        why = "Stopped."
    except Exception as error:
        # Once a request was sent, its verdict decides the exit status, whatever else went wrong.
        if progress.asked is None:
            raise
        why = sentence(error, asked)
    if progress.asked:
        status = of_events(progress.final)
    elif why:
        return _trouble("Stopped before a detach was requested.")
    if not progress.final and status is Exit.OPEN:
        progress.trouble(left_open(progress, why, asked))
    elif why:
        progress.trouble(why)
    return status


def left_open(progress: Progress, why: str, asked: argparse.Namespace) -> str:
    """What is still under way when the command ends. The functions on this machine have stopped by now."""
    id_ = progress.asked or progress.request_id
    seen = progress.look.text or "no look yet"
    said = [why] if why else []
    said.append(f"No final verdict after {progress.seconds:.0f} s for request {id_}; last seen: {seen}.")
    if progress.asked is None:
        said.append("That was the dry run; no detach was requested.")
    elif asked.stack:
        said.append(f"The request continues: `make status REQUEST={id_} STACK={asked.stack}` shows how it ends.")
    elif asked.cloud != "env":
        said.append("The simulated cloud has ended with this command.")
    elif progress.look.sent:
        said.append("A DELETE was sent, and the detach continues in the cloud; run this again to see how it ends.")
    else:
        said.append("No DELETE was sent, and none will be; running the same command again is safe.")
    return " ".join(said)


def on_terminal(question: str) -> bool:
    """Ask on stderr, because a program may read stdout."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def status(asked: argparse.Namespace) -> Exit:
    log: Lines
    if asked.stack:
        import boto3

        from tools.deployed import Log, names_of

        log = Log(boto3.client("logs"), names_of(asked.stack).log_groups)
    elif logs := sorted(LOGS.glob("serve-*.log")):
        log = FileLog(tuple(logs))
    else:
        return _trouble("There is no log of `make serve` on this machine: run it, or name a deployed stack (STACK=).")
    return show(log, asked.request, asked.volume.lower(), asked.since, utc_now(), asked.json)


def on_stack(asked: argparse.Namespace) -> Exit:
    """Run one of STACK_COMMANDS."""
    if asked.command != "drain" and not (asked.yes or sys.stdin.isatty()):
        return _trouble("There is no terminal to ask on: add --yes (make: YES=1) to go ahead.")
    confirm: Callable[[str], bool] = (lambda question: True) if asked.command == "drain" or asked.yes else on_terminal
    return RUN_ON_STACK[asked.command](asked, confirm)


def flow(asked: argparse.Namespace, confirm: Callable[[str], bool]) -> Exit:
    from tools.flow import FlowControl, flow_of

    control = FlowControl(flow_of(asked.stack), confirm)
    if asked.command == "drain":
        return control.drain(asked.wait)
    return control.pause() if asked.command == "pause" else control.resume()


def schemas(asked: argparse.Namespace) -> Exit:
    """Publish the event schemas in the schema registry of a deployed stack, or remove them."""
    from tools.schemas import run

    return run(asked.stack, asked.remove, _trouble)


def rollback(asked: argparse.Namespace, confirm: Callable[[str], bool]) -> Exit:
    from tools.rollback import Rollback, of_stack

    return Rollback(of_stack(asked.stack), confirm).run(asked.to)


def remove(asked: argparse.Namespace, confirm: Callable[[str], bool]) -> Exit:
    from tools.removal import Removal, of_stack

    return Removal(of_stack(asked.stack), confirm).run(asked.lose_requests, asked.also == "logs", asked.wait)


RUN_ON_STACK = {**dict.fromkeys(("pause", "resume", "drain"), flow), "rollback": rollback, "remove": remove}


def _trouble(sentence: str) -> Exit:
    print(sentence, file=sys.stderr)
    return Exit.USAGE


COMMANDS = {"detach": detach, "status": status, **dict.fromkeys(STACK_COMMANDS, on_stack), "schemas": schemas}


EXPECTED = (NotFound, SettingsError, PortTaken)
"""Errors whose text is a sentence for the user."""


def sentence(error: Exception, asked: argparse.Namespace) -> str:
    """What went wrong and what to do, in one sentence."""
    if isinstance(error, EXPECTED):
        return f"{str(error).rstrip('.')}."
    if isinstance(error, CloudTrouble):
        return unread(error, api_of(os.environ))
    if getattr(asked, "stack", None):
        from tools.deployed import AwsFailed, Unknown, explained

        if isinstance(error, Unknown):
            return str(error)
        if isinstance(error, (*AwsFailed, TimeoutError)):
            return explained(error, asked.stack, needs_of(asked.command))
    return unexpected(error)


def main(given: Sequence[str] | None = None) -> Exit:
    """Run a command. An error before anything was requested prints one sentence and returns USAGE."""
    asked = arguments(given)
    os.environ |= past_proxies(os.environ)
    try:
        return COMMANDS[asked.command](asked)
    except Exception as error:  # noqa: BLE001 - the user gets a sentence, not a traceback
        return _trouble(sentence(error, asked))

"""Commands for a person: `python -m tools detach|status …`, the same as `make detach` and `make status`.

Exit status: 0 detached (or a dry run says that it would be), 1 a final failure, 2 usage or configuration, and nothing
was asked for, 3 no final verdict yet.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from local.function_url import PortTaken
from local.real_cloud import check_cloud, cloud_values, connect
from local.stack import Stack, simulator_credentials
from local.surroundings import past_proxies
from local.verdicts import LOG, watched
from shared.cloud.openstack import OpenStackCloud
from shared.ports import CloudTrouble, utc_now
from shared.settings import Settings, SettingsError, load
from tools.detach import Detach, Interrupted, Service, Wish, find, seconds_of
from tools.exit_status import Exit
from tools.inventory import NotFound
from tools.progress import Progress
from tools.status import FileLog, Lines, show


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools", description=__doc__, formatter_class=Described)
    commands = parser.add_subparsers(dest="command", required=True, metavar="detach|status|pause|resume|drain")
    detach = commands.add_parser("detach", help="detach one volume from one server, and see how it ends",
                                 description=__doc__, formatter_class=Described)  # fmt: skip
    detach.add_argument("--server", required=True, help="the server's id or name")
    detach.add_argument("--volume", required=True, help="the volume's id, name or device")
    detach.add_argument("--cloud", choices=["simulator", "env"], help="the simulated cloud (the default without "
                        "--stack), or the one of OS_… variables")  # fmt: skip
    detach.add_argument("--stack", help="ask the deployed stack of this name, instead of a function on this machine")
    detach.add_argument("--dry", action="store_true", help="only say what would happen")
    detach.add_argument("--yes", action="store_true", help="do not ask")
    detach.add_argument("--unmounted", action="store_true", help="you attest that the disk is not mounted")
    detach.add_argument("--allow-system-disk", action="store_true", help="the system disk too, of a server that is off")
    detach.add_argument("--wait", default="10m", help="how long to wait for the verdict: 90s, 10m, 2h (default 10m)")
    detach.add_argument("--json", action="store_true", help="print the events alone, one a line")
    status = commands.add_parser("status", help="what became of a request, from the log")
    status.add_argument("--request", required=True, help="the id of the request")
    status.add_argument("--volume", default="", help="only this volume of it")
    status.add_argument("--stack", help="the name of a deployed stack, instead of `make serve` on this machine")
    status.add_argument("--since", default="24h", help="how far to look back: 90m, 24h (default), 7d")
    status.add_argument("--json", action="store_true", help="print the lines of the log, one a line")
    for name, about in HANDS.items():
        hand = commands.add_parser(name, help=about)
        hand.add_argument("--stack", required=True, help="the name of the deployed stack")
        if name == "drain":
            hand.add_argument("--wait", default="7h", help="how long to wait until nothing is left (default 7h)")
        else:
            hand.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args(given)


HANDS = {
    "pause": "hand no more requests to the function; they wait in the queue",
    "resume": "hand requests to the function again",
    "drain": "wait until no request is left",
}


class Described(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the description."""


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
    """The functions that are asked, and the cloud that names are looked up in."""
    if asked.stack:
        import boto3

        from tools.deployed import Deployed, Log, names_of

        names = names_of(asked.stack)
        log = Log(boto3.client("logs"), names.log_groups)
        cloud = connect(cloud_values(os.environ)) if asked.cloud == "env" else None
        with Deployed(names, session, progress.take, log) as deployed:
            yield deployed, cloud
        return
    real = asked.cloud == "env"
    with watched(progress, real) as stack:
        values = cloud_values(os.environ) if real else simulator_credentials(stack.cloud) if stack.cloud else {}
        yield Here(stack), connect(values)


def detach(asked: argparse.Namespace) -> Exit:
    if asked.stack and asked.cloud == "simulator":
        return _trouble("A deployed stack has a cloud of its own: leave out CLOUD, or say CLOUD=env to look names up.")
    if not (asked.dry or asked.yes or sys.stdin.isatty()):
        return _trouble("There is no terminal to ask on: say YES=1 to detach, or DRY=1 to see what would happen.")
    if asked.cloud == "env" and (trouble := check_cloud(os.environ)):
        return _trouble(trouble)
    wish = Wish(asked.server, asked.volume, seconds_of(asked.wait), asked.dry, asked.unmounted, asked.allow_system_disk)
    set_ = {"RUNNING_SERVER_POLICY": value} if (value := os.environ.get("RUNNING_SERVER_POLICY")) else {}
    rule = load(Settings, {"REQUEST_QUEUE_URL": "unused", **set_}).running_server_policy
    progress = Progress(asked.json)
    session = f"by-hand-{uuid4().hex[:12]}"
    try:
        with opened(asked, progress, session) as (service, cloud):
            target = find(cloud, wish, progress, rule)
            confirm: Callable[[str], bool] = (lambda question: True) if asked.yes else on_terminal
            return Detach(service, progress, wish, target, confirm, session).run()
    except Interrupted as interrupted:
        # What is said is true once the functions on this machine have stopped.
        progress.trouble(interruption(progress, str(interrupted), asked.stack))
        return Exit.OPEN


def interruption(progress: Progress, request_id: str, stack: str | None) -> str:
    """What is under way when somebody stops waiting."""
    seen = f"Stopped after {progress.seconds:.0f} s; last seen: {progress.look.text or 'nothing yet'}."
    if stack:
        return f"{seen} The request goes on: `make status REQUEST={request_id} STACK={stack}` tells how it ends."
    if progress.look.sent:
        return f"{seen} A DELETE was sent, and the detach goes on in the cloud; run the same again to see how it ends."
    return f"{seen} No DELETE is known to have been sent; nothing more will be, and running the same again is safe."


def on_terminal(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def status(asked: argparse.Namespace) -> Exit:
    since = seconds_of(asked.since)
    log: Lines
    if asked.stack:
        import boto3

        from tools.deployed import Log, names_of

        log = Log(boto3.client("logs"), names_of(asked.stack).log_groups)
    elif LOG.is_file():
        log = FileLog(LOG)
    else:
        return _trouble(f"There is no {LOG}, which `make serve` writes: run that, or name a deployed stack by STACK=.")
    return show(log, asked.request, asked.volume.lower(), since, utc_now(), asked.json)


def hand(asked: argparse.Namespace) -> Exit:
    """Pause, resume or drain a deployed stack."""
    if asked.command != "drain" and not (asked.yes or sys.stdin.isatty()):
        return _trouble("There is no terminal to ask on: say YES=1 to do it.")
    from tools.flow import Hands, flow_of

    confirm: Callable[[str], bool] = (lambda question: True) if asked.command == "drain" or asked.yes else on_terminal
    hands = Hands(flow_of(asked.stack), confirm)
    if asked.command == "drain":
        return hands.drain(seconds_of(asked.wait))
    return hands.pause() if asked.command == "pause" else hands.resume()


def _trouble(sentence: str) -> Exit:
    print(sentence, file=sys.stderr)
    return Exit.USAGE


COMMANDS = {"detach": detach, "status": status, **dict.fromkeys(HANDS, hand)}


def main(given: Sequence[str] | None = None) -> Exit:
    """Every error that a person can do something about ends in one sentence and USAGE."""
    asked = arguments(given)
    os.environ |= past_proxies(os.environ)
    # A process that a script starts in the background ignores SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        return COMMANDS[asked.command](asked)
    except (NotFound, SettingsError, PortTaken, ValueError) as error:
        return _trouble(f"{str(error).rstrip('.')}.")
    except CloudTrouble as trouble:
        return _trouble(f"The cloud did not answer: {trouble}.")
    except Exception as error:
        if asked.stack:
            from tools.deployed import AwsFailed, Unknown, explained

            if isinstance(error, Unknown):
                return _trouble(str(error))
            if isinstance(error, (*AwsFailed, TimeoutError)):
                return _trouble(explained(error, asked.stack))
        raise


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Stopped; nothing was sent.", file=sys.stderr)
        sys.exit(Exit.USAGE)

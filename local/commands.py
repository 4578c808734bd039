"""The commands behind `make run`, `make servers`, `make serve` and `make send`."""

import argparse
import os
import sys

from local.function_url import PortTaken
from local.play import play
from local.real_cloud import check_cloud
from local.run import run
from local.serve import serve
from local.surroundings import past_proxies
from shared.settings import SettingsError
from simulator.scenarios import CATALOGUE
from tools.event_files import STDIN, NoEvents, read_events
from tools.exit_status import Exit
from tools.sender import LOCAL_SECRET, LOCAL_URL, send
from tools.servers import show


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="send events through the local stack and print the verdicts")
    run.add_argument("--event", help="your own file instead of the samples in events/, or - for standard input")
    run.add_argument("--scenario", help="a scenario by name, `all` of them, or `list`")
    servers = commands.add_parser("servers", help="list servers and their disks")
    servers.add_argument("--name", default="", help="only servers whose name or id contains this")
    serve = commands.add_parser("serve", help="keep the local stack running, with its webhook endpoint on a local port")
    serve.add_argument("--port", type=int, default=8080)
    send = commands.add_parser("send", help="sign an event and post it to a webhook endpoint")
    send.add_argument("--event", required=True, help="an event, an array or JSON lines; - is standard input")
    send.add_argument("--url", default=LOCAL_URL)
    send.add_argument("--secret", default=os.environ.get("WEBHOOK_SECRET") or LOCAL_SECRET)
    send.set_defaults(cloud=None)
    for command in (run, servers, serve):
        command.add_argument("--cloud", choices=["simulator", "env"], default="simulator",
                             help="the simulated cloud, or the real one named by OS_… variables")  # fmt: skip
        command.add_argument("--json", action="store_true", help="one JSON object per line on stdout")
    return parser.parse_args()


def objection(asked: argparse.Namespace) -> str | None:
    """Why the command cannot be carried out, in one sentence; None if it can. No argument is ignored silently."""
    real_cloud = asked.cloud == "env"
    if asked.command == "run":
        if asked.scenario and asked.event:
            return "A scenario sends its own requests: set SCENARIO or EVENT, not both."
        if asked.scenario and real_cloud:
            return "Scenarios need the simulated cloud: leave out CLOUD=env."
        if asked.scenario and asked.scenario not in ("all", "list", *CATALOGUE):
            return f"There is no scenario {asked.scenario}; `make run SCENARIO=list` lists all scenarios."
        if real_cloud and not asked.event:
            return "The samples need the simulated cloud: with CLOUD=env, name your own event with EVENT=file.json."
    return check_cloud(os.environ) if real_cloud else None


def main() -> int:
    asked = arguments()
    os.environ |= past_proxies(os.environ)
    try:
        return carry_out(asked)
    except (SettingsError, PortTaken, NoEvents) as error:
        print(error, file=sys.stderr)
        return Exit.USAGE


def carry_out(asked: argparse.Namespace) -> int:
    """Raises SettingsError, PortTaken, NoEvents."""
    if trouble := objection(asked):
        print(trouble, file=sys.stderr)
        return Exit.USAGE
    match asked.command:
        case "send":
            return send(read_events(asked.event), asked.url, asked.secret)
        case "servers":
            return show(asked.cloud == "env", asked.json, asked.name)
        case "serve":
            return serve(asked.port, asked.cloud == "env", asked.json)
    if asked.scenario:
        return play(asked.scenario, asked.json)
    events = read_events(asked.event) if asked.event else None
    name = "stdin" if asked.event == STDIN else os.path.basename(asked.event or "")
    return run(events, name, asked.cloud == "env", asked.json)

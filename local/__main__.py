"""The commands behind `make run`, `make servers`, `make serve` and `make send`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from shared.settings import SettingsError
from tools.sender import LOCAL_SECRET, LOCAL_URL
from tools.sender import send as send_event


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="send events through the local stack and print the verdicts")
    run.add_argument("--event", type=Path, help="one event file instead of the samples in events/")
    run.add_argument("--scenario", help="a scenario by name, `all` of them, or `list`")
    servers = commands.add_parser("servers", help="list servers and their disks")
    serve = commands.add_parser("serve", help="keep the stack up, with the webhook door on a port of this machine")
    serve.add_argument("--port", type=int, default=8080)
    send = commands.add_parser("send", help="sign an event and post it to a webhook door")
    send.add_argument("--event", type=Path, required=True)
    send.add_argument("--url", default=LOCAL_URL)
    send.add_argument("--secret", default=os.environ.get("WEBHOOK_SECRET") or LOCAL_SECRET)
    for command in (run, servers, serve):
        command.add_argument("--cloud", choices=["simulator", "env"], default="simulator",
                             help="the simulated cloud, or the real one named by OS_… variables")  # fmt: skip
        command.add_argument("--json", action="store_true", help="one JSON object per line on stdout")
    asked = parser.parse_args(arguments)
    if asked.command == "run" and (trouble := does_not_go_together(asked)):
        print(trouble, file=sys.stderr)
        return 2
    if asked.command == "send":
        return send_event(asked.event, asked.url, asked.secret)
    real_cloud = asked.cloud == "env"
    # Imported when chosen: `servers` needs no AWS stand-in.
    if asked.command == "servers":
        from tools.servers import show

        return show(real_cloud, asked.json)
    if asked.command == "serve":
        from local.serve import serve as serve_door

        return serve_door(asked.port, real_cloud, asked.json)
    if asked.scenario:
        from local.play import play

        return play(asked.scenario, asked.json)
    from local.run import run as run_events

    return run_events(asked.event, real_cloud, asked.json)


def does_not_go_together(asked: argparse.Namespace) -> str | None:
    """None, or why not: nothing that was asked for is left out in silence."""
    if asked.scenario and asked.event:
        return "A scenario has requests of its own: name SCENARIO or EVENT, not both."
    if asked.scenario and asked.cloud == "env":
        return "Scenarios are played by the simulated cloud: leave out CLOUD=env."
    if asked.cloud == "env" and not asked.event:
        return "The samples are for the simulated cloud: with CLOUD=env name an event of yours, EVENT=file.json."
    return None


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except SettingsError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read our lines has had enough; nothing of theirs is lost.
        sys.stderr.close()
        sys.exit(141)

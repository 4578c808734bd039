"""`make bench`: measure, print the table, and write down what was measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.arena import arena
from benchmarks.chart import chart
from benchmarks.figures import as_json, machine, markdown, table
from benchmarks.measure import FULL, QUICK, Measurements
from local.artifact import BUILD

HERE = Path(__file__).parent
SHOWN = ("cold_start", "memory", "throughput", "calls_20", "billed_30", "billed_120")
"""What the chart shows; all of it stands in the table."""

METHOD = """
Everything runs on one machine: the cloud simulator and a moto server in one process, each handler in another, over
sockets of loopback; in turns, so that a busy moment meets all of them; medians.

- **conventional** is [`conventional.py`](conventional.py): boto3, openstacksdk and Powertools with clients that are
  kept, partial batch responses, the same checks and the same poll schedule, waiting inline. Its artifact is built the
  same way as this one, bytecode included; *sources only* is what an ordinary build ships.
- **cold start**: a fresh Lambda Runtime Interface Emulator with the built artifact, from the first invocation to its
  answer (runtime, imports, login, reads, verdict); **import** is the handler's in a bare process.
- **bare calls** are the same HTTP calls by hand over one `requests` session ([`floor.py`](floor.py)), in CPU time.
- **ideal** throughput is a batch in the time of one event's three reads, which need each other, and nothing else.
- **billed** and **API calls**: the cloud's clock, the queue's and the handlers' are one, and it is moved forward over
  time in which nobody works: what the conventional handler sleeps, and what a message of ours is delayed. Billed is
  the measured time of all invocations, with 50 ms for each call to the cloud, plus what was slept in them.
- **cloud finished → verdict**: detaches of 1 to 60 s, from the moment both planes let go to the event on the bus.
- **growth**: one process, batches of ten one after another; CPU against that of the bare calls at the same moment.

What falls short, and why:

- **cold start, import**: *import of its libraries alone* is the agreed libraries without a line of this product. They
  take the whole aim by themselves. What is added on top (`shared` in the list below) is mostly the making of some sixty
  frozen dataclasses and pydantic models.
- **CPU per event, batch of 1**: the bare calls have no login to look after, no evidence to keep, no logs, no metrics.
  By cProfile a fifth of what is added is keystoneauth1's session around `requests`, a fifth metrics, a tenth log
  lines; the rest is spread thin over reading, deciding and the event. A batch shares some of it.
"""


def profiles(more: Mapping[str, Any]) -> str:
    """Where the time of both imports goes."""
    told = [
        f"- {name}: " + ", ".join(f"{package} {took:g}" for package, took in list(by_package.items())[:12])
        for name, by_package in more["import_profile"].items()
    ]
    return "\n".join(["", "Milliseconds of the handler's import by package, each module's fastest of five:", "", *told])


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a slice of less than a minute, written to build/ only")
    quick = parser.parse_args().quick
    told_by, more = machine(), dict[str, Any]()
    found = []
    with arena() as up:
        for figure in Measurements(up, QUICK if quick else FULL, more).all():
            print(table([figure]).splitlines()[1], file=sys.stderr, flush=True)
            found.append(figure)
    print(table(found))
    into = BUILD if quick else HERE
    (into / "results.json").write_text(as_json(found, told_by, more))
    if not quick:
        (into / "results.md").write_text(markdown(found, told_by, METHOD + profiles(more)))
        (into / "results.svg").write_text(chart([figure for key in SHOWN for figure in found if figure.key == key]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

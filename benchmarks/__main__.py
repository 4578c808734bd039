"""`make bench`: measure, print the table, and write down what was measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.arena import arena
from benchmarks.chart import chart
from benchmarks.figures import Figure, as_json, machine, markdown, table
from benchmarks.measure import FULL, QUICK, Measurements
from tools.artifact import BUILD

HERE = Path(__file__).parent
SHOWN = ("cold_start", "memory", "throughput", "calls_20", "billed_30", "billed_120")
"""What the chart shows; all of it stands in the table."""

METHOD = """
Everything runs on one machine: the cloud simulator and a moto server in one process, each handler in another, over
sockets of loopback; in turns, so that a busy moment meets all of them; medians.

- **conventional** is [`conventional.py`](conventional.py): boto3, openstacksdk and Powertools with clients that are
  kept, partial batch responses, the same checks and the same poll schedule, waiting inline. Its artifact is built the
  same way as this one, bytecode included, but for `charset_normalizer`, which it keeps, as an ordinary build does;
  *sources only* is what such a build ships.
- **cold start**: a fresh Lambda Runtime Interface Emulator with the built artifact, from the first invocation to its
  answer (runtime, imports, login, reads, verdict); **import** is the handler's in a bare process.
- **bare calls** are the same HTTP calls by hand over one `requests` session ([`floor.py`](floor.py)), in CPU time.
- **ideal** throughput is a batch in the time of one event's three reads, which need each other, and nothing else.
- **billed** and **API calls**: the cloud's clock, the queue's and the handlers' are one, and it is moved forward over
  time in which nobody works: what the conventional handler sleeps, and what a message of ours is delayed. Billed is
  the measured time of all invocations, with 50 ms for each call to the cloud, plus what was slept in them.
- **cloud finished → verdict**: detaches of 1 to 60 s, from the moment both planes let go to the event on the bus.
- **growth**: one process, batches of ten one after another, each row 27 of them; CPU against that of the bare calls at
  the same moment, since a machine that others use is not as fast at all times. The conventional handler is stopped
  after 150 s, before it has done 10,000.
"""


REASONS = {"cold_start": "import", "import": "import", "import_cpu": "import", "cpu_1": "event", "cpu_10": "event"}
"""Why a figure may fall short; for one that is not among them nothing has been measured that would say."""

WHY = {
    "import": "*import of its libraries alone* is the agreed libraries without a line of this product. Most of the "
    "rest is the making of some sixty frozen dataclasses and pydantic models (`shared` in the first list below).",
    "event": "the bare calls have no login to look after, no evidence to keep, no logs, no metrics; the second list "
    "below says what takes how much. A batch shares some of it.",
}


def shortfalls(found: Sequence[Figure]) -> str:
    """Each aim that was missed, with what is known of why."""
    missed = [figure for figure in found if figure.met is False]
    if not missed:
        return "\nEvery aim is met.\n"
    told = [f"- **{one.title}**: {WHY.get(REASONS.get(one.key, ''), 'why is not known yet.')}" for one in missed]
    return "\n".join(["", "What falls short, and why:", "", *told, ""])


def profiles(more: Mapping[str, Any]) -> str:
    """Where the time of both imports, and that of an event, goes."""
    imports = [f"- {name}: {listed(by_package)}" for name, by_package in more["import_profile"].items()]
    return "\n".join(
        [
            "",
            "Milliseconds of the handler's import by package, each module's fastest of five:",
            "",
            *imports,
            "",
            "Per cent of an event's CPU time, by package, under cProfile (which makes small functions dear):",
            "",
            f"- product: {listed(more['cpu_profile'])}",
        ]
    )


def listed(by_package: Mapping[str, float]) -> str:
    return ", ".join(f"{package} {took:g}" for package, took in list(by_package.items())[:12])


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
        (into / "results.md").write_text(markdown(found, told_by, METHOD + shortfalls(found) + profiles(more)))
        (into / "results.svg").write_text(chart([figure for key in SHOWN for figure in found if figure.key == key]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

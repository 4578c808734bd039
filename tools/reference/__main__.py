"""Print a reference: `python -m tools.reference parameters|telemetry|permissions`, as make has them."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from local.interrupts import carried_out
from tools.costs.measured import our_template
from tools.exit_status import Exit
from tools.reference.parameters import parameters
from tools.reference.permissions import permissions
from tools.reference.telemetry import telemetry

REFERENCES: Mapping[str, Callable[[], str]] = {
    "parameters": lambda: parameters(our_template()),
    "permissions": permissions,
    "telemetry": telemetry,
}


def main(given: Sequence[str] | None = None) -> Exit:
    parser = argparse.ArgumentParser(prog="python -m tools.reference", description=__doc__)
    parser.add_argument("reference", choices=REFERENCES)
    print(REFERENCES[parser.parse_args(given).reference]())
    return Exit.DETACHED


if __name__ == "__main__":
    sys.exit(carried_out(main))

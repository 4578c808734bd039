"""Entry point of `make run`, `make servers`, `make serve` and `make send`; see `--help`."""

import sys

from local.interrupts import carried_out


def main() -> int:
    from local.commands import main as run  # slow to import; Ctrl-C must work meanwhile

    return run()


if __name__ == "__main__":
    sys.exit(carried_out(main))

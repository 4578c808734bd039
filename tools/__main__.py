"""Entry point of `python -m tools detach|status|pause|resume|drain|rollback|remove|schemas …`; see `--help`."""

import sys

from local.interrupts import carried_out


def main() -> int:
    from tools.commands import main as run  # slow to import; Ctrl-C must work meanwhile

    return run()


if __name__ == "__main__":
    sys.exit(carried_out(main))

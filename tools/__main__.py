"""`python -m tools detach|status|pause|resume|drain|rollback|remove|schemas …`; `--help` tells more."""

import sys

from local.interrupts import carried_out


def main() -> int:
    from tools.commands import main as run  # it loads much, and may be interrupted meanwhile

    return run()


if __name__ == "__main__":
    sys.exit(carried_out(main))

"""Start and end of every command: signals, standard streams, and unexpected errors."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

STOPPED = "Stopped before anything was asked for."
USAGE = 2


def carried_out(run: Callable[[], int]) -> int:
    """Run a command and return its exit status. The command itself cleans up when it is interrupted.

    The first Ctrl-C or SIGTERM stops the command; later ones are ignored, so that it can clean up. Both signals are
    handled from the start, because a process that a script starts in the background ignores SIGINT, and imports are
    slow.
    """
    _have_streams()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _once)
    try:
        return run()
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        # The reader has closed the pipe.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of this process
        return 141
    except Exception as error:  # noqa: BLE001 - the user gets a sentence, not a traceback
        print(unexpected(error), file=sys.stderr)
        return USAGE


def unexpected(error: BaseException) -> str:
    """One sentence about an unexpected error."""
    said = " ".join(str(error).split()) or "no message"
    if isinstance(error, ModuleNotFoundError):
        return f"This Python lacks a package ({said}): run `make setup`, and use .venv/3.11/bin/python."
    return f"This command failed unexpectedly ({type(error).__name__}: {said[:300]}): please report it."


def _have_streams() -> None:
    """Replace closed standard streams, and let the others replace characters that their encoding lacks."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - as above
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - as above
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt

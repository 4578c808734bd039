"""The way in and out of every command: signals, streams and errors that nobody expected."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

STOPPED = "Stopped before anything was asked for."
USAGE = 2


def carried_out(run: Callable[[], int]) -> int:
    """The exit status of a command, which itself takes care of what is under way when it is interrupted.

    The first Ctrl-C or SIGTERM stops what goes on, and the next ones do not cut short how it is stopped. Both are
    caught from the start: a process that a script starts in the background ignores SIGINT, and loading takes time.
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
        # Whoever read our lines has had enough; nothing of theirs is lost.
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the rest of this process
        return 141
    except Exception as error:  # noqa: BLE001 - a person gets a sentence, whatever it is
        print(unexpected(error), file=sys.stderr)
        return USAGE


def unexpected(error: BaseException) -> str:
    """One sentence about what should not have happened."""
    said = " ".join(str(error).split()) or "without a word"
    return f"This command failed unexpectedly ({type(error).__name__}: {said[:300]}): please report it."


def _have_streams() -> None:
    """A stream that was closed leads nowhere; for what an encoding does not have a sign is shown."""
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

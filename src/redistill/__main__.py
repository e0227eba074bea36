"""The command ``redistill``, also as ``python -m redistill``: what must be in place before anything else is imported."""

import os
import signal
import sys


def _stopped(number, frame):  # type: ignore[no-untyped-def]  # nothing is imported for its types
    """Ctrl-C until a command watches signals itself. An exception could be swallowed by whatever is being imported just now.

    Nothing can be lost: whatever is written is replaced in one step.
    """
    try:
        sys.stdout.flush()
    except Exception:  # the signal may have come in the middle of a print
        pass
    try:
        os.write(2, (b"\x1b[?25h\n" if os.isatty(2) else b"") + b"redistill: stopped\n")
    except OSError:
        pass
    os._exit(128 + number)


def main() -> None:
    """The entry point."""
    signal.signal(signal.SIGINT, _stopped)
    if os.environ.get("REDISTILL_LIFELINE"):
        from redistill.jobs import end_with_parent

        end_with_parent()
    from redistill.cli import main as command

    command()


if __name__ == "__main__":
    # python -m puts the current folder first, and whatever lies there would be imported in place of a library
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        here = ""
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", here):
        del sys.path[0]
    main()

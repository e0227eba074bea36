"""Signals and time budgets: a request to stop is noted at once and obeyed at the next step boundary."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import time
from types import FrameType, TracebackType
from typing import Any

from redistill.errors import RedistillError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: not an error, run the same command again


class Interrupted(RedistillError):
    """A run stopped at a step boundary and can go on; ``status`` is the exit status a command should end with."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


def seconds(text: str) -> float:
    """A length of time: ``90``, ``90s``, ``30m``, ``1h30m``, ``2d``.

    >>> seconds("1h30m"), seconds("45")
    (5400.0, 45.0)
    """
    units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    # matched without going back: a long run of digits takes no time
    if not re.fullmatch(r"\s*+(?:\d++(?:\.\d++)?[dhms]?\s*+)++", text):
        raise RedistillError(f"{text!r} is no length of time: write 90s, 30m, 1h30m or 2d")
    return sum(float(number) * units[unit or "s"] for number, unit in re.findall(r"([\d.]+)([dhms]?)", text))


class Stop:
    """Watches signals and the clock while it is entered.

    Args:
        budget: seconds from now until a stop is asked for; None: no limit.
        listen: take over SIGINT, SIGTERM, SIGUSR1 and SIGHUP (a closed terminal; not below nohup). The first one asks for a stop,
            the second ends the process at once; what is on disk is whole either way.
    """

    def __init__(self, budget: float | None = None, *, listen: bool = False):
        self.deadline = None if budget is None else time.monotonic() + budget
        self.listen = listen
        self.signal: signal.Signals | None = None
        self.with_us: set[int] = set()  # processes that end when this one is made to end at once
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if self.listen:
            for number in SIGNALS:
                if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                    continue
                self._before[number] = signal.signal(number, self._asked)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _asked(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            for process in self.with_us:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            # the second time: now. Files are replaced in one step, so nothing can be left half-written under its name
            with contextlib.suppress(OSError):  # the terminal may be gone
                os.write(2, (b"\x1b[?25h\n" if sys.stderr.isatty() else b"") + b"stopped at once; the last checkpoint is intact\n")
            os._exit(128 + number)
        self.signal = signal.Signals(number)

    @property
    def why(self) -> str | None:
        """The reason to stop, or None to go on."""
        if self.signal is not None:
            return self.signal.name
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return "the time budget is used up"
        return None

    @property
    def status(self) -> int:
        """Exit status: 130, 143 and 129 as shells expect after SIGINT, SIGTERM and SIGHUP, 75 (try again) otherwise."""
        return TRY_AGAIN if self.signal in (None, signal.SIGUSR1) else 128 + self.signal

    def check(self, what: str = "nothing is half-done") -> None:
        """Raise :class:`Interrupted` if a stop was asked for."""
        if (reason := self.why) is not None:
            raise Interrupted(f"stopped ({reason}): {what}; run the same command again to go on", self.status)

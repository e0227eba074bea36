"""The loop's own numbers to trackers (:mod:`redistill.launch.trackers`), at the end of every epoch.

A tracker works in a thread of its own and is never waited for but at the end, for :data:`PATIENCE` seconds at most: one that is missing,
fails or hangs is a warning, and the run goes on. Which step was sent last stands in ``tracked-NAME.json`` of the run's folder *before* it
is sent, so that a run that goes on from a checkpoint sends no point twice (killed between the two, it lacks that one). What a tracker
that failed did not get, it gets from the next process.
"""

from __future__ import annotations

import json
import math
import queue
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from redistill.errors import sentence
from redistill.files import UNREADABLE, pretty, there, write
from redistill.launch.trackers import OPEN, Tracked, Tracker, missing

PATIENCE = 30.0  # seconds that the end of a run waits for its trackers: some take ten to begin
LESS = 1.0  # and for one that was waited for in vain before, by the same process
Numbers = dict[str, float]
_IN_VAIN: set[str] = set()


class TrackWarning(UserWarning):
    """A tracker that does not work; the run does."""


def warned(text: str) -> None:
    """A warning, where nobody shows sentences."""
    warnings.warn(text, TrackWarning, stacklevel=3)


def points(loop: Any, number: int, since: int = 0) -> dict[int, Numbers]:
    """What is known of a student after step ``since``, by the step it is of: losses, rate, accuracies, what its source says."""
    student = loop.students[number]
    found: dict[int, Numbers] = {}
    first = since // loop.per_epoch
    for epoch, losses in enumerate(student.losses[first:], first):
        step = min((epoch + 1) * loop.per_epoch, loop.steps)
        row = found.setdefault(step, {})
        row["loss"] = sum(w * v for w, v in zip(student.weights[step - 1], losses, strict=True))
        row |= {f"loss/{name}": value for name, value in zip(student.method.names, losses, strict=True)}
        row["rate"] = loop.schedule.rates[step - 1]
        if epoch < len(student.gradient_norms):
            row["gradient_norm"] = student.gradient_norms[epoch]
    for name, curve in student.curves.items():
        for step, value in curve:
            found.setdefault(step, {})[f"accuracy/{name}"] = value
    for step, numbers in loop.source_log:
        found.setdefault(step, {}).update({f"source/{name}": value for name, value in numbers.items()})
    rows = sorted((step, row) for step, row in found.items() if step > since)
    return {step: {name: float(v) for name, v in row.items() if math.isfinite(v)} for step, row in rows}


class _Sender(threading.Thread):
    """One tracker of one run at work. ``began``: the last step that it had when it was opened. ``problem``: why it stopped."""

    def __init__(self, name: str, run: Tracked):
        super().__init__(daemon=True, name=f"{name} of {run.name}")
        self.tracker, self.run_of, self.problem = name, run, ""
        self._place = None if run.folder is None else run.folder / f"tracked-{name}.json"
        self._id, self.began = self._noted()
        self.waiting: queue.SimpleQueue[tuple[int, Numbers] | None] = queue.SimpleQueue()

    def _noted(self) -> tuple[str | None, int]:
        if self._place is not None and there(self._place):
            try:
                noted = json.loads(self._place.read_bytes())
                return noted["id"], int(noted["step"])
            except (OSError, *UNREADABLE, KeyError, TypeError, ValueError):
                pass  # cut off by a full disk: as if nothing was sent
        return None, 0

    def _note(self, step: int) -> None:
        if self._place is not None:
            write(self._place, pretty({"id": self._id, "step": step}))

    def give(self, step: int, numbers: Numbers) -> None:
        """Queue one point; a tracker that gets none is not opened."""
        if self.ident is None:
            self.start()
        self.waiting.put((step, numbers))

    def run(self) -> None:
        try:
            tracker = OPEN[self.tracker](self.run_of, self._id, self.began)
            self._id = tracker.id
            self._send(tracker)
            tracker.close()
        except (Exception, SystemExit) as error:
            self.problem = f"{self.tracker} does not work ({sentence(error)}): the run goes on without it"

    def _send(self, tracker: Tracker) -> None:
        before = self.began
        while (item := self.waiting.get()) is not None:
            step, numbers = item
            self._note(step)
            try:
                tracker.log(step, numbers)
                tracker.flush()
            except BaseException:
                self._note(before)
                raise
            before = step


class Tracking:
    """The trackers of all students of a loop.

    Args:
        names: of trackers. runs: one a student. warn: takes a sentence about a tracker that does not work.
    """

    def __init__(self, names: Sequence[str], runs: Sequence[Tracked], warn: Callable[[str], None] = warned):
        self._warn, self._warned = warn, set[str]()
        self._senders: list[list[_Sender]] = [[] for _ in runs]
        self._queued: list[int] = [0] * len(runs)
        self._seen = (-1, -1)
        for name in names:
            if (why := missing(name)) is not None:
                self._say(why)
                continue
            for own, run in zip(self._senders, runs, strict=True):
                own.append(_Sender(name, run))

    def look(self, loop: Any) -> None:
        """Send what is new of a loop between two of its steps; cheap where nothing is."""
        try:
            self._look(loop)
        except Exception as error:  # whatever it is, the run is worth more
            self._say(f"nothing more is tracked ({sentence(error)}): the run goes on")
            self._senders = [[] for _ in self._senders]

    def _look(self, loop: Any) -> None:
        if not any(self._senders):
            return
        seen = sum(len(s.losses) for s in loop.students), sum(len(c) for s in loop.students for c in s.curves.values())
        if seen == self._seen:
            return
        self._seen = seen
        for number, own in enumerate(self._senders):
            for step, numbers in points(loop, number, self._queued[number]).items():
                self._queued[number] = step
                for sender in own:
                    if step > sender.began:
                        sender.give(step, numbers)
        self._listen()

    def close(self) -> None:
        """Let the trackers end, for a while."""
        began = time.monotonic()
        started = [one for own in self._senders for one in own if one.ident is not None]
        for sender in started:
            sender.waiting.put(None)
        for sender in started:
            patience = min(PATIENCE, LESS) if sender.tracker in _IN_VAIN else PATIENCE
            sender.join(max(0.0, began + patience - time.monotonic()))
            if sender.is_alive():
                _IN_VAIN.add(sender.tracker)
                self._say(f"{sender.tracker} did not take all points within {patience:g} s: it is left")
        self._listen()
        self._senders = [[] for _ in self._senders]

    def _listen(self) -> None:
        for sender in (one for own in self._senders for one in own):
            if sender.problem:
                self._say(sender.problem)

    def _say(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            self._warn(text)

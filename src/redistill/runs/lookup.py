"""Runs found by what was asked of them, and when a run is stale."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import RedistillError
from redistill.files import UNREADABLE, canonical, digest
from redistill.identity import identity
from redistill.package_code import package_sha256
from redistill.runs.record import differing
from redistill.runs.store import Damaged, Run, Store, Unfinished
from redistill.runs.store import stale as other_weights

if TYPE_CHECKING:
    from redistill.experiment.value import Experiment


def numbers_of(run: Run) -> dict[str, Any]:
    """What of a record must be the same wherever the run lies: the numbers."""
    return {name: run.record[name] for name in ("accuracy", "diverged", "steps")}


def elsewhere(one: Run, two: Run) -> str | None:
    """Why two records of one run may tell different things, or None where bit-identity is promised.

    Another number of threads, processor or version of torch adds in another order; a run that was continued on another machine,
    or after its teacher was trained again, is promised nothing.
    """
    first, second = (run.record["sessions"][0]["hardware"] for run in (one, two))
    if (machines := differing(first, second)) is not None:
        return machines.replace("(here ", "(there ")
    why = ((run, run.record["exact"].removeprefix("no: ").partition(":")[0]) for run in (one, two) if run.record["exact"] != "yes")
    return next((f"{run.folder} was {reason}" for run, reason in why), None)


def asked(written: Any) -> Any:
    """What of a written experiment was asked for, without what followed from device and version."""
    if isinstance(written, Mapping):
        return {name: asked(value) for name, value in written.items() if name not in ("arithmetic", "numerics")}
    return [asked(value) for value in written] if isinstance(written, list | tuple) else written


def wanted(written: Mapping[str, Any]) -> dict[str, Any]:
    """What tells one cell from another, on whatever device and by whatever version it is run."""
    return identity(asked({name: value for name, value in written.items() if name != "seed"}))


def stale(run: Run, experiment: Experiment | None, store: Store) -> str | None:
    """Why a run is out of date, or None: its formulas have changed since, or a network that it used has other weights by now.

    Args:
        experiment: what was asked, as it is read today; None where it cannot be read any more, then only weights are looked at.
    """
    if experiment is not None:
        before, now = run.record["experiment"]["numerics"], experiment.numerics
        if before != now:
            moved = [f"{n} {before.get(n, '-')} -> {now.get(n, '-')}" for n in sorted({*before, *now}) if before.get(n) != now.get(n)]
            return f"its formulas have changed since: {', '.join(moved)}"
    return other_weights(run, store)


class Today:
    """Which runs of a store are out of date by the code as it is today; each cell is read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.read: dict[str, Experiment | None] = {}

    def stale(self, run: Run) -> str | None:
        """Why a run is out of date, or None, as :func:`stale`; what this very code wrote need not be read again to know."""
        if run.entry.versions.get("package") == package_sha256():
            return other_weights(run, self.store)
        return stale(run, self._experiment(run), self.store)

    def _experiment(self, run: Run) -> Experiment | None:
        """None where it cannot be read any more (code or data of one's own that is gone)."""
        from redistill.experiment.value import Experiment

        if run.cell not in self.read:
            try:
                self.read[run.cell] = Experiment.of(asked(run.record["experiment"]))
            except (RedistillError, OSError):
                self.read[run.cell] = None
        return self.read[run.cell]


class Found:
    """The runs of a store by what was asked, so that a run counts on whatever device it was made.

    A run whose formulas have changed since, or a network of which has, is found and is *stale*.

    Attributes:
        notes: run id -> a sentence, where records of one run tell different things because they were made with another number
            of threads, or on another machine. Both stand; the one in the run's own folder counts, else the first.

    Raises:
        RedistillError: a record that cannot be used (damaged, altered, of a newer version), or two records of one run that
            tell different things though they were made alike.
    """

    def __init__(self, store: Store):
        self.store = store
        self.runs: dict[tuple[str, int], list[Run]] = {}
        self.begun: dict[str, set[int]] = {}
        self.notes: dict[str, str] = {}
        known: dict[str, list[Run]] = {}
        for run in store.runs():
            if isinstance(run, Damaged):
                raise RedistillError(run.why)
            if isinstance(run, Unfinished):
                with suppress(*UNREADABLE):  # what is no experiment of ours was begun for no cell; it hides no other run
                    self.begun.setdefault(self._key(run.experiment or {}), set()).add(int((run.experiment or {})["seed"]))
                continue
            twins = known.setdefault(run.id, [])
            if others := [twin for twin in twins if numbers_of(twin) != numbers_of(run)]:
                self._settle([*others, run])
            twins.append(run)
            self.runs.setdefault((self._key(run.record["experiment"]), run.seed), []).append(run)

    def _settle(self, twins: list[Run]) -> None:
        """Records of one run of which the last tells other things: a note where that may be, else a refusal."""
        *others, last = twins
        for one in others:
            if elsewhere(one, last) is None:
                raise RedistillError(
                    f"{one.folder} and {last.folder} are both run {one.id} and tell different things: a run is a fact, so one "
                    f"of them was changed or made elsewhere; move it out of {self.store.root}"
                )
        counts, other, *_ = sorted(twins, key=self._rank)
        self.notes[last.id] = (
            f"{counts.folder} and {other.folder} are both run {last.id} and tell different things, as they may "
            f"({elsewhere(counts, other) or elsewhere(other, last)}): the first counts"
        )

    def _rank(self, run: Run) -> tuple[bool, Path]:
        """Of records of one run, that in its own folder comes first."""
        return run.folder != self.store.root / run.cell / f"seed-{run.seed}", run.folder

    def _key(self, written: Mapping[str, Any]) -> str:
        return digest(canonical(wanted(written)))

    def find(self, one: Experiment) -> Run | None:
        """Its own run where that is there, else one that was asked the same; fresh ones first."""
        runs = self.runs.get((self._key(one.written(seed=False)), one.seed), [])
        return min(runs, key=lambda run: (run.id != one.id, self.stale(run, one), self._rank(run)), default=None)

    def fresh(self, one: Experiment) -> Run | None:
        """The same where that is not out of date."""
        run = self.find(one)
        return None if run is None or self.stale(run, one) else run

    def seeds(self, one: Experiment) -> list[int]:
        """Every seed of its cell with a finished run, the diverged ones too."""
        key = self._key(one.written(seed=False))
        return sorted(seed for cell, seed in self.runs if cell == key)

    def unfinished(self, one: Experiment) -> list[int]:
        """Seeds of its cell that were begun and have no finished run."""
        return sorted(self.begun.get(self._key(one.written(seed=False)), set()) - set(self.seeds(one)))

    def stale(self, run: Run, one: Experiment) -> bool:
        return stale(run, one, self.store) is not None

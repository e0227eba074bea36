"""Runs found by what was asked of them, and when a run is stale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redistill.errors import RedistillError
from redistill.experiment.value import Experiment, identity
from redistill.files import canonical, digest
from redistill.runs.store import Damaged, Run, Store, Unfinished
from redistill.runs.store import stale as other_weights


def told(run: Run) -> dict[str, Any]:
    """What of a record must be the same wherever the run lies: the numbers."""
    return {name: run.record[name] for name in ("accuracy", "diverged", "steps")}


def asked(written: Any) -> Any:
    """What of a written experiment was asked for, without what followed from device and version."""
    if isinstance(written, Mapping):
        return {name: asked(value) for name, value in written.items() if name not in ("arithmetic", "numerics")}
    return [asked(value) for value in written] if isinstance(written, list | tuple) else written


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
    """The experiments of records as they are read today, each cell once."""

    def __init__(self) -> None:
        self.read: dict[str, Experiment | None] = {}

    def __call__(self, run: Run) -> Experiment | None:
        """None where it cannot be read any more (code or data of one's own that is gone)."""
        if run.cell not in self.read:
            try:
                self.read[run.cell] = Experiment.of(asked(run.record["experiment"]))
            except (RedistillError, OSError):
                self.read[run.cell] = None
        return self.read[run.cell]


class Found:
    """The runs of a store by what was asked, so that a run counts on whatever device it was made.

    A run whose formulas have changed since, or a network of which has, is found and is *stale*.

    Raises:
        RedistillError: a record that cannot be used (damaged, altered, of a newer version), or two records of one run that
            tell different things.
    """

    def __init__(self, store: Store):
        self.store = store
        self.runs: dict[tuple[str, int], list[Run]] = {}
        self.begun: dict[str, set[int]] = {}
        known: dict[str, Run] = {}
        for run in store.runs():
            if isinstance(run, Damaged):
                raise RedistillError(run.why)
            if isinstance(run, Unfinished):
                if run.experiment is not None and "seed" in run.experiment:
                    self.begun.setdefault(self._key(run.experiment), set()).add(int(run.experiment["seed"]))
                continue
            twin = known.setdefault(run.id, run)
            if told(twin) != told(run):
                raise RedistillError(
                    f"{twin.folder} and {run.folder} are both run {run.id} and tell different things: a run is a fact, so one "
                    f"of them was changed or made elsewhere; move it out of {store.root}"
                )
            self.runs.setdefault((self._key(run.record["experiment"]), run.seed), []).append(run)

    def _key(self, written: Mapping[str, Any]) -> str:
        return digest(canonical(identity(asked({name: value for name, value in written.items() if name != "seed"}))))

    def find(self, one: Experiment) -> Run | None:
        """Its own run where that is there, else one that was asked the same; fresh ones first."""
        runs = self.runs.get((self._key(one.written(seed=False)), one.seed), [])
        return min(runs, key=lambda run: (run.id != one.id, self.stale(run, one), run.folder), default=None)

    def seeds(self, one: Experiment) -> list[int]:
        """Every seed of its cell with a finished run, the diverged ones too."""
        key = self._key(one.written(seed=False))
        return sorted(seed for cell, seed in self.runs if cell == key)

    def unfinished(self, one: Experiment) -> list[int]:
        """Seeds of its cell that were begun and have no finished run."""
        return sorted(self.begun.get(self._key(one.written(seed=False)), set()) - set(self.seeds(one)))

    def stale(self, run: Run, one: Experiment) -> bool:
        return stale(run, one, self.store) is not None

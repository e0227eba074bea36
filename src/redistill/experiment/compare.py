"""In what two finished runs differ: switches, weights, curves, data, versions, machine, time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redistill.experiment.files import read
from redistill.experiment.record import Origin, Record
from redistill.experiment.store import Run
from redistill.experiment.trajectory import all_differences, difference, largest_difference
from redistill.experiment.value import identity
from redistill.tensor_files import tensors_of

MATTERS = ("switches", "weights", "curves", "accuracy", "data", "teacher", "start", "adapters")
"""What bit-identity is about; versions, machine and time may differ between equal runs."""


@dataclass(frozen=True)
class Difference:
    """One entry in which two runs differ. ``a`` or ``b`` is None where only the other has it."""

    part: str
    where: str
    a: Any
    b: Any

    @property
    def matters(self) -> bool:
        return self.part in MATTERS


def _machine(record: Record) -> dict[str, Any]:
    git = None if record.git is None else record.git.model_dump()
    return {"hardware": record.sessions[-1]["hardware"], "exact": record.exact, "git": git}


def _origins(one: Origin | None, two: Origin | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two networks that were used: their tensors where both records have their SHA-256, else their files."""
    leave = {"path", "folder"}
    leave |= {"sha256"} if one is not None and two is not None and one.weights_sha256 and two.weights_sha256 else {"weights_sha256"}
    rows = [{} if each is None else each.model_dump(exclude=leave, exclude_unset=True) for each in (one, two)]
    return rows[0], rows[1]


def _adapters(record: Record) -> dict[str, Any]:
    """What the terms keep, and the places they read."""
    return {"sha256": record.method_sha256, "pairs": record.pairs}


def _accuracy(record: Record) -> dict[str, Any]:
    return {**{name: found.model_dump() for name, found in record.accuracy.items()}, "diverged": record.diverged}


def differences(a: Run, b: Run) -> list[Difference]:
    """Everything in which two runs differ: what matters first, then in the order of parts and names."""
    one, two = a.entry, b.entry
    parts: list[tuple[str, Any, Any]] = [
        ("switches", identity(one.experiment), identity(two.experiment)),
        ("data", one.data, two.data),
        ("teacher", *_origins(one.teacher, two.teacher)),
        ("start", *_origins(one.start, two.start)),
        ("accuracy", _accuracy(one), _accuracy(two)),
        ("adapters", _adapters(one), _adapters(two)),
        ("versions", one.versions, two.versions),
        ("machine", _machine(one), _machine(two)),
        ("time", one.time.model_dump(), two.time.model_dump()),
    ]
    found = [Difference(part, *row) for part, x, y in parts for row in sorted(all_differences(x, y), key=lambda row: row[0])]
    if one.weights_sha256 != two.weights_sha256:
        mine, theirs = (tensors_of(read(path := run.weights()), path) for run in (a, b))
        says = largest_difference(mine, theirs) or "the weights files differ"
        found.append(Difference("weights", says, one.weights_sha256[:12], two.weights_sha256[:12]))
    if (first := difference(a.curves(), b.curves())) is not None:
        found.append(Difference("curves", first, None, None))
    return sorted(found, key=lambda d: not d.matters)

"""In what two finished runs differ: switches, weights, curves, data, versions, machine, time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import safetensors.torch

from redistill.experiment.files import read
from redistill.experiment.store import Run
from redistill.experiment.trajectory import all_differences, difference
from redistill.experiment.value import identity

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


def _machine(run: Run) -> dict[str, Any]:
    sessions = run.record["sessions"]
    return {"hardware": sessions[-1]["hardware"], "exact": run.record["exact"], "git": run.record["git"]}


def _teacher(run: Run) -> dict[str, Any]:
    found = run.record.get("teacher") or {}
    return {key: value for key, value in found.items() if key not in ("path", "folder")}


def _adapters(run: Run) -> dict[str, Any]:
    """What the terms keep, and the places they read."""
    return {"sha256": run.record["method_sha256"], "pairs": run.record.get("pairs", {})}


def differences(a: Run, b: Run) -> list[Difference]:
    """Everything in which two runs differ, what matters first."""
    one, two = a.record, b.record
    parts: list[tuple[str, Any, Any]] = [
        ("switches", identity(one["experiment"]), identity(two["experiment"])),
        ("data", one["data"], two["data"]),
        ("teacher", _teacher(a), _teacher(b)),
        ("accuracy", {**one["accuracy"], "diverged": one["diverged"]}, {**two["accuracy"], "diverged": two["diverged"]}),
        ("adapters", _adapters(a), _adapters(b)),
        ("versions", one["versions"], two["versions"]),
        ("machine", _machine(a), _machine(b)),
        ("time", one["time"], two["time"]),
    ]
    found = [Difference(part, *row) for part, x, y in parts for row in all_differences(x, y)]
    if one["weights_sha256"] != two["weights_sha256"]:
        mine, theirs = (safetensors.torch.load(read(run.weights())) for run in (a, b))
        says = difference(mine, theirs) or "the weights files differ"
        found.append(Difference("weights", says, one["weights_sha256"][:12], two["weights_sha256"][:12]))
    if (first := difference(a.curves(), b.curves())) is not None:
        found.append(Difference("curves", first, None, None))
    return sorted(found, key=lambda d: not d.matters)

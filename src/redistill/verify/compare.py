"""Computed arrays against expected ones: nothing expected may be missing, every array has its tolerance."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from redistill.verify.reader import Array, Case, Damaged, number

EXPECTED = ("out/", "grad/", "after/")


@dataclass(frozen=True)
class Compared:
    """One array: its relative error and the largest allowed."""

    array: str
    error: float
    tolerance: float

    @property
    def ratio(self) -> float:
        return self.error / self.tolerance

    @property
    def passed(self) -> bool:
        return self.error <= self.tolerance


def relative_error(got: Array, want: Array) -> float:
    """max |got - want| / max |want|; infinite where the shapes differ or a number is not finite."""
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    if got.shape != want.shape or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return float("inf")
    if want.size == 0:
        return 0.0
    return float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-30))


def row_error(got: Array, want: Array) -> float:
    """The rule for checksums [n, 3]: each row against its own largest entry, at least 1e-3 of the whole array's."""
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    if got.shape != want.shape or not (np.isfinite(got).all() and np.isfinite(want).all()):
        return float("inf")
    scale = np.maximum(np.abs(want).max(axis=1), max(1e-3 * float(np.abs(want).max()), 1e-30))
    return float((np.abs(got - want).max(axis=1) / scale).max())


def compare(case: Case, computed: Mapping[str, Tensor | Array]) -> list[Compared]:
    """Every ``out/``, ``grad/`` and ``after/`` array, and every number of the sidecar, against what was computed.

    An expected array that was not computed counts as an infinite error.
    """
    tolerances = (case.meta.get("tolerances") or {}).get("float64") or {}
    loose: dict[str, Any] = {"loss": tolerances.get("loss"), "grad": tolerances.get("grad", tolerances.get("loss"))}
    if loose["loss"] is None:
        raise Damaged("the sidecar gives no float64 tolerance")
    got = {n: v.detach().numpy() if isinstance(v, Tensor) else np.asarray(v) for n, v in computed.items()}
    zero = {f"grad/{name}" for name in case.meta.get("zero_gradients", ())}
    found = []
    for name, want in case.arrays.items():
        if not name.startswith(EXPECTED):
            continue
        tolerance = loose["grad" if name.startswith("grad/") or "grad" in name.rsplit("/", 1)[-1] else "loss"]
        if name not in got:
            error = float("inf")
        elif name in zero:
            # vanishes analytically: rounding noise is measured against the other gradients
            scale = float(case.meta.get("grad_scale", 0.0))
            if not scale > 0:
                raise Damaged("zero_gradients needs a grad_scale above 0")
            usable = got[name].shape == want.shape and np.isfinite(got[name]).all()
            error = float(np.abs(got[name]).max() / scale) if usable else float("inf")
        elif name.endswith("_checksums"):
            error = row_error(got[name], want)
        else:
            error = relative_error(got[name], want)
        found.append(Compared(name, error, tolerance))
    return found + _written_numbers(case, got, loose["loss"])


def _written_numbers(case: Case, got: Mapping[str, Array], tolerance: float) -> list[Compared]:
    """``expected_loss`` (of a series: its last entry) and ``expected_parts`` of the sidecar."""
    found = []
    expected: dict[str, Any] = {f"expected_parts {k}": (k, v) for k, v in (case.meta.get("expected_parts") or {}).items()}
    if case.meta.get("expected_loss") is not None:
        expected["expected_loss"] = ("loss", case.meta["expected_loss"])
    for label, (key, value) in expected.items():
        if not number(value):
            raise Damaged(f"{label} is {json.dumps(value)[:40]}, expected a finite number")
        computed = got.get(f"out/{key}")
        error = float("inf")
        if computed is not None and computed.size:
            error = relative_error(computed.reshape(-1)[-1:], np.array([value]))
        found.append(Compared(label, error, tolerance))
    return found

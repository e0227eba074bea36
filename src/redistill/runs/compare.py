"""In what two finished runs differ: switches, weights, curves, data, versions, machine, time."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

from redistill.files import read, there
from redistill.identity import all_differences, identity
from redistill.runs.record import Origin, Record
from redistill.runs.store import Run
from redistill.runs.weights_differ import largest_difference, stored

if TYPE_CHECKING:
    from torch import Tensor

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
        if gone := [str(path) for run in (a, b) if not there(path := run.folder / run.file())]:  # of a run that was kept without them
            says = f"the weights differ; by how much is not known without {' and '.join(gone)}"
        else:
            mine, theirs = (stored(read(path := run.weights()), path) for run in (a, b))
            says = largest_difference(mine, theirs) or "the weights files differ"
        found.append(Difference("weights", says, one.weights_sha256[:12], two.weights_sha256[:12]))
    if (first := difference(a.curves(), b.curves())) is not None:
        found.append(Difference("curves", first, None, None))
    return sorted(found, key=lambda d: not d.matters)


def difference(a: Any, b: Any, at: str = "") -> str | None:
    """The first difference between two trees of tensors and plain values, in a sentence; None where there is none.

    >>> difference({"rate": [0.1]}, {"rate": [0.2]})
    'rate/0: 0.1 and 0.2'
    """
    if _is_tensor(a) and _is_tensor(b):
        return _tensors(a, b, at)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if missing := next((key for key in [*a, *b] if key not in a or key not in b), None):
            return f"{_under(at, missing)}: only one of the two has it"
        return next((d for key in a if (d := difference(a[key], b[key], _under(at, key)))), None)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return f"{at}: {len(a)} and {len(b)} entries"
        pairs = enumerate(zip(a, b, strict=True))
        return next((d for i, (x, y) in pairs if (d := difference(x, y, _under(at, i)))), None)
    same = type(a) is type(b) and (a == b or (a != a and b != b))
    return None if same else f"{at}: {_short(a)} and {_short(b)}"


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    torch = sys.modules.get("torch")  # where nobody has imported it, nothing is a tensor
    return torch is not None and isinstance(value, torch.Tensor)


def _under(at: str, key: object) -> str:
    return f"{at}/{key}" if at else str(key)


def _short(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if _is_tensor(value) else repr(value)


def _tensors(a: Tensor, b: Tensor, at: str) -> str | None:
    import torch

    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{at}: {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
    one, two = a.detach().cpu(), b.detach().cpu()
    # bits, not values: -0.0 is not 0.0, and a NaN equals itself
    differ = (_bits(one) != _bits(two)).view(one.numel(), -1).any(1) if one.numel() else torch.zeros(0, dtype=torch.bool)
    count = int(differ.sum())
    if count == 0:
        return None
    largest = float((one.double() - two.double()).abs().max())
    return f"{at}: {count} of {one.numel()} numbers differ, by up to {largest:.3g}"


def _bits(tensor: Tensor) -> Tensor:
    import torch

    return tensor.contiguous().reshape(-1).view(torch.uint8)

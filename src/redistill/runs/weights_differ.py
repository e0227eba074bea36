"""How two files of weights differ, tensor by tensor: read by numpy, because whoever only looks at runs need not wait for torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from redistill.errors import RedistillError

NUMBERS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4",
    "U16": "<u2", "U8": "u1", "BOOL": "?", "C64": "<c8",
}  # fmt: skip
"""Types of the format that numpy has too (bfloat16 is widened; of eight-bit floats only the bits are compared)."""


@dataclass(frozen=True)
class Stored:
    """One tensor of a file: its type as the format calls it, its shape, its bytes."""

    kind: str
    shape: tuple[int, ...]
    content: bytes

    @property
    def numbers(self) -> NDArray[Any] | None:
        """Its numbers in double precision, in a row; None where numpy has no such type."""
        if self.kind == "BF16":
            return (np.frombuffer(self.content, "<u2").astype("<u4") << 16).view("<f4").astype(np.float64)
        if self.kind not in NUMBERS:
            return None
        return np.frombuffer(self.content, NUMBERS[self.kind]).astype(np.complex128 if self.kind == "C64" else np.float64)


def stored(content: bytes, path: Path) -> dict[str, Stored]:
    """The tensors of a safetensors file, by name."""
    try:
        return {name: Stored(one["dtype"], tuple(one["shape"]), bytes(one["data"])) for name, one in deserialize(content)}
    except SafetensorError as error:
        raise RedistillError(f"{path} is damaged: {error} ({len(content)} bytes)") from error


def largest_difference(a: Mapping[str, Stored], b: Mapping[str, Stored]) -> str | None:
    """How many tensors of two networks differ, and where the largest difference is; whatever their order.

    >>> one, two = (Stored("F32", (2,), np.array(x, "<f4").tobytes()) for x in ([0.0, 0.0], [2.0, 0.0]))
    >>> largest_difference({"x": one, "y": one}, {"y": two, "x": one})
    '1 of 2 tensors differ, most of all y: 1 of 2 numbers differ, by up to 2'
    """
    if missing := sorted(a.keys() ^ b.keys()):
        return f"{missing[0]}: only one of the two has it" + (f" (and {len(missing) - 1} more)" if missing[1:] else "")
    found = {name: says for name in sorted(a) if (says := _difference(a[name], b[name])) is not None}
    if not found:
        return None
    worst = max(found, key=lambda name: found[name][0])  # of equal ones the first by name
    return f"{len(found)} of {len(a)} tensors differ, most of all {worst}: {found[worst][1]}"


def _difference(a: Stored, b: Stored) -> tuple[float, str] | None:
    """How far two tensors are apart, and in words; None where they are equal bit by bit."""
    if (a.kind, a.shape) != (b.kind, b.shape):
        return math.inf, f"{a.kind} {a.shape} and {b.kind} {b.shape}"
    if a.content == b.content:
        return None
    # bits, not values: -0.0 is not 0.0, and a NaN equals itself
    rows = [np.frombuffer(one.content, "u1").reshape(math.prod(a.shape), -1) for one in (a, b)]
    words = f"{int((rows[0] != rows[1]).any(1).sum())} of {len(rows[0])} numbers differ"
    one, two = a.numbers, b.numbers
    if one is None or two is None:
        return math.inf, words
    with np.errstate(invalid="ignore"):  # infinity less infinity
        gap = float(np.abs(one - two).max())
    return math.inf if math.isnan(gap) else gap, f"{words}, by up to {gap:.3g}"

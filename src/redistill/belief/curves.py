"""What two networks believed along the way of one of them: errors, curves, and how sure they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from redistill.core import RedistillError

Over = Literal["images", "rows"]


@dataclass(frozen=True, eq=False)
class Transition:
    """What two networks believed along the way of one of them.

    Attributes:
        attacked, other: names. p_attacked, p_other: [N, T, K], probability of class ``targets[n, t]`` before step k.
        targets: [N, T]. index: [N], position of each image in the set. rate: ξ.
    """

    attacked: str
    other: str
    p_attacked: Tensor
    p_other: Tensor
    targets: Tensor
    index: Tensor
    rate: float

    @property
    def mte(self) -> float:
        """Mean transition error, in [0, 1]; 0: the same beliefs everywhere on the way."""
        return float((self.p_attacked - self.p_other).abs().mean())

    @property
    def mte_standard_error(self) -> float:
        """Of the mean over images, which are the independent units; nan for a single image."""
        return float(_standard_error((self.p_attacked - self.p_other).abs().mean((1, 2))))

    @property
    def relative_mte(self) -> float:
        """MTE divided by the mean belief of the attacked network: 0 the same beliefs, 1 where the other never moves. Ours."""
        return self.mte / float(self.p_attacked.mean())

    def curve(self, which: Literal["attacked", "other"], *, prefixes: bool = False) -> Tensor:
        """Mean belief at each step [K]. ``prefixes``: as the reproducibility report's code saves it, a mean over m = 1 ... T of the
        mean over the first m classes, so that early classes weigh more; the MTE does not depend on it."""
        return self._of_images(which, prefixes).mean(0)

    def _of_images(self, which: Literal["attacked", "other"], prefixes: bool) -> Tensor:
        """The curve of every image [N, K]."""
        p = self.p_attacked if which == "attacked" else self.p_other
        if not prefixes:
            return p.mean(1)
        counts = torch.arange(1, p.shape[1] + 1, dtype=p.dtype)[:, None]
        return (p.cumsum(1) / counts).mean(1)

    def standard_error(self, which: Literal["attacked", "other"], *, prefixes: bool = False, over: Over = "images") -> Tensor:
        """Standard error of :meth:`curve` [K]; the paper's figure shows two of them on either side.

        ``over``: ``"images"``, the independent units (nan for a single one); ``"rows"``, as the authors' notebook has it: every
        way to a class counts as independent, std without correction / sqrt(N·(C-1)), which is too narrow.
        """
        if over not in ("images", "rows"):
            raise RedistillError(f"over={over!r}: known are 'images' (independent) and 'rows' (the authors' notebook)")
        if over == "images":
            return _standard_error(self._of_images(which, prefixes))
        if prefixes:
            raise RedistillError("over='rows' belongs to the plain mean: the mean over prefixes has no equal rows")
        rows = (self.p_attacked if which == "attacked" else self.p_other).flatten(0, 1)
        return rows.std(0, correction=0) / math.sqrt(len(rows))

    def rows(self, *, prefixes: bool = False, over: Over = "images") -> list[dict[str, float]]:
        """The curves as data: one row a step. See :meth:`curve` and :meth:`standard_error`."""
        parts = {
            "attacked": self.curve("attacked", prefixes=prefixes),
            "attacked_standard_error": self.standard_error("attacked", prefixes=prefixes, over=over),
            "other": self.curve("other", prefixes=prefixes),
            "other_standard_error": self.standard_error("other", prefixes=prefixes, over=over),
        }
        return [{"step": float(k), **{n: float(v[k]) for n, v in parts.items()}} for k in range(self.p_attacked.shape[2])]


    def written(self) -> list[dict[str, float | None]]:
        """:meth:`rows` for JSON, which has no NaN: the standard error of a single image is null."""
        return [{name: value if math.isfinite(value) else None for name, value in row.items()} for row in self.rows()]


def _standard_error(values: Tensor) -> Tensor:
    """Of the mean over the first axis."""
    n = values.shape[0]
    return values.std(0, correction=1) / math.sqrt(n) if n > 1 else torch.full_like(values[0], math.nan)

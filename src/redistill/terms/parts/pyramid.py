"""Hierarchical context loss: compare two maps at full size and at coarser and coarser averages of themselves.

    HCL(F, G) = Σ_k w_k · mean (pool_k F − pool_k G)² / Σ_k w_k

pool_k averages adaptively to level k: the map itself, then 4x4, 2x2, 1x1. Chen et al. 2021 (arXiv:2104.09044), section
3.4 and Figure 3b; sizes and weights are those of the authors' code.

Where the codes differ:

| source | kept | weight of a level | divided by |
|---|---|---|---|
| authors | levels below the map's size | 1, ½, ¼, ⅛ in the order of *use* | weights used |
| 2021 reproduction | levels up to the map's size | its place in the list | 1.875 always |

For the pooled 1x1 feature the authors' loss is the mean square; the reproduction counts it twice, as the map itself and as
level 1, and gets (1 + ⅛) / 1.875 = 0.6 of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from redistill.core import RedistillError, nearest
from redistill.terms.parts.maps import average_to, same_shape
from redistill.terms.parts.wide import wide

Level = int | Literal["h", "h/2", "h/4", "h-1", "h-2", "h-3"]

_OF_SIZE = {
    "h": lambda h: h, "h/2": lambda h: h // 2, "h/4": lambda h: h // 4,
    "h-1": lambda h: h - 1, "h-2": lambda h: h - 2, "h-3": lambda h: h - 3,
}  # fmt: skip


@dataclass(frozen=True)
class Pyramid:
    """Which averages of a map are compared and how they weigh.

    Args:
        levels: cells a side, or of the map's size h: ``"h"`` (the map itself), ``"h/2"``, ``"h/4"``, ``"h-1"`` ...
        weights: one a level.
        keep: ``"l<h"``: of the numbered levels those smaller than the map (authors); ``"l<=h"`` (reproduction).
        count: weights go to the levels in the order of ``"use"`` (authors), or each level has the one ``"listed"`` at its
            place (reproduction).
        denominator: ``"used"``: the sum of the weights used (authors); or a number, 1.875 in the reproduction.
    """

    levels: tuple[Level, ...] = ("h", 4, 2, 1)
    weights: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    keep: Literal["l<h", "l<=h"] = "l<h"
    count: Literal["use", "listed"] = "use"
    denominator: Literal["used"] | float = "used"

    def __post_init__(self) -> None:
        if not self.levels or len(self.levels) != len(self.weights):
            raise RedistillError(
                f"a pyramid needs one weight a level, got {len(self.levels)} levels and {len(self.weights)} weights"
            )
        for level in self.levels:
            if isinstance(level, str) and level not in _OF_SIZE:
                raise RedistillError(nearest(level, _OF_SIZE, "pyramid level"))
            if not isinstance(level, str) and (type(level) is not int or level < 1):
                raise RedistillError(f"a pyramid level is a whole number from 1 or one of {list(_OF_SIZE)}, got {level!r}")
        if not min(self.weights) > 0:
            raise RedistillError(f"pyramid weights must be above 0, got {list(self.weights)}: leave a level out instead")
        if self.keep not in ("l<h", "l<=h"):
            raise RedistillError(f"keep={self.keep!r}: known are 'l<h' and 'l<=h'")
        if self.count not in ("use", "listed"):
            raise RedistillError(f"count={self.count!r}: known are 'use' and 'listed'")
        number = self.denominator if isinstance(self.denominator, int | float) else None
        if self.denominator != "used" and (number is None or not number > 0):
            raise RedistillError(f"denominator={self.denominator!r}: known are 'used' and numbers above 0")

    def used(self, height: int, width: int) -> list[tuple[int, int, float]]:
        """(cells high, cells wide, weight) of the levels that a map of this size has.

        >>> Pyramid().used(2, 2)                                                  # ½ goes to level 1
        [(2, 2, 1.0), (1, 1, 0.5)]
        >>> Pyramid(keep="l<=h", count="listed").used(2, 2)
        [(2, 2, 1.0), (2, 2, 0.25), (1, 1, 0.125)]
        """
        found: list[tuple[int, int, float]] = []
        for place, level in enumerate(self.levels):
            if isinstance(level, str):
                high, wide = _OF_SIZE[level](height), _OF_SIZE[level](width)
                kept = min(high, wide) >= 1
            else:
                high = wide = level
                kept = level < min(height, width) or (self.keep == "l<=h" and level <= min(height, width))
            if kept:
                found.append((high, wide, self.weights[len(found) if self.count == "use" else place]))
        return found


def context_loss(student: Float[Tensor, " ..."], teacher: Float[Tensor, " ..."], pyramid: Pyramid) -> Float[Tensor, ""]:
    """HCL of two maps [B, C, H, W]: a scalar."""
    same_shape("HCL", student, teacher)
    student, teacher = wide(student), wide(teacher)
    used = pyramid.used(*student.shape[2:])
    if not used:
        raise RedistillError(f"no level of {list(pyramid.levels)} fits a map of {list(student.shape[2:])}: add level 'h'")
    total = student.new_zeros(())
    for rows, columns, weight in used:
        squared = (average_to(student, rows, columns) - average_to(teacher, rows, columns)).square()
        total = total + weight * (squared.sum() / squared.numel())
    divisor = sum(w for _, _, w in used) if isinstance(pyramid.denominator, str) else pyramid.denominator
    return total / divisor


def hcl(students: Sequence[Tensor], teachers: Sequence[Tensor], pyramid: Pyramid | None = None) -> Float[Tensor, ""]:
    """Sum of the context losses of pairs of maps [B, C, H, W]; ``pyramid`` defaults to the authors'.

    >>> import torch
    >>> a, b = torch.zeros(1, 1, 2, 2), torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]]])
    >>> float(hcl([a], [b]))       # (mean square 1 + ½ · (½)²) / (1 + ½)
    0.75
    """
    if not students or len(students) != len(teachers):
        raise RedistillError(f"HCL pairs maps one to one, got {len(students)} of the student and {len(teachers)} of the teacher")
    total = wide(students[0]).new_zeros(())
    for student, teacher in zip(students, teachers, strict=True):
        total = total + context_loss(student, teacher, pyramid or Pyramid())
    return total

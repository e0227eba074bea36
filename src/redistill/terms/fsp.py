"""Flow of the solution procedure: how the channels of one stage go with those of the next.

    G_ij = (1/(h·w)) Σ_xy F¹_i(x, y)·F²_j(x, y)   of two consecutive maps, the larger averaged down to the smaller
    L = Σ (1/(B·C¹·C²)) ‖G_t − G_s‖²

Yim et al. 2017 (CVPR, "A gift from knowledge distillation"), eqs. 1 and 2, with maxima instead of averages for unlike sizes
and the sum over entries; the CRD benchmark averages both.

| source | term | use |
|---|---|---|
| paper | | an initial stage, then the task alone |
| RepDistiller | `FSP()` | an initial stage of 30 epochs, its weight 1, then CE alone; student and teacher of equal widths |
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready
from redistill.terms.parts.layers import named_at, total
from redistill.terms.parts.maps import named_or_paired, to_smaller
from redistill.terms.parts.wide import wide


def flow(
    bottom: Float[Tensor, "batch below h_below w_below"], top: Float[Tensor, "batch above h_above w_above"]
) -> Float[Tensor, "batch above below"]:
    """Mean products of the channels of two maps: [B, C_top, C_bottom]."""
    bottom, top = to_smaller(wide(bottom), wide(top))
    positions = top.shape[2] * top.shape[3]
    return top.flatten(2) @ bottom.flatten(2).transpose(1, 2) / positions


@dataclass(eq=False, repr=False)
class FSP(Term):
    """Flow between consecutive places; both networks must have the same widths there.

    Args:
        at: pairs of places from shallow to deep, at least two; default: every pair of stages.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> out = lambda a, b: Output(torch.zeros(1, 2), {"stage1": torch.full((1, 1, 2, 2), a), "stage2": torch.full((1, 1, 2, 2), b)})
    >>> float(FSP(at=["stage1", "stage2"])(out(1.0, 2.0), out(1.0, 5.0), Batch(torch.zeros(1, 1, 2, 2))))      # (2 − 5)²
    9.0
    """

    at: At = None

    theorems: ClassVar[tuple[str, ...]] = ("zero at match", "non-negative", "batch permutation")

    def check(self) -> None:
        self.at, self.pairs, self.ready = named_at(self.at)
        if self.at is not None and len(self.at) < 2:
            raise RedistillError("FSP looks from one place to the next, but at names one: name at least two, from shallow to deep")

    def setup(self, ctx: Context) -> None:
        self.pairs = named_or_paired(ctx, pairs_of(self.at))
        if len(self.pairs) < 2:
            raise RedistillError("FSP looks from one stage to the next, but these networks share one: name places with at=[...]")
        for mine, theirs in self.pairs:
            s, t = ctx.shape("student", mine), ctx.shape("teacher", theirs)
            if len(s) != 4 or len(t) != 4 or s[1] != t[1]:
                raise RedistillError(
                    f"FSP needs maps of equal width, but {mine!r} of the student has shape {list(s)} and {theirs!r} of the teacher "
                    f"{list(t)}: it works between networks of one family and width"
                )
        self.ready = True

    def distances(self, student: Output, teacher: Output) -> list[Tensor]:
        """One value for each step from one place to the next."""
        require_ready(self)
        found = []
        for (mine, theirs), (next_mine, next_theirs) in pairwise(self.pairs):
            g_s, g_t = flow(student[mine], student[next_mine]), flow(teacher[theirs], teacher[next_theirs])
            found.append((g_s - g_t).square().sum() / g_t.numel())
        return found

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return total(student, self.distances(student, teacher))

"""Activation boundaries: the student's neurons should be on or off where the teacher's are, by a margin, whatever their size.

    L = Σ_l 2^(l−n+1) · (factor/B) Σ_{c,h,w} [ (s + m)² 1(s > −m, t ≤ 0) + (s − m)² 1(s ≤ m, t > 0) ],   s = connector(F_s)

Heo et al. 2019 (arXiv:1811.03233), eqs. 5 to 7: features *before* the activation, a connector of convolution and batch norm,
the deepest of n layers with weight 1 and half of it for each layer before.

Where paper and codes differ:

| source | term | use |
|---|---|---|
| paper | `AB(factor=1.0)` | an initial stage, then the task alone |
| RepDistiller | `AB()` | an initial stage of 30 epochs, then CE alone; the factor 3/1000 stands in its code only |

A connector is absent where width and height agree already. The loss sees on or off only, so it is no distance: it is 0
wherever every neuron is on the teacher's side of the boundary by at least the margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready
from redistill.terms.fitnet import Regressor
from redistill.terms.parts.layers import halved_upwards, paired_before_activation, total
from redistill.terms.parts.maps import as_map, map_shape, same_shape
from redistill.terms.parts.wide import fitting, wide


def boundary_distance(
    student: Float[Tensor, "batch channels height width"], teacher: Float[Tensor, "batch channels height width"], margin: float = 1.0
) -> Float[Tensor, ""]:
    """Squared distance of the student's neurons from the right side of the boundary, summed over an image, mean over images."""
    same_shape("AB", student, teacher)
    student, teacher = wide(student), wide(teacher)
    off = (student + margin).square() * ((student > -margin) & (teacher <= 0))
    on = (student - margin).square() * ((student <= margin) & (teacher > 0))
    return (off + on).sum() / len(student)


@dataclass(eq=False, repr=False)
class AB(Term):
    """Transfer of activation boundaries, over every pair of places.

    Args:
        at: pairs of places from shallow to deep; default: the paired stages, read before the activation (``stage2:pre``) where a
            network declares such places. Vectors [B, C] count as maps of one position.
        margin: how far from the boundary a neuron must be; 1 in paper and codes.
        factor: constant; 3/1000 in RepDistiller, 1 in the paper.

    The published use is an initial stage: the student learns from this term alone (RepDistiller: 30 epochs at the first rate),
    then from CE alone (its script: `-a 0`).

    >>> import torch
    >>> from redistill.core import Batch, Context, Output
    >>> from torch import nn
    >>> shapes = {"stage1": (1, 2, 1, 1)}
    >>> ab = AB(at="stage1", factor=1.0)
    >>> ab.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), classes=2))
    >>> out = lambda a, b: Output(torch.zeros(1, 2), {"stage1": torch.tensor([a, b]).view(1, 2, 1, 1)})
    >>> ab(out(0.5, 0.5), out(9.0, -1.0), Batch(torch.zeros(1, 1, 1, 1))).item()       # (.5 - 1)² and (.5 + 1)²
    2.5
    """

    at: At = None
    margin: float = 1.0
    factor: float = 0.003

    theorems: ClassVar[tuple[str, ...]] = ("non-negative", "batch permutation")
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)
        if not 0 < self.margin < math.inf:
            raise RedistillError(f"AB(margin={self.margin}): the margin must be above 0 and finite")
        if not 0 < self.factor < math.inf:
            raise RedistillError(f"AB(factor={self.factor}): the constant must be above 0 and finite")

    def setup(self, ctx: Context) -> None:
        self.pairs = paired_before_activation(ctx, self.at)
        self.connectors = nn.ModuleList()
        for mine, theirs in self.pairs:
            student, teacher = map_shape("AB", ctx, "student", mine), map_shape("AB", ctx, "teacher", theirs)
            with rng.seeded(ctx.seed, "term", "AB", mine, theirs):
                self.connectors.append(nn.Identity() if student == teacher else Regressor(student, teacher, relu=False))
        self.ready = True

    def distances(self, student: Output, teacher: Output) -> list[Tensor]:
        """One value a layer, with the constant and without the layer's weight."""
        require_ready(self)
        found = []
        for connector, (mine, theirs) in zip(self.connectors, self.pairs, strict=True):
            connected = connector(fitting(as_map(student[mine]), connector))
            found.append(self.factor * boundary_distance(connected, as_map(teacher[theirs]), self.margin))
        return found

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return total(student, halved_upwards(self.distances(student, teacher)))

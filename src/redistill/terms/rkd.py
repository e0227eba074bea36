"""Relational distillation: images should lie to each other in the student as they do in the teacher.

    distance: L_D = mean_ij ℓ(d_s(i,j) / μ_s, d_t(i,j) / μ_t),      d(i,j) = ‖f_i − f_j‖₂,  μ: mean of the positive ones
    angle:    L_A = mean_ijk ℓ(cos_s(i,j,k), cos_t(i,j,k)),         cos of the angle at j between i − j and k − j
    L = w_D·L_D + w_A·L_A,                                          ℓ: Huber's loss with its bend at 1

Park et al. 2019 (arXiv:1904.05068), eqs. 5 to 8, with features before the classifier.

Where paper and codes differ:

| source | term | effect |
|---|---|---|
| paper, Table 1 | λ_D = 25, λ_A = 50 beside the task loss | sums over pairs and triples of *different* images |
| RepDistiller, mdistiller | `RKD()` with CE, weight 1 | means over all B² and B³ entries, zero and degenerate ones too |

The distance of two images of one feature has no gradient, and no angle between them and a third has one; a student whose features
meet in a point stays there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready
from redistill.terms.parts.layers import named_at
from redistill.terms.parts.vectors import as_vectors, named_or_pooled, of_unit_length, require_pairs
from redistill.terms.parts.wide import wide


def distances(features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch batch"]:
    """Euclidean distances of [B, D]: [B, B] with an exact zero diagonal; squares below 1e-12 count as 1e-12, as in the codes."""
    lengths = features.square().sum(dim=1)
    squared = (lengths[:, None] + lengths[None, :] - 2 * features @ features.T).clamp_min(1e-12)
    return squared.sqrt() * (1 - torch.eye(len(features), dtype=features.dtype, device=features.device))


def relative_distances(features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch batch"]:
    """Distances over the mean of the positive ones: [B, B]."""
    found = distances(features)
    positive = found > 0
    # a batch of one point has no distance to divide by
    return found / (found.sum() / positive.sum().clamp_min(1)).clamp_min(1e-12)


def angles(features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch batch batch"]:
    """Cosines [B, B, B] of the angle at j between i and k of [B, D]; 0 where two of the three are one."""
    away = of_unit_length(features[None, :] - features[:, None], dim=2)  # [j, i, D]
    return away @ away.transpose(1, 2)


def huber(a: Float[Tensor, "*entries"], b: Float[Tensor, "*entries"]) -> Float[Tensor, ""]:
    """½ d² below |d| = 1, |d| − ½ above; mean over all entries."""
    away = (a - b).abs()
    return torch.where(away < 1, 0.5 * away.square(), away - 0.5).sum() / away.numel()


@dataclass(eq=False, repr=False)
class RKD(Term):
    """Relational knowledge distillation of distances and angles in a batch of at least two images.

    Args:
        at: pairs of places, read as vectors (maps are flattened); default: ``pooled`` of both, the classifier's inputs.
        distance, angle: weights of the two parts; 25 and 50 in paper and codes.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> out = lambda *points: Output(torch.zeros(3, 2), {"pooled": torch.tensor(points)})
    >>> line, corner = out([0.0, 0.0], [1.0, 0.0], [2.0, 0.0]), out([0.0, 0.0], [1.0, 0.0], [1.0, 1.0])
    >>> round(float(RKD(at="pooled", angle=0.0)(line, corner, Batch(torch.zeros(3, 1, 1, 1)))), 4)
    0.276
    """

    at: At = None
    distance: float = 25.0
    angle: float = 50.0

    needs_pairs: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = ("zero at match", "non-negative", "batch permutation", "common scale")

    def check(self) -> None:
        self.at, self.pairs, self.ready = named_at(self.at)
        if not all(0 <= w < math.inf for w in (self.distance, self.angle)):
            raise RedistillError(f"RKD(distance={self.distance}, angle={self.angle}): both weights must be at least 0 and finite")

    def setup(self, ctx: Context) -> None:
        self.pairs = named_or_pooled("RKD", ctx, pairs_of(self.at))
        self.ready = True

    def parts(self, student: Output, teacher: Output) -> tuple[Tensor, Tensor]:
        """The distances' and the angles' loss, without their weights, summed over pairs of places."""
        require_ready(self)
        apart = turned = wide(student.logits).new_zeros(())
        for mine, theirs in self.pairs:
            f_s, f_t = as_vectors(student[mine]), as_vectors(teacher[theirs])
            require_pairs("RKD", f_s)
            apart = apart + huber(relative_distances(f_s), relative_distances(f_t))
            turned = turned + huber(angles(f_s), angles(f_t))
        return apart, turned

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        apart, turned = self.parts(student, teacher)
        return self.distance * apart + self.angle * turned

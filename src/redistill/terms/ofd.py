"""Overhaul of feature distillation: a partial distance before the activation, to a teacher whose negatives end at a margin.

    L = factor · Σ_l 2^−(n−l−1) · (1/B) Σ_{b,c,h,w} d(s, t),   s = connector(F_s)
    d = (s − m_c)² where t ≤ m_c and s > m_c;   (s − t)² where m_c < t ≤ 0 and s > t;   (s − t)² where t > 0;   else 0
    m_c = E[x | x < 0] of x ~ N(β_c, γ_c²), the batch norm before the place; −3|γ_c| where P(x < 0) ≤ 0.001

Heo et al. 2019 (arXiv:1904.01866), eqs. 2 to 6. A teacher's value below the margin teaches as the margin, and the student is
left alone where it is below a target that is not positive.

Where paper and codes differ:

| source | term | use |
|---|---|---|
| paper, authors' code | | jointly: CE + 1/1000 of the sum; the student's batch norm layers give no margin |
| mdistiller | `OFD()` | jointly: CE + 1 · this, whose `FEAT_WEIGHT` 0.001 is `factor`; the mean over images as here |

Margins come from γ and β alone, not from what flows; the code rounds them to single precision, and so does this term.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, RedistillError, Term, named_places, pairs_of, require_ready
from redistill.terms.parts.layers import halved_upwards, paired_before_activation, total
from redistill.terms.parts.maps import as_map, average_to, map_shape, same_shape
from redistill.terms.parts.norms import norm_before
from redistill.terms.parts.wide import fitting, wide


def margins(gain: Float[Tensor, " channels"], bias: Float[Tensor, " channels"]) -> Float[Tensor, " channels"]:
    """Mean of the negative values of a channel N(bias, gain²), rounded to single precision: [C].

    >>> [round(m, 4) for m in margins(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 9.0])).tolist()]      # −√(2/π); none negative
    [-0.7979, -3.0]
    """
    if gain.is_meta or bias.is_meta:  # shapes alone
        return torch.empty(len(gain), dtype=torch.float32, device="meta")
    from scipy.special import ndtr  # slow to import

    found = []
    for s, m in zip(gain.detach().cpu().double().abs().tolist(), bias.detach().cpu().double().tolist(), strict=True):
        below = float(ndtr(-m / s)) if s > 0 else float(m < 0)
        if s == 0:
            found.append(min(m, 0.0))
        elif below > 0.001:
            found.append(-s * math.exp(-((m / s) ** 2) / 2) / math.sqrt(2 * math.pi) / below + m)
        else:
            found.append(-3 * s)
    return torch.tensor(found, dtype=torch.float32)


def partial_distance(
    student: Float[Tensor, "batch channels height width"], teacher: Float[Tensor, "batch channels height width"], margin: Float[Tensor, ...]
) -> Float[Tensor, ""]:
    """Partial squared distance of maps [B, C, H, W], margin [1, C, 1, 1]: summed over an image, mean over images."""
    same_shape("OFD", student, teacher)
    student, teacher = wide(student), wide(teacher)
    margin = margin.to(student)
    below = (student - margin).square() * ((student > margin) & (teacher <= margin))
    between = (student - teacher).square() * ((student > teacher) & (teacher > margin) & (teacher <= 0))
    above = (student - teacher).square() * (teacher > 0)
    return (below + between + above).sum() / len(student)


class Connector(nn.Sequential):
    """Convolution without bias, then batch norm: the student's channels to the teacher's."""

    def __init__(self, student: int, teacher: int, kernel_size: int = 1):
        super().__init__(
            nn.Conv2d(student, teacher, kernel_size, padding=(kernel_size - 1) // 2, bias=False), nn.BatchNorm2d(teacher)
        )


@dataclass(eq=False, repr=False)
class OFD(Term):
    """Overhaul distillation over every pair of places. The teacher needs a batch norm right before each place.

    Args:
        at: pairs of places from shallow to deep; default: the paired stages, read before the activation (``stage2:pre``) where a
            network declares such places.
        norms: paths of the teacher's batch norms, one a pair; default: the one before each place, found in a network of ours.
        factor: constant; 0.001 in mdistiller (``FEAT_WEIGHT``), 1/1000 in the authors' code.
        kernel_size: of the connector's convolution; 1 everywhere, odd.

    >>> import torch
    >>> from redistill.terms import partial_distance
    >>> s, t, m = torch.tensor([-2.0, 1.0, 1.0, 1.0]), torch.tensor([-3.0, -3.0, -0.5, 3.0]), torch.tensor([[[[-1.0]]]])
    >>> partial_distance(s.view(1, 1, 2, 2), t.view(1, 1, 2, 2), m).item()           # 0 + (1 + 1)² + (1 + .5)² + (1 - 3)²
    10.25
    """

    at: At = None
    norms: Sequence[str] | None = None
    factor: float = 0.001
    kernel_size: int = 1

    theorems: ClassVar[tuple[str, ...]] = ("non-negative", "batch permutation")
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)
        if self.norms is not None:
            if not (norms := named_places(self.norms)):
                raise RedistillError(f"OFD(norms={self.norms!r}): names batch norms of the teacher, one a pair, by their paths")
            self.norms = norms
        if not 0 < self.factor < math.inf:
            raise RedistillError(f"OFD(factor={self.factor}): the constant must be above 0 and finite")
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise RedistillError(f"OFD(kernel_size={self.kernel_size}): an odd number of at least 1 is needed, to keep a map's size")

    def setup(self, ctx: Context) -> None:
        self.pairs = paired_before_activation(ctx, self.at)
        if self.norms is not None and len(self.norms) != len(self.pairs):
            raise RedistillError(f"OFD: {len(self.norms)} norms for {len(self.pairs)} pairs of places: name one batch norm a pair")
        self.connectors = nn.ModuleList()
        for i, (mine, theirs) in enumerate(self.pairs):
            c_s, c_t = map_shape("OFD", ctx, "student", mine)[0], map_shape("OFD", ctx, "teacher", theirs)[0]
            gain, bias = norm_before("OFD", ctx, theirs, None if self.norms is None else self.norms[i], c_t)
            with rng.seeded(ctx.seed, "term", "OFD", mine, theirs):
                self.connectors.append(Connector(c_s, c_t, self.kernel_size))
            self.register_buffer(f"margin{i}", margins(gain, bias).view(1, -1, 1, 1))
        self.ready = True

    def distances(self, student: Output, teacher: Output) -> list[Tensor]:
        """One value a layer, without the layer's weight and the constant."""
        require_ready(self)
        found = []
        for i, (connector, (mine, theirs)) in enumerate(zip(self.connectors, self.pairs, strict=True)):
            source = connector(fitting(as_map(student[mine]), connector))
            target = average_to(wide(as_map(teacher[theirs])), source.shape[2], source.shape[3])
            found.append(partial_distance(source, target, self.get_buffer(f"margin{i}")))
        return found

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return self.factor * total(student, halved_upwards(self.distances(student, teacher)))

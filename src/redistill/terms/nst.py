"""Neuron selectivity transfer: the student's channels should be excited at the places of an image where the teacher's are.

    f̂: each channel of a map, flattened over positions and of unit length;   k(a, b) = (a·b)²
    L = Σ_l mean k(f̂_t, f̂_t) + mean k(f̂_s, f̂_s) − 2 mean k(f̂_s, f̂_t)        means over images and pairs of channels

Huang & Wang 2017 (arXiv:1707.01219), eq. 5: the squared maximum mean discrepancy with the polynomial kernel of degree 2.

| source | term | weight |
|---|---|---|
| RepDistiller, mdistiller | `NST()` | 50 |

Bytes: the kernels of a batch are 4·B·C_s·C_t between the networks and 4·B·C² of each with itself, 1.1 GB with their squares for 64
images and maps of 1,024 channels. They are made some images at a time, 64 MiB at most, and made again for the gradient instead of
being kept; what is kept is one copy of each map over its positions, 4·B·C·H·W. Where the whole batch fits into 64 MiB nothing is
made twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready
from redistill.core.pairs import require_common_stages
from redistill.terms.parts.layers import named_at, total
from redistill.terms.parts.maps import named_or_paired, to_smaller
from redistill.terms.parts.wide import wide

ENTRIES = 16 * 2**20  # numbers of one kernel that are held at a time: 64 MiB in fp32


def selectivity(feature: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height*width"]:
    """Channels of maps [B, C, H, W] over positions, each of unit length: [B, C, H·W]."""
    return F.normalize(wide(feature.flatten(2)), p=2.0, dim=2, eps=1e-12)


def mean_kernel(a: Float[Tensor, "batch mine positions"], b: Float[Tensor, "batch theirs positions"]) -> Float[Tensor, ""]:
    """Mean of (a·b)² over images and pairs of channels of [B, C, N] and [B, D, N], some images at a time."""
    images, channels, _ = a.shape
    others = b.shape[1]
    few = max(1, ENTRIES // (channels * others))
    parts = zip(a.split(few), b.split(few), strict=True)
    if few >= images:
        found = [_squares(x, y) for x, y in parts]
    else:  # a kernel is made again for the gradient: kept, all of them together would be what the pieces were to spare
        found = [checkpoint(_squares, x, y, use_reentrant=False, preserve_rng_state=False) for x, y in parts]
    return sum(found, a.new_zeros(())) / (images * channels * others)


def _squares(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.transpose(1, 2)).square().sum()


def discrepancy(
    student: Float[Tensor, "batch mine height width"], teacher: Float[Tensor, "batch theirs height width"]
) -> Float[Tensor, ""]:
    """Squared maximum mean discrepancy of two maps [B, C, H, W] of one size: a scalar."""
    s, t = selectivity(student), selectivity(teacher)
    # the teacher's own part makes a perfect match cost nothing; its gradient is that of images which somebody makes
    return mean_kernel(t, t) + mean_kernel(s, s) - 2 * mean_kernel(s, t)


@dataclass(eq=False, repr=False)
class NST(Term):
    """Neuron selectivity transfer between pairs of feature maps, summed over pairs. No adapters.

    Args:
        at: pairs of places; default: every pair of stages. Maps of unlike size meet at the smaller.

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> out = lambda left, right: Output(torch.zeros(1, 2), {"stage1": torch.tensor([[[[left, right]]]])})
    >>> float(NST(at="stage1")(out(1.0, 0.0), out(0.0, 3.0), Batch(torch.zeros(1, 1, 1, 2))))     # 1 + 1 − 2·0
    2.0
    """

    at: At = None

    theorems: ClassVar[tuple[str, ...]] = ("zero at match", "non-negative", "batch permutation", "channel permutation", "feature scale")

    def check(self) -> None:
        self.at, self.pairs, self.ready = named_at(self.at)

    def setup(self, ctx: Context) -> None:
        if self.at is None:
            require_common_stages(ctx, "NST")
        self.pairs = named_or_paired(ctx, pairs_of(self.at))
        for mine, theirs in self.pairs:
            for place, shape in ((mine, ctx.shape("student", mine)), (theirs, ctx.shape("teacher", theirs))):
                if len(shape) != 4:
                    raise RedistillError(f"NST compares maps [B, C, H, W], but {place!r} has shape {list(shape)}: name another place")
        self.ready = True

    def distances(self, student: Output, teacher: Output) -> list[Tensor]:
        """One value a pair of places."""
        require_ready(self)
        return [discrepancy(*to_smaller(student[mine], teacher[theirs])) for mine, theirs in self.pairs]

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return total(student, self.distances(student, teacher))

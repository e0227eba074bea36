"""Similarity-preserving distillation: pairs of images that excite the teacher alike should excite the student alike.

    G = F Fᵀ  (features of an image flattened: [B, B]),   G̃: each row over its length
    L = Σ_l (1/B²) ‖G̃_t − G̃_s‖²_F

Tung & Mori 2019 (arXiv:1907.09682), eqs. 1 to 4; γ = 3000 at batches of 64 in the CRD benchmark.

| source | term | weight |
|---|---|---|
| RepDistiller, mdistiller | `SP()`, the last stage | 3,000 |

The loss depends on the size of the batch: B² entries whose rows have length 1 shrink as B grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from redistill.core import At, Batch, Context, Output, Term, pairs_of, require_ready
from redistill.core.pairs import pair_stages
from redistill.terms.parts.layers import named_at, total
from redistill.terms.parts.maps import named_or_paired
from redistill.terms.parts.vectors import as_vectors, of_unit_length, require_pairs


def similarities(feature: Float[Tensor, " batch *entries"]) -> Float[Tensor, "batch batch"]:
    """Row-normalised Gram matrix [B, B] of features [B, ...]; a row of zeros stays zero (guard 1e-12, as in the codes)."""
    flat = as_vectors(feature)
    return of_unit_length(flat @ flat.T, dim=1)


@dataclass(eq=False, repr=False)
class SP(Term):
    """Similarity of the images of a batch. No adapters: any sizes and channel counts meet.

    Args:
        at: pairs of places; default: the deepest pair of stages (paper and codes: the last block).

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> out = lambda *points: Output(torch.zeros(2, 2), {"stage1": torch.tensor(points)})
    >>> alike, apart = out([1.0, 0.0], [1.0, 0.0]), out([1.0, 0.0], [0.0, 1.0])
    >>> round(float(SP(at="stage1")(alike, apart, Batch(torch.zeros(2, 1, 1, 1)))), 4)   # 2·((1 − √½)² + ½) / 4
    0.2929
    """

    at: At = None

    needs_pairs: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = ("zero at match", "non-negative", "batch permutation", "channel permutation", "common scale")

    def check(self) -> None:
        self.at, self.pairs, self.ready = named_at(self.at)

    def setup(self, ctx: Context) -> None:
        self.pairs = named_or_paired(ctx, pairs_of(self.at)) if self.at is not None else pair_stages(ctx)[-1:]
        self.ready = True

    def distances(self, student: Output, teacher: Output) -> list[Tensor]:
        """One value a pair of places."""
        require_ready(self)
        found = []
        for mine, theirs in self.pairs:
            require_pairs("SP", student[mine])
            g_s, g_t = similarities(student[mine]), similarities(teacher[theirs])
            found.append((g_t - g_s).square().sum() / g_t.numel())
        return found

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return total(student, self.distances(student, teacher))

"""Probabilistic knowledge transfer: who is near whom in a batch, as a probability, should be the same.

    K_ij = (cos(f_i, f_j) + 1) / 2,  P_ij = K_ij / Σ_j K_ij
    entry: L = (1/B²) Σ_ij P_t log((P_t + ε) / (P_s + ε))          every released code
    row:   L = (1/B) Σ_i Σ_{j≠i} P_t log((P_t + ε) / (P_s + ε)),   P without the diagonal: the paper

Passalis & Tefas 2018 (arXiv:1803.10837), eqs. 5 to 9, with the cosine kernel of section 3.2.

| source | term | weight |
|---|---|---|
| RepDistiller, mdistiller | `PKT()` | 30,000 |

ε = 1e-7 stands in the norm and in the logarithm of the codes; at that weight it decides what a perfect match costs. K lies between 0 and
1: what rounding puts below 0, between opposite vectors, is 0. Where all other images of a batch are opposite to one, the paper's P is
0/0; here such an image is near nobody, P_ij = 0. The codes, whose diagonal is 1, have no such row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready
from redistill.terms.parts.layers import named_at
from redistill.terms.parts.vectors import as_vectors, named_or_pooled, require_pairs
from redistill.terms.parts.wide import wide


def neighbours(
    features: Float[Tensor, "batch width"], eps: float = 1e-7, *, diagonal: bool = True
) -> Float[Tensor, "batch batch"]:
    """Conditional probabilities [B, B] of the neighbours of [B, D]; each row sums to 1, to 0 where nobody is near."""
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    directions = features / (lengths + eps)
    kernel = ((directions @ directions.T + 1) / 2).clamp(min=0)
    if diagonal:
        return kernel / kernel.sum(dim=1, keepdim=True)
    kernel = kernel * (1 - torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device))
    total = kernel.sum(dim=1, keepdim=True)
    return kernel / total.where(total > 0, 1.0)


@dataclass(eq=False, repr=False)
class PKT(Term):
    """Kullback-Leibler divergence of neighbourhoods in a batch of at least two images.

    Args:
        at: pairs of places, read as vectors (maps are flattened); default: ``pooled`` of both.
        eps: guard in the norm and in the logarithm, 1e-7 in the codes.
        reduction: ``"entry"`` (codes) or ``"row"`` (paper, an image is no neighbour of its own).

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> out = lambda *points: Output(torch.zeros(2, 2), {"pooled": torch.tensor(points)})
    >>> near, far = out([1.0, 0.0], [1.0, 0.0]), out([1.0, 0.0], [0.0, 1.0])           # rows (1/2, 1/2) and (2/3, 1/3)
    >>> round(float(PKT(at="pooled")(near, far, Batch(torch.zeros(2, 1, 1, 1)))), 4)   # (2/3 log 4/3 + 1/3 log 2/3) / 2
    0.0283
    """

    at: At = None
    eps: float = 1e-7
    reduction: Literal["entry", "row"] = "entry"

    needs_pairs: ClassVar[bool] = True
    # not "non-negative": with eps in the logarithm the mean may lie a hair below 0
    theorems: ClassVar[tuple[str, ...]] = ("zero at match", "batch permutation")

    def check(self) -> None:
        self.at, self.pairs, self.ready = named_at(self.at)
        if not 0 < self.eps < 1:
            raise RedistillError(f"PKT(eps={self.eps}): the guard must lie between 0 and 1")
        if self.reduction not in ("entry", "row"):
            raise RedistillError(f"PKT(reduction={self.reduction!r}): known are 'entry' and 'row'")

    def setup(self, ctx: Context) -> None:
        self.pairs = named_or_pooled("PKT", ctx, pairs_of(self.at))
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        total = wide(student.logits).new_zeros(())
        for mine, theirs in self.pairs:
            f_s, f_t = as_vectors(student[mine]), as_vectors(teacher[theirs])
            require_pairs("PKT", f_s)
            p_s, p_t = (neighbours(f, self.eps, diagonal=self.reduction == "entry") for f in (f_s, f_t))
            entries = p_t * torch.log((p_t + self.eps) / (p_s + self.eps))
            total = total + entries.sum() / (p_t.numel() if self.reduction == "entry" else len(p_t))
        return total

"""Correlation congruence, as the CRD benchmark computes it: neighbours in the batch should be embedded with like errors.

    δ_b = |E_s f_s,b − E_t f_t,b|,    L = (1/(B−1)) Σ_{b<B} Σ_d δ_b,d · δ_b+1,d

Peng et al. 2019 (arXiv:1904.01802) match full B x B correlation matrices (Gaussian or bilinear kernel, their eqs. 6 to 8).
The released code of that paper is not public; the CRD benchmark's stand-in, which every "CC" row of its descendants quotes,
multiplies the residuals of *neighbouring* images: it depends on the order in the batch.

| source | term | weight |
|---|---|---|
| RepDistiller | `CC()` | 0.02, beside CE alone |

Both linear embeddings learn, the teacher's too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready
from redistill.terms.parts.vectors import named_or_pooled, require_pairs
from redistill.terms.parts.wide import embedding_of


def neighbour_congruence(student: Float[Tensor, "batch width"], teacher: Float[Tensor, "batch width"]) -> Float[Tensor, ""]:
    """Mean product of absolute residuals of consecutive rows of [B, D]: a scalar."""
    away = (student - teacher).abs()
    return (away[:-1] * away[1:]).sum() / (len(away) - 1)


@dataclass(eq=False, repr=False)
class CC(Term):
    """Correlation congruence of the CRD benchmark; a batch of at least two images.

    Args:
        at: one pair of places, read as vectors (maps are flattened); default: ``pooled`` of both.
        dim: numbers of an embedding, 128 in RepDistiller.

    >>> import torch
    >>> from torch import nn
    >>> from redistill.core import Batch, Context, Output
    >>> shapes = {"pooled": (2, 1)}
    >>> term = CC(dim=1)
    >>> term.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), classes=3))
    >>> for layer in (term.embed_s, term.embed_t):
    ...     _ = layer.load_state_dict({"weight": torch.ones(1, 1), "bias": torch.zeros(1)})
    >>> out = lambda *values: Output(torch.zeros(3, 3), {"pooled": torch.tensor(values)[:, None]})
    >>> term(out(1.0, 2.0, 4.0), out(0.0, 0.0, 0.0), Batch(torch.zeros(3, 1, 1, 1))).item()     # (1·2 + 2·4) / 2
    5.0
    """

    at: At = None
    dim: int = 128

    needs_pairs: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = ("non-negative",)
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)
        if self.dim < 1:
            raise RedistillError(f"CC(dim={self.dim}): an embedding has at least 1 number")

    def setup(self, ctx: Context) -> None:
        self.pairs = named_or_pooled("CC", ctx, pairs_of(self.at))
        if len(self.pairs) != 1:
            raise RedistillError(f"CC compares one pair of places, at names {len(self.pairs)}")
        (mine, theirs) = self.pairs[0]
        sizes = [1, 1]
        for i, (whose, place) in enumerate((("student", mine), ("teacher", theirs))):
            for length in ctx.shape(whose, place)[1:]:  # type: ignore[arg-type]
                sizes[i] *= length
        with rng.seeded(ctx.seed, "term", "CC", mine, theirs):
            self.embed_s, self.embed_t = nn.Linear(sizes[0], self.dim), nn.Linear(sizes[1], self.dim)
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        (mine, theirs) = self.pairs[0]
        f_s, f_t = student[mine].flatten(1), teacher[theirs].flatten(1)
        require_pairs("CC", f_s)
        return neighbour_congruence(embedding_of(f_s, self.embed_s), embedding_of(f_t, self.embed_t))

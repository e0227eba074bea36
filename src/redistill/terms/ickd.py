"""Inter-channel correlation: which channels of the last map go with which should be as in the teacher.

    G = f fᵀ (channels of an image's map over its positions: [C, C]),   G̃: each row over its length
    L = (1/(B·C)) Σ_b ‖G̃_s − G̃_t‖²_F,   f_s = BN(conv1x1(F_s)) with the teacher's C channels, f_t = F_t

Liu et al. 2021 (arXiv:2202.03680), the form for classification (ICKD-C).

| source | term | use |
|---|---|---|
| authors, README | `CE() + 2.5 * ICKD()` | without KL |
| authors, README | the same with `1.0 * KD(T=4.0)` | |
| authors, a script | | weight 4 for the same pair |

The code embeds the student alone (a teacher's embedding is made there and never used). Maps of unlike size need no resizing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, Term, pairs_of, require_ready
from redistill.terms.ofd import Connector
from redistill.terms.parts.layers import total
from redistill.terms.parts.maps import as_map, map_shape, named_or_paired
from redistill.terms.parts.vectors import of_unit_length
from redistill.terms.parts.wide import fitting, wide


def channel_correlation(feature: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels channels"]:
    """Row-normalised Gram matrices of the channels of maps [B, C, H, W]: [B, C, C]; a row of zeros stays zero (guard 1e-12).

    >>> import torch
    >>> channel_correlation(torch.tensor([[[[3.0, 0.0]], [[4.0, 5.0]]]]))[0, 0].tolist()        # (9, 12) / 15
    [0.6000000238418579, 0.800000011920929]
    """
    flat = wide(feature).flatten(2)
    return of_unit_length(flat @ flat.transpose(1, 2), dim=2)


def correlation_distance(
    student: Float[Tensor, "batch channels height width"], teacher: Float[Tensor, "batch channels high broad"]
) -> Float[Tensor, ""]:
    """Squared distance of two correlations of as many channels, over images and channels: a scalar."""
    g_s, g_t = channel_correlation(student), channel_correlation(teacher)
    return (g_s - g_t).square().sum() / (g_t.shape[0] * g_t.shape[1])


@dataclass(eq=False, repr=False)
class ICKD(Term):
    """Inter-channel correlation between pairs of maps, summed over pairs; the student's map is embedded in the teacher's channels.

    Args:
        at: pairs of places; default: the deepest pair of stages (authors).

    >>> import torch
    >>> from redistill.terms import correlation_distance
    >>> s, t = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0]], [[1.0, 0.0]]]])
    >>> round(float(correlation_distance(s, t)), 4)                    # 2·((1 − √½)² + ½) / 2
    0.5858
    """

    at: At = None

    theorems: ClassVar[tuple[str, ...]] = ("non-negative", "batch permutation")
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)

    def setup(self, ctx: Context) -> None:
        pairs = named_or_paired(ctx, pairs_of(self.at))
        self.pairs = pairs if self.at is not None else pairs[-1:]
        self.embeddings = nn.ModuleList()
        for mine, theirs in self.pairs:
            c_s, c_t = map_shape("ICKD", ctx, "student", mine)[0], map_shape("ICKD", ctx, "teacher", theirs)[0]
            with rng.seeded(ctx.seed, "term", "ICKD", mine, theirs):
                self.embeddings.append(Connector(c_s, c_t))
        self.ready = True

    def distances(self, student: Output, teacher: Output) -> list[Tensor]:
        """One value a pair of places."""
        require_ready(self)
        found = []
        for embed, (mine, theirs) in zip(self.embeddings, self.pairs, strict=True):
            found.append(correlation_distance(embed(fitting(as_map(student[mine]), embed)), as_map(teacher[theirs])))
        return found

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return total(student, self.distances(student, teacher))

"""Factor transfer: a paraphraser puts the teacher's map in fewer channels, a translator makes the student's map say the same.

    L = mean_{b, x} |Q_s − Q_t|^p2,   Q = A / ‖A‖₂,   A = mean_c G^p1 of a factor G, flattened over positions
    R = mean (decoder(encoder(F_t)) − F_t)²                                 what the paraphraser learns from

Kim et al. 2018 (arXiv:1802.04977), eqs. 3 and 4, which normalise the factors themselves; RepDistiller, which the published
tables come from, first takes the mean over their channels, an attention map.

| source | method | use |
|---|---|---|
| RepDistiller, first stage | `FT(learns="paraphraser")` | 30 epochs on R alone, the student untouched (`student_mode = "eval"`) |
| RepDistiller, second stage | `CE() + 200 * FT(learns="translator")` | the paraphraser of the first stage, frozen; [student] `run` |
| here, in one stage | `CE() + 200 * FT()` | the paraphraser learns from R while the translator learns from it |

No gradient of L reaches the paraphraser and none of R the student, so the one stage differs from the two by what the
paraphraser says in the first epochs, and its gradient is not that of the sum: conformance is proven with the paraphraser
frozen. In one stage the term's weight multiplies both: R has weight 1 at the benchmark's weight 200.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready, require_taken_over
from redistill.terms.parts.maps import as_map, map_shape, named_or_paired, to_smaller
from redistill.terms.parts.wide import fitting, wide


def factor_distance(
    student: Float[Tensor, "batch channels height width"],
    teacher: Float[Tensor, "batch others high wide"],
    p1: int = 2,
    p2: int = 1,
) -> Float[Tensor, ""]:
    """Mean over images and positions of \\|Q_s − Q_t\\|^p2 of two factors [B, C, H, W]; the larger is averaged down first."""
    student, teacher = to_smaller(wide(student), wide(teacher))
    q_s, q_t = (F.normalize(f.pow(p1).mean(dim=1).flatten(1)) for f in (student, teacher))
    return (q_s - q_t).abs().mean() if p2 == 1 else (q_s - q_t).pow(p2).mean()


def _layers(widths: tuple[int, int, int, int], *, norm: bool, transposed: bool = False) -> nn.Sequential:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [kind(before, after, 3, stride=1, padding=1), nn.BatchNorm2d(after) if norm else nn.Sequential(), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


class Translator(nn.Module):
    """Three 3x3 convolutions with batch norm and leaky ReLU (slope 0.1): [B, C_s, H, W] to the factor [B, C_f, H, W]."""

    def __init__(self, channels: int, factors: int):
        super().__init__()
        self.encoder = _layers((channels, channels, factors, factors), norm=True)

    def forward(self, feature: Tensor) -> Tensor:
        out: Tensor = self.encoder(feature)
        return out


class Paraphraser(nn.Module):
    """The teacher's map to its factor by three 3x3 convolutions, and back by three transposed ones; no batch norm."""

    def __init__(self, channels: int, factors: int):
        super().__init__()
        self.encoder = _layers((channels, channels, factors, factors), norm=False)
        self.decoder = _layers((factors, factors, channels, channels), norm=False, transposed=True)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Factor [B, C_f, H, W] and reconstruction [B, C_t, H, W]."""
        factor: Tensor = self.encoder(feature)
        return factor, self.decoder(factor)


@dataclass(eq=False, repr=False)
class FT(Term):
    """Factor transfer at one pair of places.

    Args:
        at: the pair of places; default: the deepest pair of stages (RepDistiller's last feature map).
        k: channels of the factor as a share of the teacher's, rounded down; 0.5 in paper and code.
        p1: power of the factor's entries in the attention map, 2 in RepDistiller.
        p2: power of the distance, 1 in paper and code.
        reconstruction: weight of R beside L; 0 leaves the paraphraser at its first weights.
        learns: ``"both"`` in one stage; ``"paraphraser"``: R alone, with weight 1, the first of two stages; ``"translator"``: L alone,
            with the paraphraser of the first stage, frozen.

    >>> import torch
    >>> from redistill.terms import factor_distance
    >>> same, turned = torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[4.0, 3.0]]]])
    >>> factor_distance(same, 2 * same).item()                                          # the size of a factor does not count
    0.0
    >>> round(factor_distance(same, turned, p1=1).item(), 6)                            # (.6, .8) against (.8, .6)
    0.2
    """

    at: At = None
    k: float = 0.5
    p1: int = 2
    p2: int = 1
    reconstruction: float = 0.005
    learns: Literal["both", "paraphraser", "translator"] = "both"

    later: ClassVar[tuple[str, ...]] = ("learns",)
    hands_on: ClassVar[tuple[str, ...]] = ("paraphraser",)
    theorems: ClassVar[tuple[str, ...]] = ("non-negative", "batch permutation")
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)
        if self.at is not None and len(self.at) != 1:
            raise RedistillError(f"FT transfers the factors of one place, but at names {len(self.at)}: sum several terms for more")
        if not 0 < self.k < math.inf:
            raise RedistillError(f"FT(k={self.k}): the share of channels must be above 0 and finite")
        for name, power in (("p1", self.p1), ("p2", self.p2)):
            if power < 1:
                raise RedistillError(f"FT({name}={power}): a power is a whole number of at least 1")
        if self.p2 != 1 and self.p2 % 2:
            raise RedistillError(f"FT(p2={self.p2}): odd powers but 1 make a distance negative: give 1 or an even number")
        if not 0 <= self.reconstruction < math.inf:
            raise RedistillError(f"FT(reconstruction={self.reconstruction}): the weight must be at least 0 and finite")
        if self.learns not in ("both", "paraphraser", "translator"):
            raise RedistillError(f"FT(learns={self.learns!r}): known are 'both', 'paraphraser' and 'translator'")
        if self.learns != "both" and self.reconstruction != 0.005:
            raise RedistillError(
                f"FT(learns={self.learns!r}, reconstruction={self.reconstruction}): R has weight 1 in the first of two stages and none "
                f"in the second: leave reconstruction out"
            )

    def begins_with(self) -> tuple[str, ...]:
        return ("paraphraser",) if self.learns == "translator" else ()

    def setup(self, ctx: Context) -> None:
        self.pairs = named_or_paired(ctx, pairs_of(self.at))[-1:]
        ((mine, theirs),) = self.pairs
        c_s, c_t = map_shape("FT", ctx, "student", mine)[0], map_shape("FT", ctx, "teacher", theirs)[0]
        factors = int(c_t * self.k)
        if factors < 1:
            raise RedistillError(f"FT(k={self.k}) leaves no channel of the {c_t} at {theirs!r}: give a larger k")
        with rng.seeded(ctx.seed, "term", "FT", mine, theirs):
            self.translator, self.paraphraser = Translator(c_s, factors), Paraphraser(c_t, factors)
        self.translator.requires_grad_(self.learns != "paraphraser")
        self.paraphraser.requires_grad_(self.learns == "paraphraser" or (self.learns == "both" and self.reconstruction > 0))
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        require_taken_over(self)
        ((mine, theirs),) = self.pairs
        f_s, f_t = (fitting(as_map(f), self) for f in (student[mine], teacher[theirs]))
        if self.learns == "paraphraser":
            return (wide(self.paraphraser(f_t)[1]) - wide(f_t)).square().mean()
        if self.learns == "translator" or not self.reconstruction:
            return factor_distance(self.translator(f_s), self.paraphraser.encoder(f_t), self.p1, self.p2)
        factor, again = self.paraphraser(f_t)
        learnt = (wide(again) - wide(f_t)).square().mean()
        return factor_distance(self.translator(f_s), factor.detach(), self.p1, self.p2) + self.reconstruction * learnt

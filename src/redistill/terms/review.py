"""Knowledge review: the teacher's shallow stages are taught to all deeper stages of the student.

    L = Σ_j D( U_j, F_t^j ),   U_j = fusion(F_s^j, U_{j+1..n})        eq. 11, framework "residual"
    L = Σ_j Σ_{i≥j} D( M^{ij}(F_s^i), F_t^j )                          eq. 8-9, "pairs"
    L = Σ_j D( Σ_{i≥j} M^{ij}(F_s^i), F_t^j )                          eq. 10 with a sum, "sums" (reproduction)
    L = Σ_j D( M^{jj}(F_s^j), F_t^j )                                  the ablation's baseline, "levels"

D is the hierarchical context loss or the mean square, the fusion attention-based or a sum, M a 1x1 convolution with batch
norm and nearest resize. Chen et al. 2021 (arXiv:2104.09044); weights in the authors' scripts: 5 (WRN, ResNet8x4,
ShuffleNetV1), 8 (ShuffleNetV2), 0.6 (ResNet20), 1 (ResNet32), times ``Ramp(0, 20)``.

The ablation of Table 7, the same rows in the 2021 reproduction (arXiv:2205.11246):

| row | paper | reproduction |
|---|---|---|
| none | `Review(framework="levels", distance="mse")` | the same with `trained=False` |
| RM | `Review(framework="pairs", distance="mse")` | `Review(framework="sums", distance="mse", trained=False)` |
| RM + RLF | `Review(fusion="sum", distance="mse")` | the same with `mid=64` |
| RM + RLF + ABF | `Review(distance="mse")` | the same with `mid=64` |
| RM + RLF + HCL | `Review(fusion="sum")` | the same with `mid=64` and its HCL |
| all | `Review()` | the same with `mid=64` and its HCL |

Where paper and codes differ:

* The reproduction's HCL is ``keep="l<=h", count="listed", denominator=1.875``: 0.6 of the authors' for the pooled feature.
* In its first two rows the transforms sit in a plain list, so that no optimiser trains them: ``trained=False``.
* Authors and mdistiller warm the weight up over 20 epochs, which neither the paper nor the reproduction has.
* ``--use-kl`` of the authors' code adds softened KL (T = 4, weight 1) to the sum, outside the warm-up and outside the weight:
  `CE() + 5 * Ramp(0, 20) * Review() + 1.0 * KD(T=4.0)`. `use_kl` adds the same KL to the term itself, where both act on it too.
* The authors' CIFAR teacher stays in train mode (``Recipe.teacher_mode``); mdistiller's does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, Pair, RedistillError, Term, pairs_of, require_ready
from redistill.core.pairs import check_pairs, pair_stages
from redistill.terms.kd import check_logits, softened_kl
from redistill.terms.parts.abf import ABF, Cascade, Fusion, Size, Transform
from redistill.terms.parts.maps import as_map, map_shape, same_shape
from redistill.terms.parts.pyramid import Level, Pyramid, context_loss
from redistill.terms.parts.wide import adapting, fitting, wide

Framework = Literal["residual", "pairs", "sums", "levels"]


@dataclass(eq=False, repr=False)
class Review(Term):
    """Knowledge review between student and teacher levels, shallowest first.

    Unlike sizes meet at the teacher's by nearest resize. The pooled feature takes part as a map of one position. Batch
    norms of the adapters use batch statistics in train mode, so a batch needs two images or more.

    Args:
        at: pairs of places, shallowest first; default: every stage, then the pooled features where both networks have
            them (for the frameworks other than ``"residual"`` also the stems before, as in the paper's ablation). Equally
            many stages are paired one to one, as in all published pairs, else by resolution. The teacher's stages are read
            before the activation (``stage2:pre``) where it declares such places.
        framework: see the module's formulas; ``"residual"`` is the method.
        fusion: ``"attention"``, ``"sum"``, or ``"figure3a"``, without middle channels; of the residual framework.
        distance: ``"hcl"`` or ``"mse"``, the mean square.
        mid: channels of the residual; default min(512, the deepest student map's) (authors); 64 in the reproduction.
        levels: of the pyramid of HCL: cells a side, or ``"h"`` (the map itself), ``"h/2"``, ``"h-1"`` ...
        weights: one a level; 1, ½, ¼, ⅛ everywhere.
        keep: levels smaller than the map, ``"l<h"`` (authors), or up to it, ``"l<=h"`` (reproduction).
        count: weights in the order of ``"use"`` (authors) or as ``"listed"`` (reproduction).
        denominator: sum of the weights ``"used"`` (authors) or a number, 1.875 in the reproduction.
        trained: False leaves the adapters at their first weights (reproduction, rows none and RM).
        use_kl: add ``kl_weight`` times the softened KL of the logits at temperature ``T`` (authors' ``--use-kl``, off in all their
            tables); the term's own weight multiplies it too.
        kl_weight: of that KL, 1 in the authors' code.
        T: its temperature, 4 there.

    >>> import torch
    >>> from redistill.core import Context
    >>> from torch import nn
    >>> shapes = {"stage1": (2, 4, 8, 8), "pooled": (2, 4)}
    >>> review = Review()
    >>> review.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, ("stage1",), ("stage1",), classes=3))
    >>> review.pairs
    (('stage1', 'stage1'), ('pooled', 'pooled'))
    >>> [name for name, _ in review.named_parameters() if "att_conv" in name]        # the deepest has nothing to fuse with
    ['cascade.abfs.1.att_conv.0.weight', 'cascade.abfs.1.att_conv.0.bias']
    """

    at: At = None
    framework: Framework = "residual"
    fusion: Fusion = "attention"
    distance: Literal["hcl", "mse"] = "hcl"
    mid: int | None = None
    levels: tuple[Level, ...] = ("h", 4, 2, 1)
    weights: tuple[float, ...] = (1.0, 0.5, 0.25, 0.125)
    keep: Literal["l<h", "l<=h"] = "l<h"
    count: Literal["use", "listed"] = "use"
    denominator: Literal["used"] | float = "used"
    trained: bool = True
    use_kl: bool = False
    kl_weight: float = 1.0
    T: float = 4.0

    later: ClassVar[tuple[str, ...]] = ("use_kl", "kl_weight", "T")
    needs_pairs: ClassVar[bool] = True
    theorems: ClassVar[tuple[str, ...]] = ("non-negative", "batch permutation")
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)
        if not isinstance(self.levels, list | tuple):
            raise RedistillError(f"Review(levels={self.levels!r}): must be a list, cells a side and 'h' for the map itself")
        self.levels = tuple(self.levels)  # files have lists
        self.pyramid = Pyramid(self.levels, self.weights, self.keep, self.count, self.denominator)
        if self.framework not in ("residual", "pairs", "sums", "levels"):
            raise RedistillError(f"Review(framework={self.framework!r}): known are 'residual', 'pairs', 'sums' and 'levels'")
        if self.fusion not in ("attention", "sum", "figure3a"):
            raise RedistillError(f"Review(fusion={self.fusion!r}): known are 'attention', 'sum' and 'figure3a'")
        if self.distance not in ("hcl", "mse"):
            raise RedistillError(f"Review(distance={self.distance!r}): known are 'hcl' and 'mse'")
        if self.mid is not None and self.mid < 1:
            raise RedistillError(f"Review(mid={self.mid}): the residual needs at least 1 channel, or None for its default")
        if not 0 < self.T < math.inf or not 0 <= self.kl_weight < math.inf:
            raise RedistillError(f"Review(T={self.T}, kl_weight={self.kl_weight}): a temperature above 0 and a weight of at least 0")
        if not self.use_kl and (self.kl_weight != 1.0 or self.T != 4.0):
            raise RedistillError(f"Review(kl_weight={self.kl_weight}, T={self.T}): they are of the KL that use_kl adds, and it is off")
        if self.use_kl:
            self.compares_logits = True  # type: ignore[misc]  # with these settings, not the class
        if self.framework != "residual" and (self.fusion != "attention" or self.mid is not None):
            raise RedistillError(
                f"Review(framework={self.framework!r}) fuses nothing, so it takes neither fusion={self.fusion!r} nor "
                f"mid={self.mid}: leave them out"
            )

    def setup(self, ctx: Context) -> None:
        named = pairs_of(self.at)
        self.pairs = self._own_pairs(ctx) if named is None else check_pairs(ctx, named)
        channels_s = [map_shape("Review", ctx, "student", mine, tokens=False)[0] for mine, _ in self.pairs]
        channels_t = [map_shape("Review", ctx, "teacher", theirs, tokens=False)[0] for _, theirs in self.pairs]
        with rng.seeded(ctx.seed, "term", "Review"):
            if self.framework == "residual":
                self.cascade = Cascade(channels_s, channels_t, self.mid, self.fusion)
            else:
                self.transforms = nn.ModuleList(Transform(channels_s[i], channels_t[j]) for i, j in self._routes())
        if not self.trained:
            self.requires_grad_(False)
        self.ready = True

    def quicker(self, *, bf16: bool) -> None:
        super().quicker(bf16=bf16)
        for module in self.modules():
            if isinstance(module, ABF):
                module.apart = True

    def _own_pairs(self, ctx: Context) -> tuple[Pair, ...]:
        stages = pair_stages(ctx)
        if len(ctx.student_stages) == len(ctx.teacher_stages):
            stages = tuple(zip(ctx.student_stages, ctx.teacher_stages, strict=True))
        pre = tuple((mine, f"{theirs}:pre" if f"{theirs}:pre" in ctx.teacher_places else theirs) for mine, theirs in stages)

        def both(place: str) -> tuple[Pair, ...]:
            return ((place, place),) if place in ctx.student_places and place in ctx.teacher_places else ()

        return (*(both("stem") if self.framework != "residual" else ()), *pre, *both("pooled"))

    def _routes(self) -> list[tuple[int, int]]:
        """(student level i, teacher level j) of every transform, j by j."""
        n = len(self.pairs)
        return [(i, j) for j in range(n) for i in range(j, n) if i == j or self.framework != "levels"]

    def _distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        if self.distance == "hcl":
            return context_loss(student, teacher, self.pyramid)
        same_shape("Review", student, teacher)
        return (student - teacher).square().sum() / teacher.numel()

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        features = [fitting(as_map(student[mine]), self) for mine, _ in self.pairs]
        targets = [wide(as_map(teacher[theirs])) for _, theirs in self.pairs]
        total = wide(student.logits).new_zeros(())
        with adapting(self.in_bf16, student.logits):
            reviewed = self._reviewed(features, targets)
        for made, target in reviewed:
            total = total + self._distance(wide(made), target)
        if not self.use_kl:
            return total
        check_logits("Review", student.logits, teacher.logits)
        return total + self.kl_weight * self.T**2 * softened_kl(student.logits, teacher.logits, self.T).sum() / len(student.logits)

    def _reviewed(self, features: list[Tensor], targets: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """What is compared: (made from the student, the teacher's)."""
        sizes: list[Size] = [(t.shape[2], t.shape[3]) for t in targets]
        if self.framework == "residual":
            return list(zip(self.cascade(features, sizes), targets, strict=True))
        routes = self._routes()
        made = [transform(features[i], sizes[j]) for transform, (i, j) in zip(self.transforms, routes, strict=True)]
        if self.framework != "sums":
            return [(one, targets[j]) for one, (_, j) in zip(made, routes, strict=True)]
        levels = [[one for one, (_, at) in zip(made, routes, strict=True) if at == j] for j in range(len(targets))]
        return [(sum(many[1:], start=many[0]), target) for many, target in zip(levels, targets, strict=True)]

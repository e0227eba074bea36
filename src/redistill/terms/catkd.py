"""Class attention transfer: where a network sees each class should be where its teacher sees it.

    A_c(x) = Σ_k w_ck F_k(x)               class activation map: the classifier, without its bias, at every position of the last map
    L = mean (P(A_s) − P(A_t))²            P: adaptive average pooling to size x size;  normalised: each pooled map over its length

Guo et al. 2023 (CVPR, "Class attention transfer based knowledge distillation"). Its networks have the classifier as
a 1x1 convolution before the pooling; the mean of A over all positions plus the bias is the logit, so any network that pools and
then classifies has these maps. The last map is read after its activation, right before the pooling, where a module gives it: of a
network that calls its last activation as a function (torchvision's DenseNet) it is the map before that, whose mean is no logit.

| source | term | weight |
|---|---|---|
| paper and the defaults of the code | `CATKD(normalise=True)` with CE | 400 |
| every CIFAR-100 file of the code | `CATKD()` with CE | 15 (ResNet-32x4 to 8x4), 12 (WRN-40-2 to 16-2); by pair |
| CAT, without labels | `CATKD(normalise=True)` alone | |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready
from redistill.core.pairs import check_pairs
from redistill.terms.parts.classifier import classifier_of, map_before_pooling
from redistill.terms.parts.maps import map_shape
from redistill.terms.parts.unowned import UnownedModule
from redistill.terms.parts.vectors import of_unit_length
from redistill.terms.parts.wide import wide


def activation_maps(
    feature: Float[Tensor, "batch channels height width"], weight: Float[Tensor, "classes channels"]
) -> Float[Tensor, "batch classes height width"]:
    """Class activation maps of a map [B, K, H, W] under classifier weights [C, K]."""
    feature = wide(feature)
    return F.conv2d(feature, wide(weight).to(feature.dtype)[:, :, None, None])


def attention_gap(
    student: Float[Tensor, "batch classes height width"],
    teacher: Float[Tensor, "batch classes high broad"],
    size: int = 2,
    *,
    normalise: bool = False,
) -> Float[Tensor, ""]:
    """Mean squared difference of two sets of class activation maps, pooled to size x size: a scalar."""
    s, t = (F.adaptive_avg_pool2d(maps, (size, size)) for maps in (student, teacher))
    if normalise:
        s, t = (of_unit_length(maps.flatten(2), dim=2) for maps in (s, t))
    return (s - t).square().sum() / t.numel()


@dataclass(eq=False, repr=False)
class CATKD(Term):
    """Class attention transfer between two networks that pool their last map and classify it by one linear layer.

    Args:
        at: the pair of maps; default: of each network the last map as wide as its classifier's input.
        size: cells a side to which the maps are pooled, 2.
        normalise: each class's pooled map over its length; see the module's table.

    >>> import torch
    >>> from redistill.terms import activation_maps, attention_gap
    >>> feature = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 2.0]]]])         # two channels, 2x2
    >>> seen = activation_maps(feature, torch.tensor([[1.0, 0.0], [0.0, 3.0]]))
    >>> seen[0, 1].tolist(), float(attention_gap(seen, torch.zeros(1, 2, 2, 2)))               # (1² + 6²) / 8
    ([[0.0, 0.0], [0.0, 6.0]], 4.625)
    """

    at: At = None
    size: int = 2
    normalise: bool = False

    theorems: ClassVar[tuple[str, ...]] = ("non-negative", "batch permutation")
    compares_logits: ClassVar[bool | None] = True
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)
        if self.at is not None and len(self.at) != 1:
            raise RedistillError(f"CATKD reads one map of each network, but at names {len(self.at)} pairs")
        if self.size < 1:
            raise RedistillError(f"CATKD(size={self.size}): at least 1 cell a side is needed")
        self._student, self._teacher = UnownedModule(None), UnownedModule(None)

    def setup(self, ctx: Context) -> None:
        named = pairs_of(self.at)
        own = ((map_before_pooling("CATKD", ctx, "student"), map_before_pooling("CATKD", ctx, "teacher")),) if named is None else named
        self.pairs = check_pairs(ctx, own)
        ((mine, theirs),) = self.pairs
        layers = classifier_of("CATKD", ctx, "student"), classifier_of("CATKD", ctx, "teacher")
        for layer, whose, place in ((layers[0], "student", mine), (layers[1], "teacher", theirs)):
            width = map_shape("CATKD", ctx, "student" if whose == "student" else "teacher", place, tokens=False)[0]
            if width != layer.in_features:
                raise RedistillError(
                    f"CATKD puts the {whose}'s classifier on its map {place!r}, which has {width} channels where the classifier takes "
                    f"{layer.in_features}: name the map before the pooling"
                )
        self._student, self._teacher = UnownedModule(layers[0]), UnownedModule(layers[1])
        self.ready = True

    def attach(self, student: nn.Linear, teacher: nn.Linear) -> None:
        """Point a restored term (pickling leaves the networks out) at the two classifiers."""
        self._student, self._teacher = UnownedModule(student), UnownedModule(teacher)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        ((mine, theirs),) = self.pairs
        own, given = (seen.net("CATKD", "term.attach(student.fc, teacher.fc)") for seen in (self._student, self._teacher))
        assert isinstance(own, nn.Linear) and isinstance(given, nn.Linear)
        a_s = activation_maps(student[mine], own.weight)
        a_t = activation_maps(teacher[theirs], given.weight.detach())
        return attention_gap(a_s, a_t, self.size, normalise=self.normalise)

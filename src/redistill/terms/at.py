"""Attention transfer: where the student looks should be where the teacher looks, channel by channel or not.

    Q = vec((1/C) Σ_c A_c^p),   ΔQ = Q_S/‖Q_S‖₂ − Q_T/‖Q_T‖₂

    mean:  L = Σ_l (1/(B·H·W)) Σ_b Σ_i ΔQ_bi²         every released code
    sum:   L = Σ_l (1/B) Σ_b ‖ΔQ_b‖₂²
    norm:  L = Σ_l (1/B) Σ_b ‖ΔQ_b‖₂                  the papers

Zagoruyko & Komodakis 2017 (arXiv:1612.03928), eq. 2 with F²_sum, weighted β/2; Micaelli & Storkey 2019
(arXiv:1905.09768), eq. 1, weighted β. Mean or sum over channels is the same after the normalisation.

Where paper and codes differ:

| source | term | weight | effect |
|---|---|---|---|
| AT eq. 2 | `AT(form="norm", factor=0.5)` | β | unsquared norm, half |
| AT code, CRD, DKD, the reproducibility report's KD-AT | `AT()` | 1000 | (1000/HW)·‖ΔQ‖² |
| Micaelli eq. 1 | `AT(form="norm")` | 250 | unsquared norm |
| KTH course report (TensorFlow) | `AT(over="batch")` | 250 | one length for the maps of a whole batch: about 1/B of `AT()` |
| Micaelli code, the reproducibility report's zero-shot | `AT()` | 250 | (250/HW)·‖ΔQ‖²: 0.24 for 32x32, 3.9 for 8x8 maps |

All codes raise the activations to p without an absolute value, so that signs count for odd p; the paper writes |A|.
Zagoruyko's "β about 0.1 = 10³ / (elements of the map · batch)" holds for 8x8 maps and a batch of 128 only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from redistill.core import At, Batch, Context, Output, RedistillError, Summary, Term, pairs_of, require_ready
from redistill.core.pairs import require_common_stages
from redistill.terms.parts.layers import named_at, total
from redistill.terms.parts.maps import as_map, average_to, map_shape, named_or_paired, to_smaller
from redistill.terms.parts.wide import wide

Form = Literal["mean", "sum", "norm"]
Over = Literal["image", "batch"]


def attention_map(
    feature: Float[Tensor, "batch channels height width"],
    p: float = 2.0,
    *,
    absolute: bool = False,
    normalise: bool = True,
    over: Over = "image",
) -> Float[Tensor, "batch height*width"]:
    """Attention of maps [B, C, H, W] over positions: [B, H·W], of unit length where ``normalise``, image by image or all
    together (``over="batch"``).

    >>> import torch
    >>> attention_map(torch.tensor([[[[1.0, 0.0]], [[1.0, 2.0]]]]), normalise=False)     # (1+1)/2, (0+4)/2
    tensor([[1., 2.]])
    """
    attention = _over_channels(feature, p, absolute)
    return _of_unit_length(attention, over) if normalise else attention


def _over_channels(feature: Tensor, p: float, absolute: bool) -> Tensor:
    """(1/C) Σ_c A_c^p, [B, H·W] of [B, C, H, W], [B, N] of tokens [B, N, C]."""
    feature = wide(as_map(feature))
    channels = feature.shape[1]
    raised = (feature.abs() if absolute else feature).pow(p)
    return raised.sum(dim=1).flatten(1) / channels


def _of_unit_length(attention: Tensor, over: Over) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(attention, dim=1 if over == "image" else (0, 1), keepdim=True)
    return attention / length.clamp_min(1e-12)  # the codes' guard against a dead map


def attention_distance(
    student: Float[Tensor, "batch positions"], teacher: Float[Tensor, "batch positions"], form: Form = "mean"
) -> Float[Tensor, ""]:
    """Distance of two attention maps [B, N]: a scalar, mean over images; ``form`` as in the module's formulas."""
    difference = wide(student) - wide(teacher)
    images, positions = difference.shape
    if form == "norm":
        # vector_norm has gradient 0 at 0, where the square root of a sum would have none
        lengths: Tensor = torch.linalg.vector_norm(difference, dim=1)
        return lengths.sum() / images
    squared: Tensor = difference.square().sum() / images
    return squared if form == "sum" else squared / positions


@dataclass(eq=False, repr=False)
class AT(Term):
    """Attention transfer between pairs of feature maps, summed over pairs. No adapters: any channel counts meet.

    Maps of unlike size meet at the smaller: the larger is averaged down before its activations are raised to p (CRD
    benchmark; the other codes refuse). Features are read as the network gives them: stages of a WRN are raw sums, those of
    a ResNet come after the activation.

    Args:
        at: pairs of places; default: every pair of stages. Networks of unlike families that share no resolution and differ in
            the number of stages need it (Micaelli's code allows attention within one family only).
        p: exponent of the activations, 1 or more, 2 everywhere; fractions need ``absolute``.
        form: ``"mean"`` (all codes), ``"sum"`` or ``"norm"`` (the papers' equations).
        absolute: |A|^p as the paper writes instead of A^p as all codes compute; the same for even p.
        normalise: divide each map by its length (always, in papers and codes).
        factor: constant; 0.5 is the ½ of the paper's β/2.
        over: what has the length 1: each ``"image"``'s map (everywhere else) or the maps of the ``"batch"`` together
            (``tf.nn.l2_normalize`` without an axis).

    >>> import torch
    >>> from redistill.core import Batch, Output
    >>> s, t = torch.tensor([[[[3.0, 0.0]]]]), torch.tensor([[[[0.0, 2.0]]]])    # look left, look right
    >>> out = lambda feature: Output(torch.zeros(1, 2), {"stage1": feature})
    >>> float(AT(at="stage1")(out(s), out(t), Batch(s)))                         # (1² + 1²) / 2 positions
    1.0
    """

    at: At = None
    p: float = 2.0
    form: Form = "mean"
    absolute: bool = False
    normalise: bool = True
    factor: float = 1.0
    over: Over = "image"

    later: ClassVar[tuple[str, ...]] = ("over",)
    theorems: ClassVar[tuple[str, ...]] = (
        "zero at match", "non-negative", "batch permutation", "channel permutation", "feature scale"
    )

    def check(self) -> None:
        self.at, self.pairs, self.ready = named_at(self.at)
        self._sizes: dict[str, tuple[int, int]] = {}  # of the teacher's maps of which sums over channels suffice
        if not 1 <= self.p < math.inf:
            raise RedistillError(
                f"AT(p={self.p}): the exponent must be a number of 1 or more (below 1 the gradient is infinite wherever an activation "
                f"is exactly 0, as after every ReLU)"
            )
        if self.p != int(self.p) and not self.absolute:
            raise RedistillError(f"AT(p={self.p}): a negative activation has no such power; add absolute=True")
        if self.form not in ("mean", "sum", "norm"):
            raise RedistillError(f"AT(form={self.form!r}): known are 'mean', 'sum' and 'norm'")
        if self.over not in ("image", "batch"):
            raise RedistillError(f"AT(over={self.over!r}): known are 'image' and 'batch'")
        self._summary = Summary(  # of each position one number instead of its C channels
            f"attention(p={float(self.p)!r}, absolute={bool(self.absolute)})",
            partial(_over_channels, p=self.p, absolute=self.absolute),
            self.numerics,
        )

    def setup(self, ctx: Context) -> None:
        if self.at is None:
            require_common_stages(ctx, "AT")
        self.pairs = named_or_paired(ctx, pairs_of(self.at))
        for mine, theirs in self.pairs:
            for place, shape in ((mine, ctx.shape("student", mine)), (theirs, ctx.shape("teacher", theirs))):
                if len(shape) != 3 and (len(shape) != 4 or shape[2] * shape[3] == 1):
                    raise RedistillError(
                        f"AT compares where maps [B, C, H, W] are active, but {place!r} has shape {list(shape)}: "
                        f"name places with more than one position"
                    )
        larger = set()  # these are averaged down before they are raised to p
        for mine, theirs in self.pairs:
            (_, h_s, w_s), (_, h_t, w_t) = map_shape("AT", ctx, "student", mine), map_shape("AT", ctx, "teacher", theirs)
            self._sizes[theirs] = (h_t, w_t)
            larger |= {theirs} if h_t > h_s or w_t > w_s else set()
        self._sizes = {theirs: size for theirs, size in self._sizes.items() if theirs not in larger}
        self.ready = True

    def summaries(self) -> Mapping[str, Summary]:
        return dict.fromkeys(self._sizes, self._summary)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        return self.factor * total(student, self.distances(student, teacher))

    def distances(self, student: Output, teacher: Output) -> list[Tensor]:
        """One distance a pair, in the order of ``pairs``, without ``factor``."""
        found, summary = [], self._summary
        for mine, theirs in self.pairs:
            f_s, a_t = wide(student[mine]), teacher.taps.get(summary.at(theirs))
            if a_t is None:
                f_s, f_t = to_smaller(f_s, wide(teacher[theirs]))
                a_t = summary.of(f_t)
            else:
                f_s = average_to(as_map(f_s), *self._sizes[theirs])
            attention = summary.of(f_s), a_t
            q_s, q_t = (_of_unit_length(a, self.over) for a in attention) if self.normalise else attention
            found.append(attention_distance(q_s, q_t, self.form))
        return found

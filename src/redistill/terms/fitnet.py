"""FitNets' hint: the student's middle feature, through a small regressor, should be the teacher's.

    image:     L = ½ Σ_{c,h,w} (r(F_s) − F_t)², mean over images            FitNets eq. 3
    position:  L = ½ Σ_c (r(F_s) − F_t)², mean over images and positions    the authors' code
    element:   L = (r(F_s) − F_t)², mean over all entries                   CRD benchmark, mdistiller

Romero et al. 2015 (arXiv:1412.6550), eq. 3, with a convolutional regressor r whose kernel k makes the sizes meet:
N_s − k + 1 = N_t.

Where paper and codes differ:

| source | term | use |
|---|---|---|
| paper | `FitNet(reduction="batch", factor=0.5, norm=False, relu=False)` | alone, up to the guided layer, before distillation |
| authors' code | `FitNet(reduction="position", factor=0.5, norm=False, relu=False)` | the same |
| CRD benchmark, mdistiller | `FitNet()` | jointly: CE + 100 · this |
| TensorFlow code | `FitNet(norm=False, relu=False, bias=False, side="teacher")` | alone, every group; the *teacher's* map is regressed |

The "FitNet" rows of the CRD, ReviewKD and DKD tables are `FitNet()`: regressor with batch norm and ReLU, one stage of
training. For a map of N = C·H·W entries weight 100 there equals weight 200/N on the paper's ½ sum.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready
from redistill.terms.parts.maps import MapShape, as_map, average_to, map_shape, named_or_paired, same_shape
from redistill.terms.parts.wide import adapting, fitting, wide

Reduction = Literal["element", "position", "batch"]


def hint_distance(
    regressed: Float[Tensor, " ..."], target: Float[Tensor, " ..."], reduction: Reduction = "element"
) -> Float[Tensor, ""]:
    """Squared distance of two maps [B, C, H, W]: a scalar, without ½.

    ``"element"``: mean over all entries. ``"position"``: sum over channels, mean over images and positions. ``"batch"``:
    sum over an image's entries, mean over images.
    """
    same_shape("FitNet", regressed, target)
    regressed, target = wide(regressed), wide(target)
    images, channels, height, width = target.shape
    parts = {"element": images * channels * height * width, "position": images * height * width, "batch": images}
    return (regressed - target).square().sum() / parts[reduction]


class Regressor(nn.Module):
    """Brings the student's map to the teacher's channels and size: ``conv``, then ``bn`` and ReLU where asked.

    The convolution follows from the sizes (RepDistiller, after N_s − k + 1 = N_t of the paper):

    * student twice the teacher: 3x3, stride 2, padding 1
    * teacher twice the student: transposed 4x4, stride 2, padding 1
    * student at least the teacher: kernel 1 + N_s − N_t, axis by axis
    * anything else (no rule is published): adaptive average pooling to the teacher's size, then 1x1

    Args:
        student, teacher: (channels, height, width) of the map that is regressed and of the one that it is to resemble.
        norm: batch norm (eps 1e-5, momentum 0.1). relu: ReLU at the end. bias: of the convolution.
    """

    def __init__(self, student: MapShape, teacher: MapShape, *, norm: bool = True, relu: bool = True, bias: bool = True):
        super().__init__()
        (c_s, h_s, w_s), (c_t, h_t, w_t) = student, teacher
        self.size: tuple[int, int] | None = None
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if (h_s, w_s) == (2 * h_t, 2 * w_t):
            self.conv = nn.Conv2d(c_s, c_t, kernel_size=3, stride=2, padding=1, bias=bias)
        elif (2 * h_s, 2 * w_s) == (h_t, w_t):
            self.conv = nn.ConvTranspose2d(c_s, c_t, kernel_size=4, stride=2, padding=1, bias=bias)
        elif h_s >= h_t and w_s >= w_t:
            self.conv = nn.Conv2d(c_s, c_t, kernel_size=(1 + h_s - h_t, 1 + w_s - w_t), bias=bias)
        else:
            self.size = (h_t, w_t)
            self.conv = nn.Conv2d(c_s, c_t, kernel_size=1, bias=bias)
        self.bn = nn.BatchNorm2d(c_t) if norm else nn.Identity()
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C_s, H_s, W_s] to [B, C_t, H_t, W_t]."""
        if self.size is not None:
            feature = average_to(feature, *self.size)
        out: Tensor = self.relu(self.bn(self.conv(feature)))
        return out


@dataclass(eq=False, repr=False)
class FitNet(Term):
    """Hint of the teacher's middle layer through a trained regressor; summed over pairs where several are named.

    Args:
        at: pairs of places; default: the middle one of the paired stages (RepDistiller's hint layer 2 is stage 2 of
            three). Vectors [B, C] count as maps of one position.
        norm, relu: batch norm and ReLU in the regressor, on in the CRD benchmark and mdistiller, absent in the paper.
        reduction: see the module's formulas; ``"element"`` in the CRD benchmark.
        factor: constant; 0.5 in paper and authors' code.
        bias: of the regressor's convolution.
        side: whose map is regressed, the ``"student"``'s (everywhere else) or the
            ``"teacher"``'s, whose regressor then learns too (the TensorFlow reproduction, which leaves maps of equal width as they are).

    >>> import torch
    >>> from redistill.core import Batch, Context, Output
    >>> from torch import nn
    >>> shapes = {"stage2": (2, 1, 1, 1)}
    >>> hint = FitNet(at="stage2", norm=False, relu=False)
    >>> hint.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), classes=3))
    >>> hint.regressors[0].conv.load_state_dict({"weight": torch.full((1, 1, 1, 1), 2.0), "bias": torch.ones(1)})
    <All keys matched successfully>
    >>> out = lambda value: Output(torch.zeros(2, 3), {"stage2": torch.full((2, 1, 1, 1), value)})
    >>> hint(out(3.0), out(5.0), Batch(torch.zeros(2, 1, 1, 1))).item()       # (2·3 + 1 - 5)²
    4.0
    """

    at: At = None
    norm: bool = True
    relu: bool = True
    reduction: Reduction = "element"
    factor: float = 1.0
    bias: bool = True
    side: Literal["student", "teacher"] = "student"

    later: ClassVar[tuple[str, ...]] = ("bias", "side")
    theorems: ClassVar[tuple[str, ...]] = ("non-negative", "batch permutation")
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)
        if self.reduction not in ("element", "position", "batch"):
            raise RedistillError(f"FitNet(reduction={self.reduction!r}): known are 'element', 'position' and 'batch'")
        if self.side not in ("student", "teacher"):
            raise RedistillError(f"FitNet(side={self.side!r}): known are 'student' and 'teacher'")

    def setup(self, ctx: Context) -> None:
        pairs = named_or_paired(ctx, pairs_of(self.at))
        self.pairs = pairs if self.at is not None else (pairs[(len(pairs) - 1) // 2],)
        self.regressors = nn.ModuleList()
        for mine, theirs in self.pairs:
            student, teacher = map_shape("FitNet", ctx, "student", mine), map_shape("FitNet", ctx, "teacher", theirs)
            with rng.seeded(ctx.seed, "term", "FitNet", mine, theirs):
                self.regressors.append(self._regressor(*((student, teacher) if self.side == "student" else (teacher, student))))
        self.ready = True

    def _regressor(self, source: MapShape, target: MapShape) -> nn.Module:
        if self.side == "teacher" and source == target and not self.norm and not self.relu:
            return nn.Identity()  # the TensorFlow reproduction: a map of equal width meets the student's as it is
        return Regressor(source, target, norm=self.norm, relu=self.relu, bias=self.bias)

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        total = wide(student.logits).new_zeros(())
        for regressor, (mine, theirs) in zip(self.regressors, self.pairs, strict=True):
            f_s, f_t = as_map(student[mine]), as_map(teacher[theirs])
            source, target = (f_s, f_t) if self.side == "student" else (f_t, f_s)
            with adapting(self.in_bf16, source):
                regressed = regressor(fitting(source, regressor))
            total = total + self.factor * hint_distance(regressed, target, self.reduction)
        return total

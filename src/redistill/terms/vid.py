"""Variational information distillation: keep mutual information with the teacher's features by predicting them.

    L = Σ_l ½ [ (μ_c(F_s) − F_t)² / σ_c² + log σ_c² ],   σ_c² = log(1 + e^{a_c}) + ε

a lower bound of the mutual information with q(t|s) = N(μ(s), σ²), one trained variance a_c for each teacher channel, μ a
small network of 1x1 convolutions. Ahn et al. 2019 (arXiv:1904.05835), the Gaussian form of its loss; the paper was not
readable to us, so the formula is that of the authors' code as the CRD benchmark carries it.

Where the codes differ:

| source | term | difference |
|---|---|---|
| paper | `VID(reduction="batch")` | sum over channels and positions, so λ is C·H·W times smaller |
| CRD benchmark, "code from author" | `VID()` | mean over all entries; weight 1 |
| mdistiller | `VID(train_variance=False)` | variances in a plain list: never trained, σ² = 5, so MSE/10 + constant |
| TensorFlow code, HEAD | `VID(regressor="norm", eps=1e-3, init_log_scale=5.0)` | norm and ReLU after every convolution, 2C, 2C, C |
| TensorFlow code, branch with results | `VID(regressor="norm-linear", eps=1.0, init_log_scale=5.0)` | no ReLU last, σ² above 1 |

In the CRD benchmark weight decay pulls a_c towards 0, that is σ² towards log 2. All drop the constant ½ log 2π.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from redistill import rng
from redistill.core import At, Batch, Context, Output, RedistillError, Term, pairs_of, require_ready
from redistill.terms.parts.maps import as_map, map_shape, named_or_paired, same_shape, to_smaller
from redistill.terms.parts.wide import HALF, adapting, wide

Regression = Literal["plain", "norm", "norm-linear"]


def vid_loss(
    mean: Float[Tensor, "batch channels height width"],
    variance: Float[Tensor, " channels"],
    target: Float[Tensor, "batch channels height width"],
    reduction: Literal["element", "batch"] = "element",
    constant: bool = False,
) -> Float[Tensor, ""]:
    """Negative log-likelihood of ``target`` [B, C, H, W] under N(mean, variance): a scalar.

    Args:
        mean: [B, C, H, W]. variance: [C].
        reduction: ``"element"``: mean over all entries. ``"batch"``: sum over an image's entries, mean over images.
        constant: with ½ log 2π an entry, which moves no gradient.

    >>> import torch
    >>> one = torch.ones(1, 1, 1, 1)
    >>> float(vid_loss(one, torch.ones(1), 3 * one))      # (1 - 3)² / 2 + log(1) / 2
    2.0
    """
    same_shape("VID", mean, target)
    more = 0.5 * math.log(2.0 * math.pi) if constant else 0.0
    total: Tensor = _LikelihoodSum.apply(wide(mean) - wide(target), wide(variance)[:, None, None], more)
    return total / (mean.numel() if reduction == "element" else mean.shape[0])


class _LikelihoodSum(torch.autograd.Function):
    """Σ ½ [ difference² / spread + log spread ] + more, with the gradients that autograd finds of this formula, bit for bit.

    Autograd lays the gradient of a sum out row after row, whatever the layout of the maps: their own gradient was computed across
    both layouts, and the regressor's last convolution turned it back. Here it stays in the layout of the maps. Only the gradient of
    the spread is summed row after row as before: in another order its last bits would change.
    """

    @staticmethod
    def forward(ctx: Any, difference: Tensor, spread: Tensor, more: float) -> Tensor:
        """difference: [B, C, H, W]. spread: [C, 1, 1]."""
        quotient = difference.square() / spread
        ctx.save_for_backward(difference, quotient, spread)
        entries = (quotient + spread.log()).mul_(0.5)
        return (entries.add_(more) if more else entries).sum()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        difference, quotient, spread = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again: what forward made without a graph is made anew with one
            quotient = difference.square() / spread
        half = 0.5 * gradient
        of_difference = difference * (2.0 * (half / spread)) if ctx.needs_input_grad[0] else None
        of_spread = None
        if ctx.needs_input_grad[1]:
            of_logarithm = half.new_empty(quotient.shape).fill_(half).sum_to_size(spread.shape) / spread
            of_quotient = (quotient / spread).mul_(-half).contiguous().sum_to_size(spread.shape)
            of_spread = of_logarithm + of_quotient
        return of_difference, of_spread, None


class VariationalHead(nn.Module):
    """q(t | s) for one pair of maps: ``regressor`` gives the mean, ``log_scale`` [C_t] one variance a channel.

    Args:
        in_channels, out_channels: of student and teacher.
        mid_channels: between the convolutions; default C_t (``"plain"``) or 2·C_t (the others).
        regressor: ``"plain"``: 1x1 convolutions without bias, ReLU between. ``"norm"``: batch norm and ReLU after each.
            ``"norm-linear"``: batch norm after each (without gains, epsilon 1e-3), ReLU between.
        init_pred_var: the variance before training. eps: its floor.
        init_log_scale: the value of a_c itself instead of ``init_pred_var``.
        train_variance: False keeps the variances at their start (a saved buffer).

    ``forward`` takes [B, C_s, H, W] and returns (mean [B, C_t, H, W], variance [C_t]).
    """

    log_scale: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        mid_channels: int | None = None,
        *,
        regressor: Regression = "plain",
        init_pred_var: float = 5.0,
        eps: float = 1e-5,
        init_log_scale: float | None = None,
        train_variance: bool = True,
    ):
        super().__init__()
        self.eps = eps
        start = math.log(math.expm1(init_pred_var - eps)) if init_log_scale is None else init_log_scale
        scales = torch.full((out_channels,), start)
        if train_variance:
            self.log_scale = nn.Parameter(scales)
        else:
            self.register_buffer("log_scale", scales)
        if mid_channels is None:
            mid_channels = out_channels if regressor == "plain" else 2 * out_channels
        widths = (in_channels, mid_channels, mid_channels, out_channels)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers.append(nn.Conv2d(before, after, kernel_size=1, bias=False))
            if regressor == "norm-linear":
                norm = nn.BatchNorm2d(after, eps=1e-3, momentum=0.001)
                norm.register_parameter("weight", None)
                layers.append(norm)
            elif regressor == "norm":
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.ReLU())
        # but for the HEAD of the TensorFlow reproduction the mean can be negative, so no ReLU ends the network
        self.regressor = nn.Sequential(*(layers if regressor == "norm" else layers[:-1]))

    def variance(self) -> Tensor:
        # log(1 + e^a) by logaddexp: exact for large a too, where softplus switches to a
        scale = wide(self.log_scale)
        return torch.logaddexp(scale, torch.zeros_like(scale)) + self.eps

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        return self.regressor(feature), self.variance()


@dataclass(eq=False, repr=False)
class VID(Term):
    """Variational information distillation between pairs of places, summed over pairs.

    Maps of unlike size meet at the smaller before the regressor: the larger is averaged down, the teacher's too. Vectors
    [B, C] count as maps of one position, so a network without maps can learn from ``("pooled", "pooled")``.

    Args:
        at: pairs of places; default: every pair of stages (RepDistiller: the outputs of the groups).
        init_pred_var: σ² before training: 5 (CRD benchmark, mdistiller).
        eps: floor of σ²: 1e-5 (CRD benchmark, mdistiller); 1 in the TensorFlow reproduction (1e-3 at its HEAD).
        init_log_scale: start of a_c itself instead; 5.0 in the TensorFlow reproduction.
        mid: channels between the convolutions; default: the teacher's (``"plain"``), twice those (the others).
        regressor: ``"plain"`` (CRD benchmark, mdistiller), ``"norm"`` (TensorFlow reproduction, HEAD) or ``"norm-linear"`` (its branch).
        reduction: ``"element"`` (all codes) or ``"batch"`` (the paper's sum over an image's entries).
        train_variance: False is mdistiller, whose variances no optimiser sees.
        constant: with the ½ log 2π that all codes drop.

    >>> import torch
    >>> from redistill.core import Context
    >>> from torch import nn
    >>> shapes = {"stage1": (2, 4, 8, 8)}
    >>> vid = VID(at="stage1")
    >>> vid.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), classes=3))
    >>> [name for name, _ in vid.named_parameters()][0], round(vid.heads[0].variance()[0].item(), 4)
    ('heads.0.log_scale', 5.0)
    """

    at: At = None
    init_pred_var: float = 5.0
    eps: float = 1e-5
    init_log_scale: float | None = None
    mid: int | None = None
    regressor: Regression = "plain"
    reduction: Literal["element", "batch"] = "element"
    train_variance: bool = True
    constant: bool = False

    theorems: ClassVar[tuple[str, ...]] = ("batch permutation",)
    ready = False

    def check(self) -> None:
        self.at = pairs_of(self.at)
        if not 0 < self.eps < self.init_pred_var:
            raise RedistillError(
                f"VID(init_pred_var={self.init_pred_var}, eps={self.eps}): the first variance must exceed its floor, "
                f"and the floor 0"
            )
        if self.mid is not None and self.mid < 1:
            raise RedistillError(f"VID(mid={self.mid}): the regressor needs at least 1 channel, or None for its default")
        if self.regressor not in ("plain", "norm", "norm-linear"):
            raise RedistillError(f"VID(regressor={self.regressor!r}): known are 'plain', 'norm' and 'norm-linear'")
        if self.reduction not in ("element", "batch"):
            raise RedistillError(f"VID(reduction={self.reduction!r}): known are 'element' and 'batch'")

    def setup(self, ctx: Context) -> None:
        self.pairs = named_or_paired(ctx, pairs_of(self.at))
        self.heads = nn.ModuleList()
        for mine, theirs in self.pairs:
            channels_s = map_shape("VID", ctx, "student", mine)[0]
            channels_t = map_shape("VID", ctx, "teacher", theirs)[0]
            with rng.seeded(ctx.seed, "term", "VID", mine, theirs):
                head = VariationalHead(
                    channels_s,
                    channels_t,
                    self.mid,
                    regressor=self.regressor,
                    init_pred_var=self.init_pred_var,
                    eps=self.eps,
                    init_log_scale=self.init_log_scale,
                    train_variance=self.train_variance,
                )
            self.heads.append(head)
        self.ready = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        require_ready(self)
        total = wide(student.logits).new_zeros(())
        for head, (mine, theirs) in zip(self.heads, self.pairs, strict=True):
            f_s, f_t = to_smaller(wide(as_map(student[mine])), wide(as_map(teacher[theirs])))
            with adapting(self.in_bf16, f_s):
                mean, variance = head(f_s.to(next(head.parameters()).dtype) if student[mine].dtype in HALF else f_s)
            total = total + vid_loss(mean, variance, f_t, self.reduction, self.constant)
        return total

"""Attention-based fusion and the residual framework of knowledge review: student features, deepest first, into one another.

    x = BN(conv1x1(F_s^j));   y = nearest(residual of the deeper level)
    z = sigmoid(conv1x1([x; y])) ∈ [B, 2, H, W];   x = x·z₀ + y·z₁
    x = nearest(x) to the teacher's size;   out = BN(conv3x3(x))   enters the loss,   residual = x   goes up

Chen et al. 2021 (arXiv:2104.09044), eq. 11 and section 3.3; the shapes of the layers are those of the authors' code. Its
Figure 3a has one output only and no middle channels: :class:`DirectFusion`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.core import RedistillError

Fusion = Literal["attention", "sum", "figure3a"]
Size = tuple[int, int]


def _resized(feature: Tensor, size: Size) -> Tensor:
    """Nearest neighbour; nothing where the size is that already."""
    return feature if tuple(feature.shape[2:]) == size else F.interpolate(feature, size, mode="nearest")


def _conv_norm(before: int, after: int, kernel: int) -> nn.Sequential:
    """Convolution without bias and batch norm; kaiming-uniform with a = 1, as the authors start them."""
    conv = nn.Conv2d(before, after, kernel_size=kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    return nn.Sequential(conv, nn.BatchNorm2d(after))


def _attend(att_conv: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """x·z₀ + y·z₁ with the two attention maps of [x; y]."""
    z: Tensor = att_conv(torch.cat([x, y], dim=1))
    return x * z[:, :1] + y * z[:, 1:]


def _attend_apart(att_conv: nn.Sequential, x: Tensor, deeper: Tensor) -> Tensor:
    """The same with each half of the 1x1 convolution before the other half meets it: [x; y] is never put together, and the half of
    y, the resized ``deeper``, is computed where it is small, since a 1x1 convolution and nearest resize commute. Sums round
    differently."""
    conv = att_conv[0]
    assert isinstance(conv, nn.Conv2d)
    of_x, of_y = conv.weight.split([x.shape[1], deeper.shape[1]], dim=1)
    size = (x.shape[2], x.shape[3])
    z: Tensor = att_conv[1](F.conv2d(x, of_x, conv.bias) + _resized(F.conv2d(deeper, of_y), size))
    return x * z[:, :1] + _resized(deeper, size) * z[:, 1:]


def _deeper_or_sentence(who: str, fuse: bool, deeper: Tensor | None) -> None:
    if fuse != (deeper is not None):
        wants, got = ("the residual of the deeper level", "none") if fuse else ("no residual", "one")
        raise RedistillError(f"{who}(fuse={fuse}) takes {wants}, got {got}: only the deepest level has fuse=False")


class ABF(nn.Module):
    """Fusion of one level with what comes from the deeper ones, through middle channels (authors' code).

    Args:
        in_channels: of the student's map. mid_channels: of the residual. out_channels: of the teacher's map.
        fuse: False for the deepest level, which receives nothing. attention: False replaces the two maps by a plain sum.

    Attributes:
        apart: attention in fewer passes over memory and with another rounding; set where a run is ``fast``.

    ``forward(x, deeper, size)``: x [B, in, H, W], deeper [B, mid, ·, ·], size of the teacher's map (default: x's own);
    returns (out [B, out, *size], residual [B, mid, *size]).
    """

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, fuse: bool, attention: bool = True):
        super().__init__()
        self.fuse, self.apart = fuse, False
        self.conv1 = _conv_norm(in_channels, mid_channels, 1)
        self.conv2 = _conv_norm(mid_channels, out_channels, 3)
        self.att_conv: nn.Sequential | None = None
        if fuse and attention:
            self.att_conv = nn.Sequential(nn.Conv2d(2 * mid_channels, 2, kernel_size=1), nn.Sigmoid())

    def forward(self, x: Tensor, deeper: Tensor | None = None, size: Size | None = None) -> tuple[Tensor, Tensor]:
        _deeper_or_sentence("ABF", self.fuse, deeper)
        own = (x.shape[2], x.shape[3])
        x = self.conv1(x)
        if deeper is not None and self.att_conv is not None and self.apart:
            x = _attend_apart(self.att_conv, x, deeper)
        elif deeper is not None:
            y = _resized(deeper, own)
            x = _attend(self.att_conv, x, y) if self.att_conv is not None else x + y
        x = _resized(x, size or own)
        return self.conv2(x), x


class DirectFusion(nn.Module):
    """The fusion as Figure 3a draws it: straight to the teacher's channels, and the output is also the residual.

    Stage and (resized) deeper output each pass a 3x3 convolution with batch norm, then the two attention maps.

    Args:
        in_channels: of the student's map. deeper_channels: of the deeper output, None for the deepest level.
        out_channels: of the teacher's map.

    ``forward`` as :class:`ABF`; both results are the one output [B, out, *size].
    """

    def __init__(self, in_channels: int, deeper_channels: int | None, out_channels: int):
        super().__init__()
        self.fuse = deeper_channels is not None
        self.conv_stage = _conv_norm(in_channels, out_channels, 3)
        if deeper_channels is not None:
            self.conv_deeper = _conv_norm(deeper_channels, out_channels, 3)
            self.att_conv = nn.Sequential(nn.Conv2d(2 * out_channels, 2, kernel_size=1), nn.Sigmoid())

    def forward(self, x: Tensor, deeper: Tensor | None = None, size: Size | None = None) -> tuple[Tensor, Tensor]:
        _deeper_or_sentence("DirectFusion", self.fuse, deeper)
        own = (x.shape[2], x.shape[3])
        x = self.conv_stage(x)
        if deeper is not None:
            x = _attend(self.att_conv, x, self.conv_deeper(_resized(deeper, own)))
        x = _resized(x, size or own)
        return x, x


class Cascade(nn.Module):
    """The residual framework (eq. 11): fusions from the deepest level up, ``abfs`` deepest first.

    Args:
        in_channels, out_channels: of student and teacher, shallowest first.
        mid: channels of the residual; default min(512, the deepest student map's) (authors); 64 in the reproduction.
        fusion: ``"attention"``, ``"sum"`` (the ablation without attention maps) or ``"figure3a"``.

    ``forward(features, sizes)``: student maps shallowest first and the teacher's sizes; returns the fused maps, shallowest
    first, in the teacher's channels and sizes.
    """

    def __init__(
        self, in_channels: Sequence[int], out_channels: Sequence[int], mid: int | None = None, fusion: Fusion = "attention"
    ):
        super().__init__()
        if mid is None:
            mid = min(512, in_channels[-1])
        self.abfs = nn.ModuleList()
        deeper: int | None = None
        for before, after in zip(reversed(in_channels), reversed(out_channels), strict=True):
            if fusion == "figure3a":
                self.abfs.append(DirectFusion(before, deeper, after))
            else:
                self.abfs.append(ABF(before, mid, after, fuse=deeper is not None, attention=fusion == "attention"))
            deeper = after

    def forward(self, features: Sequence[Tensor], sizes: Sequence[Size]) -> list[Tensor]:
        fused: list[Tensor] = []
        residual: Tensor | None = None
        for abf, feature, size in zip(self.abfs, reversed(features), reversed(sizes), strict=True):
            out, residual = abf(feature, residual, size)
            fused.insert(0, out)
        return fused


class Transform(nn.Module):
    """M of eq. 6-9: 1x1 convolution and batch norm to the teacher's channels, then nearest resize to its size.

    A bias, which the reproduction has here, is cancelled by the batch norm and left out.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv = _conv_norm(in_channels, out_channels, 1)

    def forward(self, feature: Tensor, size: Size) -> Tensor:
        return _resized(self.conv(feature), size)

"""MobileNetV2 at half width for small images (Sandler et al. 2018, arXiv:1801.04381), as the CRD benchmark has it.

Expansion 6, width 0.5, a first convolution of stride 2 (also for 32-pixel images), plain ReLU, a last 1x1 convolution to
1280 channels. First weights: N(0, 2/(k·k·C_out)), linear N(0, 0.01).

``mobilenetv2-tiny`` is another network, mdistiller's for Tiny-ImageNet (``mv2_tinyimagenet.py``), with names of its own: width
1, ReLU6, convolutions with bias, a 1x1 stem padded by 1 (64 pixels become 66), other strides, and a 1x1 convolution as the last
layer. First weights are PyTorch's.
"""

from __future__ import annotations

from torch import Tensor, nn

from redistill.core import Place
from redistill.models.arch import Arch, Network, normal_by_outputs, pooled

NUMERICS = 1

# expansion (None: the network's), channels at width 1, blocks, stride
PLAN = ((1, 16, 1, 1), (None, 24, 2, 1), (None, 32, 3, 2), (None, 64, 4, 2), (None, 96, 3, 1), (None, 160, 3, 2), (None, 320, 1, 1))
ENDS = {"stage1": 1, "stage2": 2, "stage3": 4, "stage4": 6}
"""Which entry of the plan each stage ends with (RepDistiller's feature list)."""


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1; added to its input where the shapes agree."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int):
        super().__init__()
        mid = c_in * expansion
        self.conv = nn.Sequential(
            nn.Conv2d(c_in, mid, 1, bias=False),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False),
            nn.BatchNorm2d(mid),
            nn.ReLU(inplace=True),
            nn.Conv2d(mid, c_out, 1, bias=False),
            nn.BatchNorm2d(c_out),
        )
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.residual else out


TINY = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 1), (320, 1, 1))
"""Channels, blocks and stride of the seven groups for Tiny-ImageNet; the first has expansion 1, the others 6."""


class LinearBottleneck(nn.Module):
    """An inverted residual with ReLU6 and convolution biases."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int):
        super().__init__()
        mid = c_in * expansion
        self.residual = nn.Sequential(
            nn.Conv2d(c_in, mid, 1),
            nn.BatchNorm2d(mid),
            nn.ReLU6(inplace=True),
            nn.Conv2d(mid, mid, 3, stride, 1, groups=mid),
            nn.BatchNorm2d(mid),
            nn.ReLU6(inplace=True),
            nn.Conv2d(mid, c_out, 1),
            nn.BatchNorm2d(c_out),
        )
        self.added = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.residual(x)
        return x + out if self.added else out


class MobileNetV2Tiny(Network):
    """See :func:`redistill.models.mobilenetv2_tiny`."""

    def __init__(self, arch: Arch):
        super().__init__(arch)
        self.pre = nn.Sequential(nn.Conv2d(arch.channels, 32, 1, padding=1), nn.BatchNorm2d(32), nn.ReLU6(inplace=True))
        before = 32
        for g, (after, count, stride) in enumerate(TINY, start=1):
            blocks = []
            for i in range(count):
                blocks.append(LinearBottleneck(before, after, stride if i == 0 else 1, 1 if g == 1 else 6))
                before = after
            # the two groups of a single block carry no index in their names
            self.add_module(f"stage{g}", nn.Sequential(*blocks) if count > 1 else blocks[0])
        self.conv1 = nn.Sequential(nn.Conv2d(before, 1280, 1), nn.BatchNorm2d(1280), nn.ReLU6(inplace=True))
        self.flat = nn.Flatten()
        self.conv2 = nn.Conv2d(1280, arch.classes, 1)
        ends = {"stage1": "stage2", "stage2": "stage3", "stage3": "stage4", "stage4": "conv1"}  # mdistiller's feature list
        self.declare({"stem": Place("pre"), **{name: Place(path) for name, path in ends.items()}, "pooled": Place("flat")})

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x, 8)
        out: Tensor = self.pre(x)
        for g in range(1, len(TINY) + 1):
            out = self.get_submodule(f"stage{g}")(out)
        out = self.flat(self.conv1(out).mean((2, 3), keepdim=True))
        logits: Tensor = self.conv2(out[:, :, None, None]).flatten(1)
        return logits


def _conv_bn(c_in: int, c_out: int, kernel: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class MobileNetV2(Network):
    """See :func:`redistill.models.mobilenetv2`."""

    def __init__(self, arch: Arch, width: float, expansion: int):
        super().__init__(arch)
        before = int(32 * width)
        self.conv1 = _conv_bn(arch.channels, before, 3, 2)
        groups = []
        for t, channels, count, stride in PLAN:
            after = int(channels * width)
            blocks = []
            for i in range(count):
                blocks.append(InvertedResidual(before, after, stride if i == 0 else 1, t or expansion))
                before = after
            groups.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*groups)
        last = int(1280 * width) if width > 1.0 else 1280
        self.conv2 = _conv_bn(before, last, 1, 1)
        self.classifier = nn.Sequential(nn.Linear(last, arch.classes))
        normal_by_outputs(self, linear_std=0.01)
        places = {"stem": Place("conv1"), **{stage: Place(f"blocks.{end}") for stage, end in ENDS.items()}}
        self.declare({**places, "pooled": Place("classifier.0", "in")})

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x, 16)
        logits: Tensor = self.classifier(pooled(self.conv2(self.blocks(self.conv1(x)))))
        return logits

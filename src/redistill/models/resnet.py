"""Residual networks for small images (He et al. 2016, arXiv:1512.03385, section 4.2): depth 6n + 2, three stages.

``resnet20`` has widths 16, 32, 64; ``resnet8x4`` and ``resnet32x4`` start at 32 and have 64, 128, 256 (RepDistiller). First
weights: Kaiming normal by fan-out. Names and order of the state dict are RepDistiller's.

Where the width changes, the shortcut is a 1x1 convolution with batch norm (option B of the paper; RepDistiller), or, with
``shortcut="padding"``, every second row and column with channels of zeros around them (option A, which the paper uses for
CIFAR-10, without parameters; akamaster/pytorch_resnet_cifar10).
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.core import Place, RedistillError
from redistill.models.arch import Arch, Network, kaiming_fan_out, pooled

NUMERICS = 1


class Padding(nn.Module):
    """[B, C, H, W] to every ``stride``-th row and column, and ``more`` channels of zeros, half of them on each side."""

    def __init__(self, stride: int, more: int):
        super().__init__()
        self.stride, self.more = stride, more

    def forward(self, x: Tensor) -> Tensor:
        before = self.more // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.more - before))


class BasicBlock(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride: int, shortcut: str = "projection"):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample: nn.Module | None = None
        if (stride != 1 or c_in != c_out) and shortcut == "padding":
            self.downsample = Padding(stride, c_out - c_in)
        elif stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        self.relu2 = nn.ReLU(inplace=False)  # its input is the place before the activation

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        rest = x if self.downsample is None else self.downsample(x)
        active: Tensor = self.relu2(torch.add(out, rest))
        return active


class ResNet(Network):
    """See :func:`redistill.models.resnet`."""

    def __init__(self, arch: Arch, depth: int, widths: tuple[int, int, int, int], shortcut: str = "projection"):
        super().__init__(arch)
        if shortcut not in ("projection", "padding"):
            raise RedistillError(f"shortcut={shortcut!r}: 'projection' (a 1x1 convolution) or 'padding' (zeros, without parameters)")
        if depth < 8 or (depth - 2) % 6 != 0:
            raise RedistillError(f"a CIFAR ResNet's depth is 6n + 2 (8, 14, 20, 32, 44, 56, 110 ...), got {depth}")
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(arch.channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=False)
        stages = []
        for g in range(3):
            ins = [widths[g], *[widths[g + 1]] * (n - 1)]
            blocks = [BasicBlock(c_in, widths[g + 1], 2 if i == 0 and g else 1, shortcut) for i, c_in in enumerate(ins)]
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.fc = nn.Linear(widths[3], arch.classes)
        kaiming_fan_out(self)
        places = {"stem": Place("relu")}
        for g in (1, 2, 3):
            places[f"stage{g}"] = Place(f"layer{g}")
            places[f"stage{g}:pre"] = Place(f"layer{g}.{n - 1}.relu2", "in")
        self.declare({**places, "pooled": Place("fc", "in")})

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x, 4)
        out = self.layer3(self.layer2(self.layer1(self.relu(self.bn1(self.conv1(x))))))
        logits: Tensor = self.fc(pooled(out))
        return logits


def parse(variant: str) -> tuple[int, tuple[int, int, int, int]]:
    """``"20"`` or ``"8x4"``: depth and the four widths."""
    if variant in ("50", "152"):  # 6n + 2 too, but a file called resnet50 must not mean two networks
        raise RedistillError(f"resnet{variant} is the network with four stages: use models.resnetv2({variant})")
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", variant)
    if not found:
        raise RedistillError(f"a CIFAR ResNet is written 20, 56, 8x4, 32x4 ..., got {variant!r}")
    factor = int(found[2] or 1)
    first = 16 if factor == 1 else 8 * factor  # 8x4 has a stem of 32, not 64
    return int(found[1]), (first, 16 * factor, 32 * factor, 64 * factor)

"""ResNet-18 to -152 of ImageNet shape on small images: 3x3 stem without pooling, four stages of widths 64 to 512.

As in the benchmarks' ``resnetv2.py`` (He et al. 2016, Table 1, with the stem of the CIFAR networks). First weights: Kaiming
normal by fan-out. Names and order of the state dict are RepDistiller's and mdistiller's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from redistill.core import Place
from redistill.models.arch import Arch, Network, kaiming_fan_out, pooled

NUMERICS = 1

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Depth -> blocks of each stage; bottlenecks from 50 upwards."""


class Block(nn.Module):
    """Two 3x3 convolutions, or the 1x1-3x3-1x1 bottleneck with four times the width at its end."""

    def __init__(self, c_in: int, width: int, stride: int, bottleneck: bool):
        super().__init__()
        c_out = 4 * width if bottleneck else width
        shapes: tuple[tuple[int, int, int, int], ...]
        if bottleneck:
            shapes = ((c_in, width, 1, 1), (width, width, 3, stride), (width, c_out, 1, 1))
        else:
            shapes = ((c_in, width, 3, stride), (width, width, 3, 1))
        self.count = len(shapes)
        for i, (a, b, kernel, s) in enumerate(shapes, start=1):
            self.add_module(f"conv{i}", nn.Conv2d(a, b, kernel, s, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(b))
        self.inner = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))
        self.last = nn.ReLU(inplace=False)  # its input is the place before the activation

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for i in range(1, self.count + 1):
            out = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(out))
            if i < self.count:
                out = self.inner(out)
        active: Tensor = self.last(torch.add(out, self.shortcut(x)))
        return active


class ResNetV2(Network):
    """See :func:`redistill.models.resnetv2`."""

    def __init__(self, arch: Arch, depth: int):
        super().__init__(arch)
        bottleneck = depth >= 50
        self.conv1 = nn.Conv2d(arch.channels, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=False)
        places = {"stem": Place("relu")}
        c_in = 64
        for g, count in enumerate(BLOCKS[depth], start=1):
            width = 64 * 2 ** (g - 1)
            blocks = []
            for i in range(count):
                blocks.append(Block(c_in, width, 2 if i == 0 and g > 1 else 1, bottleneck))
                c_in = 4 * width if bottleneck else width
            self.add_module(f"layer{g}", nn.Sequential(*blocks))
            places[f"stage{g}"] = Place(f"layer{g}")
            places[f"stage{g}:pre"] = Place(f"layer{g}.{count - 1}.last", "in")
        self.linear = nn.Linear(c_in, arch.classes)
        kaiming_fan_out(self)
        self.declare({**places, "pooled": Place("linear", "in")})

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x, 8)
        out = self.relu(self.bn1(self.conv1(x)))
        for g in range(1, 5):
            out = self.get_submodule(f"layer{g}")(out)
        logits: Tensor = self.linear(pooled(out))
        return logits

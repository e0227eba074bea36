"""ShuffleNetV2 for small images (Ma et al. 2018, arXiv:1807.11164), as the CRD benchmark has it.

A 1x1 stem of 24 channels, three stages of a halving unit and 3, 7, 3 further ones, a last 1x1 convolution. First weights
are PyTorch's. ``size`` is the published width: 0.5, 1, 1.5, 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.core import Place, RedistillError
from redistill.models.arch import Arch, Network, pooled
from redistill.models.shufflenetv1 import shuffle

NUMERICS = 1

STEM, UNITS = 24, (3, 7, 3)
WIDTHS = {0.2: (40, 80, 160, 512), 0.3: (40, 80, 160, 512), 0.5: (48, 96, 192, 1024), 1.0: (116, 232, 464, 1024),
          1.5: (176, 352, 704, 1024), 2.0: (224, 488, 976, 2048)}  # fmt: skip


class Unit(nn.Module):
    """Half of the channels pass, the other half goes through 1x1, depthwise 3x3, 1x1; then both are shuffled."""

    def __init__(self, channels: int):
        super().__init__()
        half = channels // 2
        self.conv1 = nn.Conv2d(half, half, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = nn.Conv2d(half, half, 3, 1, 1, groups=half, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(half, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.before = nn.Identity()  # the place before the activation, joined but not shuffled, as published

    def forward(self, x: Tensor) -> Tensor:
        kept, x = x.chunk(2, 1)
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn3(self.conv3(self.bn2(self.conv2(out))))
        if self.before._forward_hooks:  # nobody asks: the join is not made
            self.before(torch.cat([kept, out], 1))
        return shuffle(torch.cat([kept, F.relu(out)], 1), 2)


class Halving(nn.Module):
    """Both halves are made from all channels at stride 2."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        half = c_out // 2
        self.conv1 = nn.Conv2d(c_in, c_in, 3, 2, 1, groups=c_in, bias=False)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv2 = nn.Conv2d(c_in, half, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = nn.Conv2d(c_in, half, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = nn.Conv2d(half, half, 3, 2, 1, groups=half, bias=False)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = nn.Conv2d(half, half, 1, bias=False)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        left = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))), inplace=True)
        right = F.relu(self.bn3(self.conv3(x)), inplace=True)
        right = F.relu(self.bn5(self.conv5(self.bn4(self.conv4(right)))), inplace=True)
        return shuffle(torch.cat([left, right], 1), 2)


class ShuffleNetV2(Network):
    """See :func:`redistill.models.shufflenetv2`."""

    def __init__(self, arch: Arch, size: float):
        super().__init__(arch)
        if size not in WIDTHS:
            raise RedistillError(f"ShuffleNetV2 sizes are {', '.join(map(str, WIDTHS))}, got {size}")
        widths = WIDTHS[size]
        self.conv1 = nn.Conv2d(arch.channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU(inplace=False)
        places = {"stem": Place("relu")}
        before = STEM
        for g, count in enumerate(UNITS, start=1):
            width = widths[g - 1]
            self.add_module(f"layer{g}", nn.Sequential(Halving(before, width), *(Unit(width) for _ in range(count))))
            places[f"stage{g}"] = Place(f"layer{g}")
            places[f"stage{g}:pre"] = Place(f"layer{g}.{count}.before")
            before = width
        self.conv2 = nn.Conv2d(before, widths[3], 1, bias=False)
        self.bn2 = nn.BatchNorm2d(widths[3])
        self.linear = nn.Linear(widths[3], arch.classes)
        self.declare({**places, "pooled": Place("linear", "in")})

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x, 8)
        out = self.relu(self.bn1(self.conv1(x)))
        for g in (1, 2, 3):
            out = self.get_submodule(f"layer{g}")(out)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        logits: Tensor = self.linear(pooled(out))
        return logits

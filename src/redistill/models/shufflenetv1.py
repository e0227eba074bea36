"""ShuffleNetV1 with three groups for small images (Zhang et al. 2018, arXiv:1707.01083), as the CRD benchmark has it.

A 1x1 stem, three stages of 4, 8, 4 units and 240, 480, 960 channels. First weights are PyTorch's.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.core import Place
from redistill.models.arch import Arch, Network, pooled

NUMERICS = 1

STEM, UNITS, WIDTHS, GROUPS = 24, (4, 8, 4), (240, 480, 960), 3


def shuffle(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle: channel (g, c) of [B, G·C, H, W] goes to (c, g); one copy, in the memory format of ``x``."""
    if x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous():
        rows: Tensor = x.permute(0, 2, 3, 1).unflatten(3, (groups, -1))
        return rows.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
    parts: Tensor = x.unflatten(1, (groups, -1))
    return parts.transpose(1, 2).flatten(1, 2)


class Unit(nn.Module):
    """Grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; added to its input, or beside its pooled input where stride is 2."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        mid = c_out // 4
        self.groups = 1 if c_in == STEM else GROUPS  # the stem has too few channels to be split
        self.stride = stride
        self.conv1 = nn.Conv2d(c_in, mid, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(mid)
        self.conv2 = nn.Conv2d(mid, mid, 3, stride, 1, groups=mid, bias=False)
        self.bn2 = nn.BatchNorm2d(mid)
        self.conv3 = nn.Conv2d(mid, c_out, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.last = nn.ReLU(inplace=False)  # its input is the place before the activation

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.groups > 1:
            out = shuffle(out, self.groups)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        joined = torch.cat([out, F.avg_pool2d(x, 3, 2, 1)], 1) if self.stride == 2 else out + x
        active: Tensor = self.last(joined)
        return active


class ShuffleNetV1(Network):
    """See :func:`redistill.models.shufflenetv1`."""

    def __init__(self, arch: Arch):
        super().__init__(arch)
        self.conv1 = nn.Conv2d(arch.channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU(inplace=False)
        places = {"stem": Place("relu")}
        before = STEM
        for g, (count, width) in enumerate(zip(UNITS, WIDTHS, strict=True), start=1):
            units = [Unit(before, width - before, 2), *(Unit(width, width, 1) for _ in range(count - 1))]
            self.add_module(f"layer{g}", nn.Sequential(*units))
            places[f"stage{g}"] = Place(f"layer{g}")
            places[f"stage{g}:pre"] = Place(f"layer{g}.{count - 1}.last", "in")
            before = width
        self.linear = nn.Linear(before, arch.classes)
        self.declare({**places, "pooled": Place("linear", "in")})

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x, 8)
        out = self.relu(self.bn1(self.conv1(x)))
        for g in (1, 2, 3):
            out = self.get_submodule(f"layer{g}")(out)
        logits: Tensor = self.linear(pooled(out))
        return logits

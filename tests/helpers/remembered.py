"""A small network with an attribute that its forward reads, and small images, for what is remembered of both."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import redistill as rd
from redistill.data import Images


class Net(nn.Module):
    """Convolution and batch norm, with an attribute that its forward reads."""

    def __init__(self, width: int = 4, seed: int = 0, scale: float = 1.0, act: Callable[[Tensor], Tensor] = F.relu):
        super().__init__()
        with rd.rng.seeded(seed, "init", width):
            self.conv, self.bn, self.head = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.Linear(width, 3)
        self.scale, self.act, self.table = scale, act, {"a": [1, 2.0], "b": None}

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.bn(self.conv(x))).mean((2, 3))) * self.scale


def images(count: int = 50, augment: str = "none", seed: int = 0, normalise: str = "none") -> Images:
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, 1, 8, 8), generator=g, dtype=torch.uint8)
    return Images(x, torch.arange(count) % 3, 3, "made:train", normalise, augment)

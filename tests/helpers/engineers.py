"""Networks of an engineer: usual words, usual shapes of outputs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


def block(a: int, b: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())


class Big(nn.Module):
    def __init__(self, num_classes: int, width: int = 16):
        super().__init__()
        self.features = nn.Sequential(block(3, width, 2), block(width, 2 * width, 2))
        self.head = nn.Linear(2 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Said(NamedTuple):
    """What this network returns: one entry is [batch, classes]."""

    map: Tensor
    logits: Tensor


class Small(nn.Module):
    def __init__(self, n_classes: int = 10, in_chans: int = 3, width: int = 4):
        super().__init__()
        self.features = nn.Sequential(block(in_chans, width, 2), block(width, 2 * width, 2))
        self.head = nn.Linear(2 * width, n_classes)

    def forward(self, x: Tensor) -> Said:
        x = self.features(x)
        return Said(x, self.head(x.mean((2, 3))))


class Fixed(nn.Module):
    """Takes images of 32x32 alone."""

    def __init__(self, num_classes: int = 3):
        super().__init__()
        self.head = nn.Linear(3 * 32 * 32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


class Undecided(nn.Module):
    """Returns two things of which neither is a tensor of logits."""

    def __init__(self, num_classes: int = 3):
        super().__init__()
        self.head = nn.Conv2d(3, num_classes, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"map": self.head(x), "more": self.head(x)}


class Drawn(nn.Module):
    """Looks through a matrix that is drawn when it is made and stands in no state dict."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.register_buffer("glass", torch.randn(64, 32), persistent=False)
        self.head = nn.Linear(32, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1) @ self.glass)


class Raises(nn.Module):
    """Cannot be made."""

    def __init__(self, num_classes: int):
        super().__init__()
        raise RuntimeError("no room")


class Still(Small):
    """Has nothing to train."""

    def __init__(self, n_classes: int = 10):
        super().__init__(n_classes)
        self.requires_grad_(False)


class Flat(nn.Module):
    """Has no stages."""

    def __init__(self, num_classes: int, img_size: int):
        super().__init__()
        self.head = nn.Linear(3 * img_size * img_size, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


class Waiting(nn.Module):
    """Does not know the width of its head before it has seen an image."""

    def __init__(self, num_classes: int):
        super().__init__()
        self.features = block(3, 4, 2)
        self.head = nn.LazyLinear(num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).flatten(1))

"""Networks, a term and a source of one's own, as an experiment file names them: ``./nets.py:Small``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from redistill.core import Batch, Output, Term


class Small(nn.Module):
    """A convolution with batch norm and dropout: everything that resume could get wrong."""

    def __init__(self, classes: int, channels: int = 1, width: int = 8, dropout: float = 0.1):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.pool(torch.relu(self.norm(self.conv(x)))).flatten(1)))


@dataclass(eq=False, repr=False)
class Gap(Term):
    """Mean squared difference of the logits, times ``scale``."""

    scale: float = 1.0
    needs_teacher: ClassVar[bool] = True

    def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
        return self.scale * ((student.logits - teacher.logits) ** 2).mean()


class Painter(nn.Module):
    """A generator of one's own: one linear layer; it says its sizes, and draws its weights by itself."""

    def __init__(self, z: int, channels: int, side: int = 8):
        super().__init__()
        self.z, self.image_shape = z, (channels, side, side)
        self.paint = nn.Linear(z, channels * side * side)

    def forward(self, noise: Tensor) -> Tensor:
        return self.paint(noise).view(-1, *self.image_shape)

"""A network and a term of one's own, for unlabelled.toml: any module from images to logits, any formula of two outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

import redistill as rd


class Tiny(nn.Sequential):
    """Two convolutions. ``classes`` and ``channels`` come from the data, ``width`` from the experiment."""

    def __init__(self, classes: int, channels: int, width: int = 8):
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes),
        )  # fmt: skip


@dataclass(eq=False, repr=False)
class LogitGap(rd.Term):
    """Mean squared difference of the logits (Ba & Caruana 2014, eq. 1, without the half)."""

    scale: float = 1.0

    theorems: ClassVar[tuple[str, ...]] = ("zero at match", "class permutation", "batch permutation", "non-negative")

    def forward(self, student: rd.Output, teacher: rd.Output, batch: rd.Batch) -> Tensor:
        return self.scale * ((student.logits - teacher.logits) ** 2).mean()

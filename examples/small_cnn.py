"""An ordinary small network, written without this package in mind: bring your own file like this one.

    redistill distill --data photos --teacher wrn-16-2 --teacher-weights big.pth --student examples/small_cnn.py:SmallCNN
"""

from __future__ import annotations

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Six convolutions in three stages, a hidden layer and a classifier."""

    def __init__(self, num_classes: int = 10, width: int = 16, dropout: float = 0.1):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for wide in (width, 2 * width, 4 * width):
            layers += [nn.Conv2d(before, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(wide, wide, 3, padding=1), nn.BatchNorm2d(wide), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
            before = wide
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * width, 8 * width), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(8 * width, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.features(x)))
        return logits

"""LeNet for 32x32 images (LeCun et al. 1998 in the form of the zero-shot code) and the toy experiment's MLP."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from redistill.core import Place, RedistillError
from redistill.models.arch import Arch, Network

NUMERICS = 1


class LeNet(Network):
    """Two 5x5 convolutions with pooling and three linear layers; first weights PyTorch's. See :func:`redistill.models.lenet`."""

    def __init__(self, arch: Arch):
        super().__init__(arch)
        side = (((arch.image_size - 4) // 2) - 4) // 2
        if side < 1:
            raise RedistillError(f"lenet needs images of at least 16x16, got image_size={arch.image_size}")
        self.layers = nn.Sequential(
            nn.Conv2d(arch.channels, 6, 5),
            nn.ReLU(inplace=False),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(inplace=False),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * side * side, 120),
            nn.ReLU(inplace=True),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
            nn.Linear(84, arch.classes),
        )
        # the published code returns the convolutions, overwritten by the ReLU that follows in place: so, after it
        self.declare(
            {
                "stage1": Place("layers.1"),
                "stage1:pre": Place("layers.0"),
                "stage2": Place("layers.4"),
                "stage2:pre": Place("layers.3"),
                "pooled": Place("layers.11", "in"),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x)
        size = self.arch.image_size
        if tuple(x.shape[2:]) != (size, size):
            raise RedistillError(
                f"lenet was built for images of {size}x{size}, got {x.shape[2]}x{x.shape[3]}: build it with image_size=, or "
                f"resize them"
            )
        logits: Tensor = self.layers(x)
        return logits


class MLP(Network):
    """Linear layers with ReLU between, 2-100-500-3 in Micaelli & Storkey's toy experiment; first weights PyTorch's.

    It takes points [B, D] as well as images, which are flattened.
    """

    def __init__(self, arch: Arch, inputs: int, hidden: tuple[int, ...]):
        super().__init__(arch)
        widths = (inputs, *hidden, arch.classes)
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Linear(a, b), nn.ReLU(inplace=False)]
        self.layers = nn.Sequential(*layers[:-1])
        self.inputs = inputs
        places = {}
        for i in range(len(hidden)):
            places[f"stage{i + 1}"] = Place(f"layers.{2 * i + 1}")
            places[f"stage{i + 1}:pre"] = Place(f"layers.{2 * i}")
        self.declare({**places, "pooled": Place(f"layers.{len(layers) - 2}", "in")})

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim < 2 or x[0].numel() != self.inputs:
            raise RedistillError(f"mlp takes {self.inputs} numbers a point or image, got {list(x.shape)}: build it with inputs=")
        logits: Tensor = self.layers(x.flatten(1))
        return logits

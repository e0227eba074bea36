"""VGG for small images (Simonyan & Zisserman 2015, arXiv:1409.1556) with batch norm: five blocks and one linear layer.

Blocks 0 to 2 are followed by 2x2 max pooling, block 3 only where the image is exactly 64 pixels high, as published: 32-pixel
images reach blocks 3 and 4 at 4x4. First weights: N(0, 2/(k·k·C_out)), linear N(0, 0.01). Names as in RepDistiller.
"""

from __future__ import annotations

from torch import Tensor, nn

from redistill.core import Place
from redistill.models.arch import Arch, Network, normal_by_outputs, pooled

NUMERICS = 1

CONVOLUTIONS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)


class VGG(Network):
    """See :func:`redistill.models.vgg`."""

    def __init__(self, arch: Arch, depth: int):
        super().__init__(arch)
        places = {}
        before = arch.channels
        for b, (count, width) in enumerate(zip(CONVOLUTIONS[depth], WIDTHS, strict=True)):
            layers: list[nn.Module] = []
            for i in range(count):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width)]
                if i < count - 1:
                    layers.append(nn.ReLU(inplace=True))
                before = width
            self.add_module(f"block{b}", nn.Sequential(*layers))
            self.add_module(f"relu{b}", nn.ReLU(inplace=False))  # input and output are both places
            name = f"stage{b}" if b else "stem"
            places[name] = Place(f"relu{b}")
            if b:
                places[f"{name}:pre"] = Place(f"block{b}")
        self.pool = nn.MaxPool2d(2, 2)
        self.classifier = nn.Linear(WIDTHS[-1], arch.classes)
        normal_by_outputs(self, linear_std=0.01)
        self.declare({**places, "pooled": Place("classifier", "in")})

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x, 8)
        pooled_again = x.shape[2] == 64
        for b in range(5):
            x = self.get_submodule(f"relu{b}")(self.get_submodule(f"block{b}")(x))
            if b < 3 or (b == 3 and pooled_again):
                x = self.pool(x)
        logits: Tensor = self.classifier(pooled(x))
        return logits

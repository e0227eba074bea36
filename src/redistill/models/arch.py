"""What a network of ours knows about itself: enough to build it again, and where its features are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from redistill.core import Place, RedistillError

NUMERICS = 1


@dataclass(frozen=True)
class Arch:
    """Name and every argument of a network; JSON-able, and enough for ``models.build`` to make it again.

    Attributes:
        name: as ``build`` takes it (``"wrn-16-1"``). classes: outputs. channels, image_size: of the images it takes.
        args: further arguments, defaults left out.
    """

    name: str
    classes: int
    channels: int = 3
    image_size: int = 32
    args: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @property
    def key(self) -> str:
        """One string for one architecture: what the first weights are drawn for."""
        extra = "".join(f",{k}={v}" for k, v in sorted(self.args.items()))
        return f"{self.name}({self.classes},{self.channels},{self.image_size}{extra})"


class Network(nn.Module):
    """What the networks of this package have in common: their architecture, their places, and a check of their input.

    Attributes:
        arch: how to build it again. places: features by name (:class:`redistill.core.Place`). stages: the stages among
            them, shallowest first. normalisation: name of the set its images are normalised in, None when freshly built.
        sized: False where ``arch.image_size`` is nobody's word, because a file of another family does not say it.
    """

    whole: ClassVar[int] = 1
    """The image size must be a multiple of this."""

    def __init__(self, arch: Arch) -> None:
        super().__init__()
        self.arch = arch
        self.places: dict[str, Place] = {}
        self.stages: tuple[str, ...] = ()
        self.normalisation: str | None = None
        self.sized = True
        if arch.classes < 1 or arch.channels < 1:
            raise RedistillError(f"{arch.name}: classes and channels must be at least 1, got {arch.classes} and {arch.channels}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input: [C, H, W]; a generator and an MLP take vectors."""
        return (self.arch.channels, self.arch.image_size, self.arch.image_size)

    def declare(self, places: Mapping[str, Place]) -> None:
        self.places = dict(places)
        self.stages = tuple(n for n in places if n.startswith("stage") and ":" not in n)

    def check_images(self, x: Tensor, smallest: int = 1) -> None:
        """Refuse what the network cannot take, before a layer deep inside does."""
        if x.ndim != 4 or x.shape[1] != self.arch.channels:
            raise RedistillError(
                f"{self.arch.name} takes images [batch, {self.arch.channels}, height, width], got {list(x.shape)}"
            )
        if min(x.shape[2:]) < smallest:
            raise RedistillError(
                f"{self.arch.name} needs images of at least {smallest}x{smallest}, got {x.shape[2]}x{x.shape[3]}: resize them"
            )


def normal_by_outputs(net: nn.Module, linear_std: float | None = None) -> None:
    """Convolutions N(0, 2/(k·k·C_out)), their biases 0, batch norms 1 and 0 (He et al. 2015 by fan-out; WRN, VGG, MobileNet).

    Args:
        linear_std: standard deviation of linear weights (VGG, MobileNetV2: 0.01); None: PyTorch's. Linear biases are 0.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            batch_norm_identity(module)
        elif isinstance(module, nn.Linear):
            if linear_std is not None:
                nn.init.normal_(module.weight, 0.0, linear_std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def kaiming_fan_out(net: nn.Module) -> None:
    """Convolutions Kaiming-normal by fan-out for ReLU, batch norms 1 and 0, linear layers PyTorch's (CIFAR and v2 ResNets)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            batch_norm_identity(module)


def batch_norm_identity(module: nn.BatchNorm2d) -> None:
    if module.weight is not None:
        nn.init.ones_(module.weight)
    nn.init.zeros_(module.bias)


def pooled(x: Tensor) -> Tensor:
    """Mean over positions: [B, C, H, W] to [B, C]."""
    out: Tensor = torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1)
    return out

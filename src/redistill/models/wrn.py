"""Wide residual networks for small images (Zagoruyko & Komodakis 2016, arXiv:1605.07146), WRN-depth-width.

Three groups of pre-activation blocks of widths 16k, 32k, 64k; depth = 6n + 4. State-dict names and order are RepDistiller's.
All published codes compute the same function: the shortcut of a widening block branches off *after* its first batch norm and
ReLU, and blocks of equal width have none. They differ in names (``foreign.py``) and in the first weights (``init``).
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from redistill.core import Place, RedistillError
from redistill.models.arch import Arch, Network, _made, normal_by_outputs, pooled

NUMERICS = 1
Init = Literal["fan-out", "zagoruyko", "pytorch"]


class Block(nn.Module):
    """BN-ReLU-conv-BN-ReLU-(dropout)-conv plus the shortcut."""

    def __init__(self, c_in: int, c_out: int, stride: int, dropout: float, branch: str, project: bool, keep: bool):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.relu1 = nn.ReLU(inplace=not keep)  # the batch norm before it is a place in the first blocks of groups 2 and 3
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.convShortcut = nn.Conv2d(c_in, c_out, 1, stride, bias=False) if project else None
        self.after = branch == "activated"

    def forward(self, x: Tensor) -> Tensor:
        active = self.relu1(self.bn1(x))
        out = self.relu2(self.bn2(self.conv1(active)))
        if self.dropout is not None:
            out = self.dropout(out)
        out = self.conv2(out)
        if self.convShortcut is None:
            return torch.add(x, out)
        return torch.add(self.convShortcut(active if self.after else x), out)


class Group(nn.Module):
    def __init__(self, blocks: list[Block]):
        super().__init__()
        self.layer = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out


class WRN(Network):
    """See :func:`wrn`."""

    def __init__(
        self, arch: Arch, depth: int, width: int, dropout: float, branch: str, projection: str, gamma: bool, bias: bool,
        norm_eps: float, norm_momentum: float, init: Init,
    ):  # fmt: skip
        super().__init__(arch)
        if depth < 10 or (depth - 4) % 6 != 0:
            raise RedistillError(f"a WRN's depth is 6n + 4 (10, 16, 22, 28, 34, 40 ...), got {depth}")
        if width < 1:
            raise RedistillError(f"a WRN's width is at least 1, got {width}")
        if branch not in ("activated", "raw"):
            raise RedistillError(f"branch={branch!r}: the shortcut branches off 'activated' (after BN-ReLU) or 'raw'")
        if projection not in ("needed", "always"):
            raise RedistillError(f"projection={projection!r}: 'needed' (where widths differ) or 'always' (first block of a group)")
        if not 0 <= dropout < 1:
            raise RedistillError(f"dropout={dropout} must lie in [0, 1)")
        if not norm_eps > 0 or not 0 < norm_momentum <= 1:
            raise RedistillError(f"norm_eps={norm_eps} must be above 0 and norm_momentum={norm_momentum} lie in (0, 1]")
        n = (depth - 4) // 6
        widths = (16, 16 * width, 32 * width, 64 * width)
        self.conv1 = nn.Conv2d(arch.channels, 16, 3, 1, 1, bias=False)
        groups = []
        for g in range(3):
            c_in, c_out = widths[g], widths[g + 1]
            blocks = []
            for i in range(n):
                first = i == 0
                project = first and (c_in != c_out or projection == "always")
                blocks.append(Block(c_in if first else c_out, c_out, 2 if first and g else 1, dropout, branch, project, bool(first and g)))
            groups.append(Group(blocks))
        self.block1, self.block2, self.block3 = groups
        self.bn1 = nn.BatchNorm2d(widths[3])
        self.relu = nn.ReLU(inplace=False)
        self.fc = nn.Linear(widths[3], arch.classes, bias=bias)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = norm_eps, norm_momentum
                if not gamma:
                    module.register_parameter("weight", None)
        _initialise(self, init)
        self.declare(
            {
                "stem": Place("conv1"),
                "stage1": Place("block1"),
                "stage2": Place("block2"),
                "stage3": Place("block3"),
                # the published `preact` features: the next batch norm, which that code calls a second time
                "stage1:pre": Place("block2.layer.0.bn1", "out", again=True),
                "stage2:pre": Place("block3.layer.0.bn1", "out", again=True),
                "stage3:pre": Place("bn1", "out", again=True),
                "pooled": Place("fc", "in"),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        self.check_images(x, 4)
        out = self.block3(self.block2(self.block1(self.conv1(x))))
        logits: Tensor = self.fc(pooled(self.relu(self.bn1(out))))
        return logits


def _initialise(net: WRN, init: Init) -> None:
    if init == "fan-out":
        normal_by_outputs(net)
    elif init == "zagoruyko":
        # attention-transfer: Kaiming by fan-in for everything, gains U(0, 1)
        for module in net.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / math.prod(module.weight.shape[1:])))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.BatchNorm2d):
                if module.weight is not None:
                    nn.init.uniform_(module.weight)
                nn.init.zeros_(module.bias)
    elif init != "pytorch":
        raise RedistillError(f"init={init!r}: known are 'fan-out' (RepDistiller, Micaelli), 'zagoruyko' and 'pytorch'")


def wrn(
    depth: int,
    width: int,
    classes: int = 10,
    *,
    seed: int = 0,
    channels: int = 3,
    image_size: int = 32,
    dropout: float = 0.0,
    branch: str = "activated",
    projection: str = "needed",
    gamma: bool = True,
    bias: bool = True,
    norm_eps: float = 1e-5,
    norm_momentum: float = 0.1,
    init: Init = "fan-out",
    initialise: bool = True,
) -> Network:
    """WRN-depth-width (:mod:`redistill.models.wrn`).

    Args:
        dropout: between the convolutions of a block; 0 in all four projects.
        branch: ``"activated"``: the shortcut of a widening block starts after its BN-ReLU (all published codes); ``"raw"``.
        projection: ``"needed"``: only where widths differ (all published codes); ``"always"``: in every group's first block.
        gamma: False: batch norms without scale. bias: False: a classifier without it. norm_eps, norm_momentum: of the batch
            norms. The TensorFlow reproduction of VID has neither scale nor bias, 1e-3, and 0.001 (its "decay" .999).
        init: ``"fan-out"`` N(0, 2/(9 C_out)) (RepDistiller, Micaelli), ``"zagoruyko"`` (attention-transfer) or ``"pytorch"``.
        initialise: False draws no first weights and leaves NaN in their place (for loading a file over them).
    """
    given: dict[str, Any] = {
        "dropout": dropout, "branch": branch, "projection": projection, "gamma": gamma, "bias": bias, "norm_eps": norm_eps,
        "norm_momentum": norm_momentum, "init": init,
    }  # fmt: skip
    usual = {
        "dropout": 0.0, "branch": "activated", "projection": "needed", "gamma": True, "bias": True, "norm_eps": 1e-5,
        "norm_momentum": 0.1, "init": "fan-out",
    }  # fmt: skip
    args = {k: v for k, v in given.items() if v != usual[k]}
    arch = Arch(f"wrn-{depth}-{width}", classes, channels, image_size, args)
    def make(arch: Arch) -> Network:
        return WRN(arch, depth, width, dropout, branch, projection, gamma, bias, norm_eps, norm_momentum, init)

    return _made(arch, make, seed, initialise)

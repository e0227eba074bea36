"""What a student is beside its teacher, in lines of a plan: parameters, multiplications, and of proposed ones the latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from redistill.distill import cost
from redistill.distill.family import Candidate
from redistill.distill.names import Named
from redistill.models import describe

SMALL_STEM = 96  # side from which a network with a CIFAR stem is dear


def proposed(
    big: Named, net: nn.Module, relatives: Sequence[Candidate], sizes: Mapping[str, Any], shape: tuple[int, ...], device: torch.device
) -> list[str]:
    """Students of the teacher's family beside it, a line each under a heading; empty where none is known.

    Args:
        net: the teacher ``big``, built. relatives: :func:`redistill.distill.family.family`. shape: [C, H, W] of the images.
    """
    shown = [c for c in relatives if c.word is not None]
    if not shown:
        return []
    nets = {big.name: net, **{str(c.word): c.network.made(sizes).to(device) for c in shown}}
    times = cost.latencies(nets, shape, device)
    info = describe(net, shape)
    rows = [(big.name, "", info.parameters, info.macs), *((str(c.word), _with_args(c.network), c.parameters, c.macs) for c in shown)]
    first, second = (max(len(str(row[column])) for row in rows) for column in (0, 1))
    return [
        "students of the teacher's family; choose one with --student WORD",
        *(
            f"  {name:<{first}} {what:<{second}} {parameters / 1e6:8.3f} M parameters {macs / 1e6:9.1f} M MACs "
            f"{times[name].milliseconds[1]:8.2f} ms an image, {times[name].milliseconds[32]:.1f} ms for 32"
            for name, what, parameters, macs in rows
        ),
    ]


def compared(net: nn.Module, little: nn.Module, big: Named, small: Named, shape: tuple[int, ...]) -> list[str]:
    """The student's size in the teacher's, and what is odd about either for images [C, H, W] of this shape."""
    one, two = describe(net, shape), describe(little, shape)
    sentence = (
        f"{_with_args(small)}: {two.parameters:,} parameters of the teacher's {one.parameters:,}, {two.macs / 1e6:,.1f} M MACs of "
        f"{one.macs / 1e6:,.1f} M"
    )
    if two.parameters >= one.parameters:
        sentence += "; it is LARGER than the teacher, so nothing gets smaller"
    elif two.macs >= one.macs:
        sentence += "; it has fewer parameters and is not cheaper to compute"
    return [
        sentence,
        *(
            f"{named.model} as {who} is the network for images of 32, whose first layers keep the resolution; for photographs it is dear, "
            f"and torchvision:NAME or timm:NAME have networks with another stem"
            for who, named in (("teacher", big), ("student", small))
            if ":" not in named.model
            and shape[-1] >= SMALL_STEM
            and named.model.startswith(("resnet", "wrn", "vgg", "mobilenet", "shuffle"))
        ),
    ]


def _with_args(one: Named) -> str:
    return one.with_args if one.args else one.name

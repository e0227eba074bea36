"""Size and cost of a network: parameters, multiply-accumulates, stages."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from redistill.core import RedistillError
from redistill.models.arch import Network
from redistill.modes import evaluating


@dataclass(frozen=True)
class Info:
    """parameters: trainable numbers. macs: multiply-accumulates of convolutions and linear layers for one image.
    stages: (name, shape [C, H, W]) of each declared stage."""

    parameters: int
    macs: int
    stages: tuple[tuple[str, tuple[int, ...]], ...]


def describe(net: nn.Module, inputs: tuple[int, ...] | None = None) -> Info:
    """Count with one forward of zeros in evaluation mode; the network is left as it was.

    Args:
        inputs: shape of one input, [C, H, W] (or [z] for a generator); default: from the network's architecture.
    """
    shape: tuple[int, ...]
    if inputs is not None:
        shape = inputs
    elif isinstance(net, Network):
        shape = net.input_shape
    else:
        raise RedistillError(f"{type(net).__name__} does not say what it takes: give inputs=(channels, height, width)")
    total = 0
    shapes: dict[str, tuple[int, ...]] = {}
    handles = []

    def count(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            kernel = module.kernel_size[0] * module.kernel_size[1]
            total += out[0].numel() * kernel * module.in_channels // module.groups
        elif isinstance(module, nn.Linear):
            total += out[0].numel() * module.in_features

    for module in net.modules():
        handles.append(module.register_forward_hook(count))
    stages = {name: net.places[name].module for name in net.stages} if isinstance(net, Network) else {}
    for stage, path in stages.items():

        def note(module: nn.Module, args: tuple[Tensor, ...], out: Tensor, stage: str = stage) -> None:
            shapes[stage] = tuple(out.shape[1:])

        handles.append(net.get_submodule(path).register_forward_hook(note))
    first = next(net.parameters())
    try:
        with evaluating(net), torch.no_grad():
            net(torch.zeros(1, *shape, dtype=first.dtype, device=first.device))
    finally:
        for handle in handles:
            handle.remove()
    parameters = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return Info(parameters, total, tuple(shapes.items()))

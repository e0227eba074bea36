"""Size and cost of a network: parameters, multiply-accumulates, stages."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from redistill.core import RedistillError
from redistill.features.modes import evaluating
from redistill.models.arch import Network
from redistill.models.build import build


@dataclass(frozen=True)
class Info:
    """parameters: numbers in parameters, trained or frozen, each counted once. macs: multiply-accumulates of convolutions, linear
    layers and multi-head attention for one image; what a network multiplies outside of such layers is not seen. stages: (name,
    shape [C, H, W]) of each declared stage."""

    parameters: int
    macs: int
    stages: tuple[tuple[str, tuple[int, ...]], ...]


def _macs(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Multiply-accumulates of one call of one layer, for a batch of one."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return int(out.numel()) * math.prod(module.kernel_size) * module.in_channels // module.groups
    if isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        return int(args[0].numel()) * math.prod(module.kernel_size) * module.out_channels // module.groups
    if isinstance(module, nn.Linear):
        return int(out.numel()) * module.in_features
    if isinstance(module, nn.MultiheadAttention):  # it multiplies with its weights itself, no linear layer is called
        query, key, value = (*args, *(kwargs[name] for name in ("query", "key", "value")[len(args) :]))[:3]
        width, rows, columns = module.embed_dim, query.numel() // query.shape[-1], key.numel() // key.shape[-1]
        into = rows * width * width + columns * width * (key.shape[-1] + value.shape[-1])
        return int(into + 2 * rows * columns * width + rows * width * width)
    return 0


def own_network(net: nn.Module) -> tuple[str, Network] | None:
    """The network of this package in a wrapper (DataParallel, a Sequential with something before it, ``torch.compile``), and its
    path there; None where there is none, or more than one."""
    found = [(path, module) for path, module in net.named_modules() if isinstance(module, Network)]
    outer = [(path, module) for path, module in found if not any(path != p and path.startswith(f"{p}." if p else "") for p, _ in found)]
    return outer[0] if len(outer) == 1 else None


def describe(net: nn.Module, inputs: tuple[int, ...] | None = None) -> Info:
    """Count with one forward of zeros in evaluation mode; the network is left as it was.

    Args:
        inputs: shape of one input, [C, H, W] (or [z] for a generator); default: from the network's architecture.
    """
    inside = own_network(net)
    if inputs is None and inside is None:
        raise RedistillError(f"{type(net).__name__} does not say what it takes: give inputs=(channels, height, width)")
    shape = inputs if inputs is not None or inside is None else inside[1].input_shape
    assert shape is not None
    shapes: dict[str, tuple[int, ...]] = {}
    total = 0

    def count(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        nonlocal total
        total += _macs(module, args, kwargs, out)

    handles = [module.register_forward_hook(count, with_kwargs=True) for module in net.modules()]
    for name in inside[1].stages if inside is not None else ():
        module = inside[1].get_submodule(inside[1].places[name].module) if inside is not None else net

        def note(module: nn.Module, args: tuple[Tensor, ...], out: Tensor, name: str = name) -> None:
            shapes[name] = tuple(out.shape[1:])

        handles.append(module.register_forward_hook(note))
    original = getattr(net, "_orig_mod", net)  # compiled code is made of other operations
    first = next(net.parameters(), torch.zeros(()))
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)  # it calls no layer of a block
        with evaluating(net), torch.no_grad():
            original(torch.zeros(1, *shape, dtype=first.dtype, device=first.device))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for handle in handles:
            handle.remove()
    parameters = sum(p.numel() for p in net.parameters())
    return Info(parameters, total, tuple(shapes.items()))


@functools.cache
def macs_by_name(name: str, args: str, classes: int, channels: int, image_size: int) -> int:
    """Multiply-accumulates of one forward of one image through a network of this package; ``args``: the others of its, as JSON."""
    given: dict[str, Any] = json.loads(args)
    return describe(build(name, classes=classes, channels=channels, image_size=image_size, trust_code=False, **given)).macs

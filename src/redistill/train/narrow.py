"""The frozen teacher in bf16 weights, made once: autocast makes them anew at every call of a layer whose weights do not learn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from redistill import rng
from redistill.core import Output

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
"""What autocast computes in bf16, weights and bias."""

IMAGES = 32  # of noise
Reader = Callable[[Tensor], Output]


def narrowed(twin: nn.Module) -> nn.Module:
    """``twin``, a network of one's own, whose convolutions and linear layers hold bf16 weights from now on. Layers of other classes,
    with hooks, or whose weights another layer shares are left as they are."""
    users: dict[int, int] = {}
    for module in twin.modules():
        for parameter in module.parameters(recurse=False):
            users[id(parameter)] = users.get(id(parameter), 0) + 1
    for module in twin.modules():
        own = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
        if type(module) not in LAYERS or own or any(users[id(p)] > 1 for p in module.parameters()):
            continue
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.detach().to(torch.bfloat16), requires_grad=False))
    return twin


def same_bits(one: Reader, other: Reader, like: Tensor, autocast: contextlib.AbstractContextManager[object]) -> bool:
    """Whether two readers of a network say the same, bit for bit, of images of noise; ``like``: [B, C, H, W], their layout."""
    noise = torch.randn(IMAGES, *like.shape[1:], generator=rng.stream(0, "narrow")).to(like)
    if like.is_contiguous(memory_format=torch.channels_last):
        noise = noise.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), autocast:
        try:
            a, b = one(noise), other(noise)
        except (RuntimeError, TypeError, ValueError):  # somewhere a weight is used by hand, beside one that is not narrow
            return False
    return torch.equal(a.logits, b.logits) and all(torch.equal(tap, b.taps[place]) for place, tap in a.taps.items())

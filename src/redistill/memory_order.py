"""The order in which weights lie in memory, and what an optimiser keeps of them.

PyTorch's fused optimisers go through a weight, its gradient and its momentum in the order of memory. Where one of them lies otherwise
than the others, a CPU moves the wrong numbers, without a word; a CUDA device refuses it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def dense(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor lie side by side, in some order, with nothing between them.

    >>> whole = torch.zeros(4, 6)
    >>> dense(whole), dense(whole.t()), dense(whole[:2]), dense(whole[:, :3]), dense(torch.zeros(1).expand(4))
    (True, True, True, False, False)
    """
    step = 1
    for stride, size in sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape, strict=True) if n > 1):
        if stride != step:
            return False
        step *= size
    return True


def lay_side_by_side(weights: Iterable[Tensor]) -> None:
    """Give weights between whose numbers others lie (the first channels of a larger network's, ``weight[:, :16]``) memory of their own,
    where theirs lie side by side; no number changes."""
    for weight in weights:
        if weight.layout == torch.strided and not dense(weight):
            weight.data = weight.data.contiguous()


def go_on(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """``optimizer.load_state_dict``, and what it keeps of a weight lies as the weight does, however it lay in a file."""
    optimizer.load_state_dict(dict(state))
    for weight, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape == weight.shape and value.stride() != weight.stride():
                kept[name] = torch.empty_like(weight, dtype=value.dtype, requires_grad=False).copy_(value)

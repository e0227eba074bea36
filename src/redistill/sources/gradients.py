"""Gradients that are asked for, instead of left on every weight that a graph of gradients meets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def lay_gradients(loss: Tensor, parameters: Sequence[Tensor]) -> None:
    """The gradients of ``loss`` for ``parameters`` alone, each laid out in memory as its parameter is, which is how backward() leaves
    them.

    PyTorch's fused optimisers go through both in the order of memory: on a CPU a gradient that is laid out otherwise moves the wrong
    weights, without a word; a CUDA device refuses it.
    """
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        same = gradient.stride() == parameter.stride()
        parameter.grad = gradient if same else torch.empty_like(parameter, requires_grad=False).copy_(gradient)

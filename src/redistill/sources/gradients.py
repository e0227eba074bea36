"""Gradients that are asked for, instead of left on every weight that a graph of gradients meets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from redistill.core import RedistillError


def lay_gradients(loss: Tensor, parameters: Sequence[Tensor]) -> None:
    """The gradients of ``loss`` for ``parameters`` alone, each laid out in memory as its parameter is, which is how backward() leaves
    them.

    PyTorch's fused optimisers go through both in the order of memory: on a CPU a gradient that is laid out otherwise moves the wrong
    weights, without a word; a CUDA device refuses it. What the loss does not depend on has no gradient, and is not moved.

    Raises:
        RedistillError: it depends on none of them.
    """
    gradients: Sequence[Tensor | None] = torch.autograd.grad(loss, parameters, allow_unused=True) if loss.requires_grad else ()
    if all(gradient is None for gradient in gradients):
        raise RedistillError(
            "no gradient reaches what makes the images: on its way to the loss something computes without one (torch.no_grad, detach), "
            "in the generator, the teacher or the student; it would learn nothing"
        )
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is None:
            parameter.grad = None
            continue
        same = gradient.stride() == parameter.stride()
        parameter.grad = gradient if same else torch.empty_like(parameter, requires_grad=False).copy_(gradient)

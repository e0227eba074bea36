"""Half precision ends where a term begins: sums of squares overflow in fp16, and 1e-12 is 0 there."""

from __future__ import annotations

import contextlib

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

HALF = (torch.float16, torch.bfloat16)


def wide(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """fp16 and bf16 as fp32; fp32 and fp64 as they are, bit for bit.

    >>> wide(torch.zeros(1, dtype=torch.float16)).dtype, wide(torch.zeros(1, dtype=torch.float64)).dtype
    (torch.float32, torch.float64)
    """
    return values.float() if values.dtype in HALF else values


def fitting(values: Float[Tensor, "*shape"], module: nn.Module) -> Float[Tensor, "*shape"]:
    """Half precision in the precision of the layers that are to take it; fp32 and fp64 as they are."""
    first = next(module.parameters(), None)
    return values.to(first.dtype) if values.dtype in HALF and first is not None else values


def adapting(in_bf16: bool, values: Tensor) -> contextlib.AbstractContextManager[object]:
    """Where ``in_bf16``, convolutions and linear layers of an adapter compute in bf16, on the device of ``values``, as the networks do
    in a fast run; what compares their results is wide again."""
    return torch.autocast(values.device.type, dtype=torch.bfloat16) if in_bf16 else contextlib.nullcontext()


def embedding_of(values: Tensor, layer: nn.Linear) -> Tensor:
    """``layer`` applied to ``values`` [B, in] in fp32 at least, also where it is of half precision itself: what compares images
    with their neighbours takes differences, which rounded embeddings do not have."""
    weight, bias = wide(layer.weight), layer.bias if layer.bias is None else wide(layer.bias)
    return F.linear(wide(values), weight, bias)

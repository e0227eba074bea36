"""What terms over several layers have in common: places named or paired, and a value of each layer made one number."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from redistill.core import At, Context, Output, Pair, pairs_of
from redistill.terms.parts.maps import before_activation, named_or_paired
from redistill.terms.parts.wide import wide


def named_at(at: At) -> tuple[tuple[Pair, ...] | None, tuple[Pair, ...], bool]:
    """Of a term without adapters, (at, pairs, ready): where places are named it need not see the networks first.

    >>> named_at("stage1")
    ((('stage1', 'stage1'),), (('stage1', 'stage1'),), True)
    >>> named_at(None)
    (None, (), False)
    """
    named = pairs_of(at)
    return named, named or (), named is not None


def paired_before_activation(ctx: Context, at: At) -> tuple[Pair, ...]:
    """The pairs that were named, or every pair of stages read before the activation (``stage2:pre``) where a network declares it."""
    named = pairs_of(at)
    pairs = named_or_paired(ctx, named)
    return before_activation(ctx, pairs) if named is None else pairs


def total(student: Output, values: Sequence[Tensor]) -> Tensor:
    """Sum of the layers' values, in fp32 at least: a scalar; 0 where there is none."""
    return sum(values, start=wide(student.logits).new_zeros(()))


def halved_upwards(values: Sequence[Tensor]) -> list[Tensor]:
    """Values from shallow to deep: the deepest with weight 1, each before it with half of the next one's.

    >>> import torch
    >>> [v.item() for v in halved_upwards([torch.ones(()), torch.ones(()), torch.ones(())])]
    [0.25, 0.5, 1.0]
    """
    return [2.0 ** (i - len(values) + 1) * value for i, value in enumerate(values)]

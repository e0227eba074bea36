"""Modes of a network for a while: train or evaluation, and one forward whose running statistics stand for several."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def mode(net: nn.Module, train: bool) -> Iterator[None]:
    """Train or evaluation mode for a while; every module's own mode comes back."""
    before = [(m, m.training) for m in net.modules()]
    net.train(train)
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


@contextlib.contextmanager
def standing_for(net: nn.Module, forwards: int) -> Iterator[None]:
    """One forward in train mode moves running statistics as ``forwards`` equal ones would.

    r ← (1 - m) r + m x, k times with the same x, is r ← (1 - m)^k r + (1 - (1 - m)^k) x; with the cumulative average
    (momentum None) after n batches it is r ← (n r + k x) / (n + k).
    """
    changed: list[tuple[nn.modules.batchnorm._BatchNorm, float | None]] = []
    if forwards > 1:
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.num_batches_tracked is not None:
                before = module.momentum
                changed.append((module, before))
                if before is None:
                    module.momentum = forwards / (int(module.num_batches_tracked) + forwards)
                else:
                    module.momentum = 1.0 - (1.0 - before) ** forwards
    try:
        yield
    finally:
        for module, momentum in changed:
            module.momentum = momentum
    for module, _ in changed:
        if module.training:
            counted = module.num_batches_tracked
            assert counted is not None
            counted += forwards - 1

"""Which networks draw random numbers in a forward: dropout and its like, and what nobody can tell from outside."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from redistill import rng

KNOWN = ("torch.nn.modules.", "redistill.")
"""Where the modules are defined whose forward draws only where :func:`_draws` says so."""


def _draws(module: nn.Module) -> bool:
    """A layer that draws, in train mode at least."""
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, nn.RNNBase | nn.MultiheadAttention):
        return module.dropout > 0
    return isinstance(module, nn.RReLU | nn.FractionalMaxPool2d | nn.FractionalMaxPool3d)


def drawing(*nets: nn.Module, train: bool) -> str | None:
    """Name of the first kind of layer that draws in train mode, or without ``train`` in evaluation mode; "" where nothing does;
    None where there are modules of which nobody knows: with code of one's own, or with hooks."""
    unknown = False
    for module in (m for net in nets for m in net.modules()):
        if _draws(module) and (train or isinstance(module, nn.FractionalMaxPool2d | nn.FractionalMaxPool3d)):
            return type(module).__name__
        own = "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks
        unknown = unknown or bool(own) or not type(module).__module__.startswith(KNOWN)
    return None if unknown else ""


class OwnStream:
    """Runs the forwards of some modules under a stream of their own, whoever else draws; and not at all where nothing draws.

    Attributes:
        draws: as :func:`drawing` has it; once something has drawn that nobody knew of, what that was.
    """

    def __init__(self, *nets: nn.Module, seed: int, purpose: str, device: torch.device, train: bool):
        self.draws = drawing(*nets, train=train)
        self._seed, self._purpose, self._device = seed, purpose, device

    @contextlib.contextmanager
    def at(self, number: int | None, *, watch: bool = False) -> Iterator[None]:
        """At a step, or batch, of this number; None: of any, which only what draws nothing can stand for. ``watch``: notice
        whether it draws."""
        if self.draws == "" or number is None:
            yield
            return
        with rng.seeded(self._seed, self._purpose, number, device=self._device) as moved:
            yield
            if watch and self.draws is None and moved():
                self.draws = "code of its own"

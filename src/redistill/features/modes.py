"""Modes of a network for a while: train or evaluation, and one forward whose running statistics stand for several.

Modes are set by the network's own ``train()``, which some networks override, and come back module by module. A part that its
owner has frozen stays in evaluation mode while the rest trains.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from redistill import rng
from redistill._moved import old_names
from redistill.errors import RedistillError
from redistill.features.hidden_state import PLAIN


def resting(net: nn.Module) -> list[nn.Module]:
    """Modules that stay in evaluation mode while ``net`` trains, because their owner froze them.

    * Parts with parameters, none of which requires a gradient. (A network none of whose parameters does is a teacher: nothing rests.)
    * Modules in evaluation mode inside a network in train mode. Where nothing that learns is in train mode, the network itself
      was put into evaluation mode, as loaded networks are, and wrapped since: nothing rests.
    """
    found = frozen(net)
    learning = [m for m in net.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    if net.training and any(m.training for m in learning):
        found.extend(m for m in net.modules() if not m.training)
    return list(dict.fromkeys(found))


def frozen(net: nn.Module) -> list[nn.Module]:
    """The first kind of :func:`resting`: modules of parts none of whose parameters requires a gradient."""
    found: list[nn.Module] = []
    if any(p.requires_grad for p in net.parameters()):
        for module in net.modules():
            own = list(module.parameters())
            if own and not any(p.requires_grad for p in own):
                found.extend(module.modules())
    return list(dict.fromkeys(found))


def set_mode(net: nn.Module, train: bool) -> None:
    """``net.train(train)``, whose frozen parts (see :func:`resting`) stay in evaluation mode."""
    still = resting(net) if train else []
    net.train(train)
    for module in still:
        module.training = False


@contextlib.contextmanager
def mode(net: nn.Module, train: bool) -> Iterator[None]:
    """Train or evaluation mode for a while; every module's own mode comes back."""
    before = [(m, m.training) for m in net.modules()]
    set_mode(net, train)
    try:
        yield
    finally:
        net.train(before[0][1])  # by its own method: some networks merge weights for evaluation
        for module, training in before:
            module.training = training


@contextlib.contextmanager
def evaluating(*nets: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while, for several networks. Layers that draw even then draw from a stream of their own."""
    first = next((p for net in nets for p in net.parameters()), None)
    with contextlib.ExitStack() as stack:
        stack.enter_context(rng.seeded(0, "evaluation", device=first.device if first is not None else "cpu"))
        for net in nets:
            stack.enter_context(mode(net, False))
        yield


def require_sizes(net: nn.Module, who: str) -> None:
    """Refuse a network with lazy layers that no image has met: its first weights would be drawn by whoever looks first."""
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if is_lazy(tensor):
            raise RedistillError(
                f"{who} has lazy layers that do not know their sizes yet ({name}), so that a look at it would draw its first weights: "
                f"call it once, where it is made, with images of the shape that it is for"
            )


@contextlib.contextmanager
def untouched(*nets: nn.Module) -> Iterator[None]:
    """Modes, buffers, what modules count in plain attributes, and generators of random numbers come back after a forward that was only
    a look."""
    for net in nets:
        require_sizes(net, f"the network {type(net).__name__}")
    modules = [m for net in nets for m in net.modules()]
    modes = [(m, m.training) for m in modules]
    buffers = [(m, name, b, b.clone()) for m in modules for name, b in m._buffers.items() if b is not None]
    counted = [(m, {name: value for name, value in vars(m).items() if value is None or isinstance(value, PLAIN)}) for m in modules]
    devices = {t.device for net in nets for t in (*net.parameters(), *net.buffers()) if t.device.type not in ("cpu", "meta")}
    with contextlib.ExitStack() as stack:
        for device in sorted(devices, key=str) or [torch.device("cpu")]:
            stack.enter_context(rng.seeded(0, "look", device=device))
        try:
            yield
        finally:
            with torch.no_grad():
                for module, name, buffer, value in buffers:
                    if buffer.shape == value.shape:  # a buffer that grew is put aside for the one of before
                        buffer.copy_(value)
                    module._buffers[name] = buffer
            for module, values in counted:
                vars(module).update(values)
            for module, training in modes:
                module.training = training


@contextlib.contextmanager
def whole_or_as_before(*nets: nn.Module) -> Iterator[None]:
    """A refusal in the block leaves parameters, buffers, modes, precision and device as they were."""
    kept = [(m, name, t, t.data) for net in nets for m in net.modules() for table in (m._parameters, m._buffers)
            for name, t in table.items() if t is not None]  # fmt: skip
    modes = [(m, m.training) for net in nets for m in net.modules()]
    try:
        yield
    except BaseException:
        for module, name, tensor, data in kept:
            tensor.data = data
            (module._parameters if name in module._parameters else module._buffers)[name] = tensor  # type: ignore[assignment]
        for module, training in modes:
            module.training = training
        raise


def as_exact_as(net: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """In double precision where the weights that it is to hold are: nothing is rounded on the way in."""
    kinds = {value.dtype for value in tensors.values() if value.is_floating_point()}
    return net.double() if kinds == {torch.float64} else net


@contextlib.contextmanager
def equal_forwards(net: nn.Module, forwards: int) -> Iterator[None]:
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

if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)

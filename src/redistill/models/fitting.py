"""Tensors of a file put into a network: under its own names, or a sentence with what differs first."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from redistill.core import RedistillError
from redistill.errors import OtherClasses
from redistill.features.hidden_state import unsaved_buffers
from redistill.features.modes import as_exact_as
from redistill.models.arch import Arch
from redistill.models.foreign import parts_with, to_ours
from redistill.models.guess import (
    differences,
    nearest_architecture,
)


def require_fit(net: nn.Module, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors under the network's own names, or a sentence with what differs first and which network is nearest.

    ``net`` may lie on the meta device.
    """
    wanted = net.state_dict()
    if odd := next((name for name, value in wanted.items() if not isinstance(value, Tensor)), None):
        raise RedistillError(f"{type(net).__name__} keeps {odd!r}, which is no tensor and stands in no file of weights")
    if waits := next((name for name, value in wanted.items() if is_lazy(value)), None):
        raise RedistillError(f"{type(net).__name__} has no shape for {waits!r} before it has seen an image (a lazy layer): show it one")
    try:
        state, _ = to_ours(tensors, list(wanted))
    except RedistillError as error:
        raise RedistillError(f"{where}: {error}") from error
    counted = [name for name in wanted if not name.endswith("num_batches_tracked")]
    # older files and functional networks have no step counters; they do not enter any computation
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(name, torch.zeros(value.shape, dtype=value.dtype))
    wrong = differences(wanted, state)
    if wrong:
        arch = getattr(net, "arch", None)
        name = arch.name if isinstance(arch, Arch) else type(net).__name__
        last = next((n for n in reversed(wanted) if n.endswith("weight")), "")
        others = last in state and state[last].ndim == 2 and state[last].shape[0] != wanted[last].shape[0]
        if others and wrong == _classes_only(wanted, state):
            raise _other_classes(where, state[last].shape[0], name, wanted[last].shape[0])
        if not any(name in state for name in counted) and (parts := parts_with(tensors, counted)):
            shown = ", ".join(map(repr, parts[:5]))
            raise RedistillError(
                f"{where} holds more than {name}, whose names stand under {shown}: save one of these alone, "
                f"torch.save({{k.removeprefix({parts[0]!r}): v for k, v in state.items() if k.startswith({parts[0]!r})}}, file)"
            )
        near = nearest_architecture(tensors)
        hint = f"; nearest is {near}" if near and near != name else ""
        raise RedistillError(f"{where} does not fit {name}: {'; '.join(wrong[:3])}{hint}")
    return state


def require_classes(net: nn.Module, classes: int, where: str) -> None:
    """Refuse a network of ours, made as its file says, that tells another number of classes apart."""
    arch = getattr(net, "arch", None)
    if isinstance(arch, Arch) and arch.classes != classes:
        raise _other_classes(where, arch.classes, arch.name, classes)


def _other_classes(where: str, theirs: int, name: str, wanted: int) -> OtherClasses:
    fact = f"{where} tells {theirs} classes apart, the network {name} was built for {wanted}"
    return OtherClasses(fact, f"build it with classes={theirs}")


def fill(net: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load tensors of any known family into ``net``, or say what differs first and which network is nearest."""
    state = require_fit(net, tensors, where)
    as_exact_as(net, state).load_state_dict(state)


def put_beside(net: nn.Module, buffers: Mapping[str, Tensor], where: str) -> None:
    """Buffers that no state dict holds, as they were when the network was saved."""
    mine = unsaved_buffers(net)
    for held, value in buffers.items():
        # of a whole network in a wrapper the names begin with the wrapper's
        name = held if held in mine else max((one for one in mine if held.endswith(f".{one}")), key=len, default=held)
        if name not in mine or mine[name].shape != value.shape:
            has = f"has {list(mine[name].shape)}" if name in mine else "has none of that name"
            raise RedistillError(
                f"{where} holds the buffer {name[:200]} {list(value.shape)}, {type(net).__name__} {has}: give its own class"
            )
        mine[name].copy_(value)


def _classes_only(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    """The differences that another number of classes alone would make."""
    return [d for d in differences(wanted, state) if d.split(" ")[0] in list(wanted)[-2:]]

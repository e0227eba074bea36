"""What a network carries beside its state dict: buffers that are not saved, and plain values that its forward changes.

A run that goes on from a checkpoint needs them as much as weights.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (bool, int, float, str)


def unsaved_buffers(net: nn.Module) -> dict[str, Tensor]:
    """Buffers that ``state_dict`` leaves out, by name."""
    return {
        f"{path}.{name}".lstrip("."): buffer
        for path, module in net.named_modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and name in module._non_persistent_buffers_set
    }


def _values(net: nn.Module) -> Iterator[tuple[str, nn.Module, str, Any]]:
    """Plain attributes and tensors without a gradient that are neither parameter nor buffer: name, module, attribute, value."""
    for path, module in net.named_modules():
        for name, value in vars(module).items():
            if name != "training" and (isinstance(value, PLAIN) or (isinstance(value, Tensor) and not value.requires_grad)):
                yield f"{path}.{name}".lstrip("."), module, name, value


def plain_values(net: nn.Module) -> dict[str, Any]:
    """All of them, to be compared with later."""
    return {name: value.clone() if isinstance(value, Tensor) else value for name, _, _, value in _values(net)}


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape and a.dtype == b.dtype and bool((a == b).all())
    return type(a) is type(b) and bool(a == b)


def hidden_state(net: nn.Module, since: dict[str, Any]) -> dict[str, Any]:
    """Buffers that no state dict holds, and the values that are not what they were ``since``."""
    changed = {n: v for n, v in plain_values(net).items() if n not in since or not _equal(v, since[n])}
    return {"buffers": {n: b.clone() for n, b in unsaved_buffers(net).items()}, "values": changed}


def load_hidden_state(net: nn.Module, saved: dict[str, Any]) -> None:
    """Put back what :func:`hidden_state` gave."""
    for name, buffer in unsaved_buffers(net).items():
        if name in saved["buffers"]:
            buffer.copy_(saved["buffers"][name])
    modules = dict(net.named_modules())
    for name, value in saved["values"].items():
        path, _, attribute = name.rpartition(".")
        if path in modules:
            own = vars(modules[path]).get(attribute)
            # a file gives tensors on the CPU
            setattr(modules[path], attribute, value.to(own.device) if isinstance(value, Tensor) and isinstance(own, Tensor) else value)


def made_of(net: nn.Module) -> list[Any]:
    """What a network computes with beside its tensors, JSON-able: of every module its name, class, plain values and named functions, and
    lists and tables of such. Modes, hooks and what else an attribute may hold are left out."""
    return [
        [path, type(module).__qualname__, {n: told for n, v in sorted(vars(module).items()) if n not in _OF_TORCH and (told := _told(v))}]
        for path, module in net.named_modules()
    ]


def _told(value: object) -> Any:
    """None of what is no plain value."""
    if value is None or isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, list | tuple):
        return [_told(one) for one in value]
    if isinstance(value, dict):
        return [[repr(key), _told(one)] for key, one in value.items()]
    return getattr(value, "__qualname__", None)


_SAID = {"normalisation", "sized", "class_names"}  # how a network is to be fed: written beside its weights


def at_first(net: nn.Module) -> dict[str, Any]:
    """What a network carries beside its state dict, for :func:`left_behind` to compare with."""
    return plain_values(net) | {name: buffer.detach().clone() for name, buffer in unsaved_buffers(net).items()}


def left_behind(net: nn.Module, first: dict[str, Any]) -> list[str]:
    """Names of what training has changed and no file of weights keeps: a network from the file computes without it."""
    now = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in at_first(net).items()}
    then = {name: value.cpu() if isinstance(value, Tensor) else value for name, value in first.items()}
    moved = (name for name, value in now.items() if name not in then or not _equal(value, then[name]))
    return sorted(name for name in moved if name.rpartition(".")[2] not in _SAID)


def standing(net: nn.Module, *, away: bool) -> dict[str, object]:
    """What modules keep on the host, to be compared with later: plain values, containers of them, and where tensors lie. ``away``: the
    work is done on another device, and of tensors that stay on the CPU it matters what they hold."""
    return {
        f"{path}.{name}".lstrip("."): _standing(value, 3, away)
        for path, module in net.named_modules()
        for name, value in (*vars(module).items(), *module._buffers.items())
        if name not in _OF_TORCH
    }


_OF_TORCH = set(vars(nn.Module()))  # containers of modules and hooks, which are gone through by name


def _standing(value: object, deep: int, away: bool) -> object:
    if isinstance(value, Tensor):
        held = value.detach().reshape(-1).view(torch.uint8).numpy().tobytes() if away and _readable(value) else None
        return "tensor", id(value), value.data_ptr(), held
    if isinstance(value, np.ndarray):
        return "array", value.tobytes()
    if isinstance(value, PLAIN) or value is None:
        return repr(value)  # of a number that is none too, which equals nothing
    if deep and isinstance(value, dict):
        return [(repr(key), _standing(inner, deep - 1, away)) for key, inner in value.items()]
    if deep and isinstance(value, list | tuple | deque):
        return [_standing(inner, deep - 1, away) for inner in value]
    return id(value)


def _readable(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_quantized

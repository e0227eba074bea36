"""What networks return, and which part of it are the logits; what is no number is said with the network's name.

Most networks map images to one tensor [batch, classes]. Others return a tuple, a dictionary or a dataclass, and some do so while
they train only: auxiliary heads (GoogLeNet, Inception v3), a head of its own for distillation (DeiT).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from redistill.errors import RedistillError

WRAP = "wrap it in a module whose forward returns one tensor, the logits [batch, classes], in evaluation and in train mode"

Key = str | int
"""Where an entry stands in what a network returns: a name, or a position."""


class NotFinite(RedistillError):
    """A network says NaN or infinite of some images: nothing can be measured on them."""


def entries(output: object) -> dict[Key, object]:
    """What a tuple, a list, a dictionary or a dataclass holds, by name or position; empty for anything else.

    >>> entries((1, 2)), entries({"logits": 3})
    ({0: 1, 1: 2}, {'logits': 3})
    """
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return {field.name: getattr(output, field.name) for field in dataclasses.fields(output)}
    if isinstance(output, tuple | list):
        names = getattr(output, "_fields", None)  # a named tuple
        return dict(zip(names, output, strict=True)) if names else dict(enumerate(output))
    return {}


def candidates(output: object) -> dict[Key, Tensor]:
    """The entries that may be logits: tensors [batch, classes]."""
    return {key: value for key, value in entries(output).items() if isinstance(value, Tensor) and value.ndim == 2}


def logits_of(output: object, net: nn.Module) -> Tensor:
    """The logits [batch, classes] in what ``net`` returned.

    One tensor is the logits. Of several entries: the one named ``logits``; the only one of two dimensions; in train mode the
    first of them, which is how auxiliary heads are written everywhere (``places_of`` has compared it with what the network says
    in evaluation mode). Anything else is refused.

    >>> logits_of((torch.zeros(2, 5), None), nn.Identity()).shape
    torch.Size([2, 5])
    """
    if isinstance(output, Tensor):
        if output.ndim == 2:
            return _real(output, net)
        raise RedistillError(f"{name_of(net)} must map images to logits [batch, classes], it returned shape {tuple(output.shape)}: {WRAP}")
    found = candidates(output)
    if "logits" in found:
        return _real(found["logits"], net)
    if len(found) == 1 or (found and net.training and not isinstance(output, Mapping) and next(iter(found)) == 0):
        return _real(next(iter(found.values())), net)
    which = "none of them" if not found else f"{len(found)} of them, none named 'logits',"
    raise RedistillError(
        f"{name_of(net)} must map images to logits [batch, classes], in {'train' if net.training else 'evaluation'} mode it "
        f"returned {described(output)}: {which} can be the logits; {WRAP}"
    )


def _real(logits: Tensor, net: nn.Module) -> Tensor:
    """Logits are real numbers: of whole or complex ones nobody can take a softmax."""
    if logits.is_floating_point():
        return logits
    raise RedistillError(
        f"{name_of(net)} returned logits of {logits.dtype}: they must be floating point numbers, as a last linear layer gives them"
    )


def described(output: object) -> str:
    """``a tuple of 0 [2, 10], 1 [2, 10]`` for messages."""
    parts = entries(output)
    if not parts:
        return "nothing" if output is None else f"a {type(output).__name__}"
    shown = [f"{key} {list(value.shape) if isinstance(value, Tensor) else type(value).__name__}" for key, value in parts.items()]
    return f"a {type(output).__name__} of {', '.join(shown)}"


def not_finite(logits: Tensor) -> int:
    """How many rows of logits [N, C] hold a NaN or an infinite number."""
    return int((~torch.isfinite(logits)).any(1).sum())


def require_finite(logits: Tensor, who: str, what: str) -> Tensor:
    """``logits`` [N, C], or a sentence that names the network ``who`` and counts the images; ``what`` cannot be told then."""
    if bad := not_finite(logits):
        raise NotFinite(
            f"{who} gives NaN or infinite logits for {bad:,} of {len(logits):,} images, so {what} cannot be told: its weights are "
            f"damaged or its training diverged"
        )
    return logits


def teacher_at_fault(teacher: nn.Module, where: str) -> str:
    """Why a loss is not finite, where the teacher's logits were not and its images were; ``where``: "at step 3"."""
    return (
        f"the logits of the teacher {name_of(teacher)} are not finite {where}, of images that are: the teacher is at fault, not the "
        f"learning rate"
    )


def require_comparable(a: Tensor, b: Tensor, who: str) -> None:
    """Refuse to compare logits [N, C] of unlike classes, or of a single one, which all networks agree on."""
    if a.shape != b.shape:
        raise RedistillError(
            f"{who}: one network tells {a.shape[1]} classes apart, the other {b.shape[1]}: they must agree for predictions to be compared"
        )
    if a.shape[1] < 2:
        raise RedistillError(f"{who}: the networks give one logit an image, whose largest is always the first: give two logits, [0, z]")


def name_of(net: nn.Module) -> str:
    """How messages call a network: ``wrn-16-1``, or the name of its class."""
    return str(getattr(getattr(net, "arch", None), "name", None) or type(net).__name__)

"""Memory that a term will need, compared with what there is, before anything is allocated."""

from __future__ import annotations

import torch
from torch import nn

from redistill import machine
from redistill.core import RedistillError


def require_room(what: str, needed: int, beside: nn.Module, remedy: str) -> None:
    """Refuse what the device of ``beside`` has no room for: a sentence with both sizes.

    Args:
        what: who needs it, as the beginning of a sentence. needed: bytes. remedy: what to do.
    """
    first = next(beside.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    free = machine.free_memory(device)
    if free is not None and needed > free:
        raise RedistillError(f"{what}, which needs {_size(needed)} of memory, and {_size(free)} are free on {device}: {remedy}")


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"

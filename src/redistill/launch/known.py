"""The accuracy of a teacher, measured once for its weights and these images, and remembered in the user's cache folder.

The key holds all that can move a bit of the number: weights, what computes with them, images, normalisation, machine and versions.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from torch import nn

from redistill import machine, metrics
from redistill.errors import RedistillError
from redistill.files import canonical, digest, make_folder, write
from redistill.launch.rates import rates_file
from redistill.tensor_files import tensors_digest

MOST = 2000  # numbers that are kept; the oldest are forgotten


def key(net: nn.Module, what: Any, space: str, images: Any) -> str | None:
    """What a number is of; None where the images do not say what they are."""
    first = next(net.parameters(), None)
    describe = getattr(images, "manifest", None)
    if describe is None or first is None:
        return None
    facts = [
        tensors_digest(net.state_dict()), what, str(getattr(net, "normalisation", None)), str(space), describe(), str(first.dtype),
        machine.hardware(first.device), metrics.NUMERICS,
    ]  # fmt: skip
    try:
        return digest(canonical(json.loads(json.dumps(facts, default=str))))
    except ValueError:
        return None


def _kept() -> dict[str, float]:
    path = rates_file()
    # a damaged cache, or one that may not be read, is measured again
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError, RecursionError):
        if path is not None:
            return {str(k): float(v) for k, v in json.loads(path.with_name("teachers.json").read_bytes()).items()}
    return {}


def recall(key: str | None) -> float | None:
    """The number, where it was measured before."""
    return None if key is None else _kept().get(key)


def remember(key: str | None, value: float) -> None:
    """Keep a number; where nothing can be kept (a home that is read-only) it is measured again next time."""
    path = rates_file()
    if key is None or path is None:
        return
    rows = list({**_kept(), key: value}.items())[-MOST:]
    with contextlib.suppress(RedistillError):
        make_folder(path.parent)
        write(path.with_name("teachers.json"), (json.dumps(dict(rows)) + "\n").encode())

"""Single numbers that were measured once and are remembered: a teacher's accuracy on a set of images.

A number is found again only by the same network (:mod:`redistill.answers.network`), the same images, the same versions and the
same machine; a file that is damaged, or holds something else, is measured again.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from redistill import machine
from redistill.answers.folder import NUMBER, NoRoom, make_room
from redistill.answers.network import Untold, network_key
from redistill.data import Images
from redistill.errors import RedistillError
from redistill.files import canonical, digest, json_of, pretty, write

FORMAT = 1


def here(device: torch.device) -> dict[str, Any]:
    """What the last bits of a number depend on beside network and images: the machine that bit-identity is promised for."""
    return {key: value for key, value in machine.hardware(device).items() if key != "cores"}


def remembered(net: nn.Module, images: object, what: Mapping[str, Any], folder: Path | None, measure: Callable[[], float]) -> float:
    """``measure()``, or what it gave for the same network and images before.

    Args:
        net: as it is measured. images: a set in memory; of others nothing is remembered, because files may change unseen.
        what: is measured: name, version and settings. folder: where numbers lie; None measures.

    Whatever ``measure`` raises is raised and not remembered.
    """
    if folder is None or type(images) is not Images:
        return measure()
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    try:
        whole = {
            "network": network_key(net),
            # a new set of the same tensors: its hash is of the pixels as they are now
            "images": images.settings() | dataclasses.replace(images).manifest(),
            "what": dict(what),
            "here": here(device),
        }
        text = canonical(whole)
    except (Untold, ValueError, TypeError):
        return measure()
    path = folder / f"{digest(text)[:32]}{NUMBER}"
    with contextlib.suppress(RedistillError, LookupError, TypeError):
        kept = json_of(path)
        if kept["sha256"] == _seal(text, kept["value"]) and isinstance(kept["value"], float):
            return float(kept["value"])
    value = measure()
    about = f"{what.get('name', 'a number')} of {type(net).__name__} on {images.name}, {len(images)} images"
    with contextlib.suppress(RedistillError, ValueError):  # a folder that cannot be written: it is measured again next time
        content = pretty({"format": FORMAT, "about": about, "value": value, "sha256": _seal(text, value)})
        with contextlib.suppress(NoRoom):
            make_room(folder, len(content))
            write(path, content)
    return value


def _seal(key: str, value: object) -> str:
    return digest(canonical([FORMAT, key, value]))

"""The weights in a file of ``torch.save(net)``: a pickle of the network itself, or of a checkpoint with objects beside its state dict,
read as data, of which nothing is run.

A pickle names classes and functions and says with what they are called. Here a name means one of the few that make tensors, and
otherwise a stand-in, a record of what it was given. So the file becomes a tree of stand-ins with the attributes that every
``nn.Module`` keeps, ``_parameters``, ``_buffers`` and ``_modules``, and these are its state dict. A configuration, a history or an
enumeration that a script left beside its state dict becomes a stand-in likewise, and is of no use. Only archives of
PyTorch 1.6 and later are read; the earlier format is refused as before.
"""

from __future__ import annotations

import collections
import pickle
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

DEPTH = 64  # modules inside modules

_MAKERS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("builtins", "set"): set,  # torch.save's protocol names it, newer ones have an operation of their own
    ("__builtin__", "set"): set,
}
"""All that is called: it makes tensors of bytes, and containers."""


class Part:
    """Stands for an object of the pickle, whatever its class; ``kept``: the attributes that it was to have."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.kept: dict[str, Any] = {}

    def __setstate__(self, state: object) -> None:
        for part in state if isinstance(state, tuple) else (state,):  # (attributes, slots)
            if isinstance(part, Mapping):
                self.kept = {**getattr(self, "kept", {}), **{str(key): value for key, value in part.items()}}

    def __setitem__(self, key: object, value: object) -> None: ...  # a mapping of its own: not looked into
    def append(self, value: object) -> None: ...
    def extend(self, values: object) -> None: ...
    def add(self, value: object) -> None: ...
    def __hash__(self) -> int:
        return id(self)


class _Reader(pickle.Unpickler):
    """An unpickler that builds tensors, containers and stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        if (known := _MAKERS.get((module, name))) is not None:
            return known
        if module in ("torch", "torch.storage"):  # the type of a storage, and of its numbers
            found = getattr(torch, name, None) if module == "torch" else None
            if isinstance(found, torch.dtype) or (isinstance(found, type) and name.endswith("Storage")):
                return found
            if (module, name) == ("torch.storage", "UntypedStorage"):
                return torch.UntypedStorage
        return Part


def weights_of(path: Path) -> tuple[dict[str, Any], tuple[str, ...]] | None:
    """The tensors of the network (or of the only network in a dictionary) that a file of ``torch.save`` holds, and the names of those
    that are of no state dict; of a dictionary with state dicts and no network the dictionary. None where it holds neither, or cannot be
    read so."""
    reading = types.SimpleNamespace(Unpickler=_Reader, load=pickle.load, __name__="pickle")
    try:
        with path.open("rb") as file:
            if file.read(2) != b"PK":
                return None
            file.seek(0)
            loaded = torch.load(file, map_location="cpu", weights_only=False, pickle_module=reading)
    except Exception:  # whatever stand-ins lead to: then it is no plain network
        return None
    held = [loaded] if isinstance(loaded, Part) else list(loaded.values()) if isinstance(loaded, Mapping) else []
    found = [named for part in held if isinstance(part, Part) and (named := list(_tensors(part)))]
    if not found and isinstance(loaded, Mapping) and any(_is_state(one) for one in (loaded, *loaded.values())):
        return {str(key): value for key, value in loaded.items() if not isinstance(value, Part)}, ()
    if len(found) != 1:
        return None
    return {name: value for name, value, _ in found[0]}, tuple(name for name, _, saved in found[0] if not saved)


def _is_state(found: object, depth: int = 0) -> bool:
    """Whether it is a state dict, or a dictionary around one."""
    inside = list(found.values()) if isinstance(found, Mapping) else []
    return any(isinstance(one, Tensor) for one in inside) or (depth < 4 and any(_is_state(one, depth + 1) for one in inside))


def _tensors(part: Part, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor, bool]]:
    """Parameters and buffers by name, as ``state_dict`` calls them, and whether it holds them."""
    unsaved = part.kept.get("_non_persistent_buffers_set")
    left_out = set(unsaved) if isinstance(unsaved, set | list) else set()
    for table in ("_parameters", "_buffers"):
        for name, value in _entries(part, table):
            if isinstance(value, Tensor):
                yield prefix + name, value.detach(), not (table == "_buffers" and name in left_out)
    for name, inner in _entries(part, "_modules"):
        if isinstance(inner, Part) and depth < DEPTH:
            yield from _tensors(inner, f"{prefix}{name}.", depth + 1)


def _entries(part: Part, table: str) -> list[tuple[str, Any]]:
    found = part.kept.get(table)
    return [(str(name), value) for name, value in found.items()] if isinstance(found, Mapping) else []

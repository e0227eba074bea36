"""One reader for every file of weights: what the file is, by its bytes; its tensors by name; and the texts of its header.

A file is data: nothing in it is executed, pickles are read by ``torch.load(weights_only=True)``, or as a tree of stand-ins
(:mod:`redistill.models.pickled`). Whatever a library
raises becomes a sentence that names the file.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
import stat
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from redistill.errors import RedistillError, first_line
from redistill.models.file_kinds import FORMATS, LARGEST, at_fault, unread, what_else
from redistill.models.pickled import weights_of
from redistill.paths import expanded

KEYS = ("state_dict", "model_state_dict", "model", "net", "params", "model_state", "network", "weights")
"""Under which training scripts save the weights, in the order in which they are looked for."""

AVERAGES = ("state_dict_ema", "model_ema", "ema", "ema_state_dict")
"""Averaged weights: read where the file holds no others, or where they are asked for."""

DEPTH = 8  # mappings inside mappings
SHARDS = 1000


class Beside:
    """Stands for a value that scripts leave beside their weights and that is of no use here; whatever builds it runs nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


_NUMBERS = ("Bool", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float16", "Float32", "Float64", "Str")

_BESIDE = (
    *(f"{numpy}.multiarray.{made}" for numpy in ("numpy.core", "numpy._core") for made in ("scalar", "_reconstruct")),
    "numpy.dtype", "numpy.ndarray", *(f"numpy.dtypes.{kind}DType" for kind in _NUMBERS),
    *(f"pathlib.{kind}" for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
    *(f"pathlib._local.{kind}" for kind in ("PosixPath", "WindowsPath")),
    *(f"datetime.{kind}" for kind in ("datetime", "date", "time", "timedelta", "timezone")),
)  # fmt: skip


def tensors_of(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file of weights by name, on the CPU, in the precision of the file."""
    return contents(path)[0]


def contents(path: str | Path, *, averaged: bool = False) -> tuple[dict[str, Tensor], dict[str, str]]:
    """``(tensors by name, header)`` of a file of weights of any format; only safetensors have a header, and a whole network one that
    names its buffers of no state dict.

    The format is told by the bytes, never by the name. A list of shards (``*.index.json``) is read with its shards. Of a training
    script's file that holds weights and their running average, the weights, and the header names the average; or, ``averaged``,
    the average.
    """
    path = expanded(path)
    size = _size(path)
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise unread(path, error) from error
    pickled = head[:2] == b"PK" or head[:1] == b"\x80"
    if averaged and (_is_safetensors(head, size) or not pickled):
        raise _no_average(path)
    if _is_safetensors(head, size) or (path.suffix.lower() == ".safetensors" and _may_be_cut(head)):
        return _safetensors(path)
    if head[:1] == b"{" and path.suffix.lower() == ".json":
        return _shards(path), {}
    if (what := what_else(path, head, size)) is not None:
        raise RedistillError(f"{path} {what}")
    if path.suffix.lower() == ".safetensors" and not pickled:
        return _safetensors(path)  # which says what is wrong with it
    loaded, beside = _torch(path, head)
    average = _average(loaded)
    if averaged:
        if average is None:
            raise _no_average(path)
        return _bounded(_state_dict(loaded[average], path), path, size), {}
    about = ({"beside": beside} if beside else {}) | ({"average": average} if average is not None and _plain_weights(loaded) else {})
    return _bounded(_state_dict(loaded, path), path, size), {"redistill": json.dumps(about)} if about else {}


def _no_average(path: Path) -> RedistillError:
    return RedistillError(f"{path} holds no averaged weights (under {', '.join(AVERAGES)}): leave averaged out")


def _average(loaded: Any) -> str | None:
    """The key of the running average of a training script's file; None where it holds none."""
    return next((key for key in AVERAGES if _holds(loaded, key)), None)


def _plain_weights(loaded: Any) -> bool:
    return any(_holds(loaded, key) for key in KEYS)


def _holds(loaded: Any, key: str) -> bool:
    """Whether there is something like a state dict under a key."""
    return isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping) and bool(loaded[key])


def _size(path: Path) -> int:
    """Bytes of a regular file; everything else is refused."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        if "://" in str(path) or re.match(r"(https?|s3|gs|hf):/", str(path)):
            raise RedistillError(f"{str(path)[:300]} is an address, and nothing is fetched here: download it and give {FORMATS}") from error
        reason = f" ({error.strerror})" if isinstance(error, PermissionError) else ""
        raise RedistillError(f"there is no network file {str(path)[:300]}{reason}: give the path of {FORMATS}") from error
    if stat.S_ISDIR(found.st_mode):
        raise RedistillError(f"{path} is a folder, not a network file: give the path of {FORMATS} in it")
    if not stat.S_ISREG(found.st_mode):
        raise RedistillError(f"{path} is no plain file (a pipe or a device), so it is not read: give the path of {FORMATS}")
    if not found.st_size:
        raise RedistillError(f"{path} is empty (0 bytes), as a broken download leaves it: get it again")
    return found.st_size


# -- what a file is ---------------------------------------------------------------------------------------------------
def _is_safetensors(head: bytes, size: int) -> bool:
    """Eight bytes with the length of a JSON object, and that object."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and 2 <= length <= size - 8


def _may_be_cut(head: bytes) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 10**8


# -- safetensors ------------------------------------------------------------------------------------------------------
def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except MemoryError as error:
        raise RedistillError(f"{path} needs more memory than there is: {error}") from error
    except Exception as error:  # SafetensorError, OSError, and what a type that torch lacks raises
        if at_fault(error):
            raise unread(path, error) from error
        raise RedistillError(f"{path} is damaged or no safetensors file ({first_line(error)[:200]}): get it again") from error
    return _plain(tensors, path), dict(header)


def _shards(path: Path) -> dict[str, Tensor]:
    """The weights that a ``model.safetensors.index.json`` lists; its shards must lie beside it."""
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = sorted({str(file) for file in listed.values()})
    except OSError as error:
        raise unread(path, error) from error
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise RedistillError(f"{path} is no list of shards (a JSON object with 'weight_map'): give {FORMATS}") from error
    if len(files) > SHARDS or any(Path(file).name != file or file.endswith(".json") for file in files):
        raise RedistillError(f"{path} lists {len(files)} files, not all of them plain names beside it: they were not read")
    held = {file: tensors_of(path.with_name(file)) for file in files}
    missing = [name for name, file in listed.items() if name not in held[file]]
    if missing:
        raise RedistillError(f"{path}: {listed[missing[0]]} does not hold {str(missing[0])[:200]!r}: get the shards again")
    return {str(name): held[file][name] for name, file in listed.items()}


# -- pickles of torch.save --------------------------------------------------------------------------------------------
def _torch(path: Path, head: bytes) -> tuple[Any, Sequence[str]]:
    """What a file of torch.save holds, and of a whole network the names of the tensors that are of no state dict."""
    # RepDistiller keeps its options beside the weights, in a Namespace
    harmless: list[Any] = [argparse.Namespace, *((Beside, name) for name in _BESIDE)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about pickle protocols: what cannot be read is refused below
            # an open file, because by a name that ends in .safetensors torch would choose another reader
            with torch.serialization.safe_globals(harmless), path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True), ()
    except pickle.UnpicklingError as error:
        pickled = head.startswith((b"\x80", b"PK"))
        if (weights := weights_of(path)) is not None:  # a whole network, or objects beside weights, read as data
            return weights
        raise RedistillError(f"{path} {_refused(str(error), _whole(path), pickled)}") from error
    except MemoryError as error:
        raise RedistillError(f"{path} needs more memory than there is: {first_line(error)[:200]}") from error
    except Exception as error:  # torch raises nearly everything on bytes that are no checkpoint, IndexError too
        if at_fault(error):
            raise unread(path, error) from error
        raise RedistillError(f"{path} is damaged or no PyTorch file ({first_line(error)[:200]}): get it again") from error


_NAMED = re.compile(r"Unsupported global: GLOBAL (\S+)|allowlisted via `add_safe_globals` but got <class '([\w.]+)'>|"
                    r"GLOBAL ([\w.]+) was not an allowed global")  # fmt: skip

_NO_PICKLE = ("invalid load key", "Invalid magic number", "unpickling stack underflow", "pickle data was truncated")


def _whole(path: Path) -> bool:
    """Whether a file of torch.save names modules: somebody saved the network itself. Nothing is built to tell."""
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # older formats, damaged files: no answer
        return False
    return any(name.startswith("torch.nn.modules.") for name in named)


def _refused(message: str, whole: bool, pickled: bool) -> str:
    """Why the restricted reader stopped: the rest of a sentence; ``pickled``: the bytes begin as a pickle or an archive does."""
    named = _NAMED.search(message)
    name = next((found for found in named.groups() if found), "")[:100] if named else ""
    if not name and (not pickled or any(text in message for text in _NO_PICKLE)):
        return "is damaged or no PyTorch file (it is not what torch.save writes): get it again"
    what = f" (it names {name})" if name else ""
    if whole or name.startswith("torch.nn.modules."):
        return (
            f"holds a whole network, not its weights{what}, and building that could run a program hidden in it: it was refused. "
            f"Where it was made, save its weights with torch.save(net.state_dict(), file)"
        )
    return (
        f"holds more than tensors{what}, and reading that could run a program hidden in it: it was refused. If you trust "
        f"its author, load it with torch yourself and save its state dict with safetensors"
    )


def _state_dict(loaded: object, path: Path, depth: int = 0) -> dict[str, Tensor]:
    """The state dict in what a training script saved: itself, or under a usual key, or in its only mapping of tensors."""
    if isinstance(loaded, Tensor):
        raise RedistillError(f"{path} holds one tensor {list(loaded.shape)} without a name: save the state dict of the network")
    if depth > DEPTH:
        raise RedistillError(f"{path} holds mappings inside mappings without end: save the state dict of the network alone")
    if isinstance(loaded, Mapping):
        for key in (*KEYS, *AVERAGES):
            inner = loaded.get(key)
            if isinstance(inner, Mapping) and inner:
                beside = loaded.get("stats")  # attention-transfer keeps running statistics beside the parameters
                return _state_dict({**inner, **beside} if isinstance(beside, Mapping) else inner, path, depth + 1)
        found = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
        if found:
            return _plain(found, path)
        if {"state", "param_groups"} <= set(map(str, loaded)):
            raise RedistillError(f"{path} holds the state of an optimizer, not the weights of a network: give the other file")
        several = {
            str(name): inner
            for name, inner in loaded.items()
            if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values())
        }
        if len(several) == 1:
            return _state_dict(next(iter(several.values())), path, depth + 1)
        if several:
            names = ", ".join(sorted(several)[:5])[:200]
            raise RedistillError(f"{path} holds several networks or parts ({names}): save the state dict of one of them alone")
    held = f"a {type(loaded).__name__}"
    if isinstance(loaded, Mapping):
        held = f"the keys {', '.join(map(str, list(loaded)[:5]))[:200]}" if loaded else "an empty mapping"
    raise RedistillError(
        f"{path} holds no state dict, but {held}: expected tensors by name, or such a mapping under 'state_dict' or 'model'"
    )


def _plain(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Refuse tensors that are not plain arrays of numbers."""
    for name, value in tensors.items():
        kind = (
            "quantised" if value.is_quantized or str(value.dtype).startswith("torch.q")
            else "sparse" if value.layout != torch.strided
            else "complex" if value.is_complex()
            else "without values (saved from the meta device)" if value.is_meta
            else None
        )  # fmt: skip
        if kind:
            raise RedistillError(f"{path}: {name[:200]} is {kind}: give the plain weights it was made from")
    return tensors


def _bounded(tensors: dict[str, Tensor], path: Path, size: int) -> dict[str, Tensor]:
    """Refuse views that repeat a few stored numbers into very many."""
    announced = sum(value.numel() * value.element_size() for value in tensors.values())
    if announced > max(LARGEST, 16 * size):
        raise RedistillError(f"{path} has {size:,} bytes and announces {announced:,} bytes of weights: it was not read")
    return tensors

"""One file holds the whole state of a run: tensors as safetensors, everything else as JSON in its header.

Never a pickle. A SHA-256 over tensors and structure stands in the header; the file is replaced in one step and the one
before it is kept as ``checkpoint.previous.safetensors``.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from redistill.errors import RedistillError
from redistill.files import canonical, read, write, writing
from redistill.tensor_files import header, packed, tensors_digest, tensors_of

FORMAT = 2  # 1: its own number was not part of the SHA-256
NAME = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"


def _layout(tensor: Tensor) -> str:
    if tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last):
        return "channels_last"
    return "contiguous"


def flatten(tree: Any, tensors: dict[str, Tensor], at: str = "") -> Any:
    """The tree as plain JSON values; its tensors go into ``tensors`` under their path.

    Dictionaries keep the type of their keys (optimisers count parameters with whole numbers) and tuples stay tuples.
    """
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, Tensor):
        tensors[at] = tree
        return {"tensor": at, "layout": _layout(tree)}
    if isinstance(tree, dict):
        for key in tree:
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise RedistillError(f"a checkpoint holds dictionaries with text or whole numbers as keys, {at} has {key!r}")
        return {"dict": [[key, flatten(value, tensors, f"{at}/{key}")] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        kind = "list" if isinstance(tree, list) else "tuple"
        return {kind: [flatten(value, tensors, f"{at}/{i}") for i, value in enumerate(tree)]}
    raise RedistillError(f"a checkpoint holds tensors and plain values; {at or 'the state'} is a {type(tree).__name__}")


def unflatten(written: Any, tensors: dict[str, Tensor]) -> Any:
    """Inverse of :func:`flatten`."""
    if not isinstance(written, dict):
        return written
    if "tensor" in written:
        tensor = tensors[written["tensor"]]
        return tensor.contiguous(memory_format=torch.channels_last) if written["layout"] == "channels_last" else tensor
    if "dict" in written:
        return {key: unflatten(value, tensors) for key, value in written["dict"]}
    if "tuple" in written:
        return tuple(unflatten(value, tensors) for value in written["tuple"])
    return [unflatten(value, tensors) for value in written["list"]]


class Foreign(RedistillError):
    """A whole checkpoint that this run may neither go on from nor write over: of a newer version, or of another run."""


def save(folder: Path, state: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write the checkpoint of a run folder; the one before it stays as the previous one.

    Args:
        facts: plain values beside the state: which run it is (``id``), and where it was computed (``sessions``).
    """
    tensors: dict[str, Tensor] = {}
    structure = canonical_lenient(flatten(state, tensors))
    about = canonical(facts)
    metadata = {"redistill": "checkpoint", "format": str(FORMAT), "facts": about, "structure": structure}
    write(folder / NAME, packed(tensors, {**metadata, "sha256": _seal(tensors, metadata)}), keep=folder / PREVIOUS)


def _seal(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """SHA-256 over all of a checkpoint; the first format left its own number out."""
    number = "" if metadata["format"] == "1" else f"format {metadata['format']}"
    return tensors_digest(tensors, metadata["structure"] + metadata["facts"] + number)


def canonical_lenient(value: Any) -> str:
    """JSON that also holds NaN and infinities, which the curves of a diverging student may contain."""
    return json.dumps(value, separators=(",", ":"))


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """State and facts of one checkpoint file.

    Raises:
        Foreign: a newer version wrote it. RedistillError: what is wrong with it, in a sentence.
    """
    content = read(path)
    metadata = header(content, path)
    if metadata.get("redistill") != "checkpoint":
        raise RedistillError(f"{path} is damaged: it is not a checkpoint of redistill")
    number = metadata.get("format", "")
    if number.isascii() and number.isdigit() and int(number[:9]) > FORMAT:
        raise Foreign(
            f"{path} was written by a newer redistill (checkpoint format {number[:9]}, this one reads up to {FORMAT}): update "
            f"redistill, or delete the file to start again"
        )
    tensors = tensors_of(content, path)
    try:
        if _seal(tensors, metadata) != metadata["sha256"]:
            raise RedistillError(f"{path} is damaged: its content does not match its SHA-256")
        state, facts = unflatten(json.loads(metadata["structure"]), tensors), json.loads(metadata["facts"])
    except RedistillError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise RedistillError(f"{path} is damaged: what its header says cannot be read ({type(error).__name__}: {error})") from error
    return state, facts


@contextlib.contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Loading a whole checkpoint into a loop: what does not fit is another version's.

    Raises:
        Foreign: it does not fit.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise Foreign(
            f"{path} does not fit this run ({type(error).__name__}: {str(error)[:200]}): another version of redistill wrote it. Go on with "
            f"that one, or delete the checkpoints to begin again"
        ) from error


def aside(path: Path, why: str) -> Path:
    """Give a file that must not be written over another name, ``checkpoint.damaged.safetensors``; returns it."""
    stem = path.name.partition(".")[0]
    number, place = 1, path.with_name(f"{stem}.{why}.safetensors")
    while place.exists():
        number += 1
        place = path.with_name(f"{stem}.{why}-{number}.safetensors")
    with writing(place):
        path.rename(place)
    return place


def remove(folder: Path) -> None:
    """A finished run needs no checkpoint, neither a whole one nor one that was put aside."""
    for path in folder.glob(f"{NAME.partition('.')[0]}.*safetensors"):
        path.unlink(missing_ok=True)

"""One file holds the whole state of a run: tensors as safetensors, everything else as JSON in its header.

Never a pickle. A SHA-256 over tensors and structure stands in the header; the file is replaced in one step and the one
before it is kept as ``checkpoint.previous.safetensors``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from redistill.errors import RedistillError
from redistill.experiment.files import canonical, read, write

FORMAT = 1
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


def tensors_digest(tensors: dict[str, Tensor], more: str = "") -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, in the order of their names."""
    sha = hashlib.sha256(more.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()


def pack(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """A safetensors file in memory; tensors that share memory are written each for itself."""
    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        pointer = plain.untyped_storage().data_ptr()
        own[name] = plain.clone() if pointer in seen else plain
        seen.add(pointer)
    return safetensors.torch.save(own, metadata)


def header(content: bytes, path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    try:
        length = int.from_bytes(content[:8], "little")
        return dict(json.loads(content[8 : 8 + length]).get("__metadata__") or {})
    except (ValueError, UnicodeDecodeError, AttributeError) as error:
        raise RedistillError(f"{path} is damaged: its header cannot be read ({len(content)} bytes)") from error


def save(folder: Path, state: dict[str, Any], facts: dict[str, Any]) -> None:
    """Write the checkpoint of a run folder; the one before it stays as the previous one.

    Args:
        facts: plain values beside the state: which run it is, and where it was computed.
    """
    tensors: dict[str, Tensor] = {}
    structure = canonical_lenient(flatten(state, tensors))
    about = canonical(facts)
    metadata = {
        "redistill": "checkpoint",
        "format": str(FORMAT),
        "facts": about,
        "structure": structure,
        "sha256": tensors_digest(tensors, structure + about),
    }
    write(folder / NAME, pack(tensors, metadata), keep=folder / PREVIOUS)


def canonical_lenient(value: Any) -> str:
    """JSON that also holds NaN and infinities, which the curves of a diverging student may contain."""
    return json.dumps(value, separators=(",", ":"))


def load(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """State and facts of one checkpoint file, or a sentence that says what is wrong with it."""
    content = read(path)
    metadata = header(content, path)
    if metadata.get("redistill") != "checkpoint":
        raise RedistillError(f"{path} is not a checkpoint of redistill")
    if int(metadata["format"]) > FORMAT:
        raise RedistillError(
            f"{path} was written by a newer redistill (checkpoint format {metadata['format']}, this one reads up to "
            f"{FORMAT}): update redistill, or delete the file to start again"
        )
    try:
        tensors = safetensors.torch.load(content)
    except Exception as error:  # the reader's own error type is not public
        raise RedistillError(f"{path} is damaged: cut off or altered ({len(content)} bytes; {error})") from error
    if tensors_digest(tensors, metadata["structure"] + metadata["facts"]) != metadata["sha256"]:
        raise RedistillError(f"{path} is damaged: its content does not match its SHA-256")
    return unflatten(json.loads(metadata["structure"]), tensors), json.loads(metadata["facts"])


def remove(folder: Path) -> None:
    """A finished run needs no checkpoint."""
    for name in (NAME, PREVIOUS):
        (folder / name).unlink(missing_ok=True)

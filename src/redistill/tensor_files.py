"""Tensors in files: one way to write a safetensors file, so that equal tensors and texts are equal bytes everywhere.

The library writes the texts of its header in the random order of a hash map, so its files of equal content have unequal
SHA-256. Here texts are sorted, tensors stand in the order of item size and name, and a digest is over tensors, not files.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from redistill.errors import RedistillError
from redistill.paths import expanded

TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.uint16: "U16", torch.uint32: "U32", torch.uint64: "U64",
}  # fmt: skip
"""Types of numbers by their names in the format (https://huggingface.co/docs/safetensors)."""


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def require_plain(tensors: Mapping[str, Tensor]) -> None:
    """Refuse what stands in no file of tensors: extra state that is no tensor, sparse or quantised tensors."""
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.dtype not in TYPES or tensor.is_meta:
            kind = f"a {tensor.layout} tensor of {tensor.dtype}" if isinstance(tensor, Tensor) else f"a {type(tensor).__name__}"
            raise RedistillError(f"a file of tensors holds plain tensors, {name!r} is {kind}: leave it out or convert it")


def packed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """A safetensors file in memory; tensors that share memory are written each for itself.

    Raises:
        RedistillError: an entry that is no plain tensor.
    """
    require_plain(tensors)
    head: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    body = []
    at = 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].element_size(), name)):
        content = _bytes(tensors[name])
        head[name] = {
            "dtype": TYPES[tensors[name].dtype], "shape": list(tensors[name].shape), "data_offsets": [at, at + len(content)],
        }  # fmt: skip
        body.append(content)
        at += len(content)
    text = json.dumps(head, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return b"".join([len(text).to_bytes(8, "little"), text, *body])


def header(content: bytes, path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file."""
    try:
        length = int.from_bytes(content[:8], "little")
        texts = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
        return {str(key): str(value) for key, value in texts.items()}
    except (ValueError, AttributeError, RecursionError) as error:
        raise RedistillError(f"{path} is damaged: its header cannot be read ({len(content)} bytes)") from error


def tensors_of(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file of ours."""
    try:
        return dict(safetensors.torch.load(content))
    except Exception as error:  # the reader's own error type is not public in every version
        raise RedistillError(f"{path} is damaged: cut off or altered ({len(content)} bytes; {str(error)[:200]})") from error


def tensors_digest(tensors: Mapping[str, Tensor], more: str = "") -> str:
    """SHA-256 over names, types, shapes and bytes of tensors, in the order of their names."""
    sha = hashlib.sha256(more.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(_bytes(tensor))
    return sha.hexdigest()


def save(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write such a file in one step; ``~`` is the home folder.

    Raises:
        RedistillError: the folder is not there, or the file cannot be written.
    """
    place = expanded(path)
    if not place.parent.is_dir():
        raise RedistillError(f"cannot write {place}: there is no folder {place.parent}; make it first")
    if place.is_dir():
        raise RedistillError(f"cannot write {place}: it is a folder; give the name of a file, for example {place / 'net.safetensors'}")
    content = packed(tensors, metadata)
    partial = place.with_name(f".{secrets.token_hex(8)}.partial")
    try:
        try:
            with open(partial, "xb") as file:  # the mode that the umask leaves, as for every other file
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, place)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise RedistillError(f"cannot write {place}: {error.strerror or error}") from error

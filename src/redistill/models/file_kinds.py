"""What a file is that somebody gave for weights and that holds none that could be read: the rest of a sentence, told by its bytes."""

from __future__ import annotations

import errno
import re
import zipfile
from pathlib import Path
from typing import TypeGuard

from redistill.errors import RedistillError

FORMATS = "a .safetensors, .pth or .pt file"

LARGEST = 2**28  # bytes; a file may always announce this many, and above it 16 times its own size


def unread(path: Path, error: OSError) -> RedistillError:
    """A file that cannot be read is not called damaged."""
    return RedistillError(f"{path} cannot be read ({error.strerror or error}): its rights or its disk are at fault")


def at_fault(error: BaseException) -> TypeGuard[OSError]:
    """Whether the disk or the rights are at fault; seeking to where a damaged archive points is the archive's own fault."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, the format of Keras, whose network can be evaluated whole; where weights are wanted export "
     "them as safetensors, under a PyTorch network's names"),
    (b"GGUF", "is a GGUF file, whose weights are quantised: give the weights it was made from"),
    (b"\x1f\x8b", "is packed with gzip: unpack it and give the file inside"),
    (b"BZh", "is packed with bzip2: unpack it and give the file inside"),
    (b"\xfd7zXZ\0", "is packed with xz: unpack it and give the file inside"),
    (b"\x28\xb5\x2f\xfd", "is packed with zstd: unpack it and give the file inside"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it and give one of the files inside"),
    (b"Rar!", "is a rar archive: unpack it and give one of the files inside"),
    (b"\x93NUMPY", "is a numpy array (.npy), not the weights of a network"),
    (b"%PDF", "is a PDF document, not the weights of a network"),
    (b"\x89PNG", "is a picture, not the weights of a network"),
    (b"\xff\xd8\xff", "is a picture, not the weights of a network"),
    (b"\x7fELF", "is a program, not the weights of a network"),
)


def what_else(path: Path, head: bytes, size: int) -> str | None:
    """What a file is that is no checkpoint: the rest of a sentence; None where PyTorch may be able to read it."""
    if head.startswith(b"version https://git-lfs"):
        return "is a git-lfs pointer, which stands for the real file: fetch that with 'git lfs pull', or download it by hand"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:200].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--")):
        return "is a web page (HTML) that was saved instead of the file: open the link in a browser and get the file itself"
    if found := next((what for magic, what in _MAGIC if head.startswith(magic)), None):
        return found
    if head[4:8] == b"TFL3":
        return "is a TensorFlow Lite file, whose network can be evaluated whole; where weights are wanted give those of a PyTorch network"
    if path.suffix.lower() == ".onnx" or re.match(rb"\x08[\x01-\x14](\x12|\x1a|\x3a)", head):
        return "is an ONNX file, a computation without its network's names: give the state dict that it was exported from"
    if head[257:262] == b"ustar":
        return _tar(path)
    if head.startswith(b"PK"):
        return _zip(path, size)
    if not any(byte < 9 or 13 < byte < 32 for byte in head):  # a pickle of tensors has bytes that no text has
        try:
            text = head.decode("utf-8", "ignore" if len(head) == 4096 else "strict")
        except UnicodeDecodeError:
            return None
        shown = "".join(c for c in text.strip().split("\n")[0][:40] if c.isprintable())
        return f"is a text that begins with {shown!r}, not the weights of a network: give {FORMATS}"
    return None


def _several(kind: str, names: list[str]) -> str:
    files = [name for name in names if not name.endswith("/")]
    if not files:
        return f"is {kind} archive without files: give the path of {FORMATS}"
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    return f"is {kind} archive that holds files ({shown[:300]}): unpack it and give one of them"


def _tar(path: Path) -> str:
    import tarfile

    names: list[str] = []
    try:
        with tarfile.open(path, "r:") as opened:
            for member in opened:
                names.append(member.name + ("/" if member.isdir() else ""))
                if len(names) > 200:
                    break
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        if at_fault(error):
            raise unread(path, error) from error
        return f"is a damaged tar archive ({error}): get it again"
    if {"storages", "tensors", "pickle"} <= set(names):
        return "was written by a PyTorch before 0.2, whose format is read no more: load it there and save its state dict again"
    return _several("a tar", names)


def _zip(path: Path, size: int) -> str | None:
    """What a zip archive is other than a file of torch.save; None where it is one (or is damaged, which torch says)."""
    try:
        with zipfile.ZipFile(path) as opened:
            members = opened.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        if at_fault(error):
            raise unread(path, error) from error
        return None
    names = [member.filename for member in members]
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        return (
            "is a TorchScript program (torch.jit.save), which is not run here: where it was made, save its weights with "
            "torch.save(net.state_dict(), file)"
        )
    if any(name.endswith(("serialized_exported_program.json", "archive_format")) for name in names):
        return "is an exported program (torch.export), which is not run here: save the network's state_dict() instead"
    if "model.weights.h5" in names:
        return "is a Keras file: export its weights as safetensors, under a PyTorch network's names"
    if names and all(name.endswith(".npy") for name in names):
        return f"is an archive of numpy arrays ({', '.join(names[:3])[:200]}), not the weights of a PyTorch network"
    if "data.pkl" not in inside:
        return _several("a zip", names)
    if (unpacked := sum(member.file_size for member in members)) > max(LARGEST, 16 * size):
        return f"has {size:,} bytes and would unpack to {unpacked:,}, which no file of weights does: it was not read"
    return None

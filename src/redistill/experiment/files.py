"""Writing that is either done or not done: atomic, on the disk when it returns, and errors that are sentences."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.EEXIST: "a file of that name is there",
    errno.EFBIG: "the file is larger than allowed here",
    errno.EIO: "the disk reports an input/output error",
}


def why(error: OSError) -> str:
    """The reason of an operating system error in words."""
    return REASONS.get(error.errno or 0, error.strerror or str(error))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an operating system error into a sentence that names the file and what is still there."""
    try:
        yield
    except OSError as error:
        left = "the file that was there before is untouched" if path.exists() else "nothing was left half-written"
        raise RedistillError(
            f"cannot write {path}: {why(error)}; {left}. Put that right (or choose another folder with --out) and run the "
            f"same command again: it goes on from the last checkpoint"
        ) from error


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RedistillError(f"cannot make the folder {path}: {why(error)}; put that right, or name another folder") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write(path: Path, content: bytes, *, keep: Path | None = None) -> None:
    """Replace ``path`` by ``content`` in one step: whoever reads it sees all of the old or all of the new.

    Args:
        keep: where the file that was there before goes on living under another name.
    """
    with writing(path):
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with open(partial, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                # a second name for the old file first: at no moment is there no file to go on from
                second = keep.with_name(f".{keep.name}.{os.getpid()}.partial")
                second.unlink(missing_ok=True)
                os.link(path, second)
                os.replace(second, keep)
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written; only for the holder of the folder's lock."""
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RedistillError(f"cannot read {path}: {why(error) if path.exists() else 'there is no such file'}") from error


class Spoilt(RedistillError):
    """What a file holds is not what it must hold; a file that merely cannot be read is none of these.

    Attributes:
        reason: what is wrong with its content, for a sentence of one's own.
    """

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path} is damaged: {reason}")
        self.reason = reason


LARGEST = 256 * 2**20  # bytes; the largest record of ours has some ten thousand
UNREADABLE_JSON = (ValueError, TypeError, LookupError, RecursionError, OverflowError, MemoryError, AttributeError)
"""What ``json`` and whoever looks into its values may raise for a file that somebody spoilt."""


def there(path: Path) -> bool:
    """Whether something is at a path; something that may not be looked at is."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def json_of(path: Path, largest: int = LARGEST) -> Any:
    """The value in a JSON file; NaN and infinities are refused, as we write none.

    Raises:
        RedistillError: it cannot be read (it is not there, permission, a folder, a pipe). Spoilt: its content is no JSON, or
            is larger than ``largest`` bytes.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise RedistillError(f"cannot read {path}: {'there is no such file' if error.errno == errno.ENOENT else why(error)}") from error
    if not stat.S_ISREG(about.st_mode):
        raise RedistillError(f"cannot read {path}: it is {'a folder' if stat.S_ISDIR(about.st_mode) else 'no regular file'}")
    if about.st_size > largest:
        raise Spoilt(path, f"it has {about.st_size} bytes, more than the {largest} that such a file may have")
    return json_in(read(path), path)


def json_in(content: bytes, path: Path) -> Any:
    """The same of a content that was read already."""
    try:
        value = json.loads(content, parse_constant=_refuse)
        if re.search(rb"\\u[dD][89a-fA-F]", content):
            json.dumps(value, ensure_ascii=False).encode()  # half of a character that needs two
    except json.JSONDecodeError as error:
        raise Spoilt(path, f"line {error.lineno}: not valid JSON: {error.msg}") from error
    except UnicodeDecodeError as error:
        raise Spoilt(path, f"it is not text in UTF-8 ({error.reason} at byte {error.start})") from error
    except RecursionError as error:
        raise Spoilt(path, "its brackets are nested too deep") from error
    except UNREADABLE_JSON as error:
        raise Spoilt(path, f"not valid JSON: {str(error)[:200]}") from error
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number that JSON knows")


def canonical(value: Any) -> str:
    """The one JSON text of a value: keys sorted, no spaces, numbers as Python prints them, NaN refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(content: bytes | str) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file in hex."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RedistillError(f"cannot read {path}: {why(error) if path.exists() else 'there is no such file'}") from error


def pretty(value: Any) -> bytes:
    """JSON for files: indented, because people read it. NaN and infinities are refused."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


class Lock:
    """One process at a time in a run folder. The lock belongs to the process and goes with it, however it ends."""

    def __init__(self, path: Path):
        self.path = path
        self._handle: int | None = None

    def take(self, *, wait: bool = False) -> bool:
        """Take the lock; False if another process holds it (never with ``wait``)."""
        with writing(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(handle)
            return False
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

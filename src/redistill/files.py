"""Writing that is either done or not done: atomic, on the disk when it returns, and errors that are sentences."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, cut

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
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOENT: "there is no such file or folder",
}


NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV, errno.EACCES)
"""What a file system without hard links says."""


def why(error: OSError) -> str:
    """The reason of an operating system error in words."""
    return REASONS.get(error.errno or 0, error.strerror or str(error))


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an operating system error into a sentence that names the file and what is still there."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT and not _there(path.parent):
            raise RedistillError(
                f"cannot write {path}: the folder {path.parent} is gone (deleted or moved away meanwhile), and what was saved in it "
                f"with it; the same command begins this run again"
            ) from error
        left = "the file that was there before is untouched" if _there(path) else "nothing was left half-written"
        raise RedistillError(
            f"cannot write {path}: {why(error)}; {left}. Put that right (or choose another folder with --runs or --to) and run the "
            f"same command again: it goes on from the last checkpoint"
        ) from error


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RedistillError(f"cannot make the folder {path}: {why(error)}; put that right, or name another folder") from error


def _there(path: Path) -> bool:
    """``path.exists()`` that is False, and no error, where it cannot be known."""
    try:
        return path.exists()
    except OSError:
        return False


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot; the file itself is synced
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def partial_of(path: Path) -> Path:
    """A name beside ``path`` for what is not whole yet: no other process has it, on this machine or on another one.

    A long name is cut, so that the partial one is no longer than a file name may be.
    """
    host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())[:20]
    return path.with_name(f".{path.name[:100]}.{host}-{os.getpid()}-{secrets.token_hex(4)}.partial")


def _second_name(path: Path, keep: Path) -> None:
    """Give the file at ``path`` a second name; at no moment is there no file to go on from."""
    second = partial_of(keep)
    try:
        try:
            os.link(path, second)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            _write_synced(second, path.read_bytes())
        os.replace(second, keep)
    except BaseException:
        with contextlib.suppress(OSError):
            second.unlink(missing_ok=True)
        raise


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:  # its mode follows the umask, as everywhere
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write(path: Path, content: bytes, *, keep: Path | None = None) -> None:
    """Replace ``path`` by ``content`` in one step: whoever reads it sees all of the old or all of the new.

    Args:
        keep: where the file that was there before goes on living under another name.
    """
    with writing(path):
        partial = partial_of(path)
        try:
            _write_synced(partial, content)
            if keep is not None and path.exists():
                _second_name(path, keep)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def write_first(path: Path, content: bytes) -> None:
    """Write ``path`` in one step where nothing stands there; what another process wrote meanwhile stays."""
    with writing(path):
        partial = partial_of(path)
        try:
            _write_synced(partial, content)
            try:
                os.link(partial, path)  # a replacement would go over it
            except FileExistsError:
                return
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                os.replace(partial, path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
        _sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written; only for the holder of the folder's lock. A folder of such a name is not ours."""
    for partial in folder.glob(".*.partial"):
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RedistillError(f"cannot read {path}: {_unread(error)}") from error


def _unread(error: OSError) -> str:
    return "there is no such file" if error.errno == errno.ENOENT else why(error)


class Spoilt(RedistillError):
    """What a file holds is not what it must hold; a file that merely cannot be read is none of these.

    Attributes:
        reason: what is wrong with its content, for a sentence of one's own.
    """

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path} is damaged: {reason}")
        self.reason = reason


LARGEST = 256 * 2**20  # bytes; the largest record of ours has some ten thousand

UNREADABLE = (ValueError, TypeError, LookupError, RecursionError, OverflowError, MemoryError, AttributeError)
"""What ``json``, ``tomllib`` and whoever looks into their values may raise for a file that somebody spoilt."""


def there(path: Path) -> bool:
    """Whether something is at a path; something that may not be looked at is, what no file can be called is not."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def require_free(folder: Path, names: Iterable[str], mark: str, option: str) -> None:
    """Refuse to write these files over somebody's own: some are there, and ``mark``, which we write beside them, is not.

    Raises:
        RedistillError: such a file is there; ``option`` is how the command is told of another folder.
    """
    if there(folder / mark):
        return
    for name in names:
        if there(folder / name):
            raise RedistillError(f"{folder / name} is there, and was not written here: give another folder with {option}, or move it away")


def json_of(path: Path, largest: int = LARGEST) -> Any:
    """The value in a JSON file; NaN and infinities are refused, as we write none.

    Raises:
        RedistillError: it cannot be read (it is not there, permission, a folder, a pipe). Spoilt: its content is no JSON, or
            is larger than ``largest`` bytes.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise RedistillError(f"cannot read {path}: {_unread(error)}") from error
    if not stat.S_ISREG(about.st_mode):
        raise RedistillError(f"cannot read {path}: it is {'a folder' if stat.S_ISDIR(about.st_mode) else 'no regular file'}")
    if about.st_size > largest:
        raise Spoilt(path, f"it has {about.st_size} bytes, more than the {largest} that such a file may have")
    return json_in(read(path), path)


def json_in(content: bytes, path: Path) -> Any:
    """The same of a content that was read already; texts that are no text are refused here and not where they are written."""
    try:
        value = json.loads(content.decode("utf-8-sig"), parse_constant=_refuse)
        if re.search(rb"\\u[dD][89a-fA-F]", content):
            json.dumps(value, ensure_ascii=False).encode()  # half of a character that needs two
    except json.JSONDecodeError as error:
        raise Spoilt(path, f"line {error.lineno}: not valid JSON: {error.msg}") from error
    except UNREADABLE as error:
        raise Spoilt(path, f"it cannot be read as JSON: {unreadable(error)}") from error
    return value


def unreadable(error: BaseException) -> str:
    """What a reader of text, JSON or TOML stumbled over (see :data:`UNREADABLE`), in words."""
    if isinstance(error, RecursionError):
        return "its tables and lists stand too deep in each other"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    if isinstance(error, UnicodeDecodeError):
        kind = "; it looks like UTF-16, as some editors call Unicode" if error.object[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        return f"it is not text in UTF-8 ({error.reason} at byte {error.start}{kind})"
    if isinstance(error, UnicodeError):
        return "it holds half of a surrogate pair, which is no text"
    if "integer string conversion" in str(error):
        return "it holds a whole number of thousands of digits"
    return cut(f"{type(error).__name__}: {error}", 200)


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
        raise RedistillError(f"cannot read {path}: {_unread(error)}") from error


def pretty(value: Any) -> bytes:
    """JSON for files: indented, because people read it. NaN and infinities are refused."""
    return (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


LOOKS = 4  # times that a lock is tried


class Lock:
    """One process at a time in a run folder. The lock belongs to the process and goes with it, however it ends.

    ``missing``: a sentence where the file system has no locks (some network mounts); the run goes on without one.
    """

    def __init__(self, path: Path):
        self.path = path
        self.missing = ""
        self._handle: int | None = None

    def take(self, *, wait: bool = False) -> bool:
        """Take the lock; False if another process holds it (never with ``wait``)."""
        with writing(self.path):
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _locked(handle, wait=wait)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL):
                os.close(handle)
                raise RedistillError(f"cannot lock {self.path}: {why(error)}") from error
            self.missing = (
                f"{self.path.parent}: this file system has no locks ({why(error)}), so that nothing keeps a second process out of this "
                f"run: start it only once"
            )
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _locked(handle: int, *, wait: bool) -> None:
    """Lock an open file; who only looks (:func:`held`) has it for some microseconds, and is waited for."""
    for left in reversed(range(LOOKS)):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return
        except BlockingIOError:
            if not left:
                raise
            time.sleep(0.01)


def share(handle: int) -> None:
    """Say that an open file is in use, until it is closed, so that :func:`shared` knows; nothing where there are no locks.

    Who looks (:func:`shared`) or removes the file now (:func:`remove_unshared`) is waited for.
    """
    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH)


def shared(path: Path) -> bool:
    """Whether somebody, this process too, has the file open and said so by :func:`share`."""
    return isinstance(_refused(path, fcntl.LOCK_EX), BlockingIOError)


def remove_unshared(path: Path) -> bool:
    """Remove a file unless somebody has it in use (:func:`share`), also who opens it at this moment; whether it is gone.

    One that cannot be opened (gone, another user's) is in nobody's use, as for :func:`shared`.
    """
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        path.unlink(missing_ok=True)
        return True
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks here: nobody can say so
            pass
        path.unlink(missing_ok=True)
        return True
    finally:
        os.close(handle)


def held(path: Path) -> bool:
    """Whether another process holds the lock of this file; it is not taken for longer than the look."""
    return isinstance(_refused(path, fcntl.LOCK_SH), BlockingIOError)


def _refused(path: Path, kind: int) -> OSError | None:
    """Why a lock of this kind cannot be had now, or None; one that can is let go at once. A file that cannot be opened has none."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error
    finally:
        os.close(handle)
    return None

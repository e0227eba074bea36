"""The folder of remembered answers: where it is, how large it may grow, what lies in it, and what is thrown away first."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.files import json_of, make_folder, remove_unshared, shared, why
from redistill.paths import cache_dir

LIMIT = 4 * 2**30
"""Bytes; CIFAR-10's 162 variants of an image take 0.39 GB in fp32, CIFAR-100's 3.3 GB."""

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
TABLE, NUMBER = ".table", ".number.json"


class NoRoom(RedistillError):
    """Something cannot be remembered: the limit, the disk or the folder does not allow it. broken: it is not the limit."""

    def __init__(self, reason: str, *, broken: bool = True):
        super().__init__(reason)
        self.broken = broken


def default_folder() -> Path | None:
    """``answers`` in the user's cache folder ($REDISTILL_CACHE); None where nobody knows of one."""
    cache = cache_dir()
    return None if cache is None else cache / "answers"


def bytes_of(text: str) -> int:
    """A size as people write it.

    >>> bytes_of("500MB"), bytes_of("2 GiB"), bytes_of("0")
    (500000000, 2147483648, 0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip())
    if found is None or found[2].upper() not in UNITS:
        raise RedistillError(f"a size in bytes was expected, got {text!r}: write 500MB, 4GB or 0")
    return int(float(found[1]) * UNITS[found[2].upper()])


def limit() -> int:
    """How many bytes may be remembered: $REDISTILL_CACHE_LIMIT, else :data:`LIMIT`; 0 remembers nothing."""
    given = os.environ.get("REDISTILL_CACHE_LIMIT")
    if not given:
        return LIMIT
    try:
        return bytes_of(given)
    except RedistillError as error:
        raise RedistillError(f"REDISTILL_CACHE_LIMIT: {error}") from error


def shown(count: float) -> str:
    """Bytes for people.

    >>> shown(48), shown(389_000_000)
    ('48 B', '389 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.3g} {unit}"


@dataclass(frozen=True)
class Kept:
    """One file of the folder.

    Attributes:
        size: bytes when full. taken: bytes that it takes on the disk now. used: when it was last opened, read or written (to a
            minute), seconds since 1970. about: what it holds, in words. rows: answers in it when full. damaged: why it is of no
            use, or None.
    """

    path: Path
    size: int
    taken: int
    used: float
    about: str
    rows: int
    damaged: str | None = None


def listed(folder: Path) -> list[Kept]:
    """Everything that is remembered there, last used first; an absent folder holds nothing."""
    found = []
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith((TABLE, NUMBER)))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RedistillError(f"cannot look into {folder}: {why(error)}") from error
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # another process removed it meanwhile
            facts = path.stat()
            about, rows, damaged = _about(path)
            found.append(Kept(path, facts.st_size, facts.st_blocks * 512, facts.st_mtime, about, rows, damaged))
    return sorted(found, key=lambda kept: -kept.used)


def _about(path: Path) -> tuple[str, int, str | None]:
    try:
        if path.name.endswith(TABLE):
            from redistill.answers import table  # a head names a type of torch's, which an empty folder need not wait for

            head = table.header(path)
            return head.about, head.rows, None
        value: Any = json_of(path)
        return str(value["about"]), 1, None
    except FileNotFoundError:
        raise
    except (RedistillError, OSError, KeyError, TypeError) as error:
        return "?", 0, str(error)


def clear(folder: Path, beginnings: list[str] | None = None) -> list[Kept]:
    """Remove all of it, or the files whose names begin so; returns what was removed. Runs at work go on without.

    Raises:
        RedistillError: a beginning that fits nothing, or a file that cannot be removed.
    """
    here = listed(folder)
    for text in beginnings or ():
        if not any(kept.path.name.startswith(text) for kept in here):
            raise RedistillError(f"nothing remembered in {folder} begins with {text!r}: redistill cache lists what there is")
    gone = [kept for kept in here if beginnings is None or any(kept.path.name.startswith(text) for text in beginnings)]
    for kept in gone:
        remove(kept.path)
    if beginnings is None and folder.is_dir():
        for left in folder.glob(".*.partial"):  # of processes that were killed while they began one
            with contextlib.suppress(OSError):
                left.unlink()
    return gone


def remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise RedistillError(f"cannot remove {path}: {why(error)}") from error


def make_room(folder: Path, size: int, beside: Collection[Path] = ()) -> None:
    """See that ``size`` more bytes fit the limit and the disk: what was not used for longest goes first.

    What a run at work has open stays: without its name it would take its place on the disk all the same, until that run ends.

    Args:
        beside: files there that are used together with what comes; they count with it and stay.

    Raises:
        NoRoom: they do not, or the folder cannot be made or written.
    """
    most = limit()
    _require_within(size, most, folder)
    try:
        make_folder(folder)
        here = listed(folder)
    except RedistillError as error:
        raise NoRoom(str(error)) from error
    _require_within(size + sum(kept.size for kept in here if kept.path in beside), most, folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise NoRoom(f"{folder} cannot be written: permission denied")
    over = sum(kept.size for kept in here) + size - most
    gone: list[Kept] = []
    for kept in reversed(here):
        if over <= 0:
            break
        if kept.path not in beside and not shared(kept.path):
            gone.append(kept)
            over -= kept.size
    if over > 0:
        raise NoRoom(
            f"{shown(size)} do not fit into the {shown(most)} that may be remembered in {folder} beside what runs at work look up: "
            f"REDISTILL_CACHE_LIMIT allows more",
            broken=False,
        )
    for kept in gone:
        try:
            if not remove_unshared(kept.path):  # a run began to look it up since: something else may go
                return make_room(folder, size, beside)
        except OSError as error:
            raise NoRoom(f"cannot remove {kept.path}: {why(error)}") from error
    free = shutil.disk_usage(folder).free
    if size > free:
        raise NoRoom(f"the disk of {folder} has {shown(free)} left, and {shown(size)} may be needed")


def _require_within(size: int, most: int, folder: Path) -> None:
    if size > most:
        raise NoRoom(
            f"{shown(size)} are more than the {shown(most)} that may be remembered in {folder}: REDISTILL_CACHE_LIMIT allows more",
            broken=False,
        )

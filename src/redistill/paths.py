"""Paths as people write them; imports nothing heavy."""

from __future__ import annotations

import os
from pathlib import Path

from redistill.errors import RedistillError


def expanded(path: str | Path) -> Path:
    """``~`` and ``~name`` as the folder they stand for.

    Raises:
        RedistillError: nobody says where that is (a container without HOME under a user id that has no entry, a name that
            is no user's).
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise RedistillError(f"{path}: ~ stands for no folder here (HOME is not set, or there is no such user): write it out") from error


def home() -> Path | None:
    """The user's own folder, or None where nobody says which it is."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def is_there(path: Path) -> bool:
    """Whether something lies there; what cannot be asked about (a name too long, a folder that may not be entered) does not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def cache_dir() -> Path | None:
    """Where what can be made again is kept: $REDISTILL_CACHE, else ``redistill`` in the user's cache folder; None: nobody knows one."""
    if given := os.environ.get("REDISTILL_CACHE"):
        return expanded(given)
    if given := os.environ.get("XDG_CACHE_HOME"):
        return expanded(given) / "redistill"
    own = home()
    return None if own is None else own / ".cache" / "redistill"

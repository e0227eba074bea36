"""The files of a run: their names, and the seal by which an altered record is known."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.files import UNREADABLE, Spoilt, canonical, digest, json_of, there
from redistill.paths import expanded

FORMAT = 1
RECORD, CURVES, WEIGHTS, PENDING, LOCK = "record.json", "curves.json", "weights.safetensors", "experiment.json", "lock"

CODE = "code"
"""Folder with the source file of a student of one's own, and the files that it imports."""

BEST = "best.safetensors"
"""The network of the best evaluation, where that is not the last one: kept for who takes it as teacher or as start."""


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the SHA-256 of its own content, by which an altered one is known."""
    return {**record, "sha256": digest(canonical(record))}


def read_sealed(path: Path) -> dict[str, Any]:
    """One record whose seal holds, or a sentence that says what is wrong with it and what is left.

    Raises:
        RedistillError: it cannot be read (then nothing is said of its content), or it is damaged, altered or of another version.
    """
    folder = path.parent
    left = [n for n in (WEIGHTS, CURVES) if there(folder / n)]
    rest = f"; beside it {' and '.join(left)} {'is' if len(left) == 1 else 'are'} still there" if left else ""
    again = f"{rest}. Delete {path} to train this run again"
    try:
        record = json_of(path)
    except Spoilt as error:
        raise RedistillError(f"{path} is damaged: it is not a complete record ({error.reason}){again}") from error
    if not isinstance(record, dict) or not {"format", "sha256"} <= record.keys():
        raise RedistillError(f"{path} is damaged: it is not a complete record (it has no format, or no SHA-256){again}")
    version = record["format"]
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT:
        raise RedistillError(
            f"{path} was written by a newer redistill (record format {version}, this one reads up to {FORMAT}): update redistill"
        )
    if digest(canonical({k: v for k, v in record.items() if k != "sha256"})) != record["sha256"]:
        raise RedistillError(f"{path} was altered: its content does not match its SHA-256{again}")
    return record


def file_of(path: Path) -> Path:
    """The file that holds an experiment: ``path`` itself, or in a run's folder its record, else what was begun there."""
    path = expanded(path)
    if os.path.isdir(path):  # unlike Path.is_dir it only says no where a name is none, or the system cannot tell
        return next((path / name for name in (RECORD, PENDING) if there(path / name)), path / RECORD)
    return path


def require_unaltered(path: Path, id_of: Callable[[Mapping[str, Any]], str]) -> None:
    """Refuse the record, or the experiment of a begun run, that somebody changed: its ``id`` says who it was.

    ``path``: such a file, or the folder that holds one; any other JSON is let through. ``id_of``: the id of a written experiment.
    """
    path = file_of(path)
    if path.suffix != ".json":
        return
    if path.name == RECORD and there(path):
        read_sealed(path)
    written = json_of(path)
    if not isinstance(written, dict) or not isinstance(written.get("id"), str) or not isinstance(written.get("experiment"), dict):
        return
    try:
        found = id_of(written["experiment"])
    except UNREADABLE as error:
        raise RedistillError(f"{path} is damaged: it holds no experiment of redistill ({type(error).__name__}: {error})") from error
    if found != written["id"]:
        raise RedistillError(
            f"{path} was altered: what it asks for is not run {written['id'][:40]}, whose name it has. Put it back; for another "
            f"experiment write a file of its own"
        )

"""A file of weights that an experiment names: where it is, its SHA-256, and the network whose weights it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.files import file_digest
from redistill.models.shipped import place_of
from redistill.models.weights import loaded
from redistill.paths import expanded


def named_file(given: Any, folder: Path) -> dict[str, str]:
    """``sha256`` and ``path`` of what is given: a path, relative to ``folder``, or (in a record) a path with the SHA-256 it must have."""
    if isinstance(given, dict):
        path, sha = Path(str(given.get("path"))), given.get("sha256")
    else:
        path, sha = place_of(given) or expanded(str(given)), None
    path = (folder / path).resolve()
    if not path.is_file():
        raise RedistillError(f"there is no file {path}" + (f" (wanted: SHA-256 {sha})" if sha else ""))
    found = file_digest(path)
    if sha is not None and sha != found:
        raise RedistillError(f"{path} has changed: SHA-256 {found[:12]}, this experiment was made with {str(sha)[:12]}")
    return {"sha256": found, "path": str(path)}


def model_in_file(path: Path) -> tuple[str, dict[str, Any]]:
    """Name and arguments of the network whose weights a file holds: whoever then reads the weights is told which of two were read."""
    found: Any = loaded(path)[0]
    return str(found.arch.name), dict(found.arch.args)

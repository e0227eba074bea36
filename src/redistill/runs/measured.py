"""What was measured once and is no run: benchmarks, published files, beliefs, simulations. One file a measurement, one head in each.

    measured/<kind>/<id>.json    {"head": {format, kind, origin, versions, git, finished, sha256}, ...what was measured}

``origin`` is the machine (:func:`~redistill.machine.hardware`), ``sha256`` that of everything but the head. A head says ``null`` where
a file older than it does not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from redistill import machine
from redistill.errors import RedistillError
from redistill.files import Spoilt, canonical, digest, json_of, make_folder, pretty, write

FORMAT = 1


def sealed_content(content: Mapping[str, Any], kind: str, **origin: Any) -> dict[str, Any]:
    """``content`` under its head; ``origin``: origin, versions, git and finished."""
    return {"head": {"format": FORMAT, "kind": kind, **origin, "sha256": digest(canonical(dict(content)))}, **content}


def begin() -> dict[str, Any]:
    """Machine, versions and commit, to be asked for when a measurement begins: a checkout may move on while its code still runs."""
    return machine.origin(torch.device("cpu"))


def headed(content: Mapping[str, Any], kind: str, begun: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` under a head that says where and by which code it was measured (``begun``, of :func:`begin`), finished now."""
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    return sealed_content(content, kind, origin=begun["hardware"], versions=begun["versions"], git=begun["git"], finished=finished)


def keep(path: Path, content: Mapping[str, Any], begun: Mapping[str, Any], kind: str | None = None) -> None:
    """Write ``measured/<kind>/<id>.json``, whole or not at all. begun: of :func:`begin`. kind: None, its folder's name; given
    where the file may be written elsewhere and moved there."""
    make_folder(path.parent)
    write(path, pretty(headed(content, kind or path.resolve().parent.name, begun)))


def measured(path: Path) -> dict[str, Any]:
    """What such a file says, without its head.

    Raises:
        RedistillError: it is no file of this kind, or was changed after it was written.
    """
    try:
        found = json_of(path)
        head = found.pop("head")
        kind, stated = head["kind"], head["sha256"]
    except (Spoilt, KeyError, TypeError, AttributeError) as error:
        raise RedistillError(f"{path} is no measurement of ours ({error}): redistill writes them with a head, kind and sha256") from None
    if kind != path.resolve().parent.name:
        raise RedistillError(f"{path} is of kind {kind!r} and stands among others: move it to the folder {kind}")
    if digest(canonical(found)) != stated:
        raise RedistillError(f"{path} was changed after it was written: its sha256 is not that of its content; measure again")
    return dict(found)


def headed_files(folder: Path) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The measurements of a kind with their heads, by the names of their files."""
    return [(dict(json_of(path)["head"]), measured(path)) for path in sorted(folder.glob("*.json"))]


def every(folder: Path) -> Iterator[dict[str, Any]]:
    """The measurements of a kind, by the names of their files."""
    return map(measured, sorted(folder.glob("*.json")))

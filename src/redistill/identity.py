"""What of a written experiment is hashed: all but names, notes and places on this disk. Dictionaries alone; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redistill.files import canonical, digest
from redistill.user_code import placeless

SHORT = 16  # hex digits of an id


def identity(written: Mapping[str, Any]) -> dict[str, Any]:
    """What of a written experiment (:meth:`redistill.Experiment.written`) its ``cell`` and ``id`` are the hashes of."""
    made = {key: value for key, value in written.items() if key not in ("name", "notes")}
    for role in ("teacher", "student"):
        if role in made:
            made[role] = _network(made[role])
    made["method"] = [placeless(row) for row in made["method"]]  # code of one's own by its SHA-256
    made["source"] = _source(made["source"])
    made["evaluate"] = {**made["evaluate"], **made["evaluate"].get("content", {})}  # sets of one's own by their content
    return made


def id_of(written: Mapping[str, Any]) -> str:
    """The id of an experiment as it is written, with its seed."""
    return hashed(identity(written))


def hashed(identified: Mapping[str, Any]) -> str:
    """The name of what :func:`identity` gives."""
    return digest(canonical(identified))[:SHORT]


def _network(written: Mapping[str, Any]) -> dict[str, Any]:
    """Code and weights by their SHA-256, not by where they lie; the experiment that makes the weights as what it is."""
    rows = placeless(written)
    if "from" in rows:
        rows["from"] = {key: value for key, value in rows["from"].items() if key != "path"}
    if "run" in rows:
        rows["run"] = identity(rows["run"])
    return rows


def _source(written: Mapping[str, Any]) -> dict[str, Any]:
    """Data of one's own by their content, which is what name and opening led to; code by its SHA-256."""
    if written["kind"] == "mixed":
        return {**written, **{half: _source(written[half]) for half in ("first", "second")}}
    if written["kind"] != "images":
        return placeless(written)
    known = ["data", "size", "on_corrupt"] if "content" in written else []
    known += ["beside"] if "beside_content" in written else []
    return {key: value for key, value in written.items() if key not in known}

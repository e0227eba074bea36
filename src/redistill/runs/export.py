"""What finished runs measured, copied into another folder: records and curves, and the weights of teachers.

Records, curves, subsets and the rules of claims go to ``runs`` below it; of the place of a file on the machine that read it only
the name is kept (it is no part of what a run is). A run that another run learned from is a teacher: its recipe, accuracy and
checksum go into ``teachers/teachers.json``, its weights beside it while they are at most 15 MB, and 30 MB together with the
others. Larger ones are known by recipe and checksum. What is there already is left alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.files import Spoilt, file_digest, json_of, make_folder, pretty, read, write
from redistill.runs.store import Run, Store
from redistill.sealed import BEST, CURVES, RECORD, sealed

OWN_FILES = ("arrays", "folder", "images")  # data that a path names
EACH, TOGETHER = 15_000_000, 30_000_000  # bytes


def copy(source: Path, target: Path) -> None:
    if not target.exists():
        make_folder(target.parent)
        write(target, read(source))


def placeless(value: Any) -> Any:
    """The same with the names of files in place of their paths: of weights, of code and of data of one's own."""
    if isinstance(value, list):
        return [placeless(one) for one in value]
    if isinstance(value, str):
        kind, _, path = value.partition(":")
        return f"{kind}:{Path(path).name}" if kind in OWN_FILES and path else value
    if not isinstance(value, dict):
        return value
    place = "path" if {"path", "sha256"} <= value.keys() else "file" if "code" in value else None
    cut = {place: Path(value[place]).name} if place in value and value[place] is not None else {}
    return {key: placeless(one) for key, one in value.items()} | cut


def teacher(run: Run, folder: Path, take: str = "last") -> dict[str, Any]:
    """What is said of a teacher; its weights are copied where they are small enough. ``take``: ``best``, where the network of its best
    evaluation taught."""
    written, path = run.record["experiment"], run.weights(take)
    # a network of one's own is named by a path, and one that learned from no data has a kind of source alone
    network = re.sub(r"[^\w.+=-]+", "-", written["student"]["model"]).lstrip(".-")
    learned = str(written["source"].get("data", written["source"]["kind"])).partition(":")[0]
    chosen = "" if take == "last" else f"-{take}"
    name = f"{network}-{learned}-{run.cell[:8]}-seed-{run.seed}{chosen}.safetensors"
    there = sum(file.stat().st_size for file in folder.glob("*.safetensors") if file.name != name)
    size = path.stat().st_size
    small = size <= EACH and there + size <= TOGETHER
    if small:
        copy(path, folder / name)
    return {
        "label": run.label,
        "network": written["student"]["model"],
        "parameters": run.record["parameters"],
        "data": run.record["data"]["train"],
        "method": written["method"],
        "recipe": written["recipe"],
        "seed": run.seed,
        "accuracy": run.record["accuracy"],
        "run": f"{run.cell}/seed-{run.seed}",
        **({"take": take} if chosen else {}),
        "file": name if small else None,
        "bytes": size,
        "sha256": file_digest(path),
    }


def _rows(index: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The table of teachers that were kept, by run and which of its networks."""
    try:
        return {(str(row["run"]), str(row.get("take", "last"))): dict(row) for row in json_of(index)}
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, RedistillError):
            raise
        raise Spoilt(index, "it is no table of teachers, a list of objects with the run of each") from error


def export(store: Store, to: Path) -> tuple[int, int]:
    """Copy what the finished runs of a store measured into a folder; how many runs, and how many teachers are there now."""
    finished = store.finished()
    origins = [run.record.get("teacher") or {} for run in finished]
    used = {(one["folder"], "best" if one.get("file") == BEST else "last") for one in origins if "folder" in one}
    index = to / "teachers" / "teachers.json"
    rows = _rows(index) if index.exists() else {}
    for run in finished:
        place = Path(run.cell) / f"seed-{run.seed}"
        copy(run.folder / CURVES, to / "runs" / place / CURVES)
        if not (record := to / "runs" / place / RECORD).exists():
            write(record, pretty(sealed({key: value for key, value in placeless(run.record).items() if key != "sha256"})))
        for part in run.record["data"].values():
            if "indices" in part:
                copy(store.root / part["indices"], to / "runs" / part["indices"])
        for take in ("last", "best"):
            if (key := (place.as_posix(), take)) in used and key not in rows:
                rows[key] = teacher(run, to / "teachers", take)
    for rule in sorted((store.root / "rules").rglob("*.json")):
        copy(rule, to / "runs" / rule.relative_to(store.root))
    if rows:
        make_folder(index.parent)
        write(index, (json.dumps([rows[key] for key in sorted(rows)], indent=1) + "\n").encode())
    return len(finished), len(rows)

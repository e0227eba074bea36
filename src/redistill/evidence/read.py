"""Which reader reads what: one file, a folder of files and logs, or a store of runs of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.evidence import columns
from redistill.evidence.files import Stated, content_of, read_ours, value_in
from redistill.evidence.model import Evidence, arm_of

FINDINGS = (
    "paper", "table", "claim", "kind", "whose", "settings", "verdict", "printed", "value", "difference", "p", "epoch", "tolerance",
)  # fmt: skip
"""Columns of an audit's ``findings.csv``."""


def read_evidence(path: Path, stated: Stated | None = None) -> list[Evidence]:
    """Evidence from a file, a folder of such files and logs, or a store of runs of ours.

    Raises:
        RedistillError: there is nothing to read, or the one file that was named cannot be read. In a folder, files that
            cannot be read are problems of the evidence.
    """
    from redistill.evidence import logs, stored

    stated = stated or Stated()
    if path.is_dir():
        if stored.is_store(path):
            return [stored.read_store(path, stated)]
        return _folder(path, stated)
    if not path.is_file():
        raise RedistillError(f"{path}: there is no such file or folder")
    if path.suffix == ".json":
        return [read_ours(path, stated)]
    if path.suffix in (".csv", ".tsv"):
        return [columns.read_csv(path, stated)]
    if path.suffix in (".jsonl", ".ndjson"):
        return [columns.read_lines(path, stated)]
    text = content_of(path)
    if (reader := logs.recognised(text)) is not None:
        return [logs.read_logs([path], stated, reader)]
    raise RedistillError(
        f"{path}: is no evidence that is known here: .json in our format, .csv, .tsv or .jsonl with named columns, or a log of "
        f"RepDistiller, mdistiller (worklog.txt) or torchdistill"
    )


def _folder(path: Path, stated: Stated) -> list[Evidence]:
    from redistill.evidence import logs

    found: list[Evidence] = []
    problems: list[str] = []
    by_reader: dict[str, list[Path]] = {}
    for file in sorted(
        p for p in path.rglob("*") if p.is_file() and p.suffix in (".json", ".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".log", ".out")
    ):
        if file.suffix in (".txt", ".log", ".out"):
            try:
                reader = logs.recognised(content_of(file))
            except RedistillError as error:
                problems.append(str(error))
                continue
            if reader is not None:
                by_reader.setdefault(reader, []).append(file)
            continue
        if (file.suffix == ".json" and not _is_ours(file)) or (file.name == "findings.csv" and is_audit(file)):
            continue
        try:
            found += read_evidence(file, stated)
        except RedistillError as error:
            problems.append(str(error))
    for reader, files in by_reader.items():
        try:
            found.append(logs.read_logs(files, stated, reader, path))
        except RedistillError as error:
            problems.append(str(error))
    if not found:
        end = f": {'; '.join(problems)}" if problems else " (evidence in our format, .csv, .jsonl, logs, or a store of runs)"
        raise RedistillError(f"{path}: holds no evidence that can be read{end}")
    found[0] = replace(found[0], problems=(*found[0].problems, *problems))
    return _with_siblings(found)


def _with_siblings(found: Sequence[Evidence]) -> list[Evidence]:
    """With a note where tables hold further seeds of the same things, as a file a seed does: nobody pools them unasked."""
    seeds: list[dict[Any, set[int | None]]] = []
    for one in found:
        mine: dict[Any, set[int | None]] = {}
        for run in one.runs if one.kind in (columns.CSV, columns.LINES) else ():
            mine.setdefault(arm_of(run), set()).add(run.seed)
        seeds.append({arm: known for arm, known in mine.items() if None not in known})
    made = []
    for mine, one in zip(seeds, found, strict=True):
        others = [
            other.name
            for theirs, other in zip(seeds, found, strict=True)
            if (both := mine.keys() & theirs.keys()) and not any(mine[arm] & theirs[arm] for arm in both)
        ]
        if others:
            note = (
                f"{', '.join(others)} {'holds' if len(others) == 1 else 'hold'} other seeds of the same things, and files are not pooled: "
                f"where they are one experiment, join them into one file"
            )
            one = replace(one, notes=(*one.notes, note))
        made.append(one)
    return made


def _is_ours(path: Path) -> bool:
    try:
        data = value_in(content_of(path), str(path))
    except RedistillError:
        return True  # read again, and told
    return isinstance(data, dict) and "runs" in data and not _audited(data)


def is_audit(path: Path) -> bool:
    """Whether a file was written by an audit: what was said of evidence is none."""
    if path.suffix == ".csv":
        try:
            return content_of(path).partition("\n")[0] == ",".join(FINDINGS)
        except RedistillError:
            return False
    try:
        return path.suffix == ".json" and _audited(value_in(content_of(path), str(path)))
    except RedistillError:
        return False


def _audited(data: object) -> bool:
    return isinstance(data, dict) and all(isinstance(data.get(name), list) for name in ("unknown", "findings", "settled"))

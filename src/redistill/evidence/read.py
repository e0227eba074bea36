"""Which reader reads what: one file, a folder of files and logs, or a store of runs of ours."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from redistill.errors import RedistillError
from redistill.evidence.files import Stated, content_of, read_ours, value_in
from redistill.evidence.model import Evidence


def read_evidence(path: Path, stated: Stated | None = None) -> list[Evidence]:
    """Evidence from a file, a folder of such files and logs, or a store of runs of ours.

    Raises:
        RedistillError: there is nothing to read, or the one file that was named cannot be read. In a folder, files that
            cannot be read are problems of the evidence.
    """
    from redistill.evidence import columns, logs, stored

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
        p for p in path.rglob("*") if p.is_file() and p.suffix in (".json", ".csv", ".tsv", ".jsonl", ".txt", ".log", ".out")
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
        if file.suffix == ".json" and not _is_ours(file):
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
    return found


def _is_ours(path: Path) -> bool:
    try:
        data = value_in(content_of(path), str(path))
    except RedistillError:
        return True  # read again, and told
    return isinstance(data, dict) and "runs" in data

"""Experiment files as plain tables: TOML or JSON in, ``--set`` applied."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest
from redistill.experiment.files import read
from redistill.experiment.lines import of_keys
from redistill.experiment.mistakes import Mistakes
from redistill.experiment.store import PENDING, RECORD


def parse(path: Path) -> tuple[dict[str, Any], Mistakes]:
    if path.is_dir():
        # a run's folder stands for its record, or for what was begun there
        path = next((path / name for name in (RECORD, PENDING) if (path / name).exists()), path / RECORD)
    content = read(path)
    try:
        text = content.decode()
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise RedistillError(f"{path}: is not text in UTF-8 ({error.reason} at byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise RedistillError(f"{path}: line {error.lineno}: not valid JSON: {error.msg}") from error
    except tomllib.TOMLDecodeError as error:
        raise RedistillError(f"{path}: not valid TOML: {error}") from error
    if not isinstance(data, dict):
        raise RedistillError(f"{path}: an experiment is a table, this is a {type(data).__name__}")
    if path.suffix == ".json" and "experiment" in data:
        data = data["experiment"]
    return data, Mistakes(str(path), {} if path.suffix == ".json" else of_keys(text))


def changed(settings: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Settings shaped like the TOML file with some of them replaced, ``"recipe.lr=0.05"``."""
    made: dict[str, Any] = copy.deepcopy(settings)
    for one in changes:
        _change(made, one)
    return made


def _change(data: dict[str, Any], change: str) -> None:
    """Apply ``recipe.lr=0.05`` or ``method.KD.T=2`` (a term by its name, or by its number counted from 0)."""
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise RedistillError(f"--set {change!r}: write key=value, for example --set recipe.lr=0.05")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a bare word is text, as --set recipe.optimizer=adam
    *before, last = key.strip().split(".")
    here: Any = data
    for part in before:
        if isinstance(here, list):
            here = _element(here, part, change)
        else:
            here = here.setdefault(part, {})
        if not isinstance(here, dict | list):
            raise RedistillError(f"--set {change!r}: {part!r} is a value, not a table")
    if isinstance(here, list):
        raise RedistillError(f"--set {change!r}: {'.'.join(before)} is a list: say which entry, for example method.KD.T=2")
    here[last] = value


def _element(rows: list[Any], part: str, change: str) -> Any:
    if part.isdigit() and int(part) < len(rows):
        return rows[int(part)]
    named = [row for row in rows if isinstance(row, dict) and row.get("use") == part]
    if len(named) != 1:
        names = [str(row.get("use")) for row in rows if isinstance(row, dict)]
        which = nearest(part, names, "term") if not named else f"{part} stands there {len(named)} times: give its number"
        raise RedistillError(f"--set {change!r}: {which}")
    return named[0]

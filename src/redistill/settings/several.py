"""One file for several experiments: ``[methods]``, a method a name, and ``extends``, another file for what is left out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.paths import expanded
from redistill.settings.lines import Path as Key
from redistill.settings.text import parse
from redistill.settings.validation import ValidationErrors

MOST = 8  # files that extend each other


def extended(path: Path, chain: tuple[Path, ...] = ()) -> tuple[dict[str, Any], ValidationErrors]:
    """The settings of a file over those of the file that it ``extends``: tables are merged key by key, everything else is replaced.

    Relative paths in the file below start where the upper file lies: both must lie in one folder.
    """
    data, mistakes = parse(path)
    mistakes.own = data
    if "extends" not in data:
        return data, mistakes
    given = data.pop("extends")
    if not isinstance(given, str):
        mistakes.add(("extends",), 'must be the file that this one goes on from, extends = "base.toml"')
        mistakes.raise_if_any()
    below = path.parent / expanded(given)
    if below.resolve() in (*chain, path.resolve()) or len(chain) >= MOST:
        mistakes.add(("extends",), f"{given!r} leads back to this file, or over more than {MOST} files")
        mistakes.raise_if_any()
    if below.resolve().parent != path.resolve().parent:
        mistakes.add(("extends",), f"{given!r} lies in another folder, where its relative paths would mean other files: put both in one")
        mistakes.raise_if_any()
    base, mistakes.below = extended(below, (*chain, path.resolve()))
    mistakes.data = merged(base, data)
    return mistakes.data, mistakes


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with what ``over`` says otherwise.

    >>> merged({"recipe": {"lr": 0.1, "epochs": 9}}, {"recipe": {"lr": 0.2}, "seed": 1})
    {'recipe': {'lr': 0.2, 'epochs': 9}, 'seed': 1}
    """
    made = copy.deepcopy(dict(base))
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(made.get(key), Mapping)
        made[key] = merged(made[key], value) if both else copy.deepcopy(value)
    return made


def divided(data: dict[str, Any], mistakes: ValidationErrors) -> list[tuple[dict[str, Any], ValidationErrors]]:
    """The experiments of a file: itself, or one for each entry of its ``[methods]``."""
    if "methods" not in data:
        return [(data, mistakes)]
    methods = data["methods"]
    if not isinstance(methods, dict) or not methods:
        mistakes.add(("methods",), 'must be a table of methods by name, KD = [{ use = "CE", weight = 0.1 }, { use = "KD" }]')
    elif "method" in data:
        mistakes.add(("method",), "stands beside [methods]: a file has one method, or several by name")
    mistakes.raise_if_any()
    rest = {key: value for key, value in data.items() if key != "methods"}
    found = []
    for name, rows in methods.items():
        # [methods.KD] with use = "KD" is one term, or settings of its own beside terms = [...]
        own: dict[str, Any] = {}
        prefix: Key = ("methods", name)
        if isinstance(rows, dict) and "terms" in rows:
            own = {key: value for key, value in rows.items() if key != "terms"}
            rows, prefix = rows["terms"], (*prefix, "terms")
        elif isinstance(rows, dict):
            rows = [rows]
        label = f"{rest['name']}, {name}" if rest.get("name") else name
        one = {**merged(rest, own), "method": rows, "name": label}
        lines = {("method", *key[len(prefix) :]): line for key, line in mistakes.lines.items() if key[: len(prefix)] == prefix}
        beside = {key[2:]: line for key, line in mistakes.lines.items() if key[:2] == ("methods", name) and len(key) > 2}
        lines |= {key: line for key, line in beside.items() if key[0] in own}
        found.append((one, ValidationErrors(mistakes.file, {**mistakes.lines, **lines}, one, own=mistakes.own, below=mistakes.below)))
    return found


def require_one(data: Mapping[str, Any], path: Path) -> None:
    """Refuse a file of several methods where one experiment is wanted."""
    if "methods" in data:
        raise RedistillError(
            f"{path} holds several methods ([methods]), and one experiment is wanted here: give a file with [[method]], or load all of "
            f"them with Experiment.load_all"
        )

"""Experiment files as plain tables: TOML or JSON in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.paths import expanded
from redistill.settings.lines import of_keys
from redistill.settings.tables import MOST_BYTES, content_of, dates, json_table, toml_of
from redistill.settings.validation import ValidationErrors


def parse(path: Path) -> tuple[dict[str, Any], ValidationErrors]:
    """The settings in a file, and where its mistakes are collected."""
    path = expanded(path)
    if path.suffix != ".json":
        text, table = toml_of(content_of(path, MOST_BYTES), str(path))
        mistakes = ValidationErrors(str(path), of_keys(text), table)
        for key, value in dates(table):
            mistakes.add(key, f"is the date {value}, and no setting is one: write it in quotes, as text")
        mistakes.raise_if_any()
        return table, mistakes
    data = json_table(path)
    if isinstance(data, dict) and "experiment" in data:
        data = data["experiment"]
    if not isinstance(data, dict):
        raise RedistillError(f"{path}: an experiment is a table, this is a {type(data).__name__}")
    return data, ValidationErrors(str(path), {})

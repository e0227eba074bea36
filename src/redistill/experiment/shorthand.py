"""Shorthand in an experiment file: one word that stands for settings of several sections, written out before anything is read.

A shorthand is a function from a file's settings to the same settings without its words; what is wrong is told to ``mistakes``, and
what comes back can be read as if it were right. They run once, in this order, and a record holds none of their words:

* ``preset`` of a zero-shot ``[source]``: switches, method and recipe of a publication (``presets.py``).
* ``few`` of a ``[recipe]``: the length and the schedule of the few-image comparisons (``few.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from redistill.experiment import few, presets
from redistill.experiment.mistakes import Mistakes


@dataclass(frozen=True)
class Where:
    """Where a shorthand finds what it must look at: the file's folder, for relative paths, and the data folder.

    ``trusted``: code that the file names (data of one's own) may be run.
    """

    folder: Path
    data_dir: Path | None
    trusted: bool = False


class Shorthand(Protocol):
    def __call__(self, data: dict[str, Any], mistakes: Mistakes, where: Where) -> dict[str, Any]: ...


def _preset(data: dict[str, Any], mistakes: Mistakes, where: Where) -> dict[str, Any]:
    return presets.written_out(data, mistakes)


def _few(data: dict[str, Any], mistakes: Mistakes, where: Where) -> dict[str, Any]:
    return few.written_out(data, mistakes, where.folder, where.data_dir, trust_code=where.trusted)


ALL: Sequence[Shorthand] = (_preset, _few)
WORDS: Mapping[str, Sequence[str]] = {"source": tuple(presets.Completion.model_fields), "recipe": tuple(few.FewImages.model_fields)}
"""The words by section: written out by the time a section is read, but allowed in it."""


def filled(data: dict[str, Any], mistakes: Mistakes, where: Where) -> dict[str, Any]:
    """The settings of an experiment with every shorthand written out."""
    for shorthand in ALL:
        data = shorthand(data, mistakes, where)
    return data

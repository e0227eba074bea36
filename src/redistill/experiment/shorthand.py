"""Shorthand in an experiment file: one word that stands for settings of several sections, written out before anything is read.

A shorthand is a function from a file's settings to the same settings without its words; what is wrong is told to ``mistakes``, and
what comes back can be read as if it were right. They run once, in this order, and a record holds none of their words:

* ``preset`` of a zero-shot ``[source]``: switches, method and recipe of a publication (:mod:`redistill.published.preset_words`).
* ``few`` of a ``[recipe]``: the length and the schedule of the few-image comparisons (:mod:`redistill.published.few_words`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from redistill.experiment.reading import Reading
from redistill.published import few_words, preset_words
from redistill.settings.validation import ValidationErrors


class Shorthand(Protocol):
    def __call__(self, data: dict[str, Any], mistakes: ValidationErrors, reading: Reading) -> dict[str, Any]: ...


def _preset(data: dict[str, Any], mistakes: ValidationErrors, reading: Reading) -> dict[str, Any]:
    return preset_words.written_out(data, mistakes)


def _few(data: dict[str, Any], mistakes: ValidationErrors, reading: Reading) -> dict[str, Any]:
    return few_words.written_out(data, mistakes, reading.folder, reading.data_dir, trust_code=reading.trusted)


ALL: Sequence[Shorthand] = (_preset, _few)

WORDS: Mapping[str, Sequence[str]] = {
    "source": tuple(preset_words.Completion.model_fields),
    "recipe": tuple(few_words.FewImages.model_fields),
}
"""The words by section: written out by the time a section is read, but allowed in it."""


def filled(data: dict[str, Any], mistakes: ValidationErrors, reading: Reading) -> dict[str, Any]:
    """The settings of an experiment with every shorthand written out."""
    for shorthand in ALL:
        data = shorthand(data, mistakes, reading)
    return data

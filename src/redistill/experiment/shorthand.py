"""Shorthand in an experiment file: one word that stands for settings of several sections, written out before anything is read.

Each is a function from a file's settings to the same settings without its words; what is wrong is told to ``mistakes``, and what comes
back can be read as if it were right. A record holds none of their words:

* ``preset`` of a zero-shot ``[source]``: switches, method and recipe of a publication (:mod:`redistill.published.preset_words`).
* ``preset`` of a ``[source]`` without data: the same (:mod:`redistill.published.without_data`).
* ``few`` of a ``[recipe]``: the length and the schedule of the few-image comparisons (:mod:`redistill.published.few_words`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redistill.experiment.reading import Reading
from redistill.published import few_words, preset_words, without_data
from redistill.settings.validation import ValidationErrors

WORDS: Mapping[str, Sequence[str]] = {
    "source": tuple(preset_words.Completion.model_fields),
    "recipe": tuple(few_words.FewImages.model_fields),
}
"""The words by section: written out by the time a section is read, but allowed in it."""


def filled(data: dict[str, Any], mistakes: ValidationErrors, reading: Reading) -> dict[str, Any]:
    """The settings of an experiment with every shorthand written out, in this order."""
    data = preset_words.written_out(data, mistakes)
    data = without_data.written_out(data, mistakes)
    return few_words.written_out(data, mistakes, reading.folder, reading.data_dir, trust_code=reading.trusted)

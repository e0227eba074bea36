"""The section ``[source]``: every kind of it, together, and how it is read.

A further kind is one more class of a file of its own and one more member of :data:`SourceSettings`: frozen settings with a
``kind``, complete when they are made, that say how they are ``written``, what their ``numerics`` are, and ``build`` the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from redistill.core import nearest
from redistill.data import named
from redistill.experiment.reading import Reading
from redistill.experiment.source.adversarial import AdversarialSettings
from redistill.experiment.source.generated import GeneratedSettings
from redistill.experiment.source.images import ImagesSettings, Settings
from redistill.experiment.source.inverted import InvertedSettings
from redistill.experiment.source.mixed import MixedSettings
from redistill.experiment.source.own import OwnSettings
from redistill.models.build import check_model
from redistill.settings.lines import Path as Key
from redistill.settings.validation import ValidationErrors, shown
from redistill.user_code import is_code

SourceSettings = Annotated[
    ImagesSettings | AdversarialSettings | GeneratedSettings | InvertedSettings | MixedSettings | OwnSettings, Field(discriminator="kind")
]

Without = GeneratedSettings | InvertedSettings
"""Sources that no data are behind, whose presets :mod:`redistill.published.without_data` writes out."""

KINDS: dict[str, type[Settings]] = {
    "images": ImagesSettings, "adversarial": AdversarialSettings, "dafl": GeneratedSettings, "dfad": GeneratedSettings,
    "deep-inversion": InvertedSettings, "cmi": InvertedSettings, "mixed": MixedSettings, "own": OwnSettings,
}  # fmt: skip


def read(
    given: Mapping[str, Any], mistakes: ValidationErrors, reading: Reading, words: Sequence[str] = (), key: Key = ("source",)
) -> Any:
    """The settings of the section; what is wrong is told to ``mistakes``, at its place ``key``.

    ``words``: of a shorthand, allowed beside the settings of a generator (they are written out by now).
    """
    kind = given.get("kind", "images")
    if not isinstance(kind, str) or kind not in KINDS:
        mistakes.add((*key, "kind"), nearest(kind if isinstance(kind, str) else shown(kind), KINDS, "kind of source"))
        return None
    model = KINDS[kind]
    shorthands = words if model is AdversarialSettings else ("preset",) if issubclass(model, Without) else ()
    mistakes.unknown(key, given, (*model.model_fields, *shorthands))
    rows: dict[str, Any] = {"kind": kind, **{n: v for n, v in given.items() if n in model.model_fields}}
    for half in ("first", "second") if kind == "mixed" else ():
        if isinstance(inner := rows.get(half), dict):
            rows[half] = read(inner, mistakes, reading, words, (*key, half))
            if rows[half] is None:
                return None
    code = "use" if kind == "own" else "generator"  # the key that may name code of one's own
    if code in rows and (kind == "own" or is_code(str(rows[code]))):
        with mistakes.at((*key, code)):
            found = reading.code(str(rows[code]), rows, None if kind == "own" else nn.Module)
            rows |= {code: found.name, "code": found.code, "file": found.file}
    elif "data" in rows:
        with mistakes.at((*key, "data")):
            opening = named.opening_words(rows)
            if not {"normalise", "augment"} <= rows.keys() or named.is_own_data(str(rows["data"])):
                own = named.defaults(
                    str(rows["data"]), "train", reading.folder, reading.data_dir, trust_code=reading.trusted, opening=opening
                )
                rows = {**own, **rows}
            rows["data"] = named.full_name(str(rows["data"]), "train", reading.folder)
            if rows.get("content") is None:
                rows["content"] = named.content(rows["data"], reading.data_dir, opening)
    if kind == "images" and isinstance(rows.get("beside"), str):
        with mistakes.at((*key, "beside")):
            rows["beside"] = named.full_name(rows["beside"], "train", reading.folder)
            if rows.get("beside_content") is None:
                rows["beside_content"] = named.content(rows["beside"], reading.data_dir, named.shown_like(named.opening_words(rows)))
    if kind == "own":
        rows.setdefault("code", "")
    unknown = kind == "images" and "normalise" not in rows
    if unknown:  # its other mistakes are told all the same, and not what would follow from the data
        rows = {"augment": "none", **rows, "normalise": "none"}
    made = None
    with mistakes.at(key):
        made = model.model_validate(rows)
    if isinstance(made, AdversarialSettings | InvertedSettings) and made.generator and made.code is None:
        with mistakes.at((*key, "generator")):
            check_model(made.generator, made.sizes)
    return None if unknown else made

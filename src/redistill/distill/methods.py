"""What ``--method`` means: terms with the weights that their authors' codes or the benchmark of Tian et al. give them.

``KD,DKD`` are two students, ``KD+AT`` is one that learns by both, ``mine.toml`` is whatever its ``[[method]]`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill import terms
from redistill.errors import RedistillError
from redistill.paths import expanded
from redistill.settings.change import of_term
from redistill.settings.tables import MOST_BYTES, content_of, toml_of
from redistill.user_code import is_code

PLAIN: tuple[dict[str, Any], ...] = ({"use": "CE"},)

WEIGHTS: dict[str, float] = {
    # beside 1 CE: the scripts of RepDistiller (Tian et al. 2020, arXiv:1910.10699), which print one number for each
    "FitNet": 100.0, "AT": 1000.0, "SP": 3000.0, "CC": 0.02, "VID": 1.0, "RKD": 1.0, "PKT": 30_000.0, "NST": 50.0, "CRD": 0.8,
    "FT": 200.0,
    # the authors' codes
    "DKD": 1.0, "DIST": 1.0, "Review": 1.0,
}  # fmt: skip
"""Weight of a term beside cross-entropy of weight 1."""

KD = ({"use": "CE", "weight": 0.1}, {"use": "KD", "weight": 0.9, "T": 4.0})
"""RepDistiller's and the few-image papers' KD: 0.1 and 0.9 at T = 4."""


@dataclass(frozen=True)
class Asked:
    """One method. name: for tables. rows: the section ``[[method]]``. folder: where its relative paths start."""

    name: str
    rows: tuple[dict[str, Any], ...]
    folder: Path


def asked(text: str, labelled: bool) -> list[Asked]:
    """The methods that the words name, in their order.

    Args:
        labelled: whether the images have labels; without, cross-entropy is left out, and KD has the weight 1.
    """
    if text.lower().endswith(".toml"):
        path = expanded(text)
        table = toml_of(content_of(path, MOST_BYTES), str(path))[1]
        rows = table.get("method")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows) or not rows:
            raise RedistillError(f'{path} has no [[method]]: write one for each term, [[method]] with use = "KD" and its settings')
        return [Asked(path.stem, tuple(dict(row) for row in rows), path.parent)]
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) != len(names):
        raise RedistillError(f"--method {text!r}: name each method once, KD, KD,DKD (two students) or KD+AT (both at once)")
    return [Asked(name, tuple(_rows(name, labelled)), Path.cwd()) for name in names]


def with_class_weights(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same terms, cross-entropy weighted so that each class counts alike."""
    return [{**row, "class_weights": "balanced"} if row.get("use") == "CE" else dict(row) for row in rows]


def for_the_plain(changes: Sequence[str]) -> list[str]:
    """Those of ``changes`` (:mod:`redistill.settings.change`) that a student without a teacher shares with the others: of its
    cross-entropy the settings, and not the weight, which then is 1."""
    kept = []
    for change in changes:
        name, setting = of_term(change) or ("", "")
        if not name or not (name.isdecimal() or setting in ("", "weight")):
            kept.append(change)
    return kept


def _rows(name: str, labelled: bool) -> list[dict[str, Any]]:
    parts = [part.strip() for part in name.split("+")]
    for part in parts:
        if not is_code(part):
            terms.by_name(part)  # refuses with the nearest
    rows: list[dict[str, Any]] = []
    if "DeiT" in parts:
        if len(parts) > 1:
            raise RedistillError(f"--method {name}: DeiT has a part for the labels of its own; write the sum into a file, [[method]]")
        rows.append({"use": "DeiT", "weight": 1.0})
    elif "KD" in parts:
        rows += [dict(row) for row in KD]
    elif "CE" not in parts:
        rows.append({"use": "CE"})
    for part in parts:
        if part in ("KD", "DeiT"):
            continue
        if part not in WEIGHTS and part != "CE" and not is_code(part):
            raise RedistillError(
                f"--method {part}: no usual weight is known for it; write it into a file, [[method]] use = {part!r} weight = ..."
            )
        rows.append({"use": part, "weight": WEIGHTS.get(part, 1.0)})
    if not labelled:
        rows = [{**row, "weight": 1.0} if row["use"] == "KD" else row for row in rows if row["use"] != "CE"]
        for row in rows:
            if not is_code(row["use"]) and terms.by_name(row["use"]).needs_labels:
                raise RedistillError(
                    f"--method {row['use']} needs labels, and these images have none: KD, AT, FitNet, SP and others do without"
                )
    return rows

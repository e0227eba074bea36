"""What ``--method`` means: terms as ``redistill compare`` has them (:mod:`redistill.published.methods`).

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
from redistill.published.methods import METHODS, listed
from redistill.settings.change import of_term
from redistill.settings.tables import MOST_BYTES, content_of, toml_of
from redistill.user_code import is_code

PLAIN: tuple[dict[str, Any], ...] = ({"use": "CE"},)

CIFAR = 32
"""Pixels of the images that the weights were chosen on. AT's is not turned to others here, as a comparison on small images does: the
first maps of a network for photographs are as large as those of a network for CIFAR."""

ALONE: dict[str, dict[str, Any]] = {
    # both networks of FT learn beside the student, where its code has a stage of its own for the teacher's
    "FT": {"use": "FT", "weight": 200.0},
}
"""Terms that are trained in one stage here, whatever their authors do."""


@dataclass(frozen=True)
class Asked:
    """One method. name: for tables. rows: the section ``[[method]]``. folder: where its relative paths start."""

    name: str
    rows: tuple[dict[str, Any], ...]
    folder: Path


def asked(text: str, labelled: bool, epochs: int) -> list[Asked]:
    """The methods that the words name, in their order.

    Args:
        labelled: whether the images have labels; without, cross-entropy is left out, and KD has the weight 1.
        epochs: of the run; weights that grow take their share of it.
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
    return [Asked(name, tuple(_rows(name, labelled, epochs)), Path.cwd()) for name in names]


FEW = 200
"""Labelled images a class, up to which a plan speaks of what was measured with 100."""


def of_few_images(names: Sequence[str], each: float, beside: bool) -> str | None:
    """What a plan by KD alone says where there are few labelled images; None elsewhere.

    Args:
        names: of the methods. each: labelled images a class, their median. beside: whether images without labels are there.
    """
    if list(names) != ["KD"] or each > FEW:
        return None
    more = "" if beside else ", and so did images without labels (--unlabelled DIR)"
    return (
        f"few images: with 100 a class of CIFAR-10, KD alone brought a small network nothing that shows, KD+AT and KD+SP did "
        f"(--choose tries them on a tenth of these){more}: docs/distill.md, The table"
    )


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


def _rows(name: str, labelled: bool, epochs: int) -> list[dict[str, Any]]:
    """The terms of a sum such as ``KD+AT``: each as its own row of the comparison has it, and cross-entropy once, with the least of
    the weights that it has there."""
    parts = [part.strip() for part in name.split("+")]
    if "DeiT" in parts and len(parts) > 1:
        raise RedistillError(f"--method {name}: DeiT has a part for the labels of its own; write the sum into a file, [[method]]")
    rows: list[dict[str, Any]] = []
    for part in parts:
        rows += [row for row in _rows_of(part, epochs) if row["use"] not in [known["use"] for known in rows] or row["use"] == "CE"]
    by_labels = sorted((row for row in rows if row["use"] == "CE"), key=lambda row: float(row.get("weight", 1.0)))
    rows = [*by_labels[:1], *(row for row in rows if row["use"] != "CE")]
    if not labelled:
        rows = [{**row, "weight": 1.0} if row["use"] == "KD" else row for row in rows if row["use"] != "CE"]
        for row in rows:
            if not is_code(row["use"]) and terms.by_name(row["use"]).needs_labels:
                raise RedistillError(
                    f"--method {row['use']} needs labels, and these images have none: KD, AT, FitNet, SP and others do without"
                )
    return rows


def _rows_of(part: str, epochs: int) -> list[dict[str, Any]]:
    """One method as :data:`redistill.published.methods.METHODS` has it, beside cross-entropy."""
    if is_code(part):
        return [*PLAIN, {"use": part, "weight": 1.0}]
    term = terms.by_name(part)  # refuses with the nearest
    if part == "DeiT":
        return [{"use": "DeiT", "weight": 1.0}]
    if part in ALONE:
        return [*PLAIN, dict(ALONE[part])]
    if part not in METHODS:
        raise RedistillError(
            f"--method {part}: no usual weight is known for it; write it into a file, [[method]] use = {part!r} weight = ..."
        )
    one, rows = listed(part, epochs=epochs, image_size=CIFAR)
    if one.first or one.network != "body" or one.views > 1 or one.teacher not in ("given", "none"):
        needs = (
            "learns in two stages" if one.first else "puts the teacher's classifier on the student" if one.network != "body"
            else "needs two views of every image"
        )
        raise RedistillError(f"--method {term.__name__} {needs}, which distill does not make: redistill compare --methods {part} does")
    return rows

"""Which of somebody's runs are of which cell of a paper, and how runs of one cell with unlike settings are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redistill.evidence import names
from redistill.evidence.model import Trained
from redistill.papers.cells import Cell, Paper
from redistill.sources.variants import KINDS

KNOWN = ("method", "teacher", "student", "data", "trains", "M")
"""Facts of a cell that a run says of itself; a cell with another fact is of something else too."""


def from_labels(paper: Paper, cell: Cell) -> bool:
    """Whether a cell's network learns from labels only, and begins with nothing that a teacher taught it (as AB's does)."""
    method = cell.facts.get("method", "")
    terms = paper.file.method.get(method)
    if terms is None:
        return names.method(method) in (names.STUDENT, names.TEACHER)
    return bool(terms) and all(term.get("use") == "CE" for term in terms) and not begins(paper, cell)


def begins(paper: Paper, cell: Cell) -> bool:
    """Whether a cell's network begins as the student of another cell."""
    return any(case.start is not None for case in paper.file.case if case.holds(cell.facts))


def key_of(paper: Paper, cell: Cell) -> tuple[str, str, str, str, str] | None:
    """Keys of data, teacher, student, method and images a class of a cell; None where it is of something else too."""
    facts = cell.facts
    if any(value for name, value in facts.items() if name not in KNOWN):
        return None
    data, many = names.data(facts.get("data", paper.file.setup.data)), facts.get("M", "")
    generated = regime_of(paper, cell).startswith("generated")
    many = "" if many.lower() in ("", "all") or (many == "0" and generated) else many
    trained = facts.get(facts.get("trains") or "student")
    if trained is None or facts.get("method") is None:
        return None
    if from_labels(paper, cell):
        return data, "", names.network(trained), names.STUDENT, many
    return data, names.network(facts.get("teacher", "")), names.network(trained), names.method(facts["method"]), many


def key_of_run(run: Trained) -> tuple[str, str, str, str, str]:
    many = run.settings.get("images_per_class", run.settings.get("M"))
    if (share := run.settings.get("share_of_images")) is not None:
        many = f"{share} of all"
    text = "" if many is None or str(many).lower() in ("0", "all", "none") else str(many)
    return (*run.cell, text)


def epochs_of(paper: Paper, cell: Cell) -> int | None:
    """Epochs of a cell's recipe, None where it counts otherwise."""
    found = None
    for case in paper.file.case:
        if case.holds(cell.facts):
            if case.recipe is not None:
                found = paper.file.recipe[case.recipe].get("epochs")
            if isinstance(recipe := case.set.get("recipe"), Mapping) and "epochs" in recipe:
                found = recipe["epochs"]
    return found if isinstance(found, int) else None


def regime_of(paper: Paper, cell: Cell) -> str:
    """Cells that may be expected to scatter alike, as :func:`redistill.verdicts.claims.kind_of` has it; also of a cell of which no
    experiment can be made."""
    from redistill.verdicts.claims import regime  # waits for torch, which a table of quotes does not need

    kind = "images"
    for case in paper.file.case:
        if case.holds(cell.facts) and case.source is not None:
            kind = str(paper.file.source[case.source].get("kind", "images"))
    return regime("generated" if kind in KINDS else "real", cell.facts, begins(paper, cell))


def combinations(theirs: Mapping[str, list[list[Trained]]]) -> list[tuple[str, dict[str, tuple[Trained, ...]]]]:
    """Ways to choose one arm a cell: one for each group of settings that tells the arms of some cell apart."""
    variants: dict[str, None] = {}
    labelled: dict[str, dict[str, tuple[Trained, ...]]] = {}
    for home, members in theirs.items():
        if len(members) == 1:
            continue
        labels = told_apart([arm[0].settings for arm in members])
        labelled[home] = {word: tuple(arm) for word, arm in zip(labels, members, strict=True)}
        variants |= dict.fromkeys(labels)
    single = {home: tuple(members[0]) for home, members in theirs.items() if len(members) == 1}
    if not variants:
        return [("", single)]
    return [(word, {**single, **{home: arms_[word] for home, arms_ in labelled.items() if word in arms_}}) for word in variants]


def told_apart(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """In which settings several arms of one cell differ, in words.

    >>> told_apart([{"tau": 0.07, "n": 1}, {"tau": 0.1, "n": 1}])
    ['tau 0.07', 'tau 0.1']
    """
    keys = list(dict.fromkeys(key for one in settings for key in one))
    differ = [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]
    words = [", ".join(f"{key} {one.get(key, 'not given')}" for key in differ) or "the same settings" for one in settings]
    return words if len(set(words)) == len(words) else [f"{word} ({number})" for number, word in enumerate(words, 1)]

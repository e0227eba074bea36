"""From a file to an experiment: every default written out, every mistake reported at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from redistill.core import RedistillError, Term
from redistill.core.batch import mixed_labels
from redistill.data.named import PICTURES
from redistill.experiment import evaluate, networks, shorthand, source
from redistill.experiment.method import TermSpec, read_rows
from redistill.experiment.reading import Reading
from redistill.experiment.source.images import opening_of
from redistill.experiment.value import Arithmetic, Experiment
from redistill.identity import id_of
from redistill.paths import expanded
from redistill.precision import arithmetic, compiling_may_pay, compiling_pays, resolve_device
from redistill.recipe import Constant, Cosine, MultiStep, Recipe, Step
from redistill.sealed import file_of, require_unaltered
from redistill.settings import several
from redistill.settings.change import changed, require_terms
from redistill.settings.validation import ValidationErrors
from redistill.values import Value
from redistill.versions import numerics

SECTIONS = ("name", "notes", "teacher", "student", "method", "source", "recipe", "evaluate", "seed")
DERIVED = ("arithmetic", "numerics")  # stand in records; made anew when one is read
SCHEDULES: dict[str, type[Value]] = {"constant": Constant, "step": Step, "multistep": MultiStep, "cosine": Cosine}


def load(
    path: Path, *, seed: int | None, device: str, change: Sequence[str], data_dir: str | Path | None, trust_code: bool, one: bool
) -> list[Experiment]:
    """See :meth:`redistill.experiment.value.Experiment.load_all`; ``one``: the file must hold one experiment."""
    data, mistakes = several.extended(file_of(path))
    if one:
        several.require_one(data, path)
    require_unaltered(path, id_of)
    where, trusted = None if data_dir is None else expanded(data_dir), trust_code or is_own_word(path)
    found, wrong = [], ValidationErrors(str(path))
    parts = several.divided(data, mistakes)
    require_terms([part for part, _ in parts], change)
    for part, errors in parts:
        errors.data = settings = changed(part, change, one_of_several=len(parts) > 1)
        made = _experiment(settings, errors, Reading(path.parent, device, (path.resolve(),), where, trusted))
        wrong.found += errors.found
        if made is not None:
            found.append(made if seed is None else made.with_seed(seed))
    wrong.raise_if_any()
    return found


def resolve(settings: Mapping[str, Any], reading: Reading, seed: int | None) -> Experiment:
    """See :meth:`redistill.experiment.value.Experiment.of`."""
    mistakes = ValidationErrors("experiment", data=settings)
    made = _experiment(_copied(dict(settings)), mistakes, reading)
    mistakes.raise_if_any()
    assert made is not None
    return made if seed is None else made.with_seed(seed)


def _copied(value: Any) -> Any:
    """Tables and lists anew: reading puts misspelt names right in what it reads, and that is not the caller's."""
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def is_own_word(path: Path) -> bool:
    """Whether an experiment was written by hand, so that code which it names is the user's own word; a record is data."""
    return path.suffix != ".json" and not path.is_dir()


def _experiment(data: dict[str, Any], mistakes: ValidationErrors, reading: Reading) -> Experiment | None:
    """The sections, one after the other, and what only shows when they stand side by side."""
    before = len(mistakes.found)
    data = shorthand.filled(data, mistakes, reading)
    mistakes.unknown((), data, (*SECTIONS, *DERIVED), "section")
    for needed in ("student", "method", "source", "recipe"):
        if needed not in data:
            mistakes.add((), f"the section [{needed}] is missing")
    tables = {n: _table(n, data, mistakes) for n in ("teacher", "student", "source", "recipe", "evaluate")}
    teacher, student = (
        None if (table := tables[role]) is None else networks.read(role, table, _maker(role, table, mistakes, reading), mistakes, reading)
        for role in ("teacher", "student")
    )
    method = read_rows(data.get("method"), mistakes, reading) if "method" in data else []
    table = tables["source"]
    chosen = None if table is None else source.read(table, mistakes, reading, shorthand.WORDS["source"])
    recipe = None if tables["recipe"] is None else _recipe(tables["recipe"], mistakes)
    shown = evaluate.read(tables["evaluate"], chosen, recipe, mistakes, reading, complete="numerics" in data)
    _together(tables["teacher"] is not None, method, chosen, student, recipe, mistakes)
    if chosen is not None and not _pictures(chosen, shown):
        for key in opening_of(chosen):
            mistakes.add(("source", key), "is for picture files (folder:..., images:...), and these data hold their pixels: leave it out")
    with mistakes.at(()):
        device = resolve_device(reading.device)
    if len(mistakes.found) > before:
        return None
    assert student is not None and chosen is not None and recipe is not None
    made = None
    with mistakes.at(()):
        made = Experiment.model_validate(
            {
                "teacher": teacher,
                "student": student,
                "method": tuple(part for part, _ in method),
                "source": chosen,
                "recipe": recipe,
                "evaluate": shown,
                "arithmetic": Arithmetic(device=device.type, **arithmetic(recipe, device)),
                "numerics": recipe.numerics() | _numerics([term for _, term in method], chosen, (teacher, student), shown, recipe),
                "seed": data.get("seed", 0),
                "name": data.get("name", ""),
                "notes": data.get("notes", ""),
            }
        )
    return made if made is None or recipe.compile != "auto" else _compile_decided(made, device)


def _numerics(
    terms: list[Term], chosen: Any, nets: Sequence[networks.Net | None], shown: evaluate.Evaluate, recipe: Recipe
) -> dict[str, int]:
    """The versions of everything that the sections use."""
    models, data = [net.model for net in nets if net is not None and net.code is None], list(shown.sets.values())
    for part in chosen.parts:
        models += part.uses[0]
        data += part.uses[1]
    found: dict[str, int] = chosen.numerics() | numerics(terms, models, data)
    if recipe.drop_last or recipe.accumulate > 1:
        counted = {f"term:{type(term).__name__}:epochs": int(getattr(term, "counts_epochs", 0)) for term in terms}
        found |= {name: version for name, version in counted.items() if version}
    return found


def _compile_decided(made: Experiment, device: torch.device) -> Experiment:
    """The experiment with ``compile = "auto"`` replaced by what it comes to here, before anybody asks for its id."""
    on = False
    if compiling_may_pay(made.recipe, device):
        from redistill.experiment.length import learning

        on = compiling_pays(learning([made], again=False))  # whatever a cache holds: an id does not depend on it
    recipe = made.recipe.model_copy(update={"compile": on})
    return made.model_copy(update={"recipe": recipe, "arithmetic": Arithmetic(device=device.type, **arithmetic(recipe, device))})


def _table(name: str, data: dict[str, Any], mistakes: ValidationErrors) -> dict[str, Any] | None:
    found = data.get(name)
    if name in data and not isinstance(found, dict):
        mistakes.add((name,), f"must be a table, [{name}], not one value")
        return None
    return found


def _maker(role: str, table: dict[str, Any], mistakes: ValidationErrors, reading: Reading) -> Experiment | None:
    """The experiment that makes a network's weights: a file, or (in a record) the experiment itself; None where none is named."""
    if "run" not in table:
        return None
    given = table["run"]
    if isinstance(given, Experiment):
        return given
    if isinstance(given, dict):
        inner = ValidationErrors(f"{mistakes.file}: [{role}] run", data=given)
        made = _experiment(given, inner, reading)
        mistakes.found += inner.found
        return made
    if not isinstance(given, str):
        mistakes.add((role, "run"), 'must be the file of an experiment, run = "teacher.toml"')
        return None
    try:
        path = reading.folder / expanded(given)
        resolved = path.resolve()
    except (ValueError, OSError) as error:  # no path at all, or links that lead in a circle
        mistakes.add((role, "run"), str(error))
        return None
    if resolved in reading.chain:
        circle = " -> ".join(p.name for p in (*reading.chain, path))
        mistakes.add((role, "run"), f"the experiments need each other in a circle: {circle}")
        return None
    try:
        data, inner = several.extended(file_of(path))
        several.require_one(data, path)
    except RedistillError as error:
        mistakes.add((role, "run"), str(error))
        return None
    inner.data = data
    there = replace(
        reading, folder=path.parent, chain=(*reading.chain, resolved), trusted=reading.trusted and is_own_word(path)
    )
    made = _experiment(data, inner, there)
    mistakes.found += inner.found
    return made


def _recipe(given: dict[str, Any], mistakes: ValidationErrors) -> Recipe | None:
    before = len(mistakes.found)
    mistakes.unknown(("recipe",), given, (*Recipe.model_fields, *shorthand.WORDS["recipe"]))
    rows = {name: value for name, value in given.items() if name in Recipe.model_fields}
    schedule = rows.get("schedule")
    if isinstance(schedule, dict) and isinstance(schedule.get("kind"), str) and schedule["kind"] in SCHEDULES:
        fields = SCHEDULES[schedule["kind"]].model_fields
        mistakes.unknown(("recipe", "schedule"), schedule, fields, f"setting of schedule {schedule['kind']!r}")
        rows["schedule"] = {name: value for name, value in schedule.items() if name in fields}
    made = None
    with mistakes.at(("recipe",)):
        made = Recipe.model_validate(rows)
    return made if len(mistakes.found) == before else None


def _pictures(source: Any, shown: evaluate.Evaluate) -> bool:
    """Whether anything that a run opens is a picture file."""
    trained = [name for part in source.parts for name in (getattr(part, "data", None), getattr(part, "beside", None))]
    return any(name.partition(":")[0] in PICTURES for name in (*trained, *shown.sets.values()) if name is not None)


def _together(
    teacher: bool, method: list[tuple[TermSpec, Term]], source: Any, student: networks.Net | None, recipe: Recipe | None,
    mistakes: ValidationErrors,
) -> None:  # fmt: skip
    """What only shows when the sections are put side by side."""
    stage = student.run.method if student is not None and student.run is not None else ()
    before = {part.use for part in stage}
    patient = recipe is not None and recipe.patience is not None and source is not None
    if patient and not any(getattr(part, "held_out", None) for part in source.parts):
        mistakes.add(
            ("recipe", "patience"), "stops by a held-out part of the training images, never by the test set: add held_out = 0.1 to [source]"
        )
    for number, (part, term) in enumerate(method):
        if term.needs_teacher and not teacher:
            mistakes.add(("method", number, "use"), f"{part.use} compares with a teacher: add a section [teacher]")
        if term.needs_labels and not term.takes_mixed and getattr(source, "mixes_labels", False):
            mistakes.add(("method", number, "use"), mixed_labels(part.use))
        if term.needs_labels and source is not None and not source.labelled:
            mistakes.add(("method", number, "use"), f"{part.use} needs labels, and [source] has none")
        if term.begins_with() and student is not None and part.use not in before:
            mistakes.add(
                ("method", number, "use"),
                f"{term!r} goes on with the {term.begins_with()[0]} of the stage before: let [student] run name an experiment whose method "
                f"has {part.use}, which trains it",
            )

"""From a file to an experiment: every default written out, every mistake reported at once."""

from __future__ import annotations

import dataclasses
import functools
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pydantic
from torch import nn

from redistill.core import Ramp, RedistillError, Term, nearest
from redistill.experiment import shorthand, sources
from redistill.experiment.change import changed
from redistill.experiment.files import file_digest
from redistill.experiment.generated import AdversarialSettings
from redistill.experiment.kinds import KINDS
from redistill.experiment.mistakes import Mistakes, shown
from redistill.experiment.sealed import file_of, require_unaltered
from redistill.experiment.text import parse
from redistill.experiment.value import Arithmetic, Evaluate, Experiment, Net, Part
from redistill.experiment.versions import numerics
from redistill.paths import expanded
from redistill.precision import arithmetic, resolve_device
from redistill.recipe import Constant, Cosine, MultiStep, Recipe, Step
from redistill.user_code import is_code, load_if
from redistill.user_code import load as load_code
from redistill.values import Value

SECTIONS = ("name", "notes", "teacher", "student", "method", "source", "recipe", "evaluate", "seed")
DERIVED = ("arithmetic", "numerics")  # stand in records; made anew when one is read
SCHEDULES: dict[str, type[Value]] = {"constant": Constant, "step": Step, "multistep": MultiStep, "cosine": Cosine}
RESERVED = ("use", "weight", "code", "file")


def load(
    path: Path,
    *,
    seed: int | None = None,
    device: str = "auto",
    change: Sequence[str] = (),
    data_dir: Path | None = None,
    trust_code: bool = False,
) -> Experiment:
    """See :meth:`redistill.experiment.value.Experiment.load`."""
    path = expanded(path)
    data, mistakes = parse(file_of(path))
    require_unaltered(path)
    mistakes.data = data = changed(data, change)
    trusted = trust_code or is_own_word(path)
    made = _Reader(path.parent, device, (path.resolve(),), data_dir, trusted).experiment(data, mistakes)
    mistakes.stop()
    assert made is not None
    return made if seed is None else made.with_seed(seed)


def resolve(
    settings: Mapping[str, Any],
    *,
    folder: Path,
    seed: int | None = None,
    device: str = "auto",
    data_dir: Path | None = None,
    trust_code: bool = True,
) -> Experiment:
    """See :meth:`redistill.experiment.value.Experiment.of`."""
    mistakes = Mistakes("experiment", data=settings)
    made = _Reader(folder, device, (), data_dir, trust_code).experiment(dict(settings), mistakes)
    mistakes.stop()
    assert made is not None
    return made if seed is None else made.with_seed(seed)


def is_own_word(path: Path) -> bool:
    """Whether an experiment was written by hand, so that code which it names is the user's own word; a record is data."""
    return path.suffix != ".json" and not path.is_dir()


class _Reader:
    """Completes one file; ``chain`` holds the files that led to it, so that a circle is noticed.

    ``trusted``: the file is the user's own word, and code that it names is run; otherwise such code is only located.
    """

    def __init__(self, folder: Path, device: str, chain: tuple[Path, ...], data_dir: Path | None, trusted: bool):
        self.folder, self.device, self.chain, self.data_dir, self.trusted = folder, device, chain, data_dir, trusted

    def experiment(self, data: dict[str, Any], mistakes: Mistakes) -> Experiment | None:
        before = len(mistakes.found)
        data = shorthand.filled(data, mistakes, shorthand.Where(self.folder, self.data_dir, self.trusted))
        mistakes.unknown((), data, (*SECTIONS, *DERIVED), "section")
        for needed in ("student", "method", "source", "recipe"):
            if needed not in data:
                mistakes.add((), f"the section [{needed}] is missing")
        tables = {n: self._table(n, data, mistakes) for n in ("teacher", "student", "source", "recipe", "evaluate")}
        teacher = student = None
        if tables["teacher"] is not None:
            teacher = self.net("teacher", tables["teacher"], mistakes)
        if tables["student"] is not None:
            student = self.net("student", tables["student"], mistakes)
        method = self.method(data.get("method"), mistakes) if "method" in data else []
        source = self.source(tables["source"], mistakes) if tables["source"] is not None else None
        recipe = self.recipe(tables["recipe"], mistakes) if tables["recipe"] is not None else None
        shown = self.evaluate(tables["evaluate"], source, recipe, mistakes)
        self._together(tables["teacher"] is not None, method, source, mistakes)
        with mistakes.at(()):
            device = resolve_device(self.device)
        if len(mistakes.found) > before:
            return None
        assert student is not None and source is not None and recipe is not None
        made = None
        with mistakes.at(()):
            made = Experiment.model_validate(
                {
                    "teacher": teacher,
                    "student": student,
                    "method": tuple(part for part, _ in method),
                    "source": source,
                    "recipe": recipe,
                    "evaluate": shown,
                    "arithmetic": Arithmetic(device=device.type, **arithmetic(recipe, device)),
                    "numerics": numerics([term for _, term in method], source, (teacher, student), shown),
                    "seed": data.get("seed", 0),
                    "name": data.get("name", ""),
                    "notes": data.get("notes", ""),
                }
            )
        return made

    def _table(self, name: str, data: dict[str, Any], mistakes: Mistakes) -> dict[str, Any] | None:
        found = data.get(name)
        if name in data and not isinstance(found, dict):
            mistakes.add((name,), f"must be a table, [{name}], not one value")
            return None
        return found

    # -- networks -----------------------------------------------------------------------------------------------------
    def net(self, role: str, given: dict[str, Any], mistakes: Mistakes) -> Net | None:
        before = len(mistakes.found)
        mistakes.unknown((role,), given, ("model", "args", "from", "run", "seed", "take", "code", "file"))
        if not isinstance(given.get("args", {}), dict):
            mistakes.add((role, "args"), "must be a table, args = { dropout = 0.3 }")
            return None
        rows: dict[str, Any] = {}
        if "from" in given and "run" in given:
            mistakes.add((role, "from"), "weights come from a file (from) or from an experiment (run), not from both")
        maker = None
        if "run" in given:
            maker = self.chained(role, given["run"], mistakes)
            rows |= {"run": maker, "seed": given.get("seed", "same"), "take": given.get("take", "last")}
            if rows["take"] == "best" and maker is not None and not maker.evaluate.sets:
                mistakes.add((role, "take"), "the experiment in run evaluates nothing, so none of its networks is the best")
        elif "seed" in given or "take" in given:
            key, what = ("seed", "seed") if "seed" in given else ("take", "network")
            mistakes.add((role, key), f'chooses the {what} of the experiment in run = "...", and there is none')
        if "from" in given:
            with mistakes.at((role, "from")):
                rows["from"] = self.weights(given["from"])
        model = given.get("model")
        if maker is not None:
            rows |= {"model": maker.student.model, "args": maker.student.args}
            rows |= {"code": maker.student.code, "file": maker.student.file}
            if model is not None and not is_code(str(model)) and model != maker.student.model:
                mistakes.add((role, "model"), f"the experiment in run trains {maker.student.model!r}: leave model out")
        elif "run" not in given:
            with mistakes.at((role, "model")):
                rows |= self.model(role, model, given, rows)
        if len(mistakes.found) > before:
            return None
        made = None
        with mistakes.at((role,)):
            made = Net.model_validate(rows)
        return made

    def model(self, role: str, model: Any, given: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
        from redistill.experiment import build

        if model is None:
            if "from" not in rows:
                raise RedistillError("is missing: name a network, for example model = \"wrn-16-1\"")
            name, args = build.model_in_file(Path(rows["from"]["path"]))
            return {"model": name, "args": args or None}
        if not isinstance(model, str):
            raise RedistillError("must be text, for example model = \"wrn-16-1\"")
        args = given.get("args", {})
        if is_code(model):
            found = load_if(self.trusted, model, self.folder, file=given.get("file"), code=given.get("code"), kind=nn.Module)
            return {"model": found.name, "args": args, "code": found.code, "file": found.file}
        build.check_model(model, args)
        if role == "teacher" and "from" not in rows:
            raise RedistillError('the teacher has no weights: add from = "file" or run = "experiment.toml"')
        return {"model": model, "args": args or None}

    def weights(self, given: Any) -> dict[str, str]:
        if isinstance(given, dict):
            path, sha = Path(str(given.get("path"))), given.get("sha256")
        else:
            path, sha = expanded(str(given)), None
        path = (self.folder / path).resolve()
        if not path.is_file():
            raise RedistillError(f"there is no file {path}" + (f" (wanted: SHA-256 {sha})" if sha else ""))
        found = file_digest(path)
        if sha is not None and sha != found:
            raise RedistillError(f"{path} has changed: SHA-256 {found[:12]}, this experiment was made with {str(sha)[:12]}")
        return {"sha256": found, "path": str(path)}

    def chained(self, role: str, given: Any, mistakes: Mistakes) -> Experiment | None:
        """The experiment that makes a network's weights: a file, or (in a record) the experiment itself."""
        if isinstance(given, Experiment):
            return given
        if isinstance(given, dict):
            inner = Mistakes(f"{mistakes.file}: [{role}] run", data=given)
            made = _Reader(self.folder, self.device, self.chain, self.data_dir, self.trusted).experiment(given, inner)
            mistakes.found += inner.found
            return made
        if not isinstance(given, str):
            mistakes.add((role, "run"), 'must be the file of an experiment, run = "teacher.toml"')
            return None
        try:
            path = self.folder / expanded(given)
            resolved = path.resolve()
        except (ValueError, OSError) as error:  # no path at all, or links that lead in a circle
            mistakes.add((role, "run"), str(error))
            return None
        if resolved in self.chain:
            circle = " -> ".join(p.name for p in (*self.chain, path))
            mistakes.add((role, "run"), f"the experiments need each other in a circle: {circle}")
            return None
        try:
            data, inner = parse(file_of(path))
        except RedistillError as error:
            mistakes.add((role, "run"), str(error))
            return None
        inner.data = data
        trusted = self.trusted and is_own_word(path)
        made = _Reader(path.parent, self.device, (*self.chain, resolved), self.data_dir, trusted).experiment(data, inner)
        mistakes.found += inner.found
        return made

    # -- method -------------------------------------------------------------------------------------------------------
    def method(self, given: Any, mistakes: Mistakes) -> list[tuple[Part, Term]]:
        if not isinstance(given, list) or not given or not all(isinstance(row, dict) for row in given):
            mistakes.add(("method",), 'must be a list of terms, each [[method]] with use = "KD" and its settings')
            return []
        parts = []
        for number, row in enumerate(given):
            before = len(mistakes.found)
            with mistakes.at(("method", number, "use")):
                cls, extra = self.term(row)
            if len(mistakes.found) > before:
                continue
            if (made := self._part(cls, row, extra, number, mistakes)) is not None:
                parts.append(made)
        return parts

    def term(self, row: dict[str, Any]) -> tuple[type[Term], dict[str, Any]]:
        from redistill import terms

        use = row.get("use")
        if not isinstance(use, str):
            raise RedistillError('is missing: name a term, use = "KD"')
        if not is_code(use):
            return terms.by_name(use), {"use": use}
        found = load_code(use, self.folder, file=row.get("file"), code=row.get("code"), kind=Term, trusted=self.trusted)
        if not (isinstance(found.object, type) and issubclass(found.object, Term)):
            raise RedistillError(f"{use} must be a subclass of redistill.Term, it is {found.object!r}")
        return found.object, {"use": found.name, "code": found.code, "file": found.file}

    def _part(
        self, cls: type[Term], row: dict[str, Any], extra: dict[str, Any], number: int, mistakes: Mistakes
    ) -> tuple[Part, Term] | None:
        key = ("method", number)
        before = len(mistakes.found)
        shape = settings_of(cls)  # type: ignore[arg-type]  # a class, whose instances need no hash
        given = {name: value for name, value in row.items() if name not in RESERVED}
        mistakes.unknown(key, given, (*shape.model_fields, "weight"), f"setting of {cls.__name__}")
        settings: dict[str, Any] = {}
        term = None
        with mistakes.at(key):
            filled = shape.model_validate({n: v for n, v in given.items() if n in shape.model_fields})
            term = cls(**{name: getattr(filled, name) for name in shape.model_fields})
            settings = {n: v for n, v in json.loads(json.dumps(filled.model_dump(mode="json"))).items() if n in term.settings()}
        weight = row.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float | dict):
            mistakes.add((*key, "weight"), "must be a number or a table { start = 0, end = 20, last = 5.0 }")
        elif isinstance(weight, dict):
            known = [field.name for field in dataclasses.fields(Ramp)]
            mistakes.unknown((*key, "weight"), weight, known)
            weight = {name: value for name, value in weight.items() if name in known}
        if len(mistakes.found) > before:
            return None
        made = None
        with mistakes.at((*key, "weight") if isinstance(weight, dict) else key):
            made = Part(weight=ramp(weight) if isinstance(weight, dict) else float(weight), settings=settings, **extra)
        return None if made is None or term is None else (made, term)

    # -- the rest -----------------------------------------------------------------------------------------------------
    def source(self, given: dict[str, Any], mistakes: Mistakes, key: tuple[str, ...] = ("source",)) -> Any:
        kind = given.get("kind", "images")
        if not isinstance(kind, str) or kind not in KINDS:
            mistakes.add((*key, "kind"), nearest(kind if isinstance(kind, str) else shown(kind), KINDS, "kind of source"))
            return None
        model = KINDS[kind]
        completing = shorthand.WORDS["source"] if model is AdversarialSettings else ()
        mistakes.unknown(key, given, (*model.model_fields, *completing))
        rows: dict[str, Any] = {"kind": kind, **{n: v for n, v in given.items() if n in model.model_fields}}
        for half in ("first", "second") if kind == "mixed" else ():
            if isinstance(inner := rows.get(half), dict):
                rows[half] = self.source(inner, mistakes, (*key, half))
                if rows[half] is None:
                    return None
        code = "use" if kind == "own" else "generator"  # the key that may name code of one's own
        if code in rows and (kind == "own" or is_code(str(rows[code]))):
            with mistakes.at((*key, code)):
                expected = None if kind == "own" else nn.Module
                found = load_if(
                    self.trusted, str(rows[code]), self.folder, file=rows.get("file"), code=rows.get("code"), kind=expected
                )
                rows |= {code: found.name, "code": found.code, "file": found.file}
        elif "data" in rows:
            with mistakes.at((*key, "data")):
                rows = {**sources.defaults(str(rows["data"]), "train", self.folder, self.data_dir, trust_code=self.trusted), **rows}
                rows["data"] = sources.full_name(str(rows["data"]), "train", self.folder)
                rows.setdefault("content", sources.content(rows["data"], self.data_dir))
        if kind == "own":
            rows.setdefault("code", "")
        unknown = kind == "images" and "normalise" not in rows
        if unknown:  # its other mistakes are told all the same, and not what would follow from the data
            rows = {"augment": "none", **rows, "normalise": "none"}
        made = None
        with mistakes.at(key):
            made = model.model_validate(rows)
        if isinstance(made, AdversarialSettings) and made.code is None:
            from redistill.experiment import build

            with mistakes.at((*key, "generator")):
                build.check_model(made.generator, made.sizes)
        return None if unknown else made

    def recipe(self, given: dict[str, Any], mistakes: Mistakes) -> Recipe | None:
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

    def evaluate(self, given: dict[str, Any] | None, source: Any, recipe: Recipe | None, mistakes: Mistakes) -> Evaluate:
        rows = dict(given) if given is not None else {}
        every, since, known = rows.pop("every", None), rows.pop("from", None), rows.pop("content", {})
        for name, value in (("every", every), ("content", known), ("from", since)):
            if isinstance(value, str) and (":" in value or name == "content"):
                mistakes.add(("evaluate", name), f"no evaluation set can be called {name}: call it test, or as you like")
        if not isinstance(known, dict):
            known = {}
        if since is not None and (isinstance(since, bool) or not isinstance(since, int | float) or not 0 < since < 1):
            mistakes.add(("evaluate", "from"), f"must be a share of the run between 0 and 1, from = 0.8, got {since!r}")
            since = None
        if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            mistakes.add(("evaluate", "every"), "must be a whole number of epochs, at least 1")
            every = None
        if every is None and recipe is not None and recipe.epochs is not None:
            every = max(1, -(-recipe.epochs // 20))
        unsaid = given is None or (given and given.keys() <= {"every", "from"})  # an empty [evaluate] says: evaluate nothing
        if unsaid and isinstance(source, sources.ImagesSettings) and (test := sources.evaluated_on(source.data, self.data_dir)) is not None:
            rows = {"test": test}
        sets, contents = {}, {}
        for name, data in rows.items():
            if name == "held_out":
                mistakes.add(("evaluate", name), "held_out is the name of the part that [source] held_out sets apart")
            elif not isinstance(data, str):
                mistakes.add(("evaluate", name), 'must be the name of a data set, test = "cifar10:test"')
            else:
                with mistakes.at(("evaluate", name)):
                    sets[name] = sources.full_name(data, "test", self.folder, self.data_dir)
                    if sources.is_own_data(data):
                        load_if(self.trusted, data, self.folder)
                    if (found := known.get(name) or sources.content(sets[name], self.data_dir)) is not None:
                        contents[name] = found
        return Evaluate(sets=sets, content=contents, every=every, since=since)

    def _together(self, teacher: bool, method: list[tuple[Part, Term]], source: Any, mistakes: Mistakes) -> None:
        """What only shows when the sections are put side by side."""
        for number, (part, term) in enumerate(method):
            if term.needs_teacher and not teacher:
                mistakes.add(("method", number, "use"), f"{part.use} compares with a teacher: add a section [teacher]")
            if term.needs_labels and source is not None and not source.labelled:
                mistakes.add(("method", number, "use"), f"{part.use} needs labels, and [source] has none")


def ramp(table: dict[str, Any]) -> Ramp:
    """A ramp from its table, numbers as numbers: ``5`` and ``5.0`` are one experiment."""
    if odd := [name for name, value in table.items() if isinstance(value, bool)]:
        raise RedistillError(f"{odd[0]} must be a number, not {str(table[odd[0]]).lower()}")
    made: Ramp = pydantic.TypeAdapter(Ramp).validate_python(table)
    return made


@functools.cache
def settings_of(cls: type[Term]) -> type[Value]:
    """The settings of a term as a model that checks and completes them; made from its fields and their types."""
    hints = typing.get_type_hints(cls)
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        default: Any = ...
        if field.default is not dataclasses.MISSING:
            default = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = pydantic.Field(default_factory=field.default_factory)
        fields[field.name] = (hints[field.name], default)
    made: type[Value] = pydantic.create_model(
        cls.__name__, __base__=Value, __config__=None, __module__=__name__, **fields
    )
    return made

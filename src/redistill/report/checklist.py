"""The ML Reproducibility Checklist (Pineau et al., version 2.0) and the five points of code completeness, from records.

Every answer is read off the runs and rests on what stands beside it. What a machine cannot know says so, and why: it is for
the author to fill in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redistill.data.catalogue import row_of
from redistill.launch.progress import lasting
from redistill.papers.plan import Plan
from redistill.runs.record import Record, parts_of
from redistill.runs.store import Run

Answer = Literal["yes", "partly", "no", "for the author", "does not apply"]
CODE = "package"  # among the versions of a record: the SHA-256 of the package's own code


@dataclass(frozen=True)
class Item:
    """One line. ``evidence``: what the answer rests on, or why there is none."""

    group: str
    question: str
    answer: Answer
    evidence: str


def checklist(runs: Sequence[Run], plan: Plan | None = None) -> list[Item]:
    """Every line of both lists.

    Args:
        runs: of the report. plan: of a paper's report, which knows assumptions and deviations; None for runs alone.
    """
    records = [run.entry for run in runs]
    made = [*_models(records, plan), *_theory(), *_data(records), *_code(records), *_results(records, plan)]
    return [*made, *_completeness(runs)]


def _answers(group: str, there: bool, rows: Sequence[tuple[str, Answer, str]]) -> list[Item]:
    """(question, answer, evidence) as items; without a run nothing is answered."""
    return [Item(group, question, answer if there else "no", evidence if there else "no run") for question, answer, evidence in rows]


def _each(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(value for value in values if value))


def _models(records: Sequence[Record], plan: Plan | None) -> list[Item]:
    networks = _each(f"{r.experiment['student'].get('model', '')} ({r.parameters:,} parameters)" for r in records)
    terms = _each(part["use"] for r in records for part in r.experiment["method"])
    memory = [found for r in records if (found := _megabytes(r))]
    peak = f", peak memory {_span(min(memory), max(memory))} MB" if memory else ""
    assumed = 0 if plan is None else len(plan.paper.file.assumed) + len(plan.paper.file.departs)
    why = f"{assumed} assumptions and deviations of the paper file, each with its reason"
    unsaid = "runs do not say what was assumed" if plan is None else "the paper file lists no assumption and no deviation"
    rows: list[tuple[str, Answer, str]] = [
        ("the setting, the algorithm and the model are described", "yes",
         f"networks {networks}; terms {terms}, whose formula, source and settings stand on their cards (docs/methods)"),
        ("every assumption is explained", "yes" if assumed else "for the author", why if assumed else unsaid),
        ("time, memory and sample size are analysed", "partly",
         f"measured, not analysed: {lasting(_seconds(records))} of students' steps{peak}"),
    ]  # fmt: skip
    return _answers("Models and algorithms", bool(records), rows)


def _seconds(records: Sequence[Record]) -> float:
    return sum(r.time.own for r in records)


def _megabytes(record: Record) -> int:
    memory = [value for one in record.sessions for value in (one.get("memory") or {}).values() if isinstance(value, int | float)]
    return round(max(memory, default=0) / 2**20)


def _theory() -> list[Item]:
    rows: list[tuple[str, Answer, str]] = [
        (f"the claim is {done}", "does not apply", "a report of runs makes none") for done in ("stated", "proved")
    ]
    return _answers("Theoretical claims", True, rows)


def _data(records: Sequence[Record]) -> list[Item]:
    used = [one for r in records for facts in r.data.values() for one in parts_of(facts)]
    sets = _each(f"{one['data']}: {one['count']} images" for one in used if "data" in one and "count" in one)
    chosen = _each(f"{one['data']}: {_rule(one['rule'])}" for one in used if one.get("rule"))
    sums = _each(f"{one['data']} {one['sha256'][:16]}" for one in used if "sha256" in one)
    sources = [one for r in records for one in parts_of(r.experiment["source"])]
    looks = _each(f"{s.get('data', s['kind'])}: {_prepared(s)}" for s in sources)
    best = _each(found.best_is for r in records for found in r.accuracy.values())
    rows: list[tuple[str, Answer, str]] = [
        ("the number of examples is given", "yes", sets),
        ("training, validation and test parts are given", "yes", f"{sets}; best: {best}"),
        ("what was left out and how images were processed is given", "yes", _each((chosen and f"chosen: {chosen}", looks))),
        ("the data can be fetched", *_fetched([one["data"] for one in used if "data" in one], sums)),
        ("the collection of new data is described", "for the author", "the package's data sets are published; data of one's own are not"),
    ]
    return _answers("Data sets", bool(records), rows)


def _fetched(names: Sequence[str], sums: str) -> tuple[Answer, str]:
    """Whether others get the images, and how: official sets by this package, those of the hub by their name, nobody's own."""
    own = [name for name in names if row_of(name) is None and not name.startswith("hf:")]
    how: Answer = "yes" if not own else "for the author" if len(own) == len(names) else "partly"
    others = f"data of one's own, which nobody else can fetch: {_each(own)}" if own else ""
    ways = filter(None, ("" if how == "for the author" else "redistill download NAME", others))
    return how, f"{'; '.join(ways)}; SHA-256 of the images used: {sums}"


def _prepared(source: Mapping[str, Any]) -> str:
    normalised = f"normalised as {source['normalise']}, " if source.get("normalise") else ""
    return f"{normalised}{'no augmentation' if source.get('augment', 'none') == 'none' else 'augmented by ' + source['augment']}"


def _span(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} to {high}"


def _rule(rule: Sequence[Sequence[Any]]) -> str:
    """How images were chosen, in the words of the rule: ``per_class (M 10, seed 0)``."""
    return ", ".join(f"{name} ({', '.join(f'{key} {value}' for key, value in settings.items())})" for name, settings in rule)


def _code(records: Sequence[Record]) -> list[Item]:
    # of the package's own code the SHA-256 is no dependency, and differs from commit to commit
    versions = _each(", ".join(f"{name} {version}" for name, version in r.versions.items() if name != CODE) for r in records)
    sealed = bool(records) and all(CODE in r.versions for r in records)
    commits = _each(f"{r.git.commit[:12]}{' with changes' if r.git.changed else ''}" for r in records if r.git is not None)
    whole: Answer = "partly" if any(r.git is None or r.git.changed for r in records) else "yes"
    rows: list[tuple[str, Answer, str]] = [
        ("the dependencies are given", "yes", versions),
        ("the training code is given", whole,
         (f"redistill at commit {commits}" if commits else "no record says the commit") + "; its SHA-256 in every record" * sealed),
        ("the evaluation code is given", whole, "the same; every record holds its evaluation sets"),
        ("the trained models are given", "partly", "in each run's folder, unless only records were kept; SHA-256 in every record"),
        ("there is a table of results with the command of each", "yes", "in this report, row by row"),
    ]
    return _answers("Shared code", bool(records), rows)


def _results(records: Sequence[Record], plan: Plan | None) -> list[Item]:
    seeds: dict[str, int] = {}
    for r in records:
        seeds[r.cell] = seeds.get(r.cell, 0) + 1
    few, many = min(seeds.values(), default=0), max(seeds.values(), default=0)
    machines = [one["hardware"] for r in records for one in r.sessions]
    hardware = _each(f"{one.get('device', '')}, threads: {one.get('threads')}" for one in machines)
    when = {r.id: "last step" if r.kept is None else r.network for r in records}
    epochs = _each(f"{name}: {when[r.id]}; the best is {found.best_is}" for r in records for name, found in r.accuracy.items())
    how = "" if plan is None else ", as the paper file has them, with its source"
    mean = "mean and 95 % t interval over seeds" if few > 1 else "some configuration has a single seed: a spread needs two"
    rows: list[tuple[str, Answer, str]] = [
        ("hyper-parameters, their range and how they were chosen are given", "partly",
         f"every setting used is in its record{how}; whether others were tried first is for the author"),
        ("the exact number of training and evaluation runs is given", "yes",
         f"runs: {len(records)}, configurations: {len(seeds)}, seeds of each: {_span(few, many)}; runs outside this store are not known"),
        ("the measure is defined", "yes", f"accuracy in percent; {epochs}"),
        ("mean and spread are given", "yes" if few > 1 else "no", mean),
        ("the time of a run, or its energy, is given", "yes",
         f"{lasting(_seconds(records) / max(1, len(records)))} a run on average; energy, where it was measured, stands under Cost"),
        ("the machines are described", "yes", hardware),
    ]  # fmt: skip
    return _answers("Experimental results", bool(records), rows)


def _completeness(runs: Sequence[Run]) -> list[Item]:
    weights = sum((run.folder / "weights.safetensors").is_file() for run in runs)
    trained: Answer = "yes" if weights == len(runs) else "partly" if weights else "no"
    rows: list[tuple[str, Answer, str]] = [
        ("dependencies", "yes", "pyproject.toml and constraints.txt; versions in every record"),
        ("training", "yes", "redistill run FOLDER/record.json repeats a run"),
        ("evaluation", "yes", "redistill evaluate FILE"),
        ("trained models", trained, f"{weights} of {len(runs)} runs have their weights beside their record"),
        ("a table of results with commands", "yes", "in this report"),
    ]
    return _answers("Code completeness", bool(runs), rows)

"""The ML Reproducibility Checklist (Pineau et al., version 2.0) and the five points of code completeness, from records.

Every answer is read off the runs and rests on what stands beside it. What a machine cannot know says so, and why: it is for
the author to fill in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from redistill.papers.plan import Plan
from redistill.runs.record import Record
from redistill.runs.store import Run

Answer = Literal["yes", "partly", "no", "for the author", "does not apply"]


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


def _each(values: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(value for value in values if value))


def _models(records: Sequence[Record], plan: Plan | None) -> list[Item]:
    group = "Models and algorithms"
    networks = _each(f"{r.experiment['student'].get('model', '')} ({r.parameters:,} parameters)" for r in records)
    terms = _each(part["use"] for r in records for part in r.experiment["method"])
    described = f"networks {networks}; terms {terms}, whose formula, source and settings stand on their cards (docs/methods)"
    assumed = None if plan is None else len(plan.paper.file.assumed) + len(plan.paper.file.departs)
    hours = sum(r.time.own for r in records) / 3600
    memory = _each(f"{_megabytes(r)} MB" for r in records if _megabytes(r))
    return [
        Item(group, "the mathematical setting, the algorithm and the model are described", "yes" if records else "no", described if records else "no run"),
        Item(group, "every assumption is explained", "yes" if assumed else "for the author",
             f"{assumed} assumptions and deviations of the paper file, each with its reason" if assumed
             else "runs do not say what somebody assumed"),
        Item(group, "time, memory and sample size are analysed", "partly" if records else "no",
             f"measured, not analysed: {hours:.2f} hours of students' steps{f', peak {memory}' if memory else ''}" if records else "no run"),
    ]  # fmt: skip


def _megabytes(record: Record) -> int:
    memory = [value for one in record.sessions for value in (one.get("memory") or {}).values() if isinstance(value, int | float)]
    return round(max(memory, default=0) / 2**20)


def _theory() -> list[Item]:
    group, why = "Theoretical claims", "a report of runs makes none"
    return [Item(group, question, "does not apply", why) for question in ("the claim is stated", "the claim is proved")]


def _data(records: Sequence[Record]) -> list[Item]:
    group = "Data sets"
    sets = _each(f"{one['data']}: {one['count']} images" for r in records for one in r.data.values() if "data" in one and "count" in one)
    chosen = _each(f"{one['data']}: {_rule(one['rule'])}" for r in records for one in r.data.values() if one.get("rule"))
    looks = _each(f"{s.get('data', s['kind'])}: {s.get('normalise', '')}, {s.get('augment', 'no augmentation')}" for r in records
                  if (s := r.experiment["source"]))  # fmt: skip
    sums = _each(f"{one['data']} {one['sha256'][:16]}" for r in records for one in r.data.values() if "sha256" in one)
    tested = _each(found.best_is for r in records for found in r.accuracy.values())
    answer: Answer = "yes" if records else "no"
    return [
        Item(group, "the number of examples is given", answer, sets or "no run"),
        Item(group, "training, validation and test parts are given", answer, f"{sets}; best: {tested}" if sets else "no run"),
        Item(group, "what was left out and how images were processed is given", answer,
             _each((chosen and f"chosen: {chosen}", looks)) or "no run"),
        Item(group, "the data can be fetched", answer, f"redistill download NAME; SHA-256 of the images used: {sums}" if sums else "no run"),
        Item(group, "the collection of new data is described", "does not apply", "the package's own data sets are all published; for data of "
             "one's own it is for the author"),
    ]  # fmt: skip


def _rule(rule: Sequence[Sequence[Any]]) -> str:
    return ", ".join(f"{name} {settings}" for name, settings in rule)


def _code(records: Sequence[Record]) -> list[Item]:
    group = "Shared code"
    versions = _each(", ".join(f"{name} {version}" for name, version in r.versions.items()) for r in records)
    commits = _each(f"{r.git.commit[:12]}{' with changes' if r.git.changed else ''}" for r in records if r.git is not None)
    changed = any(r.git is None or r.git.changed for r in records)
    return [
        Item(group, "the dependencies are given", "yes" if records else "no", versions or "no run"),
        Item(group, "the training code is given", "partly" if changed else "yes",
             f"redistill at commit {commits}" if commits else "no record says the commit"),
        Item(group, "the evaluation code is given", "partly" if changed else "yes", "the same; every record holds its evaluation sets"),
        Item(group, "the trained models are given", "partly" if records else "no",
             "weights lie in each run's folder, unless only records were kept; SHA-256 in every record"),
        Item(group, "there is a table of results with the command of each", "yes" if records else "no", "in this report, row by row"),
    ]  # fmt: skip


def _results(records: Sequence[Record], plan: Plan | None) -> list[Item]:
    group = "Experimental results"
    seeds = {r.cell: 0 for r in records}
    for r in records:
        seeds[r.cell] += 1
    few = min(seeds.values(), default=0)
    hardware = _each(f"{one['hardware'].get('device', '')}, {one['hardware'].get('threads', '?')} threads" for r in records for one in r.sessions)
    epochs = _each(f"{name}: last step; the best is {found.best_is}" for r in records for name, found in r.accuracy.items())
    hours = [r.time.own / 3600 for r in records]
    how = "as the paper file has them, with its source" if plan is not None else "as they stand in each record"
    return [
        Item(group, "hyper-parameters, their range and how they were chosen are given", "partly" if records else "no",
             f"every setting used is in its record, {how}; whether others were tried first is for the author"),
        Item(group, "the exact number of training and evaluation runs is given", "yes" if records else "no",
             f"{len(records)} runs of {len(seeds)} configurations, {few} to {max(seeds.values(), default=0)} seeds each; runs outside this store "
             "are not known"),
        Item(group, "the measure is defined", "yes" if records else "no", f"accuracy in percent; {epochs}" if epochs else "no run"),
        Item(group, "mean and spread are given", "yes" if few > 1 else "no",
             "mean and 95 % t interval over seeds" if few > 1 else "some configuration has a single seed: a spread needs two"),
        Item(group, "the time of a run, or its energy, is given", "yes" if records else "no",
             f"{sum(hours) / len(hours):.2f} hours a run on average; energy was not measured" if hours else "no run"),
        Item(group, "the machines are described", "yes" if records else "no", hardware or "no run"),
    ]  # fmt: skip


def _completeness(runs: Sequence[Run]) -> list[Item]:
    group = "Code completeness"
    weights = sum((run.folder / "weights.safetensors").is_file() for run in runs)
    trained: Answer = "yes" if runs and weights == len(runs) else "partly" if weights else "no"
    return [
        Item(group, "dependencies", "yes", "pyproject.toml and constraints.txt; versions in every record"),
        Item(group, "training", "yes", "redistill run FOLDER/record.json repeats a run"),
        Item(group, "evaluation", "yes", "redistill evaluate FILE"),
        Item(group, "trained models", trained, f"{weights} of {len(runs)} runs have their weights beside their record"),
        Item(group, "a table of results with commands", "yes" if runs else "no", "in this report"),
    ]

"""Runs of a paper's cells that learned from a file of weights, where the plan has a teacher trained by the paper's recipe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from redistill.experiment.value import Experiment, Net
from redistill.files import canonical, digest
from redistill.papers.plan import Plan, Planned
from redistill.runs.lookup import Found, asked, wanted
from redistill.runs.store import Run


@dataclass(frozen=True)
class Substitutes:
    """Of a store, the runs whose teacher is a file, by what was asked of them apart from the teacher."""

    found: Found
    _known: dict[str, list[Run]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def runs(self) -> Mapping[str, list[Run]]:
        made: dict[str, list[Run]] = {}
        for several in self.found.runs.values():
            for run in several:
                if "from" in teacher_of(run.record["experiment"]):
                    made.setdefault(_but_teacher(run.record["experiment"]), []).append(run)
        return made

    def of(self, one: Experiment) -> list[Run]:
        """Runs that were asked the same but for their teacher, which is a file."""
        if not self.runs:
            return []
        if one.cell not in self._known:  # a plan, its tables and their notes ask again
            self._known[one.cell] = self.runs.get(_but_teacher(one.written(seed=False)), [])
        return self._known[one.cell]

    def plan(self, plan: Plan) -> Plan:
        """The plan with the file that taught in the place of a trained teacher, where no run of that teacher's own students is there.

        Of several files the one of most runs counts, for all cells of that teacher: cells of a table are compared with each other.
        """
        files: dict[str, Counter[str]] = {}
        own: set[str] = set()
        for one in (p.experiment for p in (*plan.cells, *plan.others) if p.experiment is not None):
            teacher = teacher_of(one.written(seed=False))
            if "run" not in teacher:
                continue
            if self.found.seeds(one) or self.found.unfinished(one):
                own.add(teacher["model"])
            files.setdefault(teacher["model"], Counter()).update(_sha(run) for run in self.of(one))
        chosen = {
            model: min(counts, key=lambda sha: (-counts[sha], sha)) for model, counts in files.items() if counts and model not in own
        }
        if not chosen:
            return plan
        cells, others = (tuple(self._planned(p, chosen) for p in some) for some in (plan.cells, plan.others))
        return replace(plan, cells=cells, others=others)

    def _planned(self, planned: Planned, chosen: Mapping[str, str]) -> Planned:
        if planned.experiment is None or (mine := self._taught(planned.experiment, chosen)) is planned.experiment:
            return planned
        return Planned(planned.cell, mine, tuple(self._taught(one, chosen) for one in planned.elsewhere))

    def _taught(self, one: Experiment, chosen: Mapping[str, str]) -> Experiment:
        """The same experiment with the chosen file for its teacher, as its runs were asked; itself where there are none."""
        teacher = teacher_of(one.written(seed=False))
        run = next((run for run in self.of(one) if "run" in teacher and _sha(run) == chosen.get(teacher["model"])), None)
        return one if run is None else taught_by(one, Net.model_validate(teacher_of(asked(run.record["experiment"]))))

    def notes(self, planned: Planned, counted: set[str]) -> str:
        """Seeds of a cell that learned from another file than those that are judged, in words; ``counted``: ids of these."""
        by_file: dict[str, list[Run]] = {}
        for run in self.of(planned.experiment) if planned.experiment is not None else []:
            if run.id not in counted:
                by_file.setdefault(_sha(run), []).append(run)
        words = []
        for sha, runs in sorted(by_file.items()):
            teacher, seeds = teacher_of(runs[0].record["experiment"]), ", ".join(map(str, sorted(run.seed for run in runs)))
            name = Path(teacher["from"]["path"]).name
            words.append(
                f"seed{'s' if len(runs) > 1 else ''} {seeds} learned from another teacher, {name} (SHA-256 {sha[:12]}): "
                f"not counted here, --teacher {teacher['model']}=FILE judges them"
            )
        return ", ".join(words)


def of_other_teachers(planned: Planned, found: Found) -> str:
    """Seeds of a cell that learned from a file which its experiment does not name, in words; "" where there are none."""
    one = planned.experiment
    mine = () if one is None else (found.find(one.with_seed(seed)) for seed in found.seeds(one))
    return Substitutes(found).notes(planned, {run.id for run in mine if run is not None})


def teacher_of(written: Mapping[str, Any]) -> Mapping[str, Any]:
    """The teacher of an experiment, or of what its student goes on from; {} where nobody teaches."""
    if written.get("teacher") is not None:
        return dict(written["teacher"])
    start = written["student"].get("run")
    return {} if start is None else teacher_of(start)


def taught_by(one: Experiment, teacher: Net) -> Experiment:
    """With this teacher where a network of its architecture is trained to teach. (Reading the run's own experiment again would want
    the file, which need not be on this machine.)
    """
    changed: dict[str, Any] = {}
    if one.teacher is not None and one.teacher.run is not None and one.teacher.model == teacher.model:
        changed["teacher"] = teacher
    if one.student.run is not None:
        changed["student"] = one.student.model_copy(update={"run": taught_by(one.student.run, teacher)})
    return one.model_copy(update=changed)


def _sha(run: Run) -> str:
    return str(teacher_of(run.record["experiment"])["from"]["sha256"])


def _but_teacher(written: Mapping[str, Any]) -> str:
    """What is asked, whoever teaches: only the teacher's architecture is left of it, in what a student goes on from too."""
    return digest(canonical(_blank(wanted(written))))


def _blank(identified: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(identified)
    if made.get("teacher") is not None:
        made["teacher"] = {"model": made["teacher"]["model"]}
    if "run" in made["student"]:
        made["student"] = {**made["student"], "run": _blank(made["student"]["run"])}
    return made

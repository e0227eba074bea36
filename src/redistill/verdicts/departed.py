"""Runs of a cell with one departure taken the other way, beside the cell's own: what ``redistill explain`` has run, for reports."""

from __future__ import annotations

from collections.abc import Mapping

from redistill.errors import RedistillError
from redistill.experiment.value import Experiment, Net
from redistill.papers.cells import Paper
from redistill.papers.explain import Effect, ranked, variants
from redistill.papers.plan import Planned
from redistill.runs.lookup import Found, asked, wanted
from redistill.runs.store import Run
from redistill.verdicts.taught import taught_by, teacher_of


def effects_of(paper: Paper, planned: Planned, found: Found) -> tuple[Effect, ...]:
    """The plain cell first, then its departures of which some seed ran; () where none did. Runs that are out of
    date are left out, as ``explain`` leaves them."""
    if planned.experiment is None or paper.table(planned.cell.table).metric == "mte":
        return ()
    if not any(departs.change for departs in paper.departs(planned.cell)):
        return ()
    try:
        plain, *others = variants(paper, planned.cell, device="cpu")
    except RedistillError:  # a switch that cannot be made of this cell is told where it is asked for
        return ()
    teacher = teacher_of(asked(planned.experiment.written(seed=False)))
    file = Net.model_validate(teacher) if "from" in teacher else None

    def asked_of(one: Experiment) -> Experiment:
        return one if file is None else taught_by(one, file)

    if wanted(asked_of(plain.experiment).written(seed=False)) != wanted(planned.experiment.written(seed=False)):
        return ()  # a plan of its own, with a teacher a seed: explain has no such
    told = [(one, runs) for one in others if (runs := _runs(asked_of(one.experiment), found))]
    return tuple(ranked([(plain, _runs(planned.experiment, found)), *told])) if told else ()


def _runs(one: Experiment, found: Found) -> Mapping[int, Run]:
    return {seed: run for seed in found.seeds(one) if (run := found.fresh(one.with_seed(seed))) is not None}

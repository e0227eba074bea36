"""Why is our number not the paper's? One departure of the code changed at a time, with the same seeds, ranked by effect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, counted, nearest
from redistill.experiment.value import Experiment
from redistill.papers.cells import Cell, Paper, filled
from redistill.papers.plan import imported, listed, of, teach
from redistill.papers.schema import Deviation
from redistill.runs.fall import Fall, fall
from redistill.runs.lookup import Found
from redistill.runs.run import step_of
from redistill.runs.store import Run
from redistill.settings.change import put_over
from redistill.stats import STEP, Interval, past_edge, percent_difference, percent_interval


@dataclass(frozen=True)
class Variant:
    """A cell's experiment with one departure taken the other way; ``departs`` None: as the cell has it."""

    departs: Deviation | None
    experiment: Experiment

    @property
    def name(self) -> str:
        return self.departs.name if self.departs is not None else "as planned"


@dataclass(frozen=True)
class Effect:
    """What one departure does.

    Attributes:
        values: accuracy of the variant at the last step, by seed. effect: variant minus the cell as planned, paired by
            seed, with its 95 % interval; None where fewer than two seeds of both are there. diverged: seeds without an
            accuracy, because their training diverged. fell: seeds that were at guessing on their way and went on.
            step: in which its accuracies come, in percent.
    """

    variant: Variant
    values: Mapping[int, float]
    effect: Interval | None
    diverged: tuple[int, ...] = ()
    fell: Mapping[int, Fall] = field(default_factory=dict)
    step: float = STEP


def variants(
    paper: Paper,
    cell: Cell,
    *,
    only: Sequence[str] = (),
    device: str = "auto",
    scale: float = 1.0,
    teachers: Mapping[str, Path] | None = None,
) -> list[Variant]:
    """The cell as planned, then one variant for every departure that can be switched.

    Raises:
        RedistillError: no experiment can be made of the cell, it has no such departure, or none at all; a network of ``teachers``
            does not teach it.
    """
    settings = paper.settings(cell)
    imported(settings, teachers or {}, paper)
    switches = [departs for departs in paper.departs(cell) if departs.change]
    if not switches:
        raise RedistillError(f"{cell.id} has no departure with a switch: there is nothing to change one at a time")
    names = [departs.name for departs in switches]
    wanted = listed(only, names)
    for name in wanted:
        if name not in names:
            raise RedistillError(nearest(name, names, f"departure of {cell.id}"))
    made = [Variant(None, of(settings, device, scale, paper.folder))]
    for departs in switches:
        if not wanted or departs.name in wanted:
            other = {**put_over(settings, filled(departs.change, cell.facts)), "name": name_of(cell.id, departs.name)}
            made.append(Variant(departs, of(other, device, scale, paper.folder)))
    teach(teachers or {}, {cell.id: made[0].experiment}, paper)
    return made


def name_of(cell: str, departure: str) -> str:
    """What the experiment of a cell with one departure the other way is called."""
    return f"{cell} with {departure} changed"


def asked_by(name: str) -> tuple[str, str] | None:
    """The cell and the departure of such a name; None of another one.

    >>> asked_by(name_of("ahn2019:1:VID:2 %", "floor")), asked_by("ahn2019:1:VID:2 %")
    (('ahn2019:1:VID:2 %', 'floor'), None)
    """
    cell, between, rest = name.rpartition(" with ")
    return (cell, rest.removesuffix(" changed")) if between and rest.endswith(" changed") else None


def effects(asked: Sequence[Variant], found: Found, seeds: Sequence[int]) -> list[Effect]:
    """What the runs of a store say: the plain cell first, then by size of the effect, unmeasured ones last. As in reports, a run
    counts on whatever device it was made, and one that is out of date does not."""
    return ranked(
        [(one, {seed: run for seed in seeds if (run := found.fresh(one.experiment.with_seed(seed))) is not None}) for one in asked]
    )


def ranked(found: Sequence[tuple[Variant, Mapping[int, Run]]]) -> list[Effect]:
    """Effects of variants with their runs by seed, the plain cell's first: that first, then by size of the effect."""
    plain, *others = (_measured(variant, runs) for variant, runs in found)
    made = []
    for one in others:
        both = [seed for seed in one.values if seed in plain.values]
        pairs = [one.values[s] for s in both], [plain.values[s] for s in both]
        interval = percent_difference(*pairs, step=max(one.step, plain.step)) if len(both) > 1 else None
        made.append(replace(one, effect=interval))
    return [plain, *sorted(made, key=lambda e: -abs(e.effect.value) if e.effect is not None else 1.0)]


def _measured(variant: Variant, runs: Mapping[int, Run]) -> Effect:
    """Accuracies by seed, and the seeds that diverged."""
    lost = tuple(seed for seed, run in runs.items() if run.diverged is not None)
    values = {seed: run.accuracy() for seed, run in runs.items() if seed not in lost}
    fell = {seed: one for seed, run in runs.items() if (one := fall(run)) is not None}
    return Effect(variant, values, None, lost, fell, step_of(runs.values(), "test"))


def sentences(found: Sequence[Effect], paper: Paper, cell: Cell) -> list[str]:
    """The ranking as lines of text, accuracies in percent at the last step."""
    plain = found[0]
    mean = ", ".join(filter(None, (_mean(plain), _lost(plain), _fell(plain)))) or "not run yet"
    printed = ""
    if cell.printed is not None and (accuracy := paper.accuracy(cell)) is not None:
        printed = f", the paper prints {accuracy:.{cell.printed.decimals}f}"
        if paper.protocol_of(cell).which == "best_on_test":
            printed += " of the best epoch on the test set"
        if paper.table(cell.table).metric == "error":
            printed += f" (an error of {cell.printed.value:.{cell.printed.decimals}f})"
    lines = [f"{cell.id}: {mean}{printed}"]
    return [*lines, *(told_of(one, plain) for one in found[1:])]


def told_of(one: Effect, plain: Effect) -> str:
    """One departure's effect as a line of text."""
    assert one.variant.departs is not None
    about = one.variant.departs
    shared = [seed for seed in one.values if seed in plain.values]
    if one.effect is None and len(shared) == 1:
        effect = f"{one.values[shared[0]] - plain.values[shared[0]]:+.2f}, of one seed: no interval"
    elif one.effect is None and one.values and plain.diverged and not shared:
        effect = "nothing to compare it with"
    elif one.effect is None and one.diverged and not one.values:
        effect = "no accuracy"
    elif one.effect is None:
        effect = f"not measured ({counted(len(one.values), 'seed')})"
    else:
        ends = ", ".join(past_edge(end, 0.0, 0.0) for end in (one.effect.low, one.effect.high))
        effect = f"{one.effect.value:+.2f} [{ends}], {one.effect.n} seeds"
    came = _came_to(one, [seed for seed in one.values if seed in plain.diverged])
    return f"{about.name}: {', '.join(filter(None, (effect, _lost(one, plain), _fell(one))))}; {about.about}: {about.theirs}{came}"


def _came_to(one: Effect, lived: Sequence[int]) -> str:
    """The accuracy with the departure taken the other way, by itself: an effect is over the seeds that lived in both.

    Args:
        lived: seeds of it that the cell as planned has not, because they diverged there.
    """
    if not one.values:
        return ""
    values = list(one.values.values())
    mean = percent_interval(values, step=one.step) if len(values) > 1 else None
    words = f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}] with it" if mean else f"{values[0]:.2f} with it"
    words += f" ({_seeds(list(one.values))})"
    return f"; {words}" + (f", alive with {_seeds(lived)} where the cell as planned diverged" if lived else "")


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def _mean(one: Effect) -> str:
    values = one.values.values()
    return f"{sum(values) / len(values):.2f} ({counted(len(values), 'seed')})" if values else ""


def _lost(one: Effect, plain: Effect | None = None) -> str:
    """Seeds that diverged: they have no accuracy, so they are in no mean and no effect, and are named, with what the cell as planned
    (``plain``) came to where it lived."""
    if not one.diverged:
        return ""
    lived = {seed: plain.values[seed] for seed in one.diverged if seed in plain.values} if plain is not None else {}
    words = f"{_seeds(one.diverged)} diverged"
    if not lived:
        return words
    which = "which" if len(lived) == len(one.diverged) else f"of which {_seeds(list(lived))}"
    return f"{words}, {which} as planned came to {', '.join(f'{value:.2f}' for value in lived.values())}"


def _fell(one: Effect) -> str:
    """Seeds that were at guessing on their way: what they came to is in the means, and says little of what was changed."""
    return ", ".join(f"seed {seed} {what}" for seed, what in one.fell.items())


def rows(found: Sequence[Effect], paper: Paper, cell: Cell) -> dict[str, Any]:
    """The ranking for machines: accuracies in percent by seed, effects in points; the printed number is an accuracy too."""
    plain, *others = found
    return {
        "cell": cell.id,
        "printed": paper.accuracy(cell),
        "as_planned": _row(plain),
        "departures": [_row(one) for one in others],
    }


def _row(one: Effect) -> dict[str, Any]:
    departs, effect = one.variant.departs, one.effect
    about = {} if departs is None else {"name": departs.name, "about": departs.about, "theirs": departs.theirs, "ours": departs.ours}
    between = None if effect is None else {"value": effect.value, "low": effect.low, "high": effect.high, "seeds": effect.n}
    accuracies = {str(seed): value for seed, value in one.values.items()}
    fell = {str(seed): {"step": what.low_step, "to": what.low, "from": what.high} for seed, what in one.fell.items()}
    made = {**about, "accuracy": accuracies, "diverged": list(one.diverged), "fell_to_guessing": fell}
    return made if departs is None else {**made, "effect": between}

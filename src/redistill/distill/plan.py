"""The plan of a distillation: experiments like those of any file, the sentences that say why each setting is what it is, and how
they are carried out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from redistill.distill import teacher
from redistill.distill.choice import Choice, held_images
from redistill.distill.family import Candidate
from redistill.distill.length import Length
from redistill.distill.names import Named
from redistill.distill.photos import Photos
from redistill.errors import RedistillError, counted
from redistill.experiment.value import Experiment
from redistill.launch.carry_out import Display, Outcome, Resources, carry_out
from redistill.launch.stop import Interrupted
from redistill.runs.store import Run, Store

if TYPE_CHECKING:
    from redistill.distill.results import Distilled


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        lines: what was found and chosen, a sentence each. photos: the images. teaching: the experiments that train the teacher, by
            seed, empty where it has weights. plain: by seed, empty where there are none. distilled: by name of the method and seed.
            trials: likewise, where one of the methods is to be chosen by them; then that one alone is trained of ``distilled``.
        relatives: smaller networks of the teacher's family. seconds: expected, of the training that is still to be done.
    """

    lines: tuple[str, ...]
    photos: Photos
    teacher: Named
    student: Named
    sizes: dict[str, Any]
    teaching: dict[int, Experiment]
    plain: dict[int, Experiment]
    distilled: dict[str, dict[int, Experiment]]
    relatives: tuple[Candidate, ...]
    seconds: float
    store: Store
    length: Length | None = None
    resources: Resources = field(default_factory=Resources)
    trials: dict[str, dict[int, Experiment]] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def experiments(self) -> list[Experiment]:
        """Students of all methods and seeds, the plain ones first."""
        return [*self.plain.values(), *(one for by_seed in self.distilled.values() for one in by_seed.values())]

    def carry_out(self, display: Display | None = None) -> Distilled:
        """Train what is not there yet, measure it, and say what distillation was worth.

        Raises:
            RedistillError: a run failed or diverged; a teacher that was trained here knows nothing.
            redistill.launch.stop.Interrupted: stopped by a signal or the budget; the same call goes on from there.
        """
        from redistill.distill.results import measured

        if self.length is not None:
            self.length.keep(self.store)
        made: dict[int, Run] = {}
        if self.teaching:
            made = _made(carry_out(list(self.teaching.values()), self.store, self.resources, display), self.teaching)
            if self.photos.test is not None:
                net, who = made[min(made)].network(trust_code=True), f"the teacher {self.teacher.name}"
                epochs = counted(self.teaching[min(made)].recipe.epochs or 0, "epoch")
                teacher.require_knowing(net, self.photos.test, who, self.photos.train, trained_for=epochs)
        choice, mine = None, self
        if self.trials:
            choice = self._chosen(display)
            if display is not None:
                display.note(choice.sentence)
            mine = replace(self, trials={}, distilled={choice.method: self.distilled[choice.method]})
        outcome = carry_out(mine.experiments, self.store, self.resources, display)
        plain = _made(outcome, mine.plain)
        distilled = {name: _made(outcome, by_seed) for name, by_seed in mine.distilled.items()}
        return replace(measured(mine, made, plain, distilled), choice=choice)

    def _chosen(self, display: Display | None) -> Choice:
        """Train the trials that are not there yet. One that diverges has lost, and is no reason to end."""
        every = [one for by_seed in self.trials.values() for one in by_seed.values()]
        outcome = carry_out(every, self.store, self.resources, display)
        found = {run.id: run for run in outcome.runs}
        if outcome.status > 1 or any(one.id not in found for one in every):
            _made(outcome, {})
        accuracies = {
            name: {seed: None if (run := found[one.id]).diverged else run.accuracy("held_out") for seed, one in by_seed.items()}
            for name, by_seed in self.trials.items()
        }
        return Choice(accuracies, held_images(self.photos.labelled_count), tuple(found[one.id].folder for one in every))


def _made(outcome: Outcome, wanted: Mapping[int, Experiment]) -> dict[int, Run]:
    """The runs by seed, or the first thing that went wrong."""
    if outcome.problems:
        if outcome.status > 1:
            raise Interrupted(outcome.problems[0], outcome.status)
        raise RedistillError("; ".join(outcome.problems[:3]))
    found = {run.id: run for run in outcome.runs}
    return {seed: found[one.id] for seed, one in wanted.items()}

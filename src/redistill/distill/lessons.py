"""What is trained, as experiments like those of any file: the teacher where it is, the student alone, and the students it teaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.distill import length, methods
from redistill.distill.asked import Asked
from redistill.distill.choice import APART, held_images
from redistill.distill.names import Named
from redistill.distill.photos import HELD, Photos
from redistill.experiment.value import Experiment
from redistill.settings.change import changed, keys_of, require_terms

LOOKS = 20  # at the evaluation images in a run


@dataclass(frozen=True)
class Lessons:
    """teaching: the experiment that trains the teacher, empty where it has weights. plain, trials, distilled: as in a plan."""

    teaching: dict[int, Experiment]
    plain: dict[int, Experiment]
    trials: dict[str, dict[int, Experiment]]
    distilled: dict[str, dict[int, Experiment]]

    @property
    def every(self) -> list[Experiment]:
        """All of them, in the order in which they are trained; after trials those of one method alone, here the first."""
        taught = list(self.distilled.values())[: 1 if self.trials else None]
        return [one for group in (self.teaching, *self.trials.values(), self.plain, *taught) for one in group.values()]


@dataclass(frozen=True)
class Classroom:
    """What the experiments of a plan are made of. changes: ``--set`` of the students."""

    asked: Asked
    images: Photos
    big: Named
    small: Named
    length: length.Length
    changes: Sequence[str]

    def lessons(self, rows: Sequence[methods.Asked]) -> Lessons:
        """The experiments for these methods.

        Raises:
            RedistillError: a change is of a term that no student has, or of no setting.
        """
        require_terms([{"method": self._by_labels}, *({"method": list(way.rows)} for way in rows)], self.changes)
        teaching: dict[int, Experiment] = {}
        taught_by: dict[str, Any] = self.big.table()
        if self.asked.train_teacher is not None:
            lesson, first = self._lesson(self.asked.train_teacher), self.asked.seeds[0]
            teaching, taught_by = {first: lesson.with_seed(first)}, {"run": lesson, "seed": first}
        plain = self._by_seed(self._plain()) if self.asked.plain and self.images.labelled else {}
        distilled = {way.name: self._by_seed(self._taught(way, taught_by)) for way in rows}
        trials = {way.name: self._by_seed(self._taught(way, taught_by, trial=True)) for way in rows} if self.asked.choose else {}
        return Lessons(teaching, plain, trials, distilled)

    @property
    def _by_labels(self) -> list[dict[str, Any]]:
        return methods.with_class_weights(methods.PLAIN) if self.asked.class_weights else list(methods.PLAIN)

    def _lesson(self, epochs: int) -> Experiment:
        lesson = self.length.lesson
        rate = lesson["lr"] / (10 if self.big.weights is not None else 1)  # a network that knows something already is only tuned
        longer = {**lesson, "epochs": epochs, "lr": rate, "warmup": length.warm_up(epochs)}
        looks = self._seen(self.length.recipe["epochs"], beside=False)
        if self.asked.choose:  # or trials would be taught by a teacher that knows the images they are judged on
            looks["source"] |= APART
        settings = {"student": self.big.table(), "method": self._by_labels, **looks, "recipe": longer}
        return self._made(settings, Path.cwd(), f"teacher {self.big.short}")

    def _plain(self) -> Experiment:
        recipe = self.length.alone
        looks = self._seen(recipe["epochs"], beside=False)
        settings = {"student": self.small.table(), "method": self._by_labels, **looks, "recipe": recipe}
        return self._made(settings, Path.cwd(), f"{self.small.with_args} plain", methods.for_the_plain(self.changes))

    def _taught(self, way: methods.Asked, taught_by: dict[str, Any], trial: bool = False) -> Experiment:
        """trial: on the images that are not set apart for a choice, and evaluated on those that are and on nothing else. It does not stop
        early: the best of many looks at those images would be what it is judged by."""
        terms = methods.with_class_weights(way.rows) if self.asked.class_weights else list(way.rows)
        recipe, changes = self.length.recipe, list(self.changes)
        looks, name = self._seen(recipe["epochs"], beside=True), f"{self.small.with_args} {way.name}"
        if trial:
            looks = {"source": {**self.images.source(), **APART}, "evaluate": {}}
            recipe = {key: value for key, value in recipe.items() if key != "patience"}
            name, changes = f"{name} on trial", [one for one in changes if keys_of(one)[0] != "evaluate"]
        settings = {"teacher": taught_by, "student": self.small.table(), "method": terms, **looks, "recipe": recipe}
        return self._made(settings, way.folder, name, changes)

    def _seen(self, epochs: int, beside: bool) -> dict[str, Any]:
        """Images that a run learns from, with those without labels or not, and how often it is evaluated."""
        apart = {"held_out": HELD} if self.asked.train_teacher is None else APART
        held = {} if self.asked.early_stop is None else apart
        every = max(1, -(-epochs // LOOKS))
        return {"source": {**self.images.source(beside), **held}, "evaluate": {**self.images.evaluate(), "every": every}}

    def _made(self, settings: dict[str, Any], folder: Path, name: str, changes: Sequence[str] = ()) -> Experiment:
        data, resources = self.asked.data, self.asked.resources
        settings["recipe"] = {**settings["recipe"], **length.last_batch(self._count(settings["source"]), settings["recipe"]["batch_size"])}
        title = Path(data.partition(":")[2] or data).name or data
        written = changed({"name": f"{title}: {name}", **settings}, changes, one_of_several=True)
        return Experiment.of(written, folder=folder, seed=0, device=resources.device, data_dir=resources.data_dir)

    def _count(self, source: Mapping[str, Any]) -> int:
        """Training images that a source has."""
        every = len(self.images.train) if "beside" in source else self.images.own_count
        return every - (held_images(self.images.labelled_count) if "held_out" in source else 0)

    def _by_seed(self, one: Experiment) -> dict[int, Experiment]:
        return {seed: one.with_seed(seed) for seed in self.asked.seeds}

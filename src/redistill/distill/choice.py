"""Which of several methods, chosen on training images that no trial has seen: the evaluation images decide nothing."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill import terms
from redistill.core import Context, Method
from redistill.distill.methods import Asked
from redistill.distill.photos import HELD, Photos
from redistill.errors import RedistillError, counted
from redistill.stats import binomial_interval

TRIED = "KD,KD+AT,KD+SP"
"""Methods that are tried where none are named: KD, and those that helped a small network in the table of docs/distill.md without a
setting of their own."""

APART = {"held_out": HELD, "seed": 0}
"""What the source of a trial has more: the same images for every method and seed, and for a teacher that is trained here. So has that of
a student which stops early where the teacher is trained here: images set apart by the student's own seed would be the teacher's too."""


def held_images(count: int) -> int:
    """How many of ``count`` labelled training images no trial sees, class by class."""
    return round(HELD * count)


def require_trials(rows: Sequence[Asked], images: Photos, usual: bool) -> None:
    """Refuse where there is nothing to choose from, or nothing to choose by. usual: nobody named the methods ``rows``."""
    held = held_images(images.labelled_count)
    if not images.labelled or held < (images.train.classes or 0):
        why = f"a tenth of these is {counted(held, 'image')}" if images.labelled else "these have none"
        raise RedistillError(
            f"--choose compares methods by the labels of a tenth of the training images, one of each class at least, and {why}: leave it "
            f"out, and name a method"
        )
    if len(rows) < 2 and not usual:
        raise RedistillError(f"--choose chooses between methods, and {rows[0].name} is one: give several, --method {TRIED}")


def fitting(rows: Sequence[Asked], meet: Callable[[], Context]) -> tuple[list[str], dict[str, str]]:
    """Those of the methods that find their places in two networks that ``meet``, and why the others do not."""
    kept, others = [], {}
    for row in rows:
        try:
            Method((1.0, terms.by_name(part["use"])()) for part in row.rows).setup(meet())
        except RedistillError as error:
            others[row.name] = str(error)
        else:
            kept.append(row.name)
    return kept, others


@dataclass(frozen=True)
class Choice:
    """What the trials came to.

    Attributes:
        accuracies: by method and seed, in percent of the held-out images; None where the trial diverged. images: how many these are.
        folders: of the trials.
    """

    accuracies: Mapping[str, Mapping[int, float | None]]
    images: int
    folders: tuple[Path, ...] = ()

    @property
    def method(self) -> str:
        """The method that was right most often, in the mean over seeds; the first named of equals.

        Raises:
            RedistillError: a trial of every method diverged.
        """
        means = self._means
        if not means:
            raise RedistillError(f"every method diverged in its trial ({', '.join(self.accuracies)}): lower the rate, --lr")
        return max(means, key=lambda name: means[name])

    @property
    def equals(self) -> tuple[str, ...]:
        """The others that were right as often as :attr:`method`."""
        means, best = self._means, self.method
        return tuple(name for name in means if name != best and means[name] == means[best])

    @property
    def _means(self) -> dict[str, float]:
        """Of the methods of which no trial diverged, to where sums of hundredths are equal to within rounding."""
        return {name: round(mean, 6) for name in self.accuracies if (mean := self.mean(name)) is not None}

    def mean(self, name: str) -> float | None:
        """Accuracy of a method over its seeds, in percent; None where one of them diverged."""
        values = [value for value in self.accuracies[name].values() if value is not None]
        return statistics.fmean(values) if len(values) == len(self.accuracies[name]) else None

    @property
    def sentence(self) -> str:
        """How the choice was made, and how much so many images can tell."""
        best = self.method
        mean = self.mean(best)
        assert mean is not None
        low, high = binomial_interval(min(mean / 100 * self.images, self.images), self.images)  # of seeds the mean count, a fraction
        seeds = max(len(by_seed) for by_seed in self.accuracies.values())
        over = f", means of {seeds} seeds" if seeds > 1 else ""
        others = ", ".join(f"{name} {_percent(self.mean(name))}" for name in self.accuracies if name != best)
        equals = self.equals
        tie = f" {best} and {' and '.join(equals)} were right equally often, and the first named of them was taken." if equals else ""
        return (
            f"{best} was chosen on {counted(self.images, 'training image')} that no trial had seen: {_percent(mean)} of them right (95 %: "
            f"{100 * low:.1f} to {100 * high:.1f}); {others}{over}.{tie} The evaluation images decided nothing."
        )

    def as_json(self) -> dict[str, Any]:
        """The same for machines."""
        accuracies = {name: dict(by_seed) for name, by_seed in self.accuracies.items()}
        return {"method": self.method, "images": self.images, "accuracies": accuracies, "runs": list(map(str, self.folders))}


def _percent(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.1f} %"

"""``kind = "images"``: a data set or a part of it, and what every kind of ``[source]`` has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from redistill.core import Source
from redistill.data import augmentation, normalisation
from redistill.data.catalogue import row_of
from redistill.data.folders import beside
from redistill.data.named import is_own_data, load_data, looks, opening_words, shown_like
from redistill.data.normalise import require_peak
from redistill.data.strong import SUFFIX
from redistill.metrics import ImageSet
from redistill.published.few_images import per_class_ferles
from redistill.recipe import Recipe
from redistill.values import Seed, Value


@dataclass(frozen=True)
class Built:
    """A source, and the evaluation sets that come with it (the held-out part)."""

    source: Source
    evaluate: Mapping[str, ImageSet]


class Settings(Value):
    """What every kind of ``[source]`` has."""

    @property
    def parts(self) -> tuple[Settings, ...]:
        """Itself, and what it is mixed of."""
        return (self,)

    @property
    def uses(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of networks and of data sets that it needs itself, whose versions are part of an experiment."""
        return (), ()

    def steps_of_epoch(self, recipe: Recipe) -> int:
        """Steps between two points of the curves; 1 where only the source itself, once it is built, knows better."""
        return 1

    @property
    def views(self) -> int:
        """How often a student looks at an image in one step."""
        return 1

    @property
    def asked(self) -> float:
        """How often the teacher is asked for an image of a student's step."""
        return self.views


class ImagesSettings(Settings):
    """Images of a data set, or a part of them.

    Args:
        data: "cifar10", "digits:train", "folder:path" ...; the part is ``train`` where none is named.
        held_out: number (or, as a float, share) of training images set apart *first*; evaluated as ``held_out``.
        per_class: that many images of each class, drawn; at most one of this and the next three keys. first_per_class: that many, the
            first ones in file order. fraction: that share of the images, drawn. per_class_ferles: as the reproducibility report's code
            draws them, which by a mistake are not that many of each class (:mod:`redistill.published.few_images`).
        unlabelled: hide the labels from every term.
        beside: further images, whose labels are hidden if they have some, "images:path" ...; terms that need labels act on those of
            ``data``, of which ``held_out`` and the subset are chosen first. beside_content: as ``content``, of these.
        augment: what is done to training images before anybody sees them; default: the data set's own. normalise: the constants by which
            pixels become numbers, a name or mean and standard deviation; default: the data set's own.
        size: of picture files, in the source and in evaluation sets, the side of the square that they become; without it their own where
            all are squares of one size, else 224. on_corrupt: of picture files, what is done with those that are no images, "refuse"
            (also where nothing is said) or "skip".
        content: SHA-256 of data of one's own, which a record has: it stands for them in the experiment's identity, wherever they lie.
        seed: of the drawn subsets, that of the run (``same``) or a number.
    """

    kind: Literal["images"] = "images"
    data: str
    held_out: int | float | None = Field(default=None, gt=0)
    per_class: int | None = Field(default=None, ge=1)
    first_per_class: int | None = Field(default=None, ge=1)
    fraction: float | None = Field(default=None, gt=0, le=1)
    per_class_ferles: int | None = Field(default=None, ge=1)
    unlabelled: bool = False
    size: int | None = Field(default=None, ge=1)
    on_corrupt: Literal["refuse", "skip"] | None = None
    augment: str
    normalise: str
    content: str | None = None
    beside: str | None = None
    beside_content: str | None = None
    seed: Seed = "same"

    depends_on_student: ClassVar[bool] = False

    @model_validator(mode="after")
    def _one_subset(self) -> ImagesSettings:
        subsets = ("per_class", "first_per_class", "fraction", "per_class_ferles")
        given = [n for n in subsets if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} both choose a subset: give one of them")
        if self.beside is not None and self.unlabelled:
            raise ValueError("beside adds images without labels to labelled ones, and unlabelled hides their labels: give one of them")
        return self

    @field_validator("normalise", "augment")
    @classmethod
    def _known(cls, name: str, info: ValidationInfo) -> str:
        if not is_own_data(info.data.get("data", "")):  # one's own set may have names of its own
            (normalisation if info.field_name == "normalise" else augmentation)(name)
        return name

    @property
    def label(self) -> str:
        if few := self.per_class or self.first_per_class or self.per_class_ferles:
            return f"{self.data}, {few} images a class"
        return f"{self.data}, {self.fraction:g} of it" if self.fraction else self.data

    @property
    def labelled(self) -> bool:
        return not self.unlabelled

    @property
    def mixes_labels(self) -> bool:
        """Whether images are mixed, so that one has two labels."""
        return not is_own_data(self.data) and augmentation(self.augment).mixing is not None

    @property
    def uses(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return (), (self.data,) if self.beside is None else (self.data, self.beside)

    @property
    def count(self) -> int:
        """Images in the source."""
        known = looks(self.data)
        held = self.held_out or 0
        count = known.images - (round(held * known.images) if isinstance(held, float) else held)
        if (few := self.per_class or self.first_per_class or self.per_class_ferles) is not None:
            return min(count, few * known.classes)
        return max(1, round(count * self.fraction)) if self.fraction is not None else count

    def steps_of_epoch(self, recipe: Recipe) -> int:
        return max(1, self.count // recipe.batch_size if recipe.drop_last else math.ceil(self.count / recipe.batch_size))

    @property
    def views(self) -> int:
        return 2 if self.augment.endswith(SUFFIX) else 1

    def numerics(self) -> dict[str, int]:
        from redistill.data import images, mixing, operations, strong, subsets

        found = {"source:images": images.NUMERICS, "subsets": subsets.NUMERICS}
        if is_own_data(self.data):
            return found
        done = augmentation(self.augment)
        found |= {"data:operations": operations.NUMERICS} if done.operations else {}
        row = row_of(self.data)
        if done.strong and row is not None and normalisation(row.normalise).peak != 255:  # no others were made otherwise
            found["data:strong"] = strong.NUMERICS
        return found | ({"data:mixing": mixing.NUMERICS} if done.mixing is not None else {})

    def written(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)

    @property
    def opening(self) -> dict[str, Any]:
        """How picture files are opened, as far as it is said (:func:`redistill.data.named.load_data`)."""
        return opening_words(vars(self))

    def build(self, seed: int, data_dir: Path | None) -> Built:
        drawn = seed if self.seed == "same" else self.seed
        images: Any = load_data(self.data, data_dir, self.content, opening=self.opening)
        require_peak(self.normalise, getattr(images, "peak", None), getattr(images, "name", self.data))
        images = images.with_(augment=self.augment, normalise=self.normalise)
        evaluate = {}
        if self.held_out is not None:
            images, held = images.held_out(self.held_out, seed=drawn)
            evaluate["held_out"] = held.with_(augment="none")
        if self.per_class is not None:
            images = images.per_class(self.per_class, seed=drawn)
        elif self.first_per_class is not None:
            images = images.first_per_class(self.first_per_class)
        elif self.per_class_ferles is not None:
            images = per_class_ferles(images, self.per_class_ferles, seed=drawn)
        elif self.fraction is not None:
            images = images.fraction(self.fraction, seed=drawn)
        if self.beside is not None:
            others = load_data(self.beside, data_dir, self.beside_content, opening=shown_like(self.opening))
            images = beside(images, others)
        return Built(images.unlabelled() if self.unlabelled else images, evaluate)


def opening_of(source: Settings | None) -> dict[str, Any]:
    """How picture files are shown that are opened like those of a source, also of one half of a mixture; empty where nothing is said."""
    parts = () if source is None else source.parts
    return shown_like(next((part.opening for part in parts if isinstance(part, ImagesSettings) and part.opening), {}))


def opening_written(source: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a source as a record has it."""
    halves = [source, *(half for half in (source.get("first"), source.get("second")) if isinstance(half, Mapping))]
    return shown_like(next((words for half in halves if half.get("kind") == "images" and (words := opening_words(half))), {}))

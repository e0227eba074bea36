"""``kind = "images"``: a data set or a part of it, and what every kind of ``[source]`` has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from redistill.core import RedistillError, Source
from redistill.data import Folder, augmentation, normalisation
from redistill.data.augment import RESIZED
from redistill.data.named import is_own_data, load_data
from redistill.data.normalise import SETS
from redistill.experiment.networks import Seed
from redistill.metrics import ImageSet
from redistill.published.few_images import per_class_ferles
from redistill.values import Value


@dataclass(frozen=True)
class Built:
    """A source, and the evaluation sets that come with it (the held-out part)."""

    source: Source
    evaluate: Mapping[str, ImageSet]


class Settings(Value):
    """What every kind of ``[source]`` has."""


class ImagesSettings(Settings):
    """Images of a data set, or a part of them.

    Args:
        data: "cifar10", "digits:train", "folder:path" ...; the part is ``train`` where none is named.
        held_out: number (or, as a float, share) of training images set apart *first*; evaluated as ``held_out``.
        per_class, first_per_class, fraction: at most one: that many images a class, drawn or in file order; that share.
        per_class_ferles: instead of these, a published mistake (:func:`redistill.published.few_images.per_class_ferles`).
        unlabelled: hide the labels from every term.
        beside: further images, whose labels are hidden if they have some, "images:path" ...; terms that need labels act on those of
            ``data``, of which ``held_out`` and the subset are chosen first. beside_content: as ``content``.
        augment, normalise: default: the data set's own.
        size, on_corrupt: of picture files, the side of the square that they become (default: their own where all are squares of
            one size, else 224) and what is done with files that are no images, "refuse" (default) or "skip"; evaluation sets
            of picture files are opened alike.
        content: SHA-256 of data of one's own; it stands for them in the experiment's identity, wherever they lie.
        seed: of the drawn subsets.
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

    def numerics(self) -> dict[str, int]:
        from redistill.data import images, mixing, operations, subsets

        found = {"source:images": images.NUMERICS, "subsets": subsets.NUMERICS}
        if is_own_data(self.data):
            return found
        done = augmentation(self.augment)
        found |= {"data:operations": operations.NUMERICS} if done.operations else {}
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
        require_peak(self.normalise, images)
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
            images = in_memory(images).beside(in_memory(others))
        return Built(images.unlabelled() if self.unlabelled else images, evaluate)


def in_memory(images: Any) -> Any:
    """Images in memory, decoded now where they lie on disk."""
    return images.in_memory() if isinstance(images, Folder) else images


def shown_like(opening: Mapping[str, Any]) -> dict[str, Any]:
    """How pictures are opened that are shown as they are, beside training images that are opened by ``opening``."""
    return {key: value for key, value in opening.items() if key != "augment"}


def opening_words(rows: Mapping[str, Any]) -> dict[str, Any]:
    """How picture files are opened, out of the settings of a source: their augmentation where crops are cut out of the files themselves."""
    found = {key: rows[key] for key in ("size", "on_corrupt") if rows.get(key) is not None}
    name = rows.get("augment")
    if isinstance(name, str) and name.partition(":")[0].partition("+")[0] == RESIZED:
        found["augment"] = name
    return found


def opening_of(source: object) -> dict[str, Any]:
    """How picture files are shown that are opened like those of a source, also of one half of a mixture; empty where nothing is said."""
    halves = (source, getattr(source, "first", None), getattr(source, "second", None))
    found: dict[str, Any] = next((half.opening for half in halves if isinstance(half, ImagesSettings) and half.opening), {})
    return shown_like(found)


def require_peak(normalise: str, images: Any) -> None:
    """Refuse constants that are written for another white than these pixels have: the white belongs to the data, and nothing
    would divide by the written one."""
    made, white = normalisation(normalise), getattr(images, "peak", None) or 255
    if made.name not in SETS and made.peak not in (255, white):
        raise RedistillError(
            f"{made} is for pixels of which {made.peak} counts as 1, those of {images.name} have {white}: leave the peak out (mean and "
            f"std are in units of the full range), or give the data their white, numpy.savez(file, x=images, peak={made.peak})"
        )

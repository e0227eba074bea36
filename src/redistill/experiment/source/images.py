"""The kinds of ``[source]`` an experiment file may have: their settings, and how each becomes a source.

A further kind is one more class and one more member of :data:`redistill.experiment.source.SourceSettings`: frozen settings
with a ``kind``, complete when they are made, that say how they are ``written``, what their ``numerics`` are, and ``build``
the source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from redistill.core import RedistillError, Source, nearest
from redistill.data import OFFICIAL, OWN, augmentation, catalogue, normalisation
from redistill.data.normalise import SETS
from redistill.files import digest
from redistill.metrics import ImageSet
from redistill.paths import expanded, is_there
from redistill.published.few_images import per_class_ferles
from redistill.user_code import load, locate
from redistill.values import Value

Seed = Literal["same"] | Annotated[int, Field(ge=0)]
"""A rule: ``same`` as the run's own seed, or always this number."""


@dataclass(frozen=True)
class Built:
    """A source, and the evaluation sets that come with it (the held-out part)."""

    source: Source
    evaluate: Mapping[str, ImageSet]


def placeless(written: Mapping[str, Any]) -> dict[str, Any]:
    """Without the place of a file whose SHA-256 stands beside it."""
    return {key: value for key, value in written.items() if key != "file" or "code" not in written}


class Settings(Value):
    """What every kind of ``[source]`` has."""

    @staticmethod
    def identified(written: Mapping[str, Any]) -> dict[str, Any]:
        """What of the written settings is part of an experiment's identity."""
        return placeless(written)


class ImagesSettings(Settings):
    """Images of a data set, or a part of them.

    Args:
        data: "cifar10", "digits:train", "folder:path" ...; the part is ``train`` where none is named.
        held_out: number (or, as a float, share) of training images set apart *first*; evaluated as ``held_out``.
        per_class, first_per_class, fraction: at most one: that many images a class, drawn or in file order; that share.
        per_class_ferles: instead of these, a published mistake (:func:`redistill.published.few_images.per_class_ferles`).
        unlabelled: hide the labels from every term.
        augment, normalise: default: the data set's own.
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
    augment: str
    normalise: str
    content: str | None = None
    seed: Seed = "same"

    depends_on_student: ClassVar[bool] = False

    @model_validator(mode="after")
    def _one_subset(self) -> ImagesSettings:
        subsets = ("per_class", "first_per_class", "fraction", "per_class_ferles")
        given = [n for n in subsets if getattr(self, n) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} both choose a subset: give one of them")
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

    def numerics(self) -> dict[str, int]:
        from redistill.data import images, subsets

        return {"source:images": images.NUMERICS, "subsets": subsets.NUMERICS}

    def written(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)

    @staticmethod
    def identified(written: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in written.items() if key != "data" or "content" not in written}

    def build(self, seed: int, data_dir: Path | None) -> Built:
        drawn = seed if self.seed == "same" else self.seed
        images: Any = load_data(self.data, data_dir, self.content)
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
        return Built(images.unlabelled() if self.unlabelled else images, evaluate)


def require_peak(normalise: str, images: Any) -> None:
    """Refuse constants that are written for another white than these pixels have: the white belongs to the data, and nothing
    would divide by the written one."""
    made, white = normalisation(normalise), getattr(images, "peak", None) or 255
    if made.name not in SETS and made.peak not in (255, white):
        raise RedistillError(
            f"{made} is for pixels of which {made.peak} counts as 1, those of {images.name} have {white}: leave the peak out (mean and "
            f"std are in units of the full range), or give the data their white, numpy.savez(file, x=images, peak={made.peak})"
        )


PATHS = ("arrays", "folder", "images")  # kinds whose names hold a path


def full_name(name: str, part: Literal["train", "test"], folder: Path, data_dir: Path | None = None) -> str:
    """The name with its part: ``cifar10`` is ``cifar10:train`` in [source], ``cifar10:test`` in [evaluate].

    A data set without a part of that name has its own for it: Tiny-ImageNet is evaluated on ``val``, and so is a folder that
    has ``train/`` and ``val/``. A path that exists beside the experiment file becomes absolute.
    """
    if is_own_data(name):
        return f"{locate(name, folder).file}:{name.rpartition(':')[2]}"
    kind = name.partition(":")[0]
    if kind in PATHS:
        _, place, which = catalogue.divided(name, folder)
        there = folder / expanded(place)
        if part == "test" and kind == "folder" and not which and _has_val(place, folder, data_dir):
            which = "val"
        known = f"{kind}:{there.resolve() if place and is_there(there) else place}"
        return f"{known}:{which}" if which else known
    if (row := OFFICIAL.get(name)) is not None:
        return f"{name}:{part if part in row.parts else row.evaluated_on}"
    every = [*OFFICIAL, *OWN]
    if kind not in every:
        raise RedistillError(nearest(kind, every, "data"))
    if (row := OFFICIAL.get(kind)) is not None and name.partition(":")[2] not in row.parts:
        raise RedistillError(nearest(name, [f"{kind}:{one}" for one in row.parts], "part"))
    return name


def _has_val(place: str, folder: Path, data_dir: Path | None) -> bool:
    """Whether a folder of images is divided into ``train/`` and ``val/``."""
    return any(
        is_there(root / "train") and is_there(root / "val")
        for base in (folder, data_dir)
        for root in catalogue.candidates(place, base)
    )


def evaluated_on(name: str, data_dir: Path | None = None) -> str | None:
    """What stands for a test set beside a source that trains on the training part of its data; None where nothing does."""
    if is_own_data(name):
        return None
    if (row := catalogue.row_of(name)) is not None:
        return f"{row.name}:{row.evaluated_on}" if name == f"{row.name}:train" else None
    kind, place, part = catalogue.divided(name, data_dir)
    divided = kind == "folder" and (part == "train" or (not part and _has_val(place, Path(), data_dir)))
    return f"folder:{place}:val" if divided else None


def defaults(
    name: str, part: Literal["train", "test"], folder: Path, data_dir: Path | None = None, *, trust_code: bool = False
) -> dict[str, str]:
    """A data set's own normalisation and augmentation; data of one's own are opened to ask them."""
    full = full_name(name, part, folder)
    kind, _, which = full.partition(":")
    if (row := OFFICIAL.get(kind)) is not None:
        return {"normalise": row.normalise, "augment": row.augment_of(which)}
    made = load_data(full, data_dir, trust_code=trust_code)
    return {"normalise": made.normalise, "augment": getattr(made, "augment", "none")}


def content(full: str, data_dir: Path | None = None) -> str | None:
    """SHA-256 of data of one's own (of the file that makes them, for ``./file.py:name``); None for official data."""
    if catalogue.row_of(full) is not None:
        return None
    if is_own_data(full):
        found = locate(full, Path())
        return digest(f"{found.name} {found.code}")
    return str(load_data(full, data_dir).manifest()["sha256"])


def load_data(name: str, data_dir: Path | None, wanted: str | None = None, *, trust_code: bool = False) -> Any:
    """A data set by name; ``./file.py:name`` is called without arguments.

    Args:
        wanted: the content it must have. trust_code: the user says that code of one's own may be run.
    """
    if wanted is not None and (found := content(name, data_dir)) != wanted:
        raise RedistillError(f"{name} has changed: its content is {str(found)[:12]}, the experiment was made with {wanted[:12]}")
    if is_own_data(name):
        return load(name, Path(), code=locate(name, Path()).code, trusted=trust_code).object()
    return catalogue.load(name, data_dir)


def is_own_data(name: str) -> bool:
    """Whether a name is ``./file.py:name``, and no folder of a data set that happens to be called so."""
    return ".py:" in name and name.partition(":")[0] not in OWN

"""The kinds of ``[source]`` an experiment file may have: their settings, and how each becomes a source.

A further kind is one more class and one more member of :data:`redistill.experiment.kinds.SourceSettings`: frozen settings
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
from redistill.data import augmentation, normalisation
from redistill.evaluate import ImageSet
from redistill.experiment.files import digest
from redistill.recipe import Value
from redistill.user_code import load, locate

Seed = Literal["same"] | Annotated[int, Field(ge=0)]
"""A rule: ``same`` as the run's own seed, or always this number."""


@dataclass(frozen=True)
class Built:
    """A source, and the evaluation sets that come with it (the held-out part)."""

    source: Source
    evaluate: Mapping[str, ImageSet]


class ImagesSettings(Value):
    """Images of a data set, or a part of them.

    Args:
        data: "cifar10", "digits:train", "folder:path" ...; the part is ``train`` where none is named.
        held_out: number (or, as a float, share) of training images set apart *first*; evaluated as ``held_out``.
        per_class, first_per_class, fraction: at most one: that many images a class, drawn or in file order; that share.
        per_class_ferles: instead of these, a published mistake (:func:`redistill.data.subsets.per_class_ferles`).
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

    def build(self, seed: int, data_dir: Path | None) -> Built:
        drawn = seed if self.seed == "same" else self.seed
        images: Any = load_data(self.data, data_dir, self.content).with_(augment=self.augment, normalise=self.normalise)
        evaluate = {}
        if self.held_out is not None:
            images, held = images.held_out(self.held_out, seed=drawn)
            evaluate["held_out"] = held.with_(augment="none")
        if self.per_class is not None:
            images = images.per_class(self.per_class, seed=drawn)
        elif self.first_per_class is not None:
            images = images.first_per_class(self.first_per_class)
        elif self.per_class_ferles is not None:
            images = images.per_class_ferles(self.per_class_ferles, seed=drawn)
        elif self.fraction is not None:
            images = images.fraction(self.fraction, seed=drawn)
        return Built(images.unlabelled() if self.unlabelled else images, evaluate)


class OwnSettings(Value):
    """A source of one's own: ``use(seed=..., **args)`` is called once a run and must return a ``redistill.Source``.

    Args:
        use: ``./file.py:name`` or ``module:name``. args: further keyword arguments. labelled: whether it has labels.
    """

    kind: Literal["own"]
    use: str
    args: dict[str, Any] = Field(default_factory=dict)
    labelled: bool = True
    code: str
    file: str | None = None
    seed: Seed = "same"

    depends_on_student: ClassVar[bool] = True  # unknown before it is made, so it gets a cohort of its own

    @property
    def label(self) -> str:
        return self.use

    def numerics(self) -> dict[str, int]:
        return {}  # the SHA-256 of its code says more

    def written(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)

    def build(self, seed: int, data_dir: Path | None) -> Built:
        made = load(self.use, Path(), file=self.file, code=self.code).object
        source = made(seed=seed if self.seed == "same" else self.seed, **self.args)
        if not isinstance(source, Source):
            raise RedistillError(f"{self.use} must return a redistill.Source, it returned a {type(source).__name__}")
        return Built(source, {})


# What a data set's name stands for: (normalisation, augmentation of the training part). Written down here so that an
# experiment has its identity before its data are on this machine; a test compares it with what the readers say.
DEFAULTS = {
    "cifar10": ("cifar10-kuangliu", "crop-flip"),
    "cifar100": ("cifar100", "crop-flip"),
    "cifar100-coarse": ("cifar100", "crop-flip"),
    "svhn": ("svhn-zskt", "none"),
    "mnist": ("mnist", "none"),
    "mnist32": ("mnist", "none"),
    "fashion-mnist": ("fashion-mnist", "none"),
    "fashion-mnist32": ("fashion-mnist", "none"),
    "tiny-imagenet": ("imagenet", "none"),
    "digits": ("digits", "none"),
}


# (images, classes) of official parts, so that a length or a cost can be told before the data are on this machine
SIZES = {
    "cifar10:train": (50_000, 10), "cifar10:test": (10_000, 10), "cifar100:train": (50_000, 100), "cifar100:test": (10_000, 100),
    "svhn:train": (73_257, 10), "svhn:test": (26_032, 10), "digits:train": (1_437, 10), "digits:test": (360, 10),
}  # fmt: skip

PATHS = ("arrays", "folder", "images")  # kinds whose names hold a path


def full_name(name: str, part: str, folder: Path) -> str:
    """The name with its part: ``cifar10`` is ``cifar10:train`` in [source], ``cifar10:test`` in [evaluate].

    A path that exists beside the experiment file becomes absolute.
    """
    if is_own_data(name):
        return f"{locate(name, folder).file}:{name.rpartition(':')[2]}"
    kind, _, place = name.partition(":")
    if kind in PATHS:
        plain, colon, which = place.rpartition(":")
        for path, rest in ((place, ""), (plain, f":{which}")):
            if path and (folder / path).exists() and (rest == "" or colon):
                return f"{kind}:{(folder / path).resolve()}{rest}"
    if name in DEFAULTS:
        return f"{name}:{part}"
    from redistill import data

    known = [n.partition(":")[0] for n in data.names()]
    kind = name.partition(":")[0]
    if kind not in known:
        raise RedistillError(nearest(kind, known, "data"))
    if name not in data.names() and kind in DEFAULTS:
        raise RedistillError(nearest(name, [n for n in data.names() if n.startswith(f"{kind}:")], "part"))
    return name


def defaults(name: str, part: str, folder: Path, data_dir: Path | None = None, *, trust_code: bool = False) -> dict[str, str]:
    """A data set's own normalisation and augmentation; data of one's own are opened to ask them."""
    full = full_name(name, part, folder)
    kind, _, which = full.partition(":")
    if kind in DEFAULTS:
        normalise, augment = DEFAULTS[kind]
        return {"normalise": normalise, "augment": "none" if which == "test" else augment}
    made = load_data(full, data_dir, trust_code=trust_code)
    return {"normalise": made.normalise, "augment": getattr(made, "augment", "none")}


def content(full: str, data_dir: Path | None = None) -> str | None:
    """SHA-256 of data of one's own (of the file that makes them, for ``./file.py:name``); None for official data."""
    if full.partition(":")[0] in DEFAULTS:
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
    from redistill import data

    return data.load(name, data_dir)


def is_own_data(name: str) -> bool:
    return ".py:" in name

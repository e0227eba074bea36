"""What every set of images can do, whether it lies in memory (:class:`Images`) or on disk (:class:`Folder`).

Subsets are values: a method such as ``per_class`` returns a new set of the same kind, which says by ``rule`` how it came
about and by ``index`` which images of the full official part it holds.
"""

from __future__ import annotations

import abc
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from redistill import rng
from redistill.core import Batch, RedistillError, Shape, Stream, StreamContext
from redistill.core.batch import UNLABELLED
from redistill.data import subsets
from redistill.data.augment import augmentation
from redistill.data.normalise import Normalisation
from redistill.data.subsets import whole

Rule = tuple[str, dict[str, Any]]
"""One entry of a set's history: the name of a rule and its settings, JSON-able."""


class DataSet(abc.ABC):
    """Images that are there before a run starts; a ``redistill.core.source.Source``.

    Attributes:
        y: int64 [N] labels, -1 for an image without one among others that have one; or None. classes: how many there are, or None where
            nothing says so.
        name: "cifar10:train". normalise, augment: names of a normalisation set and of an augmentation.
        index: int64 [N], position of each image in the full official part.
        rule: the rules that led from that part to this set, in order.
        class_names: one name a class, or None where the data have none.
    """

    y: Tensor | None
    classes: int | None
    name: str
    normalise: str
    augment: str
    index: Tensor
    rule: tuple[Rule, ...]
    class_names: tuple[str, ...] | None

    @abc.abstractmethod
    def subset(self, positions: Tensor, rule: Rule) -> Self:
        """The images at ``positions`` [n] of this set, in that order; ``rule`` is added to the history."""

    @abc.abstractmethod
    def with_(self, *, augment: str | None = None, normalise: str | Normalisation | None = None) -> Self:
        """The same images under another augmentation or normalisation."""

    @abc.abstractmethod
    def unlabelled(self) -> Self:
        """The same images without their labels."""

    @abc.abstractmethod
    def batches(
        self,
        batch_size: int = 500,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        channels_last: bool = False,
    ) -> Iterator[Batch]:
        """All images once, in order, normalised, without augmentation: for evaluation."""

    @property
    @abc.abstractmethod
    def image_shape(self) -> Shape: ...

    @abc.abstractmethod
    def start(self, room: StreamContext) -> Stream: ...

    @abc.abstractmethod
    def _particulars(self) -> dict[str, Any]:
        """Settings that only this kind of set has."""

    @abc.abstractmethod
    def _digest(self, digest: Any) -> None:
        """Feed what the images are made of into a hash."""

    # -- as a source --------------------------------------------------------------------------------------------------
    def __len__(self) -> int:
        return len(self.index)

    @property
    def depends_on_student(self) -> bool:
        return False

    @property
    def labelled(self) -> bool:
        return self.y is not None

    @property
    def partly_labelled(self) -> bool:
        """Whether some images have a label and others none, :data:`redistill.core.batch.UNLABELLED`."""
        return self.y is not None and bool((self.y < 0).any())

    @property
    def mixes_labels(self) -> bool:
        """Whether an image of a batch may be mixed of two, and have two labels."""
        return augmentation(self.augment).mixing is not None

    @property
    def count(self) -> int:
        return len(self)

    @property
    def all_labels(self) -> Tensor | None:
        return self.y

    @property
    def normalisation(self) -> str:
        return self.normalise

    def steps_per_epoch(self, batch_size: int, drop_last: bool) -> int:
        return steps_per_epoch(len(self), batch_size, drop_last)

    def settings(self) -> dict[str, Any]:
        """What this set is, JSON-able: name, rule, normalisation, augmentation, count."""
        return {
            "data": self.name,
            "rule": [[rule, dict(settings)] for rule, settings in self.rule],
            "normalise": self.normalise,
            "augment": self.augment,
            "count": len(self),
            **self._particulars(),
        }

    def manifest(self) -> dict[str, Any]:
        """Which images these are: name, rule, count and a SHA-256 over positions, labels and images. Computed once."""
        return {key: self.settings()[key] for key in ("data", "rule", "count")} | {"sha256": self.sha256}

    def _hash(self) -> str:
        digest = hashlib.sha256(json.dumps([list(self.image_shape), self.y is not None]).encode())
        digest.update(self.index.numpy().astype("<i8").data)
        if self.y is not None:
            digest.update(self.y.numpy().astype("<i8").data)
        self._digest(digest)
        return digest.hexdigest()

    @property
    @abc.abstractmethod
    def sha256(self) -> str: ...

    # -- subsets ------------------------------------------------------------------------------------------------------
    def class_counts(self) -> tuple[int, ...]:
        """How many images each class has."""
        return tuple(map(len, self._groups("class_counts")))

    def per_class(self, M: int, seed: int) -> Self:
        """M random images of every class. ``per_class(10, s)`` is contained in ``per_class(20, s)``."""
        groups = self._groups("per_class")
        M, seed = whole("per_class: M", M, 1), whole("per_class: seed", seed, 0)
        chosen = subsets.per_class(groups, M, seed, self.name, self.class_names)
        return self.subset(chosen, ("per_class", {"M": M, "seed": seed}))

    def first_per_class(self, M: int) -> Self:
        """The first M images of every class, in the order of the files."""
        groups = self._groups("first_per_class")
        M = whole("first_per_class: M", M, 1)
        chosen = subsets.first_per_class(groups, M, self.name, self.class_names)
        return self.subset(chosen, ("first_per_class", {"M": M}))

    def fraction(self, p: float, seed: int) -> Self:
        """A random share 0 < p <= 1 of the images, rounded to whole images, every class in proportion to its size.

        Without labels the images are drawn without regard to classes; those of which only others have a label are a class here.
        """
        p, seed = float(p), whole("fraction: seed", seed, 0)
        if not 0 < p <= 1:
            raise RedistillError(f"fraction: p must be above 0 and at most 1, got {p!r}: for a number of images use per_class(M)")
        chosen = self._balanced(max(1, round(p * len(self))), seed, "fraction", nameless=True)
        return self.subset(chosen, ("fraction", {"p": p, "seed": seed}))

    def held_out(self, n: int | float, seed: int) -> tuple[Self, Self]:
        """Two disjoint sets ``(rest, held)`` with n images held out, every class in proportion to its size.

        ``n`` is a number of images, or as a float between 0 and 1 a share of them. Of images of which some have no label, those that
        are held out have one, and a share is one of these.
        """
        seed = whole("held_out: seed", seed, 0)
        total = int((self.y >= 0).sum()) if self.y is not None and self.partly_labelled else len(self)
        n = float(n) if isinstance(n, float) else whole("held_out: n", n, 1)
        count = round(n * total) if isinstance(n, float) else n
        if not 0 < count < total:
            raise RedistillError(
                f"held_out: n={n!r} holds out {count} of the {total} images of {self.name}: "
                f"choose between 1 and {total - 1} images, or a share between 0 and 1 such as 0.1"
            )
        held = self._balanced(count, seed, "held_out")
        keep = torch.ones(len(self), dtype=torch.bool)
        keep[held] = False
        rest = torch.nonzero(keep).flatten()
        written = {"n": n, "seed": seed}
        return (
            self.subset(rest, ("held_out", {**written, "part": "rest"})),
            self.subset(held, ("held_out", {**written, "part": "held"})),
        )

    def matching(self, matches: Tensor, n: int, seed: int) -> Self:
        """n random images out of those where ``matches`` (bool [N]) is true, for example where two networks agree."""
        return chosen_by_matches(self, "matching", subsets.matching, matches, n, seed)

    def _groups(self, rule: str) -> list[Tensor]:
        return labelled_groups(self, rule)

    def _balanced(self, count: int, seed: int, rule: str, *, nameless: bool = False) -> Tensor:
        """Positions of ``count`` images, every class in proportion; ``nameless``: those without a label are a class too."""
        groups = [torch.arange(len(self))] if self.y is None or self.classes is None else self._groups(rule)
        if nameless and self.y is not None and self.partly_labelled:
            groups = [*groups, torch.nonzero(self.y < 0).flatten()]
        return subsets.balanced(groups, count, seed, rule)


AnySet = TypeVar("AnySet", bound=DataSet)


def labelled_groups(images: DataSet, rule: str) -> list[Tensor]:
    """Positions of the images of each class, for a ``rule`` that needs labels."""
    if images.y is None or images.classes is None:
        raise RedistillError(
            f"{rule} needs labels, and {images.name} has none here: use fraction(p, seed), which does without, or labelled data"
        )
    return subsets.members(images.y, images.classes)


def chosen_by_matches(
    images: AnySet, rule: str, choose: Callable[[Tensor, int, int], Tensor], matches: Tensor, n: int, seed: int
) -> AnySet:
    """The subset of n images that ``choose(matches, n, seed)`` picks; ``matches`` is bool [N], one entry an image."""
    n, seed = whole(f"{rule}: n", n, 1), whole(f"{rule}: seed", seed, 0)
    if matches.dtype != torch.bool or matches.shape != (len(images),):
        raise RedistillError(
            f"{rule}: matches must be a bool tensor [{len(images)}], one entry an image, got {matches.dtype} {list(matches.shape)}"
        )
    matches = matches.cpu()
    seen = hashlib.sha256(matches.numpy().data).hexdigest()
    return images.subset(choose(matches, n, seed), (rule, {"n": n, "seed": seed, "matches_sha256": seen}))


def require_consistent(name: str, count: int, y: Tensor | None, classes: int | None, class_names: tuple[str, ...] | None) -> None:
    """Refuse labels that do not fit the images or the number of classes."""
    if count == 0:
        raise RedistillError(f"{name} holds no image: give at least one")
    if y is None:
        return
    if y.dtype != torch.int64 or y.shape != (count,):
        raise RedistillError(f"{name}: labels must be int64 [{count}], one an image, got {y.dtype} {list(y.shape)}")
    if classes is None or classes < 1:
        raise RedistillError(f"{name} has labels: say how many classes there are, got classes={classes!r}")
    low, high = int(y.min()), int(y.max())
    if high == UNLABELLED:
        raise RedistillError(f"{name}: no image has a label ({UNLABELLED} stands for none): leave the labels out, y=None")
    if low < UNLABELLED or high >= classes:
        raise RedistillError(
            f"{name}: labels run from {low} to {high}, but {classes} classes have labels 0 to {classes - 1}: "
            f"give classes={high + 1} or mend the labels ({UNLABELLED} stands for an image without one)"
        )
    if class_names is not None and len(class_names) != classes:
        raise RedistillError(f"{name}: {len(class_names)} class names for {classes} classes: give one name a class")


def steps_per_epoch(count: int, batch_size: int, drop_last: bool) -> int:
    """Batches in one pass over ``count`` images; a batch larger than the set holds all of it."""
    size = min(whole("batch_size", batch_size, 1), count)
    return count // size if drop_last else -(-count // size)


class Schedule:
    """The order of images: for every epoch a permutation drawn on the CPU from (seed, "order", epoch), nothing else."""

    def __init__(self, count: int, room: StreamContext, device: torch.device | str):
        self.count = count
        self.seed = room.seed
        self.size = min(room.batch_size, count)
        self.steps = steps_per_epoch(count, room.batch_size, room.drop_last)
        self.device = device
        self._orders: dict[int, tuple[Tensor, Tensor]] = {}

    def positions(self, step: int) -> tuple[int, Tensor, Tensor]:
        """The epoch of a step, and the positions [B] of its images on ``device`` and on the CPU."""
        epoch, within = divmod(step, self.steps)
        there, here = (order[within * self.size : (within + 1) * self.size] for order in self.order(epoch))
        return epoch, there, here

    def order(self, epoch: int) -> tuple[Tensor, Tensor]:
        """The positions of an epoch [count] on ``device`` and on the CPU."""
        if epoch not in self._orders:
            order = torch.randperm(self.count, generator=rng.stream(self.seed, "order", epoch))
            # two epochs are enough for whoever reads ahead over the end of one
            self._orders = {e: o for e, o in self._orders.items() if abs(e - epoch) == 1} | {epoch: (order.to(self.device), order)}
        return self._orders[epoch]

    def rows(self, step: int) -> int:
        """Images of a step's batch."""
        return min(self.size, self.count - step % self.steps * self.size)


class PureStream(abc.ABC):
    """A stream of images from a set: a pure function of the step, so that nothing has to be saved.

    ``batch`` gives the same object for the same step, as :class:`redistill.core.source.Stream` promises.
    """

    _last: tuple[int, Batch] | None = None

    @abc.abstractmethod
    def read(self, step: int) -> Batch:
        """The batch of a step, made."""

    def batch(self, step: int) -> Batch:
        if self._last is None or self._last[0] != step:
            self._last = step, self.read(step)
        return self._last[1]

    def state_dict(self) -> dict[str, Any]:
        """Empty: the step is all there is."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            raise RedistillError(f"a stream of images has no state, got {sorted(state)}: this checkpoint is of another source")

    def log(self) -> dict[str, float]:
        return {}

"""The images that the command was given: what is there, how it is divided, and at which size it is taken."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from redistill.data import augmentation, decode, named
from redistill.data.catalogue import OFFICIAL, OWN, candidates, divided, row_of
from redistill.data.folders import PARTS, beside
from redistill.data.overlap import pictures, shared
from redistill.errors import RedistillError
from redistill.paths import expanded

LARGEST_AUTO = 224  # what networks for photographs take
UNLABELLED = "unlabelled"  # folder beside train/ whose images have no labels
NOTHING = "nothing to evaluate on (--evaluate names a set)"
HELD = 0.1  # share that is split off where nothing is there to evaluate on


@dataclass(frozen=True)
class Survey:
    """What lies in a folder. sizes: (width, height) of each readable picture; unreadable: file and reason. others: files of endings
    that are not read, by ending."""

    root: Path
    files: int
    sizes: Counter[tuple[int, int]]
    unreadable: tuple[tuple[str, str], ...]
    others: Counter[str]

    @property
    def one_size(self) -> int | None:
        """The side, where all are squares of one size."""
        only = next(iter(self.sizes)) if len(self.sizes) == 1 else None
        return only[0] if only is not None and only[0] == only[1] else None

    @property
    def short_side(self) -> int:
        """Median of the shorter sides."""
        return int(statistics.median_low([min(size) for size, count in self.sizes.items() for _ in range(count)]))

    def described(self) -> str:
        widths, heights = [w for w, _ in self.sizes], [h for _, h in self.sizes]
        span = (
            f"{min(widths)} to {max(widths)} x {min(heights)} to {max(heights)}" if len(self.sizes) > 1 else "x".join(map(str, *self.sizes))
        )
        over = ", ".join(f"{count:,} {ending}" for ending, count in self.others.most_common(5))
        return f"{self.files:,} picture files, {span} pixels" + (f"; passed over for their endings: {over}" if over else "")

    def left_out(self, skip: bool) -> str | None:
        """Files that are no pictures, in words; None where there are none.

        Raises:
            RedistillError: there are some, and nobody said to ``skip`` them.
        """
        if not self.unreadable:
            return None
        if skip:
            return f"{len(self.unreadable)} of them left out, the first {self.unreadable[0][0]} ({self.unreadable[0][1]})"
        shown = ", ".join(f"{file} ({why})" for file, why in self.unreadable[:5])
        more = f" and {len(self.unreadable) - 5} more" if len(self.unreadable) > 5 else ""
        raise RedistillError(
            f"{self.root}: {len(self.unreadable)} of {self.files} picture files cannot be used: {shown}{more}. Remove them, or "
            f"leave them out with --skip-unreadable"
        )


def survey(root: Path) -> Survey:
    """Look at the header of every picture below a folder.

    Raises:
        RedistillError: there is none, or none can be read.
    """
    files, others = decode.image_files(root), decode.other_endings(root)
    if not files:
        raise RedistillError(f"{root} holds no images ({', '.join(decode.SUFFIXES)})")
    with decode.quietly():
        found = list(decode.in_threads(partial(_size, root), files, decode.workers_or_all(None)))
    bad = tuple((file, size) for file, size in zip(files, found, strict=True) if isinstance(size, str))
    good = Counter(size for size in found if not isinstance(size, str))
    if not good:
        raise RedistillError(f"{root}: none of its {len(files)} picture files can be read; the first: {bad[0][0]} ({bad[0][1]})")
    return Survey(root, len(files), good, bad, others)


def _size(root: Path, file: str) -> tuple[int, int] | str:
    try:
        return decode.size_of(root / file)
    except decode.UNREADABLE as error:
        return decode.reason(error)


@dataclass(frozen=True)
class Photos:
    """Training and evaluation images, opened.

    Attributes:
        train, test: data sets; test None where nothing has labels. train_name, test_name: as an experiment names them.
        opening: how picture files are opened. how: a sentence on how they are divided. survey: None for sets that are no folder.
        beside: images without labels that were added to the training images, as an experiment names them. own_content: of the
            training images without these.
    """

    train: Any
    test: Any | None
    train_name: str
    test_name: str | None
    how: str
    opening: dict[str, Any] = field(default_factory=dict)
    survey: Survey | None = None
    beside: str | None = None
    own_content: str | None = None

    @property
    def labelled(self) -> bool:
        return bool(self.train.labelled)

    @property
    def own_count(self) -> int:
        """How many training images there are without those of ``beside``: what a network learns from by its labels alone."""
        return len(self.train) if self.beside is None else self.labelled_count

    @property
    def labelled_count(self) -> int:
        """How many training images have a label: a part that is held out is a share of these."""
        labels = self.train.all_labels
        return len(self.train) if labels is None else int((labels >= 0).sum())

    def described(self, class_weights: bool) -> str:
        """The training images in words. class_weights: each class counts alike, however many images it has."""
        many = f"{len(self.train):,} images"
        if self.beside is not None:
            nameless = int((self.train.y < 0).sum())
            many += f", {nameless:,} of them without labels (from {self.beside}), which terms that need labels pass over,"
        if self.labelled:
            counts = self.train.class_counts()
            few, most = min(counts), max(counts)
            many += f" in {len(counts)} classes of {few:,} to {most:,}" if few != most else f" in {len(counts)} classes of {most:,}"
            if most > 10 * few:
                many += "; the classes are unbalanced, more than ten to one"
                many += "" if class_weights else " (--class-weights makes each count alike)"
        return f"{many}, augmented by {self.train.augment}, normalised as {self.train.normalise}"

    def seen_in_training(self) -> str | None:
        """Evaluation images that are training images too, in words; None where there are none.

        Raises:
            RedistillError: all of them are.
        """
        if self.test is None or not (again := shared(self.train, self.test)):
            return None
        if again == len(self.test):
            raise RedistillError(
                f"all {again:,} evaluation images are training images: an accuracy on them says nothing of others. Leave --evaluate "
                f"out, or name images that nobody trains on"
            )
        return f"{again:,} of them are training images too, on which an accuracy says nothing: remove them from one of the two"

    def not_evaluated(self) -> list[str]:
        """The classes of which no evaluation image is."""
        if self.test is None:
            return []
        counts = self.test.class_counts()
        names = getattr(self.test, "class_names", None) or tuple(map(str, range(len(counts))))
        return [name for name, count in zip(names, counts, strict=True) if not count]

    def require_unseen(self, option: str) -> None:
        """Refuse images without labels that are among those with labels, where ``option`` judges by some of these that nobody learns from.

        Raises:
            RedistillError: some are, pixel for pixel.
        """
        if self.beside is None:
            return
        labels = self.train.all_labels.tolist()
        found = list(zip(labels, pictures(self.train, by_file=False), strict=True))
        named_too = {picture for label, picture in found if label >= 0}
        if again := sum(label < 0 and picture in named_too for label, picture in found):
            raise RedistillError(
                f"{again:,} of the images without labels ({self.beside}) are among those with labels, of which {option} judges students by "
                f"a tenth that they do not learn from: take them out of the images without labels"
            )

    def source(self, beside: bool = True) -> dict[str, Any]:
        """The section ``[source]``. beside: with the images without labels."""
        more = {} if self.own_content is None else {"content": self.own_content}
        more |= {"beside": self.beside} if beside and self.beside is not None else {}
        return {"data": self.train_name, **self.opening, "normalise": self.train.normalise, "augment": self.train.augment, **more}

    def evaluate(self) -> dict[str, Any]:
        """The section ``[evaluate]``."""
        if self.test is None or self.test_name is None:
            return {}
        content = None if row_of(self.test_name) else str(self.test.manifest()["sha256"])
        return {"test": self.test_name, **({} if content is None else {"content": {"test": content}})}


@dataclass(frozen=True)
class Place:
    """Where the images are: the name of the set without its part, and what is seen of it before it is opened."""

    name: str
    survey: Survey | None


def looked_at(data: str) -> Place:
    """What ``data`` names: a folder as it lies, or a name of :func:`redistill.data.load`."""
    kind = data.partition(":")[0]
    if kind in OFFICIAL or kind in OWN or named.is_own_data(data):
        root = expanded(divided(data, Path.cwd())[1]) if kind in named.PICTURES else None
        return Place(data, survey(root) if root is not None and root.is_dir() else None)
    root = expanded(data)
    if os.path.isfile(root):
        raise RedistillError(f"{data} is a file: {named.arrays_or_folder(data)}")
    if not os.path.isdir(root):
        raise RedistillError(
            f"there is no folder {root}, and no data set of that name: give a folder with one folder of images a class (with train/ and "
            f"val/, or without), a folder of images, or one of {', '.join(sorted({n.partition(':')[0] for n in OFFICIAL}))}"
        )
    root = root.resolve()
    found = survey(root)
    return Place(f"{'folder' if _has_classes(root) else 'images'}:{root}", found)


def _has_classes(root: Path) -> bool:
    """Whether pictures lie in folders that can be classes: none directly in it, or it has a train/.

    Raises:
        RedistillError: some lie in folders and others beside them: they may be a class each, or all be without labels.
    """
    if any((root / name).is_dir() for name in PARTS["train"]):
        return True
    inside = [p for p in root.iterdir() if not decode.passed_over(p.name)]
    loose = sorted(p.name for p in inside if p.is_file() and p.suffix.lower() in decode.SUFFIXES)
    folders = sorted(p.name for p in inside if p.is_dir() and decode.image_files(p)) if loose else []
    if len(folders) > 1:
        shown = ", ".join(loose[:3]) + (f" and {len(loose) - 3} more" if len(loose) > 3 else "")
        raise RedistillError(
            f"{root} has {len(folders)} folders of pictures ({', '.join(folders[:5])}) and pictures beside them ({shown}): move these away "
            f"if the folders are classes, or give images:{root} to take all without labels"
        )
    return not loose


def opened(
    place: Place, size: int | None, *, skip_unreadable: bool, evaluate: str | None, data_dir: Path | None, augment: str | None = None,
    unlabelled: str | None = None,
) -> Photos:
    """The images at one size.

    Args:
        size: side of the square that pictures become; None for sets that have one. skip_unreadable: leave files out that are no
            images. evaluate: another set to evaluate on. augment: of the training images; None: their own.
        unlabelled: images without labels beside the training images; None: ``unlabelled/`` beside ``train/``, where there is one.
    """
    here = Path.cwd()
    kind, path, part = divided(place.name, here)
    pictures = kind in named.PICTURES
    opening: dict[str, Any] = (
        {} if not pictures else {**({} if size is None else {"size": size}), **({"on_corrupt": "skip"} if skip_unreadable else {})}
    )
    test_name: str | None
    if kind == "folder":
        parts = any((root / "train").is_dir() for root in candidates(path, data_dir))
        # where another set is evaluated on, nothing is split off
        whole = named.full_name(place.name, "train", here, data_dir)
        train_name = whole if part or (evaluate is not None and not parts) else f"{whole}:train"
        test_name = named.evaluated_on(train_name, data_dir)
        how = "a tenth of the images, split off class by class (seed 0)"
        if parts or test_name is None:
            how = NOTHING if test_name is None else f"{Path(path).name}/{test_name.rpartition(':')[2]} beside train"
    elif kind == "images":
        train_name, test_name, how = place.name, None, "no labels, so nothing to measure an accuracy on"
    else:
        train_name = named.full_name(place.name, "train", here, data_dir)
        test_name = named.evaluated_on(train_name, data_dir)
        how = "the set's own part" if test_name else NOTHING
    if evaluate is not None:
        looked = looked_at(evaluate).name
        test_name = named.full_name(looked, "test", here, data_dir)
        how = "as asked for"
    cut = {} if augment is None or not pictures or augmentation(augment).area is None else {"augment": augment}  # out of the files
    train = named.load_data(train_name, data_dir, trust_code=True, opening={**opening, **cut})
    if augment is not None:
        train = train.with_(augment=augment)
    test = None if test_name is None else named.load_data(test_name, data_dir, trust_code=True, opening=opening)
    if train.labelled and (train.classes or 0) < 2:
        only = train.class_names[0] if train.class_names else "0"
        raise RedistillError(
            f"{place.name} has one class ({only}): a network learns to tell classes apart, give at least two class folders"
        )
    if train.class_names and UNLABELLED in train.class_names and place.survey is not None:
        raise RedistillError(
            f"{place.survey.root} has {UNLABELLED}/ among its class folders, where it would be a class: put the class folders into train/ "
            f"beside it, or move it away and name it by --unlabelled"
        )
    if len(train) < 2:
        raise RedistillError(f"{place.name} has {len(train)} training image: give at least two, and better a hundred a class")
    if test is not None and not test.labelled:
        raise RedistillError(f"{test_name} has no labels, and an accuracy needs them: give --evaluate a folder with class folders")
    if test is not None and getattr(test, "partly_labelled", False):
        nameless = int((test.all_labels < 0).sum())
        raise RedistillError(f"{nameless:,} of the {len(test):,} images of {test_name} have no label, and an accuracy needs one of each: "
                             f"leave these out")
    if test is not None and train.labelled and test.classes != train.classes:
        fewer = train.class_names and test.class_names and set(test.class_names) < set(train.class_names)
        raise RedistillError(
            f"{test_name} has {test.classes} classes, the training images {train.classes}: classes are numbered in the order of their "
            f"names, so both need the same class folders" + (", but for val/ beside train/, which may lack some" if fewer else "")
        )
    content = None if row_of(train_name) else str(train.manifest()["sha256"])
    added = _beside(place, unlabelled, here)
    if added is not None:
        if not train.labelled:
            raise RedistillError(f"{place.name} has no labels, so {added} beside it makes no difference: put all images into one folder")
        others = named.load_data(added, data_dir, trust_code=True, opening=opening if added.partition(":")[0] in named.PICTURES else {})
        train = beside(train, others)
    return Photos(train, test, train_name, test_name, how, opening, place.survey, added, content)


def _beside(place: Place, unlabelled: str | None, here: Path) -> str | None:
    """The set of images without labels that is to be added, by its whole name."""
    if unlabelled is not None:
        kind = unlabelled.partition(":")[0]
        known = kind in OFFICIAL or kind in OWN or named.is_own_data(unlabelled)
        if not known and not expanded(unlabelled).is_dir():
            raise RedistillError(f"--unlabelled {unlabelled}: there is no such folder, and no data set of that name")
        return named.full_name(unlabelled if known else f"images:{expanded(unlabelled).resolve()}", "train", here)
    kind, _, path = place.name.partition(":")
    found = Path(path) / UNLABELLED
    return f"images:{found}" if kind == "folder" and (Path(path) / "train").is_dir() and found.is_dir() else None


def auto_size(place: Place, wanted: int | None) -> tuple[int | None, str]:
    """The size at which pictures are taken where nobody says one, and why. ``wanted``: that of a network which takes no other."""
    if place.survey is None:
        return None, "the set's own"
    if wanted is not None:
        return wanted, "what the teacher was made for"
    if (own := place.survey.one_size) is not None:
        return own, "the pictures' own"
    short = place.survey.short_side
    if short >= LARGEST_AUTO:
        return LARGEST_AUTO, f"the usual one; the shorter sides are {short} in the median"
    return max(32, short // 32 * 32), f"the shorter sides are {short} in the median, in steps of 32"

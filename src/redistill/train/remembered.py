"""What a teacher said of each variant of each image, looked up in tables that runs share, and computed where it is not known.

``Remembered.of`` opens the tables of one teacher in one run, or says why there are none. Bits are those of the live teacher: what
is not known is computed in the same micro-batches (:func:`redistill.train.teacher.in_micro_batches`), in which an image has the
same bits whatever stands beside it. That, and that nothing is drawn, is tried before the first step on images of noise, and what
the teacher said of these is part of the key.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redistill import precision
from redistill.answers.folder import TABLE, NoRoom, limit, make_room
from redistill.answers.network import Untold, network_key
from redistill.answers.numbers import here
from redistill.answers.table import HEAD, Prints, Shape, Table
from redistill.core import Batch, Output, Source
from redistill.core.summary import Needed, summarised
from redistill.data import DataSet, augment, images, normalise
from redistill.data.augment import augmentation
from redistill.errors import RedistillError
from redistill.features import places as feature_places
from redistill.files import canonical, digest, why
from redistill.precision import Arithmetic
from redistill.tensor_files import tensors_digest
from redistill.train.trial import LOGITS, Live, NotRemembered, chosen, outputs_of, shape_of, tried

NUMERICS = 1


class CacheWarning(UserWarning):
    """Something is not remembered, or was found damaged. No number changes by it."""


@dataclass
class Answered:
    """How many of a teacher's answers were looked up and how many computed; off: why none are looked up, or None."""

    looked_up: int = 0
    computed: int = 0
    off: str | None = None

    def written(self) -> dict[str, Any]:
        """For a record."""
        counts: dict[str, Any] = {"looked_up": self.looked_up, "computed": self.computed}
        if self.off is None:
            return counts
        return {**counts, "off": self.off} if any(counts.values()) else {"off": self.off}


def variants_of(source: Source) -> int:
    """How many variants an image of ``source`` has.

    Raises:
        NotRemembered: its images are made up, or no two of them are alike.
    """
    if not isinstance(source, DataSet):
        raise NotRemembered(f"the images of {type(source).__name__} are no fixed set")
    try:
        found = augmentation(source.augment)
    except RedistillError as error:  # a set of one's own may have names of its own
        raise NotRemembered(f"nothing is known of augmentation {source.augment!r}") from error
    if not found.bounded:
        raise NotRemembered(f"augmentation {source.augment!r} shows no image twice in the same way")
    return found.variants


@dataclass
class Remembered:
    """Open tables, one for the logits and one for every feature that some student reads.

    Attributes:
        tables, shapes: by place, the logits under :data:`LOGITS`; the logits alone where the features do not fit: then every answer
            is computed, and its logits are there for runs that read no more. variants: of an image. counts: for the
            record. summaries: what of the features suffices and is remembered instead of them.
    """

    tables: dict[str, Table]
    shapes: dict[str, Shape]
    variants: int
    counts: Answered
    summaries: Needed = field(default_factory=dict)
    _prints: Prints = field(default_factory=Prints)
    _warned: int = 0
    _stopped: bool = False

    @classmethod
    def of(
        cls, net: nn.Module, trial: Live, source: Source, means: Arithmetic, *, folder: Path, fit: int, compiled: bool, space: str,
        wanted: Needed,
    ) -> Remembered:  # fmt: skip
        """Open the tables.

        Args:
            net: a copy of the teacher in evaluation mode, to be tried. trial: what this says of images, in micro-batches.
            folder: of the tables. fit: numerics of the loop. space: normalisation of the stream.
            wanted: the features that ``trial`` gives, and what suffices of them. That is remembered, where its bits are those that a
                term makes of a whole batch, and where the features are not there already.

        Raises:
            NotRemembered: there are none, and why.
        """
        if means.device.type != "cpu":
            raise NotRemembered(f"on {means.device.type} the teacher is asked anew: looking up would wait for the device")
        variants = variants_of(source)
        assert isinstance(source, DataSet)
        try:
            who = network_key(net)
            teacher_output, few = tried(net, who, trial, tuple(source.image_shape), means, wanted)
        except Untold as error:
            raise NotRemembered(f"what the teacher computes cannot be told: {error}") from error
        except NotRemembered:
            raise
        except Exception as error:  # a network may refuse noise, which is no image of its kind
            what = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
            raise NotRemembered(f"the teacher cannot be tried on noise ({what})") from error
        outputs, numerics = outputs_of(teacher_output), {one.at(place): one.numerics for place, ones in wanted.items() for one in ones}
        key = {
            "teacher": who,
            "space": space,
            "data": source.settings() | source.manifest(),
            "means": {"dtype": str(means.dtype), "bf16": means.bf16, "channels_last": means.channels_last, "exact": means.exact},
            "compiled": sorted(outputs) if compiled else False,
            "here": here(means.device),
            "numerics": {
                "remembered": NUMERICS, "fit": fit, "precision": precision.NUMERICS, "taps": feature_places.NUMERICS,
                "images": images.NUMERICS, "augment": augment.NUMERICS, "normalise": normalise.NUMERICS,
            },
        }  # fmt: skip
        label = f"{type(net).__name__} on {source.name}, {source.normalise}, {source.augment}: {len(source)} images x {variants}"

        def key_of(name: str, said: Tensor) -> str:
            summary = {"summary": numerics[name]} if name in numerics else {}
            what = {"place": name, "shape": shape_of(name, said).written(), "said": tensors_digest({"": said}), **summary}
            return digest(canonical(key | what))

        keys = {name: key_of(name, said) for name, said in outputs.items()}
        if few is not None:
            instead = {name: key_of(name, said) for name, said in outputs_of(few).items()}
            if _there(folder, instead) or not _there(folder, keys):
                outputs, keys = outputs_of(few), instead
            else:
                few = None
        shapes = {name: shape_of(name, said) for name, said in outputs.items()}
        rows, off = len(source) * variants, None
        try:
            try:
                tables = _opened(folder, keys, label, rows, shapes)
            except NoRoom as error:
                if error.broken or len(keys) == 1:
                    raise
                tables = _opened(folder, {LOGITS: keys[LOGITS]}, label, rows, shapes)
                off = f"its logits are remembered for others, its features do not fit: {error}"
        except NoRoom as error:
            raise NotRemembered(str(error), broken=error.broken) from error
        except OSError as error:
            raise NotRemembered(f"nothing can be remembered in {folder}: {why(error)}", broken=True) from error
        made = cls(tables, shapes, variants, Answered(off=off), {} if few is None else wanted)
        made._tell()
        return made

    def reader(self, read: Live) -> Live:
        """``read``, with what is remembered in place of the features."""
        return (lambda images: summarised(read(images), self.summaries)) if self.summaries else read

    def answer(self, batch: Batch, live: Live) -> Output:
        """What the teacher says of a batch: known rows looked up, the others computed by ``live`` and remembered."""
        if self._stopped or batch.index is None or batch.variant is None:
            self.counts.computed += len(batch.images)
            return live(batch.images)
        rows, prints = batch.index * self.variants + batch.variant, self._prints(batch.images)
        try:
            found = {name: table.read(rows, prints) for name, table in self.tables.items()}
        except OSError as error:
            return self._off(error, batch.images, live)
        known = torch.stack([here for here, _ in found.values()]).all(0)
        if len(self.tables) < len(self.shapes):
            teacher_output, new = live(batch.images), (~known).nonzero()[:, 0]
            self.counts.computed += len(rows)
            self._tell()
            self._keep(rows[new], prints[new], Output(teacher_output.logits[new]))
            return teacher_output
        count = int(known.sum())
        self.counts.looked_up += count
        self.counts.computed += len(rows) - count
        self._tell()
        if count == 0:
            teacher_output = live(batch.images)
            self._keep(rows, prints, teacher_output)
            return teacher_output
        made = {name: self.shapes[name].unpacked(words) for name, (_, words) in found.items()}
        if count < len(rows):
            new = (~known).nonzero()[:, 0]
            teacher_output = live(chosen(batch.images, new))
            for name, fresh in outputs_of(teacher_output).items():
                made[name][new] = fresh
            self._keep(rows[new], prints[new], teacher_output)
        return Output(made.pop(LOGITS), made)

    def _keep(self, rows: Tensor, prints: Tensor, teacher_output: Output) -> None:
        try:
            for name, fresh in outputs_of(teacher_output).items():
                self.tables[name].write(rows, prints, self.shapes[name].packed(fresh))
        except OSError as error:
            self._switch_off(error)

    def _off(self, error: OSError, shown: Tensor, live: Live) -> Output:
        self._switch_off(error)
        self.counts.computed += len(shown)
        return live(shown)

    def _switch_off(self, error: OSError) -> None:
        path = next(iter(self.tables.values())).path
        reason = why(error) if error.errno else str(error)
        self._stopped, self.counts.off = True, f"{path.parent}: {reason}"
        warnings.warn(
            f"what the teacher says is not remembered from here on ({self.counts.off}): it is computed anew, with the same numbers",
            CacheWarning,
            stacklevel=2,
        )

    def _tell(self) -> None:
        """What was found damaged, once."""
        notes = [note for table in self.tables.values() for note in table.notes]
        for note in notes[self._warned :]:
            warnings.warn(note, CacheWarning, stacklevel=2)
        self._warned = len(notes)


def _opened(folder: Path, keys: Mapping[str, str], label: str, rows: int, shapes: Mapping[str, Shape]) -> dict[str, Table]:
    """The tables of these keys, all of them or none: what does not fit together is not begun."""
    paths = {name: _path(folder, key) for name, key in keys.items()}
    if limit() == 0:
        raise NoRoom("nothing may be remembered: REDISTILL_CACHE_LIMIT is 0", broken=False)
    if missing := [shapes[name].words for name, path in paths.items() if not path.is_file()]:
        make_room(folder, sum(HEAD + 8 * rows * (1 + words) for words in missing), set(paths.values()))
    return {name: Table(path, keys[name], f"{name} of {label}", rows, shapes[name]) for name, path in paths.items()}


def _there(folder: Path, keys: Mapping[str, str]) -> bool:
    """Whether there are tables of all these keys that know most of what they may be asked."""
    paths = [_path(folder, key) for key in keys.values()]
    try:
        return all(2 * 512 * (facts := path.stat()).st_blocks >= facts.st_size for path in paths)
    except OSError:
        return False


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key[:32]}{TABLE}"

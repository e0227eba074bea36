"""What flows: a batch of images, and what a network said of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from redistill.errors import RedistillError, first_line

Shape = tuple[int, ...]


# ---------------------------------------------------------------------------------------------------------------------
# What flows through one step
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Batch:
    """One batch of the stream, the same for every student of a cohort.

    Attributes:
        images: [B, C, H, W], normalised in the space of the stream, on the device and in the precision of the run.
        labels: [B] int64, or None where the data has none; :data:`UNLABELLED` for an image without one among others that have one.
        index: [B] int64, position of each image in its data set (-1 for generated images).
        variant: [B] int64, which augmentation of the image this is (0 for none).
        positions: ``index`` on the CPU, where the source has it there: who needs the numbers themselves does not wait for a device.
        second, share: of images that are mixed of two, the label of the other one [B], and the share of the first [B], from 0 to 1;
            None: every image is one. ``second`` is None also where there are no labels.
        partly: some of the images of the stream may have no label.
        number: which batch of its stream this is, where the same images serve several steps: a teacher that draws draws by it.
        teacher: what the teacher said of these images, kept as long as they are, with every place that some student's method
            reads. The loop writes it; a source that has asked already may (:meth:`answered`).
    """

    images: Tensor
    labels: Tensor | None = None
    index: Tensor | None = None
    variant: Tensor | None = None
    positions: Tensor | None = field(default=None, kw_only=True, repr=False, compare=False)
    number: int | None = None
    second: Tensor | None = field(default=None, kw_only=True)
    share: Tensor | None = field(default=None, kw_only=True)
    partly: bool = field(default=False, kw_only=True)
    teacher: Output | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("labels", "index"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Tensor):
                kind = type(value).__name__
                raise RedistillError(f"Batch: {name} is a tensor int64 [B], one number an image, got a {kind}: torch.as_tensor({name})")

    def answered(self, teacher_output: Output) -> Batch:
        """This batch, with what the teacher said of it."""
        object.__setattr__(self, "teacher", teacher_output)  # a cache beside the value, which stays what it is
        return self

    def rows(self, which: slice | Tensor) -> Batch:
        """Some images of this batch with all that belongs to them, but for the teacher's answer; ``which``: a slice or positions [b]."""
        here = which.cpu() if isinstance(which, Tensor) else which
        parts = {name: value[which] for name in ROWS if (value := getattr(self, name)) is not None}
        positions = None if self.positions is None else self.positions[here]
        return dataclasses.replace(self, **parts, positions=positions)

    def labelled_rows(self) -> Tensor:
        """Positions [b] of the images that have a label, of mixed ones those that have both."""
        assert self.labels is not None
        known = self.labels >= 0
        return torch.nonzero(known if self.second is None else known & (self.second >= 0)).flatten()

    def labels_for(self, who: Any, logits: Tensor | None = None) -> Tensor:
        """The labels, or a sentence that says which term needed them; with ``logits`` [B, classes] they must be classes of these.

        On an accelerator their range is left to the kernels, for looking at it would make the host wait.
        """
        name = who if isinstance(who, str) else type(who).__name__
        if self.labels is None:
            raise RedistillError(
                f"{name} needs labels, but this batch has none (label-free images or generated ones): "
                f"remove {name} from the method or give a labelled source"
            )
        if self.share is not None:
            raise RedistillError(mixed_labels(name))
        return self._classes_of(self.labels, name, logits)

    def mixed_labels_for(self, who: Any, logits: Tensor | None = None) -> tuple[tuple[Tensor, Tensor], ...]:
        """(labels [B], share [B]) of either of the two images that each is mixed of, for a term that takes such."""
        name = who if isinstance(who, str) else type(who).__name__
        assert self.share is not None and self.second is not None
        first = dataclasses.replace(self, second=None, share=None).labels_for(name, logits)
        return (first, self.share), (self._classes_of(self.second, name, logits), 1.0 - self.share)

    def _classes_of(self, labels: Tensor, name: str, logits: Tensor | None) -> Tensor:
        """Labels that are classes, or a sentence."""
        if labels.dim() != 1 or labels.dtype not in (torch.int64, torch.int32):
            raise RedistillError(
                f"{name}: labels are one whole number an image, int64 [B], got {labels.dtype} {list(labels.shape)}; of one-hot "
                f"rows labels.argmax(1) gives them"
            )
        if logits is not None and labels.device.type == "cpu" and len(labels):
            low, high = int(labels.min()), int(labels.max())
            if low < 0 or high >= logits.shape[1]:
                raise RedistillError(
                    f"{name}: labels run from {low} to {high}, and logits of {logits.shape[1]} classes have labels 0 to "
                    f"{logits.shape[1] - 1}"
                    + ("; where -1 stands for images without a label: Batch(..., partly=True), and a Method" if low == -1 else "")
                )
        return labels.long()  # torch picks classes by int64 alone


UNLABELLED = -1
"""The label of an image that has none, in a set where others have one."""

ROWS = ("images", "labels", "index", "variant", "second", "share")
"""Fields of a batch with a row for every image, on its device."""


def mixed_labels(who: str) -> str:
    """Why a term that needs the one class of an image cannot be used on mixed images."""
    return (
        f"{who} needs the one class of an image, and images that are mixed of two (mixup, cutmix) have two: leave the mixing out of the "
        f"source's augment, or {who} out of the method; CE, and terms without labels such as KD, do with both"
    )


@dataclass(frozen=True)
class Output:
    """What a network said about one batch: ``logits`` [B, classes] and the features some term asked for, by place."""

    logits: Tensor
    taps: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.logits, Tensor):
            raise RedistillError(
                f"Output takes logits [B, classes], got {described(self.logits)}: give the entry that holds them, or let "
                f"redistill.Tapped(net)(images) find it"
            )

    def rows(self, which: slice | Tensor) -> Output:
        """What it said of some images of the batch."""
        return Output(self.logits[which], {place: tap[which] for place, tap in self.taps.items()})

    def __getitem__(self, place: str) -> Tensor:
        if place == "logits":
            return self.logits
        if place not in self.taps:
            raise RedistillError(f"place {place!r} was not tapped: this output holds {sorted(self.taps) or 'logits only'}")
        return self.taps[place]


def described(given: Any) -> str:
    """What was given where an output was expected, in a few words.

    >>> described({"logits": torch.zeros(2, 3), "loss": None})
    "a dict of 'logits' [2, 3], 'loss' NoneType"
    """
    entries = given.items() if isinstance(given, Mapping) else enumerate(given) if isinstance(given, tuple | list) else ()
    parts = [f"{key!r} {list(value.shape) if isinstance(value, Tensor) else type(value).__name__}" for key, value in entries]
    return f"a {type(given).__name__}" + (f" of {', '.join(parts[:5])}" if parts else "")


def unfit_images(given: Any, net: nn.Module, error: Exception) -> str | None:
    """Why a network failed on what it was given as images: no tensor, or other numbers than its own; None where neither explains it."""
    who = type(net).__name__
    if not isinstance(given, Tensor):
        return f"{who} takes images, a tensor [B, C, H, W], got {described(given)}: torch.as_tensor(array) or torch.stack(list)"
    own = next((p.dtype for p in net.parameters() if p.is_floating_point()), given.dtype)
    if given.dtype == own:
        return None
    way = "pixels are images once they are scaled and normalised, as redistill.data.of(dataset) does; images.float() / 255 at least"
    return (
        f"{who} computes in {own} and was given images {list(given.shape)} of {given.dtype} ({first_line(error)}): "
        f"{f'images.to({own})' if given.is_floating_point() else way}"
    )


def require_handed(who: str, given: Mapping[str, Any], *, needs_teacher: bool, needs_labels: bool) -> None:
    """Refuse to call a term with what is no (student output, teacher output, batch)."""
    if missing := [name for name in ("student", "teacher", "batch") if name not in given]:
        raise RedistillError(
            f"{who} is called with (student output, teacher output, batch), and {' and '.join(missing)} {'are' if missing[1:] else 'is'} "
            f"missing: term(redistill.Output(logits), redistill.Output(teacher_logits), redistill.Batch(images, labels))"
        )
    for name in ("student", "teacher"):
        one = given[name]
        if one is None and name == "teacher" and not needs_teacher:
            continue
        if one is None:
            raise RedistillError(f"{who} compares with a teacher, but there is none: give the {name}'s output, redistill.Output(logits)")
        if not hasattr(one, "logits"):
            what = f"a tensor {list(one.shape)}" if isinstance(one, Tensor) else described(one)
            raise RedistillError(
                f"{who} takes the {name}'s output, got {what}: of logits, redistill.Output(logits) makes one; features come with "
                f"redistill.Tapped"
            )
    batch = given["batch"]
    if not hasattr(batch, "labels") and (needs_labels or batch is not None):
        what = f"a tensor {list(batch.shape)}" if isinstance(batch, Tensor) else described(batch)
        raise RedistillError(f"{who} takes a batch, got {what}: redistill.Batch(images, labels) makes one")


def in_single(out: Any) -> Any:
    """An output of half precision in fp32; None, and what is wider, as it is."""
    if out is None:
        return None
    taps = {place: _single(tap) for place, tap in getattr(out, "taps", {}).items()}
    return Output(_single(out.logits), taps)


def _single(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values

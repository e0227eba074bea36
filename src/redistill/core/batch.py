"""What flows: a batch of images, and what a network said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from redistill.core.ramp import Ramp as Ramp
from redistill.core.ramp import Weight as Weight
from redistill.errors import RedistillError as RedistillError
from redistill.errors import nearest as nearest

Shape = tuple[int, ...]


# ---------------------------------------------------------------------------------------------------------------------
# What flows through one step
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Batch:
    """One batch of the stream, the same for every student of a cohort.

    Attributes:
        images: [B, C, H, W], normalised in the space of the stream, on the device and in the precision of the run.
        labels: [B] int64, or None where the data has none.
        index: [B] int64, position of each image in its data set (-1 for generated images).
        variant: [B] int64, which augmentation of the image this is (0 for none).
        positions: ``index`` on the CPU, where the source has it there: who needs the numbers themselves does not wait for a device.
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
    teacher: Output | None = field(default=None, init=False, repr=False, compare=False)

    def answered(self, teacher_output: Output) -> Batch:
        """This batch, with what the teacher said of it."""
        object.__setattr__(self, "teacher", teacher_output)  # a cache beside the value, which stays what it is
        return self

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
        if self.labels.dim() != 1 or self.labels.dtype not in (torch.int64, torch.int32):
            raise RedistillError(
                f"{name}: labels are one whole number an image, int64 [B], got {self.labels.dtype} {list(self.labels.shape)}; of one-hot "
                f"rows labels.argmax(1) gives them"
            )
        if logits is not None and self.labels.device.type == "cpu" and len(self.labels):
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= logits.shape[1]:
                raise RedistillError(
                    f"{name}: labels run from {low} to {high}, and logits of {logits.shape[1]} classes have labels 0 to "
                    f"{logits.shape[1] - 1}"
                )
        return self.labels


@dataclass(frozen=True)
class Output:
    """What a network said about one batch: ``logits`` [B, classes] and the features some term asked for, by place."""

    logits: Tensor
    taps: Mapping[str, Tensor] = field(default_factory=dict)

    def __getitem__(self, place: str) -> Tensor:
        if place not in self.taps:
            raise RedistillError(f"place {place!r} was not tapped: this output holds {sorted(self.taps) or 'logits only'}")
        return self.taps[place]

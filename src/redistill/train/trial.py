"""What a teacher says of images of noise, before the first step: whether an answer can be remembered, and how much of it suffices."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from redistill import rng
from redistill.answers.network import network_key
from redistill.answers.table import Shape
from redistill.core import Output
from redistill.core.summary import Needed, summarised
from redistill.errors import RedistillError
from redistill.precision import Arithmetic

LOGITS = "logits"
TRIED = 64  # images of noise before the first step: two micro-batches
Live = Callable[[Tensor], Output]


class NotRemembered(RedistillError):
    """There are no tables for this teacher and source; the message is the reason. broken: somebody may want to mend it."""

    def __init__(self, reason: str, *, broken: bool = False):
        super().__init__(reason)
        self.broken = broken


def shape_of(name: str, said: Tensor) -> Shape:
    """How one image's answer lies in memory.

    Raises:
        NotRemembered: in pieces.
    """
    if (shape := Shape.of(said)) is None:
        raise NotRemembered(f"{name} of the teacher is no plain block of numbers")
    return shape


def outputs_of(teacher_output: Output) -> Mapping[str, Tensor]:
    return {LOGITS: teacher_output.logits, **teacher_output.taps}


def chosen(shown: Tensor, which: Tensor) -> Tensor:
    """Some images of a batch, in its layout."""
    last = shown.ndim == 4 and shown.is_contiguous(memory_format=torch.channels_last)
    few = shown.index_select(0, which)
    return few.contiguous(memory_format=torch.channels_last) if last else few.contiguous()


def tried(
    net: nn.Module, who: str, live: Live, shape: tuple[int, ...], means: Arithmetic, wanted: Needed
) -> tuple[Output, Output | None]:
    """What the teacher, whose key is ``who``, says of :data:`TRIED` images of noise; and the same with what suffices of ``wanted``
    features, None where that is all of them, or has other bits when it is made in micro-batches than of a batch.

    Raises:
        NotRemembered: it draws, it changes by being asked, or what it says of an image depends on those beside it.
    """
    shown = torch.randn(TRIED, *shape, generator=rng.stream(0, "answers"), dtype=torch.float64).to(means.dtype)
    if means.channels_last:
        shown = shown.contiguous(memory_format=torch.channels_last)
    order = torch.randperm(TRIED, generator=rng.stream(0, "answers", "order"))[: TRIED // 2 + 8]  # a full micro-batch and a filled one
    with torch.no_grad(), means.ieee(), means.autocast():
        with rng.seeded(0, "answers", 1) as moved:
            one, two = live(shown[: TRIED // 2]), live(shown[TRIED // 2 :])
            drew = moved()
        with rng.seeded(0, "answers", 2):
            again = live(chosen(shown, order))
        few = summarised(one, wanted), summarised(two, wanted), summarised(again, wanted)
    teacher_output = _joined(one, two)
    if drew:
        raise NotRemembered("the teacher draws random numbers in evaluation mode")
    if network_key(net) != who:
        raise NotRemembered("the teacher changes by being asked")
    for name, whole in outputs_of(teacher_output).items():
        part, first = outputs_of(again)[name], outputs_of(one)[name]
        if Shape.of(first) != Shape.of(whole):  # a batch of one micro-batch would have another layout than a larger one
            raise NotRemembered(f"{name} of the teacher is no plain block of numbers")
        if len(whole) != TRIED or not _equal(whole[order], part):
            raise NotRemembered(f"{name} of the teacher for an image depends on the images beside it, or is drawn")
    if not any(wanted.values()):
        return teacher_output, None
    summaries = _joined(*few[:2])
    of_a_batch, in_parts, in_order = (means.wide(one) for one in (teacher_output, summaries, few[2]))
    for name, tap in summarised(of_a_batch, wanted).taps.items():
        if (lies := Shape.of(few[0].taps[name])) is None or lies != Shape.of(summaries.taps[name]):
            return teacher_output, None
        if not _equal(tap, in_parts.taps[name]) or not _equal(tap[order], in_order.taps[name]):
            return teacher_output, None
    return teacher_output, summaries


def _joined(one: Output, two: Output) -> Output:
    return Output(torch.cat([one.logits, two.logits]), {name: torch.cat([tap, two.taps[name]]) for name, tap in one.taps.items()})


def _equal(one: Tensor, other: Tensor) -> bool:
    """Bit by bit, in which NaN equals itself."""
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))

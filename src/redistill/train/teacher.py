"""The teacher of a run: a private copy in its own mode, normalisation and layout, and what it said of a batch.

The loop only calls it; whether it computes or looks up what it said before (:mod:`redistill.train.remembered`) shows in no bit.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redistill.core import Batch, Output, RedistillError, Source
from redistill.core.summary import Needed
from redistill.features.drawing import OwnStream
from redistill.features.hidden_state import hidden_state, load_hidden_state, plain_values
from redistill.features.modes import mode
from redistill.features.outputs import name_of, teacher_at_fault
from redistill.features.sight import Sight
from redistill.features.tapped import Tapped
from redistill.precision import Arithmetic
from redistill.train.narrow import narrowed, same_bits
from redistill.train.remembered import Answered, CacheWarning, Remembered
from redistill.train.trial import NotRemembered

ROWS = 32  # on a CPU: below 16 rows convolutions sum in another order; 32 stay in the cache of a core


def in_micro_batches(read: Callable[[Tensor], Output], images: Tensor, rows: int = ROWS) -> Output:
    """What a teacher in evaluation mode says of ``images`` [B, C, H, W], computed in micro-batches of ``rows``.

    Every call sees exactly so many images, the last one filled up with copies of its first image: kernels choose how they sum
    by the size of a batch, so an image has the same bits only in batches of one size. Here it has them whatever batch it
    stands in and wherever it stands, which is what lets an answer be remembered.
    """
    parts = []
    last = images.ndim == 4 and images.is_contiguous(memory_format=torch.channels_last)
    for few in images.split(rows):
        missing = rows - len(few)
        full = torch.cat([few, few[:1].expand(missing, *few.shape[1:])]) if missing else few
        out = read(full.contiguous(memory_format=torch.channels_last) if last else full)
        parts.append(Output(out.logits[: len(few)], {name: tap[: len(few)] for name, tap in out.taps.items()}) if missing else out)
    if len(parts) == 1:
        return parts[0]
    return Output(
        torch.cat([part.logits for part in parts]), {name: torch.cat([part.taps[name] for part in parts]) for name in parts[0].taps}
    )


def _results(value: object) -> Iterator[Tensor]:
    """Tensors that belong to a graph of gradients, in a module's attributes and the containers among them."""
    if isinstance(value, Tensor):
        if value.grad_fn is not None:
            yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _results(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _results(inner)


def private_copy(net: nn.Module) -> nn.Module:
    """A deep copy, also of networks that :func:`copy.deepcopy` refuses because a forward left results on them (weight norm,
    spectral norm, pruning): in the copy these stand without their graph, until its next forward makes them again."""
    kept = [value for m in net.modules() for value in _results({k: v for k, v in vars(m).items() if k != "_modules"})]
    return copy.deepcopy(net, {id(value): value.detach().clone() for value in kept})


class Teacher:
    """The frozen teacher at work. The caller's network keeps its device, precision, mode, gradients and statistics.

    Args:
        net: any module from images to logits. Where it cannot be copied it is used as it is, in evaluation mode for the length
            of a call. space: normalisation of the stream. train: batch statistics and drifting running statistics.

    Attributes:
        net: the copy. borrowed: it is the caller's own. tapped: set by :meth:`read`. memory: set by :meth:`remember`, where
            there is one. answered: how many answers were looked up. rows: of a micro-batch. None: a batch is one, as on an
            accelerator, where nothing is remembered and few rows leave most of it idle. Another number is for those who remember
            nothing and compare no bits with a run.
    """

    def __init__(self, net: nn.Module, space: str, image_shape: Sequence[int], means: Arithmetic, *, seed: int, train: bool):
        self.means, self.seed, self.train, self.borrowed = means, seed, train, False
        self.rows: int | None = ROWS if means.device.type == "cpu" else None
        self.space = space
        self._finite(net)
        try:
            self.net = means.place(private_copy(net)).requires_grad_(False)
        except Exception as error:
            self._borrow(net, error)
        # whole: nobody freezes parts of what does not learn
        self.sight = Sight.of(self.net, space, tuple(image_shape), means, trained=train)
        if not self.borrowed:
            self.net.train(train)
        self.tapped: Tapped | None = None
        self.memory: Remembered | None = None
        self.answered = Answered()
        self._values = plain_values(self.net)
        self.layers = OwnStream(self.net, seed=seed, purpose="teacher", device=means.device, train=train)
        self._bad = torch.tensor(-1, device=means.device)  # first step at which it was not finite, -1: none yet

    def _finite(self, net: nn.Module) -> None:
        masks = {  # of attention are infinite on purpose; what the teacher says with them is looked at before the first step
            f"{path}.{name}".lstrip(".")
            for path, module in net.named_modules() if not isinstance(module, nn.modules.batchnorm._NormBase)
            for name, value in module._buffers.items() if value is not None and not bool(value.isnan().any())
        }  # fmt: skip
        for name, value in net.state_dict().items():
            if isinstance(value, Tensor) and value.is_floating_point() and name not in masks and not bool(value.isfinite().all()):
                raise RedistillError(f"the teacher {name_of(net)} has weights that are no numbers ({name}): give it others")

    def _borrow(self, net: nn.Module, error: Exception) -> None:
        """What cannot be copied teaches itself, where nothing of it has to change."""
        self.net, self.borrowed = net, True
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        why = f"the teacher {type(net).__name__} cannot be copied ({reason})"
        if self.train:
            raise RedistillError(f"{why}, and teacher_mode='train' would change it: use 'eval', or a network that copy.deepcopy takes")
        here = torch.empty(0, device=self.means.device).device  # "cuda" is no place, "cuda:0" is
        for name, p in net.named_parameters():
            if p.device != here or p.dtype != self.means.dtype:
                raise RedistillError(
                    f"{why}, and its {name} is {p.dtype} on {p.device}, while the run computes in {self.means.dtype} on "
                    f"{self.means.device}: move it there yourself"
                )

    def read(self, places: Sequence[str], *, compiled: bool) -> None:
        """Before the first step: the features that are wanted with the logits."""
        self.tapped = self.sight.tapped(places, again=self.train)
        if self.means.bf16 and not self.train and not self.borrowed:
            self._narrow(self.tapped, places)
        if compiled:
            self.tapped.compile()

    def _narrow(self, tapped: Tapped, places: Sequence[str]) -> None:
        """Read a copy with bf16 weights instead, where it says the same bit for bit."""
        twin = narrowed(private_copy(self.net))
        try:
            with self.means.autocast():
                narrow = Tapped.reading(twin, self.sight.probe, places, found=self.sight.found, adapt=self.sight)
        except (RuntimeError, TypeError, ValueError):
            return
        if same_bits(tapped, narrow, self.sight.probe, self.means.autocast()):
            self.tapped = narrow

    def live(self, images: Tensor) -> Output:
        """What it says of images in evaluation mode, computed now."""
        assert self.tapped is not None
        with mode(self.net, False) if self.borrowed else contextlib.nullcontext():
            read = self.tapped if self.memory is None else self.memory.reader(self.tapped)
            return in_micro_batches(read, images, self.rows or len(images))

    def remember(self, source: Source, wanted: Needed, folder: Path | None, *, fit: int, compiled: bool) -> None:
        """Before the first step, after :meth:`read`: look up what it said in earlier runs, where that can be done exactly.

        Args:
            wanted: features that are read, and what suffices of them: it is remembered instead. folder: of the tables; None:
                nowhere. fit: numerics of the loop.
        """
        try:
            if folder is None:
                raise NotRemembered("there is no cache folder")
            if self.train:
                raise NotRemembered("the teacher is in train mode")
            if self.borrowed:
                raise NotRemembered("the teacher cannot be copied")
            twin = private_copy(self.net)  # to be tried on: the teacher itself is asked nothing that it is not asked without this
            tapped = Sight.of(twin, self.space, tuple(source.image_shape), self.means, trained=False).tapped(tuple(wanted))
            self.memory = Remembered.of(
                twin, partial(in_micro_batches, tapped), source, self.means,
                folder=folder, fit=fit, compiled=compiled, space=self.space, wanted=wanted,
            )  # fmt: skip
            self.answered = self.memory.counts
        except NotRemembered as error:
            self.answered = Answered(off=str(error))
            if error.broken:
                warnings.warn(f"what the teacher says is not remembered: {error}", CacheWarning, stacklevel=3)

    def __call__(self, batch: Batch, step: int | None, counter: Tensor | None = None) -> Output:
        """What it says of a batch, once, whoever learns from it. Layers that draw have a stream of their own.

        Args:
            step: which; None in a recorded step, which stands for any. counter: int64 [1], the same on the device.
        """
        if batch.teacher is not None and not self.train:
            return batch.teacher
        assert self.tapped is not None
        number = step if batch.number is None else batch.number
        # no_grad and not inference_mode: a term that saves the teacher's output for backward refuses inference tensors
        with torch.no_grad(), self.means.autocast(), self.layers.at(number, watch=True):
            if self.train:  # its batch statistics are those of the whole batch
                out = self.tapped(batch.images)
            elif self.memory is not None:
                out = self.memory.answer(batch, self.live)
            else:
                out = self.live(batch.images)
        out = self.means.wide(out)
        self._look_for_nan(batch.images, out.logits, self._bad.new_tensor([step]) if counter is None else counter)
        batch.answered(out)
        return out

    def state(self) -> dict[str, Any]:
        """What the rest of a run depends on: where it drifts (train mode), the network itself."""
        net = {"net": self.net.state_dict(), "hidden": hidden_state(self.net, self._values)} if self.train else None
        return {"network": net, "bad": self._bad.clone()}

    def load_state(self, saved: dict[str, Any]) -> None:
        """Go on where :meth:`state` was taken."""
        self._bad.copy_(saved["bad"])
        if saved["network"] is not None:
            self.net.load_state_dict(saved["network"]["net"])
            load_hidden_state(self.net, saved["network"]["hidden"])

    def _look_for_nan(self, images: Tensor, logits: Tensor, step: Tensor) -> None:
        """On the device: nothing waits for it."""
        bad = images.isfinite().all() & ~logits.isfinite().all() & (self._bad < 0)
        self._bad.copy_(torch.where(bad, step[0], self._bad))

    def explains_nonfinite(self, step: int) -> str | None:
        """A sentence if the teacher's logits were not finite at ``step`` or before, of images that were; else None."""
        first = int(self._bad)
        return teacher_at_fault(self.net, f"at step {first}") if 0 <= first <= step else None

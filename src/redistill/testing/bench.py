"""The bench of the conformance checks: a term set up between two networks, as often and as fresh as a check wants."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from redistill import rng
from redistill.core import Batch, Output, Term
from redistill.features.places import Layers, context, places_of
from redistill.features.tapped import Tapped

Make = Callable[[], Term]


class NotConformant(AssertionError):
    """A term broke one of its promises."""


def require(kept: bool, sentence: str) -> None:
    if not kept:
        raise NotConformant(sentence)


class SmallNet(nn.Module):
    """Images [B, 3, H, W] to logits: one smooth 3x3 convolution a stage, halving the size, global average, linear."""

    def __init__(self, widths: Sequence[int], classes: int, seed: int):
        super().__init__()
        channels = [3, *widths]
        with rng.seeded(seed, "testing", *widths):
            self.stages = nn.ModuleList(
                nn.Sequential(nn.Conv2d(a, b, 3, stride=1 if i == 0 else 2, padding=1), nn.GELU())
                for i, (a, b) in enumerate(zip(channels, widths, strict=False))
            )
            self.head = nn.Linear(channels[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        for stage in self.stages:
            images = stage(images)
        logits: Tensor = self.head(images.mean((2, 3)))
        return logits


@dataclass
class Fixture:
    """A term set up between two networks, with what each said about one batch."""

    term: Term
    student: nn.Module
    teacher: nn.Module
    batch: Batch
    read: Tapped
    ask: Tapped

    @property
    def teacher_output(self) -> Output:
        """What the teacher says; with a gradient to the images only where these are trained."""
        if self.batch.images.requires_grad:
            return self.ask(self.batch.images)
        with torch.no_grad():
            return self.ask(self.batch.images)

    @property
    def trained(self) -> dict[str, Tensor]:
        """Everything that an optimiser may move: the student, the term, and images that a generator made."""
        found: dict[str, Tensor] = {f"the student's {n}": p for n, p in self.student.named_parameters() if p.requires_grad}
        found |= {f"the term's {n}": p for n, p in self.term.named_parameters() if p.requires_grad}
        return found | ({"the images": self.batch.images} if self.batch.images.requires_grad else {})

    def student_output(self) -> Output:
        return self.read(self.batch.images)

    def loss(self, student: Output | None = None, teacher: Output | None = None, batch: Batch | None = None) -> Tensor:
        value: object = self.term(student or self.student_output(), teacher or self.teacher_output, batch or self.batch)
        if not isinstance(value, Tensor):
            raise NotConformant(f"forward must return a tensor without axes, it returned a {type(value).__name__}")
        require(value.shape == (), f"the loss must be a scalar, it has shape {list(value.shape)}")
        return value

    def value(self, student: Output | None = None, teacher: Output | None = None, batch: Batch | None = None) -> float:
        with torch.no_grad():
            return float(self.loss(student, teacher, batch))


@dataclass
class TermCase:
    """What benches are made from: a term's factory, two networks and images, which ``generated`` makes trainable."""

    make: Make
    student: nn.Module
    teacher: nn.Module
    images: Tensor
    generated: bool = False

    @cached_property
    def tables(self) -> tuple[Layers, Layers]:
        """Places of student and teacher."""
        return places_of(self.student, self.images), places_of(self.teacher, self.images)

    def bench(self, seed: int = 0, *, moved: bool = True, dtype: torch.dtype = torch.float64) -> Fixture:
        """Everything fresh; ``moved``: the student's weights stand a little away from where ``setup`` saw them."""
        student, teacher = copy.deepcopy(self.student).to(dtype), copy.deepcopy(self.teacher).to(dtype)
        images = self.images.to(dtype, copy=True).requires_grad_(self.generated)
        if self.generated:
            teacher.requires_grad_(False)
        student.train()
        teacher.eval()
        with torch.no_grad():
            classes = teacher(images).shape[1]
        labels = torch.arange(len(images)) % classes
        term = self.make()
        term.setup(context(student, teacher, images, count=len(images), labels=labels, seed=seed))
        term.to(dtype)
        term.train()
        if moved:
            noise = rng.stream(0, "testing", "moved")
            with torch.no_grad():
                for parameter in student.parameters():
                    step = torch.randn(parameter.shape, generator=noise, dtype=torch.float64)
                    parameter.add_(0.05 * parameter.abs().mean() * step.to(dtype))
        mine, theirs = ({pair[which] for pair in term.pairs} for which in (0, 1))
        read = Tapped.reading(student, images, tuple(mine), found=self.tables[0])
        ask = Tapped.reading(teacher, images, tuple(theirs), found=self.tables[1])
        batch = Batch(
            images,
            labels=labels if term.needs_labels else None,
            index=torch.arange(len(images)),
            variant=torch.zeros(len(images), dtype=torch.int64),
        )
        return Fixture(term, student, teacher, batch, read, ask)

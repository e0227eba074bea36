"""The words of a distillation, as they were given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from redistill.launch.carry_out import Resources


@dataclass(frozen=True)
class Asked:
    """See :func:`redistill.distill.preflight.plan`."""

    data: str
    teacher: str
    student: str | None
    teacher_weights: str | Path | None
    teacher_normalise: str | None
    student_weights: str | Path | None
    train_teacher: int | None
    method: str
    epochs: int
    time_budget: float | None
    seeds: tuple[int, ...]
    size: int | None
    batch_size: int | None
    lr: float | None
    precision: str | None
    plain: bool
    evaluate: str | None
    skip_unreadable: bool
    change: tuple[str, ...]
    resources: Resources

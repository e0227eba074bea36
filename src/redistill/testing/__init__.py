"""Public conformance: what every term promises, proven for one term, yours as well as ours.

    from redistill.testing import check_term
    check_term(lambda: MyTerm(T=4.0))

The term is tried between two small convolutional networks in double precision; with ``student``, ``teacher`` and
``images`` between yours. A broken promise raises :class:`NotConformant` with one sentence.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from redistill import rng
from redistill._moved import old_names
from redistill.core import RedistillError, Term
from redistill.testing.bench import Fixture, Make, NotConformant, SmallNet, TermCase
from redistill.testing.promises import PROMISES
from redistill.testing.theorems import THEOREMS

__all__ = ["PROMISES", "THEOREMS", "Finding", "Fixture", "NotConformant", "SmallNet", "check_term", "examine"]


@dataclass(frozen=True)
class Finding:
    """One promise of a term. promise: the sentence. broken: why it does not hold, None where it was proven."""

    promise: str
    broken: str | None = None


def check_term(
    make: Make,
    *,
    theorems: Collection[str] | None = None,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    images: Tensor | None = None,
    generated: bool = False,
) -> tuple[str, ...]:
    """Prove the promises of every term, and the theorems that this one declares, for the terms that ``make`` makes.

    Args:
        make: a new term at every call, always with the same settings.
        theorems: which to prove; default: those of the class. A setting may cost one (cross-entropy is not 0 at a match).
        student, teacher: networks from images to logits; default: two small networks of three stages, unlike in width.
        images: [B, C, H, W], B ≥ 3; default: 5 of 3x16x16.
        generated: the images come from a generator, so gradients run through both networks into them: for the losses of a
            zero-shot source.

    Returns: what was proven, one sentence each.

    Raises:
        NotConformant: with the sentence that does not hold and the numbers that show it.

    >>> from redistill.terms import KD
    >>> check_term(lambda: KD(T=2.0))[:2]
    ('no draw from a global generator', 'the same seed gives the same adapters and the same loss, bit for bit')
    """
    proven = []
    for finding in _found(make, theorems, student, teacher, images, generated):
        if finding.broken is not None:
            raise NotConformant(f"{make()!r}: {finding.broken}")
        proven.append(finding.promise)
    return tuple(proven)


def examine(
    make: Make,
    *,
    theorems: Collection[str] | None = None,
    student: nn.Module | None = None,
    teacher: nn.Module | None = None,
    images: Tensor | None = None,
    generated: bool = False,
) -> list[Finding]:
    """Everything that :func:`check_term` tries, to the end: one finding a promise, what is broken with its reason.

    >>> from redistill.terms import KD
    >>> [finding.promise for finding in examine(lambda: KD(T=2.0)) if finding.broken]
    []
    """
    return list(_found(make, theorems, student, teacher, images, generated))


def _found(
    make: Make,
    theorems: Collection[str] | None,
    student: nn.Module | None,
    teacher: nn.Module | None,
    images: Tensor | None,
    generated: bool,
) -> Iterator[Finding]:
    if images is None:
        images = torch.randn(5, 3, 16, 16, generator=rng.stream(0, "testing", "images"))
    if student is None:
        student = SmallNet((4, 6, 8), 5, seed=1)
    if teacher is None:
        teacher = SmallNet((6, 8, 10), 5, seed=2)
    trial = TermCase(make, student, teacher, images, generated)
    term = make()
    declared = term.theorems if theorems is None else tuple(theorems)
    if unknown := [name for name in declared if name not in THEOREMS]:
        yield Finding("every theorem that it declares is known", f"it declares {unknown[0]!r}: known theorems are {', '.join(THEOREMS)}")
        declared = tuple(name for name in declared if name in THEOREMS)
    for check in (*PROMISES, *(THEOREMS[name] for name in declared)):
        promise = check.__doc__ or check.__name__
        try:
            check(trial)
        except NotConformant as broken:
            yield Finding(promise, str(broken))
        except RedistillError as refused:
            yield Finding(promise, f"it refuses what it was given: {refused}")
        except Exception as error:  # whatever a stranger's term raises is its failure, and not ours
            yield Finding(promise, f"it raised {type(error).__name__}: {error}{_where(error, term)}")
        else:
            yield Finding(promise)


def _where(error: Exception, term: Term) -> str:
    """The line of the term's own file at which it was raised, and what it lacks; "" where that is none of its lines."""
    try:
        own = inspect.getfile(type(term))
    except (TypeError, OSError):
        return ""
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    if not lines:
        return ""
    place = f" ({Path(own).name}, line {lines[-1].lineno})"
    if not term.needs_labels and "labels" in (lines[-1].line or ""):
        place += "; a batch has labels for terms that declare needs_labels: ClassVar[bool] = True"
    return place


if not TYPE_CHECKING:
    __getattr__ = old_names(__name__)

"""Somebody's runs: values without behaviour, each with the source it was read from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from redistill.errors import RedistillError
from redistill.evidence import names

BestOn = Literal["test", "validation"]


@dataclass(frozen=True)
class Source:
    """Whose runs, and how they were read.

    Attributes:
        owner: ``owner/name`` of a repository, or what stands for it. commit: None where none is known.
        how: how the numbers were taken out. licence, read: as stated, the day.
    """

    owner: str
    commit: str | None
    how: str
    licence: str = ""
    read: str = ""

    @property
    def words(self) -> str:
        short = self.commit if self.commit is None or "," in self.commit else self.commit[:10]
        return f"{self.owner}@{short}" if self.commit else f"{self.owner} (no commit stated)"


@dataclass(frozen=True)
class Trained:
    """One run.

    Attributes:
        place: where in the file it stands, as messages call it. paper: key of the claims it is said to bear on, or None.
        last, best: top-1 on the test images in percent, after the last epoch and at the chosen one. best_on: chosen by what.
        part: of several runs in one log.
    """

    place: str
    dataset: str
    teacher: str | None
    student: str
    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    epochs: int | None = None
    last: float | None = None
    best: float | None = None
    best_on: BestOn | None = None
    paper: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (("last", self.last), ("best", self.best)):
            if value is None:
                continue
            if not math.isfinite(value):
                raise RedistillError(
                    f"{self.place}: {name} is {value}: a run that diverged has an accuracy too: give it, that of guessing if nothing else"
                )
            if not 0 <= value <= 100:
                raise RedistillError(f"{self.place}: {name} = {value:g} is no accuracy in percent (0 to 100)")
        if self.last is None and self.best is None:
            raise RedistillError(f"{self.place}: holds neither a last nor a best accuracy: give one of them, in percent of test images")

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """Keys of data, teacher, student and method; a network alone has no teacher."""
        kind = names.method(self.method)
        alone = kind in (names.STUDENT, names.TEACHER)
        teacher = "" if alone or self.teacher is None else names.network(self.teacher)
        return names.data(self.dataset), teacher, names.network(self.student), names.STUDENT if alone else kind

    @property
    def origin(self) -> str:
        """Whose run it is, where one file holds runs of several."""
        return str(self.extra.get("origin", ""))

    @property
    def pair(self) -> str:
        return f"{self.teacher} -> {self.student}" if self.teacher else self.student

    @property
    def words(self) -> str:
        return f"{self.dataset}, {self.pair}, {self.method}"


@dataclass(frozen=True)
class Evidence:
    """What one file, or one folder of logs, holds.

    Attributes:
        name: of the file. kind: which reader read it. runs, in their order. published: numbers the source itself prints.
        claims: significance it reports. pairs: counts of two networks on the same images. caveats: its own. notes:
            what the reader recognised and did. problems: what it could not read, a sentence each. store: where the runs are ours.
    """

    name: str
    kind: str
    source: Source
    runs: tuple[Trained, ...]
    published: tuple[Mapping[str, Any], ...] = ()
    claims: tuple[Mapping[str, Any], ...] = ()
    teachers: tuple[Mapping[str, Any], ...] = ()
    pairs: tuple[Mapping[str, Any], ...] = ()
    caveats: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    store: Path | None = None


def arm_of(run: Trained) -> tuple[Any, ...]:
    """What runs must share to be seeds of one thing: cell, settings, whose they are."""
    return (*run.cell, run.origin, str(run.extra.get("grid", "")), repr(sorted((k, repr(v)) for k, v in run.settings.items())))


def arms(runs: tuple[Trained, ...]) -> dict[tuple[Any, ...], list[Trained]]:
    """Runs by arm, each run once: those said to be the same run as another are left out.

    Raises:
        RedistillError: one arm holds a seed twice.
    """
    found: dict[tuple[Any, ...], list[Trained]] = {}
    for run in runs:
        if run.extra.get("same_run_as"):
            continue
        mine = found.setdefault(arm_of(run), [])
        if run.seed is not None and any(other.seed == run.seed for other in mine):
            twin = next(other for other in mine if other.seed == run.seed)
            raise RedistillError(
                f"{run.place} and {twin.place} are both seed {run.seed} of {run.words} with the same settings: one of them is a copy, or "
                f"they differ in a setting that must be named"
            )
        mine.append(run)
    return found

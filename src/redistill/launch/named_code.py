"""The code of one's own that an experiment names: which it is, and the user's word for all of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from redistill import user_code
from redistill.core import Term
from redistill.data.named import is_own_data
from redistill.errors import RedistillError
from redistill.experiment.networks import Net
from redistill.experiment.source.images import ImagesSettings
from redistill.experiment.source.own import OwnSettings
from redistill.experiment.value import Experiment
from redistill.sources.generator_settings import GeneratorSettings
from redistill.user_code import Located, locate


@dataclass(frozen=True)
class Named:
    """One name in an experiment that means code: the reference, the file and SHA-256 it had, what kind of object it must be."""

    reference: str
    file: str | None = None
    code: str | None = None
    kind: type | None = None

    def located(self) -> Located:
        return locate(self.reference, Path(), file=self.file, code=self.code)


def names(one: Experiment) -> Iterator[Named]:
    """Every name in one experiment that means code; not those of the experiments it needs."""
    for net in (one.teacher, one.student):
        if net is not None and net.run is None:
            yield from _net(net)
    for part in one.method:
        if part.code is not None:
            yield Named(part.use, part.file, part.code, Term)
    for source in one.source.parts:
        yield from _source(source)
    yield from (Named(name) for name in one.evaluate.sets.values() if is_own_data(name))


def whole(one: Experiment) -> Iterator[Experiment]:
    """An experiment and all that it needs."""
    yield one
    for before in one.needs():
        yield from whole(before)


def _net(net: Net) -> Iterator[Named]:
    if net.code is not None:
        yield Named(net.model, net.file, net.code, nn.Module)


def _source(source: object) -> Iterator[Named]:
    if isinstance(source, OwnSettings):
        yield Named(source.use, source.file, source.code)
    elif isinstance(source, GeneratorSettings) and source.code is not None:
        yield Named(source.generator, source.file, source.code, nn.Module)
    elif isinstance(source, ImagesSettings) and is_own_data(source.data):
        yield Named(source.data)


def vouch(one: Experiment) -> None:
    """The user says that all of it may run."""
    for named in names(one):
        user_code.load(named.reference, Path(), file=named.file, code=named.code, kind=named.kind, trusted=True)


def refusal(one: Experiment) -> str | None:
    """Why an experiment may not be run: it names code, and nobody who may has said that it is to be run."""
    for named in names(one):
        try:
            located = named.located()
            user_code.require_word(located, located.code)
        except RedistillError as error:
            return f"{one.label} (seed {one.seed}): {error}"
    return None

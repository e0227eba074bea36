"""``kind = "mixed"``: batches of two sources in turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from redistill.experiment.source.adversarial import AdversarialSettings
from redistill.experiment.source.generated import GeneratedSettings
from redistill.experiment.source.images import Built, ImagesSettings, Settings
from redistill.experiment.source.inverted import InvertedSettings
from redistill.experiment.source.own import OwnSettings
from redistill.recipe import Recipe
from redistill.sources import mixed
from redistill.sources.mixed import Mixed

Half = ImagesSettings | AdversarialSettings | GeneratedSettings | InvertedSettings | OwnSettings


class MixedSettings(Settings):
    """Two sources in turn: ``take[0]`` batches of ``first``, then ``take[1]`` of ``second``.

    Args:
        first, second: the two sources, each a table like ``[source]`` of another kind than this. take: how many batches of each in turn.
    """

    kind: Literal["mixed"]
    first: Half = Field(discriminator="kind")
    second: Half = Field(discriminator="kind")
    take: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (1, 1)

    @model_validator(mode="after")
    def _agree(self) -> MixedSettings:
        if self.first.depends_on_student and self.second.depends_on_student and "own" not in (self.first.kind, self.second.kind):
            raise ValueError("both halves make images against the student: one of the two must be images")
        spaces = [half.normalise for half in (self.first, self.second) if not isinstance(half, OwnSettings)]
        if len(set(spaces)) > 1:
            raise ValueError(f"the halves are normalised as {spaces[0]} and {spaces[1]}: give both the same normalise")
        return self

    @property
    def parts(self) -> tuple[Settings, ...]:
        return self, self.first, self.second

    @property
    def depends_on_student(self) -> bool:
        return self.first.depends_on_student or self.second.depends_on_student

    @property
    def labelled(self) -> bool:
        return self.first.labelled or self.second.labelled

    @property
    def mixes_labels(self) -> bool:
        return any(getattr(half, "mixes_labels", False) for half in (self.first, self.second))

    @property
    def label(self) -> str:
        return f"{self.first.label} and {self.second.label}"

    def steps_of_epoch(self, recipe: Recipe) -> int:
        return -(-self.first.steps_of_epoch(recipe) // self.take[0]) * sum(self.take)

    def numerics(self) -> dict[str, int]:
        return {"source:mixed": mixed.NUMERICS, **self.first.numerics(), **self.second.numerics()}

    def written(self) -> dict[str, Any]:
        return {"kind": "mixed", "first": self.first.written(), "second": self.second.written(), "take": list(self.take)}

    def build(self, seed: int, data_dir: Path | None) -> Built:
        one, two = self.first.build(seed, data_dir), self.second.build(seed, data_dir)
        return Built(Mixed(one.source, two.source, self.take), {**one.evaluate, **two.evaluate})

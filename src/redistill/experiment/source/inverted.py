"""``kind = "deep-inversion"`` and ``kind = "cmi"``: images made by many steps, and remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from redistill.data import augmentation
from redistill.experiment.source.images import Built, Settings
from redistill.recipe import Recipe
from redistill.sources import inversion, losses
from redistill.sources.generator_settings import GeneratorSettings
from redistill.sources.inversion import CMI, DeepInversion, ImageLosses, Rounds


class InvertedSettings(GeneratorSettings, ImageLosses, Rounds, Settings):
    """Images that are made out of what the teacher knows, kept, and learned from; the switches are those of
    :class:`redistill.sources.inversion.Rounds` and :class:`redistill.sources.inversion.ImageLosses`.

    Args:
        generator: network from noise to pixels, for ``cmi`` alone (``cmi-generator``, or one's own); "" for ``deep-inversion``, which moves
            the pixels themselves.
    """

    kind: Literal["deep-inversion", "cmi"]
    blocks: int = Field(default=200, ge=1)
    generator: str = ""

    @field_validator("augment")
    @classmethod
    def _known_augment(cls, name: str) -> str:
        return augmentation(name).name

    @model_validator(mode="after")
    def _whole(self) -> InvertedSettings:
        if (self.kind == "cmi") != bool(self.generator):
            raise ValueError(
                'kind = "cmi" makes its images by a generator (generator = "cmi-generator"), kind = "deep-inversion" moves their pixels '
                "and has none"
            )
        if self.contrast and self.kind != "cmi":
            raise ValueError('contrast looks at two views of what a generator made: it belongs to kind = "cmi"')
        self.method()
        return self

    def steps_of_epoch(self, recipe: Recipe) -> int:
        return self.n_S * self.blocks_of_epoch

    @property
    def label(self) -> str:
        return f"no data ({self.kind})"

    def numerics(self) -> dict[str, int]:
        own = {f"generator term:{type(t).__name__}": t.numerics for _, t in self.method().parts()}
        return {"source:inversion": inversion.NUMERICS, **own, **({"source:losses": losses.NUMERICS} if losses.NUMERICS > 1 else {})}

    def build(self, seed: int, data_dir: Path | None) -> Built:
        rounds = Rounds(**{name: getattr(self, name) for name in Rounds.model_fields})
        common: dict[str, Any] = {
            "rounds": rounds, "method": self.method(), "blocks": self.blocks, "epoch_blocks": self.epoch_blocks,
        }  # fmt: skip
        if self.kind == "deep-inversion":
            return Built(DeepInversion(self.normalise, self.shape, **common), {})
        made = self.made_generator(seed)
        return Built(CMI(self.normalise, self.shape, generator=made, described=self.described, **common), {})

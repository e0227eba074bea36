"""``kind = "adversarial"``: images of a generator that trains against the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_serializer, field_validator

from redistill.core import Method
from redistill.experiment.method import TermSpec, beside, made_method
from redistill.experiment.source.images import Built, Settings
from redistill.published.zero_shot import PRESETS, preset
from redistill.recipe import Recipe
from redistill.sources import adversarial
from redistill.sources.adversarial import Adversarial
from redistill.sources.generator_settings import GeneratorSettings
from redistill.sources.variants import Variant
from redistill.terms import KD, by_name


class AdversarialSettings(GeneratorSettings, Variant, Settings):
    """Images of a generator that trains against the student; the switches are those of :class:`redistill.sources.Variant`.

    Args:
        T, reduction: of the KL that the generator maximises (the student's is in ``[[method]]``). extra: further terms of the
            generator, each a table with ``use``, ``weight`` and its settings.
    """

    kind: Literal["adversarial"]
    blocks: int = Field(default=80_000, ge=1)
    T: float = Field(default=1.0, gt=0)
    reduction: Literal["element", "batch"] = "element"
    extra: tuple[TermSpec, ...] = ()
    generator: str = "zskt-generator"
    z: int = Field(default=100, ge=1)

    @field_validator("extra", mode="before")
    @classmethod
    def _complete(cls, rows: Any) -> Any:
        return tuple(map(beside, rows)) if isinstance(rows, list | tuple) else rows

    @field_serializer("extra")
    def _as_rows(self, rows: tuple[TermSpec, ...]) -> list[dict[str, Any]]:
        return [row.written() for row in rows]

    @property
    def variant(self) -> Variant:
        return Variant(**{name: getattr(self, name) for name in Variant.model_fields})

    def steps_of_epoch(self, recipe: Recipe) -> int:
        return self.n_S * self.blocks_of_epoch

    @property
    def asked(self) -> float:
        """Not at all where the images are those that the generator learned from, once a block where they are made once."""
        return 0.0 if self.images == "before" else 1 / self.n_S if self.noise == "same" else 1.0

    @property
    def label(self) -> str:
        """With the name of the publication whose switches and whose generator's losses these are, all of them."""
        for name in PRESETS:
            published = preset(name)
            if (published.variant, published.generator_method.settings()) == (self.variant, self.method().settings()):
                return f"zero-shot ({name})"
        return "zero-shot"

    def numerics(self) -> dict[str, int]:
        own = {f"generator term:{row.use}": by_name(row.use).numerics for row in self.extra}
        return {"source:adversarial": adversarial.NUMERICS, "generator term:KD": KD.numerics, **own}

    def written(self) -> dict[str, Any]:
        return {name: value for name, value in super().written().items() if name not in self.later}

    def pulled(self) -> Method:
        """What this kind of source names of what the generator minimises."""
        return -1.0 * KD(T=self.T, reduction=self.reduction, scale_T2=False)

    def method(self) -> Method:
        """What the generator minimises."""
        return self.pulled() + made_method(self.extra) if self.extra else self.pulled()

    def made_generator(self, seed: int) -> Any:
        net = super().made_generator(seed)
        net.normalisation = self.normalise
        return net

    def given(self) -> dict[str, Any]:
        """What the source is given beside its generator and the normalisation."""
        return {
            "variant": self.variant,
            "method": self.method(),
            "blocks": self.blocks,
            "epoch_blocks": self.epoch_blocks,
            "described": self.described,
        }

    def build(self, seed: int, data_dir: Path | None) -> Built:
        return Built(Adversarial(self.made_generator(seed), self.normalise, **self.given()), {})

"""``kind = "dafl"`` and ``kind = "dfad"``: images of a generator that other losses train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from redistill.experiment.source.adversarial import AdversarialSettings
from redistill.experiment.source.images import Built
from redistill.sources import adversarial, losses
from redistill.sources.generated import DAFL, DFAD, GeneratorLosses


class GeneratedSettings(GeneratorLosses, AdversarialSettings):
    """Images of a generator trained by any weighted sum of the losses without data; the other settings are those of ``adversarial``;
    the weights are those of :class:`redistill.sources.generated.GeneratorLosses`."""

    kind: Literal["dafl", "dfad"]  # type: ignore[assignment]
    generator: str = "dafl-generator"
    z: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _pulled(self) -> GeneratedSettings:
        self.method()
        return self

    @property
    def label(self) -> str:
        return f"no data ({self.kind})"

    def numerics(self) -> dict[str, int]:
        inherited = super().numerics()
        inherited.pop("generator term:KD")
        own = {f"generator term:{type(t).__name__}": t.numerics for _, t in self.method().parts()}
        unasked = {} if losses.reads_student(self.method()) else {"source:unasked": adversarial.UNASKED}
        return {**inherited, **own, **unasked, **({"source:losses": losses.NUMERICS} if losses.NUMERICS > 1 else {})}

    def build(self, seed: int, data_dir: Path | None) -> Built:
        net = self.made_generator(seed)
        kind: Any = DAFL if self.kind == "dafl" else DFAD
        return Built(kind(net, self.normalise, **self.given()), {})

"""``kind = "dafl"`` and ``kind = "dfad"``: images of a generator that other losses train."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from redistill.core import Method
from redistill.experiment.method import RESERVED, TermSpec, made_method
from redistill.experiment.source.adversarial import AdversarialSettings
from redistill.experiment.source.images import Built
from redistill.sources import losses
from redistill.sources.generated import DAFL, DFAD, Form, pulls


class GeneratedSettings(AdversarialSettings):
    """Images of a generator trained by any weighted sum of the losses without data; the other settings are those of ``adversarial``.

    Args:
        one_hot, activation, entropy, batch_norm, variation: weights of :mod:`redistill.sources.losses`; 0 leaves one out.
        entropy_base: of its logarithm, ``"e"`` or ``"10"``.
        adversarial: weight of the student's disagreement, which is sought. form: ``"kl"``, ``"l1"``, ``"js"`` or ``"agreed"``.
            T: its temperature. reduction: of "kl". most: its bound.
    """

    kind: Literal["dafl", "dfad"]  # type: ignore[assignment]
    one_hot: float = Field(default=0.0, ge=0)
    activation: float = Field(default=0.0, ge=0)
    entropy: float = Field(default=0.0, ge=0)
    entropy_base: Literal["e", "10"] = "e"
    batch_norm: float = Field(default=0.0, ge=0)
    adversarial: float = Field(default=0.0, ge=0)
    form: Form = "kl"
    reduction: Literal["element", "batch"] = "batch"
    most: float | None = Field(default=None, gt=0)
    variation: float = Field(default=0.0, ge=0)
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
        return {**inherited, **own, **({"source:losses": losses.NUMERICS} if losses.NUMERICS > 1 else {})}

    def method(self) -> Method:
        """What the generator minimises."""
        made = pulls(
            one_hot=self.one_hot, activation=self.activation, entropy=self.entropy, base=self.entropy_base, batch_norm=self.batch_norm,
            adversarial=self.adversarial, form=self.form, T=self.T, reduction=self.reduction, most=self.most, variation=self.variation,
        )  # fmt: skip
        extra = [
            TermSpec(use=row["use"], weight=row["weight"], settings={n: v for n, v in row.items() if n not in RESERVED})
            for row in self.extra
        ]
        return made + made_method(extra) if extra else made

    def build(self, seed: int, data_dir: Path | None) -> Built:
        net = self.made_generator(seed)
        kind: Any = DAFL if self.kind == "dafl" else DFAD
        return Built(kind(net, self.normalise, **self.given()), {})

"""``kind = "adversarial"``: images of a generator that trains against the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from redistill.core import Method, RedistillError
from redistill.data import normalisation
from redistill.experiment.method import RESERVED, TermSpec, made_method, made_term, settings_of
from redistill.experiment.networks import Net, Seed, construct
from redistill.experiment.source.images import Built, Settings
from redistill.published.zero_shot import PRESETS, preset
from redistill.sources import adversarial
from redistill.sources.adversarial import Adversarial
from redistill.sources.variants import Variant
from redistill.terms import KD, by_name


class AdversarialSettings(Variant, Settings):
    """Images of a generator that trains against the student; the switches are those of :class:`redistill.sources.Variant`.

    Args:
        blocks: length of the full schedule. epoch_blocks: between two points of the curves; default 1 % of ``blocks``.
        T, reduction: of the KL that the generator maximises (the student's is in ``[[method]]``). extra: further terms of the
            generator, each a table with ``use``, ``weight`` and its settings.
        generator: network from noise to images, of this package or one's own. z: numbers of noise. channels, image_size,
            normalise: of its images. seed: of its first weights.
        code, file: of one's own generator: SHA-256 of its file, and where it was.
    """

    kind: Literal["adversarial"]
    blocks: int = Field(default=80_000, ge=1)
    epoch_blocks: int | None = Field(default=None, ge=1)
    T: float = Field(default=1.0, gt=0)
    reduction: Literal["element", "batch"] = "element"
    extra: tuple[dict[str, Any], ...] = ()
    generator: str = "zskt-generator"
    z: int = Field(default=100, ge=1)
    channels: int = Field(default=3, ge=1)
    image_size: int = Field(default=32, ge=1)
    normalise: str = "cifar10-kuangliu"
    seed: Seed = "same"
    code: str | None = None
    file: str | None = None

    depends_on_student: ClassVar[bool] = True
    labelled: ClassVar[bool] = False

    @field_validator("normalise")
    @classmethod
    def _known(cls, name: str) -> str:
        return normalisation(name).name

    @model_validator(mode="after")
    def _of_its_channels(self) -> AdversarialSettings:
        normalisation(self.normalise).require_channels(self.channels)
        return self

    @field_validator("extra")
    @classmethod
    def _complete(cls, rows: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        made = []
        for row in rows:
            settings = {key: value for key, value in row.items() if key not in ("use", "weight")}
            if not isinstance(row.get("use"), str):
                raise ValueError('every table of extra names a term, use = "Diversity"')
            term, weight = by_name(row["use"]), row.get("weight", 1.0)
            shape = settings_of(term)
            if odd := sorted(set(settings) - set(shape.model_fields)):
                raise ValueError(f"{row['use']} has no setting {odd[0]!r}")
            if term.needs_labels:
                raise ValueError(f"{row['use']} needs labels, and generated images have none")
            if isinstance(weight, bool) or not isinstance(weight, int | float):
                raise ValueError(f"the weight of {row['use']} must be a number")
            _, filled = made_term(term, shape(**settings))
            made.append({"use": row["use"], "weight": float(weight), **filled})
        return tuple(made)

    @property
    def variant(self) -> Variant:
        return Variant(**{name: getattr(self, name) for name in Variant.model_fields})

    @property
    def label(self) -> str:
        """With the name of the publication whose switches and whose generator's losses these are, all of them."""
        for name in PRESETS:
            published = preset(name)
            if (published.variant, published.generator_method.settings()) == (self.variant, self.method().settings()):
                return f"zero-shot ({name})"
        return "zero-shot"

    def numerics(self) -> dict[str, int]:
        own = {f"generator term:{row['use']}": by_name(row["use"]).numerics for row in self.extra}
        return {"source:adversarial": adversarial.NUMERICS, "generator term:KD": KD.numerics, **own}

    @property
    def sizes(self) -> dict[str, int]:
        """What the generator must be told."""
        return {"z": self.z, "channels": self.channels, "image_size": self.image_size}

    def written(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={n for n in ("code", "file") if getattr(self, n) is None})

    def method(self) -> Method:
        """What the generator minimises."""
        made = -1.0 * KD(T=self.T, reduction=self.reduction, scale_T2=False)
        extra = [
            TermSpec(use=row["use"], weight=row["weight"], settings={n: v for n, v in row.items() if n not in RESERVED})
            for row in self.extra
        ]
        return made + made_method(extra) if extra else made

    def build(self, seed: int, data_dir: Path | None) -> Built:
        drawn = seed if self.seed == "same" else self.seed
        net: Any = construct(Net(model=self.generator, code=self.code, file=self.file), self.sizes, drawn)
        shape = (self.channels, self.image_size, self.image_size)
        if (getattr(net, "z", self.z), tuple(getattr(net, "image_shape", shape))) != (self.z, shape):
            raise RedistillError(
                f"the generator {self.generator} has z = {net.z} and image_shape = {list(net.image_shape)}, but [source] says "
                f"z = {self.z} and channels and image_size of {list(shape)}: make them the same"
            )
        net.normalisation = self.normalise
        source = Adversarial(
            net,
            self.normalise,
            self.variant,
            self.method(),
            blocks=self.blocks,
            epoch_blocks=self.epoch_blocks,
            described={"model": self.generator, "z": self.z, "image_shape": list(shape)},
        )
        return Built(source, {})

"""``kind = "deep-inversion"`` and ``kind = "cmi"``: images made by many steps, and remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from redistill.core import Method, RedistillError
from redistill.data import augmentation, normalisation
from redistill.experiment.networks import Net, Seed, construct
from redistill.experiment.source.images import Built, Settings
from redistill.sources import inversion, losses
from redistill.sources.generated import Form, pulls
from redistill.sources.inversion import CMI, DeepInversion, Rounds


class InvertedSettings(Rounds, Settings):
    """Images that are made out of what the teacher knows, kept, and learned from; the switches are those of
    :class:`redistill.sources.inversion.Rounds`.

    Args:
        blocks: of the full run. epoch_blocks: between two points of the curves; default 1 % of ``blocks``.
        one_hot, batch_norm, variation, norm: weights of :mod:`redistill.sources.losses`; 0 leaves one out.
        adversarial: weight of the student's disagreement, which is sought. form: ``"kl"``, ``"l1"``, ``"js"`` or ``"agreed"``.
            T: its temperature. most: its bound.
        generator: network from noise to pixels, for ``cmi`` alone; "" for ``deep-inversion``, which moves the pixels themselves.
            z: numbers of noise. channels, image_size, normalise: of the images. seed: of the generator's first weights.
        code, file: of one's own generator: SHA-256 of its file, and where it was.
    """

    kind: Literal["deep-inversion", "cmi"]
    blocks: int = Field(default=200, ge=1)
    epoch_blocks: int | None = Field(default=None, ge=1)
    one_hot: float = Field(default=1.0, ge=0)
    batch_norm: float = Field(default=0.0, ge=0)
    variation: float = Field(default=0.0, ge=0)
    norm: float = Field(default=0.0, ge=0)
    adversarial: float = Field(default=0.0, ge=0)
    form: Form = "kl"
    T: float = Field(default=1.0, gt=0)
    most: float | None = Field(default=None, gt=0)
    generator: str = ""
    z: int = Field(default=256, ge=1)
    channels: int = Field(default=3, ge=1)
    image_size: int = Field(default=32, ge=1)
    normalise: str = "cifar10-kuangliu"
    seed: Seed = "same"
    code: str | None = None
    file: str | None = None

    depends_on_student: ClassVar[bool] = True
    labelled: ClassVar[bool] = False

    @field_validator("normalise", "augment")
    @classmethod
    def _known(cls, name: str, info: Any) -> str:
        return str(normalisation(name).name) if info.field_name == "normalise" else augmentation(name).name

    @model_validator(mode="after")
    def _whole(self) -> InvertedSettings:
        normalisation(self.normalise).require_channels(self.channels)
        if (self.kind == "cmi") != bool(self.generator):
            raise ValueError(
                'kind = "cmi" makes its images by a generator (generator = "cmi-generator"), kind = "deep-inversion" moves their pixels '
                "and has none"
            )
        if self.contrast and self.kind != "cmi":
            raise ValueError('contrast looks at two views of what a generator made: it belongs to kind = "cmi"')
        self.method()
        return self

    @property
    def label(self) -> str:
        return f"no data ({self.kind})"

    @property
    def sizes(self) -> dict[str, int]:
        """What the generator must be told."""
        return {"z": self.z, "channels": self.channels, "image_size": self.image_size}

    def numerics(self) -> dict[str, int]:
        own = {f"generator term:{type(t).__name__}": t.numerics for _, t in self.method().parts()}
        return {"source:inversion": inversion.NUMERICS, **own, **({"source:losses": losses.NUMERICS} if losses.NUMERICS > 1 else {})}

    def written(self) -> dict[str, Any]:
        return self.model_dump(mode="json", exclude={n for n in ("code", "file") if getattr(self, n) is None})

    def method(self) -> Method:
        """What the images minimise."""
        return pulls(
            one_hot=self.one_hot, target="label", batch_norm=self.batch_norm, variation=self.variation, norm=self.norm,
            adversarial=self.adversarial, form=self.form, T=self.T, most=self.most,
        )  # fmt: skip

    def build(self, seed: int, data_dir: Path | None) -> Built:
        rounds = Rounds(**{name: getattr(self, name) for name in Rounds.model_fields})
        shape = (self.channels, self.image_size, self.image_size)
        common: dict[str, Any] = {
            "rounds": rounds, "method": self.method(), "blocks": self.blocks, "epoch_blocks": self.epoch_blocks,
        }  # fmt: skip
        if self.kind == "deep-inversion":
            return Built(DeepInversion(self.normalise, shape, **common), {})
        drawn = seed if self.seed == "same" else self.seed
        net: Any = construct(Net(model=self.generator, code=self.code, file=self.file), self.sizes, drawn)
        if (getattr(net, "z", self.z), tuple(getattr(net, "image_shape", shape))) != (self.z, shape):
            raise RedistillError(
                f"the generator {self.generator} has z = {net.z} and image_shape = {list(net.image_shape)}, but [source] says "
                f"z = {self.z} and channels and image_size of {list(shape)}: make them the same"
            )
        described = {"model": self.generator, "z": self.z, "image_shape": list(shape)}
        return Built(CMI(self.normalise, shape, generator=net, described=described, **common), {})


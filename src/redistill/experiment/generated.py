"""The two further kinds of ``[source]``: images made against the student, and two sources in turn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from redistill.core import Method, RedistillError
from redistill.data import normalisation
from redistill.experiment.sources import Built, ImagesSettings, OwnSettings, Seed, Settings
from redistill.sources import PRESETS, Adversarial, Mixed, Variant, adversarial, mixed, preset
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
            term = by_name(row["use"])
            if odd := sorted(set(settings) - set(term().settings())):
                raise ValueError(f"{row['use']} has no setting {odd[0]!r}")
            if term.needs_labels:
                raise ValueError(f"{row['use']} needs labels, and generated images have none")
            made.append({"use": row["use"], "weight": float(row.get("weight", 1.0)), **term(**settings).settings()})
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
        for row in self.extra:
            settings = {key: value for key, value in row.items() if key not in ("use", "weight")}
            made = made + row["weight"] * by_name(row["use"])(**settings)
        return made

    def build(self, seed: int, data_dir: Path | None) -> Built:
        from redistill.experiment.build import construct
        from redistill.experiment.value import Net

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


Half = ImagesSettings | AdversarialSettings | OwnSettings


class MixedSettings(Settings):
    """Two sources in turn: ``take[0]`` batches of ``first``, then ``take[1]`` of ``second``."""

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
    def depends_on_student(self) -> bool:
        return self.first.depends_on_student or self.second.depends_on_student

    @property
    def labelled(self) -> bool:
        return self.first.labelled and self.second.labelled

    @property
    def label(self) -> str:
        return f"{self.first.label} and {self.second.label}"

    def numerics(self) -> dict[str, int]:
        return {"source:mixed": mixed.NUMERICS, **self.first.numerics(), **self.second.numerics()}

    def written(self) -> dict[str, Any]:
        return {"kind": "mixed", "first": self.first.written(), "second": self.second.written(), "take": list(self.take)}

    @staticmethod
    def identified(written: Mapping[str, Any]) -> dict[str, Any]:
        kinds: dict[str, type[Settings]] = {"images": ImagesSettings, "adversarial": AdversarialSettings, "own": OwnSettings}
        return {**written, **{half: kinds[written[half]["kind"]].identified(written[half]) for half in ("first", "second")}}

    def build(self, seed: int, data_dir: Path | None) -> Built:
        one, two = self.first.build(seed, data_dir), self.second.build(seed, data_dir)
        return Built(Mixed(one.source, two.source, self.take), {**one.evaluate, **two.evaluate})

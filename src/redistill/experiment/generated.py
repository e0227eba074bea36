"""The two further kinds of ``[source]``: images made against the student, and two sources in turn.

```toml
[source]
kind = "adversarial"
preset = "authors"        # paper, authors, re-2020 or modified; fills [[method]] and [recipe] where they are left out
stop_after = 1600         # blocks; the rates are those of the full schedule
noise = "fresh"           # any switch of redistill.sources.Variant
[[source.extra]]          # further terms of the generator
use = "Diversity"
weight = 0.1
```
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from redistill.core import Method, RedistillError
from redistill.experiment.sources import Built, ImagesSettings, OwnSettings, Seed
from redistill.recipe import Value
from redistill.sources import PRESETS, Adversarial, Mixed, Variant, adversarial, mixed, preset
from redistill.terms import KD, by_name

_ONLY_HERE = ("preset", "stop_after", "attention", "decay_per")
"""Keys of a file that become other settings; a record does not hold them."""


def expanded(data: dict[str, Any]) -> dict[str, Any]:
    """An experiment's settings with ``source.preset`` written out: switches, and method and recipe where nothing is said.

    Raises:
        RedistillError: unknown preset, or lengths that do not fit together.
    """
    source = data.get("source")
    if not isinstance(source, dict):
        return data
    if source.get("kind") == "mixed":
        made = {**source}
        for side in ("first", "second"):
            if isinstance(source.get(side), dict):
                made[side] = expanded({"source": source[side], "method": [], "recipe": {}})["source"]
        return {**data, "source": made}
    if source.get("kind") != "adversarial":
        return data
    if "preset" not in source:
        if alone := [key for key in _ONLY_HERE if key in source]:
            raise RedistillError(f"{alone[0]} completes a preset: add preset = \"authors\", or write the recipe out")
        return data
    given = {key: value for key, value in source.items() if key not in _ONLY_HERE}
    recipe = data.get("recipe") if isinstance(data.get("recipe"), dict) else {}
    assert isinstance(recipe, dict)
    options = {key: source[key] for key in ("stop_after", "attention", "decay_per") if key in source}
    switches = {key: value for key, value in given.items() if key in Variant.model_fields}
    chosen = preset(str(source["preset"]), blocks=given.get("blocks"), change=switches, **options)
    settings = chosen.variant.model_dump(mode="json") | {"blocks": chosen.blocks}
    if "stop_after" in source:
        settings["epoch_blocks"] = max(1, int(source["stop_after"]) // 100)  # 1 % of what is run
    if isinstance(kl := next(iter(chosen.generator_method.parts()))[1], KD):
        settings |= {"T": kl.T, "reduction": kl.reduction}
    own = chosen.recipe.model_dump(mode="json", exclude_defaults=True)
    own["schedule"] = chosen.recipe.schedule.model_dump(mode="json")  # a default kind would be left out
    if "epochs" in recipe:
        own.pop("steps")
    made = {**data, "source": {**settings, **given}, "recipe": {**own, **recipe}}
    if "method" not in data:
        made["method"] = chosen.method.settings()
    return made


class AdversarialSettings(Variant):
    """Images of a generator that trains against the student; the switches are those of :class:`redistill.sources.Variant`.

    Args:
        blocks: length of the full schedule. epoch_blocks: between two points of the curves; default 1 % of ``blocks``.
        T, reduction: of the KL that the generator maximises. extra: further terms of the generator, each a table with
            ``use``, ``weight`` and its settings.
        generator: network from noise to images. z: numbers of noise. channels, image_size, normalise: of its images.
        seed: of its first weights.
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

    depends_on_student: ClassVar[bool] = True
    labelled: ClassVar[bool] = False

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
            made.append({"use": row["use"], "weight": float(row.get("weight", 1.0)), **term(**settings).settings()})
        return tuple(made)

    @property
    def variant(self) -> Variant:
        return Variant(**{name: getattr(self, name) for name in Variant.model_fields})

    @property
    def label(self) -> str:
        for name in PRESETS:
            if preset(name).variant == self.variant:
                return f"zero-shot ({name})"
        return "zero-shot"

    def numerics(self) -> dict[str, int]:
        own = {f"generator term:{row['use']}": by_name(row["use"]).numerics for row in self.extra}
        return {"source:adversarial": adversarial.NUMERICS, "generator term:KD": KD.numerics, **own}

    def written(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def method(self) -> Method:
        """What the generator minimises."""
        made = -1.0 * KD(T=self.T, reduction=self.reduction, scale_T2=False)
        for row in self.extra:
            settings = {key: value for key, value in row.items() if key not in ("use", "weight")}
            made = made + row["weight"] * by_name(row["use"])(**settings)
        return made

    def build(self, seed: int, data_dir: Path | None) -> Built:
        from redistill import models

        drawn = seed if self.seed == "same" else self.seed
        net = models.build(self.generator, seed=drawn, channels=self.channels, image_size=self.image_size, z=self.z)
        net.normalisation = self.normalise  # type: ignore[assignment]
        source = Adversarial(
            net,
            self.normalise,
            self.variant,
            self.method(),
            blocks=self.blocks,
            epoch_blocks=self.epoch_blocks,
            described={"model": self.generator, "z": self.z, "image_shape": [self.channels, self.image_size, self.image_size]},
        )
        return Built(source, {})


Half = ImagesSettings | AdversarialSettings | OwnSettings


class MixedSettings(Value):
    """Two sources in turn: ``take[0]`` batches of ``first``, then ``take[1]`` of ``second``."""

    kind: Literal["mixed"]
    first: Half = Field(discriminator="kind")
    second: Half = Field(discriminator="kind")
    take: tuple[int, int] = (1, 1)

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

    def build(self, seed: int, data_dir: Path | None) -> Built:
        one, two = self.first.build(seed, data_dir), self.second.build(seed, data_dir)
        return Built(Mixed(one.source, two.source, self.take), {**one.evaluate, **two.evaluate})

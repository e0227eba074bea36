"""The two further kinds of ``[source]``: images made against the student, and two sources in turn.

```toml
[source]
kind = "adversarial"
preset = "authors"        # paper, authors, re-2020 or modified; fills [[method]] and [recipe] where they are left out
stop_after = 1600         # blocks; the rates are those of the full schedule
noise = "fresh"           # any switch of redistill.sources.Variant
kl = "batch"              # and what completes a preset: kl, attention, attention_form, decay_per
[[source.extra]]          # further terms of the generator
use = "Diversity"
weight = 0.1
```
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from redistill.core import Method, RedistillError, nearest
from redistill.data import normalisation
from redistill.experiment.lines import Path as Key
from redistill.experiment.mistakes import Mistakes
from redistill.experiment.sources import Built, ImagesSettings, OwnSettings, Seed
from redistill.recipe import Value
from redistill.sources import PRESETS, Adversarial, Mixed, Variant, adversarial, mixed, preset
from redistill.sources.variants import PUBLISHED
from redistill.terms import KD, by_name
from redistill.terms.at import Form
from redistill.terms.kd import Reduction

_FILLS = {
    "kl": ("[[method]]",),
    "attention": ("[[method]]",),
    "attention_form": ("[[method]]",),
    "decay_per": ("recipe.schedule",),
    "stop_after": ("recipe.steps", "recipe.epochs"),
}
"""What else of the file a key completes: it would do nothing where the file has its own."""


class Completion(Value):
    """Keys of ``[source]`` that become other settings; a record does not hold them. See :func:`redistill.sources.preset`."""

    preset: str
    stop_after: int | None = Field(default=None, ge=1)
    kl: Reduction | None = None
    attention: float = Field(default=250.0, ge=0)
    attention_form: Form | None = None
    decay_per: Literal["block", "step"] = "block"

    @field_validator("preset")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in PRESETS:
            raise ValueError(nearest(name, PRESETS, "zero-shot preset"))
        return name

    @model_validator(mode="after")
    def _has_a_form(self) -> Completion:
        if self.attention_form is not None and not self.attention:
            raise ValueError("attention = 0 leaves the term out that attention_form would be the form of")
        return self


def expanded(data: dict[str, Any], mistakes: Mistakes, key: Key = ("source",)) -> dict[str, Any]:
    """An experiment's settings with ``source.preset`` written out: switches, and method and recipe where nothing is said.

    What is wrong is told to ``mistakes``, once and at its place ``key``; what comes back can then be read as if it were right.
    """
    source = data.get("source")
    if not isinstance(source, dict):
        return data
    if source.get("kind") == "mixed":
        made = {**source}
        for side in ("first", "second"):
            if side in source:
                half: dict[str, Any] = {"source": source[side], "method": [], "recipe": {}}
                made[side] = expanded(half, mistakes, (*key, side))["source"]
        return {**data, "source": made}
    if "preset" in source and "kind" not in source:
        mistakes.add((*key, "preset"), 'belongs to a generator: add kind = "adversarial"')
    elif source.get("kind") != "adversarial":
        return data
    given = {name: value for name, value in source.items() if name not in Completion.model_fields}
    named = {name: value for name, value in source.items() if name in Completion.model_fields}
    if "preset" not in source:
        for name in named:
            mistakes.add((*key, name), 'completes a preset: add preset = "authors", or write method and recipe out')
        return {**data, "source": given}
    return _filled(data, given, _completion(data, named, mistakes, key), mistakes, key)


def _completion(data: dict[str, Any], named: dict[str, Any], mistakes: Mistakes, key: Key) -> Completion:
    recipe = data.get("recipe")
    own = {f"recipe.{name}" for name in recipe} if isinstance(recipe, dict) else set()
    if "method" in data:
        own.add("[[method]]")
    for name in named:
        for filled in own.intersection(_FILLS.get(name, ())):
            hint = ", or say the generator's as reduction" if name == "kl" else ""
            mistakes.add((*key, name), f"completes the preset's {filled}, but this file has its own: remove one of the two{hint}")
    try:
        return Completion.model_validate(named)
    except ValidationError as error:
        mistakes.validation(key, error)
    name = named["preset"]
    return Completion(preset=name if name in PRESETS else "authors")


def _filled(data: dict[str, Any], given: dict[str, Any], said: Completion, mistakes: Mistakes, key: Key) -> dict[str, Any]:
    published = PUBLISHED[said.preset]
    block = published.variant.model_dump() | {"blocks": published.blocks}
    own = {name: value for name, value in given.items() if name in block}
    try:
        block = AdversarialSettings.model_validate({"kind": "adversarial", **block, **own}).model_dump(include=set(block))
    except ValidationError:
        pass  # told where the source is read, with its other settings
    blocks = block.pop("blocks")
    chosen = preset(said.preset, blocks=blocks, change=block)
    with mistakes.at((*key, "stop_after")):
        chosen = preset(said.preset, blocks=blocks, change=block, **said.model_dump(exclude={"preset"}))
    settings = chosen.variant.model_dump(mode="json") | {"blocks": chosen.blocks}
    if said.stop_after is not None:
        settings["epoch_blocks"] = max(1, said.stop_after // 100)  # 1 % of what is run
    if isinstance(kl := next(iter(chosen.generator_method.parts()))[1], KD):
        settings |= {"T": kl.T, "reduction": kl.reduction}
    made = {**data, "source": {"kind": "adversarial", **settings, **given}}
    if isinstance(recipe := data.get("recipe", {}), dict):
        filled = chosen.recipe.model_dump(mode="json", exclude_defaults=True)
        filled["schedule"] = chosen.recipe.schedule.model_dump(mode="json")  # a default kind would be left out
        if "epochs" in recipe:
            filled.pop("steps")
        made["recipe"] = {**filled, **recipe}
    if "method" not in data:
        made["method"] = chosen.method.settings()
    return made


class AdversarialSettings(Variant):
    """Images of a generator that trains against the student; the switches are those of :class:`redistill.sources.Variant`.

    Args:
        blocks: length of the full schedule. epoch_blocks: between two points of the curves; default 1 % of ``blocks``.
        T, reduction: of the KL that the generator maximises. extra: further terms of the generator, each a table with
            ``use``, ``weight`` and its settings.
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
        for name in PRESETS:
            if preset(name).variant == self.variant:
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

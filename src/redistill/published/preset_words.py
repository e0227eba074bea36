"""``preset`` of a zero-shot ``[source]``: one word that stands for switches, method and recipe.

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

In a half of ``kind = "mixed"`` it stands for the switches of the generator alone: the file has its own method and recipe.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from redistill.core import nearest
from redistill.published.zero_shot import PRESETS, PUBLISHED, preset
from redistill.settings.lines import Path as Key
from redistill.settings.validation import ValidationErrors
from redistill.sources.variants import Variant
from redistill.terms import KD
from redistill.terms.at import Form
from redistill.terms.kd import Reduction
from redistill.values import Value

_FILLS = {
    "kl": ("[[method]]",),
    "attention": ("[[method]]",),
    "attention_form": ("[[method]]",),
    "decay_per": ("recipe.schedule",),
    "stop_after": ("recipe.steps", "recipe.epochs"),
}
"""What else of the file a key completes: it would do nothing where the file has its own."""


class _Schedule(Variant):
    """The switches of a generator, and the length of their full schedule."""

    blocks: int = Field(ge=1)


class Completion(Value):
    """Keys of ``[source]`` that become other settings; a record does not hold them. See :func:`redistill.sources.preset`.

    Args:
        preset: ``paper``, ``authors``, ``re-2020`` or ``modified``: every switch as that publication has it, and ``[[method]]`` and
            ``[recipe]`` where the file leaves them out; what the file says counts. The five keys that follow go with it alone.
        stop_after: end the run after so many blocks, with the rates of the full schedule. kl: reduction of both KLs, ``"batch"`` or
            ``"element"``. attention: weight of the student's attention term, 0 for none. attention_form: its form. decay_per: the
            student's cosine moves once a ``"block"`` or every ``"step"``.
    """

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


def written_out(data: dict[str, Any], mistakes: ValidationErrors, key: Key = ("source",)) -> dict[str, Any]:
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
                half: dict[str, Any] = {"source": _half(source[side], mistakes, (*key, side)), "method": [], "recipe": {}}
                made[side] = written_out(half, mistakes, (*key, side))["source"]
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


def _half(source: Any, mistakes: ValidationErrors, key: Key) -> Any:
    """A half of a mixed source without what would complete the method and the recipe of a file that has both itself."""
    if not isinstance(source, dict) or "preset" not in source:
        return source
    for name in (idle := [n for n in source if n in _FILLS]):
        hint = "; the generator's KL is T and reduction" if name == "kl" else ""
        mistakes.add((*key, name), f"completes a preset's method and recipe, which a mixed file has itself: remove it{hint}")
    return {name: value for name, value in source.items() if name not in idle}


def _completion(data: dict[str, Any], named: dict[str, Any], mistakes: ValidationErrors, key: Key) -> Completion:
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


def _filled(data: dict[str, Any], given: dict[str, Any], completion: Completion, mistakes: ValidationErrors, key: Key) -> dict[str, Any]:
    published = PUBLISHED[completion.preset]
    block = published.variant.model_dump() | {"blocks": published.blocks}
    own = {name: value for name, value in given.items() if name in block}
    try:
        block = _Schedule.model_validate(block | own).model_dump()
    except ValidationError:
        pass  # told where the source is read, with its other settings
    blocks = block.pop("blocks")
    chosen = preset(completion.preset, blocks=blocks, change=block)
    with mistakes.at((*key, "stop_after")):
        chosen = preset(completion.preset, blocks=blocks, change=block, **completion.model_dump(exclude={"preset"}))
    settings = chosen.variant.model_dump(mode="json") | {"blocks": chosen.blocks}
    if completion.stop_after is not None:
        settings["epoch_blocks"] = chosen.epoch_blocks  # 1 % of what is run
    if isinstance(kl := next(iter(chosen.generator_method.parts()))[1], KD):
        settings |= {"T": kl.T, "reduction": kl.reduction}
    made = {**data, "source": {"kind": "adversarial", **settings, **given}}
    if isinstance(recipe := data.get("recipe", {}), dict):
        filled = chosen.recipe.settings()
        if "epochs" in recipe:
            filled.pop("steps")
        made["recipe"] = {**filled, **recipe}
    if "method" not in data:
        made["method"] = chosen.method.settings()
    return made

"""``few`` of a ``[recipe]``: one word for the recipe of the few-image comparisons, as long as one of its publications has it.

```toml
[source]
data = "cifar10"
per_class = 100           # M images a class

[recipe]
few = "authors"           # steps, authors or re-2020: see redistill.published.few_images
full_epochs = 200         # of the run on all images
scale = 1.0               # further factor of the authors' SVHN scripts
```
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from redistill.core import RedistillError
from redistill.data.catalogue import count_of, row_of
from redistill.data.named import full_name, load_data
from redistill.published.few_images import Counting, few_recipe
from redistill.settings.validation import ValidationErrors
from redistill.values import Value

SUBSETS = ("per_class", "first_per_class", "per_class_ferles")


class FewImages(Value):
    """Keys of ``[recipe]`` that become other settings; a record does not hold them. See :func:`redistill.sources.few_recipe`.

    Args:
        few: the recipe of the few-image comparisons, length and schedule as ``steps``, ``authors`` or ``re-2020`` have them.
        full_epochs: with ``few``, epochs of the run on all images. scale: with ``few = "authors"``, a further factor on the length.
    """

    few: Counting
    full_epochs: int = Field(default=200, ge=1)
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)


def written_out(
    data: dict[str, Any], mistakes: ValidationErrors, folder: Path, data_dir: Path | None, *, trust_code: bool = False
) -> dict[str, Any]:
    """An experiment's settings with ``recipe.few`` written out; what is wrong with it is told to ``mistakes``."""
    recipe = data.get("recipe")
    if not isinstance(recipe, dict) or not (named := {n: v for n, v in recipe.items() if n in FewImages.model_fields}):
        return data
    given = {name: value for name, value in recipe.items() if name not in named}
    length = {} if "epochs" in given or "steps" in given else {"epochs": 1}
    plain = {**data, "recipe": {**length, **given}}  # what is read on where something is wrong
    if "few" not in named:
        for name in named:
            mistakes.add(("recipe", name), 'completes the recipe of the few-image comparisons: add few = "steps"')
        return plain
    before = len(mistakes.found)
    for name in ("epochs", "steps", "schedule"):
        if name in given:
            mistakes.add(("recipe", "few"), f"sets length and schedule, but this file has its own {name}: remove one of the two")
    try:
        completion = FewImages.model_validate(named)
    except ValidationError as error:
        mistakes.validation(("recipe",), error)
    if len(mistakes.found) > before:
        return plain
    with mistakes.at(("recipe", "few")):
        images, classes, M = _counts(data.get("source"), folder, data_dir, trust_code)
        made = few_recipe(M, counting=completion.few, epochs=completion.full_epochs, images=images, classes=classes, scale=completion.scale)
    if len(mistakes.found) > before:
        return plain
    return {**data, "recipe": {**made.settings(), **given}}


def _counts(source: Any, folder: Path, data_dir: Path | None, trust_code: bool) -> tuple[int, int, int]:
    """(images of the full set, classes, images a class)."""
    subset = next((source[name] for name in SUBSETS if name in source), None) if isinstance(source, dict) else None
    if isinstance(subset, bool) or not isinstance(subset, int):
        raise RedistillError(f"its length follows from the images a class: give [source] one of {', '.join(SUBSETS)}")
    name = full_name(str(source.get("data", "")), "train", folder)
    images, row = count_of(name), row_of(name)
    if images is None or row is None:
        found = load_data(name, data_dir, trust_code=trust_code)
        return int(found.count), int(found.classes), subset
    return images, row.classes, subset

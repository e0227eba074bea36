"""The cards of ``docs/methods``: one a term, one for zero-shot and one for few images, made from their files."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from types import ModuleType

from redistill.core import Term
from redistill.errors import RedistillError
from redistill.published import few_images as few
from redistill.published import zero_shot as published
from redistill.report.table import bars
from redistill.sources import variants
from redistill.terms import ALL
from redistill.terms.parts import abf, pyramid
from redistill.testing import THEOREMS

PARTS: dict[str, tuple[ModuleType, ...]] = {"Review": (pyramid, abf)}
"""Files that belong to a term's card besides its own."""


def markdown(text: str) -> str:
    """A docstring as Markdown: our docstrings are, but for double backticks, roles and reStructuredText's ``::``.

    >>> markdown("see :func:`redistill.testing.check_term` of :mod:`redistill.testing`, with ``T``")
    'see `check_term` of `redistill.testing`, with `T`'
    """
    text = re.sub(r":(?:class|func|meth|data|attr):`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r":mod:`([\w.]+)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def sections(doc: str) -> tuple[str, dict[str, str], str]:
    """A class docstring as (what stands before ``Args:``, settings by name, the doctest)."""
    text, mark, example = inspect.cleandoc(doc).partition("\n>>> ")
    prose, _, args = text.partition("\nArgs:\n")
    entries: dict[str, str] = {}
    # an entry is "name: text" or "name, name: text", its further lines indented
    joined = " ".join(line.strip() if line.startswith("     ") else "\0" + line.strip() for line in args.splitlines())
    for chunk in joined.split("\0")[1:]:
        names, _, text = chunk.partition(": ")
        for name in names.split(", "):
            entries[name.strip()] = text.strip()
    return prose.strip(), entries, mark.strip("\n") + example


def own_words(cls: type[Term]) -> str:
    """The docstring without the formula of the file, which the card shows above it."""
    return re.sub(r"\A\n(?:    .*\n)+\n", "", cls.__doc__ or "")


def settings_table(cls: type[Term]) -> str:
    """Name, default and meaning of every setting; a setting without a sentence is refused."""
    _, meanings, _ = sections(own_words(cls))
    if not dataclasses.fields(cls):  # type: ignore[arg-type]
        return "None."
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in meanings:
            raise RedistillError(f"{cls.__name__} does not say what {field.name} means: add it to Args")
        meaning = markdown(meanings[field.name])
        rows.append(bars((f"`{field.name}`", f"`{field.default!r}`", meaning)))
    return "\n".join(rows)


def title(cls: type[Term]) -> str:
    """The first line of the term's file, or of the class where a file holds several terms."""
    several = sum(other.__module__ == cls.__module__ for other in ALL) > 1
    doc = cls.__doc__ if several else sys.modules[cls.__module__].__doc__
    return markdown(inspect.cleandoc(doc or "").partition("\n")[0])


def card(cls: type[Term]) -> str:
    """The whole page of one term."""
    module = sys.modules[cls.__module__]
    body = inspect.cleandoc(module.__doc__ or "")
    if title(cls) == markdown(body.partition("\n")[0]):
        body = body.partition("\n")[2]
    prose, _, example = sections(own_words(cls))
    needs = [what for what, needed in (("a teacher", cls.needs_teacher), ("labels", cls.needs_labels)) if needed]
    parts = []
    for part in PARTS.get(cls.__name__, ()):
        heading, _, text = inspect.cleandoc(part.__doc__ or "").partition("\n")
        parts.append(f"## {markdown(heading)}\n{markdown(text)}\n\nFile: `{path_of(part)}`")
    theorems = "\n".join(f"* {name}: {markdown(THEOREMS[name].__doc__ or '')}" for name in cls.theorems)
    return "\n\n".join(
        (
            f"<!-- made from {path_of(module)} by scripts/make_docs.py; do not edit -->\n# {cls.__name__}",
            f"**{title(cls)}**\n\n{markdown(body).lstrip(chr(10))}",
            f"## Use\n\n{markdown(prose)}",
            f"```python\n>>> from redistill.terms import {cls.__name__}\n{inspect.cleandoc(example)}\n```",
            f"Needs {' and '.join(needs) or 'neither teacher nor labels'}.",
            f"## Settings\n\n{settings_table(cls)}",
            *parts,
            f"## Proven\n\nBy `redistill.testing.check_term`{', besides' if theorems else ':'} what every term promises"
            + (f":\n\n{theorems}" if theorems else "."),
            f"File: `{path_of(module)}`, numerics version {cls.numerics}\n",
        )
    )


COUNTINGS: tuple[few.Counting, ...] = ("steps", "authors", "re-2020")

USE = """
```python
import redistill as rd

train, test = rd.data.cifar10("data")                  # after redistill download cifar10 --data-dir data
teacher = rd.models.load("teacher.safetensors")
preset = rd.sources.preset("authors")                  # or "paper", "re-2020", "modified"
source = rd.sources.Adversarial(
    rd.models.generator(seed=0), "cifar10-kuangliu", preset.variant, preset.generator_method,
    blocks=preset.blocks, epoch_blocks=preset.epoch_blocks,
)
student = rd.models.wrn(16, 1, classes=10, seed=0)
result = rd.fit(student, teacher, preset.method, source, preset.recipe, seed=0, evaluate={"test": test})
```

One switch at a time: `preset("authors", change={"n_S": 5}, kl="batch")`. As a file: `kind = "adversarial"` and `preset` in
`[source]`, every switch below beside them ([examples/zero_shot.toml](../../examples/zero_shot.toml)). `redistill samples RUN`
shows what the generator made, early, middle and late, and what teacher and student thought of it then,
`redistill belief A B --data DATA` how alike two networks believe. Real
images come in by `kind = "mixed"`, or afterwards by a second run that starts from the first ([examples](../../examples)). Any
method may take the student's place; KD needs no labels.
"""


def zero_shot() -> str:
    """The page of the generated source: every switch with the value that each publication gives it."""
    presets = {name: published.preset(name) for name in published.PRESETS}
    prose, meanings, _ = sections(variants.Variant.__doc__ or "")
    before, _, after = inspect.cleandoc(variants.__doc__ or "").partition("\n\nSources: ")
    heading, _, first = before.partition("\n")
    lead = first.strip().partition(" The four forms")[0]
    rows = [bars(("switch", *(f"`{name}`" for name in presets), "meaning")), "|---" * (len(presets) + 2) + "|"]

    def row(name: str, values: list[object], meaning: str) -> None:
        shown = [str(value) if len({*map(str, values)}) == 1 else f"**{value}**" for value in values]
        rows.append(bars((f"`{name}`", *shown, markdown(meaning))))

    for name in variants.Variant.model_fields:
        meaning = meanings[name]
        row(name, [getattr(preset.variant, name) for preset in presets.values()], meaning)
    whole = inspect.signature(published.preset).parameters
    _, completing, _ = sections(published.preset.__doc__ or "")
    for name in ("blocks", "stop_after", "kl", "attention", "attention_form", "decay_per"):
        of = published.PUBLISHED.values()
        row(name, [getattr(one, name, whole[name].default) for one in of], completing[name])
    row("method", [f"`{preset.method!r}`" for preset in presets.values()], "what the student learns by")
    row("generator's method", [f"`{preset.generator_method!r}`" for preset in presets.values()], "what the generator minimises")
    return "\n\n".join(
        (
            f"<!-- made from {path_of(variants)} by scripts/make_docs.py; do not edit -->\n# Zero-shot distillation",
            f"**{markdown(heading)}**\n\n{markdown(lead)}",
            f"## Use\n{USE.rstrip()}",
            f"## Switches\n\n{markdown(prose)} What differs between publications is bold. The switches from `blocks` to `decay_per` "
            "are arguments of `preset`, those above them go into its `change`, and in a file all stand in `[source]`; the last two rows "
            "are what follows.\n\n" + "\n".join(rows),
            f"Sources: {markdown(after)}",
            f"File: `{path_of(variants)}`\n",
        )
    )


FEW = """
```python
import redistill as rd

train, test = rd.data.cifar10("data")                  # after redistill download cifar10 --data-dir data
teacher = rd.models.load("teacher.safetensors")
few = train.per_class(100, seed=0)
method = rd.sources.few_methods()["KD+AT"]
recipe = rd.sources.few_recipe(100, counting="steps")
student = rd.models.wrn(16, 1, classes=10, seed=0)
result = rd.fit(student, teacher, method, few, recipe, seed=0, evaluate={"test": test})
```

As a file: `per_class = 100` in `[source]`, and in `[recipe]` the one word `few = "steps"` (`"authors"`, `"re-2020"`), with
`full_epochs` (200) and `scale` (1) beside it where they differ; the record has the recipe written out. Images of a class are drawn
by the run's seed (`per_class`) or taken in the order of the file (`first_per_class`).
"""

AFTER = """
A zero-shot student learns on from M real images a class: a second run that starts from the first
([examples/zero_shot_tuned.toml](../../examples/zero_shot_tuned.toml)), in Python `rd.sources.extra_images()`, which is method and
recipe of the reproducibility report's code: `{method!r}`,
Adam {recipe.lr:g} with a cosine over {recipe.epochs} epochs (SVHN: 100), the student in evaluation mode. Adam, KD and an
[anchor](Anchor.md) at the zero-shot weights are what is known; the paper's own recipe for this step is in no publication and no
code. The report's code keeps the best epoch on the test set, the start included, so its numbers cannot fall; here the last counts.

Real and generated batches in turn: `kind = "mixed"` ([examples/zero_shot_mixed.toml](../../examples/zero_shot_mixed.toml)).
"""


def few_images() -> str:
    """The page of the few-image comparisons: losses, and how long each publication trains."""
    heading = inspect.cleandoc(few.__doc__ or "").partition("\n")[0]
    losses = ["| name | method | as the zero-shot codes have KD |", "|---|---|---|"]
    codes = few.few_methods(codes=True)
    losses += [bars((name, f"`{method!r}`", f"`{codes[name]!r}`")) for name, method in few.few_methods().items()]
    lengths = [bars(("M", *(f"`{c}`" for c in COUNTINGS))), "|--:|" + "--:|" * len(COUNTINGS)]
    for M in (10, 25, 50, 75, 100, 200, 5000):
        taken = [few.few_recipe(M, counting=c).total_steps(-(-10 * M // 128)) for c in COUNTINGS]
        lengths.append(bars((M, *(f"{steps:,}" for steps in taken))))
    method, recipe = few.extra_images()
    return "\n\n".join(
        (
            f"<!-- made from {path_of(few)} by scripts/make_docs.py; do not edit -->\n# Few images",
            f"**{markdown(heading)}**\n{FEW.rstrip()}",
            "## Losses\n\n" + "\n".join(losses),
            "## How long\n\nOne M, three lengths. `steps`: the optimiser steps of the full run for every M, "
            "what the paper says it does. `authors`: int(epochs · images / (classes · M) · scale) epochs, the lower rate one epoch "
            "late, an incomplete batch a step too. `re-2020`: int(epochs · 5000 / M) epochs, with Nesterov's momentum. All: batch 128, "
            "SGD 0.1, momentum 0.9, weight decay 5e-4, the rate times 0.2 after 30, 60 and 80 %; 200 epochs of the full run (SVHN: 100). "
            "Optimiser steps on CIFAR-10:\n\n" + "\n".join(lengths),
            f"## After zero-shot, and beside it\n{AFTER.format(method=method, recipe=recipe).rstrip()}",
            f"File: `{path_of(few)}`\n",
        )
    )


def path_of(module: ModuleType) -> str:
    return f"src/{module.__name__.replace('.', '/')}.py"


def index() -> str:
    """The list of cards."""
    rows = []
    for cls in ALL:
        rows.append(bars((f"[{cls.__name__}]({cls.__name__}.md)", title(cls))))
    rows.append("| [zero-shot](zero-shot.md) | Images that a generator makes against the student: a source, not a term |")
    rows.append("| [few images](few-images.md) | Recipes and losses of the comparisons with M real images a class |")
    head = "<!-- made by scripts/make_docs.py; do not edit -->\n# Methods\n\n"
    return head + "\n".join(("| term | idea |", "|---|---|", *rows)) + "\n"


def cards() -> dict[str, str]:
    """Text of every page by file name."""
    pages = {"README.md": index(), "zero-shot.md": zero_shot(), "few-images.md": few_images()}
    return pages | {f"{cls.__name__}.md": card(cls) for cls in ALL}

"""Writes ``docs/methods``: one card a term and one for zero-shot, made from their files; a test fails where one is stale.

    python scripts/make_method_cards.py
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

from redistill.core import Term
from redistill.sources import variants
from redistill.terms import ALL, abf, pyramid
from redistill.testing import THEOREMS

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "methods"

PARTS: dict[str, tuple[ModuleType, ...]] = {"Review": (pyramid, abf)}
"""Files that belong to a term's card besides its own."""


def markdown(text: str) -> str:
    """A docstring as Markdown: our docstrings are, but for double backticks, roles and reStructuredText's ``::``."""
    text = re.sub(r":(?:class|func|meth):`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
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


def settings_table(cls: type[Term]) -> str:
    """Name, default and meaning of every setting; a setting without a sentence is refused."""
    _, meanings, _ = sections(cls.__doc__ or "")
    if not dataclasses.fields(cls):  # type: ignore[arg-type]
        return "None."
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in meanings:
            raise SystemExit(f"{cls.__name__} does not say what {field.name} means: add it to Args")
        meaning = markdown(meanings[field.name]).replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{field.default!r}` | {meaning} |")
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
    prose, _, example = sections(cls.__doc__ or "")
    needs = [what for what, needed in (("a teacher", cls.needs_teacher), ("labels", cls.needs_labels)) if needed]
    parts = []
    for part in PARTS.get(cls.__name__, ()):
        heading, _, text = inspect.cleandoc(part.__doc__ or "").partition("\n")
        parts.append(f"## {markdown(heading)}\n{markdown(text)}\n\nFile: `{path_of(part)}`")
    theorems = "\n".join(f"* {name}: {THEOREMS[name].__doc__}" for name in cls.theorems)
    return "\n\n".join(
        (
            f"<!-- made from {path_of(module)} by scripts/make_method_cards.py; do not edit -->\n# {cls.__name__}",
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


USE = """
```python
teacher = rd.models.load("teacher.safetensors")
preset = rd.sources.preset("authors")                  # or "paper", "re-2020", "modified"
source = rd.sources.Adversarial(
    rd.models.generator(seed=0), "cifar10-kuangliu", preset.variant, preset.generator_method, blocks=preset.blocks
)
student = rd.models.wrn(16, 1, classes=10, seed=0)
result = rd.fit(student, teacher, preset.method, source, preset.recipe, seed=0, evaluate={"test": test})
```

One switch at a time: `preset("authors", change={"n_S": 5}, kl="batch")`. As a file: `kind = "adversarial"` and `preset` in
`[source]`, every switch below beside them ([examples/zero_shot.toml](../../examples/zero_shot.toml)). `redistill samples RUN`
shows what the generator made, early, middle and late, `redistill belief A B --data DATA` how alike two networks believe. Real
images come in by `kind = "mixed"`, or afterwards by a second run that starts from the first ([examples](../../examples)). Any
method may take the student's place; KD needs no labels.
"""


def zero_shot() -> str:
    """The page of the generated source: every switch with the value that each publication gives it."""
    presets = {name: variants.preset(name) for name in variants.PRESETS}
    prose, meanings, _ = sections(variants.Variant.__doc__ or "")
    before, _, after = inspect.cleandoc(variants.__doc__ or "").partition("\n\nSources: ")
    heading, _, first = before.partition("\n")
    lead = first.strip().partition(" The four forms")[0]
    rows = ["| switch | " + " | ".join(f"`{name}`" for name in presets) + " | meaning |", "|---" * (len(presets) + 2) + "|"]

    def row(name: str, values: list[object], meaning: str) -> None:
        shown = [str(value) if len({*map(str, values)}) == 1 else f"**{value}**" for value in values]
        rows.append(f"| `{name}` | " + " | ".join(shown) + f" | {markdown(meaning)} |")

    for name in variants.Variant.model_fields:
        meaning = meanings[name]
        row(name, [getattr(preset.variant, name) for preset in presets.values()], meaning)
    whole = inspect.signature(variants.preset).parameters
    _, completing, _ = sections(variants.preset.__doc__ or "")
    for name in ("blocks", "stop_after", "kl", "attention", "attention_form", "decay_per"):
        of = variants.PUBLISHED.values()
        row(name, [getattr(one, name, whole[name].default) for one in of], completing[name])
    row("method", [f"`{preset.method!r}`" for preset in presets.values()], "what the student learns by")
    row("generator's method", [f"`{preset.generator_method!r}`" for preset in presets.values()], "what the generator minimises")
    return "\n\n".join(
        (
            f"<!-- made from {path_of(variants)} by scripts/make_method_cards.py; do not edit -->\n# Zero-shot distillation",
            f"**{markdown(heading)}**\n\n{markdown(lead)}",
            f"## Use\n{USE.rstrip()}",
            f"## Switches\n\n{markdown(prose)} What differs between publications is bold. The switches from `blocks` on are arguments "
            "of `preset`, the others go into its `change`; in a file all stand in `[source]`.\n\n" + "\n".join(rows),
            f"Sources: {markdown(after)}",
            f"File: `{path_of(variants)}`\n",
        )
    )


def path_of(module: ModuleType) -> str:
    return f"src/{module.__name__.replace('.', '/')}.py"


def index() -> str:
    """The list of cards."""
    rows = []
    for cls in ALL:
        rows.append(f"| [{cls.__name__}]({cls.__name__}.md) | {title(cls)} |")
    rows.append("| [zero-shot](zero-shot.md) | Images that a generator makes against the student: a source, not a term |")
    head = "<!-- made by scripts/make_method_cards.py; do not edit -->\n# Methods\n\n"
    return head + "\n".join(("| term | idea |", "|---|---|", *rows)) + "\n"


def cards() -> dict[str, str]:
    """Text of every page by file name."""
    return {"README.md": index(), **{f"{cls.__name__}.md": card(cls) for cls in ALL}, "zero-shot.md": zero_shot()}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in cards().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

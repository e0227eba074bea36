"""Writes ``docs/methods``: one card a term, made from the term's file; a test fails where a card is stale.

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
    prose, _, rest = inspect.cleandoc(doc).partition("\nArgs:\n")
    args, _, example = rest.partition("\n\n")
    entries: dict[str, str] = {}
    # an entry is "name: text" or "name, name: text", its further lines indented
    joined = " ".join(line.strip() if line.startswith("     ") else "\0" + line.strip() for line in args.splitlines())
    for chunk in joined.split("\0")[1:]:
        names, _, text = chunk.partition(": ")
        for name in names.split(", "):
            entries[name.strip()] = text.strip()
    return prose.strip(), entries, example


def settings_table(cls: type[Term]) -> str:
    """Name, default and meaning of every setting; a setting without a sentence is refused."""
    _, meanings, _ = sections(cls.__doc__ or "")
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        if field.name not in meanings:
            raise SystemExit(f"{cls.__name__} does not say what {field.name} means: add it to Args")
        meaning = markdown(meanings[field.name]).replace("|", "\\|")
        rows.append(f"| `{field.name}` | `{field.default!r}` | {meaning} |")
    return "\n".join(rows)


def card(cls: type[Term]) -> str:
    """The whole page of one term."""
    module = sys.modules[cls.__module__]
    title, _, body = inspect.cleandoc(module.__doc__ or "").partition("\n")
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
            f"**{markdown(title)}**\n{markdown(body)}",
            f"## Use\n\n{markdown(prose)}",
            f"```python\n>>> from redistill.terms import {cls.__name__}\n{inspect.cleandoc(example)}\n```",
            f"Needs {' and '.join(needs) or 'neither teacher nor labels'}.",
            f"## Settings\n\n{settings_table(cls)}",
            *parts,
            f"## Proven\n\nBy `redistill.testing.check_term`, besides what every term promises:\n\n{theorems}",
            f"File: `{path_of(module)}`, numerics version {cls.numerics}\n",
        )
    )


def path_of(module: ModuleType) -> str:
    return f"src/{module.__name__.replace('.', '/')}.py"


def index() -> str:
    """The list of cards."""
    rows = []
    for cls in ALL:
        title = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "").partition("\n")[0]
        rows.append(f"| [{cls.__name__}]({cls.__name__}.md) | {markdown(title)} |")
    head = "<!-- made by scripts/make_method_cards.py; do not edit -->\n# Methods\n\n"
    return head + "\n".join(("| term | idea |", "|---|---|", *rows)) + "\n"


def cards() -> dict[str, str]:
    """Text of every page by file name."""
    return {"README.md": index(), **{f"{cls.__name__}.md": card(cls) for cls in ALL}}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in cards().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

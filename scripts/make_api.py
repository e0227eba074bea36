"""Write docs/api.md: the public names, from the table of the package, one line each.

    python scripts/make_api.py
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import redistill as rd

PAGE = Path(__file__).resolve().parents[1] / "docs" / "api.md"


def sentence(doc: str | None) -> str:
    """The first paragraph of a docstring up to its first full stop, formulas (indented) left out, as Markdown."""
    lines = [line for line in inspect.cleandoc(doc or "").splitlines() if not line.startswith("    ")]
    paragraph = "\n".join(lines).strip().partition("\n\n")[0].replace("\n", " ")
    first = re.split(r"\. (?=[A-Z])", paragraph)[0].rstrip(".")
    return re.sub(r":(?:class|func|meth):`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", first).replace("``", "`")


def line(name: str) -> str:
    """``| `rd.KD` | what it is |``"""
    said = sentence(getattr(rd, name).__doc__)
    if not said:
        raise SystemExit(f"rd.{name} does not say what it is: give it a docstring")
    return f"| `rd.{name}` | {said.replace('|', chr(92) + '|')} |"


def page() -> str:
    """The whole page: a table for each home, in the order of the package's own table."""
    parts = [
        "<!-- made from the package by scripts/make_api.py; do not edit -->\n# Public names\n\n"
        "`import redistill as rd`; each name is loaded when it is first used. `help(rd.KD)` says the rest."
    ]
    for home in dict.fromkeys(rd._HOME.values()):
        names = [name for name, where in rd._HOME.items() if where == home]
        title = sentence(importlib.import_module(f"redistill.{home}").__doc__)
        parts.append("\n".join((f"## `redistill.{home}`\n\n{title}.\n\n| name | what it is |\n|---|---|", *map(line, names))))
    rooms = "\n".join(line(name) for name in rd._ROOMS)
    parts.append(f"## Rooms\n\nModules that are used by their own names.\n\n| name | what it is |\n|---|---|\n{rooms}")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"written: {PAGE}")

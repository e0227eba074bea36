"""The page docs/keys.md: every key of an experiment file with its kind and default, and every option of every command.

Called by scripts/make_docs.py.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import typer.main

from redistill import terms
from redistill.cli import program
from redistill.experiment.networks import Net
from redistill.experiment.source import KINDS
from redistill.recipe import Constant, Cosine, MultiStep, Recipe, Step

EVALUATE = (
    ("`test`, or any name", "`str`", "the data's own test part", "a data set on which the student is evaluated; an empty section: none"),
    ("`every`", "`int`", "20 evaluations over the run", "epochs between two evaluations"),
    ("`from`", "`float`", "0", "share of the run from which on an evaluation may be the best"),
)
"""The keys of [evaluate], whose names are free."""


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _kind(annotation: object) -> str:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    text = re.sub(r"(?:\w+\.)+(\w+)", r"\1", text)
    return re.sub(r"Annotated\[(\w+), FieldInfo\([^\]]*\]\)\]", r"\1", text)


def _meanings(cls: Any) -> dict[str, str]:
    """What the docstrings of a class and of its bases say of each field in their lists of arguments or attributes."""
    found: dict[str, str] = {}
    name = rf"(?:{'|'.join({word for key, field in cls.model_fields.items() for word in (key, field.alias or key)})})"
    entry = re.compile(rf"\b((?:{name}, )*{name}): (.*?)(?= (?:{name}, )*{name}: |$)")
    for base in reversed(cls.__mro__):
        part = re.split(r"\n(?:Args|Attributes):\n", inspect.cleandoc(vars(base).get("__doc__") or ""))
        if len(part) < 2:
            continue
        lines = " ".join(line.strip() if line.startswith("     ") else "\0" + line.strip() for line in part[1].splitlines())
        for chunk in lines.split("\0"):
            for names, text in entry.findall(chunk):
                found |= {name: text for name in names.split(", ")}
    return found


def _model(title: str, cls: Any) -> list[str]:
    rows = [f"### {title}", "", "| key | kind | default | meaning |", "|---|---|---|---|"]
    meanings = _meanings(cls)
    for name, field in cls.model_fields.items():
        if name == "kind":
            continue  # the title has it
        default = "needed" if field.is_required() else f"`{field.get_default(call_default_factory=True)!r}`"
        shown = field.alias or name
        rows.append(f"| `{shown}` | `{_cell(_kind(field.annotation))}` | {_cell(default)} | {_cell(meanings.get(name, '')).strip()} |")
    return [*(rows if len(rows) > 4 else [rows[0], "", "No further key."]), ""]


def _term(cls: Any) -> list[str]:
    fields = dataclasses.fields(cls)
    settings = ", ".join(f"`{f.name} = {f.default!r}`" for f in fields if f.default is not dataclasses.MISSING)
    return [f"| `{cls.__name__}` | {_cell(settings) or 'none'} | [card](methods/{cls.__name__}.md) |"]


def text() -> str:
    """The whole page."""
    rows = ["<!-- made by scripts/make_docs.py; do not edit -->", "# Keys of a file, options of a command", ""]
    rows += ["A file is described in [experiments.md](experiments.md); `redistill init` writes one to begin with.", ""]
    rows += ["## Experiment files", ""]
    rows += [
        "Above all sections: `name`, `notes` (for people), `seed` (default 0), `extends = \"base.toml\"` (what is left out stands there). "
        "`[[method]]` rows have `use`, `weight` (a number, or `{ start, end, first, last, unit }`), the term's own settings; `[methods]` "
        "has several by name, each a list of such rows, or a table with `terms` and sections of its own (`recipe = { lr = 0.1 }`).",
        "",
    ]
    rows += _model("[teacher], [student]", Net)
    for kind, cls in KINDS.items():
        rows += _model(f"[source] kind = \"{kind}\"", cls)
    rows += _model("[recipe]", Recipe)
    schedules: tuple[tuple[str, Any], ...] = (("constant", Constant), ("step", Step), ("multistep", MultiStep), ("cosine", Cosine))
    for word, schedule in schedules:
        rows += _model(f"[recipe] schedule = {{ kind = \"{word}\" }}", schedule)
    rows += ["### [evaluate]", "", "| key | kind | default | meaning |", "|---|---|---|---|"]
    rows += [f"| {' | '.join(line)} |" for line in EVALUATE]
    rows += [""]
    rows += ["### Terms", "", "| use | settings and defaults | |", "|---|---|---|"]
    for term in terms.ALL:
        rows += _term(term)
    rows += ["", "## Commands", ""]
    group: Any = typer.main.get_command(program())
    for name in group.list_commands(None):
        command = group.commands[name]
        rows += [f"### redistill {name}", "", " ".join((command.help or "").split()), "", "| | default | |", "|---|---|---|"]
        for parameter in command.params:
            option = parameter.param_type_name == "option"
            words = ", ".join(f"`{word}`" for word in parameter.opts) if option else f"`{parameter.metavar or parameter.name}`"
            default = parameter.default
            plain = default if isinstance(default, str | int | float) and not isinstance(default, bool) else None
            usual = "needed" if parameter.required else "" if plain is None else f"`{plain}`"
            rows.append(f"| {words} | {_cell(usual)} | {_cell(getattr(parameter, 'help', '') or '')} |")
        rows.append("")
    return "\n".join(rows).rstrip() + "\n"

"""The page docs/keys.md: every key of an experiment file with its kind and default, and every option of every command.

Called by scripts/make_docs.py.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import typer.main

from redistill import terms
from redistill.cli import program
from redistill.experiment.networks import Net
from redistill.experiment.source import KINDS
from redistill.published.few_words import FewImages
from redistill.published.preset_words import Completion
from redistill.published.without_data import PRESETS
from redistill.recipe import Constant, Cosine, MultiStep, Recipe, Step
from redistill.report.card import markdown

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
    text = re.sub(r"Annotated\[(\w+), FieldInfo\([^\]]*\]\)\]", r"\1", text)
    # what a file writes where Python has values of its own
    text = re.sub(r"\w+Settings(?: \| \w+Settings)+|Constant \| Step \| MultiStep \| Cosine|TermSpec", "table", text)
    return text.replace("WeightsFile", "path").replace("Experiment", "path | table")


def _default(field: Any, meaning: str) -> str:
    """What stands where a file says nothing: of what the reader fills in, where that comes from."""
    if not field.is_required():
        value = field.get_default(call_default_factory=True)
        return f'`{{ kind = "{value.kind}" }}`' if hasattr(value, "kind") else f"`{value!r}`"
    if (told := re.search(r"default: ([^.;]*)", meaning)) is not None:
        return told[1].strip()
    return "" if "which a record has" in meaning else "needed"


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


def _model(title: str, cls: Any, words: Any = None) -> list[str]:
    """A table of the fields of ``cls``, below those of ``words``: of a shorthand, which a file need not have."""
    rows = [f"### {title}", "", "| key | kind | default | meaning |", "|---|---|---|---|"]
    for each in (words, cls) if words is not None else (cls,):
        meanings = _meanings(each)
        for name, field in each.model_fields.items():
            if name == "kind":
                continue  # the title has it
            meaning = meanings.get(name, "").strip()
            if not meaning:
                raise SystemExit(f"{each.__name__} does not say what {name} means: add it to its Args")
            default = "" if each is words and field.is_required() else _default(field, meaning)
            kind, shown = _cell(_kind(field.annotation)), field.alias or name
            meaning = re.sub(r"[;:]? ?\bdefault: [^.;]*", "", meaning) if field.is_required() else meaning  # it has its own column
            rows.append(f"| `{shown}` | `{kind}` | {_cell(default)} | {_cell(markdown(meaning))} |")
        if title.endswith(tuple(f'"{kind}"' for kind in PRESETS)):
            names = ", ".join(f"`{name}`" for name in PRESETS[title.split('"')[1]])
            meaning = "a publication's switches, and `[[method]]` and `[recipe]` where the file leaves them out; what the file says counts"
            rows.insert(4, f"| `preset` | `str` |  | {names}: {meaning} |")
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
        rows += _model(f"[source] kind = \"{kind}\"", cls, Completion if kind == "adversarial" else None)
    rows += _model("[recipe]", Recipe, FewImages)
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
            named = [*parameter.opts, *parameter.secondary_opts]
            words = ", ".join(f"`{word}`" for word in named) if option else f"`{parameter.metavar or parameter.name}`"
            default = named[0 if parameter.default else -1] if parameter.secondary_opts else parameter.default
            plain = default if isinstance(default, str | int | float | Path) and not isinstance(default, bool) else None
            usual = "needed" if parameter.required else "" if plain is None else f"`{plain}`"
            rows.append(f"| {words} | {_cell(usual)} | {_cell(getattr(parameter, 'help', '') or '')} |")
        rows.append("")
    return "\n".join(rows).rstrip() + "\n"

"""``redistill audit`` and ``redistill quotes``: other people's runs, and tables that quote other people's numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redistill.cli import app
from redistill.cli.options import Json, show_json
from redistill.errors import RedistillError

if TYPE_CHECKING:
    from redistill.evidence.units import Unit

Given = Annotated[
    Path, typer.Argument(help="Evidence: .json in our format, .csv, .jsonl, a log, a store of runs, a folder.", metavar="FILE|FOLDER")
]

More = Annotated[
    list[Path],
    typer.Option(
        "--beside", help="Further evidence to stand beside it, your own runs for example; may be repeated.", metavar="FILE|FOLDER"
    ),
]

Facts = Annotated[
    list[str],
    typer.Option(
        "--is",
        metavar="KEY=VALUE",
        help="What a file does not say, for all its runs: dataset, teacher, student, method, seed, epochs, paper.",
    ),
]

Columns = Annotated[list[str], typer.Option("--column", help="Which column is what: last=final_top1.", metavar="ROLE=COLUMN")]
UnitName = Annotated[str | None, typer.Option("--unit", help="percent, fraction or error, where it is not recognised.", metavar="UNIT")]


@app.command()
def audit(
    given: Given,
    paper: Annotated[str | None, typer.Option("--paper", help="Only the claims of this paper.", metavar="PAPER")] = None,
    to: Annotated[Path | None, typer.Option("-o", "--to", help="Folder of the audit (Markdown, JSON, CSV).", metavar="FOLDER")] = None,
    beside: More = [],  # noqa: B006  typer reads the defaults and never changes them
    source: Annotated[str | None, typer.Option("--source", help="Whose runs these are.", metavar="OWNER/NAME@COMMIT")] = None,
    facts: Facts = [],  # noqa: B006
    column: Columns = [],  # noqa: B006
    unit: UnitName = None,
    as_json: Json = False,
) -> None:
    """Judge claims of papers by the runs of other people.

    Says what their logs settle by themselves, too.

    Evidence of unlike sources is never pooled; every verdict says whose runs it rests on. What could not be read is told on
    standard error, and the exit status is then 1.
    """
    from redistill.evidence.audit import audit as audited
    from redistill.evidence.audit import page, rows, save, side_by_side
    from redistill.evidence.files import Stated
    from redistill.evidence.read import read_evidence

    stated = Stated(source, pairs_of(facts, "--is", FACTS), pairs_of(column, "--column", None), unit_of(unit))
    evidence = read_evidence(given, stated)
    for path in beside:
        evidence += read_evidence(path)
    audits = [audited(one, paper) for one in evidence]
    if as_json:
        show_json([rows(one) for one in audits])
    elif to is None:
        print("\n".join([*map(page, audits), side_by_side(audits)]).rstrip())
    if to is not None:
        for path in save(audits, to):
            print(path, file=sys.stderr if as_json else sys.stdout)
    problems = [text for one in evidence for text in one.problems]
    for text in problems:
        print(f"redistill: {text}", file=sys.stderr)
    if problems:
        raise typer.Exit(1)


FACTS = ("dataset", "teacher", "student", "method", "seed", "epochs", "paper")


def pairs_of(texts: list[str], option: str, known: tuple[str, ...] | None) -> dict[str, str]:
    """``--is student=resnet20`` as a table."""
    from redistill.errors import nearest

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise RedistillError(f"{option} {text!r}: write NAME=VALUE")
        if known is not None and name not in known:
            raise RedistillError(f"{option} {text}: {nearest(name, known, 'fact of a run')}")
        found[name.strip()] = value.strip()
    return found


def unit_of(text: str | None) -> Unit | None:
    """``--unit``."""
    units: dict[str, Unit] = {"percent": "percent", "fraction": "fraction", "error": "error"}
    if text is not None and text not in units:
        raise RedistillError(f"--unit {text!r}: percent, fraction or error")
    return None if text is None else units[text]


@app.command()
def quotes(
    given: Annotated[Path | None, typer.Argument(help="A table that quotes others: .csv, .md, .tex or .json.", metavar="FILE")] = None,
    against: Annotated[str | None, typer.Option("--against", help="Only these papers: tian2020,zhao2022.", metavar="PAPER,...")] = None,
    dataset: Annotated[str | None, typer.Option("--dataset", help="Of all numbers, where the table names none.", metavar="DATA")] = None,
    same: Annotated[list[str], typer.Option("--same", help="Two names that mean one thing; may be repeated.", metavar="THEIRS=OURS")] = [],  # noqa: B006
    unit: UnitName = None,
    whole: Annotated[bool, typer.Option("--all", help="Print equal and unknown numbers too.")] = False,
    rules: Annotated[bool, typer.Option("--rules", help="Print the rules by which names are equal, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Compare the baselines of a table with what papers printed.

    Equal, different, shifted, or not known.

    Names are matched by rules (--rules); what they leave in doubt is asked and not guessed: answer with --same.
    """
    from redistill.evidence import names
    from redistill.evidence.quotes import compare, lines
    from redistill.evidence.quotes import rows as rows_of
    from redistill.evidence.tables import read_table

    if rules:
        text = names.rules_text()
        show_json(text) if as_json else print("\n".join(text))
        return
    if given is None:
        raise RedistillError("quotes needs a table: redistill quotes FILE (or --rules for the rules by which names are equal)")
    table = read_table(given, dataset, unit_of(unit))
    papers = [name.strip() for name in (against or "").split(",") if name.strip()]
    found = compare(table, papers, pairs_of(same, "--same", None))
    if as_json:
        show_json(rows_of(table, found))
    else:
        print("\n".join(lines(table, found, whole)))

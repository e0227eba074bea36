"""The folder of a report: the page, and of a paper the same as Markdown, for every table CSV, LaTeX and curves, and an article."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from redistill.errors import RedistillError
from redistill.files import make_folder, write
from redistill.papers.plan import Plan
from redistill.report import style
from redistill.report.figures import curves_of, ends_of
from redistill.report.html import MARK
from redistill.report.paper import csv_text, latex_cells, latex_text, page
from redistill.report.traces import Traces, traces
from redistill.report.web import paper_page, paper_parts
from redistill.report.web_runs import runs_page, subject
from redistill.report.written import Written
from redistill.runs.store import Run
from redistill.verdicts.beliefs import Believed
from redistill.verdicts.tables import TableVerdict


def claim(folder: Path, of: str) -> None:
    """Make the folder, unless it is the report of something else.

    Raises:
        RedistillError: its ``index.html`` is a report of something else, or nobody's report at all.
    """
    path = folder / "index.html"
    if path.is_file():
        with path.open("rb") as there:
            head = there.read(1 << 16).decode("utf-8", "replace")
        found = re.search(rf'<meta name="{MARK}" content="([^"]*)"', head)
        if found is None:
            raise RedistillError(f"{path} is no report of redistill: give another folder with --to, or move it away")
        if (there_of := html.unescape(found[1])) != of:
            raise RedistillError(f"{folder} is a report of {there_of}, not of {of}: give another folder with --to, or delete it")
    make_folder(folder)


def save(
    plan: Plan,
    tables: Sequence[TableVerdict],
    folder: Path,
    *,
    written: Written | None = None,
    beliefs: Sequence[Believed] = (),
    pdf: bool = False,
) -> list[Path]:
    """Write the page, and for every table a CSV, two LaTeX files and, where runs are there, their curves.

    Args:
        written: what people wrote (:mod:`redistill.report.written`). beliefs: transition curves that were measured. pdf: the article too.
    """
    claim(folder, f"paper {plan.paper.name}")
    put: dict[str, bytes] = {}
    if pdf:  # first, so that without typst nothing is written
        from redistill.report.article import article

        put[f"{plan.paper.name}.pdf"] = article(paper_parts(plan, tables, written, beliefs, whole=False), plan, tables, written)
    made = []

    def keep(name: str, content: bytes) -> None:
        write(folder / name, content)
        made.append(folder / name)

    figures = []
    for table in tables:
        short = f"{plan.paper.name}-{table.table}".replace("/", "-")  # a table may be called 3a/b
        keep(f"{short}.csv", csv_text(table).encode())
        keep(f"{short}.tex", latex_cells(plan.paper, table).encode())
        keep(f"{short}-claims.tex", latex_text(plan.paper, table).encode())
        if shown := traces(table.runs):
            figures.append(_curves(folder, short, shown))
            made.append(folder / figures[-1])
    keep(f"{plan.paper.name}.md", page(plan, tables, figures).encode())
    for name, content in put.items():
        keep(name, content)
    keep("index.html", paper_page(plan, tables, written, beliefs).encode())
    return made


def save_runs(runs: Sequence[Run], folder: Path, notes: Sequence[str] = ()) -> Path:
    """The page of runs alone; ``notes``: what is to be said of them above everything else."""
    claim(folder, subject(runs))
    write(folder / "index.html", runs_page(runs, notes).encode())
    return folder / "index.html"


def _curves(folder: Path, short: str, shown: Mapping[str, Traces]) -> str:
    """Test accuracy over the run, mean and range over the seeds of every cell that ran."""
    figure = curves_of(shown, title=short, ylabel="test accuracy, %")
    return style.save(figure, folder / f"{short}.svg", short, ends_of(shown, "test accuracy, %")).name

"""The folder of a paper's report: the page, the same as Markdown, and for every table CSV, LaTeX (its shape; its claims) and curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from redistill.files import make_folder, write
from redistill.papers.plan import Plan
from redistill.report import style
from redistill.report.figures import curves_of, ends_of
from redistill.report.paper import csv_text, latex_cells, latex_text, page, tested
from redistill.report.web import paper_page
from redistill.verdicts.tables import TableVerdict


def save(plan: Plan, tables: Sequence[TableVerdict], folder: Path) -> list[Path]:
    """Write the page, and for every table a CSV, two LaTeX files and, where runs are there, their curves."""
    make_folder(folder)
    written = []

    def put(name: str, text: str) -> None:
        write(folder / name, text.encode())
        written.append(folder / name)

    figures = []
    for table in tables:
        short = f"{plan.paper.name}-{table.table}"
        put(f"{short}.csv", csv_text(table))
        put(f"{short}.tex", latex_cells(plan.paper, table))
        put(f"{short}-claims.tex", latex_text(plan.paper, table))
        if any(table.runs.values()):
            figures.append(_curves(folder, short, table))
            written.append(folder / figures[-1])
    put(f"{plan.paper.name}.md", page(plan, tables, figures))
    put("index.html", paper_page(plan, tables))
    return written


def _curves(folder: Path, short: str, table: TableVerdict) -> str:
    """Test accuracy over the run, mean and range over the seeds of every cell that ran."""
    shown = tested(table.runs)
    figure = curves_of(shown, title=short, ylabel="test accuracy, %")
    return style.save(figure, folder / f"{short}.svg", short, ends_of(shown, "test accuracy, %")).name

"""A paper beside our runs, as pages: Markdown to read, CSV to compute with, LaTeX to paste."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from redistill.claims import Finding, sentences, summary_sentences, verdict_words
from redistill.claims.words import EPOCH, end_words
from redistill.errors import counted
from redistill.launch.progress import lasting
from redistill.papers.cells import Cell, Paper, described
from redistill.papers.explain import told_of
from redistill.papers.plan import Plan
from redistill.papers.schema import Protocol, Selector, Table
from redistill.report.table import bars
from redistill.report.traces import lost
from redistill.runs.store import Run
from redistill.verdicts.claims import key, label
from redistill.verdicts.tables import TableVerdict

NOT_JUDGED = "not attempted"


@dataclass(frozen=True)
class Line:
    """One finding as text, column by column; the same in all three formats. An order has no difference to the paper: its sign decides."""

    claim: str
    kind: str
    paper: str
    ours: str
    n: str
    difference: str
    verdict: str
    note: str

    HEAD = ("claim", "kind", "paper", "ours [95 %]", "n", "difference [interval]", "verdict", "note")

    @property
    def entries(self) -> tuple[str, ...]:
        return (self.claim, self.kind, self.paper, self.ours, self.n, self.difference, self.verdict, self.note)


def line(finding: Finding, why: str = "") -> Line:
    """``why``: reason that no experiment can be made, where there is one."""
    claim = finding.claim
    digits = max(2, claim.published.decimals) if claim.published is not None else 2
    sign = claim.kind in ("gain", "order")

    def number(value: float, plus: bool) -> str:
        return f"{value:+.{digits}f}" if plus else f"{value:.{digits}f}"

    paper = ""
    if claim.published is not None:
        shown = claim.claimed if claim.claimed is not None else claim.published.value
        printed = claim.published.decimals if not sign else digits
        paper = f"{shown:+.{printed}f}" if sign else f"{shown:.{printed}f}"
        if claim.published.std is not None and not sign:
            paper += f" ± {claim.published.std:g}"
    ours = difference = n = ""
    if (reading := finding.reading) is not None:
        low, high = number(reading.ours.low, sign), number(reading.ours.high, sign)
        ours = f"{number(reading.ours.value, sign)} [{low}, {high}]"
        n = str(reading.ours.n)
        if reading.difference is not None and reading.interval is not None and claim.kind != "order":
            ends = ", ".join(end_words(claim, x) for x in reading.interval)
            difference = f"{number(reading.difference, True)} [{ends}]"
    elif finding.measured is not None:
        ours, difference, n = number(finding.measured, False), number(finding.difference or 0.0, True), "1"
    notes = [part for part in (why if finding.verdict == NOT_JUDGED and why else finding.note, finding.mismatch) if part]
    return Line(claim.id, claim.kind, paper, ours, n, difference, verdict_words(finding), "; ".join(notes))


def lines(table: TableVerdict) -> list[Line]:
    """All findings of a table."""
    why = {label(p.cell): p.cell.unknown for p in table.planned}
    return [line(finding, why.get(finding.claim.id, "")) for finding in table.findings]


# ---------------------------------------------------------------------------------------------------------------------
# Three formats
# ---------------------------------------------------------------------------------------------------------------------
def csv_text(table: TableVerdict) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["table", *Line.HEAD])
    for row in lines(table):
        writer.writerow([table.table, *row.entries])
    return out.getvalue()


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "^": r"\^{}", "~": r"\~{}",
    "{": r"\{", "}": r"\}", "±": r"$\pm$", "->": r"$\to$", "≈": r"$\approx$",
}  # fmt: skip


def latex(text: str) -> str:
    """Text as LaTeX has it.

    >>> latex("RM_1 -> 95 %")
    'RM\\\\_1 $\\\\to$ 95 \\\\%'
    """
    made = text.replace("->", "\0")
    made = "".join(_LATEX.get(letter, letter) for letter in made)
    return made.replace("\0", _LATEX["->"])


_MARK = {"reproduced": "r", "above": "a", "below": "b", "unclear": "u", "compatible": "c"}


def latex_cells(paper: Paper, table: TableVerdict) -> str:
    """A table in the paper's own shape, for booktabs: below every printed row ours, plus and minus half of its 95 % interval.

    Single runs of one experiment that are printed seed by seed are one claim about their mean: ours stands below the first of them.
    """
    found = {finding.claim.id: finding for finding in table.findings}
    named = {label(p.cell) for p in table.planned}
    merged = {f.claim.cell: f for f in table.findings if f.claim.kind == "value" and f.claim.id not in named}
    of_runs = [(key(p), label(p.cell)) for p in table.planned if p.experiment is not None]
    home = {name: next(first for runs, first in of_runs if runs == mine) for mine, name in of_runs}
    rows, columns = (list(dict.fromkeys(part)) for part in zip(*((p.cell.row, p.cell.column) for p in table.planned), strict=True))
    cells = {(p.cell.row, p.cell.column): p.cell for p in table.planned}
    errors = paper.table(table.table).metric == "error"

    def printed(cell: Cell | None) -> str:
        if cell is None or (number := cell.printed) is None:
            return ""
        value = f"{number.value:.{number.decimals}f}"
        return f"${value}$" if number.std is None else rf"${value} \pm {number.std:g}$"

    def ours(cell: Cell | None) -> str:
        if cell is None:
            return ""
        name = label(cell)
        finding = found.get(name) or merged.get(home.get(name, name))
        if finding is None or (reading := finding.reading) is None:
            return "--"
        if finding.claim.id not in named and name != finding.claim.cell:
            return ""
        digits = max(2, finding.claim.published.decimals) if finding.claim.published is not None else 2
        up, down = reading.ours.high - reading.ours.value, reading.ours.value - reading.ours.low
        if reading.ours.n < 2:
            half = ""
        elif abs(up - down) < 1e-9:
            half = rf" \pm {up:.{digits}f}"
        else:  # it ends at 0 or at 100 %
            up, down = (down, up) if errors else (up, down)
            half = f"_{{-{down:.{digits}f}}}^{{+{up:.{digits}f}}}{{}}"
        mark = _MARK.get(finding.verdict, "")
        value = 100.0 - reading.ours.value if errors else reading.ours.value
        return rf"${value:.{digits}f}{half}{f'^{{{mark}}}' if mark else ''}$"

    body = []
    for row in rows:
        body.append(" & ".join([latex(row), *(printed(cells.get((row, column))) for column in columns)]) + r" \\")
        body.append(" & ".join([r"\quad ours", *(ours(cells.get((row, column))) for column in columns)]) + r" \\")
    caption = (
        f"{latex(paper.table(table.table).caption)}: as printed, and ours below, $\\pm$ half of the 95\\,\\% interval of the mean over our "
        "seeds (both parts, where it ends at 0 or 100\\,\\%). "
        f"{'Printed seed by seed: ours once, below the first. ' if merged else ''}"
        f"r reproduced, a above, b below{', in accuracy' if errors else ''}, u unclear, c compatible; -- not judged."
    )
    return "\n".join(
        [
            r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule",
            " & ".join(["", *map(latex, columns)]) + r" \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}",
            rf"\caption{{{caption}}}", r"\end{table}", "",
        ]
    )  # fmt: skip


def latex_text(paper: Paper, table: TableVerdict) -> str:
    """The claims of a table for booktabs, one a line, without notes."""
    head = Line.HEAD[:1] + Line.HEAD[2:7]
    rows = [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{lrrrrl}",
        r"\toprule",
        " & ".join(map(latex, head)) + r" \\",
        r"\midrule",
    ]
    for row in lines(table):
        rows.append(" & ".join(map(latex, (row.entries[0], *row.entries[2:7]))) + r" \\")
    rows += [r"\bottomrule", r"\end{tabular}", f"% {paper.name}, table {table.table}: {paper.table(table.table).caption}"]
    return "\n".join(rows) + "\n"


def markdown_table(table: TableVerdict) -> list[str]:
    made = [bars(Line.HEAD), "|---|---|--:|--:|--:|--:|---|---|"]
    return made + [bars(row.entries) for row in lines(table)]


# ---------------------------------------------------------------------------------------------------------------------
# The page
# ---------------------------------------------------------------------------------------------------------------------
def page(plan: Plan, tables: Sequence[TableVerdict], figures: Sequence[str] = ()) -> str:
    """The whole report as Markdown."""
    paper, about = plan.paper, plan.paper.file.paper
    where = ", ".join(part for part in (about.venue, f"arXiv:{about.arxiv}" if about.arxiv else "") if part)
    seeds = seeds_of(plan, tables)
    out = [f"# {about.title}", "", f"{', '.join(about.authors)}, {about.year}.{f' {where}.' if where else ''}", ""]
    out += [f"Code: {', '.join(f'`{code}`' for code in about.code)}.", ""] if about.code else []
    out += [f"Paper file `{paper.name}`, version {about.version}. Our seeds: {seeds}. What each verdict means: `docs/verdicts.md`.", ""]
    for table in tables:
        out += _section(paper, table)
    shown = [p.cell.facts for table in tables for p in table.planned]
    out += _list("Assumed", "what the paper leaves out", paper.file.assumed, shown)
    out += _list("Departures", "where paper and code disagree", paper.file.departs, shown)
    out += _cost(tables)
    if figures:
        out += ["## Curves", "", *(f"![accuracy over the run]({quote(name)})\n" for name in figures)]
    out += ["## History of the paper file", "", *(f"* {entry}" for entry in about.history), ""]
    return "\n".join(out).rstrip() + "\n"


def reported(protocol: Protocol) -> str:
    """What stands behind a printed number, and the tolerance, in words.

    >>> reported(Protocol(which="best_on_test", aggregate="mean", seeds=3)), reported(Protocol(which="unknown", aggregate="unknown"))
    ('best epoch on the test set, mean of 3 runs; tolerance ±0.5', 'epoch not stated, number of runs not stated; tolerance ±0.5')
    """
    runs = "number of runs not stated" if protocol.seeds is None else counted(protocol.seeds, "run")
    if protocol.aggregate not in ("unknown", "single"):
        runs = f"{protocol.aggregate}, {runs}" if protocol.seeds is None else f"{protocol.aggregate} of {runs}"
    epoch = EPOCH[protocol.which] or "no training has a part in it"
    return f"{epoch}, {runs}; tolerance ±{protocol.tolerance:g}"


def seeds_of(plan: Plan, tables: Sequence[TableVerdict]) -> str:
    """The seeds of the runs that stand in a report, which are all that are there, or that are asked for where none is."""
    ran = sorted({run.seed for table in tables for runs in table.runs.values() for run in runs})
    return ", ".join(map(str, ran or plan.seeds))


def unit_of(table: Table) -> str:
    """In which unit a table's claims stand here, where it is not the printed one: a sentence, or ""."""
    return "The paper prints errors; the claims below are about accuracies, 100 minus them." if table.metric == "error" else ""


def points_of(table: Table) -> str:
    """What stands behind a difference of its numbers: " points" of accuracy, nothing behind transition errors."""
    return "" if table.metric == "mte" else " points"


def title_of(table: TableVerdict) -> str:
    """``Table 1``; a table that the paper file names by a word keeps it: ``tf``."""
    return f"Table {table.table}" if table.table[:1].isdigit() else table.table


def _section(paper: Paper, table: TableVerdict) -> list[str]:
    printed, protocol = paper.table(table.table), paper.protocol(table.table)
    out = [f"## {title_of(table)}", ""]
    rule = f"Reported: {reported(protocol)}." + (f" Because: {protocol.because}." if protocol.because else "")
    out += [f"{printed.caption} ({printed.page}).", "", " ".join(filter(None, (rule, unit_of(printed)))), ""]
    if printed.note:
        out += [f"{printed.note}.", ""]
    if table.summary is not None:
        out += [*markdown_table(table), "", " ".join([*summary_sentences(table.summary, points_of(printed)), *table.rules]), ""]
        measured = [f for f in table.findings if f.reading is not None or f.measured is not None]
        out += [*(f"* {words}" for words in sentences(measured)), *([""] if measured else [])]
    if asked := asked_rows(table):
        out += [bars(ASKED), "|---|--:|--:|", *map(bars, asked), ""]
    if table.summary is None and table.rules:
        out += [" ".join(table.rules), ""]
    out += departed_list(table)
    for p in table.planned:
        for also in p.cell.also:
            out.append(f"* {label(p.cell)} is also printed as {also.value} ({also.source}){': ' + also.because if also.because else ''}.")
    return [*out, *([""] if out[-1] else [])]


DEPARTED = (
    "One departure at a time, the others as planned (`redistill explain`): the change minus the cell, in points of accuracy, and the "
    "accuracy that it comes to."
)


def departed_lines(table: TableVerdict) -> list[str]:
    """What came of taking one departure of a cell the other way, a line each, where such ran."""
    return [f"{cell}, {told_of(one, plain)}" for cell, (plain, *others) in table.departed.items() for one in others]


def departed_list(table: TableVerdict) -> list[str]:
    """The same as Markdown; [] where none ran."""
    rows = departed_lines(table)
    return [DEPARTED, "", *(f"* {row}." for row in rows), ""] if rows else []


ASKED = ("cell", "ours", "n")


def asked_rows(table: TableVerdict) -> list[tuple[str, str, str]]:
    """Each cell that is asked for and printed nowhere, with the mean and number of its runs in the unit of the table: accuracies in
    percent, those of runs that diverged as guessing, or transition errors, which these have not; and how many did."""
    rows = []
    for p in table.planned:
        if p.cell.printed is not None:
            continue
        name = label(p.cell)
        runs, values = table.runs.get(name, ()), [one.last for one in table.measured.get(name, ())]
        mean = f"{statistics.fmean(values):.{table.decimals}f}" if values else ""
        said = f"{mean}{lost(sum(run.diverged is not None for run in runs), len(runs))}".strip()
        rows.append((name, said or (p.cell.unknown and f"none: {p.cell.unknown}"), str(len(values))))
    return rows


def scope_of(entry: Selector) -> str:
    """For which cells an assumption or a deviation is, in brackets; "" for all."""
    held = described({name: "/".join([v] if isinstance(v, str) else v) or "none" for name, v in entry.where.items()})
    return f" ({held})" if held else ""


def _list(title: str, what: str, entries: Sequence[Selector], shown: Sequence[Mapping[str, str]]) -> list[str]:
    """Assumptions or departures that concern some cell of the report."""
    chosen = [e for e in entries if any(e.holds(facts) for facts in shown)]
    if not chosen:
        return []
    out = [f"## {title}", "", f"({what})", ""]
    for entry in chosen:
        given = entry.model_dump()
        out.append(f"* **{given['about']}**{scope_of(entry)}")
        if "theirs" in given:
            out.append(f"  * theirs: {given['theirs']}")
        out += [f"  * ours: {given['ours']}", f"  * because: {given['because']}"]
    return [*out, ""]


def _cost(tables: Sequence[TableVerdict]) -> list[str]:
    runs: dict[str, Run] = {run.id: run for table in tables for found in table.runs.values() for run in found}
    if not runs:
        return ["## Cost", "", "No run of these cells is in the store.", ""]
    out = ["## Cost", "", bars(("run", "seed", "steps", "time", "id")), "|---|--:|--:|--:|---|"]
    for run in runs.values():
        time = lasting(float(run.record["time"]["own"]))
        out.append(bars((run.label, str(run.seed), str(run.record["steps"]), time, f"`{run.id}`")))
    total = lasting(sum(float(run.record["time"]["own"]) for run in runs.values()))
    return [*out, "", f"{counted(len(runs), 'run')}, {total} of the students' own steps.", ""]

"""A paper's report as one HTML page: its claims beside our runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from redistill.claims import Finding, summary_sentences
from redistill.errors import counted
from redistill.papers.cells import Cell, Paper
from redistill.papers.plan import Plan
from redistill.papers.schema import Selector
from redistill.report.by_images import by_images
from redistill.report.figures import Held, curves_of, ends_of, forests
from redistill.report.html import Content, Element, el, facts, figure, listed, page, table
from redistill.report.paper import (
    ASKED,
    DEPARTED,
    NOT_JUDGED,
    asked_rows,
    departed_lines,
    line,
    points_of,
    reported,
    scope_of,
    seeds_of,
    title_of,
    unit_of,
)
from redistill.report.style import svg_text
from redistill.report.traces import traces
from redistill.report.web_parts import LETTER, WIDTH, methods, of_runs, sections
from redistill.report.written import Written
from redistill.runs.store import Run
from redistill.verdicts.beliefs import Believed
from redistill.verdicts.claims import label
from redistill.verdicts.tables import TableVerdict

MOST = 40
"""Claims in one forest plot; beyond that the table alone shows them."""


@dataclass(frozen=True)
class PaperParts:
    """What a paper's report says, part by part, as elements: a page and an article show the same.

    Attributes:
        title, byline, counts: of the paper, who wrote it and where, what became of its claims.
        results: for each table its title and what stands there. others: every other part by its title, in a page's order.
    """

    title: str
    byline: str
    counts: str
    results: list[tuple[str, list[Content]]]
    others: dict[str, list[Content]]


def paper_parts(
    plan: Plan, tables: Sequence[TableVerdict], written: Written | None = None, beliefs: Sequence[Believed] = (), *, whole: bool = True
) -> PaperParts:
    """Claims, verdicts, curves, methods, departures, cost and checklist of a paper's report.

    Args:
        written: what people wrote about it (:mod:`redistill.report.written`). beliefs: transition curves that were measured.
        whole: whether claims that were not attempted stand in the tables, too.
    """
    about = plan.paper.file.paper
    where = ", ".join(part for part in (about.venue, f"arXiv:{about.arxiv}" if about.arxiv else "") if part)
    runs = list({run.id: run for judged in tables for found in judged.runs.values() for run in found}.values())
    findings = [finding for judged in tables for finding in judged.findings]
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.verdict] = counts.get(finding.verdict, 0) + 1
    results = []
    for number, judged in enumerate(tables):
        results.append((title_of(judged), _table(plan, judged, f"t{number}", whole)))
    shown = [p.cell.facts for judged in tables for p in judged.planned]
    prose = written or {}
    others: dict[str, list[Content]] = {
        "Scope": list(prose.get("Scope", [])),
        "Methods": [*prose.get("Methods", []), *methods(runs)],
        "Results": list(prose.get("Results", [])),
        "Transition curves": _transitions(beliefs, {run.id: run for run in runs}),
        "Assumed": _where(plan.paper.file.assumed, shown),
        "Departures": [*prose.get("Departures", []), *_where(plan.paper.file.departs, shown)],
        "What was easy": list(prose.get("What was easy", [])),
        "What was hard": list(prose.get("What was hard", [])),
        "Correspondence": list(prose.get("Correspondence", [])),
        "What was not run": _not_run(tables),
        **dict(of_runs(runs, plan)),
        "Commands": [_commands(plan.paper, tables)],
    }
    return PaperParts(
        about.title,
        f"{', '.join(about.authors)}, {about.year}.{f' {where}.' if where else ''}",
        f"{counted(len(findings), 'claim')}: {', '.join(f'{n} {verdict}' for verdict, n in counts.items()) or 'none'}. "
        f"Paper file {plan.paper.name}, version {about.version}; seeds {seeds_of(plan, tables)}.",
        results,
        others,
    )


def paper_page(plan: Plan, tables: Sequence[TableVerdict], written: Written | None = None, beliefs: Sequence[Believed] = ()) -> str:
    """:func:`paper_parts` as a page."""
    made = paper_parts(plan, tables, written, beliefs)
    head = [el("h1", made.title), el("p", made.byline), el("p", made.counts, class_="muted")]
    first = [(title, made.others[title]) for title in ("Scope", "Results")]
    rest = [(title, content) for title, content in made.others.items() if title not in ("Scope", "Results")]
    parts = [first[0], *made.results, *((title, content) for title, content in first[1:]), *rest]
    return page(f"{made.title}: claims beside our runs", head, sections(parts), of=f"paper {plan.paper.name}")


def _table(plan: Plan, judged: TableVerdict, name: str, whole: bool) -> list[Content]:
    printed, protocol = plan.paper.table(judged.table), plan.paper.protocol(judged.table)
    note = f" Note: {printed.note.rstrip('.')}." if printed.note else ""
    out: list[Content] = [el("p", f"{printed.caption} ({printed.page}).{note}")]
    rule = f"Reported: {reported(protocol)}." + (f" Because: {protocol.because}." if protocol.because else "")
    out.append(el("p", " ".join(filter(None, (rule, unit_of(printed)))), class_="muted"))
    reasons = {label(p.cell): p.cell.unknown for p in judged.planned}
    looked = [f for f in judged.findings if f.reading is not None or f.measured is not None]
    figures: list[Content] = []
    unit = points_of(plan.paper.table(judged.table))
    if rested := [one for finding in looked if (one := held(finding)) is not None]:
        part_of = "" if len(rested) <= MOST else f", the first {MOST} of {len(rested)} claims"
        for part, (drawn, held_there) in enumerate(
            forests(rested[:MOST], title=f"Ours minus the paper's{part_of}", width=WIDTH, size=LETTER, unit=unit)
        ):
            verdicts = "; ".join(f"{one.name}: {one.words}" for one in held_there)
            figures.append(figure(svg_text(drawn, f"Claims of table {judged.table}", verdicts), f"{name}-f{part or ''}"))
    if curves := traces(judged.runs):
        drawn = curves_of(curves, title="Test accuracy over the run", ylabel="test accuracy, %", width=WIDTH, size=LETTER)
        figures.append(figure(svg_text(drawn, f"Curves of table {judged.table}", ends_of(curves, "test accuracy, %")), f"{name}-c"))
    if (few := by_images(plan, judged)) is not None:
        figures.append(figure(few, f"{name}-m"))
    out += [el("div", figures, class_="figures")] if figures else []
    rows = []
    for finding in judged.findings:
        if not whole and finding.verdict == NOT_JUDGED:
            continue
        entry = line(finding, reasons.get(finding.claim.id, ""))
        verdict = el("span", entry.verdict, class_=f"v v-{entry.verdict.partition(',')[0]}")
        rows.append((entry.claim, entry.paper, entry.ours, entry.n, entry.difference, verdict, entry.note))
    if rows:
        head = ("claim", "paper", "ours [95 %]", "n", "difference [interval]", "verdict", "note")
        out.append(table(head, rows, f"Claims of table {judged.table} beside our runs", numbers=(1, 2, 3, 4), wide=6))
    if left := len(judged.findings) - len(rows):
        out.append(el("p", f"{counted(left, 'further claim')} of this table: see What was not run."))
    if asked := [row for row in asked_rows(judged) if whole or row[-1] != "0"]:
        out.append(table(ASKED, asked, f"Cells of table {judged.table}, of which nothing is printed", numbers=(1, 2)))
    if said := [*(() if judged.summary is None else summary_sentences(judged.summary, unit)), *judged.rules]:
        out.append(el("p", " ".join(said)))
    if changed := departed_lines(judged):
        out += [el("p", DEPARTED.replace("`", "")), listed(changed)]
    return out


def held(finding: Finding) -> Held | None:
    """A claim as a forest plot shows it; None where nothing of ours stands beside it, and for an order, which is not judged by size."""
    if finding.claim.kind == "order":
        return None
    entry = line(finding)
    words = f"{entry.paper}, ours {entry.ours.partition(' ')[0]}: {entry.verdict}"
    if finding.measured is not None and finding.difference is not None:
        return Held(finding.claim.id, words, finding.difference, None, None, 0.0, finding.verdict)
    reading = finding.reading
    if reading is None or reading.difference is None or reading.interval is None:
        return None
    return Held(finding.claim.id, words, reading.difference, *reading.interval, finding.claim.tolerance, finding.verdict)


def _where(entries: Sequence[Selector], shown: Sequence[Mapping[str, str]]) -> list[Content]:
    """Assumptions or departures that concern some cell of the report."""
    chosen = [e.model_dump() | {"scope": scope_of(e)} for e in entries if any(e.holds(cell) for cell in shown)]
    return [
        facts(
            (f"{one['about']}{one['scope']}", [*([f"Theirs: {one['theirs']}. "] if "theirs" in one else []),
             f"Ours: {one['ours']}. ", f"Because: {one['because']}."])
            for one in chosen
        )
    ] if chosen else []  # fmt: skip


def _not_run(tables: Sequence[TableVerdict]) -> list[Content]:
    rows = []
    for judged in tables:
        for finding in judged.findings:
            if finding.reading is None and finding.measured is None:
                rows.append((f"{judged.table}: {finding.claim.id}", line(finding).paper, finding.verdict, finding.note))
    head = ("claim", "paper", "verdict", "why")
    if not rows:
        return [el("p", "Nothing.")]
    begun = any(verdict in ("pending", "stale") for _, _, verdict, _ in rows)
    words = "What is pending or stale was begun: why it has no verdict yet, or none any more, stands in its row."
    return [*([el("p", words)] if begun else []), table(head, rows, "Claims without a reading of ours", numbers=(1,), wide=3)]


def _transitions(beliefs: Sequence[Believed], runs: Mapping[str, Run]) -> list[Content]:
    """Beliefs of student and teacher along the way between two classes, for each run of which they were measured."""
    from redistill.report.zero_shot import beliefs_drawn

    drawn: list[Content] = []
    for number, one in enumerate(one for one in beliefs if one.run in runs and one.curves):
        run = runs[one.run]
        names = ("teacher", "student") if one.attacked == "teacher" else ("student", "teacher")
        within = "" if one.standard_error is None else f" ± {one.standard_error:.4f}"
        above = f"{'relative MTE' if one.attacked == 'relative' else 'MTE'} {one.mte:.4f}{within}, {one.images} images"
        title = f"{run.label}, seed {run.seed}"
        curves = beliefs_drawn([(*names, above, one.curves)], title, width=WIDTH, size=LETTER)
        drawn.append(figure(svg_text(curves, f"Transition curves of {title}", above), f"b{number}"))
    return [el("div", drawn, class_="figures")] if drawn else []


def address_of(paper: Paper) -> str:
    """What commands call a paper: one of the package by its name, one of one's own by its file."""
    from redistill.papers.load import names

    own = paper.folder != Path() or paper.name not in names()
    return str(paper.folder / f"{paper.name}.toml") if own else paper.name


def command_of(cell: Cell, paper: str | None = None) -> str:
    """What runs one cell; ``paper``: what commands call the paper, where that is not its name.

    >>> print(command_of(Cell("ahn2019", "1", "VID", "2 %", {}, None)))
    redistill reproduce ahn2019 --table 1 --rows VID --columns '2 %'
    """
    words = ["redistill", "reproduce", paper or cell.paper, "--table", cell.table, "--rows", cell.row, "--columns", cell.column]
    return " ".join(map(shlex.quote, words))


def _commands(paper: Paper, tables: Sequence[TableVerdict]) -> Element:
    address = address_of(paper)
    cells = [p.cell for judged in tables for p in judged.planned]
    rows = [(f"{cell.table}: {label(cell)}", el("code", command_of(cell, address))) for cell in cells if not cell.unknown]
    return table(("row", "command"), rows, "One command for every row; --dry-run shows what it costs")

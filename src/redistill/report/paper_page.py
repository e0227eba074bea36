"""``docs/commands.md`` and ``docs/papers``: what the paper files say, to be read beside the papers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redistill import papers
from redistill.claims import sentences
from redistill.errors import counted
from redistill.papers import Paper
from redistill.papers.plan import Plan
from redistill.papers.schema import Table
from redistill.report.paper import departed_list, line, reported, scope_of, title_of
from redistill.report.table import bars
from redistill.verdicts.claims import label
from redistill.verdicts.diverged import came_to
from redistill.verdicts.tables import TableVerdict

MARK = "<!-- made from src/redistill/papers/*.toml{} by scripts/make_docs.py; do not edit -->"


IMAGES = {
    "first": "the first images on which both networks agree",
    "random": "random images on which both networks agree",
    "ferles": "random images, whether the networks agree on them or not",
}


def written(value: Any) -> str:
    """A setting as it stands in TOML, near enough to be read."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {written(entry)}" for name, entry in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(written, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


def terms(rows: Iterable[Mapping[str, Any]]) -> str:
    """A method as one reads it: ``0.1 CE + 0.9 KD(T = 4)``."""
    made = []
    for row in rows:
        settings = ", ".join(f"{n} = {written(v)}" for n, v in row.items() if n not in ("use", "weight"))
        weight = row.get("weight", 1.0)
        factor = "" if weight == 1.0 else f"{written(weight)} "
        made.append(f"{factor}{row['use']}({settings})" if settings else f"{factor}{row['use']}")
    return " + ".join(made)


def printed(paper: Paper, name: str, table: Table) -> list[str]:
    protocol = paper.protocol(name)
    rule = reported(protocol)
    out = [f"### {name}", "", f"{table.caption}. *{table.page}; {table.kind}; {table.metric}; {rule}.*", ""]
    head = ["" if column == "row" else column for column in table.header]
    out += [bars(head), "|" + "|".join("--:" if column in table.column else "---" for column in table.header) + "|"]
    out += [*(bars(row) for row in table.rows), ""]
    if table.note:
        out += [f"{table.note}.", ""]
    return out


def beside(tables: Sequence[TableVerdict]) -> list[str]:
    """Claims of which something was run or evaluated, beside that: seeds, mean, difference, verdict. Numbers that wait for seeds
    stand there too, and what was run that the paper prints no number of."""
    out = []
    for table in tables:
        judged = [f for f in table.findings if f.reading is not None or f.measured is not None]
        found = [f for f in table.findings if f in judged or (f.claim.kind == "value" and table.runs.get(f.claim.cells[0]))]
        asked = _asked(table)
        if not found and not asked:
            continue
        if table.summary is None:
            out += [f"### {title_of(table)}, which no paper prints", ""]
        else:
            out += [f"### {title_of(table)}, beside ours", "", f"{len(judged)} of {counted(len(table.findings), 'claim')} judged.", ""]
        if found:
            out += [bars(("claim", "paper", "our runs, last step (seed)", "ours [95 %]", "difference [interval]", "verdict"))]
            out += ["|---|--:|---|--:|--:|---|"]
            for finding in found:
                shown, claim = line(finding), finding.claim
                runs = _runs(table, claim.cells[0]) if claim.kind == "value" else ""
                out.append(bars((shown.claim, shown.paper, runs, shown.ours, shown.difference, shown.verdict)))
            out += ["", *(f"* {words}" for words in sentences(found)), ""]
        out += asked
        out += [" ".join(table.rules), ""] if table.rules else []
        out += departed_list(table)
    if not out:
        return []
    return ["## Claims beside our runs", "", "From the records in `results/`; what a verdict means: [verdicts](../verdicts.md).", "", *out]


def _runs(table: TableVerdict, cell: str) -> str:
    """What the runs of a cell came to after the last step, with their seeds: accuracies, or transition errors where these are compared."""
    if table.metric == "mte":
        return ", ".join(f"{one.last:.{table.decimals}f} ({one.seed})" for one in table.measured.get(cell, ()))
    return ", ".join(f"{came_to(run)} ({run.seed})" for run in table.runs.get(cell, ()))


def _asked(table: TableVerdict) -> list[str]:
    """The cells that were run though nothing is printed of them; [] where there are none."""
    cells = [label(p.cell) for p in table.planned if p.cell.printed is None]
    rows = [bars((cell, found)) for cell in cells if (found := _runs(table, cell))]
    return [bars(("cell, printed nowhere", "our runs, last step (seed)")), "|---|---|", *rows, ""] if rows else []


def page(paper: Paper, tables: Sequence[TableVerdict] = ()) -> str:
    """One paper. tables: its verdicts on what was run here."""
    file, about = paper.file, paper.file.paper
    where = ", ".join(part for part in (about.venue, f"arXiv:{about.arxiv}" if about.arxiv else "") if part)
    out = [MARK.format(" and results/"), f"# {about.title}", "", f"{', '.join(about.authors)}, {about.year}. {where}.", ""]
    out += ["Code: " + ", ".join(f"`{code}`" for code in about.code) + ".", ""] if about.code else []
    asked = sum(cell.printed is None for cell in paper.cells)
    none = sum(bool(cell.unknown) for cell in paper.cells)
    out += [
        f"`redistill reproduce {paper.name}`: {len(paper.cells)} cells, {len(paper.cells) - asked} of them printed numbers, "
        f"{none} without a recipe. Version {about.version} of the file.",
        "",
        f"Reported epoch: {file.protocol.because or file.protocol.which}.",
        "",
        *(f"* {r.which.replace('_', ' ')}{scope_of(r)}: {r.because}." for r in file.reported),
        *([""] if file.reported else []),
        *([f"Transition errors: on {IMAGES[file.setup.images]}.", ""] if any(t.metric == "mte" for t in file.table.values()) else []),
        *beside(tables),
        "## Tables",
        "",
    ]
    for name, table in file.table.items():
        out += printed(paper, name, table)
    out += ["## Methods", "", bars(("name", "terms")), "|---|---|"]
    out += [*(bars((name, f"`{terms(rows)}`")) for name, rows in file.method.items()), ""]
    out += ["## Recipes", "", *(f"* `{name}`: `{written(recipe)}`" for name, recipe in file.recipe.items()), ""]
    if file.assumed:
        out += ["## Assumed: what the paper leaves out", ""]
        out += [f"* **{e.about}**{scope_of(e)}: {e.ours}. {e.because}." for e in file.assumed] + [""]
    if file.departs:
        out += ["## Departures: where paper and code disagree", "", bars(("name", "about", "theirs", "ours", "because", "switch"))]
        out += ["|---|---|---|---|---|---|"]
        for d in file.departs:
            switch = f"`{written(d.change)}`" if d.change else ""
            out.append(bars((d.name, d.about + scope_of(d), d.theirs, d.ours, d.because, switch)))
        out.append("")
    if file.unknown:
        out += ["## Cells without a recipe", "", *(f"*{scope_of(e)}: {e.because}." for e in file.unknown), ""]
    if file.also:
        out += ["## Numbers that contradict each other", ""]
        out += [f"* Table {e.table}{scope_of(e)}: also {e.value} ({e.source}){': ' + e.because if e.because else ''}." for e in file.also]
        out.append("")
    if file.checkpoint:
        out += ["## Published files", "", bars(("path in the repository", "table", "number", "evaluated on", "SHA-256"))]
        out += ["|---|---|---|---|---|"]
        out += [
            bars((c.path, f"{c.table}{scope_of(c)}", f"{c.value} ({c.source})" if c.value else "the cell's", c.data, f"`{c.sha256[:16]}`"))
            for c in file.checkpoint
        ] + [""]
    out += ["## History", "", *(f"* {entry}" for entry in about.history)]
    return "\n".join(out).rstrip() + "\n"


def commands() -> str:
    out = [MARK.format(""), "# Every experiment that the projects name, beside ours", ""]
    out += ["The line on the right repeats the original beside it, teachers included; `--dry-run` only shows the plan and its cost.", ""]
    for name in papers.names():
        file = papers.load(name).file
        if not file.command:
            continue  # of published files alone
        out += [f"## [{name}](papers/{name}.md)", "", bars(("what", "original", "ours")), "|---|---|---|"]
        for c in file.command:
            original = f"`{c.original}`" if c.original else ""
            note = f"*{c.note}*" if c.note else ""
            out.append(bars((c.about, " ".join(part for part in (original, note) if part), f"`{c.ours}`")))
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def pages(judged: Mapping[str, tuple[Plan, list[TableVerdict]]]) -> dict[str, str]:
    """Text of every page by its place below ``docs``. judged: papers beside what was run here, where there is something."""
    tables = {name: found for name, (_, found) in judged.items()}
    return {"commands.md": commands(), **{f"papers/{name}.md": page(papers.load(name), tables.get(name, ())) for name in papers.names()}}

"""What every report in HTML has: methods, samples, cost, checklist and references of its runs, and the size of its figures."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from redistill.errors import counted
from redistill.launch.progress import lasting
from redistill.papers.plan import Plan
from redistill.report.checklist import checklist
from redistill.report.drawing import described, drawing, links
from redistill.report.energy import energy
from redistill.report.html import Content, Sorted, el, listed, table
from redistill.report.references import bibtex
from redistill.runs.record import parts_of
from redistill.runs.store import Run
from redistill.sources.variants import KINDS

WIDTH, LETTER = 4.9, 11.0
"""Inches and points: figures of a page: as wide as a phone, with letters that can be read there."""


def sections(parts: Sequence[tuple[str, Sequence[Content]]]) -> list[Content]:
    filled = [(f"s{number}", title, content) for number, (title, content) in enumerate(parts) if content]
    nav = el("nav", listed(el("a", title, href=f"#{name}") for name, title, _ in filled), aria_label="Sections")
    return [nav, *(el("section", el("h2", title, id=name), content, aria_labelledby=name) for name, title, content in filled)]


def methods(runs: Sequence[Run]) -> list[Content]:
    """A drawing of each method that ran."""
    different: dict[str, Run] = {}
    for run in runs:
        different.setdefault(described(links(run.entry)), run)
    drawn = [
        el("figure", drawing(run.entry, f"method{number}"), el("figcaption", f"{run.label}: {words}"))
        for number, (words, run) in enumerate(different.items())
    ]
    return [el("div", drawn, class_="figures")] if drawn else []


def of_runs(runs: Sequence[Run], plan: Plan | None) -> list[tuple[str, list[Content]]]:
    """Samples, cost, checklist and references: what every report has."""
    names = [str(part["use"]) for run in runs for part in run.entry.experiment["method"]]
    names += [str(one.get("kind")) for run in runs for one in parts_of(run.entry.experiment["source"])]
    cited = bibtex(names)
    return [
        ("Samples of generators", _samples(runs)),
        ("Cost", _cost(runs)),
        ("Checklist", _checklist(runs, plan)),
        ("References", [el("pre", cited, tabindex="0")] if cited else []),
    ]


def _samples(runs: Sequence[Run]) -> list[Content]:
    """Early, middle and late images of each generator whose samples lie beside its record."""
    from redistill.report.zero_shot import sheet

    drawn: list[Content] = []
    for run in runs:
        if "samples.safetensors" not in run.record["files"] or not (run.folder / "samples.safetensors").is_file():
            continue
        kept = {int(block): images for block, images in run.kept("samples").items()}
        order = sorted(kept)
        chosen = [order[0], order[len(order) // 2], order[-1]]
        parts = parts_of(run.entry.experiment["source"])
        maker = next((one for one in parts if one.get("kind") in KINDS), parts[0])  # of a mixture the half that is a generator's
        space = str(maker.get("normalise", "none"))
        png = sheet([kept[block][:6] for block in chosen], space, titles=[f"after {block} blocks" for block in chosen], side=48)
        picture = el("img", src=f"data:image/png;base64,{base64.b64encode(png).decode()}",
                     alt=f"Images of the generator of {run.label} after {', '.join(map(str, chosen))} blocks")  # fmt: skip
        drawn.append(el("figure", picture, el("figcaption", f"{run.label}, seed {run.seed}")))
    return [el("div", drawn, class_="figures")] if drawn else []


def _cost(runs: Sequence[Run]) -> list[Content]:
    if not runs:
        return [el("p", "No run of these cells is in the store.")]
    rows = []
    for run in runs:
        record = run.entry
        machine = record.sessions[-1]["hardware"]
        own, cpu = (Sorted(lasting(seconds), seconds) for seconds in (record.time.own, record.time.cpu))
        rows.append((f"{run.label}, seed {run.seed}", str(record.steps), own, cpu,
                     f"{machine.get('device', '')}, threads: {machine.get('threads')}", run.id))  # fmt: skip
    total = lasting(sum(run.entry.time.own for run in runs))
    head = ("run", "steps", "time", "CPU time of its cohort", "machine", "id")
    made: list[Content] = [
        table(head, rows, "What each run cost", numbers=(1, 2, 3), wide=4),
        el("p", f"{counted(len(runs), 'run')}, {total} of the students' own steps. {energy(runs)}"),
    ]
    if several := versions(runs):
        made.append(el("p", several))
    return made


def versions(runs: Sequence[Run]) -> str:
    """A sentence where runs of several versions, or commits of one, stand beside each other; "" where one commit made them all."""
    made: dict[str, dict[str, int]] = {}  # by version, by commit
    for run in runs:
        entry = run.entry
        by = ", ".join(f"{name} {entry.versions.get(name, '?')}" for name in ("redistill", "torch"))
        commit = "" if entry.git is None else f" at {entry.git.commit[:10]}{', changed' if entry.git.changed else ''}"
        commits = made.setdefault(by, {})
        commits[commit] = commits.get(commit, 0) + 1
    if sum(map(len, made.values())) < 2:
        return ""
    listing = "; ".join(
        f"{by} ({'; '.join(counted(n, 'run') + commit for commit, n in commits.items())})" for by, commits in made.items()
    )
    return f"Made by several {'versions' if len(made) > 1 else 'commits of one version'}: {listing}."


def _checklist(runs: Sequence[Run], plan: Plan | None) -> list[Content]:
    rows = [(one.question, one.group, one.answer, one.evidence) for one in checklist(runs, plan)]
    caption = "ML Reproducibility Checklist 2.0 and code completeness, from the records"
    return [table(("question", "list", "answer", "evidence"), rows, caption, wide=3)]

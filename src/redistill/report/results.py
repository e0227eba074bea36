"""RESULTS.md and the table in README.md, from the records below ``results``: no number in them was typed by hand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from redistill.errors import counted
from redistill.papers.cells import Cell
from redistill.papers.explain import asked_by
from redistill.papers.plan import Plan
from redistill.report import distilled
from redistill.report.few_images import beside_repdistiller, cifar10_few, of_m100
from redistill.report.figures import curve_figure
from redistill.report.marked import block, filled
from redistill.report.records import costs, earlier, ended, finished, generated, of_features, read
from redistill.report.strict_fast import strict_fast
from redistill.report.table import Row, bars, markdown
from redistill.report.web import command_of
from redistill.report.zero_shot import belief_panels, diagnostics_figure
from redistill.report.zero_shot_results import belief, belief_records, title_of, toy, transition_error, watched, zero_shot, zero_shot_curves
from redistill.runs.measured import every, measured
from redistill.runs.store import Run
from redistill.terms import by_name
from redistill.verdicts.tables import TableVerdict
from redistill.verdicts.taught import teacher_of


def digits(results: Path) -> str:
    folder = results / "measured" / "digits-demo"
    if not (folder / "table.md").exists():
        return ""
    body = (folder / "table.md").read_text(encoding="utf-8").split("\n", 2)[2].strip()
    return f"## Digits: which method helps\n\n`make demo`; raw rows in `results/measured/digits-demo/table.json`.\n\n{body}\n"


def digits_methods(results: Path) -> str:
    folder = results / "measured" / "digits-methods"
    if not (folder / "table.json").exists():
        return ""
    about, machine = measured(folder / "table.json"), read(folder / "table.json")["head"]["origin"]
    rows = [_bounded(Row(**{name: entry for name, entry in row.items() if name != "runs"})) for row in about["rows"]]
    left_out = "\n".join(f"Left out: {name}: {why}" for name, why in about["left_out"].items())
    return (
        f"## Digits: every method\n\n`{about['command']}`: {about['runs']} runs, chains and teacher included, in "
        f"{about['cpu_seconds'] / 60:.1f} minutes of one core ({machine['processor']}, torch {machine['torch']}). Weights are those of "
        f"each method's own source, for CIFAR; differences are paired by seed. Three seeds and thirty rows: some row looks good by "
        f"chance, and no row is a ranking.\n\n{markdown(rows, 'CE')}\n{left_out}\n"
    )


def _bounded(row: Row) -> Row:
    """A row of a record from before intervals of accuracies ended at 0 and 100 (:func:`redistill.stats.percent_interval`)."""
    if row.low is None or row.high is None:  # one seed
        return row
    return replace(row, low=max(0.0, row.low), high=min(100.0, row.high))


def checkpoints(results: Path) -> str:
    path = results / "measured" / "checkpoints" / "published-networks.json"
    if not path.exists():
        return ""
    record = measured(path)
    lines = ["## Published networks, evaluated\n", "`redistill evaluate FILE --data cifar10:test`, one after the other\n",
             "| file | data | accuracy % | 95 % interval |",
             "|---|---|--:|--:|"]
    for row in record["rows"]:
        low, high = row["accuracy_interval"]
        lines.append(bars((row["file"], row["data"], f"{row['accuracy']:.4f}", f"{low:.2f} to {high:.2f}")))
    return "\n".join(lines) + "\n"


def benchmarks(results: Path) -> str:
    lines = []
    for row in every(results / "measured" / "benchmarks"):
        if "same_step" in row:
            continue  # of `redistill bench`: docs/benchmarks.md
        # one script wrote the time relative to the plain loop, another how many times faster: said as it is
        faster = "times_faster_than_plain" in row
        found = row["times_faster_than_plain" if faster else "ratio_to_plain"]
        ratios = ", ".join(f"{n} {r['median']:.2f} ({r['min']:.2f} to {r['max']:.2f})" for n, r in found.items())
        ratios += " times faster" if faster else " of its time"
        where = f"{row['torch']}, {row['capability']}, {row.get('cpu', row['machine'])}"
        lines.append(bars((row["work"], where, row["rounds"], ratios)))
    if not lines:
        return ""
    head = (
        "## Speed\n\nAgainst a plain PyTorch loop doing the same work, interleaved, median (range); equality checked first. Measured by "
        "the scripts that `redistill bench` replaced; its own results are in [docs/benchmarks.md](docs/benchmarks.md).\n\n"
    )
    return head + "| work | where | rounds | compared with the plain loop |\n|---|---|--:|---|\n" + "\n".join(lines) + "\n"


def kill_test(results: Path) -> str:
    rows = list(every(results / "measured" / "kill-test"))
    if not rows:
        return ""
    lines = [
        "## Runs killed at random moments\n",
        "`python scripts/kill_test.py`; records in `results/measured/kill-test/`. Each run was killed again and again until it was "
        "through, then compared bit for bit (switches, curves, weights) with an uninterrupted one.\n",
        "| commit | runs | kills | of these SIGKILL | runs that differ |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        kills = row["kills"]
        cells = (row["git"]["commit"][:10], row["times"], sum(kills.values()), kills.get("SIGKILL", 0), len(row["differences"]))
        lines.append(bars(cells))
    return "\n".join(lines) + "\n"


@cache
def judged_papers(results: Path) -> dict[str, tuple[Plan, list[TableVerdict]]]:
    """Every paper beside what was run (``results/runs``) or evaluated (``results/measured/published-files``), by its name."""
    from redistill import papers
    from redistill.papers.plan import make, select
    from redistill.runs.store import Store
    from redistill.verdicts.checkpoints import kept
    from redistill.verdicts.tables import judged

    files, store = kept(results / "measured" / "published-files"), Store(results / "runs")
    if not files and not store.finished():
        return {}
    plans = {name: make(paper, select(paper), device="cpu") for name in papers.names() for paper in [papers.load(name)]}
    return {name: (plan, judged(plan, store, files)) for name, plan in plans.items()}


def verdicts(results: Path) -> str:
    """Every table of a paper of which something was run or evaluated."""
    from redistill.report.paper import lines

    out = []
    for name, (plan, tables) in judged_papers(results).items():
        for table in tables:
            shown = [line for line in lines(table) if line.ours]
            if not shown:
                continue
            caption = plan.paper.table(table.table).caption
            out += [f"### {name}, table {table.table}\n", f"{caption}. {len(shown)} of {len(table.findings)} claims judged.\n"]
            out += ["| claim | paper | ours | difference | verdict |", "|---|--:|--:|--:|---|"]
            out += [*(bars((x.claim, x.paper, x.ours, x.difference, x.verdict)) for x in shown), ""]
    where = "`redistill report PAPER -o DIR`; rules and rates of false verdicts in `docs/verdicts.md`."
    return "\n".join(["## Published numbers beside ours\n", where + "\n", *out]) if out else ""


def real_runs(results: Path) -> str:
    """Runs of experiments in ``experiments/real``: they show that it works, one seed each."""
    lines = []
    of_others = (generated, of_m100, scaled, of_features)
    shown = [run for run in finished(results) if cell_of(run) is None and not any(other(run) for other in of_others)]
    for run in shown:
        teacher = run.record.get("teacher")
        has_teacher = any(by_name(part["use"]).needs_teacher for part in run.record["experiment"]["method"])
        teacher_text = "none" if not teacher or not has_teacher else f"{teacher['model']} ({teacher['accuracy']['test']:.2f} %)"
        images = run.record["data"]["train"].get("count", "none")
        if came := ended(run):
            lines.append(bars((run.label, run.seed, teacher_text, images, run.record["steps"], came, costs(run))))
    if not lines:
        return ""
    head = [
        "## CIFAR-100, 2 % of CIFAR-10 and no data at all, end to end\n",
        "`redistill run experiments/real/*.toml --data-dir D`; records in `results/runs/`. Far shorter than the papers' runs, one seed: "
        "they show that the way is open, and say nothing about a published number. Accuracy in percent after the last step.\n",
        "| run | seed | teacher | images | steps | accuracy | cost |",
        "|---|--:|---|--:|--:|--:|---|",
    ]
    return "\n".join([*head, *lines, *_note(shown)]) + "\n"


def _note(runs: Sequence[Run]) -> list[str]:
    note = earlier([run.record["experiment"]["numerics"] for run in runs])
    return ["", note] if note else []


def cell_of(run: Run) -> Cell | None:
    """The cell of a paper that a run is of, with a departure changed too; None for one of an experiment file or of a part of the
    length."""
    from redistill import papers

    paper = run.label.partition(":")[0]
    if paper not in papers.names() or scaled(run):
        return None
    cell, _ = asked_by(run.label) or (run.label, "")
    return papers.load(paper).cell(cell)


def scaled(run: Run) -> bool:
    return str(run.record["experiment"].get("notes", "")).startswith("scale")


def cells_of_papers(results: Path) -> str:
    """Runs of cells of papers, each with its command; what they say of the paper stands among the verdicts, once they are enough."""
    lines, shown = [], []
    for run in finished(results):
        if (cell := cell_of(run)) is not None:
            shown.append(run)
            departed = asked_by(run.label)
            asked = command_of(cell)
            if departed is not None:
                asked = f"redistill explain {shlex.quote(cell.id)} --only {shlex.quote(departed[1])} --seeds {run.seed},"
            command = " ".join(filter(None, (asked, with_file(run))))
            lines.append(bars((run.label, run.seed, run.record["steps"], ended(run), costs(run), f"`{command}`")))
    if not lines:
        return ""
    head = [
        "## Cells of papers, at the published length\n",
        "Records in `results/runs/`; the command of a cell asks for three seeds, and fewer earn no verdict; that of a departure for "
        "the row's own seed. Accuracy in percent after the last step.\n",
        "| cell | seed | steps | accuracy | cost | command |",
        "|---|--:|--:|--:|---|---|",
    ]
    return "\n".join([*head, *lines, *_note(shown)]) + "\n"


def with_file(run: Run) -> str:
    """The option that names the file which taught, where one did."""
    teacher = teacher_of(run.record["experiment"])
    return f"--teacher {teacher['model']}={Path(teacher['from']['path']).name}" if "from" in teacher else ""


def alike(a: Path, b: Path) -> bool:
    """Two SVGs with the same words and, to half a point, the same lines: another processor may round a layout otherwise."""
    one, two = (path.read_text(encoding="utf-8") for path in (a, b))
    words, lines = re.compile(r"<text[^>]*>([^<]*)"), re.compile(r' d="([^"]*)"')
    if words.findall(one) != words.findall(two):
        return False
    x, y = ([float(n) for path in lines.findall(text) for n in re.findall(r"-?[\d.]+", path)] for text in (one, two))
    return len(x) == len(y) and all(abs(p - q) <= 0.5 for p, q in zip(x, y, strict=True))


def figures(results: Path, folder: Path) -> Iterator[Path]:
    """Every figure that RESULTS.md shows and no command drew, drawn into a folder."""
    for data, curves in zero_shot_curves(results).items():
        where = "SVHN, evaluated on a recropped substitute of its test set" if data == "svhn" else "CIFAR-10"
        title = f"Zero-shot on {where}: the beginning of the schedule"
        path = folder / f"zero-shot-{data}.svg"
        curve_figure(path, curves, title=title, ylabel="accuracy, %", xlabel="blocks of 1 generator and 10 student steps")
        yield path
    if zero_shot_curves(results):
        one = watched(results)
        yield diagnostics_figure(folder / "zero-shot-training.svg", one.curves(), title_of(one), one.record["experiment"]["source"]["n_S"])
    if records := belief_records(results):
        panels = [
            (r["name"], "teacher", f"MTE {transition_error(r)}\ntaught by {r['taught_by']}", r["curves"])
            for r in records
        ]
        about = records[0]
        title = (
            f"Students attacked, the teacher beside: {about['images']} CIFAR-10 test images, K = {about['K']}, ξ = {about['xi']:g}; "
            f"bands: two standard errors over images"
        )
        yield belief_panels(folder / "belief.svg", panels, title)


def others(results: Path) -> str:
    """Other people's runs and tables (``results/audit``, written by ``scripts/make_docs.py``)."""
    found = [read(p) for p in sorted((results / "audit").glob("*.json")) if p.name != "quotes.json"]
    if not found:
        return ""
    lines = [
        "## Other people's runs\n",
        "`python scripts/make_docs.py --shared SHARED`; pages and raw rows in `results/audit/`. None of these runs was made here: each "
        "line says "
        "whose it is and from which commit it was read, and whether a run did what it says was not checked. Runs of unlike sources or "
        "settings are not pooled. The rules are those of our own verdicts (docs/verdicts.md), differences unpaired.\n",
        "| claim | printed | these runs | runs of a cell | interval of the difference | verdict | whose |",
        "|---|--:|--:|--:|--:|---|---|",
    ]
    judged = [row for one in found for row in one["findings"] if row["value"] is not None]
    for row in judged:
        sign = "+" if row["kind"] in ("gain", "order") else ""
        shown = row["interval"] is not None and row["kind"] != "order"  # which has no difference to the paper: its sign decides
        interval = f"{row['interval'][0]:+.2f} to {row['interval'][1]:+.2f}" if shown else ""
        whose = ", ".join(filter(None, (row["whose"], row["settings"])))
        n = " and ".join(map(str, dict.fromkeys(row["each"])))  # of a difference one number where both its cells have as many
        claim = f"{row['paper']}: {row['claim']}"
        cells = (claim, f"{row['printed']:{sign}.2f}", f"{row['value']:{sign}.2f}", n, interval, row["verdict"], whose)
        lines.append(bars(cells))
    waiting = sum(row["verdict"] == "pending" for one in found for row in one["findings"])
    fewer = f"{counted(waiting, 'further finding')} {'rests' if waiting == 1 else 'rest'} on fewer than three runs of a cell"
    lines.append(f"\n{fewer} and {'earns' if waiting == 1 else 'earn'} no verdict; they stand in the pages.\n")
    lines.append("What the logs settle by themselves (the reader's caveats stand in the pages and belong to every line):\n")
    for one in found:
        source = f"{one['source']['owner']}@{one['source']['commit'][:10]}"
        lines += [f"- `{one['name']}` ({source}): {fact['text']}" for fact in one["settled"] if fact["about"] not in ("weights",)]
        tests = [test for test in one["significance"] if test["p_holm"] is not None]
        if tests:
            called = [test for test in tests if test["significant"]]
            kept = sum(test["p_holm"] < 0.05 for test in called)
            lines.append(
                f"- `{one['name']}` ({source}): of {len(tests)} reported comparisons {len(called)} are called significant; their "
                f"own test (Welch) "
                f"recomputes below 0.05 for {sum(test['p'] < 0.05 for test in called)} of these, and after Holm over all "
                f"{len(tests)} for {kept}."
            )
    if (path := results / "audit" / "quotes.json").exists():
        tables = read(path)
        lines += [
            "\n### Tables that quote others\n",
            "Beside the registry of published numbers (`redistill quotes`, docs/numbers.md). A difference is a fact about two "
            "numbers, not an "
            "error of anybody; where a table was read from a text copy, its PDF has to be looked at first.\n",
            "| table | read as | equal | differ | no source |", "|---|---|--:|--:|--:|",
        ]  # fmt: skip
        for table in tables:
            count, how = table["counts"], table["about"]["how_read"].partition(" (")[0]
            lines.append(bars((table["name"], how, *(count.get(k, 0) for k in ("equal", "differs", "not in the registry")))))
    return "\n".join(lines) + "\n"


SECTIONS: tuple[Callable[[Path], str], ...] = (
    digits, digits_methods, distilled.section, cifar10_few, beside_repdistiller, strict_fast, real_runs, cells_of_papers, zero_shot, toy,
    belief, checkpoints, kill_test, benchmarks, verdicts, others,
)  # fmt: skip


def text(results: Path) -> str:
    origin = "Generated by `python scripts/make_docs.py` from the records in `results/`. What was not run is not here."
    head = f"# Results\n\n{origin}\n"
    return "\n".join([head, *(part for make in SECTIONS if (part := make(results)))]).rstrip() + "\n"


def readme(now: str, results: Path) -> str:
    """The README ``now`` with the recorded tables between their marks."""
    table = results / "measured" / "digits-demo" / "table.md"
    body = table.read_text(encoding="utf-8").split("\n", 2)[2].strip() if table.exists() else ""
    return distilled.on_page(filled(now, {"demo table": block(body)}), results)

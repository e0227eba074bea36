"""Write RESULTS.md, and the table in README.md, from the records under results/: no number in them was typed by hand.

    python scripts/make_results.py [--check]

``--check`` writes nothing and fails where a file is stale.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redistill.report.table import comparison, markdown

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def digits() -> str:
    folder = RESULTS / "digits-demo"
    if not (folder / "table.md").exists():
        return ""
    body = (folder / "table.md").read_text(encoding="utf-8").split("\n", 2)[2].strip()
    return f"## Digits: which method helps\n\n`make demo`; raw rows in `results/digits-demo/table.json`.\n\n{body}\n"


def cifar10_few() -> str:
    records = [read(p) for p in sorted((RESULTS / "cifar10-m100").glob("*.json"))]
    if not records:
        return ""
    about = records[0]
    lines = [
        "## CIFAR-10, the first 100 images of each class\n",
        f"`{about['command']}`; one record a cohort in `results/cifar10-m100/`. Students WRN-16-1, {about['recipe']['steps']} steps of "
        f"batch {about['recipe']['batch_size']}, strict fp32, accuracy on the 10,000 test images after the last step, in percent. "
        f"Teachers are the published files of Ferles et al. 2020. Differences are paired by seed.\n",
    ]
    for teacher in sorted({r["teacher"]["model"] for r in records}):
        mine = [r for r in records if r["teacher"]["model"] == teacher]
        accuracies: dict[str, dict[int, float]] = {}
        seconds: dict[str, float] = {}
        for record in mine:
            for name, student in record["students"].items():
                accuracies.setdefault(name, {})[record["seed"]] = student["accuracy"]["test"]["last"]
                seconds[name] = seconds.get(name, 0.0) + student["own_seconds"] / len(mine)
        seeds = ", ".join(str(r["seed"]) for r in mine)
        lines.append(f"### Teacher {teacher} ({mine[0]['teacher']['accuracy']:.2f} %), seeds {seeds}\n")
        lines.append(markdown(comparison(accuracies, "CE", seconds), "CE"))
    return "\n".join(lines)


def checkpoints() -> str:
    path = RESULTS / "checkpoints.json"
    if not path.exists():
        return ""
    record = read(path)
    lines = ["## Published networks, evaluated\n", f"`{record['command']}`\n", "| file | data | accuracy % | 95 % interval |",
             "|---|---|--:|--:|"]
    for row in record["rows"]:
        low, high = row["accuracy_interval"]
        lines.append(f"| {row['file']} | {row['data']} | {row['accuracy']:.4f} | {low:.2f} to {high:.2f} |")
    return "\n".join(lines) + "\n"


def benchmarks() -> str:
    lines = []
    for path in sorted((RESULTS / "benchmarks").glob("*.json")):
        row = read(path)
        # one script writes the time relative to the plain loop, the other how many times faster: said as it is
        faster = "times_faster_than_plain" in row
        found = row["times_faster_than_plain" if faster else "ratio_to_plain"]
        ratios = ", ".join(f"{n} {r['median']:.2f} ({r['min']:.2f} to {r['max']:.2f})" for n, r in found.items())
        ratios += " times faster" if faster else " of its time"
        where = f"{row['torch']}, {row['capability']}, {row.get('cpu', row['machine'])}"
        lines.append(f"| {row['work']} | {where} | {row['rounds']} | {ratios} |")
    if not lines:
        return ""
    head = "## Speed\n\nAgainst a plain PyTorch loop doing the same work, interleaved, median (range); equality checked first.\n\n"
    return head + "| work | where | rounds | compared with the plain loop |\n|---|---|--:|---|\n" + "\n".join(lines) + "\n"


def kill_test() -> str:
    rows = [read(p) for p in sorted((RESULTS / "kill-test").glob("*.json"))]
    if not rows:
        return ""
    lines = [
        "## Runs killed at random moments\n",
        "`python scripts/kill_test.py`; records in `results/kill-test/`. Each run was killed again and again until it was "
        "through, then compared bit for bit (switches, curves, weights) with an uninterrupted one.\n",
        "| commit | runs | kills | of these SIGKILL | runs that differ |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        kills = row["kills"]
        cells = (row["git"]["commit"][:10], row["times"], sum(kills.values()), kills.get("SIGKILL", 0), len(row["differences"]))
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def verdicts() -> str:
    """Every table of a paper of which something was run (``results/runs``) or evaluated (``results/published-files``)."""
    from redistill import papers
    from redistill.experiment.store import Store
    from redistill.papers.plan import make, select
    from redistill.report.checkpoints import kept
    from redistill.report.paper import lines
    from redistill.report.verdicts import judged

    files, store = kept(RESULTS / "published-files"), Store(RESULTS / "runs")
    if not files and not store.finished():
        return ""
    out = []
    for name in papers.names():
        paper = papers.load(name)
        for table in judged(make(paper, select(paper), device="cpu"), store, files):
            shown = [line for line in lines(table) if line.ours]
            if not shown:
                continue
            caption = paper.table(table.table).caption
            out += [f"### {name}, table {table.table}\n", f"{caption}. {len(shown)} of {len(table.findings)} claims judged.\n"]
            out += ["| claim | paper | ours | difference | verdict |", "|---|--:|--:|--:|---|"]
            out += [f"| {x.claim} | {x.paper} | {x.ours} | {x.difference} | {x.verdict} |" for x in shown] + [""]
    where = "`redistill report PAPER -o DIR`; rules and rates of false verdicts in `docs/verdicts.md`."
    return "\n".join(["## Published numbers beside ours\n", where + "\n", *out]) if out else ""


SECTIONS: tuple[Callable[[], str], ...] = (digits, cifar10_few, checkpoints, kill_test, benchmarks, verdicts)


def text() -> str:
    origin = "Generated by `python scripts/make_results.py` from the records in `results/`. What was not run is not here."
    head = f"# Results\n\n{origin}\n"
    return "\n".join([head, *(part for make in SECTIONS if (part := make()))]).rstrip() + "\n"


FERLES = "NIPS_2019_Reproducibilty_Challenge_Zero-shot_Knowledge_Transfer_via_Adversarial_Belief_Matching"


def proof() -> str:
    """docs/proof.md: every golden case and what became of it."""
    path = RESULTS / "verify.json"
    if not path.exists():
        return "# Proof\n\nNothing recorded yet: run `python scripts/record_verify.py DIR`.\n"
    record = read(path)
    totals = ", ".join(f"{count} {outcome}" for outcome, count in record["totals"].items())
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [
        "# Proof: the package's pieces against the authors' own numbers\n",
        f"`{record['command']}` in double precision; {versions}. Totals: {totals}. The error is the one nearest to its tolerance "
        f"among all arrays of a case: max |got - want| / max |want|. Recorded by `scripts/record_verify.py` in "
        f"`results/verify.json`; this page is generated from it.\n",
        "| case | source | error | tolerance | verdict |",
        "|---|---|--:|--:|---|",
    ]
    for row in record["rows"]:
        error = f"{row['error']:.1e}" if row["error"] is not None else row["reason"]
        tolerance = f"{row['tolerance']:g}" if row["tolerance"] is not None else ""
        source = row["source"].replace(FERLES, "Ferles et al.")
        lines.append(f"| {row['case']} | {source} | {error} | {tolerance} | {row['outcome']} |")
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- demo table: written by scripts/make_results.py from results/digits-demo -->", "<!-- end of demo table -->"


def readme() -> str:
    """README.md with the recorded demo table between its two marks."""
    now = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = now.split(BEGIN)
    _, after = rest.split(END)
    table = RESULTS / "digits-demo" / "table.md"
    body = table.read_text(encoding="utf-8").split("\n", 2)[2].strip() if table.exists() else ""
    return f"{before}{BEGIN}\n\n{body}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    pages = ((ROOT / "RESULTS.md", text()), (ROOT / "README.md", readme()), (ROOT / "docs" / "proof.md", proof()))
    for target, wanted in pages:
        if not check:
            target.write_text(wanted, encoding="utf-8")
            print(f"written: {target.name}")
        elif not target.exists() or target.read_text(encoding="utf-8") != wanted:
            sys.exit(f"{target.name} is stale: run python scripts/make_results.py")


if __name__ == "__main__":
    main()

"""The sections of RESULTS.md about zero-shot: curves by blocks, the plane, beliefs beside one teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redistill.report.records import costs, earlier, ended, finished, generated
from redistill.report.table import bars
from redistill.runs.measured import every
from redistill.runs.store import Run

PUBLISHED = {"cifar10": ("curve-cifar10", "published log, WRN-40-2 to WRN-16-1, one run of theirs"),
             "svhn": ("curve-svhn", "published log, WRN-40-2 to WRN-16-1 on SVHN, one run of theirs")}  # fmt: skip


def zero_shot_curves(results: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """(blocks, accuracy) by data and by run, the authors' own log first."""
    from redistill import papers

    paper = papers.load("micaelli2019")
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for run in filter(generated, finished(results)):
        source = run.record["experiment"]["source"]
        data = "svhn" if source["normalise"].startswith("svhn") else "cifar10"
        table, name = PUBLISHED[data]
        mine = [(step // source["n_S"], value) for points in run.curves()["accuracy"].values() for step, value in points]
        theirs = [(int(c.facts["blocks"]), float(c.printed.value)) for c in paper.cells if c.table == table and c.printed is not None]
        found = curves.setdefault(data, {name: []})
        found[name] = sorted({*found[name], *((b, v) for b, v in theirs if b <= mine[-1][0] or b == theirs[0][0])})
        found[title_of(run)] = mine
    return curves


def zero_shot(results: Path) -> str:
    found = zero_shot_curves(results)
    if not found:
        return ""
    out = [
        "## Zero-shot: the beginning of the schedule\n",
        "`redistill run experiments/zero_shot/FILE.toml --data-dir D [--set recipe.precision=fast]`; records in `results/runs/`. Rates "
        "decay as in the whole schedule. Their log is beside ours, not a mark to reach: another teacher, one run.\n",
    ]
    for data, curves in found.items():
        theirs, *runs = ([block for block, _ in points] for points in curves.values())
        looked = {b for run in runs for b in run}
        common = sorted((b for b in looked if all(b in run for run in runs if b <= run[-1])), reverse=True)
        shown = sorted({*common[:: -(-len(common) // 8)], *theirs, *(run[-1] for run in runs)})
        out += [f"### {'SVHN, on a recropped substitute of its test set' if data == 'svhn' else 'CIFAR-10'}\n"]
        out += [f"![accuracy by blocks](results/figures/zero-shot-{data}.svg)\n"]
        out += [bars(("accuracy % after blocks", *shown)), "|---|" + "--:|" * len(shown)]
        for name, points in curves.items():
            at = dict(points)
            out.append(bars((name, *(f"{at[b]:.1f}" if b in at else "" for b in shown))))
        out.append("")
    out += [
        "### What the generator did\n",
        "Mean largest probability that teacher (T) and student (S) gave the generator's images, over the whole run; the paper's section "
        "4.3 says about 0.8 and 0.3 of its own runs.\n",
        "| run | seed | blocks | accuracy % at the end | probability T | S | cost |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for run in filter(generated, finished(results)):
        blocks = run.record["steps"] // run.record["experiment"]["source"]["n_S"]
        logged = [numbers for _, numbers in run.curves()["source"]]
        sure = [sum(row[f"{who}_confidence"] for row in logged) / len(logged) for who in ("teacher", "student")]
        cells = (run.label, run.seed, blocks, ended(run), *(f"{p:.2f}" for p in sure), costs(run))
        out.append(bars(cells))
    if note := earlier([run.record["experiment"]["numerics"] for run in filter(generated, finished(results))]):
        out += ["", note]
    one = watched(results)
    blocks = one.curves()["source"][0][0] // one.record["experiment"]["source"]["n_S"]
    out += ["\n![training of a zero-shot student](results/figures/zero-shot-training.svg)\n"]
    out += [f"Drawn: {title_of(one)}, means of {blocks} blocks."]
    if (results / "figures" / "zero-shot-samples.png").exists():
        out += [
            "\n![what the generator made](results/figures/zero-shot-samples.png)\n\nThe same noise at 0, 1, 10, 50 and 100 % of "
            "zero-shot CIFAR-10 (authors), fast, seed 0, as `redistill samples RUN` draws it from "
            "the folder of the run; below each image what teacher and "
            "student said of it then."
        ]
    return "\n".join(out) + "\n"


def watched(results: Path) -> Run:
    """The run whose training is drawn: the longest of those that were looked at at every 1 %, the released code's form first."""

    def fitness(run: Run) -> tuple[bool, int, bool]:
        return len(run.curves()["source"]) >= 100, int(run.record["steps"]), "authors" in run.label

    return max(filter(generated, finished(results)), key=fitness)


def title_of(run: Run) -> str:
    return f"{run.label}, {run.record['experiment']['recipe']['precision']}, seed {run.seed}"


PRINTED = {  # cell of ferles2020 that prints the transition error of a published student, against the teacher it learned from
    "zero-shot, published": "ferles2020:2:CIFAR-10:zero-shot",
    "modified zero-shot, published": "ferles2020:2:CIFAR-10:modified zero-shot",
    "KD+AT, M = 200, published": "ferles2020:2:CIFAR-10:KD+AT (M = 200)",
}


def toy(results: Path) -> str:
    """Figure 1 of the zero-shot paper, a seed a row: how far student and teacher agree on the plane."""
    rows = []
    for one in every(results / "measured" / "toy"):
        cells = (one["seed"], f"{one['teacher_accuracy']:.2f}", f"{one['student_accuracy']:.2f}", f"{one['agreement']:.2f}",
                 f"{one['cpu_seconds']:.0f}", one["hardware"]["device"])  # fmt: skip
        rows.append(bars(cells))
    if not rows:
        return ""
    out = [
        "## Zero-shot in the plane\n",
        "`redistill toy --seed S`; records in `results/measured/toy/`; drawn, here and in `figures/toy.gif`, is seed 4, the notebook's. "
        "Fifty free points, 3,000 rounds of "
        "50 point steps and 10 student steps, not one real point; agreement on a grid of 150 x 150, accuracy on points that neither "
        "network was trained on.\n",
        "![regions of the student](results/figures/toy-panels.svg)\n",
        "| seed | teacher % | student % | agreement % | CPU s | on |",
        "|--:|--:|--:|--:|--:|---|",
        *rows,
    ]
    return "\n".join(out) + "\n"


def belief_records(results: Path) -> list[dict[str, Any]]:
    """Students that this teacher taught, then who learned alone, then those of another teacher; the most alike first."""
    order = ("this teacher", "nobody")
    found = every(results / "measured" / "belief")
    return sorted(found, key=lambda r: (order.index(r["taught_by"]) if r["taught_by"] in order else len(order), r["mte"]))


def transition_error(record: dict[str, Any]) -> str:
    """``0.123 ± 0.004``; without what a single image does not tell."""
    within = record["mte_standard_error"]
    return f"{record['mte']:.3f}" + ("" if within is None else f" ± {within:.3f}")


def belief(results: Path) -> str:
    records = belief_records(results)
    if not records:
        return ""
    from redistill import papers

    printed = {cell.id: cell.printed.value for cell in papers.load("ferles2020").cells if cell.printed}
    about = records[0]
    lines = [
        "## Belief matching against one teacher\n",
        f"`redistill belief NAME=RUN teacher={about['teacher']['file']} --attack NAME --beside teacher --data {about['data']} "
        f"--normalise {about['normalise']} --count {about['images']} --keep results/measured/belief`; records, curves and the weights of "
        f"the students made here in `results/measured/belief/`. WRN-16-1 "
        f"students beside the teacher `{about['teacher']['file']}` on the first {about['images']} CIFAR-10 test images on which the "
        f"two agree, "
        f"K = {about['K']}, ξ = {about['xi']:g}, the gradient on the student. The mean transition error (MTE) is 0 where both believe the "
        f"same on the whole way; ± is the standard error over images. The published students learned from another WRN-40-2, which is not "
        f"public: what their report prints is their distance from that one, over 1,000 images that its code does not choose by "
        f"agreement. KD+AT and alone with M = 100 are ours of 960 steps, far from the papers' 78,200. The relative MTE, MTE over the "
        f"student's mean belief, is a definition of this package. "
        f"S is the student, T the teacher; KL in nats over all test images, as the agreement.\n",
        "![transition curves](results/figures/belief.svg)\n",
        "| student | taught by | accuracy % | MTE | relative MTE | agreement % | KL(S, T) | KL(T, S) | printed MTE |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in records:
        theirs = printed[PRINTED[r["name"]]] if r["name"] in PRINTED else ""
        cells = (r["name"], r["taught_by"], f"{r['accuracy']:.2f}", transition_error(r),
                 f"{r['relative_mte']:.2f}", f"{r['agreement']:.1f}",
                 f"{r['kl_student_teacher']:.2f}", f"{r['kl_teacher_student']:.2f}", theirs)  # fmt: skip
        lines.append(bars(cells))
    return "\n".join(lines) + "\n"

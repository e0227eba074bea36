"""Figures and the page ``docs/verdicts.md`` from the simulated rates of verdicts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

INK, MUTED = "#1b1f24", "#8a929c"
COLOURS = {"reproduced": "#0b6e99", "above": "#b3541e", "below": "#7a3b8f", "unclear": "#8a929c"}
SHORT = {"spread": "mean and spread of 3", "mean": "mean of 3", "one": "one run, unsaid", "median": "median of 5"}

Result = dict[str, Any]


def find(result: Result, **wanted: Any) -> Result:
    wanted = {"sd": 0.2, "spreads": "equal", "paper": 1.0} | wanted
    (row,) = [r for r in result["values"] if all(r[key] == value for key, value in wanted.items())]
    return dict(row)


def at(result: Result, group: Result, verdict: str, truth: float) -> float:
    return float(group["rates"][verdict][result["truths"].index(truth)])


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------
def draw_figures(result: Result, out: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    # text stays text, and the file is the same for the same numbers
    matplotlib.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "redistill", "font.family": "sans-serif", "font.size": 10}
    )
    for name, draw in (("verdicts", _verdicts), ("false-verdicts", _false), ("orders", _orders)):
        figure = draw(result)
        for axes in figure.axes:
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        figure.savefig(out / f"{name}.svg", metadata={"Date": None, "Creator": "redistill"})
        matplotlib.pyplot.close(figure)


def _verdicts(result: Result) -> Any:
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, 2, figsize=(8.0, 5.6), sharex=True, sharey=True, layout="constrained")
    for line, sd in zip(grid, (0.1, 0.2), strict=True):
        for axes, n in zip(line, (3, 5), strict=True):
            group = find(result, n=n, prints="mean", sd=sd)["all"]
            for verdict in ("unclear", "reproduced", "above"):
                axes.plot(result["truths"], group["rates"][verdict], color=COLOURS[verdict], linewidth=2, label=verdict)
            axes.axvline(result["tolerance"], color=INK, linewidth=0.8, linestyle=":")
            axes.axhline(result["alpha"], color=INK, linewidth=0.8, linestyle="--")
            axes.set_title(f"{n} seeds, spread {sd:g} points", loc="left", fontsize=10, color=INK)
    grid[0][1].legend(frameon=False, loc="center right")
    figure.supxlabel("true difference, ours minus the paper's, points (dotted: the tolerance)", fontsize=10)
    figure.supylabel("how often (dashed: 5 %)", fontsize=10)
    return figure


def _false_rows(result: Result) -> list[tuple[str, dict[int, Result], bool]]:
    """(label, seeds -> rates, does the promise cover it), all at a spread of 0.2 points."""
    rows = []
    for prints, words in SHORT.items():
        groups = {n: find(result, n=n, prints=prints)["all"] for n in (3, 5)}
        rows.append((f"equal spreads: the paper prints {words}", groups, True))
    for spreads in dict.fromkeys(r["spreads"] for r in result["values"] if r["spreads"] != "equal"):
        for group, name in (("odd", "the odd cell"), ("others", "an ordinary cell")):
            groups = {n: find(result, n=n, prints="mean", spreads=spreads)[group] for n in (3, 5)}
            rows.append((f"our cells differ: {spreads}: {name}", groups, False))
    for prints in ("mean", "spread"):
        for paper, words in ((3.0, "three times ours"), (1 / 3, "a third of ours")):
            groups = {n: find(result, n=n, prints=prints, paper=paper)["all"] for n in (3, 5)}
            printed = "printed" if prints == "spread" else "not printed"
            rows.append((f"the paper's spread differs: {words}, {printed}", groups, False))
    return rows


def _false(result: Result) -> Any:
    import matplotlib.pyplot as plt

    rows = _false_rows(result)
    figure, axes = plt.subplots(figsize=(8.0, 0.34 * len(rows) + 1.2), layout="constrained")
    for y, (_, groups, promised) in enumerate(reversed(rows)):
        worst = {n: group["worst_false"] for n, group in groups.items()}
        colour = COLOURS["reproduced"] if promised else COLOURS["above"]
        axes.plot([100 * w for w in worst.values()], [y, y], color=colour, linewidth=1.5, alpha=0.4)
        axes.plot(100 * worst[3], y, "o", color=colour, markersize=6, label="3 seeds" if y == len(rows) - 1 else None)
        axes.plot(100 * worst[5], y, "D", color=colour, markersize=5, label="5 seeds" if y == len(rows) - 1 else None)
    axes.axvline(100 * result["alpha"], color=INK, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), [label for label, _, _ in reversed(rows)], fontsize=9)
    axes.grid(axis="x", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(left=-0.5)
    axes.set_xlabel("false verdicts at worst, % (dashed: 5 %)")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _orders(result: Result) -> Any:
    import matplotlib.pyplot as plt

    figure, line = plt.subplots(1, 2, figsize=(8.0, 3.4), sharey=True, layout="constrained")
    for axes, n in zip(line, (3, 5), strict=True):
        for row in (r for r in result["gains"] if r["n"] == n):
            colour = COLOURS["reproduced" if row["design"] == "paired" else "above"]
            style = "-" if row["correlation"] else ":"
            label = f"{row['design']}, runs of a seed correlate {row['correlation']:g}"
            axes.plot(row["truths"], row["reproduced"], style, color=colour, linewidth=2, label=label)
        axes.set_title(f"{n} seeds", loc="left", fontsize=10, color=INK)
        axes.set_xlabel(f"true gain, points (spread {result['gains'][0]['sd']:g})")
    line[0].set_ylabel("orders reproduced")
    line[1].legend(frameon=False, loc="lower right", fontsize=8)
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# The page
# ---------------------------------------------------------------------------------------------------------------------
def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def _table(head: list[str], body: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *body])


def _rates_table(result: Result, promised: bool) -> str:
    """What is false at stated true differences; three seeds / five seeds."""
    head = ["setting", "reproduced at 0", "false at 0", "at 0.25", "at 0.5: above", "at 0.5: reproduced", "at 0.75", "at 1"]
    columns = [("reproduced", 0.0), ("above below", 0.0), ("above below", 0.25), ("above", 0.5), ("reproduced", 0.5),
               ("reproduced below", 0.75), ("reproduced below", 1.0)]  # fmt: skip
    body = []
    for label, groups, covered in _false_rows(result):
        if covered == promised:
            cells = [
                " / ".join(_percent(sum(at(result, groups[n], v, truth) for v in verdicts.split())) for n in (3, 5))
                for verdicts, truth in columns
            ]
            body.append([label.removeprefix("equal spreads: "), *cells])
    return _table(head, body)


def _order_table(result: Result) -> str:
    body = [
        [r["design"], f"{r['correlation']:g}", str(r["n"]), *map(_percent, (r["any_false_without_gain"], r["worst_false_size"])),
         *(_percent(r["reproduced"][r["truths"].index(t)]) for t in (0.3, 0.5, 1.0))]
        for r in result["gains"]
    ]  # fmt: skip
    gains = [f"found at a gain of {t:g}" for t in (0.3, 0.5, 1.0)]
    return _table(["decided", "correlation", "seeds", "any of five false without a gain", "size false, worst", *gains], body)


def _second_table(result: Result) -> str:
    body = []
    for r in result["second_looks"]:
        wrong = {0.0: "above below", 0.25: "above below", 0.5: "above"}[r["truth"]].split()

        def share(look: str, verdicts: list[str], r: Result = r) -> str:
            return _percent(sum(r[look][v] for v in verdicts))

        body.append([f"{r['truth']:g}", str(r["n"]), _percent(r["followed"]), _percent(r["settled"]),
                     f"{share('first', ['reproduced'])} -> {share('second', ['reproduced'])}",
                     f"{share('first', wrong)} -> {share('second', wrong)}"])  # fmt: skip
    head = ["true difference", "seeds", "looked at again", "of these settled", "reproduced", "above or below"]
    return _table(head, body)


def page(result: Result, figures: str) -> str:
    """The page. ``figures``: address of the folder with the figures, seen from the page."""
    tables, claims = result["values"][0]["tables"], result["values"][0]["tables"] * result["cells"]
    compared = sum(r["compared"] for r in result["values"] + result["gains"])
    error = 100 * (0.05 * 0.95 / claims) ** 0.5
    equal = max(r["all"]["worst_false"] for r in result["values"] if r["spreads"] == "equal" and r["paper"] == 1)
    odd, odd5 = (find(result, n=n, prints="mean", spreads="one of six threefold")["odd"]["worst_false"] for n in (3, 5))
    silent = max(find(result, n=n, prints="mean", paper=3.0)["all"]["worst_false"] for n in (3, 5))
    wide = [find(result, n=3, prints="spread", paper=paper)["all"]["half_width"] for paper in (1.0, 3.0)]
    found = [_percent(at(result, find(result, n=3, prints="mean", sd=sd)["all"], "reproduced", 0.0)) for sd in (0.1, 0.2, 0.4)]
    simpler = result["alternatives"]
    sizes = max(r["worst_false_size"] for r in result["gains"])
    families = max(r["any_false_without_gain"] for r in result["gains"])
    edges = [r for r in result["second_looks"] if r["truth"] == result["tolerance"]]
    rise = max(r["second"][v] - r["first"][v] for r in edges for v in ("above", "reproduced"))
    return f"""# Verdicts, and how often they are false

<!-- written by benchmarks/verdict_rates.py from results/verdict-rates/rates.json; change it there -->

A claim of a paper gets its rule before our runs start: which runs, how many seeds, which epoch, and the tolerance (half a
point where nothing else is said). Then it gets one of these words.

| verdict | when |
| --- | --- |
| reproduced | the 90 % interval of ours minus the paper's lies inside plus or minus the tolerance: two one-sided tests at 5 % |
| above, below | it lies wholly outside |
| unclear | otherwise, or there is one seed only; with how many more seeds would settle it |
| disputed | the paper's own values contradict each other; the verdict against each is shown |
| stale | runs are older than something that moves their numbers |
| pending | fewer seeds than planned are there: no verdict is given early |
| not attempted | there are no runs |

*Unclear* is a result: it says that the numbers do not show more.

## What enters the interval

* **Ours**: the mean (or median) of our seeds at the epoch the paper reports. A comparison of unlike epochs is named in the
  finding.
* **The paper's number is uncertain too.** Its spread and its number of runs enter as Welch has it; a spread printed with
  ddof 0 is turned into ddof 1. Where no spread is printed the paper gets ours, with the number of runs it states, one where
  it states none.
* **Our spread is pooled** over the cells of the table. Where Bartlett's test finds p < {result["pool"]:g} that the cells scatter
  unequally, the wider of the pooled and the cell's own interval decides, which can only turn a verdict into *unclear*. The
  other one is shown.
* **The quantile** for a sum of two estimated variances is Cochran's: the two t quantiles weighted by the variances. The usual
  degrees of freedom (Welch, Satterthwaite) break the level where a pooled spread meets the printed spread of three runs: up to
  {_percent(simpler["satterthwaite"])} % instead of 5 %.
* **A median** has its own standard error: the spread times the exact factor for normal results (0.670 for three, 0.536 for
  five runs, against 0.577 and 0.447 for means).
* **A gain** is judged in size like a value; to be *reproduced* it must also be shown to be a gain (of the claimed sign, 5 %
  after Holm). **An order** is *reproduced* when our difference has the claimed sign at 5 % after Holm, *below* when it has the
  other one. Whether the paired or the unpaired comparison decides is written into the claim; both are shown.
* **A checkpoint**, a published file that we evaluate, has no seeds: it gives the printed digits or it does not.

## What is promised

A value claim whose true difference is within the tolerance is called above or below at most 5 % of the time; one whose
true difference is outside is called reproduced at most 5 % of the time. So among k value claims that were judged, at most
k/20 false verdicts are to be expected, and that number stands under every table. These verdicts are not adjusted for their
number; claims of order (and the question whether a gain is one) are, by Holm, so that any false one in a table has at most 5 %.
The promise needs results that scatter normally and equally in ours and the paper's cells.

## What was measured

{tables:,} tables of six cells for each setting, {claims:,} verdicts, so that a rate of 5 % is known to ±{error:.2f} (one
standard error). {compared:,} of the simulated verdicts were also given by the package itself; all were the same.

![How often each verdict is given, by true difference]({figures}/verdicts.svg)

In the figure the paper prints a mean of three runs without a spread. Below, equal spreads of 0.2 points, tolerance 0.5; shares
of verdicts in %, three seeds / five seeds, *false* being whatever is false at that true difference. At exactly 0.5 both *above*
and *reproduced* are held against the rule.

{_rates_table(result, promised=True)}

The largest rate of false verdicts with equal spreads, over spreads of 0.1, 0.2 and 0.4 points and all true differences, is
{_percent(equal)} %. What spreads cost is the power: with three seeds, and a mean of three printed, a claim that is exactly
true is called reproduced in {found[0]} % of cases at a spread of 0.1 points, {found[1]} % at 0.2, {found[2]} % at 0.4.

## When spreads differ

![False verdicts at the worst true difference]({figures}/false-verdicts.svg)

The same table where the promise does not hold ({result["cells"]} cells; an ordinary spread is 0.2 points; the paper prints a mean
of three, and its spread where that is said):

{_rates_table(result, promised=False)}

* One cell of six that scatters three times as much as the others is judged falsely up to {_percent(odd)} % of the time at three
  seeds, {_percent(odd5)} % at five. Without the look at the spreads it would be {_percent(simpler["always pooled"])} % at three.
* A paper that scatters three times as much as we do and does not print it costs up to {_percent(silent)} %: no rule can know.
  Where it prints the spread of its three runs the level holds, at the price of an interval {wide[1] / wide[0]:.1f} times as wide.

## Gains and orders: paired or not

![How many true orders are found]({figures}/orders.svg)

Five methods against one student, spread 0.2 points, Holm over the five; in %.

{_order_table(result)}

The chance of any false order is at most {_percent(families)} %; the size of a gain, against the difference of two printed means
of three, is judged falsely at most {_percent(sizes)} % of the time. With three seeds a pair has two degrees of freedom, and the
unpaired comparison with its pooled spread finds more; with five seeds and runs of a seed that go together, the paired one does.
That is why the claim must say beforehand which decides.

## A second look

*Unclear* comes with the number of seeds that would settle it (in four of five cases, were the truth what is seen). Running them
and judging again is a second chance to be wrong. Here every unclear claim for which at most {result["second_looks"][0]["most"]}
seeds were suggested got them; shares in %, the paper printing a mean of three.

{_second_table(result)}

At the edge of the tolerance the second look adds at most {100 * rise:.1f} points to a rate of false verdicts, because seeds are
hardly ever suggested there. The finding says when there are more seeds than planned.

## What this does not cover

* Results that do not scatter normally: one diverged seed of three makes every interval useless (and *unclear*).
* What all runs share: the test images (the same for us and the paper, so that their choice cancels), and differences of
  recipe, which are exactly what the verdict is about.
* Rounding of printed numbers (two decimals: 0.003 points).

To do it again: `python benchmarks/verdict_rates.py` ({result["seconds"]:.0f} s on one core).
"""


def write(result: Result, out: Path, where: Path) -> None:
    draw_figures(result, out)
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(page(result, os.path.relpath(out, where.parent).replace(os.sep, "/")))

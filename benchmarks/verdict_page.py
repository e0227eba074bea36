"""Figures and the page ``docs/verdicts.md`` from the simulated rates of verdicts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

INK = "#1b1f24"
COLOURS = {"reproduced": "#0b6e99", "above": "#b3541e", "below": "#7a3b8f", "unclear": "#8a929c", "compatible": "#c9b458"}

Result = dict[str, Any]


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
    for name, draw in (("verdicts", _verdicts), ("false-verdicts", _false), ("orders", _orders), ("real-tables", _real)):
        figure = draw(result)
        for axes in figure.axes:
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        figure.savefig(out / f"verdict-rates-{name}.svg", metadata={"Date": None, "Creator": "redistill"})
        matplotlib.pyplot.close(figure)


def _verdicts(result: Result) -> Any:
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, 2, figsize=(8.0, 5.6), sharex=True, sharey=True, layout="constrained")
    for line, sd in zip(grid, (0.1, 0.2), strict=True):
        for axes, n in zip(line, (3, 5), strict=True):
            (row,) = [r for r in result["curves"] if (r["sd"], r["n"]) == (sd, n)]
            unclear = [1 - sum(row["curve"][v][i] for v in row["curve"]) for i in range(len(result["truths"]))]
            for verdict, values in (("unclear", unclear), ("reproduced", row["curve"]["reproduced"]), ("above", row["curve"]["above"])):
                axes.plot(result["truths"], values, color=COLOURS[verdict], linewidth=2, label=verdict)
            axes.axvline(result["tolerance"], color=INK, linewidth=0.8, linestyle=":")
            axes.axhline(result["alpha"], color=INK, linewidth=0.8, linestyle="--")
            axes.set_title(f"{n} seeds, spread {sd:g} points", loc="left", fontsize=10, color=INK)
    grid[0][1].legend(frameon=False, loc="center right")
    figure.supxlabel("true difference, ours minus the paper's, points (dotted: the tolerance)", fontsize=10)
    figure.supylabel("how often (dashed: 5 %)", fontsize=10)
    return figure


def settings(result: Result) -> list[tuple[str, str, dict[int, Result]]]:
    """(setting, group of cells, seeds -> row), in the order of the simulation."""
    rows: dict[tuple[str, str], dict[int, Result]] = {}
    for row in result["values"]:
        for group in ("all", "wide", "narrow"):
            if f"now {group}" in row:
                rows.setdefault((row["name"], group), {})[row["n"]] = row
    return [(name, group, by) for (name, group), by in rows.items()]


def worst(row: Result, rule: str, group: str) -> float:
    """The largest rate of verdicts that are false: at truth 0, and at the edge of the tolerance, on either side."""
    rates = row[f"{rule} {group}"]
    return float(max(rates[name] for name in ("false_at_0", "outside_at_edge", "inside_at_edge")))


def _label(name: str, group: str) -> str:
    return name if group == "all" else f"{name}: {'the wide cell' if group == 'wide' else 'a narrow one'}"


def _false(result: Result) -> Any:
    import matplotlib.pyplot as plt

    rows = settings(result)
    figure, axes = plt.subplots(figsize=(8.0, 0.3 * len(rows) + 1.2), layout="constrained")
    for y, (_, group, by) in enumerate(reversed(rows)):
        old, new = (100 * max(worst(by[n], rule, group) for n in (3, 5)) for rule in ("before", "now"))
        axes.plot([old, new], [y, y], color=COLOURS["unclear"], linewidth=1.2)
        axes.plot(old, y, "o", color=COLOURS["above"], markersize=5, label="before" if y == len(rows) - 1 else None)
        axes.plot(new, y, "D", color=COLOURS["reproduced"], markersize=5, label="now" if y == len(rows) - 1 else None)
    axes.axvline(100 * result["alpha"], color=INK, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), [_label(name, group) for name, group, _ in reversed(rows)], fontsize=8)
    axes.grid(axis="x", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlim(left=-0.5)
    axes.set_xlabel("false verdicts at worst, 3 and 5 seeds, % (dashed: 5 %)")
    axes.legend(frameon=False, loc="lower right")
    return figure


def _orders(result: Result) -> Any:
    import matplotlib.pyplot as plt

    figure, line = plt.subplots(1, 2, figsize=(8.0, 3.2), sharey=True, layout="constrained")
    for axes, together in zip(line, (0.0, 0.6), strict=True):
        for row in result["orders"]:
            if row["ground"] == "equal spreads" and row["together"] == together:
                colour = {"blocked": "reproduced", "unpaired, before": "above", "paired, before": "below"}[row["rule"]]
                style = "-" if row["n"] == 5 else ":"
                gains = [float(g) for g in row["found"]]
                axes.plot(gains, list(row["found"].values()), style, marker="o", markersize=3, color=COLOURS[colour],
                          label=f"{row['rule']}, {row['n']} seeds")  # fmt: skip
        axes.set_title(f"runs of a seed correlate by {together:g}", loc="left", fontsize=10, color=INK)
        axes.set_xlabel("true gain, points (spread 0.2)")
    line[0].set_ylabel("orders found")
    line[1].legend(frameon=False, loc="lower right", fontsize=7)
    return figure


def _real(result: Result) -> Any:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8.0, 1.9), layout="constrained")
    rows = [r for r in result["real"] if r["truth"] == 0]
    for y, row in enumerate(reversed(rows)):
        left = 0.0
        for verdict in ("reproduced", "above", "below", "unclear", "compatible"):
            axes.barh(y, 100 * row[verdict], left=left, color=COLOURS[verdict], height=0.6, label=verdict if y == 0 else None)
            left += 100 * row[verdict]
    axes.set_yticks(range(len(rows)), [f"{row['n']} seeds" for row in reversed(rows)])
    axes.set_xlim(0, 100)
    axes.set_xlabel("% of the claims, every recipe exactly the paper's")
    axes.legend(frameon=False, ncols=5, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 1.28))
    return figure


# ---------------------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------------------
def _percent(rate: float) -> str:
    return f"{100 * rate:.1f}"


def _table(head: list[str], body: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *body])


def _rates(result: Result) -> str:
    head = ["setting", "n", "reproduced at 0: before", "now", "false at 0: before", "now", "above or below at 0.5: before", "now",
            "reproduced at 0.5: before", "now"]  # fmt: skip
    body = []
    for name, group, by in settings(result):
        for n, row in by.items():
            cells = []
            for rate in ("reproduced", "false_at_0", "outside_at_edge", "inside_at_edge"):
                cells += [_percent(row[f"{rule} {group}"][rate]) for rule in ("before", "now")]
            body.append([_label(name, group), str(n), *cells])
    return _table(head, body)


def _order_table(result: Result) -> str:
    body = [
        [r["ground"], r["rule"], f"{r['together']:g}", str(r["n"]), _percent(r["any_false"]), *map(_percent, r["found"].values())]
        for r in result["orders"]
    ]
    gains = [f"found at {g}" for g in result["orders"][0]["found"]]
    return _table(["spreads", "rule", "correlation", "seeds", "any of five false without a gain", *gains], body)


def _looks(result: Result) -> str:
    body = [
        [r["name"], r["plan"], f"{r['truth']:g}", f"{r['seeds']:.1f}", *(_percent(r[v]) for v in ("reproduced", "above", "below"))]
        for r in result["sequential"]
    ]
    return _table(["results", "plan", "true difference", "seeds used", "reproduced", "above", "below"], body)


def _real_table(result: Result, before: dict[str, float]) -> str:
    body = []
    for r in result["real"]:
        old = f"{100 * before[str(r['n'])]:.1f}" if r["truth"] == 0 else ""
        shares = [_percent(r[v]) for v in ("reproduced", "unclear", "compatible", "above", "below")]
        body.append([str(r["n"]), f"{r['truth']:g}", str(r["claims"]), old, *shares])
    return _table(["seeds", "truth", "claims", "unclear before", "reproduced", "unclear", "compatible", "above", "below"], body)


def reached(result: Result) -> list[str]:
    """What is above 5 % now beyond three standard errors, with the reason."""
    lines = []
    reasons = {
        "skewed downwards, one cell": "judged by its own few values, whose tail moves their mean and their spread together: small spreads "
        "go with means that are too high, and no rule for a handful of values sees it",
        "skewed downwards": "a printed number of so few runs is skewed itself",
        "one for all seeds": "a fact about one teacher; no number of seeds sees it. Take a teacher a seed, or an allowance",
    }
    for name, group, by in settings(result):
        high = {n: worst(row, "now", group) for n, row in by.items()}
        error = 3 * (0.05 * 0.95 / (by[3]["tables"] * (6 if group == "all" else 1))) ** 0.5
        over = {n: rate for n, rate in high.items() if rate > 0.05 + error}
        if over:
            why = next((reason for word, reason in reasons.items() if word in name), "")
            rates = ", ".join(f"{_percent(rate)} % with {n} seeds" for n, rate in over.items())
            lines.append(f"* {_label(name, group)}: {rates}{f' ({why})' if why else ''}.")
    return lines


def page(result: Result, figures: str) -> str:
    """The page. ``figures``: address of the folder with the figures, seen from the page."""
    tables = result["values"][0]["tables"]
    compared = sum(r["compared"] for r in result["values"])
    error = 100 * (0.05 * 0.95 / (6 * tables)) ** 0.5
    level, side = 100 * result["look_level"], f"{100 * result['side']:.0f} %"
    whole = f"{100 - 200 * result['side']:.0f} %"
    return f"""# Verdicts, and how often they are false

<!-- written by benchmarks/verdict_rates.py from results/measured/verdict-rates/rates.json; change it there -->

A claim of a paper gets its rule before our runs start: how many seeds, which epoch, which comparison decides, and the
tolerance (half a point where nothing else is said). `redistill reproduce PAPER --dry-run` prints it, with the chance of a
verdict and the seeds that would settle it (`redistill plan PAPER --power` shows those alone); when the first run of a cell
starts it is written into the store (`rules/PAPER/TABLE/`), is never changed, and later verdicts use it. Then a claim
gets one of these words.

| verdict | when |
| --- | --- |
| reproduced | the {whole} interval of ours minus the paper's lies inside plus or minus the tolerance: two one-sided tests at {side} |
| above, below | it lies wholly outside |
| unclear | otherwise, or there is one seed only, or its seeds do nothing; with how many more seeds would settle it |
| compatible, ± x | otherwise, and ten seeds could not settle it: x is the smallest tolerance at which it would be reproduced |
| disputed | the paper prints several values, and the verdicts against them differ |
| stale | runs are older than a formula that moves their numbers, or than a network that they used (also in `runs`, `show`) |
| pending | seeds of the plan, or others that were begun, are missing: no verdict is given early |
| not attempted | there are no runs |

*Unclear* is a result: it says that the numbers do not show more. *Compatible* is one too: the print itself is too uncertain.

## What enters the interval

* **Ours**: the mean (or median) of *all* finished seeds at the epoch the paper reports, whichever `--seeds` a report asks for;
  diverged ones count, and those begun are waited for. A comparison of unlike epochs is named in the finding.
* **The paper's number is uncertain too.** Its spread (pooled over the like cells of its table) and its number of runs enter, and so does
  the rounding of the print: a variance of a twelfth of the last digit's square. Where no spread is printed the paper gets ours, with
  the number of runs it states, one where it states none. Single runs that are printed seed by seed are one claim: their mean.
* **Our spread is pooled** over the cells of one regime (same kind of images, as many of them, same start). The widest cells leave
  until Bartlett's p reaches 0.01; where two or more leave, there is no common spread. A cell with more than 1.2 times the others'
  variance is judged by its own spread. A cell whose seeds all gave the same number lends nothing.
* **Cells of one seed go together.** The pooled variance enters as two parts, what the seeds share (n - 1 degrees of freedom) and
  the rest; where cells have different seeds, with a stated correlation of 0.6.
* **The quantile** for a sum of estimated variances is Cochran's: the t quantiles weighted by the variances.
* **Each side is tested at {side}**, so that the promised 5 % hold off the normal ground too: with 5 % a side a skewed
  result was judged falsely 6.8 % of the time (ten seeds against a printed mean of three), a cell three times as wide as the
  others 5.6 % (three seeds). A rule that was written into a store before this keeps its 5 % a side.
* **A gain** is judged in size like a value; to be *reproduced* it must also be shown to be a gain (of the claimed sign, 5 %
  after Holm). **An order** is *reproduced* when our difference has the claimed sign at 5 % after Holm, *below* when it has the other
  one. Orders are claimed only where the paper's own spreads show them, or where it prints none and its text says so. Cells that see
  the same images are compared with the seed as a block over the whole table, others by their means.
* **A checkpoint**, a published file that we evaluate, has no seeds: it gives the printed digits or it does not.

## The teacher

One teacher for all seeds is a fact about *that* teacher: its effect is in no interval, and every table says so. `--teachers each`
trains one a seed, so that what a teacher adds is part of the spread; a printed number whose runs share a teacher then counts as one
run. `--teachers 0.2` allows for teachers that differ by 0.2 points. The rates of each stand below.

## What is promised

A value claim whose true difference is within the tolerance is called above at most 5 % of the time, and below at most 5 %;
one whose true difference is outside is called reproduced at most 5 % of the time. Among k value claims that were judged, at most k/20 false
verdicts are to be expected, and that number stands under every table. Claims of order (and the question whether a gain is one) are
adjusted by Holm, so that any false one in a table has at most 5 %.

## What was measured

{tables:,} tables of six cells for each setting, so that a rate of 5 % over all six is known to ±{error:.2f} (one standard
error; ±{error * 6**0.5:.2f} for one cell). {compared:,} of the simulated verdicts were also given by the package itself; all
were the same. *Before* is the rule of e6d5775. Spread 0.2 points, tolerance 0.5, the paper a mean of three without a spread
where nothing else is said; in %. At exactly 0.5
both *above* and *reproduced* are held against the rule.

![False verdicts, before and now]({figures}/verdict-rates-false-verdicts.svg)

{_rates(result)}

Above 5 % now, beyond the error of the simulation:

{chr(10).join(reached(result)) or "* nothing."}

![How often each verdict is given, by true difference]({figures}/verdict-rates-verdicts.svg)

## What it costs, and what it gives

A rule that keeps its level beside a cell three times as wide cannot lend every cell the spread of the others: with three seeds a
cell that scatters more by chance looks like one that does so always. That is why *reproduced at 0* falls with three seeds and equal
spreads. It rises wherever a wide or diverged cell used to silence its table. Testing each side at 3 % instead of 5 % costs more: with
equal spreads and a printed mean of three *reproduced at 0* was 47.8, 75.6 and 93.1 % at 3, 5 and 10 seeds. Long tails downwards were
not seen where results are printed seed by seed (mean skewness of 28 cells of generated images +0.1 ± 0.3, of 37 cells of images
+0.4 ± 0.2; tails as simulated here would give -0.4), but nobody can know that of a paper that prints a mean.

On the real tables of six papers, every recipe exactly the paper's (truth 0) or half a point better (truth 0.5), all claims of the
package by the package itself; *unclear before* is the rule of e6d5775 on the same tables (552 claims, seed by seed):

{_real_table(result, {str(n): x for n, x in (("3", 0.786), ("5", 0.725), ("10", 0.667))})}

![Verdicts on real tables]({figures}/verdict-rates-real-tables.svg)

The targets were *unclear* at most 45, 30 and 20 % at 3, 5 and 10 seeds. They are reached because what no affordable number of seeds
can settle is said in the plan, and called *compatible, ± x*: a student of ten images a class scatters by two points, and half a point
against a printed mean of three cannot be told by any number of our seeds.

## Gains and orders

![How many true orders are found]({figures}/verdict-rates-orders.svg)

Five methods against one student, Holm over the five; in %.

{_order_table(result)}

## Seeds added while looking

`--seeds auto` looks at 3, 5 and 10 seeds, fixed before, each side at {level:.2f} % (Pocock): all together keep the {side} of one
look, and so the promised 5 % where results are skewed, too. One more seed until a verdict does not. Spread 0.3, a mean of three
printed, shares of claims in %; at 0 *above* and *below* are false, at the edge of the tolerance, ±0.5, each verdict is held against
the rule:

{_looks(result)}

## Changed rules, and why

* Pool within regimes, widest cells leave, visibly wider ones by their own: one noisy or diverged cell made every other cell of its
  table unclear, and was itself judged falsely 12 % of the time.
* Two parts of a pooled variance: with runs that correlate by 0.9 the level was 8.8 %.
* Rounding: a number printed in whole points was judged falsely 20.5 % of the time.
* Printed spreads pooled over like cells, with the stated correlation: three runs know their spread badly.
* The seed as a block, wide cells by themselves: a student at 0.5 among methods at 0.2 made any false order 11.8 % likely.
* All seeds count, the rule stands in the store: `--seeds 1,2` of three finished runs could turn *unclear* into *reproduced*.
* 3 % a side: what is said above.
* Equal numbers of all seeds earn no certainty; a dispute of a hundredth that changes no verdict is none.
* p-values of orders use Satterthwaite's degrees of freedom: Cochran's quantile is needlessly wide far out, where Holm looks.

## What this does not cover

* What all runs share: the test images (the same for us and the paper, so that their choice cancels), and differences of
  recipe, which are exactly what the verdict is about.
* A paper that scatters more than we do and does not print it: no rule can know.

To do it again: `python benchmarks/verdict_rates.py` ({result["seconds"]:.0f} s on one core).
"""


def write(result: Result, out: Path, where: Path) -> None:
    draw_figures(result, out)
    where.parent.mkdir(parents=True, exist_ok=True)
    where.write_text(page(result, os.path.relpath(out, where.parent).replace(os.sep, "/")))

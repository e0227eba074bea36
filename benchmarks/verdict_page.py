"""Figures, and the numbers and tables of the page ``docs/verdicts.md``, from the simulated rates of verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from redistill.report.marked import block, filled

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


UNCLEAR_BEFORE = {"3": 0.786, "5": 0.725, "10": 0.667}
"""By seeds: the share of *unclear* under the rule of e6d5775 on the same real tables (552 claims, seed by seed)."""


def page(now: str, result: Result) -> str:
    """The page ``now`` with the numbers and tables of a record between their marks."""
    tables = result["values"][0]["tables"]
    error = 100 * (0.05 * 0.95 / (6 * tables)) ** 0.5
    return filled(now, {
        "whole": f"{100 - 200 * result['side']:.0f} %",
        "side": f"{100 * result['side']:.0f} %",
        "tables": f"{tables:,}",
        "error": f"{error:.2f}",
        "error of one": f"{error * 6**0.5:.2f}",
        "compared": f"{sum(r['compared'] for r in result['values']):,}",
        "look level": f"{100 * result['look_level']:.2f}",
        "seconds": f"{result['seconds']:.0f}",
        "rates": block(_rates(result)),
        "above": block("\n".join(reached(result)) or "* nothing."),
        "real tables": block(_real_table(result, UNCLEAR_BEFORE)),
        "orders": block(_order_table(result)),
        "looks": block(_looks(result)),
    })  # fmt: skip


def write(result: Result, out: Path, where: Path) -> None:
    draw_figures(result, out)
    where.write_text(page(where.read_text(encoding="utf-8"), result), encoding="utf-8")

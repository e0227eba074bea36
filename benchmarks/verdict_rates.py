"""How often are the verdicts false? Tables with known truth, simulated and judged.

A table has six cells of n runs with normal scatter; the truth of ours minus the paper's is the same in every cell. The
verdicts are computed here once more, on whole arrays and from the formulas; in every setting the first tables are also
judged by ``redistill.claims.judge_table``, and every verdict and interval must be the same, else there is no result.

    python benchmarks/verdict_rates.py [--tables 20000] [--out results/verdict-rates] [--page docs/verdicts.md]
    python benchmarks/verdict_rates.py --redraw      # figures and page again from the stored numbers
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import special
from verdict_page import write

from redistill.claims import ALPHA, POOL, Claim, Measured, Published, judge_table
from redistill.stats import median_factor

Array = NDArray[np.float64]
CELLS, TOLERANCE = 6, 0.5
TRUTHS = [round(0.05 * i, 2) for i in range(31)]
STATED = [0.0, 0.25, 0.5, 0.75, 1.0]
CHECKED = 100
VERDICTS = ("reproduced", "above", "below", "unclear")

PRINTS = {
    "spread": "mean and spread of 3 runs",
    "mean": "mean of 3 runs, no spread",
    "one": "number without runs or spread (truly one run)",
    "median": "median of 5 runs, no spread",
}
SPREADS = {
    "equal": (1.0,) * 6,
    "one of six threefold": (3.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    "three of six threefold": (3.0, 3.0, 3.0, 1.0, 1.0, 1.0),
    "one of six a third": (1 / 3, 1.0, 1.0, 1.0, 1.0, 1.0),
}


@dataclass(frozen=True)
class Setting:
    """One kind of table. ``sd``: spread of an ordinary cell in points; ``paper``: the paper's spread in units of ours."""

    n: int
    prints: str
    sd: float = 0.2
    spreads: str = "equal"
    paper: float = 1.0

    def seed(self) -> list[int]:
        return list(json.dumps(asdict(self), sort_keys=True).encode())

    def scale(self) -> Array:
        return self.sd * np.array(SPREADS[self.spreads])


# ---------------------------------------------------------------------------------------------------------------------
# Value claims
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Drawn:
    """Simulated tables, ours with truth 0. ours [tables, cells, n], printed [tables, cells], std the same or None (ddof 0)."""

    ours: Array
    printed: Array
    std: Array | None


def draw(setting: Setting, tables: int) -> Drawn:
    rng, scale = np.random.default_rng(setting.seed()), setting.scale()
    ours = rng.normal(size=(tables, CELLS, setting.n)) * scale[:, None]
    runs = rng.normal(size=(tables, CELLS, {"spread": 3, "mean": 3, "one": 1, "median": 5}[setting.prints]))
    runs *= setting.paper * scale[:, None]
    printed = np.median(runs, axis=2) if setting.prints == "median" else runs.mean(axis=2)
    return Drawn(ours, printed, runs.std(axis=2) if setting.prints == "spread" else None)


def quantile(df: Any, alpha: float) -> Any:
    return -special.stdtrit(df, alpha)


def unequal(variances: Array, df: int) -> Array:
    """Bartlett's p-value for each table; variances [tables, cells], all with the same degrees of freedom."""
    cells = variances.shape[1]
    log = np.log(variances.mean(axis=1)) - np.log(variances).mean(axis=1)
    statistic = cells * df * log / (1 + (cells + 1) / (3 * cells * df))
    return np.asarray(special.chdtrc(cells - 1, statistic))


def widths(setting: Setting, drawn: Drawn, look: bool = True, satterthwaite: bool = False) -> tuple[Array, Array]:
    """Difference at truth 0, and half of the 90 % interval that decides, both [tables, cells].

    The rule as it could have been: without the ``look`` at the spreads, or with Welch and Satterthwaite's quantile.
    """
    n, variances = setting.n, drawn.ours.var(axis=2, ddof=1)
    common = np.broadcast_to(variances.mean(axis=1, keepdims=True), variances.shape)
    median = setting.prints == "median"
    mine = median_factor(n) ** 2 if median else 1 / n
    theirs = {"spread": 1 / 3, "mean": 1 / 3, "one": 1.0, "median": median_factor(5) ** 2}[setting.prints]

    def half(variance: Array, df: float) -> Array:
        t = quantile(df, ALPHA)
        if drawn.std is None:
            return np.asarray(t * np.sqrt(variance * (mine + theirs)))
        a, b = variance * mine, drawn.std**2 * 3 / 2 * theirs
        if satterthwaite:
            t = quantile((a + b) ** 2 / (a**2 / df + b**2 / 2), ALPHA)
        else:
            t = (a * t + b * quantile(2, ALPHA)) / (a + b)
        return np.asarray(t * np.sqrt(a + b))

    pooled, own = half(common, CELLS * (n - 1)), half(variances, n - 1)
    differ = (look & (unequal(variances, n - 1) < POOL))[:, None]
    middle = np.median(drawn.ours, axis=2) if median else drawn.ours.mean(axis=2)
    return middle - drawn.printed, np.where(differ, np.maximum(pooled, own), pooled)


def rates(difference: Array, half: Array) -> dict[str, float]:
    low, high = difference - half, difference + half
    inside, above, below = (low >= -TOLERANCE) & (high <= TOLERANCE), low > TOLERANCE, high < -TOLERANCE
    found = {"reproduced": inside.mean(), "above": above.mean(), "below": below.mean()}
    return {**{k: float(v) for k, v in found.items()}, "unclear": float(1 - sum(found.values()))}


def false_rate(truth: float, rate: dict[str, float]) -> float:
    """The larger of the rates that are false at this truth (>= 0); at the tolerance itself both kinds count as false."""
    wrong = [rate["below"] + (rate["above"] if truth == 0 else 0.0)]
    if truth <= TOLERANCE:
        wrong.append(rate["above"])
    if truth >= TOLERANCE:
        wrong.append(rate["reproduced"])
    return max(wrong)


def check(setting: Setting, drawn: Drawn, difference: Array, half: Array) -> int:
    """The first tables through the package; the number of verdicts compared."""
    seeds = {"spread": 3, "mean": 3, "one": None, "median": 5}[setting.prints]
    aggregate: Any = {"median": "median", "one": "unknown"}.get(setting.prints, "mean")
    compared = 0
    for table in range(min(CHECKED, len(difference))):
        truth = STATED[table % len(STATED)]
        claims, runs = [], {}
        for cell in range(CELLS):
            std = None if drawn.std is None else float(drawn.std[table, cell])
            published = Published(float(drawn.printed[table, cell]), std, seeds, None if std is None else 0, "last", aggregate, 4)
            claims.append(Claim(str(cell), "value", str(cell), published, tolerance=TOLERANCE, seeds=setting.n))
            runs[str(cell)] = [Measured(s, float(x) + truth) for s, x in enumerate(drawn.ours[table, cell])]
        for cell, finding in enumerate(judge_table(claims, runs)[0]):
            d, h = difference[table, cell] + truth, half[table, cell]
            rate = rates(np.array([d]), np.array([h]))
            expected = next(name for name in VERDICTS if rate[name] == 1)
            assert finding.interval is not None
            if finding.verdict != expected or not np.allclose(finding.interval, (d - h, d + h), rtol=0, atol=1e-9):
                raise SystemExit(f"{setting}, table {table}, cell {cell}: {finding} is not {expected} ({d - h}, {d + h})")
            compared += 1
    return compared


def value_settings() -> list[Setting]:
    settings = [Setting(n, prints, sd) for prints in PRINTS for n in (3, 5) for sd in (0.1, 0.2, 0.4)]
    settings += [
        Setting(n, prints, spreads=spreads)
        for prints in ("mean", "spread") for spreads in list(SPREADS)[1:] for n in (3, 5)
    ]  # fmt: skip
    return settings + [Setting(n, prints, paper=f) for prints in ("mean", "spread") for f in (3.0, 1 / 3) for n in (3, 5)]


def value_row(setting: Setting, tables: int) -> dict[str, Any]:
    drawn = draw(setting, tables)
    difference, half = widths(setting, drawn)
    compared = check(setting, drawn, difference, half)
    groups = {"all": slice(None)} if setting.spreads == "equal" else {"odd": slice(0, 1), "others": slice(-1, None)}
    row: dict[str, Any] = {**asdict(setting), "tables": tables, "compared": compared}
    for name, cells in groups.items():
        curve = [rates(difference[:, cells] + truth, half[:, cells]) for truth in TRUTHS]
        worst = max(range(len(TRUTHS)), key=lambda i: false_rate(TRUTHS[i], curve[i]))
        row[name] = {
            "half_width": float(half[:, cells].mean()),
            "worst_false": false_rate(TRUTHS[worst], curve[worst]),
            "worst_at": TRUTHS[worst],
            "rates": {v: [round(rate[v], 4) for rate in curve] for v in VERDICTS},
        }
    return row


def alternatives(tables: int) -> dict[str, float]:
    """Worst rates of false verdicts of two simpler rules, which is why they are not the rule."""

    def worst(setting: Setting, cells: slice, **rule: bool) -> float:
        difference, half = widths(setting, draw(setting, tables), **rule)
        return max(false_rate(t, rates(difference[:, cells] + t, half[:, cells])) for t in TRUTHS)

    return {
        "always pooled": worst(Setting(3, "mean", spreads="one of six threefold"), slice(0, 1), look=False),
        "satterthwaite": max(
            worst(Setting(n, "spread", sd, paper=f), slice(None), look=False, satterthwaite=True)
            for n in (3, 5) for sd in (0.1, 0.2) for f in (1.0, 3.0)
        ),
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Claims of gain and order: five methods and their student
# ---------------------------------------------------------------------------------------------------------------------
def gain_row(n: int, correlation: float, design: str, tables: int, methods: int = 5, sd: float = 0.2) -> dict[str, Any]:
    """Orders "method above student" at several true gains: how many are found, and how often any is false.

    ``correlation``: between the runs of one seed (shared images, order and starting weights).
    """
    rng = np.random.default_rng([n, round(100 * correlation), methods])
    shared = rng.normal(size=(tables, 1, n)) * correlation**0.5
    ours = sd * (shared + rng.normal(size=(tables, methods + 1, n)) * (1 - correlation) ** 0.5)
    means, variances = ours.mean(axis=2), ours.var(axis=2, ddof=1)
    gains = means[:, 1:] - means[:, :1]
    df = n - 1
    if design == "paired":
        error = (ours[:, 1:] - ours[:, :1]).std(axis=2, ddof=1) / n**0.5

        def p_value(gain: Array) -> Array:
            return np.asarray(2 * special.stdtr(df, -np.abs(gain) / error))
    else:
        a, b = variances[:, 1:] / n, variances[:, :1] / n
        pooled_error = np.broadcast_to(np.sqrt(2 * variances.mean(axis=1, keepdims=True) / n), gains.shape)
        pooled_df, own_error = (methods + 1) * df, np.sqrt(a + b)
        differ = (unequal(variances, df) < POOL)[:, None]
        own = differ & (own_error * quantile(df, ALPHA) > pooled_error * quantile(pooled_df, ALPHA))

        def p_value(gain: Array) -> Array:  # both own spreads have df n - 1, so that Cochran's quantile is t's
            mine = special.stdtr(df, -np.abs(gain) / own_error)
            return np.asarray(2 * np.where(own, mine, special.stdtr(pooled_df, -np.abs(gain) / pooled_error)))

    size = _gain_size(rng, ours, sd, design)
    truths = [round(0.1 * i, 1) for i in range(16)]
    found = []
    for truth in truths:
        p = p_value(gains + truth)
        order = np.argsort(p, axis=1)
        steps = np.take_along_axis(p, order, axis=1) * np.arange(methods, 0, -1)
        adjusted = np.empty_like(p)
        np.put_along_axis(adjusted, order, np.maximum.accumulate(np.minimum(steps, 1.0), axis=1), axis=1)
        right, wrong = (adjusted <= ALPHA) & (gains + truth > 0), (adjusted <= ALPHA) & (gains + truth < 0)
        found.append((right, wrong))
    compared = _check_orders(ours, found[3], truths[3], design)
    none = found[0][0] | found[0][1]
    return {
        "n": n, "correlation": correlation, "design": design, "sd": sd, "methods": methods, "tables": tables,
        "compared": compared, "any_false_without_gain": float(none.any(axis=1).mean()), "worst_false_size": size,
        "truths": truths, "reproduced": [round(float(right.mean()), 5) for right, _ in found],
        "below": [round(float(wrong.mean()), 5) for _, wrong in found],
    }  # fmt: skip


def _gain_size(rng: np.random.Generator, ours: Array, sd: float, design: str) -> float:
    """The size of a large gain against the difference of two printed means of 3 without spread: worst rate of a false one.

    Here too the first tables are judged by the package.
    """
    tables, cells, n = ours.shape
    df, methods = n - 1, cells - 1
    printed = sd * rng.normal(size=(tables, cells, 3)).mean(axis=2)
    means, variances = ours.mean(axis=2), ours.var(axis=2, ddof=1)
    common = np.broadcast_to(variances.mean(axis=1, keepdims=True), (tables, methods))
    own = (variances[:, 1:] + variances[:, :1]) / 2
    mine, mine_df = 2 * common / n, cells * df
    mine_own = 2 * own / n
    if design == "paired":
        mine = mine_own = (ours[:, 1:] - ours[:, :1]).var(axis=2, ddof=1) / n
        mine_df = df
    theirs, theirs_own = 2 * common / 3, 2 * own / 3
    t = (mine * quantile(mine_df, ALPHA) + theirs * quantile(cells * df, ALPHA)) / (mine + theirs)
    pooled_half, own_half = t * np.sqrt(mine + theirs), quantile(df, ALPHA) * np.sqrt(mine_own + theirs_own)
    differ = (unequal(variances, df) < POOL)[:, None]
    half = np.where(differ, np.maximum(pooled_half, own_half), pooled_half)
    difference = (means[:, 1:] - means[:, :1]) - (printed[:, 1:] - printed[:, :1])
    for table in range(min(CHECKED, tables)):
        runs = {str(c): [Measured(s, 80 + x + 50 * (c > 0)) for s, x in enumerate(ours[table, c])] for c in range(cells)}
        prints = [Published(80 + x + 50 * (c > 0), None, 3, None, "last", "mean") for c, x in enumerate(printed[table])]
        claims = [
            Claim(str(c), "gain", str(c), prints[c], "0", prints[0], "paired" if design == "paired" else "unpaired", seeds=n)
            for c in range(1, cells)
        ]
        for index, finding in enumerate(judge_table(claims, runs)[0]):
            d, h = difference[table, index], half[table, index]
            if finding.interval is None or not np.allclose(finding.interval, (d - h, d + h), rtol=0, atol=1e-9):
                raise SystemExit(f"{design}, table {table}, gain {index}: {finding} is not ({d - h}, {d + h})")
    return max(false_rate(t, rates(difference + t, half)) for t in TRUTHS)


def _check_orders(ours: Array, found: tuple[Any, Any], truth: float, design: Any) -> int:
    compared, cells = 0, ours.shape[1]
    for table in range(min(CHECKED, len(ours))):
        runs = {str(c): [Measured(s, 80 + x + (c > 0) * truth) for s, x in enumerate(ours[table, c])] for c in range(cells)}
        claims = [
            Claim(str(c), "order", str(c), baseline="0", decides=design, seeds=ours.shape[2]) for c in range(1, cells)
        ]  # fmt: skip
        for index, finding in enumerate(judge_table(claims, runs)[0]):
            expected = "reproduced" if found[0][table, index] else "below" if found[1][table, index] else "unclear"
            if finding.verdict != expected:
                raise SystemExit(f"{design}, table {table}, claim {index}: {finding} is not {expected}")
            compared += 1
    return compared


# ---------------------------------------------------------------------------------------------------------------------
# A second look: the suggested seeds are run, the claim is judged again
# ---------------------------------------------------------------------------------------------------------------------
def second_look(n: int, truth: float, tables: int, most: int = 20, sd: float = 0.2) -> dict[str, Any]:
    """Every *unclear* cell gets the seeds that were suggested (at most ``most``), and the table is judged once more."""
    setting = Setting(n, "mean", sd)
    drawn = draw(replace(setting, paper=1.0), tables)
    rng = np.random.default_rng([n, round(1000 * truth), 7])
    counts = {look: dict.fromkeys(VERDICTS, 0) for look in ("first", "second")}
    settled, followed = 0, 0
    for table in range(tables):
        claims = [
            Claim(str(c), "value", str(c), Published(float(drawn.printed[table, c]), None, 3, None, "last", "mean"), seeds=n)
            for c in range(CELLS)
        ]
        runs = {str(c): [Measured(s, float(x) + truth) for s, x in enumerate(drawn.ours[table, c])] for c in range(CELLS)}
        first = judge_table(claims, runs)[0]
        extended = dict(runs)
        for finding in first:
            counts["first"][finding.verdict] += 1
            if finding.verdict == "unclear" and finding.more_seeds is not None and finding.more_seeds <= most:
                extra = rng.normal(size=finding.more_seeds) * sd + truth
                extended[finding.claim.id] = runs[finding.claim.id] + [Measured(n + i, float(x)) for i, x in enumerate(extra)]
        second = judge_table(claims, extended)[0]
        for before, after in zip(first, second, strict=True):
            # a verdict that was given stays: only the unclear are looked at again
            again = before.verdict == "unclear" and len(extended[before.claim.id]) > n
            counts["second"][after.verdict if again else before.verdict] += 1
            followed += again
            settled += again and after.verdict != "unclear"
    total = tables * CELLS
    return {
        "n": n, "truth": truth, "sd": sd, "tables": tables, "most": most,
        "followed": followed / total, "settled": settled / max(1, followed),
        **{look: {v: c / total for v, c in by.items()} for look, by in counts.items()},
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
def simulate(tables: int) -> dict[str, Any]:
    started = time.perf_counter()
    result: dict[str, Any] = {
        "what": "simulated rates of verdicts", "tolerance": TOLERANCE, "cells": CELLS, "alpha": ALPHA, "pool": POOL,
        "truths": TRUTHS, "stated": STATED,
        "values": [value_row(setting, tables) for setting in value_settings()],
        "alternatives": alternatives(tables),
        "gains": [
            gain_row(n, correlation, design, tables)
            for n in (3, 5) for correlation in (0.0, 0.6) for design in ("paired", "unpaired")
        ],
        "second_looks": [second_look(n, truth, max(1, tables // 20)) for n in (3, 5) for truth in (0.0, 0.25, 0.5)],
    }  # fmt: skip
    result["seconds"] = round(time.perf_counter() - started, 1)
    result["versions"] = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", type=int, default=20_000, help="simulated tables a setting (six claims each)")
    parser.add_argument("--out", type=Path, default=Path("results/verdict-rates"))
    parser.add_argument("--page", type=Path, default=Path("docs/verdicts.md"))
    parser.add_argument("--redraw", action="store_true", help="do not simulate: figures and page from the stored numbers")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    stored = given.out / "rates.json"
    if not given.redraw:
        stored.write_text(compact(simulate(given.tables)))
    write(json.loads(stored.read_text()), given.out, given.page)
    print(f"{stored}, its figures and {given.page}")


def compact(result: dict[str, Any]) -> str:
    """JSON with one line a row."""
    lines = []
    for key, value in result.items():
        if isinstance(value, list) and isinstance(value[0], dict):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            lines.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()

"""How often are the verdicts false? Tables with known truth, simulated and judged, by the rule of today and the one before.

A table has six cells of n runs; the truth of ours minus the paper's is the same in every cell. The verdicts are computed
on whole arrays (``verdict_rule.py``); in every setting the first tables are also judged by ``redistill.claims.judge_table``,
and every verdict and interval must be the same, else there is no result.

    python benchmarks/verdict_rates.py [--tables 20000] [--out results/measured/verdict-rates] [--page docs/verdicts.md]
    python benchmarks/verdict_rates.py --redraw      # figures and page again from the stored numbers
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy import special
from verdict_page import write
from verdict_real import real_tables
from verdict_rule import Array, ReportedValues, before, blocked, holm, now, paired_before, unpaired_before

from redistill.claims import ALPHA, Claim, Measured, Published, judge_table
from redistill.claims.model import SIDE
from redistill.runs.measured import begin, headed, measured
from redistill.stats import median_factor, pocock

CELLS, TOLERANCE = 6, 0.5
TRUTHS = [round(0.05 * i, 2) for i in range(31)]
SEEDS = (3, 5, 10)
LOOKS = (3, 5, 10)
CHECKED = 20
VERDICTS = ("reproduced", "above", "below")
SPREADS = {
    "equal": (1.0,) * 6,
    "one of six threefold": (3.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    "three of six threefold": (3.0, 3.0, 3.0, 1.0, 1.0, 1.0),
    "2, 1.8, 1.5, .6, .3, .1 points": (10.0, 9.0, 7.5, 3.0, 1.5, 0.5),
}


@dataclass(frozen=True)
class Setting:
    """One kind of table.

    Attributes:
        name: in words. prints: what the paper prints. sd: spread of an ordinary cell in points. spreads: of the cells, in ``sd``.
        together: correlation of the runs of one seed. shape: of the scatter. diverged: one run of the first cell is at 10 %.
        teacher: standard deviation of what a teacher adds. ours, paper: ``one`` teacher for all seeds (of a cell) or ``each``.
        told: the paper's number counts as one run where its seeds share a teacher. allowance: what the claim allows a teacher.
    """

    name: str
    prints: str = "mean"
    sd: float = 0.2
    spreads: str = "equal"
    together: float = 0.0
    shape: str = "normal"
    diverged: bool = False
    teacher: float = 0.0
    ours: str = "each"
    paper: str = "each"
    teacher_known: bool = False
    allowance: float = 0.0

    @property
    def runs(self) -> int:
        return {"spread": 3, "mean": 3, "one": 1, "median": 5}[self.prints]

    @property
    def median(self) -> bool:
        return self.prints == "median"


SETTINGS = [
    Setting("mean of 3 printed"),
    Setting("mean and spread of 3 printed", "spread"),
    Setting("one run printed, unsaid", "one"),
    Setting("median of 5 printed", "median"),
    Setting("runs of a seed correlate by .6", together=0.6),
    Setting("runs of a seed correlate by .9", together=0.9),
    Setting("correlate by .6, spread printed", "spread", together=0.6),
    Setting("one cell of six three times as wide", spreads="one of six threefold"),
    Setting("the same, spread printed", "spread", spreads="one of six threefold"),
    Setting("three of six three times as wide", spreads="three of six threefold"),
    Setting("spreads 2, 1.8, 1.5, .6, .3, .1", spreads="2, 1.8, 1.5, .6, .3, .1 points"),
    Setting("a diverged run in one cell", diverged=True),
    Setting("skewed downwards", shape="skew"),
    Setting("skewed downwards, median of 5 printed", "median", shape="skew"),
    Setting("skewed downwards, one run printed, unsaid", "one", shape="skew"),
    Setting("skewed downwards, one cell of six three times as wide", spreads="one of six threefold", shape="skew"),
    Setting("t with 3 degrees", shape="t3"),
    *(Setting(f"teachers differ by {t}: one for all seeds", teacher=t, ours="one", paper="one") for t in (0.1, 0.2, 0.3)),
    *(Setting(f"teachers differ by {t}: one a seed, theirs too", teacher=t) for t in (0.1, 0.2, 0.3)),
    *(Setting(f"teachers differ by {t}: one a seed, theirs one", teacher=t, paper="one", teacher_known=True) for t in (0.1, 0.2, 0.3)),
    *(
        Setting(f"teachers differ by {t}: one for all seeds, allowed for", teacher=t, ours="one", paper="one", allowance=t)
        for t in (0.1, 0.2, 0.3)
    ),
]  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# Value claims
# ---------------------------------------------------------------------------------------------------------------------
def scattered(setting: Setting, rng: np.random.Generator, tables: int, n: int, teachers: str) -> Array:
    """Runs [tables, cells, n] around 0."""
    shape = (tables, CELLS, n)
    if setting.shape == "skew":  # a long tail downwards, as zero-shot runs have: gamma of shape 1.5, skewness 1.6
        z = -(rng.gamma(1.5, size=shape) - 1.5) / 1.5**0.5
    elif setting.shape == "t3":
        z = rng.standard_t(3, size=shape) / 3**0.5
    else:
        z = setting.together**0.5 * rng.normal(size=(tables, 1, n)) + (1 - setting.together) ** 0.5 * rng.normal(size=shape)
    scale = setting.sd * np.array(SPREADS[setting.spreads])
    of_teacher = rng.normal(size=(tables, CELLS, 1) if teachers == "one" else (tables, 1, n)) * setting.teacher
    made: Array = z * scale[:, None] + of_teacher
    return made


def draw(setting: Setting, n: int, tables: int) -> tuple[Array, ReportedValues]:
    rng = np.random.default_rng([n, *json.dumps(asdict(setting), sort_keys=True).encode()])
    ours = np.round(scattered(setting, rng, tables, n, setting.ours), 4)
    if setting.diverged:
        ours[:, 0, 0] = -70.0
    runs = scattered(setting, rng, tables, setting.runs, setting.paper)
    value = np.round(np.median(runs, axis=2) if setting.median else runs.mean(axis=2), 2)
    std = np.round(runs.std(axis=2), 2) if setting.prints == "spread" else None
    share = median_factor(5) ** 2 if setting.median else 1.0 if setting.teacher_known else 1 / setting.runs
    return ours, ReportedValues(value, std, share, setting.runs)


def rates(difference: Array, half: Array, truth: float) -> dict[str, Array]:
    """Shares of verdicts by cell where ours are better by ``truth``."""
    d = difference + truth
    inside, above, below = np.abs(d) + half <= TOLERANCE, d - half > TOLERANCE, d + half < -TOLERANCE
    return {"reproduced": inside.mean(axis=0), "above": above.mean(axis=0), "below": below.mean(axis=0)}


def check(setting: Setting, ours: Array, printed: ReportedValues, difference: Array, half: Array) -> int:
    """The first tables through the package; the number of verdicts compared."""
    seeds = {"spread": 3, "mean": 3, "one": None, "median": 5}[setting.prints]
    aggregate: Any = {"median": "median", "one": "unknown"}.get(setting.prints, "mean")
    compared = 0
    for table in range(min(CHECKED, len(difference))):
        claims, runs = [], {}
        for cell in range(CELLS):
            std = None if printed.std is None else float(printed.std[table, cell])
            number = Published(
                80 + float(printed.value[table, cell]), std, seeds, None if std is None else 0, "last", aggregate,
                teachers=1 if setting.teacher_known else None,
            )  # fmt: skip
            claims.append(
                Claim(str(cell), "value", str(cell), number, tolerance=TOLERANCE, seeds=ours.shape[2], allowance=setting.allowance)
            )
            runs[str(cell)] = [Measured(s, 80 + float(x)) for s, x in enumerate(ours[table, cell])]
        for cell, finding in enumerate(judge_table(claims, runs)[0]):
            d, h = difference[table, cell], half[table, cell]
            expected = "reproduced" if abs(d) + h <= TOLERANCE else "above" if d - h > TOLERANCE else "below" if d + h < -TOLERANCE else ""
            known = finding.verdict if finding.verdict in VERDICTS else ""
            if known != expected or finding.interval is None or not np.allclose(finding.interval, (d - h, d + h), rtol=0, atol=1e-6):
                raise SystemExit(f"{setting}, table {table}, cell {cell}: {finding} is not {expected} ({d - h}, {d + h})")
            compared += 1
    return compared


def value_row(setting: Setting, n: int, tables: int) -> dict[str, Any]:
    ours, printed = draw(setting, n, tables)
    row: dict[str, Any] = {"name": setting.name, "n": n, "tables": tables, "sd": setting.sd, "prints": setting.prints}
    odd = setting.spreads.startswith("one") or setting.diverged
    groups = {"all": slice(None)} if setting.spreads == "equal" and not odd else {"wide": slice(0, 1), "narrow": slice(-1, None)}
    for name, rule in (("before", before), ("now", now)):
        more = {"allowance": setting.allowance} if name == "now" else {}
        difference, half = rule(ours, printed, median=setting.median, **more)
        if name == "now":
            row["compared"] = check(setting, ours, printed, difference, half)
        at = {t: {s: rates(difference, half, s * t) for s in (1, -1)} for t in (0.0, TOLERANCE)}
        for group, cells in groups.items():
            mean = {t: {s: {v: float(x[cells].mean()) for v, x in r.items()} for s, r in by.items()} for t, by in at.items()}
            up, down = mean[TOLERANCE][1], mean[TOLERANCE][-1]
            row[f"{name} {group}"] = {
                "reproduced": round(mean[0.0][1]["reproduced"], 4),
                "false_at_0": round(mean[0.0][1]["above"] + mean[0.0][1]["below"], 4),
                "outside_at_edge": round(max(up["above"], down["below"]), 4),
                "inside_at_edge": round(max(up["reproduced"], down["reproduced"]), 4),
            }
        if setting.name == SETTINGS[0].name and name == "now":
            row["curve"] = {v: [round(float(rates(difference, half, t)[v].mean()), 4) for t in TRUTHS] for v in VERDICTS}
    return row


# ---------------------------------------------------------------------------------------------------------------------
# Orders: five methods and their student
# ---------------------------------------------------------------------------------------------------------------------
GROUNDS = {
    "equal spreads": (0.2,) * 6,
    "the student at 0.5, the others at 0.2": (0.5, 0.2, 0.2, 0.2, 0.2, 0.2),
}
RULES = {"blocked": blocked, "unpaired, before": unpaired_before, "paired, before": paired_before}


def order_row(n: int, together: float, ground: str, rule: str, tables: int) -> dict[str, Any]:
    """How many orders "method above student" are found at some gains, and how often any of five is false without one."""
    rng = np.random.default_rng([n, round(100 * together), *ground.encode()])
    shared = together**0.5 * rng.normal(size=(tables, 1, n))
    ours = np.array(GROUNDS[ground])[:, None] * (shared + (1 - together) ** 0.5 * rng.normal(size=(tables, CELLS, n)))
    error, df = RULES[rule](ours)
    gains = ours[:, 1:].mean(axis=2) - ours[:, :1].mean(axis=2)

    def adjusted(gain: float) -> Array:
        return holm(2 * special.stdtr(df, -np.abs(gains + gain) / error))

    found = {g: float(((adjusted(g) <= ALPHA) & (gains + g > 0)).mean()) for g in (0.3, 0.5, 1.0)}
    if rule == "blocked":
        _check_orders(ours, adjusted(0.5), gains + 0.5)
    none = adjusted(0.0) <= ALPHA
    return {
        "n": n, "together": together, "ground": ground, "rule": rule, "tables": tables,
        "any_false": round(float(none.any(axis=1).mean()), 4), "found": {str(g): round(x, 4) for g, x in found.items()},
    }  # fmt: skip


def _check_orders(ours: Array, p: Array, gains: Array) -> None:
    for table in range(min(CHECKED, len(ours))):
        if (p[table] == 1).all():
            continue  # no common spread: the package compares means
        runs = {str(c): [Measured(s, 80 + x + (c > 0) * 0.5) for s, x in enumerate(ours[table, c])] for c in range(CELLS)}
        claims = [Claim(str(c), "order", str(c), baseline="0", decides="blocked", seeds=ours.shape[2]) for c in range(1, CELLS)]
        for index, finding in enumerate(judge_table(claims, runs)[0]):
            expected = "unclear" if p[table, index] > ALPHA else "reproduced" if gains[table, index] > 0 else "below"
            if finding.verdict != expected:
                raise SystemExit(f"order, table {table}, claim {index}: {finding} is not {expected}")


# ---------------------------------------------------------------------------------------------------------------------
# Seeds added while looking
# ---------------------------------------------------------------------------------------------------------------------
FIXED, GREEDY = "looks at 3, 5, 10", "one more until a verdict"
LOOKED = [
    (Setting("normal", sd=0.3), FIXED),
    (Setting("normal", sd=0.3), GREEDY),
    (Setting("runs of a seed correlate by .6", sd=0.3, together=0.6), FIXED),
    (Setting("skewed downwards", sd=0.3, shape="skew"), FIXED),
    (Setting("the wide cell of one in six three times as wide", sd=0.3, spreads="one of six threefold"), FIXED),
    (Setting("teachers differ by 0.1: one a seed, theirs too", sd=0.3, teacher=0.1), FIXED),
]


def look_row(setting: Setting, truth: float, plan: str, tables: int) -> dict[str, Any]:
    """Shares of verdicts ever given: at the fixed looks, or with one more seed until a verdict (each look at the level of one)."""
    whole, printed = draw(setting, LOOKS[-1], tables)
    looks, side = (LOOKS, pocock(LOOKS, SIDE)) if plan == FIXED else (tuple(range(3, 11)), SIDE)
    cells = slice(None) if setting.spreads == "equal" else slice(0, 1)
    open_, counts, seeds = np.ones((tables, CELLS), dtype=bool)[:, cells], dict.fromkeys(VERDICTS, 0.0), 0.0
    for n in looks:
        difference, half = (x[:, cells] for x in now(whole[:, :, :n] + truth, printed, side))
        seeds += float(open_.mean()) * (n - (looks[looks.index(n) - 1] if n != looks[0] else 0))
        verdicts = {
            "reproduced": np.abs(difference) + half <= TOLERANCE, "above": difference - half > TOLERANCE,
            "below": difference + half < -TOLERANCE,
        }  # fmt: skip
        for verdict, there in verdicts.items():
            counts[verdict] += float((open_ & there).mean())
        open_ &= ~np.logical_or.reduce(list(verdicts.values()))
    return {"name": setting.name, "truth": truth, "plan": plan, "sd": setting.sd, "tables": tables, "seeds": round(seeds, 2),
            **{v: round(c, 4) for v, c in counts.items()}}  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
def simulate(tables: int, repetitions: int) -> dict[str, Any]:
    started = time.perf_counter()
    result: dict[str, Any] = {
        "what": "simulated rates of verdicts", "tolerance": TOLERANCE, "cells": CELLS, "alpha": ALPHA, "truths": TRUTHS,
        "side": SIDE, "looks": list(LOOKS), "look_level": pocock(LOOKS, SIDE),
        "values": [value_row(setting, n, tables) for setting in SETTINGS for n in SEEDS],
        "curves": [{**value_row(Setting(SETTINGS[0].name, sd=sd), n, tables), "sd": sd} for sd in (0.1, 0.2) for n in (3, 5)],
        "orders": [
            order_row(n, together, ground, rule, tables)
            for ground in GROUNDS for n in (3, 5) for together in (0.0, 0.6) for rule in RULES
        ],
        "sequential": [
            look_row(setting, truth, plan, tables) for setting, plan in LOOKED for truth in (0.0, TOLERANCE, -TOLERANCE)
        ],
        "real": real_tables(repetitions),
    }  # fmt: skip
    result["seconds"] = round(time.perf_counter() - started, 1)
    result["versions"] = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", type=int, default=20_000, help="simulated tables a setting (six claims each)")
    parser.add_argument("--repetitions", type=int, default=10, help="of every real table")
    parser.add_argument("--out", type=Path, default=Path("results/measured/verdict-rates"))
    parser.add_argument("--figures", type=Path, default=Path("results/figures"))
    parser.add_argument("--page", type=Path, default=Path("docs/verdicts.md"))
    parser.add_argument("--redraw", action="store_true", help="do not simulate: figures and page from the stored numbers")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    stored = given.out / "rates.json"
    if not given.redraw:
        begun = begin()
        stored.write_text(compact(headed(simulate(given.tables, given.repetitions), "verdict-rates", begun)))
    write(measured(stored), given.figures, given.page)
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

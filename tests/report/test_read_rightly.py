"""Tables and figures that would be misread: orders beside tolerances, errors beside accuracies, labels outside of a figure."""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest
from matplotlib.text import Text

from redistill import papers
from redistill.claims import Claim, Finding, Measured, Published, judge, judge_table, sentence
from redistill.errors import RedistillError
from redistill.papers.plan import make
from redistill.report.article import _Pictures
from redistill.report.figures import Held, curves_of, ends_of, forests
from redistill.report.html import el, table
from redistill.report.paper import asked_rows, latex_cells, line, page
from redistill.report.paper_page import beside
from redistill.report.records import of_features
from redistill.report.results import digits_methods, real_runs, with_file
from redistill.report.style import no_more_than_all, panels, svg_text
from redistill.report.table import comma_separated, comparison, latex, markdown
from redistill.report.traces import Traces, traces
from redistill.report.web import held
from redistill.runs.measured import begin, keep
from redistill.runs.store import Run, Store
from redistill.verdicts.claims import key
from redistill.verdicts.tables import TableVerdict, judged

RESULTS = Path(__file__).resolve().parents[2] / "results"


def measured(*values: float) -> list[Measured]:
    return [Measured(seed, value) for seed, value in enumerate(values)]


def test_an_order_is_not_held_against_a_tolerance() -> None:
    """Its sign decides: three points above the printed difference it is reproduced, which no band of half a point shows."""
    number = Published(75.0, seeds=3, which="last", aggregate="mean"), Published(74.0, seeds=3, which="last", aggregate="mean")
    runs = {"A": measured(79, 79.1, 79.2), "B": measured(75, 75.1, 74.9)}
    order = judge(Claim("o", "order", "A", number[0], "B", number[1], "unpaired"), runs)
    gain = judge(Claim("g", "gain", "A", number[0], "B", number[1], "unpaired"), runs)
    assert (order.verdict, gain.verdict) == ("reproduced", "above")
    assert held(order) is None and held(gain) is not None
    assert line(order).difference == "" and line(order).ours.startswith("+4.10") and line(gain).difference.startswith("+3.10")


def test_a_cell_that_is_printed_nowhere_stands_beside_the_claims_of_its_table(tmp_path: Path) -> None:
    """Tables of which most is printed: what was run of the rest stood on no page."""
    paper = papers.load("ahn2019")
    plan = make(paper, [cell for cell in paper.cells_of("tf-plots") if cell.column == "2 %"], device="cpu")
    [none] = judged(plan, Store(tmp_path))
    assert none.summary is not None and [row[0] for row in asked_rows(none)] == ["VID / 2 %"] and beside([none]) == []
    run = next(run for run in Store(RESULTS / "runs").runs() if isinstance(run, Run) and run.label == "ahn2019:1:KD:2 %" and run.seed == 0)
    some = replace(none, runs={"VID / 2 %": (run,)}, measured={"VID / 2 %": [Measured(0, run.accuracy())]})
    assert asked_rows(some) == [("VID / 2 %", "63.32", "1")]
    text = "\n".join(beside([some]))
    assert "### tf-plots, beside ours" in text and "| VID / 2 % | 63.32 (0) |" in text and "0 of 9 claims judged" in text
    assert "| VID / 2 % | 63.32 | 1 |" in page(plan, [some]) and "| VID / 2 % |  | 0 |" in page(plan, [none])


def test_the_first_stage_of_a_hint_is_no_student_of_ours() -> None:
    """Its classifier is taught by nobody: 10.00 % stood among the short runs that show that it works."""
    hints = [run for run in Store(RESULTS / "runs").runs() if isinstance(run, Run) and of_features(run)]
    assert hints and {part["use"] for run in hints for part in run.record["experiment"]["method"]} == {"FitNet"}
    shown = real_runs(RESULTS)
    assert all(run.label not in shown for run in hints) and "VID, 2 % of CIFAR-10" in shown


def test_a_table_of_errors_says_so_and_is_one_in_latex() -> None:
    paper = papers.load("zagoruyko2017")
    name = next(n for n, t in paper.file.table.items() if t.metric == "error")
    cell = next(c for c in paper.cells_of(name) if c.printed is not None and not c.unknown)
    plan = make(paper, [cell], device="cpu")
    label = f"{cell.row} / {cell.column}"
    assert cell.printed is not None and plan.cells[0].experiment is not None and key(plan.cells[0])
    accuracy = 100.0 - cell.printed.value
    published = Published(accuracy, seeds=3, which="last", aggregate="mean")
    found = judge(Claim(label, "value", label, published), {label: measured(accuracy, accuracy + 0.1, accuracy - 0.1)})
    verdict = TableVerdict(name, plan.cells, {}, (found,), None)
    tex = latex_cells(paper, verdict)
    assert rf"\quad ours & ${cell.printed.value:.2f} \pm" in tex and "b below, in accuracy" in tex
    assert "The paper prints errors; the claims below are about accuracies" in page(plan, [verdict])
    # no end of an interval lies where no accuracy can be, and its half is not told where it has none
    wide = judge(Claim(label, "value", label, published), {label: measured(99.9, 93.0, 99.8)})
    assert wide.ours is not None and wide.ours.high == 100.0 and wide.ours.low < 92.0 and " 100.00]" in line(wide).ours
    tex = latex_cells(paper, TableVerdict(name, plan.cells, {}, (wide,), None))
    mean, low = wide.ours.value, wide.ours.low
    assert rf"\quad ours & ${100 - mean:.2f}_{{-{100 - mean:.2f}}}^{{+{mean - low:.2f}}}{{}}^{{" in tex
    assert paper.accuracy(cell) == pytest.approx(accuracy)


def test_a_figure_is_never_higher_than_a_page() -> None:
    """Claims of a whole table: several plots over one axis, each with its own rows; whatever else is higher is made smaller."""
    name = "of a long name that needs two lines to be said"
    rows = [Held(f"claim {n} {name}", "75.00, ours 74.00: below", -1.0 - n, -2.0 - n, 0.0, 0.5, "below") for n in range(40)]
    drawn = list(forests(rows, title="t", width=4.9, size=11))
    assert [row for _, part in drawn for row in part] == rows and len(drawn) > 2
    assert all(figure.get_figheight() < 10.0 for figure, _ in drawn)
    assert len({figure.axes[0].get_xlim() for figure, _ in drawn}) == 1
    tall = el("figure", el("svg", el("title", "t"), viewBox="0 0 350 1560"))
    (node,) = _Pictures().flow(tall)
    assert not isinstance(node, str) and node["attributes"]["width"] == 175.0
    for figure, _ in drawn:
        plt.close(figure)


def test_one_wide_interval_squeezes_no_other_row_and_is_not_hidden() -> None:
    """With seeds that diverged an interval is of all that accuracies can be; the others were hairlines on its axis."""
    rows = [Held(f"c{n}", "75.00, ours 74.00: unclear", -1.0, -4.0, 2.0, 0.5, "unclear") for n in range(4)]
    wide = Held("VID", "81.59, ours 30.31: unclear", -51.28, -81.59, 18.41, 0.5, "unclear")
    [(drawn, _)] = forests([*rows, wide], title="t")
    low, high = drawn.axes[0].get_xlim()
    assert -60 < low < wide.difference and 2 < high < 18
    marks = [(line.get_marker(), float(line.get_xdata()[0])) for line in drawn.axes[0].lines]
    assert {("<", low), (">", high), ("D", wide.difference)} <= set(marks) and len([m for m, _ in marks if m in "<>"]) == 2
    said = " ".join(text.get_text() for text in drawn.axes[0].texts)
    assert "unclear [-81.59, +18.41]" in " ".join(said.split()) and said.count("[") == 1
    assert "arrow: it goes on, its ends are written" in drawn.axes[0].get_xlabel()
    # where all are as wide, or hardly wider than the tolerance, none is cut
    for same in ([wide, wide], [replace(rows[0], low=-1.01, high=-0.99), *rows]):
        [(drawn, _)] = forests(same, title="t")
        assert not [line for line in drawn.axes[0].lines if line.get_marker() in ("<", ">")] and "arrow" not in drawn.axes[0].get_xlabel()
    plt.close("all")


def test_transition_errors_are_no_points() -> None:
    paper = papers.load("ferles2020")
    name = next(n for n, t in paper.file.table.items() if t.metric == "mte")
    plan = make(paper, [next(c for c in paper.cells_of(name) if c.printed is not None and not c.unknown)], device="cpu")
    claim = Claim("c", "value", "A", Published(0.2, which="none", aggregate="mean"), tolerance=0.05)
    [found], summary = judge_table([claim], {"A": measured(0.2, 0.21, 0.19)})
    text = page(plan, [TableVerdict(name, plan.cells, {}, (found,), summary)])
    assert "Spread over seeds, last epoch: 0.01 (2 degrees" in text
    drawn = {unit: next(forests([held_of(found)], title="t", unit=unit))[0].axes[0].get_xlabel() for unit in (" points", "")}
    assert drawn[" points"].startswith("ours minus the paper's, points\n(") and drawn[""].startswith("ours minus the paper's\n(")
    plt.close("all")


def held_of(found: Finding) -> Held:
    shown = held(found)
    assert shown is not None
    return shown


def test_no_number_is_rounded_to_the_other_side_of_what_decides() -> None:
    """"[-0.32, +0.50], which leaves open whether it is within ±0.5"; *p = 0.05* of what is not shown at 5 %."""
    number = Published(75.0, seeds=3, which="last", aggregate="mean")
    claim = Claim("c", "value", "A", number, reach=True)
    found = judge(claim, {"A": measured(75.0, 75.1, 75.2)})
    assert found.reading is not None
    for end, text, verdict in ((0.5031, "+0.503", "unclear"), (0.4987, "+0.50", "reproduced"), (0.514, "+0.51", "unclear")):
        moved = replace(found, verdict=verdict, reading=replace(found.reading, interval=(-0.32, end)))
        assert f"[-0.32, {text}]" in sentence(moved) and line(moved).difference.endswith(f"[-0.32, {text}]")
    order = judge(Claim("o", "order", "A", None, "B", None, "unpaired"), {"A": measured(79, 79.1, 79.3), "B": measured(75, 75.1, 75)})
    assert order.reading is not None
    unshown = replace(order, verdict="unclear", p=0.0503, reading=replace(order.reading, p=0.0503))
    assert "p = 0.0503)" in sentence(unshown)
    rows = comparison({"CE": {0: 80.0, 1: 80.0}, "KD": {0: 81.0, 1: 81.2}}, "CE")
    near = [rows[0], replace(rows[1], difference_low=0.003, difference_high=2.2)]
    assert "+0.003 to +2.20" in markdown(near, "CE")


def test_compatible_never_stands_in_a_figure_without_its_bound() -> None:
    number = Published(75.0, which="last", aggregate="mean")
    found = judge(Claim("c", "value", "A", number), {"A": measured(74.0, 76.0, 75.5)})
    shown = held(found)
    assert found.verdict == "compatible" and shown is not None and shown.words.endswith(f": compatible, ± {found.bound:.2f}")


def test_notes_are_never_a_column_of_single_words() -> None:
    made = ET.tostring(table(("claim", "n", "note"), [("A", "3", "many words")], "c", numbers=(1,), wide=2), encoding="unicode")
    assert '<td class="note">many words</td>' in made and '<td class="n">3</td>' in made


@pytest.mark.parametrize("count", [2, 20])
def test_the_names_of_curves_stand_inside_their_figure(count: int) -> None:
    curves = {f"CRD / resnet32x4 -> resnet8x4 number {n}": Traces([[(1.0, 60.0), (2.0, 70.0 + 0.1 * n)]]) for n in range(count)}
    figure = curves_of(curves, title="t", ylabel="accuracy, %", width=4.9, size=11)
    figure.canvas.draw()
    whole = figure.bbox
    names = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without the line to its curve
    assert len(names) == count and all(whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in names)
    low = sorted(box.y0 for box in names)
    high = sorted(box.y1 for box in names)
    assert all(b >= a - 1.5 for a, b in zip(high, low[1:], strict=False)), "none lies on another"
    plt.close(figure)


def test_a_curve_is_of_the_seeds_that_lived_and_a_cross_says_where_another_died() -> None:
    """The mean over the steps that all seeds have would end where the first died, and its label far right as if it went on."""
    lived, dead = [(1.0, 40.0), (2.0, 60.0), (3.0, 70.0)], [(1.0, 42.0)]
    curves = {"VID": Traces([lived], [dead, []]), "gone": Traces([], [dead]), "CE": Traces([lived, lived])}
    figure = curves_of(curves, title="t", ylabel="accuracy, %")
    drawn = [(tuple(line.get_xdata()), tuple(line.get_ydata()), line.get_marker()) for line in figure.axes[0].lines]
    assert [line for line in drawn if line[2] == "x"] == [((1.0,), (42.0,), "x")] * 2
    assert ((1.0, 2.0, 3.0), (40.0, 60.0, 70.0)) in {line[:2] for line in drawn}
    said = {text.get_text().replace("\n", " "): text.xy for text in figure.axes[0].texts}
    assert said == {"VID (2 of 3 diverged)": (3.0, 70.0), "gone (1 of 1 diverged)": (1.0, 42.0), "CE": (3.0, 70.0)}
    assert "×: last evaluation before a seed diverged" in figure.axes[0].get_xlabel()
    assert ends_of(curves, "accuracy, %") == "Last accuracy, %: VID (2 of 3 diverged) 70.00; gone (1 of 1 diverged); CE 70.00."
    plt.close(figure)


def test_of_records_the_dead_are_told_from_those_that_lived() -> None:
    runs = [run for run in Store(RESULTS / "runs").finished() if run.label == "ahn2019:1:VID:2 %"]
    found = traces({"VID": runs}, "test")["VID"]
    assert (len(found.lived), len(found.dead), found.named("VID")) == (1, 2, "VID (2 of 3 diverged)")
    assert [points[-1][0] for points in (*found.lived, *found.dead)] == [8000, 800, 1600] and found.lived[0][-1][1] == pytest.approx(70.94)
    alive = [run for run in runs if run.diverged is None]
    with pytest.raises(RedistillError, match="evaluation set"):
        traces({"VID": alive}, "tset")
    with pytest.raises(RedistillError, match="evaluation set"):  # they were evaluated before they died, on another set
        traces({"VID": [run for run in runs if run.diverged is not None]}, "tset")
    at_once: Any = SimpleNamespace(diverged="CE became nan", curves=lambda: {"accuracy": {}})
    assert traces({"never evaluated": [at_once]}, "test") == {} and len(traces({"VID": [*runs, at_once]})["VID"].dead) == 3


def test_one_seed_has_no_interval_and_old_ones_end_at_100(tmp_path: Path) -> None:
    none: dict[str, Any] = dict.fromkeys(("low", "high", "difference", "difference_low", "difference_high"))
    rows = [{"method": "CE", "n": 1, "mean": 90.0, "runs": [], **none}, {"method": "A|B", "n": 3, "mean": 94.0, "runs": [], **none,
                                                                           "low": 87.1, "high": 100.9}]  # fmt: skip
    about = {"command": "c", "runs": 4, "cpu_seconds": 60.0, "rows": rows, "left_out": {}}
    keep(tmp_path / "measured" / "digits-methods" / "table.json", about, begin())
    text = digits_methods(tmp_path)
    assert "| one seed |" in " ".join(text.split()) and "87.10 to 100.00" in text and "0.00 to" not in text.replace("100.00 to", "")
    assert "A\\|B" in text and "over 1 seed;" in latex(comparison({"CE": {0: 80.0}}, "CE"), "CE") and "\\|" in markdown(
        comparison({"a|b": {0: 80.0}}, "a|b"), "CE"
    )


def test_a_difference_says_of_how_many_seeds_it_is_where_these_are_not_the_rows() -> None:
    """*3 seeds* and a difference beside them that was of the one seed which the baseline has."""
    found = {"VID": {2: 70.9}, "KD": {0: 63.3, 1: 64.1, 2: 64.7}}
    row = markdown(comparison(found, "VID"), "VID").splitlines()[-1]
    assert [cell.strip() for cell in row.split("|")][1:3] == ["KD", "3"] and row.endswith("-6.20 |            one seed |")
    found["VID"][1] = 71.0
    rows = comparison(found, "VID")
    assert "(2 seeds) |" in markdown(rows, "VID").splitlines()[-1] and "$ (2 seeds) " in latex(rows, "VID")
    vid, kd = csv.DictReader(comma_separated(rows, "VID").splitlines())
    assert (vid["seeds"], vid["pairs"], kd["seeds"], kd["pairs"]) == ("2", "", "3", "2")
    found["VID"][0] = 72.0
    rows = comparison(found, "VID")
    assert "seeds)" not in markdown(rows, "VID") + latex(rows, "VID")


def test_the_command_names_the_file_that_taught_a_first_stage() -> None:
    teacher = {"model": "wrn-40-2", "from": {"path": "/elsewhere/big.safetensors", "sha256": "0"}}
    taught = {"teacher": teacher, "student": {"model": "wrn-16-1"}}
    for experiment in (taught, {"teacher": None, "student": {"run": taught}}):
        run: Any = SimpleNamespace(record={"experiment": experiment})
        assert with_file(run) == "--teacher wrn-40-2=big.safetensors"
    alone: Any = SimpleNamespace(record={"experiment": {"student": {"run": {"student": {"model": "wrn-16-1"}}}}})
    assert with_file(alone) == ""


def test_names_that_a_font_lacks_are_no_news(recwarn: pytest.WarningsRecorder) -> None:
    """The text of an SVG stays text, which the reader's fonts draw; a command told of every such letter."""
    figure, axes = plt.subplots()
    axes.set_xlabel("\u84dd")
    assert "\u84dd" in svg_text(figure, "classes")
    assert not [str(one.message) for one in recwarn if "Glyph" in str(one.message)]


@pytest.mark.parametrize("values", [(459, 19_779), (39_810, 157_374), (11_000_000, 44_000_000), (0.0002, 3.0)])
def test_a_logarithmic_axis_has_numbers_for_ticks(values: tuple[float, float]) -> None:
    figure, (axes,) = panels()
    axes.plot(values, [90.0, 91.0], "o")
    axes.set_xscale("log")
    drawn = svg_text(figure, "size")
    said = [(text.text or "").strip() for text in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text")]
    assert not [text for text in said if "$" in text or "mathdefault" in text]
    million = {str(10 * n) for n in range(1, 5)}
    assert {"1,000", "10,000", "100,000", "0.001", *(f"{n} M" for n in million)} & set(said), said


def test_there_is_no_half_step() -> None:
    figure = curves_of({"KD": Traces([((1, 10.0), (2, 20.0))], [])}, title="short", ylabel="accuracy, %")
    said = [text.text for text in ET.fromstring(svg_text(figure, "short")).iter("{http://www.w3.org/2000/svg}text")]
    assert {"1", "2"} <= set(said) and "1.5" not in said


def test_no_tick_stands_above_all_images() -> None:
    figure, (axes,) = panels()
    axes.plot([100.0, 100.0], [0, 1], "o")
    no_more_than_all(axes.xaxis)
    figure.canvas.draw()
    said = [float(text.get_text()) for text in axes.get_xticklabels()]
    assert said and max(said) == 100.0
    plt.close(figure)

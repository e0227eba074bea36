"""Which epoch is reported, which network teaches, which images are attacked: the papers' own, said and switchable."""

from __future__ import annotations

import math

import pytest

from redistill import papers
from redistill.experiment.value import Experiment
from redistill.papers import Cell, Paper
from redistill.papers.cells import filled
from redistill.settings.change import put_over
from redistill.verdicts.claims import attacked, published

FERLES, CHEN, KTH = papers.load("ferles2020"), papers.load("chen2021"), papers.load("kth2019")


def experiment(paper: Paper, cell: str) -> Experiment:
    return Experiment.of(paper.settings(paper.cell(cell)), device="cpu")


def switched(paper: Paper, cell: str, name: str) -> Experiment:
    one = paper.cell(cell)
    [departs] = [d for d in paper.departs(one) if d.name == name]
    return Experiment.of(put_over(paper.settings(one), filled(departs.change, one.facts)), device="cpu")


@pytest.mark.parametrize(
    ("cell", "since"),
    [("4:WRN-16-1:0", 0.8), ("6:10:0", 0.8), ("8:25:0", 0.8), ("10:WRN-40-2, WRN-16-1:0", 0.8),
     ("11:WRN-40-2, WRN-16-1:0", None), ("14:50:0", None)],
)  # fmt: skip
def test_the_report_looks_for_its_best_from_80_percent_on(cell: str, since: float | None) -> None:
    one = experiment(FERLES, cell)
    assert one.evaluate.since == since
    if since is not None and one.recipe.epochs is not None and one.evaluate.every is not None:
        steps = one.recipe.epochs  # one unit an epoch
        looks = [e for e in range(1, steps + 1) if e % one.evaluate.every == 0 and e >= one.evaluate.first_step(steps)]
        assert looks[-1] == steps and len(looks) == 41


def test_teachers_and_starts_are_last_epochs_with_the_best_as_a_switch() -> None:
    for cell in ("10:WRN-40-2, WRN-16-1:0", "11:WRN-40-2, WRN-16-1:0", "14:50:0"):
        plain, other = experiment(FERLES, cell), switched(FERLES, cell, "teacher-epoch")
        assert plain.teacher is not None and other.teacher is not None
        assert (plain.teacher.take, other.teacher.take) == ("last", "best") and plain.cell != other.cell
        assert plain.teacher.run == other.teacher.run  # the same training makes both networks
    start = switched(FERLES, "14:50:0", "start-epoch").student
    assert start.take == "best" and experiment(FERLES, "14:50:0").student.take == "last"
    review = switched(CHEN, "1:ReviewKD:ResNet56 -> ResNet20", "teacher-epoch").teacher
    assert review is not None and review.take == "best"


def test_the_modified_start_that_the_code_loads_is_the_plain_student() -> None:
    plain = experiment(FERLES, "11:WRN-40-2, WRN-16-1:0")
    loaded = switched(FERLES, "16:50:0", "modified-start").student.run
    assert loaded is not None and loaded.source == plain.source and loaded.recipe == plain.recipe and loaded.cell == plain.cell


def test_svhn_has_the_modified_configurations_and_three_more_beliefs() -> None:
    for M in (10, 25, 50, 75, 100):
        one = experiment(FERLES, f"modified-svhn:M = {M}:accuracy")
        assert one.student.run is not None and one.student.run.source.written()["noise"] == "fresh"
        assert one.source.written()["data"] == "svhn:train" and one.recipe.epochs == 100
        assert one.source.written()["per_class_ferles"] == M
    start = experiment(FERLES, "modified-svhn:M = 0:accuracy")
    assert start == one.student.run.model_copy(update={"name": start.name}) and start.source.written()["normalise"] == "svhn-zskt"
    asked = {(c.facts["data"], c.facts["method"]) for c in FERLES.cells_of("belief-others")}
    assert asked == {("svhn", "zero-shot"), ("svhn", "KD+AT"), ("cifar10", "modified zero-shot")}
    # with Table 2, the ten configurations of the report
    cells = (*FERLES.cells_of("2"), *FERLES.cells_of("belief-others"))
    all_ten = [(c.facts["data"], c.facts["method"], c.facts.get("gradient", "")) for c in cells]
    assert len(all_ten) == len(set(all_ten)) == 10


def test_images_of_belief_matching_are_those_of_each_code() -> None:
    picks = {name: papers.load(name).file.setup.images for name in ("ferles2020", "micaelli2019", "kth2019")}
    assert picks == {"ferles2020": "ferles", "micaelli2019": "random", "kth2019": "first"}


def which(paper: Paper, cell: Cell) -> str:
    return paper.protocol_of(cell).which


def test_rows_of_train_py_report_the_best_epoch_and_quoted_rows_the_last() -> None:
    for cell in CHEN.cells:
        own = cell.facts["method"] not in ("alone", "KD", "FitNet", "AT", "VID", "PKT", "RKD", "CRD", "OFD")
        assert which(CHEN, cell) == ("best_on_test" if own else "last"), cell.id
    one = CHEN.cell("1:ReviewKD:ResNet56 -> ResNet20")
    assert one.printed is not None and published(one.printed, CHEN.protocol_of(one), "accuracy").which == "best_on_test"


def test_a_printed_variance_is_read_the_wider_way() -> None:
    cell = CHEN.cell("7:RM:accuracy")
    assert cell.printed is not None and cell.printed.std == 0.06
    made = published(cell.printed, CHEN.protocol_of(cell), "accuracy")
    assert made.std == 0.06 and made.spread is not None  # as printed, and as it is used
    assert made.spread.sd == pytest.approx(math.sqrt(0.06) * math.sqrt(3 / 2))
    other = published(cell.printed, CHEN.protocol_of(cell).model_copy(update={"spread": "sd"}), "accuracy")
    assert other.spread is not None and other.spread.sd == pytest.approx(0.06 * math.sqrt(3 / 2))


def test_baseline_teachers_have_the_recipe_of_train_py() -> None:
    cells = CHEN.cells_of("baseline")
    assert len(cells) == 11
    for cell in cells:
        one = experiment(CHEN, cell.id)
        assert (one.recipe.batch_size, one.recipe.nesterov) == (128, True), cell.id
        assert one.recipe.lr == (0.02 if "Shuffle" in cell.facts["student"] else 0.1)
    teacher = experiment(CHEN, "1:ReviewKD:ResNet56 -> ResNet20").teacher
    assert teacher is not None and teacher.run is not None and teacher.run.cell == experiment(CHEN, "baseline:ResNet56:accuracy").cell
    params = experiment(CHEN, "re-params:ResNet56 -> ResNet20:CIFAR-10, 20 epochs")
    assert (params.recipe.epochs, params.recipe.batch_size, params.source.written()["data"]) == (20, 64, "cifar10:train")
    rates = params.recipe.rates(10)
    assert [round(rates[10 * e], 6) for e in (0, 12, 13, 17, 18)] == [0.1, 0.1, 0.01, 0.01, 0.001]


def test_the_first_projects_report_has_24_accuracies_and_its_own_losses() -> None:
    assert len([1 for cell in KTH.places("1") if cell.printed is not None]) == 24
    kd = experiment(KTH, "1:WRN-40-2, WRN-16-1:KD+AT")
    terms = {part.use: (part.weight, part.settings) for part in kd.method}
    assert terms["CE"][0] == 0.1 and terms["AT"] == (250.0, {**terms["AT"][1], "over": "batch"})
    weight, settings = terms["KD"]
    assert (weight, settings["factor"], settings["T"], settings["scale_T2"], settings["reduction"]) == (0.9, 2.0, 4.0, True, "batch")
    assert (kd.recipe.steps, kd.recipe.nesterov, kd.recipe.weight_decay, kd.recipe.no_decay) == (80_000, True, 1e-3, ("norm", "bias"))
    made = experiment(KTH, "1:WRN-40-2, WRN-16-1:zero-shot")
    assert made.source.written()["reduction"] == "batch" and made.recipe.steps == 800_000
    assert {attacked(cell) for cell in KTH.cells_of("3")} == {"relative"} and {attacked(cell) for cell in KTH.cells_of("2")} == {"student"}
    assert [c.printed.value for c in KTH.cells_of("ablation") if c.printed] == [78.93]


@pytest.mark.parametrize("name", papers.names())
def test_every_switch_of_every_departure_is_an_experiment_of_its_own(name: str) -> None:
    paper = papers.load(name)
    left = {d.name: d for d in paper.file.departs if d.change}
    for cell in paper.cells:
        for departs in [d for d in paper.departs(cell) if d.name in left and not cell.unknown]:
            plain = experiment(paper, cell.id)
            other = Experiment.of(put_over(paper.settings(cell), filled(departs.change, cell.facts)), device="cpu")
            if plain.cell != other.cell:
                del left[departs.name]
    assert not left, f"switches that change nothing anywhere: {sorted(left)}"

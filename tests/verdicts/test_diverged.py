"""A run that diverged has no network after its last step: nowhere does what it reached on the way count as what it came to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from helpers.finished_runs import finished
from redistill import papers
from redistill.claims import Claim, Finding, Measured, Published, judge_table, sentence
from redistill.cli.run import summary
from redistill.errors import RedistillError
from redistill.evidence.files import Stated
from redistill.evidence.stored import read_store
from redistill.experiment.value import Experiment
from redistill.export.formats import crate
from redistill.papers.explain import effects, sentences, variants
from redistill.papers.plan import Plan, make, select
from redistill.report import by_images
from redistill.report.figures import against_images
from redistill.report.paper import asked_rows, page
from redistill.report.paper_page import beside
from redistill.report.web import paper_page
from redistill.runs.lookup import Found
from redistill.runs.store import Run, Store
from redistill.verdicts.diverged import counts_for
from redistill.verdicts.tables import judged, to_measure

WHY = "CE (weight 1) became nan at step 5 of 9 (learning rate 0.1): lower the rate or the weight, or clip the gradient"
MICAELLI = papers.load("micaelli2019")


@pytest.fixture
def plan() -> Plan:
    return make(MICAELLI, select(MICAELLI, ["1"], rows=["WRN-40-2, WRN-16-2"], only=["KD+AT"]), device="cpu")


@pytest.fixture
def one(plan: Plan) -> Experiment:
    found = plan.cells[0].experiment
    assert found is not None
    return found


def run_of(store: Store, one: Experiment) -> Run:
    run = store.find(one)
    assert run is not None
    return run


def test_it_counts_as_guessing_and_its_best_epoch_as_what_it_was(tmp_path: Path, plan: Plan, one: Experiment) -> None:
    store = Store(tmp_path)
    finished(store, one.with_seed(0), 86.3)
    finished(store, one.with_seed(1), 86.4)
    finished(store, one.with_seed(2), 91.0, WHY)  # a dead network would have lifted the mean
    [table] = judged(plan, store)
    [found] = table.findings
    assert found.ours is not None and found.ours.n == 3
    assert found.ours.value == pytest.approx((86.3 + 86.4 + 10.0) / 3)
    assert "seed 2 diverged and counts as guessing, 10 %: CE (weight 1) became nan at step 5 of 9 (learning rate 0.1)" in found.note
    assert counts_for(run_of(store, one.with_seed(2))) == (10.0, 91.0) and counts_for(run_of(store, one)) == (86.3, 86.3)
    assert "86.30 (0), 86.40 (1), diverged (2)" in "\n".join(beside([table]))


def test_a_seed_that_diverged_before_its_first_evaluation_counts_too(tmp_path: Path, plan: Plan, one: Experiment) -> None:
    store = Store(tmp_path)
    for seed, last in enumerate((86.3, 86.4, None)):
        finished(store, one.with_seed(seed), last, WHY if last is None else None)
    [found] = judged(plan, store)[0].findings
    assert found.ours is not None and found.ours.n == 3 and found.verdict != "pending"
    evidence = read_store(tmp_path, Stated())
    assert sorted(run.last for run in evidence.runs if run.last is not None) == [10.0, 86.3, 86.4]
    assert any("(seed 2) diverged and counts as guessing, 10 %" in note for note in evidence.notes)


def test_where_the_best_epoch_is_compared_it_is_told_as_what_it_reached(tmp_path: Path) -> None:
    """The sentence said that it counts as guessing, beside a mean in which it does not."""
    ferles, store = papers.load("ferles2020"), Store(tmp_path)
    plan = make(ferles, select(ferles, ["6"], rows=["25"]), device="cpu")
    one = plan.cells[0].experiment
    assert one is not None
    for seed, last in enumerate((34.0, 35.0, 33.0)):
        finished(store, one.with_seed(seed), last, WHY if seed == 2 else None, best=last + 0.5)
    [found] = judged(plan, store)[0].findings
    assert found.epoch == "best_on_test" and found.ours is not None and found.ours.value == pytest.approx(34.5)
    assert "seed 2 diverged and counts as the best that was reached, 33.50 %: CE (weight 1) became nan" in found.note
    assert any("guessing, 10 % (the best that it reached, 33.50 %, where" in note for note in read_store(tmp_path, Stated()).notes)


def test_at_a_named_step_what_died_later_is_alive_and_what_died_before_guesses(tmp_path: Path) -> None:
    """One was called dead at a step at which it had been evaluated, the other was not there at all."""
    plan = make(MICAELLI, select(MICAELLI, ["curve-cifar10"], rows=["800", "1600"]), device="cpu", seeds=[0, 1, 2])
    [whole] = {one.cell: one for one in plan.wanted}.values()
    store = Store(tmp_path)
    finished(store, whole.with_seed(0), 58.0, curve=[(8_000, 33.0), (16_000, 58.0)])
    finished(store, whole.with_seed(1), 34.0, WHY, curve=[(8_000, 34.0)], steps=9_000)
    finished(store, whole.with_seed(2), 20.0, WHY, curve=[(4_000, 20.0)], steps=5_000)
    [first, second] = judged(plan, store)[0].findings
    assert first.ours is not None and first.ours.value == pytest.approx((33.0 + 34.0 + 10.0) / 3)
    assert "1 of 3 seeds diverged" in first.note and "seed 2 diverged and counts as guessing, 10 %" in first.note
    assert second.ours is not None and second.ours.value == pytest.approx((58.0 + 10.0 + 10.0) / 3)
    assert "2 of 3 seeds diverged" in second.note and "seeds 1, 2 diverged and count as guessing, 10 %" in second.note


def test_the_mean_of_a_cell_that_nobody_prints_says_how_many_of_its_networks_died(tmp_path: Path) -> None:
    """70, 71 and one that guesses were 50.33 of three, without a word where the table prints anything else."""
    ferles, store = papers.load("ferles2020"), Store(tmp_path)
    plan = make(ferles, select(ferles, ["kd-at-200-svhn"]), device="cpu")
    [one] = [p.experiment for p in plan.cells if p.experiment is not None]
    for seed, last in enumerate((70.0, 71.0, 60.0)):
        finished(store, one.with_seed(seed), last, WHY if seed == 2 else None)
    [table] = judged(plan, store)
    [(_, ours, n)] = asked_rows(table)
    assert (ours, n) == ("50.33 (1 of 3 diverged)", "3")


def test_accuracy_against_images_is_drawn_as_it_stands_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last epoch beside the paper's best, with another interval than the table's; a zigzag through the printed seeds; a bar of no
    width at the one network that lived."""
    ferles, store = papers.load("ferles2020"), Store(tmp_path)
    plan = make(ferles, select(ferles, ["6"], rows=["10", "25", "50"]), device="cpu")
    cells = {p.cell.facts["M"]: p.experiment for p in plan.cells if p.cell.facts["seed"] == "0"}
    for m, values in (("10", (30.0, 31.0, 33.0)), ("25", (41.0, 41.5, 42.5)), ("50", (50.0, 50.0, 52.0))):
        for seed, last in enumerate(values):
            one = cells[m]
            assert one is not None
            finished(store, one.with_seed(seed), last, WHY if m == "50" and seed < 2 else None, best=last + 1.5)
    [table] = judged(plan, store)
    drawn: list[Any] = []

    def noted(printed: Any, ours: Any, **given: Any) -> Any:
        drawn.append((printed, ours))
        return against_images(printed, ours, **given)

    monkeypatch.setattr(by_images, "against_images", noted)
    svg = by_images.by_images(plan, table)
    assert svg is not None and "bar: 95 % interval" in svg
    [(printed, ours)] = drawn
    [theirs], [mine] = printed.values(), ours.values()
    assert [m for m, _ in theirs] == [10, 25, 50]
    number = {f.claim.cell: f for f in table.findings}["10 / 0"]
    assert number.claim.published is not None and dict(theirs)[10] == pytest.approx(number.claim.published.value)
    assert number.ours is not None and mine[0] == (10, number.ours.value, number.ours.low, number.ours.high)
    assert number.ours.value == pytest.approx((30.0 + 31.0 + 33.0) / 3 + 1.5)
    assert mine[2][1] == 53.5 and all(math.isnan(end) for end in mine[2][2:])


def test_a_cell_of_which_every_seed_diverged_is_below(tmp_path: Path) -> None:
    """And nobody wonders whether its seeds do anything, because they all gave the same number."""
    store, ahn = Store(tmp_path), papers.load("ahn2019")
    plan = make(ahn, select(ahn, ["1"], columns=["2 %"], only=["alone", "VID"]), device="cpu")
    student, vid = (p.experiment for p in plan.cells)
    assert student is not None and vid is not None
    for seed, value in enumerate((55.0, 56.1, 57.9)):
        finished(store, student.with_seed(seed), value)
        finished(store, vid.with_seed(seed), 81.0 + seed, WHY)
    found = {f.claim.id: f for f in judged(plan, store)[0].findings}["VID / 2 %"]
    assert found.verdict == "below" and found.ours is not None and found.ours.value == 10.0
    assert "seeds 0, 1, 2 diverged and count as guessing, 10 %: CE (weight 1) became nan at step 5 of 9" in found.note
    assert "do they do anything" not in found.note


def test_dead_seeds_among_others_can_show_that_a_cell_is_below_and_nothing_else() -> None:
    """70.94 and two that guess were *compatible, ± 209.58* with 81.59."""

    def number(value: float) -> Published:
        return Published(value, seeds=3, which="last", aggregate="mean")

    def runs(*values: float | None) -> list[Measured]:
        return [Measured(seed, 10.0 if value is None else value, 50.0, diverged=value is None) for seed, value in enumerate(values)]

    def of(found: list[Finding]) -> dict[str, Finding]:
        return {one.claim.id: one for one in found}

    printed = {"low": 85.0, "like": 80.0, "one": 81.59, "calm": 76.0}
    claims = [Claim(name, "value", name, number(value)) for name, value in printed.items()]
    claims += [
        Claim("gain", "gain", "calm", number(76.0), "like", number(80.0), "unpaired"),
        Claim("loss", "gain", "low", number(85.0), "calm", number(76.0), "unpaired"),
        Claim("order", "order", "calm", number(76.0), "none", number(50.0), "unpaired"),
        Claim("neither", "gain", "low", number(85.0), "like", number(80.0), "unpaired"),
    ]
    lived = {"low": runs(80.0, 80.2, None, 79.9), "like": runs(80.1, None, 80.0, 79.8), "one": runs(None, None, 70.94)}
    calm = {"calm": runs(76.1, 75.9, 76.0, 76.2), "none": runs(None, 10.1, 10.2)}
    findings, summary = judge_table(claims, {**lived, **calm})
    found = of(findings)
    assert {name: one.verdict for name, one in found.items()} == {
        "low": "below", "like": "unclear", "one": "unclear", "calm": "reproduced",
        "gain": "unclear", "loss": "below", "order": "reproduced", "neither": "unclear",
    }  # fmt: skip
    low, one = found["low"], found["one"]
    assert low.ours is not None and low.ours.value == pytest.approx((80.0 + 80.2 + 10.0 + 79.9) / 4) and low.others[0].ours.n == 3
    assert "1 of 4 seeds diverged, so that nothing but below can be shown, by the seeds that lived: 80.03 [" in low.note
    assert "and the seeds that lived lie wholly below -0.5 by themselves" in sentence(low)
    assert "2 of 3 seeds diverged, so that nothing but below can be shown, and that takes two that lived" in one.note
    assert one.ours is not None and (one.ours.low, one.ours.high) == (0.0, 100.0) and one.bound is None and one.more_seeds is None
    assert one.interval is not None and one.interval == pytest.approx((-81.59, 18.41))
    # whoever did not diverge is judged as if nobody had
    spared, _ = judge_table(claims[3:4], {**calm, **{name: [run for run in given if not run.diverged] for name, given in lived.items()}})
    assert spared[0] == found["calm"] and summary.pools["last"].spread.sd < 1


def test_dead_networks_alone_are_below_whoever_stands_beside_them_and_reproduce_nothing() -> None:
    """Alone they were *unclear*, with an interval that lay wholly below; beside a living cell *below*."""

    def of(printed: float, dead: int, *others: str) -> dict[str, Finding]:
        number = Published(printed, which="last", aggregate="mean")
        student = Published(60.0, which="last", aggregate="mean")
        claims = [Claim("A", "value", "A", number)]
        claims += [Claim("B", "value", "B", student), Claim("gain", "gain", "A", number, "B", student, "unpaired")] if others else []
        runs = {"A": [Measured(seed, 10.0 if seed < dead else 71.0 + seed / 4, diverged=seed < dead) for seed in range(3)]}
        runs |= {name: [Measured(seed, 60.0 + seed / 8) for seed in range(3)] for name in others}
        return {one.claim.id: one for one in judge_table(claims, runs)[0]}

    for found in (of(81.59, 3), of(81.59, 3, "B")):
        assert found["A"].verdict == "below" and found["A"].note == "3 of 3 seeds diverged, so that nothing but below can be shown"
        assert "wholly below -0.5" in sentence(found["A"])
    for found in (of(10.0, 3), of(10.0, 3, "B")):
        assert found["A"].verdict == "unclear" and found["A"].bound is None
    assert "inside ±0.5, of which nothing follows; 3 of 3 seeds diverged" in sentence(of(10.0, 3)["A"])
    assert of(81.59, 3, "B")["gain"].verdict == "below"
    # a p-value of the seeds that lived does not stand beside the interval of all as if it were of that
    assert " by the seeds that lived), the paper's +21.59" in sentence(of(81.59, 1, "B")["gain"])


def test_a_table_that_no_paper_prints_says_which_seeds_guess(tmp_path: Path) -> None:
    ahn, store = papers.load("ahn2019"), Store(tmp_path)
    asked = make(ahn, select(ahn, ["vid-maps"], rows=["three maps"], columns=["2 %"]), device="cpu")
    found = asked.cells[0].experiment
    assert found is not None
    finished(store, found, 70.0)
    finished(store, found.with_seed(1), 50.0, WHY)
    [table] = judged(asked, store)
    assert table.summary is None and len(table.rules) == 1
    assert table.rules[0].startswith("three maps / 2 %: seed 1 diverged and counts as guessing, 10 %: CE (weight 1) became nan")
    text = paper_page(asked, [table])
    assert "seed 1 diverged and counts as guessing" in text and "<td" in text and "40.00" in text
    assert "seed 1 diverged and counts as guessing" in page(asked, [table], [])


def test_no_transition_error_of_a_dead_network_is_measured(tmp_path: Path) -> None:
    store = Store(tmp_path)
    plan = make(MICAELLI, select(MICAELLI, ["2"]), seeds=[0], device="cpu")
    cell = next(p.experiment for p in plan.cells if p.experiment is not None)
    finished(store, cell, 80.0, WHY)
    assert list(to_measure(plan, Found(store))) == []
    notes = [found.note for found in judged(plan, store)[0].findings]
    assert any("seed 0 diverged and has no transition error" in note for note in notes)


def test_it_has_no_accuracy_after_its_last_step(tmp_path: Path, one: Experiment) -> None:
    store = Store(tmp_path)
    finished(store, one, 91.0, WHY)
    run = run_of(store, one)
    with pytest.raises(RedistillError, match=r"\(seed 0\) diverged, so it has no accuracy after its last step: CE \(weight 1\)"):
        run.accuracy()
    assert summary(run)["accuracy"] == {} and summary(run)["diverged"] == WHY
    assert "accuracy on x at the last evaluation before it diverged" in crate(store).decode()


def test_a_departure_is_not_ranked_by_what_a_dead_run_reached(tmp_path: Path) -> None:
    store, ahn = Store(tmp_path), papers.load("ahn2019")
    cell = ahn.cell("1:VID:2 %")
    plain, floor = variants(ahn, cell, only=["floor"], device="cpu")
    for seed, (dead, alive) in enumerate(((50.0, 70.0), (51.0, 72.0))):
        finished(store, plain.experiment.with_seed(seed), dead, WHY)
        finished(store, floor.experiment.with_seed(seed), alive)
    head, row = sentences(effects([plain, floor], Found(store), (0, 1)), ahn, cell)
    assert head == "ahn2019:1:VID:2 %: seeds 0, 1 diverged, the paper prints 81.59"
    assert row.startswith("floor: nothing to compare it with; the least variance of VID: ")
    finished(store, plain.experiment.with_seed(2), 60.0)
    finished(store, floor.experiment.with_seed(2), 73.0, WHY)
    head, row = sentences(effects([plain, floor], Found(store), (0, 1, 2)), ahn, cell)
    assert head.startswith("ahn2019:1:VID:2 %: 60.00 (1 seed), seeds 0, 1 diverged, the paper prints")
    assert row.startswith("floor: nothing to compare it with, seed 2 diverged, which as planned came to 60.00; ")
    # what the change itself came to is told with an interval, and that it kept seeds alive
    assert row.endswith("; 71.00 [58.29, 83.71] with it (seeds 0, 1), alive with seeds 0, 1 where the cell as planned diverged")
    finished(store, floor.experiment.with_seed(3), 69.0)
    finished(store, plain.experiment.with_seed(3), 61.5)
    row = sentences(effects([plain, floor], Found(store), (0, 1, 2, 3)), ahn, cell)[1]
    assert row.startswith("floor: +7.50, of one seed: no interval, seed 2 diverged, which as planned came to 60.00; ")
    assert row.endswith("; 70.33 [66.54, 74.13] with it (seeds 0, 1, 3), alive with seeds 0, 1 where the cell as planned diverged")


def test_an_effect_is_never_told_beyond_what_two_accuracies_can_differ_by(tmp_path: Path) -> None:
    store, ahn = Store(tmp_path), papers.load("ahn2019")
    cell = ahn.cell("1:VID:2 %")
    plain, floor = variants(ahn, cell, only=["floor"], device="cpu")
    for seed, (one, other) in enumerate(((50.0, 70.0), (51.0, 52.0))):
        finished(store, plain.experiment.with_seed(seed), one)
        finished(store, floor.experiment.with_seed(seed), other)
    assert sentences(effects([plain, floor], Found(store), (0, 1)), ahn, cell)[1].startswith("floor: +10.50 [-100.00, +100.00], 2 seeds")

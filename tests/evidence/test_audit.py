"""Claims judged by other people's runs, what logs settle by themselves, and reported significance done again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from helpers.others import SOURCE, Run, mdistiller, ours, run_cli
from redistill.claims import summary_sentences
from redistill.errors import RedistillError
from redistill.evidence import significance
from redistill.evidence.audit import audit, finding_rows, finding_sentence, page, rows, save, side_by_side, unknown
from redistill.evidence.bearing import bearings
from redistill.evidence.files import Stated
from redistill.evidence.matching import told_apart
from redistill.evidence.model import Evidence
from redistill.evidence.read import read_evidence
from redistill.evidence.settled import agrees, expected_maximum, settled
from redistill.report import results
from redistill.stats import Interval


def evidence(tmp_path: Path, runs: list[Run], **more: object) -> Evidence:
    (found,) = read_evidence(ours(tmp_path, *runs, **more))
    return found


def cell(method: str, values: list[float], paper: str | None = "tian2020_crd", **more: object) -> list[Run]:
    return [
        {"method": method, "seed": seed, "last": value, "best": value + 0.3, "paper": paper, **more} for seed, value in enumerate(values)
    ]


KD = [73.30, 73.20, 73.45, 73.35, 73.30]
ALONE = [72.5, 72.4, 72.6, 72.45, 72.55]


# ---------------------------------------------------------------------------------------------------------------------
# Claims
# ---------------------------------------------------------------------------------------------------------------------
def test_runs_of_others_earn_verdicts_by_our_rules(tmp_path: Path) -> None:
    runs = cell("KD", KD) + cell("student (no distillation)", ALONE, teacher=None) + cell("CRD", [70.1, 70.0, 70.2])
    found, nothing = bearings(evidence(tmp_path, runs))
    verdicts = {f.claim.id: f.verdict for b in found for f in b.findings}
    pair = "resnet32x4 -> resnet8x4"
    assert verdicts[f"KD / {pair}"] == verdicts[f"Student / {pair}"] == "reproduced"
    assert verdicts[f"CRD / {pair}"] == "below" and verdicts[f"CRD / {pair} above KD / {pair}"] == "below"
    assert nothing == []
    assert {b.whose for b in found} == {"someone/runs@0123456789"}


def test_the_difference_is_the_mean_of_the_runs_minus_the_print(tmp_path: Path) -> None:
    found, _ = bearings(evidence(tmp_path, cell("KD", KD)))
    (finding,) = found[0].findings
    assert finding.difference == pytest.approx(np.mean(KD) - 73.33)
    assert finding.ours is not None and finding.ours.n == 5


def test_fewer_than_three_runs_earn_no_verdict(tmp_path: Path) -> None:
    found, _ = bearings(evidence(tmp_path, cell("KD", KD[:2])))
    assert [f.verdict for f in found[0].findings] == ["pending"]


def test_runs_that_guess_are_dead_and_named(tmp_path: Path) -> None:
    """As numbers among numbers they made *compatible, ± 172.07* of one run that lived."""
    name = "CRD / resnet32x4 -> resnet8x4"
    for values, verdict in (([75.5, 1.0, 1.0], "unclear"), ([1.0, 70.1, 70.0, 70.2], "below"), ([1.0, 1.0, 1.0], "below")):
        found, _ = bearings(evidence(tmp_path, cell("KD", KD) + cell("CRD", values)))
        finding = next(f for b in found for f in b.findings if f.claim.id == name)
        dead = values.count(1.0)
        assert finding.verdict == verdict and f"{dead} of {len(values)} seeds diverged" in finding.note
        assert f"{'has' if dead == 1 else 'have'} the accuracy of guessing: taken as {'a run' if dead == 1 else 'runs'}" in finding.note
        kept = next(f for b in found for f in b.findings if f.claim.id == "KD / resnet32x4 -> resnet8x4")
        assert kept.verdict == "reproduced" and "guessing" not in kept.note


def test_runs_of_unlike_settings_and_unlike_origin_are_not_pooled(tmp_path: Path) -> None:
    runs = cell("CRD", [75.5, 75.4, 75.6], settings={"tau": 0.07}) + cell("CRD", [74.0, 74.1, 73.9], settings={"tau": 0.1})
    found, _ = bearings(evidence(tmp_path, runs))
    assert [(b.variant, b.findings[0].ours.n, b.findings[0].verdict) for b in found if b.findings[0].ours] == [
        ("tau 0.07", 3, "reproduced"), ("tau 0.1", 3, "below")]  # fmt: skip
    two = cell("KD", KD[:3], extra={"origin": "A"}) + cell("KD", [70.0, 70.2, 70.1], extra={"origin": "B"})
    found, _ = bearings(evidence(tmp_path, two))
    assert [b.whose.rpartition(", ")[2] for b in found] == ["A", "B"]
    assert all(f.ours is not None and f.ours.n == 3 for b in found for f in b.findings)


def test_another_number_of_epochs_earns_no_verdict(tmp_path: Path) -> None:
    found, _ = bearings(evidence(tmp_path, cell("KD", KD, epochs=480)))
    assert [f for b in found for f in b.findings] == []
    assert "ran for 480 epochs, the paper's recipe has 240" in found[0].apart[0]


def test_a_run_without_last_epoch_says_that_the_best_is_compared(tmp_path: Path) -> None:
    found, _ = bearings(evidence(tmp_path, [{**run, "last": None} for run in cell("KD", KD)]))
    (finding,) = found[0].findings
    assert finding.epoch == "best_on_test" and "the last epoch of" in finding.note and "best epoch on the test set" in finding.mismatch


@pytest.mark.parametrize(("on", "words"), [("validation", "epoch chosen on validation images"), (None, "epoch not stated")])
def test_numbers_of_another_epoch_are_not_called_last(tmp_path: Path, on: str | None, words: str) -> None:
    found, _ = bearings(evidence(tmp_path, [{**run, "last": None, "best_on": on} for run in cell("KD", KD)]))
    (finding,) = found[0].findings
    text = finding_sentence(finding)
    assert f"these runs give {np.mean([x + 0.3 for x in KD]):.2f}" in text and f"(mean of 5 seeds, {words})" in text
    assert "the paper reports the last epoch" in finding.mismatch and found[0].summary is not None
    assert all(words in line for line in summary_sentences(found[0].summary) if line.startswith("Spread"))


def test_a_difference_of_unlike_epochs_says_so(tmp_path: Path) -> None:
    runs = cell("CRD", [75.5, 75.4, 75.6]) + [{**run, "last": None, "best_on": "validation"} for run in cell("KD", KD[:3])]
    found, _ = bearings(evidence(tmp_path, runs))
    order = next(f for b in found for f in b.findings if f.claim.kind == "order")
    assert order.epoch is None and "unlike epochs (last epoch, epoch chosen on validation images)" in order.mismatch
    assert found[0].summary is not None and not any(line.startswith("Spread") for line in summary_sentences(found[0].summary))


def test_a_cell_that_reports_another_epoch_than_its_paper_is_held_against_that_one(tmp_path: Path) -> None:
    """ReviewKD's training keeps the best epoch; the file says so of these cells and not of the baselines that the table quotes."""
    values = [71.8, 71.9, 71.85]
    found, _ = bearings(evidence(tmp_path, cell("ReviewKD", values, "chen2021_reviewkd", teacher="ResNet56", student="ResNet20")))
    judged = [f for b in found for f in b.findings if f.claim.kind == "value" and f.reading is not None]
    assert judged and all(f.claim.published is not None and f.claim.published.which == "best_on_test" for f in judged)
    assert all(f.epoch == "best_on_test" and f.ours is not None and f.ours.value == pytest.approx(72.15) for f in judged)


def test_zero_shot_cells_of_no_images_are_not_those_of_labels(tmp_path: Path) -> None:
    runs = cell(
        "student (no distillation)",
        [91.0, 91.1, 91.05],
        "micaelli2019_zeroshot",
        dataset="CIFAR-10",
        student="WRN-16-1",
        teacher=None,
        epochs=200,
    )
    found, _ = bearings(evidence(tmp_path, runs))
    claims = {f.claim.id for b in found for f in b.findings}
    assert any("student alone" in claim for claim in claims) and not any("M = 0" in claim for claim in claims)


def test_evidence_about_a_claim_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(
        RedistillError, match="evidence about a claim that does not exist: unknown paper 'tian2021_crd': did you mean tian2020"
    ):
        bearings(evidence(tmp_path, cell("KD", KD, "tian2021_crd")))
    _, nothing = bearings(evidence(tmp_path, cell("KD", KD, student="resnet14")))
    assert "tian2020 has no cell for CIFAR-100, resnet32x4 -> resnet14, KD" in nothing[0]
    with pytest.raises(RedistillError, match="no run bears on a claim of zagoruyko2017"):
        bearings(evidence(tmp_path, cell("KD", KD)), "zagoruyko2017")


def test_error_tables_are_held_against_accuracies(tmp_path: Path) -> None:
    runs = cell("AT", [91.7, 91.8, 91.75], "zagoruyko2017_at", dataset="CIFAR-10", teacher="WRN-40-1", student="WRN-16-1", epochs=200)
    found, _ = bearings(evidence(tmp_path, runs))
    values = [f.claim.published.value for b in found for f in b.findings if f.claim.published]
    assert values and all(value > 90 for value in values)


def test_equal_numbers_of_two_seeds_are_told(tmp_path: Path) -> None:
    found, _ = bearings(evidence(tmp_path, cell("KD", [73.3, 73.3, 73.4])))
    assert "they may be one run" in found[0].findings[0].note


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    lines = unknown(evidence(tmp_path, [{"seed": None, "epochs": None, "best": None, "best_on": None}]))
    text = "; ".join(lines)
    for words in ("the seed of 1 of 1", "how many epochs 1 of 1", "best epoch of 1 of 1", "which weights the teacher", "equal seeds share"):
        assert words in text


def test_words_about_settings() -> None:
    assert told_apart([{"a": 1, "b": 2}, {"a": 1}]) == ["b 2", "b not given"]
    assert len(set(told_apart([{}, {}]))) == 2


# ---------------------------------------------------------------------------------------------------------------------
# What logs settle
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("printed", "value", "how"), [(70.93, 70.9386, "cut"), (71.37, 71.3726, "rounded"), (70.9, 70.5566, None), (70.12, 70.125, "rounded")]
)
def test_rounded_cut_or_neither(printed: float, value: float, how: str | None) -> None:
    assert agrees(printed, value, 2) == how


def facts(tmp_path: Path, runs: list[Run], **more: object) -> dict[str, str]:
    return {fact.about: fact.text for fact in settled(evidence(tmp_path, runs, **more))}


def test_best_minus_last_by_what_the_best_was_chosen_on(tmp_path: Path) -> None:
    pairs = [(73.5, 73.0, "test"), (74.0, 73.2, "test"), (72.9, 73.1, "validation"), (72.5, 72.0, None)]
    runs = [
        {"method": "KD", "seed": seed, "best": best, "last": last, "best_on": on}
        for seed, (best, last, on) in enumerate(pairs)
    ]
    found = settled(evidence(tmp_path, runs))
    on_test, held_out = (fact for fact in found if fact.about == "best minus last")
    assert on_test.text == (
        "Best minus last, the best chosen on the test images themselves: +0.65 points on average over 2 runs (+0.50 to +0.80)."
    )
    assert held_out.text.endswith("chosen on held-out training images: -0.20 points on average over 1 run (-0.20 to -0.20).")
    assert on_test.rows == ({"on": "test", "runs": 2, "mean": pytest.approx(0.65), "min": 0.5, "max": 0.8},)
    assert [fact.text for fact in found if fact.about == "epoch not known"] == [
        "Of 1 run it is not known at which epoch, or by what, the number was taken."
    ]
    none = [{"method": "KD", "seed": seed, "last": last, "best": None} for seed, (_, last, _) in enumerate(pairs)]
    assert not {"best minus last", "epoch not known"} & set(facts(tmp_path, none))


def test_published_against_last_and_best(tmp_path: Path) -> None:
    runs = [{"seed": None, "settings": {"log": i}, "last": 73.0, "best": best, "extra": {"published": value}}
            for i, (best, value) in enumerate([(73.5, 73.5), (73.5, 73.0), (73.0, 73.0), (73.5, 74.0)])]  # fmt: skip
    (fact,) = [f for f in settled(evidence(tmp_path, runs)) if f.about == "published"]
    assert [row["is"] for row in fact.rows] == ["best on the test images", "last", "last and best, which are equal", "neither"]
    assert "1 is above the best of their run and 0 below it (+0.50 to +0.50)" in fact.text


def test_two_runs_in_one_log_and_unequal_epochs(tmp_path: Path) -> None:
    runs = [
        {"seed": None, "settings": {"n": n}, "epochs": e, "extra": {"log": "a.txt", "part": f"{n} of 2"}} for n, e in ((1, 240), (2, 480))
    ]
    found = facts(tmp_path, runs)
    assert "1 log holds more than one run: a.txt" in found["two runs in one log"] and "240 (KD); 480 (KD)" in found["unequal epochs"]


def test_the_largest_of_a_grid_beside_what_chance_brings(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    assert expected_maximum(40) == pytest.approx(rng.standard_normal((20_000, 40)).max(axis=1).mean(), abs=0.02)
    runs = [{"seed": 230, "settings": {"alpha": a}, "best": 84 + a} for a in (0.1, 0.2, 0.3, 0.4, 0.5)]
    text = facts(tmp_path, runs)["largest of a grid"]
    assert ", one seed, evaluated" in text and "1.16 spreads" in text
    assert "5 settings" in text and "the largest is 84.50, +0.20 from their mean 84.30" in text
    unsaid = facts(tmp_path, [{**run, "seed": None} for run in runs])["largest of a grid"]
    assert ", a run each, seeds not stated, evaluated" in unsaid  # what nobody said is not one seed


def test_published_means_are_recomputed(tmp_path: Path) -> None:
    row = {
        "where": "README",
        "method": "KD",
        "teacher": "resnet32x4",
        "student": "resnet8x4",
        "n": 5,
        "mean": 73.32,
        "std": 0.09,
        "which": "last",
    }
    assert "1 of 1 published means" in facts(tmp_path, cell("KD", KD), published=[row])["means"]
    assert "0 of 1 published means" in facts(tmp_path, cell("KD", KD), published=[{**row, "mean": 73.42}])["means"]
    said = facts(tmp_path, cell("KD", KD), published=[{**row, "std": 0.08}])["means"]
    assert said.startswith("1 of 1 published means of several runs (with their standard deviations, divisor n - 1, of 1 of them n)")


ROW = {"where": "README", "method": "KD", "teacher": "resnet32x4", "student": "resnet8x4"}


def test_a_printed_mean_is_looked_for_among_runs_of_its_own_settings(tmp_path: Path) -> None:
    """Runs of another temperature, weight, stem, setting, teacher or student have other means, or the same by chance."""
    other = [value + 1.0 for value in KD]
    for name in ("alpha", "temperature", "stem"):
        runs = cell("KD", KD, settings={name: 2}) + cell("KD", other, settings={name: 4})
        for value, mean, came in ((2, 73.32, 1), (4, 74.32, 1), (4, 73.32, 0), (None, 73.32, 1)):
            row = {**ROW, "n": 5, "mean": mean, **({name: value} if value else {})}
            (fact,) = (f for f in settled(evidence(tmp_path, runs, published=[row])) if f.about == "means")
            assert fact.text.startswith(f"{came} of 1 published means"), (name, value, mean)
    runs = cell("KD", KD, settings={"tau": 0.07}) + cell("KD", other, settings={"tau": 0.1})
    for setting, came in ((0.07, 1), (0.1, 0)):
        row = {**ROW, "n": 5, "mean": 73.32, "setting": setting}
        assert facts(tmp_path, runs, published=[row])["means"].startswith(f"{came} of 1 published means")
    for elsewhere in ({"teacher": "resnet110"}, {"student": "resnet20"}, {"method": "AT"}, {"n": 4}):
        row = {**ROW, "n": 5, "mean": 73.32, **elsewhere}
        said = facts(tmp_path, cell("KD", KD), published=[row])["means"]
        assert said.startswith("0 of 1 published means") and said.endswith("1 has no group of so many runs here."), elsewhere


def test_means_of_the_last_epoch_and_of_the_best_are_told_apart(tmp_path: Path) -> None:
    """``cell`` has bests 0.3 above its last epochs; spreads are equal."""
    row = {**ROW, "n": 5, "test_last": 73.32, "test_last_std": 0.09, "test_at_best_val": 73.62, "test_at_best_val_std": 0.09}
    (fact,) = (f for f in settled(evidence(tmp_path, cell("KD", KD), published=[row])) if f.about == "means")
    assert [(one["which"], one["agrees"], one["published"], one["published_std"]) for one in fact.rows] == [
        ("last", True, 73.32, 0.09), ("best", True, 73.62, 0.09),
    ]  # fmt: skip
    assert fact.rows[1]["recomputed"] == pytest.approx(np.mean(KD) + 0.3)
    assert fact.rows[0]["recomputed_std"] == pytest.approx(np.std(KD, ddof=1)) and "divisor" not in fact.rows[0]
    (best,) = (f for f in settled(evidence(tmp_path, cell("KD", KD), published=[{**ROW, "n": 5, "mean": 73.62, "which": "best"}]))
               if f.about == "means")  # fmt: skip
    assert best.rows[0]["which"] == "best" and best.rows[0]["agrees"] is True
    (by_n,) = (f for f in settled(evidence(tmp_path, cell("KD", KD), published=[{**ROW, "n": 5, "mean": 73.32, "std": 0.08}]))
               if f.about == "means")  # fmt: skip
    assert by_n.rows[0]["divisor"] == "n" and by_n.rows[0]["recomputed_std"] == pytest.approx(np.std(KD))
    one = facts(tmp_path, cell("KD", KD[:1]), published=[{**ROW, "n": 1, "mean": 73.3, "std": 0.0}])["means"]
    assert one.startswith("1 of 1 published means")


@pytest.mark.parametrize(
    ("data", "subset", "spread", "words"),
    [
        ("cifar10", 0.02, 1.5, "of students of 100 images a class elsewhere"),
        ("cifar10", 0.004, 2.0, "of students of 25 images a class elsewhere"),
        ("cifar100", 0.1, 1.8, "of students of 50 images a class elsewhere"),
        ("cifar100", 1.0, 0.25, "of students of a whole data set elsewhere"),
        ("cifar100", None, 0.25, "of students of a whole data set elsewhere"),
        ("imagenet", 0.1, 0.25, "of students of a whole data set elsewhere"),
    ],
)
def test_the_spread_that_a_grid_is_held_against_is_that_of_so_many_images(
    tmp_path: Path, data: str, subset: float | None, spread: float, words: str
) -> None:
    more = {} if subset is None else {"subset": subset}
    runs = [{"seed": 0, "dataset": data, "settings": {"alpha": a, **more}, "best": 80 + a} for a in (1, 2, 3, 4)]
    (fact,) = (f for f in settled(evidence(tmp_path, runs)) if f.about == "largest of a grid")
    assert fact.rows[0]["seed_spread"] == spread and words in fact.text
    assert fact.rows[0]["expected_points"] == pytest.approx(spread * expected_maximum(4))
    assert facts(tmp_path, runs[:3]).get("largest of a grid") is None


def test_one_is_one_in_what_logs_settle(tmp_path: Path) -> None:
    runs = [{"seed": 0, "last": 73.0, "best": 73.5, "extra": {"teacher_outputs": "live", "measured_top1": 73.0, "published": 74.0}},
            {"seed": 1, "last": 73.0, "best": 73.5, "extra": {"same_run_as": "the first"}}]  # fmt: skip
    found = facts(tmp_path, runs)
    assert "1 is above the best of their run and 0 below it" in found["published"]
    assert found["weights"] == "Of 1 network the weights were evaluated again: 1 gives the printed number."
    assert "answers 1 log says 'live'" in found["teacher's answers"]
    assert found["copies"] == "1 of 2 runs is another run under a second name; each counts once."
    far = facts(tmp_path, [{**runs[0], "extra": {"measured_top1": 72.9}}])["weights"]
    assert far.startswith("Of 1 network the weights were evaluated again: 0 give the printed number, 1 another: ")
    assert far.endswith("73 printed, 72.9 measured.")


def test_reported_significance_is_done_again_with_holm(tmp_path: Path) -> None:
    runs = (
        cell("KD", [72.9, 72.7, 72.8, 72.6, 72.75])
        + cell("AT", [72.65, 72.5, 72.6, 72.7, 72.55])
        + cell("student (no distillation)", ALONE, teacher=None)
    )
    claims = [{"kind": "gain, last epoch", "method": m, "teacher": "resnet32x4", "student": "resnet8x4", "gain": g, "significant": True}
              for m, g in (("KD", 0.25), ("AT", 0.1))]  # fmt: skip
    first, second = significance.tested(evidence(tmp_path, runs, published_claims=claims))
    x, y = [72.9, 72.7, 72.8, 72.6, 72.75], ALONE
    assert first.theirs == pytest.approx(scipy_stats.ttest_ind(x, y, equal_var=False).pvalue)
    assert second.theirs is not None and first.theirs is not None and first.ours == pytest.approx(2 * first.theirs)
    assert second.ours == pytest.approx(second.theirs)
    wrong = significance.tested(evidence(tmp_path, runs, published_claims=[{**claims[0], "gain": 1.5}]))
    assert wrong[0].gain is None and "none of 1 x 1 groups" in wrong[0].note


def test_of_several_groups_those_with_most_runs_and_then_the_nearest_are_tested(tmp_path: Path) -> None:
    """Three temperatures of KD, of which two give a printed gain; and a fourth whose only run is no group."""
    values = {2: [72.9, 72.7, 72.8, 72.6, 72.75], 4: [72.76, 72.74, 72.75, 72.73, 72.76], 8: [72.7, 72.8], 16: [72.75]}
    runs = [run for T, given in values.items() for run in cell("KD", given, settings={"T": T})]
    runs += cell("student (no distillation)", ALONE, teacher=None)
    means = {T: sum(given) / len(given) - sum(ALONE) / len(ALONE) for T, given in values.items()}
    assert {T: round(gain, 3) for T, gain in means.items()} == {2: 0.25, 4: 0.248, 8: 0.25, 16: 0.25}

    def claim(**given: object) -> list[dict[str, object]]:
        return [{"kind": "gain, last epoch", "method": "KD", "teacher": "resnet32x4", "student": "resnet8x4", **given}]

    def asked(**given: object) -> significance.Tested:
        (found,) = significance.tested(evidence(tmp_path, runs, published_claims=claim(**given)))
        return found

    near = asked(gain=0.25, significant=False)
    assert near.theirs == pytest.approx(scipy_stats.ttest_ind(values[2], ALONE, equal_var=False).pvalue)
    assert near.note == "5 runs against 5 (3 pairs of groups give it; of those with most runs the nearest is taken)"
    assert near.sentence.startswith("KD, resnet32x4 -> resnet8x4, minus the student alone: reported +0.25, called not significant; ")
    second = asked(gain=0.24)
    assert second.gain is not None and second.gain.value == pytest.approx(means[4]) and second.significant is None
    assert "reported +0.24; from the runs +0.248 [" in second.sentence
    bare = asked()  # no printed gain: the first of those with most runs
    assert bare.gain is not None and bare.gain.value == pytest.approx(means[2])
    assert "(3 pairs of groups fit; of those with most runs the first is taken)" in bare.sentence
    assert asked(gain=0.27).note == "none of 3 x 1 groups of several runs gives that difference"
    other = significance.tested(evidence(tmp_path, runs, published_claims=[{**claim(gain=0.25)[0], "method": "AT"}]))[0]
    assert other.note == "no several runs of both are here, so it cannot be recomputed" and other.sentence.endswith(f"{other.note}.")
    best = asked(gain=0.25, kind="gain, best epoch")  # each best is 0.3 above its last, and so is each alone
    assert best.gain is not None and best.gain.value == pytest.approx(means[2])
    partly = [{**run, "best": None} if run.get("settings") == {"T": 4} and run["seed"] == 0 else run for run in runs]
    (left,) = significance.tested(evidence(tmp_path, partly, published_claims=claim(gain=0.25, kind="gain, best epoch")))
    assert "(2 pairs of groups give it" in left.note  # one run of a group without its best: the group is no sample of it


def test_runs_that_all_gave_one_number_are_no_test(tmp_path: Path) -> None:
    """Three runs of 72.8 against three of 72.55 were "their test p = 0.000 (below 0.05)"."""
    runs = cell("KD", [72.8] * 3) + cell("student (no distillation)", [72.55] * 3, teacher=None)
    claim = {"kind": "gain, last epoch", "method": "KD", "teacher": "resnet32x4", "student": "resnet8x4", "gain": 0.25, "significant": True}
    (found,) = significance.tested(evidence(tmp_path, runs, published_claims=[claim]))
    assert found.theirs is None and found.ours is None
    assert found.sentence.endswith("the runs give +0.25, but all 3 and all 3 gave one number each: no spread, so no test.")


# ---------------------------------------------------------------------------------------------------------------------
# The page and the command
# ---------------------------------------------------------------------------------------------------------------------
def test_the_page_says_whose_runs_and_never_ours(tmp_path: Path) -> None:
    found = evidence(tmp_path, cell("KD", KD) + cell("student (no distillation)", ALONE, teacher=None))
    text = page(audit(found))
    assert "someone/runs@0123456789" in text and " ours" not in text.replace("our evidence format", "")
    assert "| KD / resnet32x4 -> resnet8x4 | 73.33 | 73.32 | 5 |" in text


def test_counts_are_those_of_the_list_and_an_order_is_not_held_against_the_tolerance(tmp_path: Path) -> None:
    """*Reproduced* beside an interval of -0.51 to +0.56 and a tolerance of 0.5; seven claims judged under a list of six."""
    crd = cell("CRD", [75.5, 75.4, 75.6], settings={"tau": 0.07}) + cell("CRD", [75.2, 75.1, 75.4], settings={"tau": 0.1})
    text = page(audit(evidence(tmp_path, cell("KD", KD) + crd)))
    orders = [line for line in text.splitlines() if line.startswith("| CRD / resnet32x4 -> resnet8x4 above KD / ")]
    assert len(orders) == 2 and all(line.endswith(" | 3 |  | reproduced |") for line in orders), orders
    first, second = text.split("tau 0.1)")
    assert "- Of 3 claims: " in first and "2 claims of value or gain were judged" in second
    assert "- These are 2 of 3 claims; the others rest on the same runs as above and stand there. Counted together:" in second


def test_the_runs_of_a_store_are_counted() -> None:
    (found,) = read_evidence(Path(__file__).parents[2] / "results" / "runs")
    of_table_1 = ("| KD / 2 % | 64.24 |", "| KD / 2 % minus Student / 2 % | +5.40 |")  # more tables have the row
    one = audit(found, "ahn2019")
    rows = [line for line in page(one).splitlines() if line.startswith(of_table_1)]
    assert len(rows) == 2 and all(line.split(" | ")[3] == "3" for line in rows), rows
    told = {row["claim"]: row for bearing in one.bearings if bearing.table == "1" for row in finding_rows(bearing)}
    kd, gain = told["KD / 2 %"], told["KD / 2 % minus Student / 2 %"]  # as JSON they rested on no run
    assert kd["each"] == [3] and sorted(kd["seeds"]) == [0, 1, 2] and all(place.startswith("run ") for place in kd["runs"])
    assert gain["each"] == [3, 3] and len(gain["runs"]) == 6


def test_sources_stand_side_by_side(tmp_path: Path) -> None:
    one = audit(evidence(tmp_path, cell("KD", KD)))
    two = audit(evidence(tmp_path, cell("KD", [70.0, 70.1, 70.2]), source={**SOURCE, "repository": "other/runs"}))
    text = side_by_side([one, two])
    assert "someone/runs@0123456789 | 73.32 | reproduced" in text and "other/runs@0123456789 | 70.10 | below" in text
    assert side_by_side([one]) == ""


def test_two_files_of_one_name_are_two_pages(tmp_path: Path) -> None:
    """Of a folder for each variant, as people have them: none is written over the other, and both stand side by side."""
    for folder, value in (("a", 73.3), ("b", 71.3)):
        (tmp_path / "runs" / folder).mkdir(parents=True)
        rows = [f"CIFAR-100,resnet32x4,resnet8x4,KD,{seed},{value + 0.1 * seed}" for seed in range(3)]
        text = "\n".join(["dataset,teacher,student,method,seed,last", *rows])
        (tmp_path / "runs" / folder / "runs.csv").write_text(text, encoding="utf-8")
    for more in ([], ["--source", "someone/runs@c0ffee"]):
        to = tmp_path / f"out{len(more)}"
        assert run_cli("audit", str(tmp_path / "runs"), "--paper", "tian2020", "-o", str(to), *more).returncode == 0
        pages = {path.name: path.read_text(encoding="utf-8") for path in to.glob("*.md")}
        assert sorted(pages) == ["runs-2.md", "runs.md", "side-by-side.md"]
        assert "73.40" in pages["runs.md"] and "71.40" in pages["runs-2.md"]
        assert "73.40" in pages["side-by-side.md"] and "71.40" in pages["side-by-side.md"]


def test_the_command(tmp_path: Path) -> None:
    path = ours(tmp_path, *cell("KD", KD))
    done = run_cli("audit", str(path), "--json")
    (found,) = json.loads(done.stdout)
    assert done.returncode == 0 and found["findings"][0]["verdict"] == "reproduced" and found["findings"][0]["seeds"] == [0, 1, 2, 3, 4]
    done = run_cli("audit", str(path), "-o", str(tmp_path / "out"))
    assert done.returncode == 0 and sorted(p.name for p in (tmp_path / "out").iterdir()) == ["findings.csv", "some.json", "some.md"]


def test_a_cut_log_is_told_and_the_status_is_1(tmp_path: Path) -> None:
    (tmp_path / "kd,vgg13,vgg8,3,9.txt").write_text(mdistiller(240), encoding="utf-8")
    (tmp_path / "kd,resnet56,resnet20,3,9.txt").write_text(mdistiller(100, close=False), encoding="utf-8")
    done = run_cli("audit", str(tmp_path), "--source", "a/b@c", "--json")
    assert done.returncode == 1 and "cut short" in done.stderr and "Traceback" not in done.stderr
    assert json.loads(done.stdout)[0]["runs"] == 1
    done = run_cli("audit", str(tmp_path / "none"))
    assert done.returncode == 1 and "there is no such file or folder" in done.stderr


def test_an_audit_is_no_evidence_and_no_evidence_is_written_over(tmp_path: Path) -> None:
    """It wrote its page of some.json over some.json, and read its own pages the second time."""
    path = ours(tmp_path, *cell("KD", KD))
    before = path.read_bytes()
    done = run_cli("audit", str(path), "-o", str(tmp_path))
    assert done.returncode == 1 and f"{path} is there, and no audit has written it: give another folder" in done.stderr
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == [path.name]
    (tmp_path / "table.csv").write_text("dataset,student,method,seed,last\nCIFAR-100,wrn-16-1,student,0,60\n", encoding="utf-8")
    (tmp_path / "table.md").write_text("what I think of it", encoding="utf-8")
    assert run_cli("audit", str(tmp_path / "table.csv"), "-o", str(tmp_path)).returncode == 1
    assert (tmp_path / "table.md").read_text(encoding="utf-8") == "what I think of it"
    said = [run_cli("audit", str(tmp_path), "-o", str(tmp_path / "audit")) for _ in range(2)]
    assert [one.returncode for one in said] == [0, 0] and said[0].stdout == said[1].stdout
    assert (tmp_path / "audit" / "findings.csv").is_file() and len(read_evidence(tmp_path)) == 2


def test_a_file_a_seed_is_told_to_be_joined(tmp_path: Path) -> None:
    head = "dataset,teacher,student,method,seed,epochs,last\n"
    for seed in range(3):
        (tmp_path / f"seed{seed}.csv").write_text(f"{head}cifar100,resnet56,resnet20,KD,{seed},240,70.{seed}\n", encoding="utf-8")
    (tmp_path / "other.csv").write_text(f"{head}cifar100,resnet56,resnet20,AT,7,240,70\n", encoding="utf-8")
    (tmp_path / "again.csv").write_text(f"{head}cifar100,resnet56,resnet20,KD,2,240,70.2\n", encoding="utf-8")
    notes = {one.name: one.notes for one in read_evidence(tmp_path)}
    assert notes["other"] == ()
    assert "seed1, seed2 hold other seeds of the same things" in notes["seed0"][0].replace("again, ", "")
    assert notes["seed2"] == ("seed0, seed1 " + notes["seed0"][0].partition("seed2 ")[2],)  # again is a copy and no other seed


def test_results_tell_how_many_runs_each_cell_of_a_difference_has(tmp_path: Path) -> None:
    """Half of all runs was told, rounded down: 4 of a difference of five and three."""
    runs = cell("KD", KD) + cell("CRD", [75.3, 75.4, 75.5])
    save([audit(evidence(tmp_path, runs))], tmp_path / "audit")
    rows = [line.strip("| ").split(" | ") for line in results.others(tmp_path).splitlines() if line.startswith("| tian2020")]
    pair = "resnet32x4 -> resnet8x4"
    counts = {row[0].partition(": ")[2]: row[3] for row in rows}
    assert counts == {f"KD / {pair}": "5", f"CRD / {pair}": "3", f"CRD / {pair} above KD / {pair}": "3 and 5"}


def test_everything_in_the_shared_folder(shared: Path) -> None:
    """Whole sources: counts that their own README states."""
    if not (shared / "evidence").is_dir():
        pytest.skip("the shared evidence is not here")
    audits = {one.name: audit(one) for one in read_evidence(shared / "evidence")}
    assert len(audits) == 7
    crd = {row["claim"]: row for b in audits["crd_reproduction"].bearings if "author_code" in b.variant for row in finding_rows(b)}
    pair = "resnet32x4 -> resnet8x4"
    assert crd[f"CRD / {pair}"]["value"] == pytest.approx(75.328) and crd[f"KD / {pair}"]["verdict"] == "reproduced"
    assert crd[f"CRD / {pair}"]["verdict"] == "unclear"  # five runs; at 5 % a side it was reproduced
    assert crd[f"CRD / {pair} above KD / {pair}"]["verdict"] == "reproduced"
    imagenet = {f.about: f for f in audits["torchdistill_imagenet"].facts}
    assert sum(row["is"] == "neither" for row in imagenet["published"].rows) == 2 and len(imagenet["cut"].rows) == 2
    gap = audits["kd_capacity_gap"].tests
    assert [t.significant for t in gap].count(True) == 2 and all(t.ours is not None and t.ours > 0.05 for t in gap)
    haitong = {f.about: f for f in audits["haitongli_kd"].facts}
    assert all(row["is"] != "neither" for row in haitong["published"].rows) and len(haitong["published"].rows) == 8
    json.dumps([rows(one) for one in audits.values()])


def test_errors_instead_of_accuracies_are_recognised_and_not_judged(tmp_path: Path) -> None:
    turned = [{**run, "last": round(100 - run["last"], 2), "best": None, "best_on": None} for run in cell("KD", KD)]
    with pytest.raises(RedistillError, match=r"26.68 beside 73.33\): these look like errors; say --unit error"):
        bearings(evidence(tmp_path, turned))
    (read,) = read_evidence(ours(tmp_path, *turned), Stated(unit="error"))
    found, _ = bearings(read)
    assert found[0].findings[0].verdict == "reproduced"
    both = [{**run, "last": round(100 - run["last"], 2), "best": round(100 - run["best"], 2)} for run in cell("KD", KD)]
    with pytest.raises(RedistillError, match="which the best epoch on the test images cannot be: are these errors"):
        evidence(tmp_path, both)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"published": {"a": 1}}, "published must be a list of objects"),
        ({"published_claims": ["x"]}, "published_claims must be a list of objects"),
        ({"caveats": "mind"}, "caveats must be a list of sentences"),
        ({"published_claims": [{"method": "KD", "student": "x", "gain": "1.1"}]}, "published_claims, entry 1: gain is '1.1': a number"),
        ({"published": [{"n": 3, "mean": "73.3 %"}]}, "published, entry 1: mean is '73.3 %': a number"),
        ({"pairs": [{"only_float_correct": "a"}]}, "pairs, entry 1: only_float_correct is 'a': a number"),
        ({"source": "x"}, "has no source with a repository"),
    ],
)
def test_other_parts_of_a_file_are_checked_too(tmp_path: Path, more: Run, sentence: str) -> None:
    path = ours(tmp_path, {})
    data = {**json.loads(path.read_text(encoding="utf-8")), **more}
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(RedistillError, match=sentence):
        read_evidence(path)


def test_counts_that_are_null_are_not_known(tmp_path: Path) -> None:
    """Null is what the file is told to hold where a count is not known; a TypeError came of it."""
    known = {"float_correct": 9000, "int8_correct": 8900, "only_float_correct": 150, "only_int8_correct": 50}
    pairs = [{**known, "images": None, "size": 32}, {**known, "only_int8_correct": None}]
    [fact] = [fact for fact in settled(evidence(tmp_path, [{}], pairs=pairs)) if fact.about == "float and int8"]
    assert "is right on 9000 and the int8 file on 8900 of 10000 images, +1.00 points for float" in fact.text


def test_bars_and_settings_that_are_no_numbers_spoil_no_file(tmp_path: Path) -> None:
    """A bar in a name was a further column, and NaN among the settings of a grid no JSON."""
    runs = [{"settings": {"tau": float("nan"), "weight": weight}, "last": 70.0 + weight, "best": 71.0 + weight} for weight in range(5)]
    one = audit(evidence(tmp_path, runs, published_claims=[{"method": "K|D", "student": "resnet8x4", "gain": 1.0}]))
    assert "| K\\|D, None -> resnet8x4, minus the student alone | +1.00 |" in page(one)
    [path] = [path for path in save([one], tmp_path / "audit") if path.suffix == ".json"]
    data = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    [grid] = [fact["rows"][0] for fact in data["settled"] if fact["about"] == "largest of a grid"]
    assert grid["settings"] == 5 and grid["at"] == {"tau": "nan", "weight": 4}


def test_a_test_is_not_rounded_to_the_other_side_of_what_decides() -> None:
    """"p = 0.050 (below 0.05)", and an interval that begins at +0.00 beside a difference that is not shown."""
    gain = Interval(0.5, -0.004, 1.0, 0.95, 3, 0.25, None, 0.0497)
    one = significance.Tested("KD", 0.5, True, gain, 0.0497, 0.0503)
    assert "+0.500 [-0.004, +1.00], their test p = 0.0497 (below 0.05), after Holm p = 0.050 (not below 0.05)" in one.sentence

"""A paper's cells beside runs: which claims, which runs, and what is said of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from helpers.whole_record import REST
from redistill import papers
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.papers.plan import Plan, make, select
from redistill.report.folder import save
from redistill.report.paper import asked_rows, csv_text, latex_cells, latex_text, line, page
from redistill.report.paper_page import beside
from redistill.runs.lookup import Found
from redistill.runs.store import Store
from redistill.sealed import FORMAT, sealed
from redistill.verdicts import checkpoints
from redistill.verdicts.beliefs import Believed
from redistill.verdicts.checkpoints import Checked, kept
from redistill.verdicts.claims import published, together
from redistill.verdicts.tables import judged, to_measure

MICAELLI, TIAN = papers.load("micaelli2019"), papers.load("tian2020")
CURVES: dict[str, Any] = {"accuracy": {"test": []}, "losses": {}, "rates": [], "source": []}


def finished(store: Store, one: Experiment, last: float, best: float | None = None, **changes: Any) -> None:
    """A run on disk as the store writes it, with accuracies of our choice."""
    table = {"data": "x", "last": last, "best": last if best is None else best, "best_step": 1, "best_is": ""}
    written = one.written() | {name: changes.pop(name) for name in ("arithmetic", "numerics") if name in changes}
    record = {
        "format": FORMAT, "id": one.id, "cell": one.cell, "seed": one.seed, "name": one.name, "label": one.label,
        "experiment": written, "accuracy": {"test": table}, "diverged": None, "steps": 1, "teacher": None, **REST,
    }  # fmt: skip
    folder = store.root / changes.pop("folder", one.folder)
    folder.mkdir(parents=True)
    curve = changes.pop("curve", [(1, last)])
    store.finish(folder, record, {**CURVES, "accuracy": {"test": curve}}, b"weights")


def table_1(**filters: list[str]) -> Plan:
    return make(MICAELLI, select(MICAELLI, ["1"], **filters), device="cpu")


def test_values_and_orders_of_a_table(tmp_path: Path) -> None:
    plan, store = table_1(rows=["WRN-40-2, WRN-16-1"], only=["KD+AT", "zero-shot"]), Store(tmp_path)
    kd, zero = (planned.experiment for planned in plan.cells)
    assert kd is not None and zero is not None
    for seed, value in enumerate((81.0, 81.2, 81.4)):
        finished(store, kd.with_seed(seed), value)
    for seed, value in enumerate((83.5, 83.6, 83.7)):
        finished(store, zero.with_seed(seed), value)
    [table] = judged(plan, store)
    found = {f.claim.id: f for f in table.findings}
    mean = found["WRN-40-2, WRN-16-1 / KD+AT"]
    assert mean.claim.kind == "value" and mean.claim.published is not None
    assert (mean.claim.published.value, mean.claim.published.std, mean.claim.published.ddof) == (81.25, 0.67, 0)
    assert mean.reading is not None and mean.reading.ours.value == pytest.approx(81.2) and mean.epoch == "last"
    order = found["WRN-40-2, WRN-16-1 / zero-shot above WRN-40-2, WRN-16-1 / KD+AT"]
    # generated images against real ones: nothing is paired
    assert order.claim.decides == "unpaired" and order.verdict == "reproduced"
    assert order.reading is not None and order.reading.ours.value == pytest.approx(2.4)


def test_where_the_print_has_it_the_other_way_round_so_has_the_claim(tmp_path: Path) -> None:
    [table] = judged(table_1(rows=["WRN-16-2, WRN-16-1"]), Store(tmp_path))
    [order] = [f.claim for f in table.findings if f.claim.kind == "order"]
    assert order.id == "WRN-16-2, WRN-16-1 / KD+AT above WRN-16-2, WRN-16-1 / zero-shot"
    assert order.claimed == pytest.approx(84.54 - 82.44)
    assert {f.verdict for f in table.findings} == {"not attempted"}


def test_a_verdict_is_the_same_whichever_cells_are_asked_for(tmp_path: Path) -> None:
    """Spreads, their blocks, the paper's own spread and Holm's family are those of the printed table."""
    whole, store = make(TIAN, select(TIAN, ["same"]), device="cpu"), Store(tmp_path)
    column = "wrn-40-2 -> wrn-16-2"
    cells = {p.cell.row: p.experiment for p in whole.cells if p.cell.column == column}
    for i, row in enumerate(("KD", "FitNet", "AT", "CRD")):
        one = cells[row]
        assert one is not None
        for seed in range(3):
            finished(store, one.with_seed(seed), 73 + i + (0.1 + 0.3 * i) * (seed - 1) + 0.05 * seed**2)
    of_all = {f.claim.id: f for table in judged(whole, store) for f in table.findings}
    judged_ones: set[str] = set()
    for asked in (["KD"], ["CRD"], ["KD", "CRD"], ["AT", "Student"]):
        narrow = make(TIAN, select(TIAN, ["same"], rows=asked, columns=[column]), device="cpu")
        [table] = judged(narrow, store)
        assert set(table.runs) == {f"{row} / {column}" for row in asked}
        for found in table.findings:
            assert set(found.claim.cells) <= set(table.runs)
            assert found == of_all[found.claim.id]
        judged_ones |= {f.claim.id for f in table.findings if f.reading is not None}
        assert table.summary is not None and sum(table.summary.counts.values()) == len(table.findings)
    assert judged_ones == {f"{row} / {column}" for row in ("KD", "CRD", "AT")} | {f"CRD / {column} above KD / {column}"}


def test_a_run_counts_whatever_device_made_it_and_is_stale_when_a_formula_moved(tmp_path: Path) -> None:
    plan = table_1(rows=["WRN-40-2, WRN-16-1"], only=["KD+AT"])
    one = plan.cells[0].experiment
    assert one is not None
    elsewhere = {"device": "cuda", "forward": "float32", "channels_last": False, "compile": False}
    store = Store(tmp_path)
    for seed in range(3):
        finished(store, one.with_seed(seed), 81.0, arithmetic=elsewhere, folder=f"other/seed-{seed}")
    [table] = judged(plan, store)
    assert table.findings[0].reading is not None and len(table.runs["WRN-40-2, WRN-16-1 / KD+AT"]) == 3
    old = Store(tmp_path / "old")
    for seed in range(3):
        finished(old, one.with_seed(seed), 81.0, numerics={**one.numerics, "fit": 0}, folder=f"old/seed-{seed}")
    [table] = judged(plan, old)
    assert table.findings[0].verdict == "stale"


def test_seeds_of_one_experiment_are_counted_once(tmp_path: Path) -> None:
    ferles = papers.load("ferles2020")
    plan = make(ferles, select(ferles, ["4"], rows=["WRN-16-1"]), device="cpu")
    one = plan.cells[0].experiment
    assert one is not None and {p.experiment.cell for p in plan.cells if p.experiment} == {one.cell}
    for seed in range(3):
        finished(Store(tmp_path), one.with_seed(seed), 90.0, best=91.0 + 0.1 * seed)
    [table] = judged(plan, Store(tmp_path))
    assert list(table.runs) == ["WRN-16-1 / 0"]
    # three printed runs of one experiment are one claim: their mean, with their spread
    assert [(f.claim.id, f.claim.cell) for f in table.findings if f.claim.kind == "value"] == [
        ("WRN-16-1 / mean of 0, 1, 2", "WRN-16-1 / 0")
    ]
    first = table.findings[0]
    # the report's numbers are the best on the test set, so ours are
    assert first.epoch == "best_on_test" and first.reading is not None and first.reading.ours.value == pytest.approx(91.1)
    assert first.claim.published is not None and (first.claim.published.aggregate, first.claim.published.seeds) == ("mean", 3)
    printed = [p.cell.printed.value for p in plan.cells if p.cell.printed is not None]
    assert first.claim.published.value == pytest.approx(sum(printed) / 3) and first.claim.published.ddof == 1
    # in the paper's shape it stands below the first of them, where every seed said that it was not run
    row = next(line for line in latex_cells(ferles, table).splitlines() if line.startswith(r"\quad ours"))
    assert row.startswith(r"\quad ours & $91.10 \pm ") and row.endswith(r"$ &  &  \\"), row
    assert "Printed seed by seed: ours once" in latex_cells(ferles, table)
    [none] = judged(plan, Store(tmp_path / "empty"))
    assert r"\quad ours & -- & -- & -- \\" in latex_cells(ferles, none)


def test_published_files_are_claims_without_seeds(tmp_path: Path) -> None:
    ferles = papers.load("ferles2020")
    plan = make(ferles, select(ferles, ["4"], rows=["WRN-16-1", "WRN-16-2"]), device="cpu")
    folder = "src/PyTorch/PreTrainedModels/PreTrainedScratches"
    sha = {c.path: c.sha256 for c in ferles.file.checkpoint}

    def checked(**accuracies: float) -> dict[str, tuple[str, float | None, str]]:
        names = {"one": f"{folder}/wrn-16-1-seed-0-dict.pth", "two": f"{folder}/wrn-16-2-seed-0-dict.pth",
                 "other": f"{folder}/CIFAR10/wrn-16-2-seed-0-dict.pth"}  # fmt: skip
        files = {
            sha[names[n]]: Checked(names[n], sha[names[n]], "cifar10:test", "cifar10-kuangliu", 10_000, accuracy)
            for n, accuracy in accuracies.items()
        }
        [table] = judged(plan, Store(tmp_path), files)
        return {f.claim.id: (f.verdict, f.difference, f.note) for f in table.findings if f.claim.kind == "checkpoint"}

    # two files of one name, of which one gives the printed digits
    other = f"published file {folder}/CIFAR10/wrn-16-2-seed-0-dict.pth"
    assert checked(one=90.97, two=94.21, other=93.57) == {
        "published file of WRN-16-1 / 0": ("reproduced", 0.0, ""),
        "published file of WRN-16-2 / 0": ("reproduced", 0.0, ""),
        other: ("reproduced", 0.0, ""),
    }
    # below the print: what else bears that name, and what it gave
    wrong = checked(one=90.9, two=93.57, other=93.57)
    verdict, difference, why = wrong["published file of WRN-16-2 / 0"]
    assert verdict == "below" and difference == pytest.approx(-0.64)
    assert why == f"this is {folder}/wrn-16-2-seed-0-dict.pth; other files of that name: {folder}/CIFAR10/wrn-16-2-seed-0-dict.pth (93.57)"
    assert wrong["published file of WRN-16-1 / 0"][2].endswith("no other file of that name is known in the repository")
    assert checked(two=93.57)["published file of WRN-16-2 / 0"][2].endswith("wrn-16-2-seed-0-dict.pth (not evaluated here)")


def test_error_rates_become_accuracies_and_medians_are_never_paired(tmp_path: Path) -> None:
    at = papers.load("zagoruyko2017")
    plan = make(at, select(at, ["1"], rows=["WRN-16-1, WRN-16-2"]), seeds=range(5), device="cpu")
    [table] = judged(plan, Store(tmp_path))
    claims = {f.claim.id: f.claim for f in table.findings}
    value = claims["WRN-16-1, WRN-16-2 / AT"].published
    assert value is not None and (value.value, value.decimals, value.aggregate, value.seeds) == (92.07, 2, "median", 5)
    gain = claims["WRN-16-1, WRN-16-2 / AT minus WRN-16-1, WRN-16-2 / student alone"]
    assert gain.decides == "unpaired" and gain.claimed == pytest.approx(8.77 - 7.93) and gain.seeds == 5


def test_methods_on_the_same_images_are_paired_by_seed() -> None:
    vid = papers.load("ahn2019")
    student, kd, tf = (
        Experiment.of(vid.settings(vid.cell(name)), device="cpu") for name in ("1:Student:2 %", "1:KD:2 %", "tf:KD:2 %")
    )
    assert together(student, kd) and not together(kd, tf)


def test_a_number_at_a_named_step_is_read_off_a_longer_run(tmp_path: Path) -> None:
    plan = make(MICAELLI, select(MICAELLI, ["curve-cifar10"], rows=["800", "1600"]), device="cpu", seeds=[0, 1])
    [whole] = {one.cell: one for one in plan.wanted}.values()
    assert whole.recipe.steps == 16_000
    for seed in (0, 1):
        finished(Store(tmp_path), whole.with_seed(seed), 58.0, curve=[(8_000, 33.0 + seed), (16_000, 58.0)])
    [table] = judged(plan, Store(tmp_path))
    ours = {f.claim.id: f.reading.ours.value for f in table.findings if f.reading is not None}
    assert ours == {"800, 8000 / accuracy": 33.5, "1600, 16000 / accuracy": 58.0}
    assert table.findings[0].claim.published is not None and table.findings[0].claim.published.which == "at_step"


def test_cells_without_experiment_and_disputed_numbers_say_why(tmp_path: Path) -> None:
    plan = make(MICAELLI, select(MICAELLI, ["figure2-svhn"], only=["zero-shot"]), device="cpu")
    [table] = judged(plan, Store(tmp_path))
    text = page(plan, [table])
    assert "| zero-shot / M = 10 | value | 94.36 |  |  |  | not attempted | the student is fine-tuned" in text
    assert "* zero-shot / M = 0 is also printed as 94.06 ± 0.27 (p. 6, text)" in text
    assert "* **zero-shot on SVHN**" in text and "  * theirs: p. 5: 50,000 blocks" in text
    one = plan.cells[0].experiment
    assert one is not None
    for seed in range(3):
        finished(Store(tmp_path), one.with_seed(seed), 94.1 + 0.1 * seed)
    [table] = judged(plan, Store(tmp_path))
    assert table.findings[0].verdict == "disputed"


def test_the_three_formats_say_the_same(tmp_path: Path) -> None:
    chen = papers.load("chen2021")
    plan, store = make(chen, select(chen, ["7"]), device="cpu"), Store(tmp_path / "runs")
    for planned in plan.cells:
        assert planned.experiment is not None and planned.cell.printed is not None
        for seed in range(3):
            finished(store, planned.experiment.with_seed(seed), planned.cell.printed.value + 0.01 * seed)
    [table] = judged(plan, store)
    rows = csv_text(table).splitlines()
    assert rows[0].startswith("table,claim,kind,paper,ours [95 %],n,difference [interval],verdict")
    # its second numbers are read as variances: of the five orders of its text, they show the first
    assert len(rows) == 1 + 6 + 1 and ",reproduced," in rows[1] and rows[-1].startswith("7,RM / accuracy above none / accuracy,order,")
    tex = latex_text(chen, table)
    assert r"none / accuracy & 74.3 $\pm$ 0.05 & 74.31 [" in tex and tex.count(r"\\") == 8
    files = save(plan, [table], tmp_path / "report")
    named = ["chen2021-7.csv", "chen2021-7.tex", "chen2021-7-claims.tex", "chen2021-7.svg", "chen2021.md", "index.html"]
    assert [path.name for path in files] == named
    shape = files[1].read_text(encoding="utf-8").splitlines()
    at = shape.index(r"none & $74.3 \pm 0.05$ \\")  # the paper's row, and ours below it
    assert shape[at + 1].startswith(r"\quad ours & $74.31 \pm ") and shape[at + 1].endswith(r"^{r}$ \\") and shape[5] == r" & accuracy \\"
    text = files[-2].read_text(encoding="utf-8")
    for row in (line(f) for f in table.findings):
        assert f"| {row.claim} | {row.kind} | {row.paper} | {row.ours} | {row.n} | {row.difference} | {row.verdict} |" in text
    assert "18 runs, 18 min 0 s of" in text and "![accuracy over the run](chen2021-7.svg)" in text


def test_runs_at_a_part_of_the_length_are_shown_and_earn_no_verdict(tmp_path: Path) -> None:
    chen, store = papers.load("chen2021"), Store(tmp_path)
    chosen = select(chen, ["7"], rows=["none", "RM"])
    for planned in make(chen, chosen, device="cpu", scale=0.01).cells:
        assert planned.experiment is not None
        finished(store, planned.experiment.with_seed(4), 41.0)
    plan = make(chen, chosen, device="cpu")
    [table] = judged(plan, store)
    assert {f.verdict for f in table.findings} == {"not attempted"} and not any(table.runs.values())
    notes = [f.note for f in table.findings if f.claim.kind == "value"]
    assert notes == ["no runs of none / accuracy; at 0.01 of the published length 41.00 % (seed 4): no verdict",
                    "no runs of RM / accuracy; at 0.01 of the published length 41.00 % (seed 4): no verdict"]  # fmt: skip
    assert "at 0.01 of the published length 41.00 % (seed 4): no verdict" in page(plan, [table])
    assert any(line(f, "").note == notes[0] for f in table.findings)


def test_transition_errors_are_judged_like_the_rest(tmp_path: Path) -> None:
    ferles = papers.load("ferles2020")
    plan = make(ferles, select(ferles, ["2"], columns=["zero-shot"], rows=["CIFAR-10", "CIFAR-10, teacher's gradient"]), device="cpu")
    [one] = {p.experiment.cell: p.experiment for p in plan.cells if p.experiment}.values()
    store = Store(tmp_path)
    for seed in range(3):
        finished(store, one.with_seed(seed), 83.0)
    wanted = [(run.seed, attacked) for run, _, attacked in to_measure(plan, Found(store))]
    assert wanted == [(s, a) for a in ("student", "teacher") for s in range(3)]
    [table] = judged(plan, store)
    assert {f.verdict for f in table.findings} == {"not attempted"}
    values = {"student": 0.18, "teacher": 0.5}
    believed = {
        (run.id, a): Believed(run.id, a, "cifar10:test", 1000, values[a] + 0.001 * run.seed, 0.01)
        for run, _, a in to_measure(plan, Found(store))
    }
    [table] = judged(plan, store, beliefs=believed)
    assert {f.claim.id: f.verdict for f in table.findings} == {
        "CIFAR-10 / zero-shot": "reproduced", "CIFAR-10, teacher's gradient / zero-shot": "below",
    }  # fmt: skip
    old = Store(tmp_path / "old")  # beliefs of runs that are stale are stale too
    for seed in range(3):
        finished(old, one.with_seed(seed), 83.0, numerics={**one.numerics, "fit": 0}, folder=f"old/seed-{seed}")
    [table] = judged(plan, old, beliefs=believed)
    assert {f.verdict for f in table.findings} == {"stale"}


def test_of_a_transition_error_that_nobody_prints_no_accuracy_is_told(tmp_path: Path) -> None:
    """The column "ours" of a table of transition errors had the students' accuracy, 83.00."""
    ferles, store = papers.load("ferles2020"), Store(tmp_path)
    plan = make(ferles, select(ferles, ["belief-others"], columns=["zero-shot"]), device="cpu")
    [one] = [p.experiment for p in plan.cells if p.experiment is not None]
    finished(store, one, 83.0)
    [(run, _, attacked)] = to_measure(plan, Found(store))
    name = "SVHN, teacher's gradient / zero-shot"
    [table] = judged(plan, store)
    assert asked_rows(table) == [(name, "", "0")] and "83.00" not in page(plan, [table]) + "\n".join(beside([table]))
    [table] = judged(plan, store, beliefs={(run.id, attacked): Believed(run.id, attacked, "svhn:test", 1000, 0.4321, 0.01)})
    assert asked_rows(table) == [(name, "0.4321", "1")] and f"| {name} | 0.4321 (0) |" in "\n".join(beside([table]))


def test_records_that_cannot_be_used_stop_a_report(tmp_path: Path) -> None:
    plan = table_1(rows=["WRN-40-2, WRN-16-1"], only=["KD+AT"])
    one = plan.cells[0].experiment
    assert one is not None
    store = Store(tmp_path)
    finished(store, one, 81.0)
    finished(store, one, 81.5, folder="copy/seed-0")
    with pytest.raises(RedistillError, match=f"are both run {one.id} and tell different things: a run is a fact"):
        judged(plan, store)
    record = tmp_path / "copy" / "seed-0" / "record.json"
    newer = sealed({**json.loads(record.read_text(encoding="utf-8")), "format": FORMAT + 1})
    record.write_text(json.dumps(newer), encoding="utf-8")
    with pytest.raises(RedistillError, match=r"was written by a newer redistill \(record format 2, this one reads up to 1\)"):
        judged(plan, store)


def test_another_number_of_threads_is_a_fact_and_no_refusal(tmp_path: Path) -> None:
    plan = table_1(rows=["WRN-40-2, WRN-16-1"], only=["KD+AT"])
    one = plan.cells[0].experiment
    assert one is not None
    store = Store(tmp_path)
    finished(store, one, 81.0)
    for folder, last, threads in (("a-copy/seed-0", 81.5, 2), ("b-copy/seed-0", 81.25, 4)):
        finished(store, one, last, folder=folder)
        record = json.loads((tmp_path / folder / "record.json").read_text(encoding="utf-8"))
        record["sessions"][0]["hardware"]["threads"] = threads
        record.pop("sha256")
        (tmp_path / folder / "record.json").write_text(json.dumps(sealed(record)), encoding="utf-8")
    [table] = judged(plan, store)
    [runs] = table.runs.values()
    assert [run.accuracy() for run in runs] == [81.0], "the record in the run's own folder counts, whatever the others are called"
    assert any(f"are both run {one.id} and tell different things, as they may (threads 1 (there 2))" in rule for rule in table.rules)
    assert [table] == judged(plan, store)
    finished(store, one, 81.75, folder="c-copy/seed-0")  # as many threads as the first
    with pytest.raises(RedistillError, match="tell different things: a run is a fact"):
        judged(plan, store)


def test_the_same_experiment_in_two_papers_is_one_run() -> None:
    chen, tian = papers.load("chen2021"), papers.load("tian2020")
    for ours, theirs in (
        ("1:KD:WRN40-2 -> WRN16-2", "same:KD:wrn-40-2 -> wrn-16-2"),
        ("2:VID:VGG13 -> MobileNetV2", "different:VID:vgg13 -> MobileNetV2"),
        ("1:Teacher:ResNet56 -> ResNet20", "same:Teacher:resnet56 -> resnet20"),
    ):
        one, other = (
            Experiment.of(p.settings(p.cell(name)), device="cpu") for p, name in ((chen, ours), (tian, theirs))
        )
        assert one.id == other.id


def test_published_files_with_two_stories_are_refused(tmp_path: Path) -> None:
    row = {"file": "a.pth", "sha256": "0" * 64, "data": "cifar10:test", "normalise": "none", "images": 10, "accuracy": 50.0}
    (tmp_path / "a.json").write_text(json.dumps(row), encoding="utf-8")
    assert kept(tmp_path)["0" * 64].accuracy == 50.0
    (tmp_path / "b.json").write_text(json.dumps({**row, "accuracy": 60.0}), encoding="utf-8")
    with pytest.raises(RedistillError, match=r"tell different things of one file, a.pth"):
        kept(tmp_path)
    (tmp_path / "b.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RedistillError, match=r"b.json is no record of an evaluated file"):
        kept(tmp_path)


def test_an_evaluation_that_was_asked_otherwise_does_not_answer(tmp_path: Path) -> None:
    """A paper file that came to another normalisation asks anew: the old record is no answer to it."""
    paper = papers.load("ferles2020")
    asked = next(c for c in paper.file.checkpoint if c.table == "4" and not c.value)
    made = {c.normalise: Checked(asked.file, asked.sha256, asked.data, c.normalise, 10_000, 90.97) for c in (
        asked, asked.model_copy(update={"normalise": "none"}))}  # fmt: skip
    plan = make(paper, [c for c in paper.cells_of("4") if asked.holds(c.facts)], device="cpu")
    for normalise, one in made.items():
        [table] = judged(plan, Store(tmp_path), {asked.sha256: one})
        [finding] = [f for f in table.findings if f.claim.kind == "checkpoint" and f.claim.cell == f"file {asked.path}"]
        assert (finding.verdict == "not attempted") == (normalise == "none")


def test_spreads_without_a_number_of_runs_are_left_out() -> None:
    chen = papers.load("chen2021")
    cell = chen.cell("7:RM:accuracy")
    assert cell.printed is not None
    made = published(cell.printed, chen.protocol("7").model_copy(update={"seeds": None}), "accuracy")
    assert made.std is None and made.seeds is None


def test_only_published_files_of_the_chosen_cells_are_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paper = papers.load("ferles2020")
    (tmp_path / "files").mkdir()
    for one in paper.file.checkpoint:
        (tmp_path / "files" / one.sha256).touch()
    monkeypatch.setattr(checkpoints, "file_digest", lambda path: path.name)
    cells = [cell for cell in paper.cells if cell.table == "4"]
    names = []
    for chosen in (cells, [cell for cell in cells if cell.facts["student"] == "WRN-16-1"]):
        said = checkpoints.evaluate(paper, tmp_path / "files", tmp_path / "kept", tmp_path / "nowhere", chosen)
        names.append({str(text).partition(" is not evaluated")[0] for text in said})
    assert len(names[0]) > 1 and names[1] == {"wrn-16-1-seed-0-dict.pth"}


def test_a_teacher_at_a_part_of_its_length_has_a_name() -> None:
    paper = papers.load("ferles2020")
    cells = [c for c in paper.cells if c.table == "10" and c.facts["method"] != "scratch"]
    plan = make(paper, cells[:1], seeds=[0], device="cpu", scale=0.01)
    assert [one.label for one in plan.teachers] == ["wrn-16-2 (scale 0.01)"]

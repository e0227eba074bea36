"""The benchmark of CRD and what came after: every row is planned or says why not, and every planned term fits its two networks."""

from __future__ import annotations

import dataclasses
import functools
import json
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from redistill import models, papers
from redistill.experiment.method import made_method
from redistill.experiment.value import Experiment
from redistill.features.places import meeting, places_of
from redistill.features.tapped import Tapped
from redistill.papers import Cell
from redistill.papers.explain import Effect, ranked, sentences, told_of, variants
from redistill.papers.plan import make, select
from redistill.stats import percent_difference, percent_interval

FILES = ("tian2020", "zhao2022", "huang2022", "sun2024", "jin2023")
COUNTS = {"tian2020": (201, 0), "zhao2022": (99, 0), "huang2022": (24, 0), "sun2024": (140, 0), "jin2023": (33, 0)}


@functools.cache
def planned(name: str) -> tuple[tuple[str, Experiment | None], ...]:
    paper = papers.load(name)
    return tuple((one.cell.id, one.experiment) for one in make(paper, select(paper), seeds=(0,), device="cpu").cells)


@pytest.mark.parametrize("name", FILES)
def test_every_row_is_planned_or_says_why_not(name: str) -> None:
    cells = planned(name)
    assert (len(cells), sum(one is None for _, one in cells)) == COUNTS[name]
    paper = papers.load(name)
    for cell in paper.cells:
        assert cell.unknown or cell.facts["method"] in paper.file.method, cell.id


@functools.cache
def seen(model: str) -> tuple[torch.nn.Module, object]:
    net = models.build(model, classes=100, seed=0).eval()
    return net, places_of(net, torch.zeros(1, 3, 32, 32))


def stages(one: Experiment) -> list[Experiment]:
    """The experiment, and those that its student comes from."""
    before = one.student.maker(one.seed) if hasattr(one.student, "maker") else None
    return [one, *(stages(before) if before is not None else [])]


def test_every_planned_term_fits_its_two_networks() -> None:
    """A place that a network lacks, or widths that do not meet, would be found after hours of training the teacher."""
    tried: dict[tuple[str, str, str], Experiment] = {}
    for _, one in (cell for name in FILES for cell in planned(name)):
        for each in stages(one) if one is not None else []:
            if each.teacher is not None:
                rows = [(part.use, part.settings) for part in each.method]
                tried.setdefault((each.student.model, each.teacher.model, repr(rows)), each)
    labels = torch.arange(200) % 100
    for (student, teacher, rows), one in tried.items():
        (s, mine), (t, theirs) = seen(student), seen(teacher)
        ctx = meeting(s, mine, t, theirs, seed=0)  # type: ignore[arg-type]
        method = made_method(one.method)
        method.setup(dataclasses.replace(ctx, count=200, labels=labels))
        assert method.places("student") is not None, (student, teacher, rows)
    assert len(tried) > 150
    used = {part.use for one in tried.values() for part in one.method}
    assert used >= {"KD", "FitNet", "AT", "SP", "CC", "VID", "RKD", "PKT", "AB", "FT", "FSP", "NST", "CRD", "DKD", "DIST", "OFD", "Review"}


def test_explain_takes_logit_standardisation_apart_at_equal_epochs() -> None:
    """All eight corners of temperature, weight and standardisation are there, from the two rows together, and differ in nothing else."""
    paper = papers.load("sun2024")
    corners: dict[object, set[tuple[float, float, bool]]] = {}
    for row in ("KD", "KD+LS"):
        for variant in variants(paper, paper.cell(f"same:{row}:ResNet32x4 -> ResNet8x4"), device="cpu"):
            one = variant.experiment
            (kd,) = (part for part in one.method if part.use == "KD")
            at = (kd.settings["T"], kd.weight, bool(kd.settings.get("standardise", False)))
            rest = one.model_copy(update={"name": "", "method": ()})
            corners.setdefault(at, set()).add(rest.id)
            assert one.recipe.epochs == 240
    assert set(corners) == set(product((4.0, 2.0), (0.9, 9.0), (False, True)))
    assert len(set.union(*corners.values())) == 1, "the same networks, data, recipe and seed everywhere"


def test_explain_takes_the_switch_of_mlkd_apart_at_equal_epochs() -> None:
    """From MLKD+LS one change at a time: the three together are the row MLKD, and none of them touches the length."""
    paper = papers.load("sun2024")
    found = {v.name: v.experiment for v in variants(paper, paper.cell("same:MLKD+LS:ResNet32x4 -> ResNet8x4"), device="cpu")}
    plain, row = found["as planned"], dict(planned("sun2024"))["sun2024:same:MLKD:ResNet32x4 -> ResNet8x4"]
    assert row is not None

    def of(one: Experiment) -> dict[str, object]:
        return {**one.method[1].settings, "weight": one.method[1].weight}

    mine = of(plain)
    for name in ("mlkd-standardisation", "mlkd-weight", "mlkd-temperature"):
        one = found[name]
        assert one.recipe == plain.recipe == row.recipe and one.source == plain.source
        (changed,) = (key for key, value in of(one).items() if value != of(plain)[key])
        mine[changed] = of(one)[changed]
    assert mine == of(row)
    assert found["mlkd-length"].recipe.epochs == 240


def test_explain_takes_apart_what_the_wording_of_vid_leaves_open() -> None:
    """Each departure of VID with 2 % of the images moves what it names and nothing else; the sum has the size of the mean. One moves two
    things, the weight that helps and the length."""
    paper = papers.load("ahn2019")
    found = {v.name: v.experiment for v in variants(paper, paper.cell("1:VID:2 %"), device="cpu")}
    plain = found["as planned"]
    of_vid = {"maps": "at", "reduction": "reduction", "floor": "eps", "start": "init_log_scale", "regressor": "regressor"}
    assert set(found) == {"as planned", *of_vid, "size", "length", "length-fast", "cross-entropy", "cross-entropy-length", "decay"}
    for name, one in found.items():
        (ce, vid), (ce_before, vid_before) = one.method, plain.method
        moved = {key for key, value in vid.settings.items() if value != vid_before.settings[key]}
        assert moved == ({of_vid[name]} if name in of_vid else {"reduction"} if name == "size" else set()), name
        assert (ce.weight, ce_before.weight) == (0.1 if name.startswith("cross-entropy") else 1.0, 1.0)
        recipe = {key for key, value in one.recipe if value != getattr(plain.recipe, key)}
        fast = {key: {"epochs", "precision"} for key in ("length-fast", "cross-entropy-length")}
        assert recipe == {**fast, "length": {"epochs"}, "decay": {"no_decay"}}.get(name, set())
        assert (one.source, one.teacher, one.student) == (plain.source, plain.teacher, plain.student)
    net = models.build("wrn-40-2", classes=10, seed=0).eval()
    with torch.no_grad():
        taps = Tapped(net, ("stem", "stage1", "stage2", "stage3"))(torch.zeros(1, 3, 32, 32)).taps
    entries = [tap[0].numel() for tap in taps.values()]
    assert found["size"].method[1].weight * sum(entries) == pytest.approx(len(entries), rel=1e-6)


def test_one_seed_of_a_departure_is_told_without_an_interval() -> None:
    paper = papers.load("ahn2019")
    cell = paper.cell("1:VID:2 %")
    plain, floor = variants(paper, cell, only=["floor"], device="cpu")
    lines = sentences([Effect(plain, {0: 60.0, 1: 61.0}, None), Effect(floor, {1: 63.5}, None)], paper, cell)
    assert lines[0].startswith("ahn2019:1:VID:2 %: 60.50 (2 seeds), the paper prints 81.59")
    assert lines[1].startswith("floor: +2.50, of one seed: no interval; the least variance of VID")
    assert sentences([Effect(plain, {}, None), Effect(floor, {1: 63.5}, None)], paper, cell)[1].startswith("floor: not measured (1 seed)")


def test_equal_effects_of_two_seeds_have_the_interval_of_what_one_of_their_images_hides() -> None:
    """On 450 images two equal effects had the interval of 10,000, and were certain to four hundredths of a point."""
    paper = papers.load("ahn2019")
    found = variants(paper, paper.cell("1:VID:2 %"), only=["floor"], device="cpu")

    def runs(*hits: int) -> dict[int, Any]:
        entry = SimpleNamespace(data={"test": {"count": 450}})
        facts: Any = {"diverged": None, "entry": entry, "record": {"experiment": {"evaluate": {}}}}
        return {s: SimpleNamespace(**facts, accuracy=lambda n=n: 100 * n / 450) for s, n in enumerate(hits)}

    _, effect = ranked([(found[0], runs(400, 410)), (found[1], runs(402, 412))])
    wanted = percent_difference([100 * 402 / 450, 100 * 412 / 450], [100 * 400 / 450, 100 * 410 / 450], step=100 / 450)
    assert effect.effect == wanted and wanted.high - wanted.low > 1.0
    plain, still = ranked([(found[0], runs(400, 410)), (found[1], runs(400, 400))])
    came = percent_interval([100 * 400 / 450] * 2, step=100 / 450)
    assert f"[{came.low:.2f}, {came.high:.2f}] with it" in told_of(still, plain)


def test_factor_transfer_is_planned_in_its_two_stages() -> None:
    made = dict(planned("tian2020"))
    for pair, rate, place in (("resnet32x4 -> resnet8x4", 0.01, "stage3"), ("vgg13 -> vgg8", 0.05, "stage4")):
        one = made[f"tian2020:same:FT:{pair}"]
        assert one is not None
        first = one.student.run
        assert first is not None
        (stage,), (_, then) = first.method, one.method
        assert (stage.settings["learns"], then.settings["learns"], then.weight) == ("paraphraser", "translator", 200.0)
        assert stage.settings["at"] == then.settings["at"] == place and first.teacher == one.teacher
        recipe = first.recipe
        assert (recipe.epochs, recipe.lr, recipe.student_mode, recipe.schedule.kind) == (30, rate, "eval", "constant")


def test_what_a_departure_changes_is_a_change() -> None:
    """No switch asks for what the cell has already, and each can be made: Figure 1 of the report had five that could not."""
    for name in papers.names():
        paper = papers.load(name)
        for cell in paper.cells:
            if not cell.unknown and any(departs.change for departs in paper.departs(cell)):
                made = variants(paper, cell, device="cpu")
                assert len({one.experiment.cell for one in made}) == len(made), cell.id


ONE_EXPERIMENT = {
    ("fang2021", "cifar100"): "the student alone stands beside each of two teachers",
    ("he2016", "6"): "the paper and its authors' repository print a number each",
    ("sun2024", "4"): "a softmax knows nothing of the mean of its logits: the paper's control",
}
"""Tables that print two accuracies for one experiment, and why."""


def test_two_numbers_of_one_table_are_of_two_experiments() -> None:
    """A fact that reaches no experiment is told by it: Figure 1 had the zero-shot student of M = 0 in all six places."""
    found = set()
    for name in papers.names():
        paper, printed = papers.load(name), dict[tuple[str, ...], float]()
        for cell in paper.cells:
            if cell.unknown or cell.printed is None or paper.table(cell.table).metric == "mte":
                continue
            asked = {key: value for key, value in paper.settings(cell).items() if key != "name"}
            key = (cell.table, json.dumps(asked, sort_keys=True, default=str), str(cell.facts.get("seed")))
            if printed.setdefault(key, cell.printed.value) != cell.printed.value:
                found.add((name, cell.table))
    assert found == ONE_EXPERIMENT.keys()


# -- numbers that no claim file has ------------------------------------------------------------------------------------
OURS = {"wrn-40-2": "WRN-40-2", "wrn-16-2": "WRN-16-2", "wrn-40-1": "WRN-40-1", "vgg13": "VGG13", "vgg8": "VGG8"}
OURS |= {f"resnet{depth}": f"ResNet{depth}" for depth in ("20", "32", "56", "110", "8x4", "32x4")}


@functools.cache
def cells(paper: str) -> tuple[Cell, ...]:
    return papers.load(paper).cells


def value(paper: str, method: str, teacher: str, student: str) -> list[str]:
    """Printed values of a cell, the first one the table's own."""
    wanted = {"method": method, "teacher": OURS.get(teacher, teacher), "student": OURS.get(student, student)}
    fitting = [c for c in cells(paper) if c.printed is not None and "form" not in c.facts and wanted.items() <= c.facts.items()]
    assert len(fitting) <= 1
    return [text for c in fitting for text in (f"{c.printed.value:.2f}", *(also.value.split(" ")[0] for also in c.also))]


def test_numbers_of_logit_standardisation_are_those_beside_its_logs(shared: Path) -> None:
    evidence = json.loads((shared / "evidence" / "lskd_logs.json").read_text(encoding="utf-8"))
    names = {"ShuffleNetV2": "SHN-V2", "MobileNetV2": "MN-V2"}
    published = [row for row in evidence["published"] if row["dataset"] == "CIFAR-100"]
    for row in published:
        found = value("sun2024", row["method"], row["teacher"], names.get(row["student"], row["student"]))
        assert found == [f"{row['value']:.2f}"], row
    assert len(published) > 50
    printed = {(cell.facts["weight"], cell.column): cell.printed for cell in papers.load("sun2024").cells_of("4")}
    columns = ("KD", "minus the mean", "over the spread", "both")
    for weight, *numbers in evidence["published_ablation"]["rows"]:
        for column, number in zip(columns, numbers, strict=True):
            one = printed.pop((str(weight), column))
            assert one is not None and one.value == number
    assert not printed


def test_temperature_and_weight_are_those_in_the_names_of_the_logs(shared: Path) -> None:
    evidence = json.loads((shared / "evidence" / "lskd_logs.json").read_text(encoding="utf-8"))
    names = {"ShuffleNetV2": "SHN-V2", "MobileNetV2": "MN-V2"}
    made = dict(planned("sun2024"))
    for run in evidence["runs"]:
        if run["dataset"] != "CIFAR-100":
            continue
        student = OURS.get(run["student"], names.get(run["student"], run["student"]))
        pair = f"{OURS.get(run['teacher'], run['teacher'])} -> {student}"
        one = next(experiment for cell, experiment in made.items() if cell.endswith(f":{run['method']}:{pair}"))
        assert one is not None
        (part,) = (each for each in one.method if each.use != "CE")
        weight = part.weight if isinstance(part.weight, float) else part.weight.last
        settings = run["settings"]
        first = {"MLKD": lambda set_: set_["temperatures"][0], "CTKD": lambda set_: 2.0}.get(part.use, lambda set_: set_["T"])
        assert (first(part.settings), weight) == (settings["temperature"], settings["weight"]), pair  # CTKD's in the name is read by nobody
        assert part.use != "DKD" or part.settings["beta"] == (settings["dkd_beta_in_name"] or 8.0), pair
        assert one.recipe.epochs == run["epochs"], pair
        assert one.recipe.lr == pytest.approx(settings.get("lr_first_as_logged", one.recipe.lr), abs=0.0051), pair  # two decimals in most


@pytest.mark.parametrize(("paper", "quotes", "method", "least"), [
    ("huang2022", ("zheng2024_wttm_same", "zheng2024_wttm_different"), "DIST", 6),
    ("jin2023", ("shing2025_taid",), "MLKD", 6),
])  # fmt: skip
def test_numbers_are_those_that_other_tables_quote(paper: str, quotes: tuple[str, ...], method: str, least: int, shared: Path) -> None:
    met = 0
    for name in quotes:
        for cell in json.loads((shared / "evidence" / "quotes" / f"{name}.json").read_text(encoding="utf-8"))["cells"]:
            if cell["method"] == method and (found := value(paper, method, cell["teacher"], cell["student"])):
                assert f"{cell['quoted']:.2f}" in found, (name, cell)
                met += 1
    assert met >= least


# -- two tables that contradict each other -------------------------------------------------------------------------------
def test_both_tables_without_data_stand_and_contradict_each_other_in_twelve_cells(shared: Path) -> None:
    """Each contradicting cell knows the other number, and both are of one experiment; methods.md names the pairs of numbers."""
    paper = papers.load("fang2021")
    tables = [paper.cells_of(name) for name in ("cifar100", "fast-cifar100")]
    one, other = ({(c.facts["method"], c.facts.get("trains", ""), c.column): c for c in table} for table in tables)
    assert one.keys() == other.keys() and len(one) == 35
    unlike = [key for key in one if one[key].printed != other[key].printed]
    assert {method for method, _, _ in unlike} == {"DAFL", "ZSKT", "DFQ", "alone"} and len(unlike) == 13
    text = (shared / "papers" / "methods.md").read_text(encoding="utf-8")
    for key in unlike:
        mine, theirs = one[key], other[key]
        assert mine.facts == theirs.facts
        assert mine.printed is not None and theirs.printed is not None
        assert f"{theirs.printed.value:.2f}" in {also.value for also in mine.also}
        assert f"{mine.printed.value:.2f}" in text and f"{theirs.printed.value:.2f}" in text
        if key[0] != "alone":
            assert f"{mine.printed.value:.2f}" in {also.value for also in theirs.also}
    assert not any(cell.unknown for cell in paper.cells) and len(paper.cells) == 105


def test_sources_without_data_are_planned_and_shortened() -> None:
    paper = papers.load("fang2021")
    for method, kind in (("DAFL", "dafl"), ("DFQ", "dafl"), ("ZSKT", "adversarial"), ("DeepInv", "deep-inversion"), ("CMI", "cmi")):
        cell = paper.cell(f"cifar100:{method}:wrn-40-2 -> wrn-16-1")
        (whole,) = make(paper, [cell], seeds=(0,), device="cpu").cells
        (part,) = make(paper, [cell], seeds=(0,), device="cpu", scale=0.01).cells
        assert whole.experiment is not None and part.experiment is not None
        assert whole.experiment.source.kind == kind and whole.experiment.source.normalise == "cifar100"
        assert whole.experiment.recipe.steps == 80_000
        assert part.experiment.recipe.steps == part.experiment.source.blocks * part.experiment.source.n_S == 800

"""Looking at runs: listing, showing, comparing, telling apart, evaluating."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from helpers.experiments import HERE
from redistill.cli import program
from redistill.errors import RedistillError
from redistill.runs.store import Store
from redistill.sealed import sealed
from redistill.stats import paired_difference


@pytest.fixture(scope="module")
def store(teacher_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    from redistill.experiment.value import Experiment

    place = Store(tmp_path_factory.mktemp("look") / "runs")
    shutil.copytree(teacher_file, place.root)
    for name, part in (("CE", {"use": "CE", "smoothing": 0.1}), ("KD", {"use": "KD"})):
        one = Experiment.of(
            {
                "name": name, "student": {"model": "./nets.py:Small"}, "method": [part],
                "teacher": {"run": "teacher.toml", "seed": 0}, "source": {"data": "digits", "per_class": 10},
                "recipe": {"epochs": 3, "batch_size": 20},
            },
            folder=HERE, device="cpu",
        )  # fmt: skip
        for seed in range(3):
            one.run(place, seed)
    return place


def ask(store: Store, *words: str) -> Any:
    done = CliRunner().invoke(program(), [*words, "--out", str(store.root)], catch_exceptions=False)
    return done


def test_runs_are_listed_and_filtered(store: Store) -> None:
    rows = json.loads(ask(store, "runs", "--json").stdout)
    assert len(rows) == 7 and {row["state"] for row in rows} == {"done"}
    for words, count in ((["--method", "kd"], 3), (["--data", "digits"], 7), (["--student", "wrn"], 0), (["--method", "ce"], 4)):
        assert len(json.loads(ask(store, "runs", "--json", *words).stdout)) == count
    table = ask(store, "runs").stdout.splitlines()
    assert table[0].split() == ["id", "seed", "state", "accuracy", "%", "run"] and len(table) == 8


def test_runs_of_a_mixture_are_found_by_the_data_of_its_halves() -> None:
    from redistill.cli.look import _matches

    halves = {"first": {"kind": "images", "data": "cifar10:train"}, "second": {"kind": "dafl"}}
    asked = {"method": [{"use": "KD"}], "student": {"model": "wrn-16-1"}, "source": {"kind": "mixed", **halves, "take": [1, 1]}}
    run: Any = SimpleNamespace(entry=SimpleNamespace(experiment=asked))
    assert _matches(run, "CIFAR10", None, None) and _matches(run, "dafl", None, "kd") and not _matches(run, "svhn", None, None)


def test_damaged_and_begun_runs_are_listed(store: Store, tmp_path: Path) -> None:
    place = Store(tmp_path / "runs")
    shutil.copytree(store.root, place.root)
    first, second, *_ = place.finished()
    (first.folder / "record.json").write_text("{")
    (second.folder / "experiment.json").write_text(json.dumps({"label": "begun here", "experiment": second.record["experiment"]}))
    (second.folder / "record.json").unlink()
    rows = json.loads(ask(place, "runs", "--json").stdout)
    states = {row["folder"]: row for row in rows}
    assert states[str(first.folder)]["state"] == "damaged" and "is damaged" in states[str(first.folder)]["why"]
    begun = states[str(second.folder)]
    assert begun["state"] == "begun" and begun["label"] == "begun here" and f"redistill run {second.folder}" in begun["why"]


def test_show_says_what_was_done(store: Store) -> None:
    shown = ask(store, "show", "KD").stdout
    assert "KD, seed 0" in shown and "chosen on this set itself" in shown and "1.0 * KD(T=4.0, reduction='batch'" in shown
    assert "teacher ./nets.py:Small: test " in shown and "bit-identical: yes" in shown
    record = json.loads(ask(store, "show", store.pick("KD")[0].id, "--json").stdout)
    assert record == store.pick("KD")[0].record
    assert json.loads(ask(store, "show", "KD", "--json").stdout) == [run.record for run in store.pick("KD")]  # of three seeds one text


def test_compare_pairs_by_seed(store: Store) -> None:
    rows = json.loads(ask(store, "compare", "CE", "KD", "--json").stdout)
    ce, kd = ([r.accuracy() for r in store.pick(name)] for name in ("CE", "KD"))
    expected = paired_difference(kd, ce)
    assert [row["method"] for row in rows] == ["CE", "KD"] and rows[0]["n"] == 3
    assert rows[1]["difference"] == pytest.approx(expected.value) and rows[1]["difference_low"] == pytest.approx(expected.low)
    assert rows[1]["runs"] == [r.id for r in store.pick("KD")]
    turned = json.loads(ask(store, "compare", "CE", "KD", "--baseline", "KD", "--json").stdout)
    assert turned[0]["difference"] == pytest.approx(-expected.value)
    assert ask(store, "compare", "CE", "KD").stdout.startswith("| method |")
    assert len(list(csv.reader(io.StringIO(ask(store, "compare", "CE", "KD", "--format", "csv").stdout)))) == 3
    assert r"\begin{tabular}" in ask(store, "compare", "CE", "KD", "--format", "latex").stdout
    with pytest.raises(RedistillError, match="unknown evaluation set 'tset': did you mean test"):
        ask(store, "compare", "CE", "KD", "--on", "tset")


def test_tables_hold_numbers_in_columns_and_intervals_of_accuracies(store: Store) -> None:
    [ce, kd] = csv.DictReader(io.StringIO(ask(store, "compare", "CE", "KD", "--format", "csv").stdout))
    assert ce["baseline"] == "CE" and ce["difference"] == "" and float(kd["difference_low"]) < float(kd["difference"])
    assert all(0 <= float(row[name]) <= 100 for row in (ce, kd) for name in ("mean", "low", "high")) and float(kd["sd"]) >= 0
    shown = ask(store, "compare", "CE", "KD").stdout + ask(store, "compare", "CE", "KD", "--format", "latex").stdout
    assert r"\pm" in shown and r"\caption" in shown and " s |" not in shown  # no time: it depends on what else was running


def test_whatever_a_shell_finds_in_a_store_can_be_compared_and_drawn(store: Store, tmp_path: Path) -> None:
    everything = [str(path) for path in sorted(store.root.iterdir())]
    assert str(store.root / "indices") in everything
    assert ask(store, "compare", *everything).stdout.count("\n") == 2 + len({one.cell for one in store.finished()})
    assert ask(store, "plot", "CE", "KD", "--to", str(tmp_path / "c.svg"), "--line", "50").stdout.strip() == str(tmp_path / "c.svg")
    drawn = (tmp_path / "c.svg").read_text()
    assert ">CE<" in drawn and ">KD<" in drawn  # names at the ends of the lines, as text
    for words, why in ((["--to", "c.bmp"], "a figure is a"), (["--on", "tset"], "did you mean test"), (["--to", "no/c.svg"], "no folder")):
        with pytest.raises(RedistillError, match=why):
            ask(store, "plot", "CE", *words)


def test_a_file_to_begin_with_is_one_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from redistill.cli.begin import ABOUT
    from redistill.experiment.value import Experiment

    monkeypatch.chdir(tmp_path)
    assert [line.split()[0] for line in CliRunner().invoke(program(), ["init"]).stdout.splitlines()] == list(ABOUT)
    for kind in ABOUT:
        assert f"{kind}.toml is written" in CliRunner().invoke(program(), ["init", kind], catch_exceptions=False).stdout
        if kind != "paper":
            assert len(Experiment.load_all(f"{kind}.toml", device="cpu")) == (6 if kind == "compare" else 1)
    with pytest.raises(RedistillError, match="is there already"):
        CliRunner().invoke(program(), ["init", "train"], catch_exceptions=False)
    with pytest.raises(RedistillError, match="did you mean distill"):
        CliRunner().invoke(program(), ["init", "distil"], catch_exceptions=False)


def test_diff_names_switches_and_weights(store: Store, tmp_path: Path) -> None:
    a, b = (store.pick(name)[0] for name in ("CE", "KD"))
    found = json.loads(ask(store, "diff", str(a.folder), str(b.folder), "--json").stdout)
    assert {"part": "switches", "where": "method.0.use", "a": "CE", "b": "KD", "matters": True} in found
    assert any(d["part"] == "weights" and "numbers differ, by up to" in d["where"] for d in found)
    done = ask(store, "diff", str(a.folder), str(b.folder), "--assert-equal")
    assert done.exit_code == 1 and "the runs differ in switches, " in done.stderr
    # of records that were kept without weights the rest is told: there was a sentence about the file that is gone, and nothing else
    kept = Store(tmp_path / "kept")
    assert CliRunner().invoke(program(), ["runs", "--runs", str(store.root), "--keep", str(kept.root)]).exit_code == 0
    (one,), (two,) = ([run for run in Store(kept.root / "runs").finished() if run.id == known.id] for known in (a, b))
    found = json.loads(ask(store, "diff", str(one.folder), str(two.folder), "--json").stdout)
    assert {"part": "switches", "where": "method.0.use", "a": "CE", "b": "KD", "matters": True} in found
    [weights] = [d["where"] for d in found if d["part"] == "weights"]
    assert weights.startswith("the weights differ; by how much is not known without ")
    # trained again elsewhere: equal but for the clock
    again = Store(tmp_path / "again")
    shutil.copytree(store.root, again.root)
    shutil.rmtree(again.pick("KD")[0].folder)
    from redistill.experiment.value import Experiment

    remade = Experiment.of(b.record["experiment"], device="cpu").run(again)
    done = ask(store, "diff", str(b.folder), str(remade.folder), "--assert-equal")
    assert done.exit_code == 0 and "time" in done.stdout


def test_evaluate_a_run_and_its_file(store: Store) -> None:
    [first, *_] = store.pick("KD")
    row = json.loads(ask(store, "evaluate", first.id, "--json", "--device", "cpu").stdout)
    low, high = row["accuracy_interval"]
    assert row["accuracy"] == first.accuracy() and low < row["accuracy"] < high and row["images"] == 450
    assert row["agreement"] is None and row["normalise"] == "digits"
    with_teacher = json.loads(ask(store, "evaluate", first.id, "--json", "--teacher", str(store.pick("CE")[0].folder)).stdout)
    assert 0 <= with_teacher["agreement"] <= 100 and with_teacher["kl_from_teacher"] >= 0
    assert "accuracy" in ask(store, "evaluate", first.id).stdout
    with pytest.raises(RedistillError, match=r"there is no network file nothing\.safetensors"):
        ask(store, "evaluate", "nothing.safetensors", "--data", "digits")
    with pytest.raises(RedistillError, match="means 3 runs"):
        ask(store, "evaluate", "KD")


def test_a_published_teacher_has_its_published_accuracy_format(tmp_path: Path) -> None:
    from redistill import models

    net = models.wrn(10, 1, classes=10, channels=1, image_size=8, seed=0)
    models.save(net, tmp_path / "w.safetensors", normalisation="digits")
    words = ["evaluate", str(tmp_path / "w.safetensors"), "--data", "digits", "--json"]
    done = CliRunner().invoke(program(), words, catch_exceptions=False)
    row = json.loads(done.stdout)
    assert isinstance(row["accuracy"], float) and isinstance(row["accuracy_interval"], list) and row["data"] == "digits"


def test_train_is_an_experiment_without_a_file(tmp_path: Path) -> None:
    words = ["train", "wrn-10-1", "digits", "--epochs", "1", "--set", "source.per_class=5", "--out", str(tmp_path), "--device", "cpu"]
    done = CliRunner().invoke(program(), [*words, "--json"], catch_exceptions=False)
    [row] = json.loads(done.stdout)["runs"]
    written = Store(tmp_path).pick(row["id"])[0].record["experiment"]
    assert written["recipe"]["nesterov"] and written["source"]["per_class"] == 5 and "teacher" not in written
    with pytest.raises(RedistillError, match="unknown network 'wrn-10': did you mean wrn-10-"):
        CliRunner().invoke(program(), ["train", "wrn-10", *words[2:]], catch_exceptions=False)


@pytest.mark.parametrize(("what", "one"), [("terms", "KD"), ("models", "wrn-16-1"), ("data", "cifar10:train")])
def test_lists(what: str, one: str) -> None:
    done = CliRunner().invoke(program(), ["list", what, "--json"], catch_exceptions=False)
    rows = {row["name"]: row["about"] for row in json.loads(done.stdout)}
    assert one in rows
    if what == "models":
        assert "175,066 parameters" in rows["wrn-16-1"]


def test_unknown_lists_name_the_known() -> None:
    with pytest.raises(RedistillError, match="unknown list 'model': did you mean models"):
        CliRunner().invoke(program(), ["list", "model"], catch_exceptions=False)
    with pytest.raises(RedistillError, match="unknown list 'networks': here it is called models"):
        CliRunner().invoke(program(), ["list", "networks"], catch_exceptions=False)


def test_formulas_are_looked_at_where_other_code_made_the_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from redistill import rng
    from redistill.runs import lookup

    run = store.finished()[0]
    monkeypatch.setattr(rng, "NUMERICS", 99)
    assert lookup.Today(store).stale(run) is None, "the very code that made it is asked nothing"
    monkeypatch.setattr(lookup, "package_sha256", lambda: "another")
    assert "rng 2 -> 99" in str(lookup.Today(store).stale(run))


READS = {
    "list models": (), "list terms": (), "list data": (), "runs": (), "show": ("RUN",), "watch": ("RUN", "--once"), "compare": ("RUN",),
    "plot": ("RUN", "--to", "TO"), "papers": (), "init": (), "runs --as ro-crate": (), "cache": (),
    "diff": ("RUN", "OTHER"), "quotes --rules": (), "quotes": ("TABLE",),
}  # fmt: skip


def test_commands_that_only_read_never_wait_for_torch(store: Store, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("teacher,student,method,dataset,top1\nresnet32x4,resnet8x4,KD,CIFAR-100,73.33\n")
    first, other, *_ = store.finished()
    filled = {"RUN": first.id, "OTHER": other.id, "TO": str(tmp_path / "curves.svg"), "TABLE": str(tmp_path / "table.csv")}
    lines = [[*command.split(), *(filled.get(word, word) for word in rest)] for command, rest in READS.items()]
    lines = [line if line[0] in ("list", "papers", "init", "cache", "quotes") else [*line, "--runs", str(store.root)] for line in lines]
    text = f"""
import sys
from typer.testing import CliRunner
from redistill.cli import program
for line in {lines!r}:
    done = CliRunner().invoke(program(), line)
    assert done.exit_code == 0, (line, done.output, done.exception)
    assert "torch" not in sys.modules, line
    assert not done.stderr, (line, done.stderr)
"""
    (tmp_path / "home").touch()  # of which matplotlib would tell its log
    # with tables in it, cache reads their heads
    facts = {**os.environ, "HOME": str(tmp_path / "home"), "REDISTILL_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=facts)
    assert done.returncode == 0, done.stderr


def test_verify_is_the_proof(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden"
    done = CliRunner().invoke(program(), ["verify", str(golden), "--json"], catch_exceptions=False)
    assert done.exit_code == 0 and {row["outcome"] for row in json.loads(done.stdout)} <= {"pass", "not supported"}
    with pytest.raises(RedistillError, match="no folder"):
        CliRunner().invoke(program(), ["verify", str(tmp_path / "none")], catch_exceptions=False)


def test_a_run_is_evaluated_on_the_pictures_as_it_was_shown_them(tmp_path: Path) -> None:
    from helpers.photographs import SMALL, folder_of_photos
    from redistill.experiment.value import Experiment

    photos = folder_of_photos(tmp_path / "photos", 6, 12)  # of 16x16
    one = Experiment.of(
        {
            "student": {"model": SMALL}, "method": [{"use": "CE"}], "source": {"data": f"folder:{photos}", "size": 8},
            "recipe": {"epochs": 2, "batch_size": 6},
        },
        device="cpu",
    )  # fmt: skip
    place = Store(tmp_path / "runs")
    run = one.run(place)
    asked = ["evaluate", str(run.folder), "--json", "--trust-code"]
    found = json.loads(ask(place, *asked).stdout)
    shown = found["accuracy"]
    assert shown == pytest.approx(run.accuracy()) and found["nll"] > 0
    as_they_lie = json.loads(ask(place, "evaluate", str(run.folder), "--data", f"folder:{photos}:val", "--json", "--trust-code").stdout)
    assert as_they_lie["nll"] == found["nll"]  # other folders too are opened as it learned to see
    shutil.copy(photos / "val" / "red" / "0.png", photos / "val" / "blue" / "more.png")
    with pytest.raises(RedistillError, match=r"has changed since \S+ was evaluated on it: --data folder:\S+ takes it as it is now"):
        ask(place, *asked)


def test_cells_with_other_evaluation_images_are_told(store: Store, tmp_path: Path) -> None:
    assert ask(store, "compare", "CE", "KD").stderr == ""
    place = Store(tmp_path / "runs")
    shutil.copytree(store.root, place.root)
    for run in place.pick("KD"):
        record = {**run.record, "data": {**run.record["data"], "test": {**run.record["data"]["test"], "sha256": "0" * 64}}}
        (run.folder / "record.json").write_text(json.dumps(sealed({k: v for k, v in record.items() if k != "sha256"})))
    told = ask(place, "compare", "CE", "KD").stderr
    assert told.startswith("redistill: KD and CE were not evaluated on the same images of 'test' (digits:test, 450 images, sha256 00000000")
    assert "their difference is not one of methods alone" in told
    # figures and reports of them said nothing
    assert told.splitlines()[0] in ask(place, "plot", "CE", "KD", "--to", str(tmp_path / "c.svg")).stderr
    assert told.splitlines()[0] in ask(place, "report", "CE", "KD", "--to", str(tmp_path / "report")).stderr
    assert "KD and CE were not evaluated on the same images" in (tmp_path / "report" / "index.html").read_text()


def test_a_stale_cell_is_told_where_it_is_compared(store: Store, tmp_path: Path) -> None:
    place = Store(tmp_path / "runs")
    shutil.copytree(store.root, place.root)
    [teacher] = [run for run in place.finished() if run.label not in ("CE", "KD")]
    weights = bytearray((teacher.folder / "weights.safetensors").read_bytes())
    weights[-1] ^= 1
    (teacher.folder / "weights.safetensors").write_bytes(bytes(weights))
    told = ask(place, "compare", "CE", "KD").stderr
    assert "redistill: KD, seed 0 is stale: its teacher " in told and "has other weights by now" in told

"""A distillation from a folder of photographs to a folder with a smaller network, whole."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import redistill as rd
from helpers.photographs import BIG, HERE, NAMES, SMALL, photo
from redistill.cli import program
from redistill.distill import Distilled, Plan, cost
from redistill.distill.results import gain, require_place
from redistill.errors import RedistillError
from redistill.runs.store import Store
from redistill.stats import paired_accuracy


def test_teacher_plain_and_distilled_stand_side_by_side(whole: tuple[Distilled, Path]) -> None:
    found, place = whole
    assert [row.kind for row in found.rows] == ["teacher", "plain", "distilled", "distilled"]
    assert [row.name for row in found.rows] == ["Big", "Small plain", "Small KD", "Small KD+AT"]
    assert found.rows[0].mean("accuracy") > 70  # it was trained here
    assert len(Store(place / "runs").finished()) == 7  # a teacher, and three students of two seeds
    teacher, plain, small = found.rows[0].cost, found.rows[1].cost, found.rows[2].cost
    assert plain == small or (plain.parameters, plain.macs) == (small.parameters, small.macs)
    net = found.rows[2].runs[0].network()
    assert small.parameters == sum(p.numel() for p in net.parameters()) < teacher.parameters
    assert small.macs == rd.models.describe(net, (3, 16, 16)).macs and set(small.milliseconds) == {1, 32}
    # weights once, and one tensor of 32 images at least
    assert small.memory > 4 * small.parameters + 32 * 3 * 16 * 16 * 4


def test_the_gain_is_paired_by_image_and_by_seed(whole: tuple[Distilled, Path]) -> None:
    found, _ = whole
    assert found.labels is not None
    row, plain = found.rows[2], found.row("plain")
    assert row.gain is not None and plain is not None
    by_hand = [row.evaluations[s].accuracy - plain.evaluations[s].accuracy for s in (0, 1)]
    assert row.gain.value == pytest.approx(sum(by_hand) / 2)
    right = [(r.outputs[0].argmax(1) == found.labels).tolist() for r in (row, plain)]
    assert row.gain.only_distilled == sum(a and not b for a, b in zip(*right, strict=True))
    _, low, high = paired_accuracy(row.gain.only_distilled, row.gain.only_plain, len(found.labels))
    assert row.gain.over_images == (100 * low, 100 * high) and row.gain.over_seeds is not None
    assert row.evaluations[0].accuracy == row.runs[0].accuracy("test")  # the record says the same


def test_the_interval_of_a_paired_difference_covers() -> None:
    """Of 400 pairs of networks whose true difference is 5 points, about 95 % of the intervals hold it."""
    draw = torch.Generator().manual_seed(0)
    held = 0
    for _ in range(400):
        kinds = torch.multinomial(torch.tensor([0.15, 0.10, 0.75]), 120, replacement=True, generator=draw)
        _, low, high = paired_accuracy(int((kinds == 0).sum()), int((kinds == 1).sum()), 120)
        held += low <= 0.05 <= high
    assert 0.92 <= held / 400 <= 0.985
    with pytest.raises(RedistillError, match="no seed has both"):
        gain({0: torch.zeros(1, 2)}, {1: torch.zeros(1, 2)}, torch.zeros(1, dtype=torch.int64))


def test_the_table_says_what_was_measured_and_what_it_shows(whole: tuple[Distilled, Path]) -> None:
    found, place = whole
    text = found.table()
    for word in ("accuracy %", "95 % interval", "NLL", "calibration error", "parameters", "MACs", "1 image, ms", "memory", "over seeds"):
        assert word in text
    assert f"{found.rows[2].mean('accuracy'):.2f}" in text and "interleaved" in text
    # what is not over the seeds of a table of several says so
    assert "| 95 % images, 1st seed |" in text and f"the interval of {found.rows[0].name}, one network, is over images" in text
    table = json.loads((place / "out" / "table.json").read_text())
    assert table["rows"][1]["seeds"]["1"]["accuracy"] == found.rows[1].evaluations[1].accuracy
    for name in ("size.svg", "confusion.svg", "plan.txt"):
        assert (place / "out" / name).stat().st_size > 200
    assert ">red<" in (place / "out" / "confusion.svg").read_text()


def test_the_students_folder_works_on_another_machine(whole: tuple[Distilled, Path], photos: Path, tmp_path: Path) -> None:
    found, place = whole
    there = tmp_path / "elsewhere"
    shutil.copytree(place / "out" / "student-KD", there)
    assert {p.name for p in there.iterdir()} == {
        "model.safetensors", "config.json", "redistill.json", "record.json", "README.md", "use.py", "engineers.py",
    }  # fmt: skip
    picture = photos / "val" / "red" / "0.png"
    script = "import sys; sys.modules['redistill'] = None; sys.argv = ['use.py', sys.argv[1]]; import runpy; runpy.run_path('use.py')"
    done = subprocess.run([sys.executable, "-c", script, str(picture)], cwd=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # without redistill
    for wrong in ("no.png", "engineers.py"):
        told = subprocess.run([sys.executable, "-c", script, str(there / wrong)], cwd=there, capture_output=True, text=True, check=False)
        assert told.returncode == 1 and wrong in told.stderr and "cannot be read as a picture" in told.stderr
        assert "Traceback" not in told.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert sorted(name for _, name in rows) == sorted(NAMES)
    with pytest.raises(RedistillError, match="only if you say so"):
        rd.models.load(there)
    net: Any = rd.models.load(there, trust_code=True)
    assert net.class_names == NAMES and net.normalisation == "imagenet"
    test = rd.data.folder(photos, "val")
    position = next(i for i in range(len(test)) if test.y[i] == NAMES.index("red"))
    mine = rd.predict(net, test)
    assert torch.equal(mine, found.rows[2].outputs[0])
    assert float(rows[0][0]) == pytest.approx(float(mine[position].softmax(0).max()), abs=2e-4)
    card = (there / "README.md").read_text()
    assert f"value: {found.rows[2].evaluations[0].accuracy / 100:.4f}" in card
    assert "model-index:" in card and "from engineers import Small" in card


def test_the_five_lines_of_the_card_build_the_network(whole: tuple[Distilled, Path], tmp_path: Path) -> None:
    found, place = whole
    folder = place / "out" / "student-KD"
    lines = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert len(lines.splitlines()) == 5
    script = f"{lines}\nimport torch\nprint(net(torch.zeros(1, 3, 16, 16)).logits.tolist())"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        wanted = found.rows[2].runs[0].network()(torch.zeros(1, 3, 16, 16)).logits
    assert torch.allclose(torch.tensor(json.loads(done.stdout)), wanted)


def test_the_folder_is_a_teacher_again(whole: tuple[Distilled, Path], planned: Callable[..., Plan]) -> None:
    _, place = whole
    made = planned(teacher=str(place / "out" / "student-KD"), student=SMALL)
    assert "wants images normalised as imagenet" in str(made) and not made.teaching


def test_nothing_of_one_s_own_is_written_over(whole: tuple[Distilled, Path], planned: Callable[..., Plan], tmp_path: Path) -> None:
    """Neither a table of another kind nor a README, and not the network that teaches: told before anything is trained."""
    for number, name in enumerate(("table.md", "size.svg", "student/README.md")):
        mine = tmp_path / str(number) / name
        mine.parent.mkdir(parents=True)
        mine.write_text("mine", encoding="utf-8")
        with pytest.raises(RedistillError, match=f"{name} is there, and was not written here"):
            require_place(tmp_path / str(number), planned())
    found, place = whole
    shutil.copytree(place / "out" / "student-KD-AT", tmp_path / "out" / "student")
    made = planned(teacher=str(tmp_path / "out" / "student"))
    with pytest.raises(RedistillError, match="the weights of the teacher, lies where the new student goes"):
        require_place(tmp_path / "out", made)
    require_place(tmp_path / "elsewhere", made)
    require_place(place / "out", found.plan)  # the same call again
    (tmp_path / "plain.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RedistillError, match=r"--out .*plain.txt is a file, and the results are a folder: give another name"):
        require_place(tmp_path / "plain.txt", made)


def test_the_same_call_only_reads(whole: tuple[Distilled, Path], photos: Path) -> None:
    found, place = whole
    again = found.plan.carry_out()
    assert [row.evaluations for row in again.rows] == [row.evaluations for row in found.rows]
    assert len(list(place.glob("runs/*/seed-*"))) == 7
    assert all(torch.equal(a.outputs[0], b.outputs[0]) for a, b in zip(again.rows, found.rows, strict=True))


def test_what_the_machine_decided_is_kept(planned: Any, monkeypatch: Any) -> None:
    first = planned(time_budget=30.0)
    assert first.length is not None
    first.length.keep(first.store)
    monkeypatch.setattr(cost, "step_seconds", lambda *args: 1e-3)
    again = planned(time_budget=30.0)
    assert [one.id for one in again.experiments] == [one.id for one in first.experiments] and "as in the first call" in str(again)


def test_without_labels_the_teacher_alone_teaches(whole: tuple[Distilled, Path], photos: Path, planned: Any, tmp_path: Path) -> None:
    _, place = whole
    loose = tmp_path / "loose"
    loose.mkdir()
    for i, file in enumerate(sorted((photos / "train").rglob("*.png"))):
        shutil.copy(file, loose / f"{i}.png")
    made = planned(data=loose, teacher=str(place / "out" / "student-KD"), epochs=1)
    assert not made.plain and "without labels a student cannot learn alone" in str(made)
    found = made.carry_out()
    assert [row.kind for row in found.rows] == ["teacher", "distilled"] and found.labels is None
    assert "accuracy" not in found.table() and found.rows[1].agreement is not None
    for name in ("plan.txt", "size.svg", "confusion.svg"):  # an earlier call's, with labels
        shutil.copy(place / "out" / name, tmp_path / name)
    assert not [one for one in found.write(tmp_path) if one.suffix == ".svg"] and not list(tmp_path.glob("*.svg"))


def test_the_family_proposes_sizes_and_one_word_takes_one(planned: Any) -> None:
    shown = str(planned(student=None))
    assert "choose one with --student WORD" in shown and "quarter" in shown and "ms an image" in shown
    rows = [line for line in shown.splitlines() if " M MACs" in line and "ms an image" in line]
    assert len(rows) > 1 and len({row.index(" M MACs") for row in rows}) == 1  # columns below each other, however long a name is
    made = planned(student="half")
    width = made.student.args["width"]
    assert 8 <= width < 16 and f"Big(width={width})" in str(made)
    ours = rd.distill.family(rd.distill.named("wrn-16-2"), {"classes": 10, "channels": 3, "image_size": 32})
    assert {c.word: c.network.name for c in ours if c.word} == {"half": "wrn-10-2", "quarter": "wrn-16-1"}
    assert all(c.share < 1 for c in ours)


def test_a_lazy_layer_and_a_term_of_ones_own_end_in_folders_that_load(photos: Path, planned: Any, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import redistill as rd\n\nclass Own(rd.Term):\n"
        "    def forward(self, student, teacher, batch):\n        return (student.logits - teacher.logits).square().mean()\n"
    )
    made = planned(student=f"{HERE / 'engineers.py'}:Waiting", method=f"KD,{tmp_path}/own.py:Own", epochs=1, train_teacher=8)
    *_, kd, own = made.carry_out().write(tmp_path / "out")
    assert [kd.parent, own.parent] == [tmp_path / "out"] * 2 and own.name.endswith("own-py-Own")
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert rd.models.load(own, trust_code=True)(images).shape == (2, 3)
    # its first weights are those of the seed, whatever was drawn before
    first, again = (rd.models.build(f"{HERE / 'engineers.py'}:Waiting", 3, image_size=16, seed=seed) for seed in (4, 4))
    assert torch.equal(first.state_dict()["head.weight"], again.state_dict()["head.weight"])


def test_a_run_is_evaluated_on_pictures_as_it_saw_them(planned: Any, tmp_path: Path) -> None:
    """Pictures of many sizes become squares of the run's size, wherever its network is named: by run, folder or file."""
    for part, count in (("train", 16), ("val", 8)):
        for number, name in enumerate(NAMES):
            for i in range(count):
                photo(tmp_path / "sizes" / part / name / f"{i}.png", 2 - number, 100 * number + i + 50 * (part == "val"), side=40 + i)
    made = planned(data=tmp_path / "sizes", size=12, train_teacher=8, epochs=1)
    found = made.carry_out()
    found.write(tmp_path / "out")
    teacher, student = found.rows[0], found.row("distilled")
    assert student is not None

    def accuracy(what: str, *words: str) -> float:
        asked = ["evaluate", what, "--out", str(tmp_path / "runs"), "--trust-code", "--json", "--device", "cpu", *words]
        return float(json.loads(CliRunner().invoke(program(), asked, catch_exceptions=False).stdout)["accuracy"])

    data = ("--data", f"folder:{tmp_path / 'sizes'}:val")
    lesson = teacher.runs[0]
    assert accuracy(lesson.id) == accuracy(lesson.id, *data) == teacher.evaluations[0].accuracy > 80
    assert accuracy(str(lesson.weights()), "--model", BIG, *data) == teacher.evaluations[0].accuracy
    assert accuracy(str(tmp_path / "out" / "student"), *data) == student.evaluations[0].accuracy
    exported = ["export", str(tmp_path / "out" / "student"), "--runs", str(tmp_path / "runs"), "--trust-code", "--to", "every-eval-ever"]
    CliRunner().invoke(program(), [*exported, "--out", str(tmp_path / "eval.json")], catch_exceptions=False)
    assert f"local/{student.runs[0].id}" in (tmp_path / "eval.json").read_text()

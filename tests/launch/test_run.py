"""Running, recording, and what happens when several processes want the same run."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import nets
from redistill import data, machine, models
from redistill.core import Batch, Method, Output, Term
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.files import Lock, digest, write
from redistill.launch import cohort as at_work
from redistill.launch.cohort import CohortRun
from redistill.launch.fit import fit_cohort
from redistill.launch.materials import BuiltObjects
from redistill.launch.queue import Queue, plan
from redistill.metrics import accuracy
from redistill.package_code import package_sha256
from redistill.recipe import Recipe
from redistill.runs import checkpoint
from redistill.runs.compare import differences
from redistill.runs.record import curves_of, record_of
from redistill.runs.store import Damaged, Run, Store, Unfinished, stale


@pytest.fixture
def place(teacher_file: Path, tmp_path: Path) -> Store:
    shutil.copytree(teacher_file, tmp_path / "runs")
    return Store(tmp_path / "runs")


def drain(queue: Queue) -> list[str]:
    labels = []
    for work in queue:
        labels.append(work.label)
        for _ in work:
            pass
    return labels


def test_a_record_says_what_was_done(place: Store, make: Any) -> None:
    one = make(source={"data": "digits", "per_class": 10, "held_out": 50})
    made = one.run(place)
    record = json.loads((place.folder(one) / "record.json").read_bytes())
    assert record["id"] == one.id and record["cell"] == one.cell and record["seed"] == 0
    assert Experiment.of(record["experiment"], device="cpu") == one
    assert sorted(record["accuracy"]) == ["held_out", "test"]
    assert record["accuracy"]["test"]["best_is"] == "the highest of 3 evaluations, chosen on this set itself"
    train = record["data"]["train"]
    assert train["count"] == 100 and [rule for rule, _ in train["rule"]] == ["held_out", "per_class"]
    indices = json.loads((place.root / train["indices"]).read_bytes())
    assert len(indices["index"]) == 100 and indices["sha256"] == train["sha256"]
    held = json.loads((place.root / record["data"]["held_out"]["indices"]).read_bytes())
    assert not set(held["index"]) & set(indices["index"])
    [teacher] = [place.find(n) for n in one.needs()]
    assert teacher is not None and record["teacher"]["run"] == teacher.id
    assert record["teacher"]["sha256"] == teacher.record["files"]["weights.safetensors"]
    assert record["teacher"]["accuracy"]["test"] == teacher.accuracy("test")
    assert record["time"]["device"] is None and record["time"]["wall"] >= record["time"]["own"] > 0
    assert record["sessions"][0]["from"] == 0 and record["sessions"][0]["to"] == record["steps"] == 12
    assert record["sessions"][0]["memory"]["process"] > 10_000_000 and record["exact"] == "yes"
    curves = made.curves()
    assert [step for step, _ in curves["accuracy"]["test"]] == [4, 8, 12] and len(curves["losses"]["KD"]) == 3
    assert sorted(p.name for p in place.folder(one).iterdir()) == ["code", "curves.json", "lock", "record.json", "weights.safetensors"]


def test_the_weights_give_the_network_back(place: Store, make: Any) -> None:
    from redistill import data, models

    own = make().run(place)
    test = data.load("digits:test")
    network = own.network()
    assert not network.training and accuracy(network, test) == own.accuracy("test")
    ours = make(student={"model": "wrn-10-1"}, recipe={"epochs": 1}).run(place)
    loaded = models.load(ours.weights())  # what the store writes, everybody can load
    assert accuracy(loaded, test) == accuracy(ours.network(), test) == ours.accuracy("test")
    assert loaded.normalisation == "digits" and loaded.arch.name == "wrn-10-1"


def test_a_record_names_the_code_that_began(place: Store, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    [work] = Queue(plan([make()]), place)
    next(work)
    monkeypatch.setattr(machine, "versions", lambda: {"package": "what the checkout became meanwhile"})
    monkeypatch.setattr(machine, "git", lambda: {"commit": "another"})
    for _ in work:
        pass
    assert work.runs[0].record["versions"]["package"] == package_sha256()
    assert (work.runs[0].record["git"] or {}).get("commit") != "another"


def test_the_same_again_only_reads(place: Store, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make()
    first = one.run(place)
    monkeypatch.setattr(at_work, "Loop", None)  # anything that trains would fail now
    again = one.run(place)
    assert again == first


def test_a_chain_runs_in_order_and_each_once(tmp_path: Path, make: Any) -> None:
    assistant = make(recipe={"epochs": 1})
    student = make(teacher={"run": assistant})
    pretrained = make(teacher=None, method=[{"use": "CE"}], student={"run": assistant, "seed": 0})
    groups = plan([student.with_seed(1), pretrained.with_seed(1), student.with_seed(1)])
    assert [[(e.label, e.seed) for e in g] for g in groups][-1:] == [[(pretrained.label, 1)]]
    order = [e.id for g in groups for e in g]
    assert len(order) == len(set(order)) == 6  # two teachers, two assistants, two that were asked for
    for group in groups:
        for one in group:
            assert all(order.index(n.id) < order.index(one.id) for n in one.needs())
    place = Store(tmp_path)
    queue = Queue(groups, place)
    drain(queue)
    start = place.find(pretrained.with_seed(1))
    assert start is not None and start.record["start"]["run"] == assistant.id
    assert start.record["teacher" if "teacher" in start.record else "start"]["sha256"] == digest(
        place.find(assistant).weights().read_bytes()  # type: ignore[union-attr]
    )


def test_what_shares_a_stream_shares_a_cohort(place: Store, make: Any) -> None:
    a, b = make(), make(method=[{"use": "CE"}, {"use": "./nets.py:Gap", "scale": 0.5}])
    other = make(recipe={"lr": 0.01})
    [[teacher], [x, y], [z]] = plan([a, b, other])
    assert (x, y, z) == (a, b, other) and teacher.label == "./nets.py:Small, CE, digits:train"
    drain(Queue(plan([a, b]), place))
    together = [place.find(a), place.find(b)]
    alone = Store(place.root.parent / "alone")
    shutil.copytree(place.folder(teacher), alone.folder(teacher))
    drain(Queue(plan([a, b], cohort=False), alone))
    for one, cohort_run in zip((a, b), together, strict=True):
        lone_run = alone.find(one)
        assert cohort_run is not None and lone_run is not None
        assert cohort_run.record["cohort"] == [a.id, b.id] and lone_run.record["cohort"] == [one.id]
        assert [d for d in differences(cohort_run, lone_run) if d.matters] == []


def test_divergence_is_a_fact_and_stops_what_needs_it(place: Store, make: Any) -> None:
    bad = make(recipe={"lr": 1e30})
    after = make(teacher={"run": bad})
    queue = Queue(plan([after]), place)
    drain(queue)
    found = place.find(bad)
    assert found is not None and "became" in str(found.diverged) and "at step" in str(found.diverged)
    assert place.find(after) is None and "which failed" in queue.blocked[after.id]
    with pytest.raises(RedistillError, match="which failed"):
        after.run(place)


def test_a_gradient_that_is_no_number_where_every_loss_was_loses_no_run(place: Store, make: Any) -> None:
    class Steep(Term):
        """Zero, with a gradient of 0/0."""

        def forward(self, student: Output, teacher: Output, batch: Batch) -> Tensor:
            return (student.logits - student.logits.detach()).square().sum().sqrt()

    one, recipe = make(recipe={"clip": 1.0}), Recipe(epochs=2, batch_size=64, lr=0.05, clip=1.0)
    teacher, few = models.build("mlp", 10, inputs=64, channels=1, image_size=8, seed=0), data.load("digits:train").per_class(5, seed=0)
    pair = copy.deepcopy(teacher), Method.of(Steep())
    [result] = fit_cohort([pair], teacher, few, recipe, seed=0, device="cpu", out=place.root / "fit")
    assert "is not finite after step 1 of 2" in str(result.diverged) and not math.isfinite(result.gradient_norms[0])
    assert json.loads((place.root / "fit" / "curves.json").read_text())["gradient_norms"] == [None]
    spoilt = dataclasses.replace(result, source_log=((1, {"generator_loss": math.nan}), (2, {"generator_loss": 0.5})))
    made = place.finish(place.folder(one), record_of(one, spoilt, 2), curves_of(spoilt), b"")
    assert made.curves()["gradient_norms"] == [None] and made.curves()["source"] == [[2, {"generator_loss": 0.5}]]


def test_runs_in_hand_of_another_process_are_left_to_it(place: Store, make: Any) -> None:
    a, b = make(), make(recipe={"lr": 0.01})
    folder = place.folder(a)
    folder.mkdir(parents=True)
    other = Lock(folder / "lock")
    assert other.take()
    queue = Queue(plan([a, b]), place, wait=False)
    assert drain(queue) == [CohortRun((b,), place).label]  # goes elsewhere
    assert queue.blocked == {a.id: f"{folder} is held by another process"}
    other.release()
    assert drain(Queue(plan([a, b]), place, wait=False)) == [CohortRun((a,), place).label]


def test_a_cohort_whose_folder_cannot_be_made_holds_none_of_its_locks(place: Store, make: Any) -> None:
    a, b = make(), make(recipe={"lr": 0.01})
    place.folder(b).parent.mkdir(parents=True)
    place.folder(b).touch()
    with pytest.raises(RedistillError, match="cannot make the folder"):
        CohortRun((a, b), place).take()
    again = Lock(place.folder(a) / "lock")
    assert again.take(), "the same process may go on with the other run"
    again.release()


def test_who_waits_for_a_cohort_reads_none_of_its_checkpoints(place: Store, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    *before, ones = plan([make(), make(method=[{"use": "CE"}])])
    drain(Queue(before, place))
    work = CohortRun(ones, place)
    assert len(ones) == 2 and work.take()
    read: list[Path] = []
    monkeypatch.setattr("redistill.launch.queue.saved_step", lambda folder, one: read.append(folder))
    queue = Queue([ones], place, wait=False)
    assert drain(queue) == [] and queue.blocked.keys() == {one.id for one in ones} and read == []
    work.release()


def test_a_second_process_waits_and_then_reads(
    place: Store, make: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make()
    work = CohortRun((one,), place)
    assert work.take()

    def meanwhile(seconds: float) -> None:
        if seconds < 0.5:  # a lock that is tried again
            return
        for _ in work:
            pass
        work.release()

    monkeypatch.setattr(time, "sleep", meanwhile)
    queue = Queue(plan([one]), place)
    assert drain(queue) == [] and [r.id for r in queue.found][-1] == one.id
    assert capsys.readouterr().err == f"waiting for another process, which holds {place.folder(one)}\n"


# -- what is damaged --------------------------------------------------------------------------------------------------
def test_records_that_cannot_be_used_say_why(place: Store, make: Any) -> None:
    one = make()
    made = one.run(place)
    path = made.folder / "record.json"
    whole = path.read_bytes()

    path.write_bytes(whole[:200])
    with pytest.raises(RedistillError, match=r"record.json is damaged.*weights.safetensors and curves.json are still there"):
        place.find(one)
    assert [type(r) for r in place.runs() if r.folder == made.folder] == [Damaged]

    record = json.loads(whole)
    record["accuracy"]["test"]["last"] = 99.9
    write(path, json.dumps(record).encode())
    with pytest.raises(RedistillError, match="was altered: its content does not match its SHA-256"):
        one.run(place)

    write(path, json.dumps({**record, "format": 99}).encode())
    with pytest.raises(RedistillError, match=r"written by a newer redistill \(record format 99"):
        place.find(one)

    path.unlink()
    assert place.find(one) is None


def test_weights_that_were_altered_are_refused(place: Store, make: Any) -> None:
    made = make().run(place)
    path = made.folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(RedistillError, match=r"does not match the SHA-256 in record\.json; the record's numbers are still good"):
        made.network()


def test_a_teacher_trained_again_makes_its_students_stale(place: Store, make: Any) -> None:
    one = make()
    made = one.run(place)
    assert stale(made, place) is None
    [teacher] = one.needs()
    path = place.folder(teacher) / "weights.safetensors"
    path.write_bytes(path.read_bytes() + b" ")
    assert "has other weights by now" in str(stale(made, place))


def test_a_begun_run_is_seen_as_begun(place: Store, make: Any) -> None:
    one = make()
    work = CohortRun((one,), place)
    assert work.take()
    next(work)
    [begun] = [r for r in place.runs() if isinstance(r, Unfinished)]
    assert begun.label == one.label and Experiment.load(begun.folder, device="cpu") == one
    work.release()


# -- finding runs -----------------------------------------------------------------------------------------------------
def test_runs_are_picked_by_folder_id_cell_and_name(place: Store, make: Any) -> None:
    one = make(name="mine")
    made, second = one.run(place), one.with_seed(1).run(place)
    for text in (str(made.folder), made.id[:6], f"{one.cell}/seed-0", str(made.folder / "record.json")):
        assert place.pick(text) == [made]
    assert place.pick("mine") == place.pick(one.cell[:5]) == [made, second]
    unnamed = make(recipe={"batch_size": 31}).run(place)
    assert unnamed.label and place.pick(unnamed.label) == [unnamed]
    with pytest.raises(RedistillError, match="unknown run 'mime': did you mean mine"):
        place.pick("mime")


# -- disks that fail --------------------------------------------------------------------------------------------------
def test_a_full_disk_names_the_file_and_keeps_the_last_checkpoint(
    place: Store, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    one = make()
    work = CohortRun((one,), place, every=0)
    assert work.take()
    next(work), next(work)
    folder = place.folder(one)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RedistillError, match=r"cannot write .*checkpoint.safetensors: the disk is full; the file that was there"):
        next(work)
    monkeypatch.undo()
    work.release()
    assert not list(folder.glob(".*.partial"))
    state, _ = checkpoint.load(folder / checkpoint.NAME)
    assert state["step"] == 2
    again = CohortRun((one,), place)
    assert again.take()
    assert next(again).step == 3
    again.release()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, make: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RedistillError, match=r"cannot make the folder .*file.*: a part of the path is a file"):
        make(teacher=None, method=[{"use": "CE"}]).run(tmp_path / "file")


def test_runs_are_values(place: Store, make: Any) -> None:
    made = make().run(place)
    assert isinstance(made, Run) and made == place.find(make())
    assert torch.equal(made.network().state_dict()["conv.weight"], made.network().state_dict()["conv.weight"])


HELPERS = Path(nets.__file__).parent


def test_a_student_of_ones_own_loads_where_its_source_file_is_gone(make: Any, teacher_file: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    shutil.copytree(teacher_file, here / "runs")
    shutil.copy(HELPERS / "nets.py", here / "mine.py")
    (here / "mine.py").write_text((HELPERS / "nets.py").read_text().replace("import torch\n", "import torch\nimport widths\n"))
    (here / "widths.py").write_text("WIDTH = 8\n")
    one = make(student={"model": str(here / "mine.py:Small")})
    made = one.run(here / "runs")
    assert {"code/mine.py", "code/widths.py"} <= made.record["files"].keys()
    images = torch.zeros(2, 1, 8, 8)
    before = made.network()(images)
    shutil.move(here / "runs", tmp_path / "there")
    (here / "mine.py").write_text("raise SystemError")
    (here / "widths.py").unlink()
    again = Run(tmp_path / "there" / made.cell / "seed-0", made.record)
    assert torch.equal(again.network(trust_code=True)(images), before)
    (again.folder / "code" / "mine.py").write_text("class Small: ...")
    with pytest.raises(RedistillError, match="has changed since"):
        again.network(trust_code=True)


def test_a_teacher_is_evaluated_where_the_run_was(tmp_path: Path) -> None:
    """After a run on a GPU a processor would take longer for that than the run took."""
    moved: list[torch.device] = []

    class Teacher(torch.nn.Module):
        def to(self, device: torch.device) -> Teacher:  # type: ignore[override]
            moved.append(device)
            return self

    made = object.__new__(BuiltObjects)
    made.teacher, made.teacher_fact, made.evaluate, made.seen = Teacher(), {"model": "mine"}, {}, {}
    made.source = SimpleNamespace(normalisation="none", settings=dict)  # type: ignore[assignment]
    for device in ("cpu", "cuda"):
        assert made.facts(Store(tmp_path), device=torch.device(device))["teacher"] == {"model": "mine", "accuracy": {}}
    assert moved == [torch.device("cuda")]

"""What somebody spoilt is named, hides nothing beside it, and nothing that was saved is thrown away."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.experiments import HERE, Make
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.files import Spoilt, json_of, pretty
from redistill.launch.cohort import CohortRun
from redistill.launch.queue import Queue, plan
from redistill.launch.stop import Interrupted, Stop
from redistill.runs import checkpoint
from redistill.runs.lookup import Found
from redistill.runs.record import Record
from redistill.runs.store import Damaged, Run, Store, stale
from redistill.sealed import sealed

ROOT = Path(__file__).resolve().parents[2]
RECORDS = sorted((ROOT / "results" / "runs").glob("*/*/record.json"))


# -- the typed record -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.parent.name)
def test_a_stored_record_read_and_written_again_is_the_same_bytes(path: Path) -> None:
    content = path.read_bytes()
    record = Record.of(json.loads(content))
    assert pretty(record.written()) == content
    assert record.cell == path.parent.parent.name and record.sessions[0]["hardware"]["threads"] >= 1
    assert record.accuracy or record.diverged  # which may be before its first evaluation


def test_a_new_record_is_the_typed_one(teacher_file: Path) -> None:
    (run,) = Store(teacher_file).finished()
    assert pretty(run.entry.written()) == (run.folder / "record.json").read_bytes()
    assert run.entry.accuracy["test"].last == run.accuracy("test") and run.entry.weights_sha256 == run.record["weights_sha256"]


# -- JSON -------------------------------------------------------------------------------------------------------------
SPOILT = {
    "cut": b'{"a": 1', "empty": b"", "latin": b'{"a": "\xe9"}', "nan": b'{"a": NaN}', "infinite": b"[Infinity]",
    "nested": b"[" * 100_000, "surrogate": b'{"a": "\\ud800"}', "long": b'{"a": ' + b"1" * 5000 + b"}",
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILT)
def test_spoilt_json_is_one_sentence_with_its_file(tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.json").write_bytes(SPOILT[kind])
    with pytest.raises(Spoilt, match=r"x\.json is damaged: ") as error:
        json_of(tmp_path / "x.json")
    assert len(str(error.value)) < 600


def test_what_cannot_be_read_is_not_called_damaged(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for name, says in (("pipe.json", "no regular file"), ("missing.json", "there is no such file"), (".", "it is a folder")):
        with pytest.raises(RedistillError, match=f"cannot read .*{says}") as error:
            json_of(tmp_path / name)
        assert not isinstance(error.value, Spoilt)
    (tmp_path / "large.json").write_bytes(b"[" + b" " * 100 + b"]")
    with pytest.raises(Spoilt, match="more than the 50"):
        json_of(tmp_path / "large.json", 50)
    (tmp_path / "pair.json").write_bytes(b'["\\ud83d\\ude00"]')
    assert json_of(tmp_path / "pair.json") == ["😀"]


# -- a store with odd ones --------------------------------------------------------------------------------------------
def _resealed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        record = json.loads(path.read_bytes())
        record.pop("sha256")
        change(record)
        path.write_bytes(pretty(sealed(record)))

    return spoil


ODD: dict[str, Callable[[Path], None]] = {
    **{kind: (lambda path, content=content: path.write_bytes(content)) for kind, content in SPOILT.items()},  # type: ignore[misc]
    "pipe": lambda path: (path.unlink(), os.mkfifo(path))[1],  # type: ignore[func-returns-value]
    "folder": lambda path: (path.unlink(), path.mkdir())[1],  # type: ignore[func-returns-value]
    "list": lambda path: path.write_bytes(b"[1, 2]") and None,
    "format": _resealed(lambda r: r.update(format="2")),
    "no time": _resealed(lambda r: r.pop("time")),
    "no accuracy": _resealed(lambda r: r.pop("accuracy")),
    "text": _resealed(lambda r: r["accuracy"]["test"].update(last="94")),
    "no machine": _resealed(lambda r: r["sessions"][0].pop("hardware")),
    "no method": _resealed(lambda r: r["experiment"].pop("method")),
    "bare term": _resealed(lambda r: r["experiment"].update(method=["KD"])),
}


@pytest.fixture
def two(teacher_file: Path, tmp_path: Path) -> Store:
    """A store with a good run and a copy of it as seed 1, to be spoilt."""
    (run,) = Store(teacher_file).finished()
    root = tmp_path / "runs"
    shutil.copytree(run.folder, root / run.cell / "seed-0")
    shutil.copytree(run.folder, root / run.cell / "seed-1")
    return Store(root)


@pytest.mark.parametrize("kind", ODD)
def test_one_odd_record_hides_no_other(two: Store, kind: str) -> None:
    good, odd = two.finished()
    ODD[kind](odd.folder / "record.json")
    found = list(two.runs())
    assert isinstance(found[0], Run) and isinstance(found[1], Damaged)
    assert str(odd.folder) in found[1].why
    assert [run.folder for run in two.pick(good.cell)] == [good.folder] == [run.folder for run in two.pick(str(good.folder.parent))]
    assert [one.folder for one in two.left_out(two.pick(good.cell))] == [odd.folder], "a mean over the others must say so"
    with pytest.raises(RedistillError, match="cannot be read"):
        two.pick("something else")


@pytest.mark.parametrize(
    "content",
    [
        b"[1]",
        b'{"label": 3}',
        b"[" * 100_000,
        b"\xff",
        b'{"label": "x", "experiment": {"seed": 0}}',
        b'{"label": "x", "experiment": {"seed": "x"}}',
    ],
)
def test_an_odd_begun_run_hides_no_other(two: Store, content: bytes) -> None:
    (two.root / "cell" / "seed-0").mkdir(parents=True)
    (two.root / "cell" / "seed-0" / "experiment.json").write_bytes(content)
    (two.root / "file").write_text("no folder")
    assert len(list(two.runs())) == 3 and len(two.finished()) == 2
    assert len(Found(two).runs) == 1, "a page of a paper is made of the others"


def test_a_folder_whose_number_is_none_hides_no_other(two: Store) -> None:
    (two.finished()[0].folder.parent / "seed-²").mkdir()  # a digit to str.isdigit, and no number to int
    assert len(list(two.runs())) == 2


def test_a_store_that_may_not_be_looked_into_is_not_an_empty_one(two: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def iterdir(self: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    (found,) = two.runs()
    assert isinstance(found, Damaged) and found.why == f"{two.root} cannot be looked into: permission denied"


def test_a_file_is_no_empty_store(tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text("")
    (found,) = Store(tmp_path / "plain.toml").runs()
    assert isinstance(found, Damaged) and "plain.toml cannot be looked into: a part of the path is a file" in found.why


def test_a_damaged_record_stops_no_other_experiment(make: Make, teacher_file: Path, tmp_path: Path) -> None:
    shutil.copytree(teacher_file, tmp_path / "runs")
    store = Store(tmp_path / "runs")
    bad, good = make(recipe={"epochs": 1}), make(recipe={"epochs": 1, "lr": 0.01})
    store.folder(bad).mkdir(parents=True)
    (store.folder(bad) / "record.json").write_bytes(b"{")
    queue = Queue(plan([bad, good]), store)
    for work in queue:
        for _ in work:
            pass
    assert store.find(good) is not None
    assert list(queue.blocked) == [bad.id] and "is damaged" in queue.blocked[bad.id]
    assert (store.folder(bad) / "record.json").read_bytes() == b"{"


# -- what is saved ----------------------------------------------------------------------------------------------------
def part(one: Experiment, store: Store, steps: int) -> Path:
    """A run that was stopped after some steps; its folder."""
    stop = Stop()
    work = CohortRun((one,), store, stop=stop)
    assert work.take()
    with pytest.raises(Interrupted):
        for progress in work:
            if progress.step + 1 >= steps:
                stop.deadline = 0.0
    work.release()
    return store.folder(one)


@pytest.fixture
def begun(make: Make, teacher_file: Path, tmp_path: Path) -> tuple[Experiment, Store, Path]:
    shutil.copytree(teacher_file, tmp_path / "runs")
    store = Store(tmp_path / "runs")
    one = make()
    return one, store, part(one, store, 4)


def rewritten(path: Path, **changes: str) -> None:
    """The same checkpoint with other texts in its header."""
    from redistill.tensor_files import header, packed, tensors_of

    content = path.read_bytes()
    path.write_bytes(packed(tensors_of(content, path), {**header(content, path), **changes}))


@pytest.mark.parametrize("kind", ["newer", "of another run"])
def test_a_checkpoint_that_is_not_ours_to_write_over_stops_this_run(begun: tuple[Experiment, Store, Path], make: Make, kind: str) -> None:
    one, store, folder = begun
    path = folder / checkpoint.NAME
    if kind == "newer":
        rewritten(path, format=str(checkpoint.FORMAT + 1))
    else:
        state, facts = checkpoint.load(path)
        checkpoint.save(folder, state, {**facts, "id": "0123456789abcdef"})
    before = path.read_bytes()
    work = CohortRun((one,), store)
    assert work.take()
    with pytest.raises(checkpoint.Foreign, match="newer redistill" if kind == "newer" else "belongs to run 0123456789abcdef"):
        next(work)
    work.release()
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "changes", [{"format": "x"}, {"format": "1"}, {"facts": ""}, {"structure": "[" * 10_000}, {"redistill": "?"}], ids=list
)
def test_a_damaged_checkpoint_is_put_aside_and_the_one_before_goes_on(
    begun: tuple[Experiment, Store, Path], changes: dict[str, str]
) -> None:
    one, store, folder = begun
    shutil.copy(folder / checkpoint.NAME, folder / checkpoint.PREVIOUS)
    rewritten(folder / checkpoint.NAME, **changes)
    spoilt = (folder / checkpoint.NAME).read_bytes()
    work = CohortRun((one,), store)
    assert work.take()
    next(work)
    assert work.step == 5 and "is damaged" in work.notes[0] and "kept as checkpoint.damaged.safetensors" in work.notes[0]
    assert (folder / "checkpoint.damaged.safetensors").read_bytes() == spoilt
    for _ in work:
        pass
    work.release()
    assert not list(folder.glob("checkpoint*")), "a finished run needs none of them"


def test_a_growing_cohort_throws_no_saved_step_away(begun: tuple[Experiment, Store, Path], make: Make) -> None:
    one, store, _ = begun
    other = make(method=[{"use": "CE"}])
    (group,) = [g for g in plan([one, other]) if one in g]
    assert other in group
    sizes = []
    for work in Queue(plan([one, other]), store):
        for _ in work:
            pass
        sizes.append(len(work.experiments))
    assert sizes == [1, 1]
    run = store.find(one)
    assert run is not None and run.record["sessions"][1]["from"] >= 4, "it went on from what was saved"


def test_what_a_killed_process_left_beside_a_finished_run_is_removed(two: Store, teacher_file: Path) -> None:
    one = Experiment.load(HERE / "teacher.toml", device="cpu")
    run = two.find(one)
    assert run is not None
    for name in ("checkpoint.safetensors", "checkpoint.previous.safetensors", "experiment.json", ".record.json.12.partial"):
        (run.folder / name).write_bytes(b"left")
    before = sorted(path.name for path in (Store(teacher_file).folder(one)).iterdir())
    assert list(Queue(plan([one]), two)) == []
    assert sorted(path.name for path in run.folder.iterdir()) == before


# -- altered ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["experiment.json", "record.json"])
def test_an_altered_experiment_is_not_run_as_another_one(begun: tuple[Experiment, Store, Path], name: str) -> None:
    one, store, folder = begun
    if name == "record.json":
        folder = store.finished()[0].folder
    else:
        assert Experiment.load(folder, device="cpu").id == one.id
    written = json.loads((folder / name).read_bytes())
    written["experiment"]["recipe"]["lr"] = 0.5
    (folder / name).write_bytes(pretty(written))
    for path in (folder, folder / name):
        with pytest.raises(RedistillError, match="was altered"):
            Experiment.load(path, device="cpu")


def test_altered_indices_are_written_again_and_kept_beside(tmp_path: Path) -> None:
    store, manifest = Store(tmp_path), {"sha256": "ab" * 32, "rule": [["first", {}]]}
    path = tmp_path / store.indices(manifest, [1, 2, 3])
    good = path.read_bytes()
    store.indices(manifest, [1, 2, 3])
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    path.write_bytes(good.replace(b"[1,2,3]", b"[1,2,4]"))
    store.indices(manifest, [1, 2, 3])
    assert path.read_bytes() == good and b"[1,2,4]" in path.with_name(f"{path.name}.altered").read_bytes()


# -- tensors, not files -----------------------------------------------------------------------------------------------
def test_a_chain_trained_twice_is_the_same_files_and_nothing_is_stale(make: Make, tmp_path: Path) -> None:
    from redistill.runs.compare import differences

    one = make(recipe={"epochs": 1})
    a, b = (one.run(tmp_path / name) for name in "ab")
    assert (a.folder / "weights.safetensors").read_bytes() == (b.folder / "weights.safetensors").read_bytes()
    assert [d for d in differences(a, b) if d.matters] == []
    store = Store(tmp_path / "a")
    student = next(run for run in store.finished() if run.folder != a.folder)
    assert a.record["teacher"]["weights_sha256"] == student.record["weights_sha256"]
    content = (student.folder / "weights.safetensors").read_bytes()
    from redistill.tensor_files import header, packed, tensors_of

    tensors = tensors_of(content, student.folder)
    (student.folder / "weights.safetensors").write_bytes(packed(tensors, {**header(content, student.folder), "more": "text"}))
    assert stale(a, store) is None, "other bytes of the file, the same tensors"
    (student.folder / "weights.safetensors").write_bytes(packed({name: tensor + 1 for name, tensor in tensors.items()}))
    assert "has other weights by now" in (stale(a, store) or "")


def test_differences_name_the_largest_of_all_tensors_whatever_their_order(tmp_path: Path) -> None:
    from redistill.runs.weights_differ import largest_difference, stored
    from redistill.tensor_files import packed

    def of(**tensors: torch.Tensor) -> dict[str, Any]:
        return stored(packed(tensors, {"some": "text"}), tmp_path)

    zero = torch.zeros(2)
    a, b = of(a=zero, b=zero, c=zero), of(a=torch.tensor([0.0, 1e-6]), b=torch.tensor([3.0, 0.5]), c=zero)
    says = "2 of 3 tensors differ, most of all b: 2 of 2 numbers differ, by up to 3"
    assert largest_difference(a, b) == says == largest_difference(dict(reversed(a.items())), b)
    assert largest_difference(a, dict(reversed(a.items()))) is None
    assert largest_difference(of(a=zero), of(b=zero, c=zero)) == "a: only one of the two has it (and 2 more)"
    nan = torch.tensor([math.nan, 0.0])
    assert largest_difference(of(a=nan), of(a=nan.clone())) is None and "a: 1 of 2" in str(largest_difference(of(a=nan), of(a=zero)))
    assert "1 of 2 numbers differ, by up to 0" in str(largest_difference(of(a=zero), of(a=torch.tensor([0.0, -0.0]))))
    for kind in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int16, torch.uint8, torch.complex64):
        one, two = (of(n=torch.tensor(3).to(kind), x=torch.tensor([[1, 2], [3, more]]).to(kind)) for more in (4, 100))
        assert largest_difference(one, two) == "1 of 2 tensors differ, most of all x: 1 of 4 numbers differ, by up to 96"
    assert "F32 (2,) and F64 (2,)" in str(largest_difference(of(a=zero), of(a=zero.double())))
    eight = of(a=torch.ones(3).to(torch.float8_e4m3fn)), of(a=torch.zeros(3).to(torch.float8_e4m3fn))
    assert str(largest_difference(*eight)).endswith("a: 3 of 3 numbers differ")
    assert largest_difference(of(a=torch.zeros(0, 3)), of(a=torch.zeros(0, 3))) is None

"""Readers of other people's runs, and what each says of bad input."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from helpers.others import Run, mdistiller, ours
from redistill.errors import RedistillError
from redistill.evidence.audit import audit
from redistill.evidence.files import Stated
from redistill.evidence.model import Evidence, arms
from redistill.evidence.read import read_evidence
from redistill.evidence.tables import read_table


def one(path: Path, **stated: object) -> Evidence:
    (found,) = read_evidence(path, Stated(**stated))  # type: ignore[arg-type]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# Our format
# ---------------------------------------------------------------------------------------------------------------------
def test_our_format(tmp_path: Path) -> None:
    found = one(ours(tmp_path, {}, {"seed": 1, "last": 73.3}))
    assert found.source.words == "someone/runs@0123456789"
    assert [(run.seed, run.last, run.best_on) for run in found.runs] == [(0, 73.1, "test"), (1, 73.3, "test")]
    assert len(arms(found.runs)) == 1


@pytest.mark.parametrize(
    ("runs", "sentence"),
    [
        ([{"last": float("nan")}], "some.json, run 1: last is nan"),
        ([{"last": "73.1"}], "last is '73.1', which is no number"),
        ([{"last": 0.731}, {"seed": 1, "best": 0.7}], "0.731 stands beside 73.4: accuracies partly as fractions"),
        ([{"last": 173.1}], "last = 173.1 is no accuracy in percent"),
        ([{"last": None, "best": None}], "neither a last nor a best accuracy"),
        ([{"student": None}], "names no student"),
        ([{"best_on": "train"}], "best_on is 'train'"),
        ([{"seed": "x"}], "seed is 'x'"),
        ([{"accuracy": 3}], "unknown key of a run 'accuracy'"),
        ([], "holds no runs"),
    ],
)
def test_bad_runs_are_a_sentence(tmp_path: Path, runs: list[Run], sentence: str) -> None:
    with pytest.raises(RedistillError, match=sentence.replace("(", r"\(")):
        one(ours(tmp_path, *runs))


def test_a_source_without_commit_is_refused_and_can_be_told(tmp_path: Path) -> None:
    path = ours(tmp_path, {}, source={"repository": "someone/runs"})
    with pytest.raises(RedistillError, match="source someone/runs names no commit"):
        one(path)
    assert one(path, source="someone/runs@abc").source.commit == "abc"
    with pytest.raises(RedistillError, match="names no commit: write OWNER/NAME@COMMIT"):
        one(path, source="someone/runs")


def test_a_seed_twice_is_a_sentence(tmp_path: Path) -> None:
    found = one(ours(tmp_path, {}, {"last": 73.2}))
    with pytest.raises(RedistillError, match=r"run 2 and some.json, run 1 are both seed 0 of CIFAR-100, resnet32x4 -> resnet8x4, KD"):
        arms(found.runs)


def test_fractions_are_recognised_and_said(tmp_path: Path) -> None:
    found = one(ours(tmp_path, {"last": 0.731, "best": 0.734}))
    assert found.runs[0].last == 73.1 and "read as fractions" in found.notes[0]


# ---------------------------------------------------------------------------------------------------------------------
# Columns
# ---------------------------------------------------------------------------------------------------------------------
CSV = "dataset,teacher,student,method,trial,final_top1,best_top1,tau\nCIFAR-100,resnet32x4,resnet8x4,CRD,0,75.05,75.55,0.07\n"


def test_csv_with_named_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV + "CIFAR-100,resnet32x4,resnet8x4,CRD,1,75.56,75.56,0.07\n", encoding="utf-8")
    found = one(path)
    assert [(r.seed, r.last, r.best, r.settings) for r in found.runs] == [
        (0, 75.05, 75.55, {"tau": "0.07"}),
        (1, 75.56, 75.56, {"tau": "0.07"}),
    ]
    assert "does not say on which images" in found.notes[0]


@pytest.mark.parametrize(
    ("header", "row", "sentence"),
    [
        ("student,method,score", "resnet20,KD,70", "no column can be told to be an accuracy"),
        ("student,method,last,final", "resnet20,KD,70,71", "columns 'last' and 'final' could both be the last"),
        ("student,model,method,last", "resnet20,resnet20,KD,70", "columns 'student' and 'model' could both be the student"),
        ("student,method,best,acc", "resnet20,KD,70,70", "does not say of which epoch"),
        ("student,method,last,last", "resnet20,KD,70,70", "names column 'last' twice"),
        ("student,method,last", "resnet20,KD", "has 2 entries, the header has 3"),
        ("student,method,last", "resnet20,KD,high", "last is 'high', which is no number"),
        ("student,method,last", "resnet20,KD,nan", "last is nan"),
        ("student,method,last", "resnet20,KD,70", "names no dataset"),
        ("student;method;last", "resnet20;KD;70,5", "its columns are parted by ';': part them by commas"),
    ],
)
def test_columns_that_cannot_be_told_are_a_sentence(tmp_path: Path, header: str, row: str, sentence: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    with pytest.raises(RedistillError, match=sentence):
        one(path)


def test_columns_and_facts_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("student,method,score\nresnet20,KD,70\n", encoding="utf-8")
    found = one(path, columns={"last": "score"}, facts={"dataset": "CIFAR-100", "teacher": "resnet56"})
    assert found.runs[0].last == 70 and found.runs[0].teacher == "resnet56"


def test_errors_are_recognised_by_their_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("dataset,student,method,error\nCIFAR-10,WRN-16-1,AT,8.25\n", encoding="utf-8")
    found = one(path)
    assert found.runs[0].last == 91.75 and "holds errors" in found.notes[0]


@pytest.mark.parametrize(
    ("rows", "unit", "last"),
    [(("8.25", "8.5"), "error", 91.75), (("8.25", "8.5"), "percent", 91.75), (("0.0825", "0.085"), None, 91.75),
     (("0.25", "0.5"), "percent", 99.75), (("0.25", "0.5"), "fraction", 75.0)],
)  # fmt: skip
def test_errors_are_turned_once_whatever_is_said_of_their_unit(tmp_path: Path, rows: tuple[str, str], unit: Any, last: float) -> None:
    path = tmp_path / "a.csv"
    lines = [f"CIFAR-10,WRN-16-1,AT,{seed},{error}" for seed, error in enumerate(rows)]
    path.write_text("\n".join(["dataset,student,method,seed,Test Error (%)", *lines]), encoding="utf-8")
    assert one(path, unit=unit).runs[0].last == last
    path.write_text("dataset,student,method,seed,error\nCIFAR-10,WRN-16-1,AT,0,0.2\nCIFAR-10,WRN-16-1,AT,1,8.3\n", encoding="utf-8")
    with pytest.raises(RedistillError, match=r"errors of 0.2 and of 8.3: partly as fractions"):
        one(path)


def test_rows_of_epochs_are_no_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"CIFAR-10,WRN-16-1,AT,{epoch},{50 - 10 * epoch}" for epoch in range(1, 5)]
    path.write_text("\n".join(["dataset,student,method,epoch,error", *rows]), encoding="utf-8")
    assert [(run.last, run.best, run.epochs) for run in one(path).runs] == [(90.0, 90.0, 4)]
    path.write_text("\n".join(["dataset,student,method,epoch,last", *rows]), encoding="utf-8")
    with pytest.raises(RedistillError, match="counts epochs, so each run is many rows, and 'last' is no last or best accuracy"):
        one(path)
    assert [run.last for run in one(path, columns={"value": "last"}).runs] == [10.0]


def test_a_percent_sign_says_percent(tmp_path: Path) -> None:
    """An error of "0.35%" was read as a fraction: 65 % accuracy of a network on MNIST."""
    path = tmp_path / "a.csv"
    lines = ["dataset,student,method,seed,error", "MNIST,lenet5,KD,0,0.35%", "MNIST,lenet5,KD,1,0.4 %"]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert [run.last for run in one(path).runs] == [99.65, 99.6]
    path.write_text("\n".join(lines).replace("error", "acc"), encoding="utf-8")
    assert [run.last for run in one(path).runs] == [0.35, 0.4]
    path.write_text("\n".join(lines).replace("%", ""), encoding="utf-8")
    assert [run.last for run in one(path).runs] == [65.0, 60.0]  # and the notes say so


def test_one_percent_and_all_of_the_images_are_asked_for(tmp_path: Path) -> None:
    """Networks of 100 classes that guess, at "1.0", were read as networks that are always right."""
    path = tmp_path / "a.csv"
    path.write_text("dataset,student,method,seed,acc\nCIFAR-100,resnet20,KD,0,1.0\nCIFAR-100,resnet20,KD,1,1.0\n", encoding="utf-8")
    with pytest.raises(RedistillError, match="every accuracy above 0 is 1: say --unit percent if that is 1 %"):
        one(path)
    assert [one(path, unit=unit).runs[0].last for unit in ("percent", "fraction")] == [1.0, 100.0]


@pytest.mark.parametrize("name", ["loss_weight", "memory_size", "drop_path_rate", "optimizer_name", "lr"])
def test_a_setting_is_one_whatever_its_name_reminds_of(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.csv"
    rows = [f"CIFAR-100,resnet20,CRD,{seed},70.{seed},{value}" for seed, value in enumerate("112")]
    path.write_text("\n".join([f"dataset,student,method,seed,last,{name}", *rows]), encoding="utf-8")
    assert sorted(len(members) for members in arms(one(path).runs).values()) == [1, 2]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"dataset": "CIFAR-10", "student": "WRN-16-1", "method": "AT", "seed": 3, "last": 91.7}\n', encoding="utf-8")
    assert one(path).runs[0].seed == 3
    (folder := tmp_path / "folder").mkdir()
    (folder / "a.ndjson").write_bytes(path.read_bytes())  # passed over in a folder, though read by itself
    assert one(folder).runs[0].seed == 3
    path.write_text(path.read_text() + '{"dataset": "CIFAR', encoding="utf-8")
    with pytest.raises(RedistillError, match=r"line 2: is no JSON .*cut short"):
        one(path)


# ---------------------------------------------------------------------------------------------------------------------
# Logs
# ---------------------------------------------------------------------------------------------------------------------
def repdistiller(epochs: int, close: bool = True) -> str:
    text = "==> done\n * Acc@1 79.420 Acc@5 94.580\nteacher accuracy:  tensor(79.4200, device='cuda:0')\n"
    for epoch in range(1, epochs + 1):
        text += f"==> training...\nEpoch: [{epoch}][0/782]\tLoss 1\n * Acc@1 99.000 Acc@5 99.000\nepoch {epoch}, total time 30.21\n"
        text += f"Test: [0/157]\tLoss 1\n * Acc@1 {60 + epoch:.3f} Acc@5 90.000\nsaving the best model!\n"
    return text + (f"best accuracy: tensor({60 + epochs:.4f}, device='cuda:0')\n" if close else "")


def torchdistill(epochs: int, close: bool = True) -> str:
    lead = "2024-05-25 19:32:41,882\tINFO\ttorchdistill.misc.log\t"
    text = f"{lead}Not using distributed mode\n"
    for epoch in range(epochs):
        text += (
            f"{lead}Epoch: [{epoch}]  [   0/5005]  eta: 7:29:46\n{lead}Validation:  [0/10]\n{lead} * Acc@1 {60 + epoch:.4f}\tAcc@5 90.0\n"
        )
    if close:
        text += f"{lead}[Teacher: resnet34]\n{lead}Test:  [0/10]\n{lead} * Acc@1 73.3140\tAcc@5 91.0\n"
        text += f"{lead}[Student: resnet18]\n{lead}Test:  [0/10]\n{lead} * Acc@1 {60 + epochs - 1:.4f}\tAcc@5 90.0\n"
    return text


def test_mdistiller_log(tmp_path: Path) -> None:
    path = tmp_path / "kd,vgg13,vgg8,3,9.txt"
    path.write_text(mdistiller(240), encoding="utf-8")
    found = one(path, source="a/b@c")
    (run,) = found.runs
    assert (run.dataset, run.teacher, run.student, run.method, run.epochs) == ("CIFAR-100", "vgg13", "vgg8", "KD", 240)
    assert (run.best, run.extra["best_epoch"], run.last) == (70, 18, 58.9)


def test_two_runs_in_one_log_are_two_runs(tmp_path: Path) -> None:
    path = tmp_path / "ctkd,vgg13,vgg8,2,9.txt"
    path.write_text(mdistiller(30, close=False) + mdistiller(30, start=51), encoding="utf-8")
    found = one(path, facts={"epochs": "30"})
    assert [(run.best, run.extra["part"], run.epochs) for run in found.runs] == [(70, "1 of 2", 30), (71, "2 of 2", 30)]
    # the seed in a name is not that of two runs: neither is refused as a copy of the other
    path = tmp_path / "S:resnet8x4_T:resnet32x4_cifar100_kd_r:0.1_a:0.9_b:0.0_1.log"
    path.write_text(repdistiller(30, close=False) + repdistiller(30), encoding="utf-8")
    found = one(path, facts={"epochs": "30"})
    assert [run.seed for run in found.runs] == [None, None] and audit(found).bearings
    assert any(fact.about == "two runs in one log" for fact in audit(found).facts)


def test_an_accuracy_on_other_images_is_no_setting(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("dataset,student,method,seed,test_acc,val_acc,accumulate\nCIFAR-10,resnet20,CE,0,91,90.5,2\n", encoding="utf-8")
    [run] = one(path).runs
    assert run.last == 91 and run.settings == {"accumulate": "2"} and run.extra["val_acc"] == "90.5"


def test_a_resumed_log_is_one_run(tmp_path: Path) -> None:
    path = tmp_path / "kd,vgg13,vgg8,3,9.txt"
    first, again = mdistiller(20, close=False), mdistiller(30).split("epoch: 19\n")
    path.write_text(first + "-------------------------\nepoch: 19\n" + again[1], encoding="utf-8")
    assert [run.epochs for run in one(path, facts={"epochs": "30"}).runs] == [30]


def test_repdistiller_output(tmp_path: Path) -> None:
    path = tmp_path / "S:resnet8x4_T:resnet32x4_cifar100_attention_r:1.0_a:0.0_b:1000.0_2" / "log.txt"
    path.parent.mkdir()
    path.write_text(repdistiller(12), encoding="utf-8")
    (run,) = one(path).runs
    assert (run.teacher, run.student, run.method, run.seed, run.last, run.epochs) == ("resnet32x4", "resnet8x4", "AT", 2, 72.0, 12)
    assert run.extra["teacher_top1_in_log"] == 79.42


def test_torchdistill_log(tmp_path: Path) -> None:
    path = tmp_path / "at-resnet18_from_resnet34.log"
    path.write_text(torchdistill(9), encoding="utf-8")
    (run,) = one(path).runs
    assert (run.dataset, run.method, run.epochs, run.last, run.extra["final_test_top1"]) == ("ImageNet", "AT", 9, 68.0, 68.0)
    assert run.extra["teacher_top1_in_log"] == 73.314


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("kd,vgg13,vgg8,3,9.txt", mdistiller(100, close=False), "was cut short: it ends after epoch 100 of 240"),
        ("kd,vgg13,vgg8,3,9.txt", mdistiller(30, close=False).rsplit("test_acc: ", 1)[0], "was cut short in the epoch after 29"),
        ("log.txt", repdistiller(12, close=False), "was cut short: it ends after epoch 12 of 240"),
        ("at-resnet18_from_resnet34.log", torchdistill(9, close=False), "was cut short: it ends after epoch 9 without"),
        ("kd,vgg13,vgg8,3,9.txt", mdistiller(30).replace("epoch: 7\n", "epoch: 8\n"), "do not count from 1 without a gap"),
        ("kd,vgg13,vgg8,3,9.txt", mdistiller(3).replace("test_acc: 69.25", "test_acc: nan"), "the accuracy of epoch 3 is nan"),
        ("log.txt", repdistiller(12), "names no student"),
        ("log.txt", "hello\n", "is no evidence that is known here"),
    ],
)
def test_logs_that_cannot_be_used_are_a_sentence(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RedistillError, match=sentence):
        one(path)


def test_a_folder_of_logs_reads_the_whole_ones_and_tells_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "kd,vgg13,vgg8,3,9.txt").write_text(mdistiller(240), encoding="utf-8")
    (tmp_path / "kd,resnet56,resnet20,3,9.txt").write_text(mdistiller(100, close=False), encoding="utf-8")
    found = one(tmp_path)
    assert len(found.runs) == 1 and "resnet56" in found.problems[0] and "cut short" in found.problems[0]


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="there is no such file or folder"):
        one(tmp_path / "none.csv")
    with pytest.raises(RedistillError, match="holds no evidence that can be read"):
        read_evidence(tmp_path)


def test_measurements_are_no_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    lines = ["run,dataset,teacher,student,method,tau,seed,final_top1,final_top5,seconds,peak"]
    for tau in ("0.07", "0.1"):
        for seed in range(3):
            lines.append(
                f"r{tau}-{seed},CIFAR-100,resnet32x4,resnet8x4,CRD,{tau},{seed},75.{seed}{seed},94.{seed}{len(lines)},"
                f"{8000 + len(lines)},{3000 + len(lines)}"
            )
    path.write_text("\n".join(lines), encoding="utf-8")
    found = one(path)
    assert sorted(len(members) for members in arms(found.runs).values()) == [3, 3]
    assert all(run.settings.keys() == {"tau"} for run in found.runs)
    assert any("taken as measurements and not as settings: final_top5, peak, run, seconds" in text for text in found.notes)
    path.write_text(
        "dataset,student,method,seed,last,tau\nCIFAR-100,resnet20,CRD,0,70,0.1\nCIFAR-100,resnet20,CRD,0,71,0.2\n", encoding="utf-8"
    )
    assert len(arms(one(path).runs)) == 2


def test_a_row_an_epoch_is_one_run_and_a_gap_is_told(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [{"epoch": e, "test_acc": 60 + e - (e == 5) * 2, "loss": 1 / e} for e in range(1, 6)]
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    facts = {"dataset": "CIFAR-100", "student": "resnet20", "method": "KD", "teacher": "resnet56"}
    (run,) = one(path, facts=facts).runs
    assert (run.last, run.best, run.best_on, run.epochs) == (63, 64, "test", 5)
    (run,) = one(path, facts=facts, unit="error").runs  # the best epoch is that of the least error: it was asked for --unit error again
    assert (run.last, run.best, run.epochs) == (37, 39, 5)
    path.write_text("\n".join(map(json.dumps, rows[:2] + rows[3:])), encoding="utf-8")
    with pytest.raises(RedistillError, match="do not count from 0 or 1 without a gap"):
        one(path, facts=facts)
    path.write_text("\n".join(map(json.dumps, [*rows, {"epoch": 6, "test_acc": None}])), encoding="utf-8")
    with pytest.raises(RedistillError, match="no test_acc at its last epoch, 6, so that its last accuracy is not known"):
        one(path, facts=facts)  # the fifth epoch's was taken for the last
    for odd in ("nan", "1e400", 2.5):
        path.write_text("\n".join(map(json.dumps, [*rows, {"epoch": odd, "test_acc": 60}])), encoding="utf-8")
        with pytest.raises(RedistillError, match=f"line 6: epoch is '?{odd}'?: a whole number"):
            one(path, facts=facts)


ONE = (
    '{"source": {"repository": "a/b", "commit": "c"}, '
    '"runs": [{"dataset": "cifar100", "student": "wrn-16-2", "method": "KD", "last": %s}]}'
)
SPOILT: dict[str, tuple[str, bytes, str]] = {
    "deep": (".json", b'{"a":' * 3000 + b"1" + b"}" * 3000, "is no JSON .*too deep"),
    "deep line": (".jsonl", b"[" * 100_000 + b"]" * 100_000, "line 1: is no JSON .*too deep"),
    "a whole number beyond all others": (".json", (ONE % ("9" * 400)).encode(), "run 1: last is 9999.*: a run that diverged"),
    "infinite": (".json", (ONE % "1e999").encode(), "run 1: last is inf: a run that diverged"),
    "a seed beyond all others": (".json", (ONE % f'70, "seed": {"9" * 400}').encode(), "run 1: seed is 999.*: a whole number"),
    "an endless field": (".csv", b"method,acc\nKD," + b"7" * 200_000, "is no table that can be read: field larger"),
    "very wide": (".csv", b"c," * 20_000 + b"\n" + b"1," * 20_000, "has a row of 20,001 entries"),
    "a key twice": (".json", (ONE % '70, "last": 80').encode(), "the key 'last' stands twice in one object: leave one"),
    "utf-16": (".csv", "method,acc\nKD,73".encode("utf-16"), "not text in UTF-8"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_spoilt_evidence_is_one_sentence_with_its_file(kind: str, tmp_path: Path) -> None:
    ending, content, says = SPOILT[kind]
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    with pytest.raises(RedistillError, match=says):
        read_evidence(path, Stated(source="a/b@c"))
    if ending != ".jsonl" and "last" not in says and "seed" not in says:
        with pytest.raises(RedistillError, match=says):
            read_table(path)


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfmethod,student,dataset,last\nKD,wrn-16-2,cifar100,73.1\n")
    (found,) = read_evidence(path, Stated(source="a/b@c"))
    assert found.runs[0].method == "KD"
    path = tmp_path / "a.json"
    path.write_bytes(b"\xef\xbb\xbf" + (ONE % 70).encode())
    assert read_evidence(path)[0].runs[0].last == 70


@pytest.mark.parametrize(("name", "content"), [("bad.txt", b"caf\xe9"), ("bad.json", SPOILT["deep"][1]), ("bad.log", None)])
def test_one_bad_file_of_a_folder_hides_no_other(name: str, content: bytes | None, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(ONE % 70)
    if content is None:
        os.mkfifo(tmp_path / name)  # nobody reads a pipe, and nobody waits for it
    else:
        (tmp_path / name).write_bytes(content)
    found = read_evidence(tmp_path)
    assert [run.last for one in found for run in one.runs] == [70]
    assert [name in problem for one in found for problem in one.problems] == [True] * (content is not None)


def test_a_trackers_unfinished_runs_are_left_out_and_named(tmp_path: Path) -> None:
    file = tmp_path / "wandb.csv"
    head = "Name,State,dataset,teacher,student,method,seed,test_acc\n"
    row = "{0},{1},cifar100,resnet32x4,resnet8x4,KD,{2},{3}\n"
    rows = [row.format("a", "finished", 1, 73.33), row.format("b", "crashed", 2, 12.1), row.format("c", "RUNNING", 3, 44.4)]
    file.write_text(head + "".join(rows))
    found = one(file)
    assert [(run.seed, run.last) for run in found.runs] == [(1, 73.33)]
    assert any("left out: wandb.csv, line 3 (crashed), wandb.csv, line 4 (running)" in note for note in found.notes)
    file.write_text(head + "".join(rows[1:]))
    with pytest.raises(RedistillError, match="calls no run finished"):
        one(file)


KD = "dataset,teacher,student,method,seed,{}\n"
ROW = "CIFAR-100,resnet32x4,resnet8x4,KD,{}\n"


@pytest.mark.parametrize(
    ("columns", "rows", "sentence"),
    [
        ("last", ("1,73.1", "2,73.5", ",73.3"), r"line 4: has no seed, where other runs of the same thing have one \(2 runs\)"),
        ("acc,std", (",73.1,0.2", ",73.4,0.1"), "column 'std' .a.csv, line 2: 0.2. says that a row is the mean of several runs"),
        ("test_acc,test_acc_std", (",73.1,0.2",), "'test_acc_std' .* is the mean of several runs"),
        ("acc,num_seeds", (",73.1,3",), "'num_seeds' .* is the mean of several runs"),
        ("test_acc,_step", tuple(f"1,{50 + n},{100 * n}" for n in range(4)), "'_step' counts steps within a run"),
    ],
)
def test_rows_that_are_no_runs_are_a_sentence(tmp_path: Path, columns: str, rows: tuple[str, ...], sentence: str) -> None:
    """A mean of seeds, and a step of a run, would each count as one run."""
    path = tmp_path / "a.csv"
    path.write_text(KD.format(columns) + "".join(map(ROW.format, rows)), encoding="utf-8")
    with pytest.raises(RedistillError, match=sentence):
        one(path)


def test_columns_that_only_look_like_those_of_means_are_settings(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(KD.format("last,init_std,seeds,step") + "".join(ROW.format(f"{n},7{n},0.02,1,240") for n in range(3)), encoding="utf-8")
    assert [len(mine) for mine in arms(one(path).runs).values()] == [3]


def test_settings_stay_with_a_run_of_many_rows(tmp_path: Path) -> None:
    """Two seeds of unlike weights are two things; a rate that falls, and a loss, are none of them."""
    rows = [f"{seed},{e},{alpha},{0.1 if e < 2 else 0.01},{3 - e},{50 + e}" for seed, alpha in ((1, 0.1), (2, 0.9)) for e in range(3)]
    path = tmp_path / "a.csv"
    path.write_text(KD.format("epoch,alpha,lr,loss,acc") + "".join(map(ROW.format, rows)), encoding="utf-8")
    runs = one(path).runs
    assert [(run.settings, run.last, run.epochs) for run in runs] == [({"alpha": "0.1"}, 52, 3), ({"alpha": "0.9"}, 52, 3)]
    assert len(arms(runs)) == 2


@pytest.mark.parametrize("reader", [mdistiller, repdistiller])
def test_a_run_that_crashed_before_another_in_its_log_is_no_whole_one(tmp_path: Path, reader: Any) -> None:
    path = tmp_path / "kd,vgg13,vgg8.txt"
    path.write_text(reader(12, close=False) + reader(30), encoding="utf-8")
    found = one(path)
    assert [(run.epochs, run.extra["part"]) for run in found.runs] == [(30, "2 of 2")]
    assert "run 1 of 2: was cut short: it ends after epoch 12 of 240" in found.problems[0]


def test_a_closing_test_is_that_of_its_own_run(tmp_path: Path) -> None:
    path = tmp_path / "kd-resnet18_from_resnet34.log"
    path.write_text(torchdistill(6) + torchdistill(4, close=False), encoding="utf-8")
    found = one(path)
    assert [(run.last, run.extra["final_test_top1"]) for run in found.runs] == [(65.0, 65.0)]
    assert "run 2 of 2: was cut short" in found.problems[0]


def test_a_log_under_two_names_is_one_run(tmp_path: Path) -> None:
    """nohup.out beside train.log; networks that guess from the first epoch on are alike, and two."""
    folder = tmp_path / "kd,vgg13,vgg8"
    folder.mkdir()
    for name in ("nohup.out", "train.log"):
        (folder / name).write_text(mdistiller(240), encoding="utf-8")
    found = one(folder)
    assert [len(mine) for mine in arms(found.runs).values()] == [1] and "one run under two names" in found.notes[0]
    dead = "".join(f"epoch: {n}\ntest_acc: 1.00\n" for n in range(1, 31)) + "best_acc\t1.00\n"
    for name in ("nohup.out", "train.log"):
        (folder / name).write_text(dead, encoding="utf-8")
    found = one(folder)
    assert [len(mine) for mine in arms(found.runs).values()] == [2] and {run.last for run in found.runs} == {1.0}  # percent, as logs print


def test_mdistillers_project_names_the_data_set(tmp_path: Path) -> None:
    path = tmp_path / "imagenet_baselines" / "kd,res34,res18" / "worklog.txt"
    path.parent.mkdir(parents=True)
    path.write_text(mdistiller(100), encoding="utf-8")
    assert one(path).runs[0].dataset == "ImageNet"


def test_torchdistills_experiments_name_a_data_set_and_no_method(tmp_path: Path) -> None:
    path = tmp_path / "cifar100-wide_resnet40_1_from_wide_resnet40_4-final_run.log"
    path.write_text(torchdistill(6), encoding="utf-8")
    with pytest.raises(RedistillError, match="names no method"):
        one(path)
    run = one(path, facts={"method": "KD"}).runs[0]
    assert (run.cell, run.dataset) == (("cifar100", "wrn-40-4", "wrn-40-1", "kd"), "CIFAR-100")


def test_a_row_a_run_beside_its_epoch_is_asked_which_one_that_was(tmp_path: Path) -> None:
    """As a tracker exports the last value of everything."""
    path = tmp_path / "a.csv"
    path.write_text(KD.format("epoch,test_acc") + "".join(ROW.format(f"{n},239,7{n}") for n in range(3)), encoding="utf-8")
    with pytest.raises(RedistillError, match=r"has one row a run, .* say --column last=test_acc"):
        one(path)
    assert [run.last for run in one(path, columns={"last": "test_acc"}).runs] == [70, 71, 72]

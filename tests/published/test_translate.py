"""Other implementations' settings as ours: what is written means the same, what is left out is named."""

from __future__ import annotations

import builtins
import copy
import functools
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import redistill as rd
from redistill.cli import program
from redistill.core import Ramp
from redistill.core.term_settings import ramp
from redistill.published import mdistiller, repdistiller, torchdistill
from redistill.published.translated import Translation

Tree = dict[str, Any]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    rd.models.save(rd.models.build("resnet8", 100), path)
    return path


def methods(made: Translation) -> Tree:
    return {part["use"]: {k: v for k, v in part.items() if k != "use"} for part in made.settings["method"]}


def whole(made: Translation) -> rd.Experiment:
    """The file, read back as an experiment: a key or value that ours do not have is refused here."""
    settings = tomllib.loads(made.toml())
    assert settings == json.loads(json.dumps(made.settings))
    return rd.Experiment.of(settings, device="cpu")


def md(kind: str, weights: Path, **more: Any) -> Translation:
    tree = {"DISTILLER": {"TYPE": kind, "TEACHER": "resnet8", "STUDENT": more.pop("student", "resnet8")}, **more}
    return mdistiller.translated(tree, Path("x.yaml"), weights)


@pytest.mark.parametrize("kind", [kind for kind in mdistiller.TYPES if kind != "NONE"])
def test_every_method_of_mdistiller_becomes_an_experiment(kind: str, weights: Path) -> None:
    made = md(kind, weights)
    one = whole(made)
    assert one.recipe.epochs == 240 and one.recipe.batch_size == 64 and one.recipe.weight_decay == 1e-4 and not one.recipe.nesterov
    use = {"FITNET": "FitNet", "REVIEWKD": "Review"}.get(kind, kind)
    assert set(methods(made)) == {"CE", use}
    assert any(key.startswith("DATASET.TYPE, ") and why.endswith("mdistiller's defaults") for key, why in made.notes)


def test_mdistillers_numbers_go_where_they_belong(weights: Path) -> None:
    solver = {"LR": "5e-2", "LR_DECAY_STAGES": "(2, 3)", "LR_DECAY_RATE": 0.5, "EPOCHS": 5, "WEIGHT_DECAY": "1e-3", "MOMENTUM": 0.8}
    made = md("KD", weights, KD={"TEMPERATURE": 2, "LOSS": {"KD_WEIGHT": 3.0}}, SOLVER=solver, LOG={"PREFIX": "out"}, KDX={"A": 1})
    assert methods(made) == {"CE": {"weight": 0.1}, "KD": {"weight": 3.0, "T": 2.0}}
    recipe = whole(made).recipe
    theirs = [0.05 * 0.5 ** sum(epoch > stage for stage in (2, 3)) for epoch in range(1, 6)]  # their epochs count from 1
    assert [recipe.lr * recipe.schedule.factor(epoch, 5) for epoch in range(5)] == pytest.approx(theirs)
    assert recipe.weight_decay == 1e-3 and recipe.momentum == 0.8
    notes = dict(made.notes)
    assert "not translated" in notes["KDX.A"] and "logs" in notes["LOG.PREFIX"] and "KD.LOSS.CE_WEIGHT" in list(notes)[-2]
    warm = methods(md("DKD", weights, DKD={"WARMUP": 4, "BETA": 2}))["DKD"]
    got = ramp(warm["weight"])
    assert isinstance(got, Ramp) and warm["beta"] == 2.0
    assert [got.at(epoch=e, step=0) for e in range(6)] == [min(e / 4, 1.0) for e in range(1, 7)]
    assert methods(md("VID", weights, VID={"INIT_PRED_VAR": 3.0}))["VID"]["train_variance"] is False
    assert methods(md("FITNET", weights, FITNET={"HINT_LAYER": 3}))["FitNet"]["at"] == "stage3"
    assert methods(md("SP", weights, student="vgg8"))["SP"]["at"] == [["stage4", "stage3"]]
    assert methods(md("AT", weights, student="MobileNetV2"))["AT"]["at"] == ["stage1", "stage2", "stage3"]
    bare = mdistiller.translated({"DISTILLER": {"TYPE": "KD", "TEACHER": "Nobody", "STUDENT": "resnet8"}}, Path("x.yaml"))
    assert "teacher" not in bare.settings and [key for key, _ in bare.notes[:2]] == ["DISTILLER.TEACHER"] * 2
    assert "name" not in tomllib.loads(bare.toml()).get("teacher", {})


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"KD": {}}, "has DISTILLER with TYPE"),
        ({"DISTILLER": {"TYPE": "KDSVD"}}, "KDSVD"),
        ({"DISTILLER": {"TYPE": "KD"}, "SOLVER": {"LR": "fast"}}, "SOLVER.LR must be a number, it is 'fast'"),
        ({"DISTILLER": {"TYPE": "KD"}, "SOLVER": {"EPOCHS": 2.5}}, "SOLVER.EPOCHS must be a whole number"),
        ({"DISTILLER": {"TYPE": "FITNET"}, "FITNET": {"HINT_LAYER": 0}}, "the stem"),
        ({"DISTILLER": {"TYPE": "CRD"}, "CRD": {"MODE": "odd"}}, "exact or relax"),
    ],
)
def test_what_mdistiller_cannot_mean_is_a_sentence(tree: Tree, message: str) -> None:
    with pytest.raises(rd.RedistillError, match=message):
        mdistiller.translated(tree, Path("x.yaml"))


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ("--distill kd -r 0.1 -a 0.9 -b 0", {"CE": {"weight": 0.1}, "KD": {"weight": 0.9, "T": 4.0}}),
        ("--distill attention -a 0.5 -b 10", {"CE": {"weight": 1.0}, "KD": {"weight": 0.5, "T": 4.0}, "AT": {"weight": 10.0}}),
        ("--distill hint -a 0 -b 100", {"CE": {"weight": 1.0}, "FitNet": {"weight": 100.0, "at": "stage2"}}),
        ("--distill crd -a 0 -b 0.8 --nce_k 8 --mode relax",
         {"CE": {"weight": 1.0}, "CRD": {"weight": 0.8, "dim": 128, "K": 8, "T": 0.07, "momentum": 0.5, "positive": "class"}}),
        ("--distill similarity -a 0 -b 3000", {"CE": {"weight": 1.0}, "SP": {"weight": 3000.0}}),
    ],
)  # fmt: skip
def test_repdistillers_flags(flags: str, wanted: Tree, weights: Path) -> None:
    line = f"python train_student.py --path_t save/models/resnet8_vanilla/ckpt_epoch_240.pth --model_s ShuffleV1 {flags} --trial 1"
    made = repdistiller.translated(repdistiller.words_in(line), weights)
    assert methods(made) == wanted and whole(made).recipe.lr == 0.01
    assert dict(made.notes).keys() == {"--learning_rate", "--trial"}
    assert made.settings["teacher"] == {"model": "resnet8", "from": str(weights)}


def test_repdistillers_methods_that_are_none_here_are_named() -> None:
    for flags, message in (
        ("--distill fsp -a 0 -b 50", "a stage of its own"), ("--distill kdsvd -a 0 -b 1", "kdsvd"),
        ("--distill hint -b 1", "no default for -a"),
        ("--distill kd -a much", "invalid float value"), ("--disti kd", "none of train_student.py's"),
    ):  # fmt: skip
        with pytest.raises(rd.RedistillError, match=message):
            repdistiller.translated(flags.split())
    with pytest.raises(rd.RedistillError, match="there are 2 calls of"):
        repdistiller.words_in("python train_student.py -a 1\npython train_student.py -a 2\n")


TD: Tree = {
    "datasets": {"cifar10": {"splits": {"train": {"kwargs": {"transform_configs": [
        {"key": "RandomCrop", "kwargs": {"size": 32, "padding": 4}}, {"key": "RandomHorizontalFlip", "kwargs": {"p": 0.5}},
        {"key": "ToTensor", "kwargs": None}, {"key": "Normalize", "kwargs": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}},
    ]}}}}},
    "models": {"teacher_model": {"key": "resnet8", "kwargs": {"num_classes": 10, "pretrained": True}},
               "student_model": {"key": "wide_resnet", "kwargs": {"depth": 10, "k": 1, "dropout_p": 0.3}}},
    "train": {"num_epochs": 200, "train_data_loader": {"batch_size": 128}, "optimizer": {"key": "SGD", "kwargs": {"lr": 0.1}},
              "scheduler": {"key": "MultiStepLR", "kwargs": {"milestones": [60, 120], "gamma": 0.2}}},
}  # fmt: skip


def td(criterion: Tree, weights: Path | None) -> Translation:
    return torchdistill.translated({**TD, "train": {**TD["train"], "criterion": criterion}}, Path("y.yaml"), weights)


def term(key: str, weight: float = 1.0, **given: Any) -> Tree:
    return {"criterion": {"key": key, "kwargs": given}, "weight": weight}


def test_torchdistills_losses(weights: Path) -> None:
    pair = {who: {"io": "output", "path": "layer3"} for who in ("student", "teacher")}
    other = {who: {"io": "output", "path": "layer2"} for who in ("student", "teacher")}
    losses = {
        "kd": term("KDLoss", 2.0, temperature=4.0, alpha=0.9, reduction="batchmean"), "ce": term("CrossEntropyLoss", 0.5, reduction="mean"),
        "at": term("ATLoss", 1000.0, mode="paper", at_pairs={"a": {**pair, "weight": 1}, "b": {**other, "weight": 2}}),
        "vid": term("VIDLoss", 1.0),
    }  # fmt: skip
    made = td({"key": "WeightedSumLoss", "kwargs": {"sub_terms": losses}}, None)
    ce, kd, *at = made.settings["method"]
    assert ce == {"use": "CE", "weight": 2.3} and kd["weight"] == pytest.approx(0.2) and kd["T"] == 4.0
    assert at == [{"use": "AT", "weight": 1000.0 * w, "form": "norm", "at": [[f"stage{s}"] * 2]} for w, s in ((1, 3), (2, 2))]
    notes = dict(made.notes)
    assert "VIDLoss" in notes["train.criterion.vid"] and "0.3" in notes["models.student_model.dropout_p"]
    old = {"type": "GeneralizedCustomLoss", "org_term": {"criterion": {"type": "CrossEntropyLoss", "params": {}}, "factor": 1.0}}
    one = td(old, None)
    assert one.settings["method"] == [{"use": "CE", "weight": 1.0}]
    # the source and recipe, read back whole; soft targets alone, as alpha 0 means there
    settings = {**td({"key": "KDLoss", "kwargs": {"temperature": 2.0, "alpha": 0.0}}, None).settings}
    settings["teacher"] = {"run": {"student": {"model": "resnet8"}, "method": [{"use": "CE"}], "source": {"data": "cifar10"},
                                   "recipe": {"epochs": 1}}}  # fmt: skip
    read = rd.Experiment.of(settings, device="cpu")
    assert read.written()["method"][0]["scale_T2"] is False and read.written()["source"]["augment"] == "crop-flip:4"
    assert read.recipe.momentum == 0.0 and read.recipe.weight_decay == 0.0  # torch's defaults, which its file leaves out


def changed(tree: Tree, **others: Any) -> Tree:
    """A copy with other values at dotted keys (``__`` for the dot)."""
    made: Tree = copy.deepcopy(tree)
    for place, value in others.items():
        *above, key = place.split("__")
        functools.reduce(lambda at, name: at.setdefault(name, {}), above, made)[key] = value
    return made


SOFT: Tree = {"key": "KDLoss", "kwargs": {"temperature": 4.0, "alpha": 0.9}}
PLAIN = changed(
    TD, train__criterion=SOFT, train__teacher={"sequential": [], "wrapper": "DataParallel", "requires_grad": False, "frozen_modules": []},
    train__student={"adaptations": None, "sequential": [], "wrapper": "DataParallel", "requires_grad": True, "frozen_modules": []},
    train__train_data_loader={"dataset_id": "a", "random_sample": True, "batch_size": 128, "num_workers": 16, "cache_output": None},
    models__student_model__dst_ckpt="s.pt", train__optimizer__filters_params=True, train__scheduler__scheduling_step=0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("train__optimizer__max_grad_norm", 5.0), ("train__optimizer__grad_accum_step", 4),
        ("train__optimizer__module_wise_kwargs", [{"module": "fc"}]), ("train__scheduler__scheduling_step", 1),
        ("train__scheduler__kwargs__last_epoch", 20), ("train__student__frozen_modules", ["layer1"]),
        ("train__student__sequential", ["conv1"]), ("train__student__requires_grad", False), ("train__teacher__requires_grad", True),
        ("train__train_data_loader__collate_func", "default_collate_w_mixup"), ("train__train_data_loader__drop_last", True),
        ("train__train_data_loader__random_sample", False), ("train__criterion__func2extract_model_loss", "extract_loss"),
        ("models__student_model__src_ckpt", "begin.pt"), ("models__student_model__repo_or_dir", "owner/name"),
        ("train__grad_accum_step", 2),
    ],
)  # fmt: skip
def test_a_switch_of_torchdistill_that_moves_numbers_is_told(place: str, value: Any, weights: Path) -> None:
    key = place.replace("__", ".").replace("scheduler.kwargs.", "scheduler.")
    told = [note for note in torchdistill.translated(changed(PLAIN, **{place: value}), Path("y.yaml"), weights).notes if note[0] == key]
    assert len(told) == 1 and "not translated" in told[0][1]
    before = torchdistill.translated(PLAIN, Path("y.yaml"), weights).notes
    assert not [note for note in before if "not translated" in note[1] and note[0] != "models.student_model.dropout_p"]


def test_torchdistills_parted_training_images_keep_their_augmentation(weights: Path) -> None:
    """As its samples for choosing settings are written: the split that is trained on is a part of one that has another name."""
    plain = TD["datasets"]["cifar10"]["splits"]["train"]["kwargs"]["transform_configs"]
    parts = {"dummy": {"dataset_id": "dummy", "random_split": {"lengths": [0.9, 0.1], "sub_splits": [
        {"dataset_id": "cifar10/train", "transform_configs": plain},
        {"dataset_id": "cifar10/val", "transform_configs": plain[2:]}]}}}  # fmt: skip
    tree = changed(PLAIN, datasets__cifar10__splits=parts, train__train_data_loader__dataset_id="cifar10/train")
    made = torchdistill.translated(tree, Path("y.yaml"), weights)
    assert made.settings["source"]["augment"] == "crop-flip:4" and "0.5 0.4 0.3" in made.settings["source"]["normalise"]
    assert "[0.9, 0.1]" in dict(made.notes)["datasets.cifar10.splits.dummy.random_split"]
    lost = torchdistill.translated(changed(PLAIN, datasets__cifar10__splits={"all": {}}), Path("y.yaml"), weights)
    assert "no augmentation is known" in dict(lost.notes)["datasets.cifar10.splits"]
    reflect = [{"key": "RandomCrop", "kwargs": {"size": 32, "padding": 4, "padding_mode": "reflect"}}, *plain[1:]]
    odd = torchdistill.translated(changed(PLAIN, datasets__cifar10__splits__train__kwargs__transform_configs=reflect), Path("y.yaml"))
    assert odd.settings["source"]["augment"] == "none" and any("reflect" in why for _, why in odd.notes)


def test_a_loss_of_torchdistill_with_another_target_than_labels_is_left_out(weights: Path) -> None:
    labels = {"key": "SimpleLossWrapper", "kwargs": {"input": {"module_path": ".", "io": "output"}, "target": {"uses_label": True}}}
    other = changed(labels, kwargs__target={"uses_label": False, "is_from_teacher": True})
    for wrapper, weight in ((labels, 1.9), (other, 0.9)):
        terms = {"kd": {"criterion": SOFT, "weight": 1.0}, "ce": {**term("CrossEntropyLoss"), "criterion_wrapper": wrapper}}
        made = td({"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms, "model_term": {"weight": 1.0}}}, weights)
        assert methods(made)["CE"]["weight"] == pytest.approx(weight)
        assert any("left out" in why for _, why in made.notes) == (wrapper is other)
        assert "not translated" in dict(made.notes)["train.criterion.model_term"]


def test_keys_of_mdistillers_forks_that_move_numbers_are_told(weights: Path) -> None:
    """ENHANCE_AUGMENT of a fork is no way to load, and the channels that ReviewKD's file names are those that its code does not read."""
    made = md("KD", weights, DATASET={"TYPE": "cifar100", "ENHANCE_AUGMENT": True, "NUM_WORKERS": 2}, EXPERIMENT={"SEED": 3, "NAME": ""})
    notes = dict(made.notes)
    assert "not translated" in notes["DATASET.ENHANCE_AUGMENT"] and "not translated" in notes["EXPERIMENT.SEED"]
    assert "moves no number" in notes["DATASET.NUM_WORKERS"] and "logs" in notes["EXPERIMENT.NAME"]
    assert "512" in dict(md("REVIEWKD", weights, REVIEWKD={"MAX_MID_CHANNEL": 256}).notes)["REVIEWKD.MAX_MID_CHANNEL"]


def test_repdistillers_embedding_is_that_of_its_flag(weights: Path) -> None:
    made = repdistiller.translated("--distill correlation --model_s resnet8 -a 0 -b 0.02 --feat_dim 64".split(), weights)
    assert methods(made)["CC"] == {"weight": 0.02, "dim": 64}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": 1}, "has datasets, models and train"),
        ({**TD, "train": {"stage1": {}, "stage2": {}}}, "in 2 stages"),
        (TD, "train.criterion is missing"),
    ],
)
def test_what_torchdistill_cannot_mean_is_a_sentence(tree: Tree, message: str) -> None:
    with pytest.raises(rd.RedistillError, match=message):
        torchdistill.translated(tree, Path("y.yaml"))
    for criterion, why in (
        ({"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"criterion": {"key": "KDLoss"}, "weight": 1.0}}}, "has no criterion"),
        ({"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"x": term("CRDLoss")}}}, "no loss of it is a term here"),
        ({"key": "KDLoss", "kwargs": {"alpha": 0.5}}, "temperature must be a number, it is None"),
    ):
        with pytest.raises(rd.RedistillError, match=why):
            td(criterion, None)


LOSSES: Tree = {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {
    "kd": term("KDLoss", 1.0, temperature=4.0, alpha=0.9, reduction="batchmean"),
    "at": term("ATLoss", 1000.0, mode="code", at_pairs={"a": {who: {"io": "output", "path": "layer1"} for who in ("student", "teacher")}}),
    "sp": term("SPKDLoss", 3000.0, student_output_path="layer4", teacher_output_path="layer4", reduction="batchmean"),
    "ce": term("CrossEntropyLoss", 1.0, label_smoothing=0.1),
}}}  # fmt: skip
MD: Tree = {"EXPERIMENT": {"TAG": "kd"}, "DISTILLER": {"TYPE": "KD", "TEACHER": "resnet8", "STUDENT": "resnet8"},
            "KD": {"TEMPERATURE": 4, "LOSS": {"CE_WEIGHT": 0.1}}, "SOLVER": {"EPOCHS": 2, "LR": 0.05, "LR_DECAY_STAGES": [1]}}  # fmt: skip
SPOILT: tuple[Any, ...] = (None, "x", [], {}, -1, True, [1, "a"], {"a": 1}, float("nan"), float("inf"))


def places(tree: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, inner in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*before, key)
        yield from places(inner, (*before, key))


@pytest.mark.parametrize(
    ("tree", "read"),
    [({**TD, "train": {**TD["train"], "criterion": LOSSES}}, torchdistill.translated), (MD, mdistiller.translated)],
    ids=["torchdistill", "mdistiller"],
)
def test_whatever_stands_in_a_file_it_is_translated_or_refused_in_a_sentence(tree: Tree, read: Callable[..., Translation]) -> None:
    """Every value of a file in turn taken away, or another one in its place."""
    for *above, key in places(tree):
        for spoilt in (*SPOILT, ...):
            changed: Any = copy.deepcopy(tree)
            inner = functools.reduce(lambda at, name: at[name], above, changed)
            if spoilt is ...:
                del inner[key]
            else:
                inner[key] = spoilt
            try:
                made = read(changed, Path("x.yaml"))
            except rd.RedistillError:
                continue
            tomllib.loads(made.toml())


def test_the_command_writes_a_file_once_and_says_what_it_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, place = CliRunner(), tmp_path / "rep.toml"
    words = ["translate", "repdistiller", "--distill", "kd", "-a", "0.9", "-b", "0", "--model_s", "resnet8", "--to", str(place)]
    done = run.invoke(program(), words, catch_exceptions=False)
    assert done.exit_code == 0 and "--path_t: not given" in done.stderr
    assert tomllib.loads(place.read_text())["student"] == {"model": "resnet8"}
    with pytest.raises(rd.RedistillError, match="is there already"):
        run.invoke(program(), words, catch_exceptions=False)
    with pytest.raises(rd.RedistillError, match="did you mean mdistiller"):
        run.invoke(program(), ["translate", "mdistill", "x.yaml"], catch_exceptions=False)
    script = tmp_path / "run.sh"
    script.write_text("# the pair of the paper\npython train_student.py \\\n  --distill kd -a 0.9 -b 0\n")
    assert 'use = "KD"' in run.invoke(program(), ["translate", "repdistiller", str(script)], catch_exceptions=False).stdout
    file = tmp_path / "kd.yaml"
    file.write_text("DISTILLER: {TYPE: KD, TEACHER: resnet8, STUDENT: resnet8}\nEXPERIMENT: {TAG: !join [a, b]}\n")
    real = builtins.__import__

    def missing(name: str, *more: Any, **others: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *more, **others)

    monkeypatch.setattr("importlib.import_module", lambda name: missing(name))
    with pytest.raises(rd.RedistillError, match=r"pip install 'redistill\[yaml\]'"):
        run.invoke(program(), ["translate", "mdistiller", str(file)], catch_exceptions=False)


def test_yaml_is_read_as_data(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="PyYAML is an extra: pip install 'redistill[yaml]'")
    from redistill.published.translated import yaml_of

    file = tmp_path / "a.yaml"
    file.write_text("a: &x 'b'\nc: !join [*x, '-', 1]\n")
    assert yaml_of(file) == {"a": "b", "c": "b-1"}
    for text, message in (("a: [1\n", "line 2: no yaml"), ("- 1", "is a table"), ("a: !!python/name:os.system x", "constructor")):
        file.write_text(text)
        with pytest.raises(rd.RedistillError, match=message):
            yaml_of(file)

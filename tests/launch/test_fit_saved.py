"""``rd.fit`` as people call it: what it tells, how it saves and goes on, threads; and what is remembered of a teacher."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import redistill as rd
from helpers.small_fit import DATA, net, trained
from redistill.experiment.value import Experiment
from redistill.launch import progress, threads
from redistill.launch.stop import Interrupted
from redistill.runs import checkpoint
from redistill.sources.mixed import Mixed


def test_it_says_what_it_does_unless_it_is_told_not_to(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "OFTEN", 0.0)
    trained(net(), quiet=False)
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert printed.out == "" and lines[0].endswith("0 of 12 steps")
    assert any("share of the loss in the first 3 steps: CE " in line and "KD " in line for line in lines)
    assert any("left: loss " in line and "test " in line and "images/s" in line for line in lines)
    assert "done in" in lines[-1] and "test " in lines[-1]
    trained(net())
    assert capsys.readouterr() == ("", "")


def test_a_feature_term_that_drowns_the_labels_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    small = {"classes": 3, "channels": 1, "image_size": 8}
    student, teacher = rd.models.wrn(10, 1, **small, seed=0), rd.models.wrn(10, 1, **small, seed=1)
    recipe = rd.Recipe(steps=2, batch_size=8, lr=0.0)
    rd.fit(student, teacher, rd.CE() + 1e6 * rd.AT(), DATA, recipe, seed=0)
    assert "warning: AT (weight 1e+06) leaves next to nothing" in capsys.readouterr().err
    rd.fit(student, teacher, rd.CE() + 1e6 * rd.KD(), DATA, recipe, seed=0)
    assert "warning" not in capsys.readouterr().err
    told: set[object] = set()
    for seed in (0, 1):  # as a command does with the seeds of its cells
        loop = rd.Loop([(student, rd.CE() + rd.KD())], teacher, DATA, recipe, seed=seed)
        progress.watch(loop, f"seed {seed}", told=told)
    assert capsys.readouterr().err.count("share of the loss") == 1


def test_a_last_batch_of_very_few_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    def said(**recipe: Any) -> int:
        trained(net(), quiet=False, recipe=rd.Recipe(lr=0.01, **recipe))
        return capsys.readouterr().err.count("the last batch of an epoch has 1 image where the others have 23")

    assert len(DATA) == 24 and said(epochs=2, batch_size=23) == 1
    assert said(epochs=2, batch_size=23, drop_last=True) == said(steps=1, batch_size=23) == said(epochs=2, batch_size=500) == 0


def test_a_saved_fit_goes_on_bit_for_bit_and_at_its_end_is_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, alone = net(), trained(reference := net())
    save = checkpoint.save

    def stops(folder: Path, state: dict[str, Any], facts: dict[str, Any]) -> None:
        save(folder, state, facts)
        if state["step"] == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "save", stops)
        with pytest.raises(Interrupted, match="step 6 of 12 is saved"):
            trained(whole, out=tmp_path / "run", checkpoint_every=0.0)
    assert not whole.training, "stopped between two steps, it is given back in evaluation mode all the same"
    assert len(json.loads((tmp_path / "run" / "curves.json").read_text())["accuracy"]["test"]) == 2  # written as they came
    again = trained(later := net(), out=tmp_path / "run")
    assert again.accuracy == alone.accuracy and again.losses == alone.losses
    assert all(torch.equal(a, b) for a, b in zip(later.state_dict().values(), reference.state_dict().values(), strict=True))
    read = trained(third := net(), out=tmp_path / "run")
    assert read.accuracy == alone.accuracy and torch.equal(next(third.parameters()), next(reference.parameters()))
    back = rd.models.load(tmp_path / "run" / "student-0.safetensors")
    assert torch.equal(next(back.parameters()), next(reference.parameters()))
    with pytest.raises(rd.RedistillError, match="holds a run with other networks"):
        trained(refused := net(1), out=tmp_path / "run")
    assert not refused.training

OWN = """
import redistill as rd
from torch import nn


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(64, 3)

    def forward(self, images):
        return self.last(images.flatten(1))


class Far(rd.Term):
    def forward(self, student, teacher, batch):
        return (student.logits - teacher.logits).abs().mean()
"""


def test_what_no_weights_show_is_noticed_when_a_saved_fit_is_asked_for_again(tmp_path: Path) -> None:
    def asked(text: str = OWN, images: rd.data.Images = DATA) -> rd.Result:
        (tmp_path / "mine.py").write_text(text)
        load = {key: value for key, value in vars(module_of(tmp_path / "mine.py")).items() if key in ("Plain", "Far")}
        torch.manual_seed(0)
        recipe = rd.Recipe(epochs=1, batch_size=8, lr=0.05)
        student, method = load["Plain"](), rd.CE() + load["Far"]()
        return rd.fit(student, net(9), method, DATA, recipe, seed=0, evaluate={"test": images}, out=tmp_path / "run", quiet=True)

    first = asked()
    assert asked(OWN.replace("class Far", "# another word\nclass Far")).losses == first.losses
    with pytest.raises(rd.RedistillError, match=r"other images of 'test', which have changed since: give out= another folder"):
        asked(images=DATA.subset(torch.arange(6), ("few", {})))
    for word, changed, whose in (("self.last(images", "2 * self.last(images", "Plain"), (".abs()", ".square()", "Far")):
        with pytest.raises(rd.RedistillError, match=rf"holds a run with other lines of \S*{whose}, which have changed since"):
            asked(OWN.replace(word, changed))
    assert asked().losses == first.losses


class Noise(nn.Module):
    z, image_shape = 3, (1, 8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(3, 64)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.lift(z).view(-1, 1, 8, 8)


def layers(seed: int) -> Any:
    torch.manual_seed(seed)
    made = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.0), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    made[4].act = torch.relu
    return made


SHOWN, STUDENT, TEACHER = "normalisation of them", "parts or settings of student 0", "parts or settings of the teacher"
OTHERWISE: dict[str, tuple[str, Any]] = {
    "augmentation": (SHOWN, lambda student, teacher: DATA.with_(augment="crop-flip")),
    "normalisation": (SHOWN, lambda student, teacher: DATA.with_(normalise="digits")),
    "dropout": (STUDENT, lambda student, teacher: setattr(student[2], "p", 0.5)),
    "momentum of statistics": (STUDENT, lambda student, teacher: setattr(student[1], "momentum", 0.5)),
    "frozen": (STUDENT, lambda student, teacher: student[0].requires_grad_(False) and None),
    "at rest": (STUDENT, lambda student, teacher: student[1].eval() and None),
    "another layer": (STUDENT, lambda student, teacher: student.__setitem__(3, nn.GELU())),
    "another function": (STUDENT, lambda student, teacher: setattr(student[4], "act", torch.tanh)),
    "buffer": (STUDENT, lambda student, teacher: student.register_buffer("more", torch.ones(2), persistent=False)),
    "the teacher's layer": (TEACHER, lambda student, teacher: teacher.__setitem__(3, nn.GELU())),
    "the teacher's normalisation": (TEACHER, lambda student, teacher: setattr(teacher, "normalisation", "digits")),
}


@pytest.mark.parametrize("change", OTHERWISE)
def test_a_saved_fit_is_not_read_for_one_that_would_train_otherwise(change: str, tmp_path: Path) -> None:
    says, alter = OTHERWISE[change]
    recipe, method = rd.Recipe(epochs=1, batch_size=8, lr=0.05), rd.CE() + rd.KD()
    first = rd.fit(layers(0), layers(1), method, DATA, recipe, seed=0, out=tmp_path / "run", quiet=True)
    student, teacher = layers(0), layers(1)
    source = alter(student, teacher) or DATA
    with pytest.raises(rd.RedistillError, match=f"holds a run with other .*{says}, which have changed since: give out= another folder"):
        rd.fit(student, teacher, method, source, recipe, seed=0, out=tmp_path / "run", quiet=True)
    again = rd.fit(layers(0), layers(1), method, DATA, recipe, seed=0, out=tmp_path / "run", quiet=True)
    assert again.losses == first.losses


def test_other_images_in_a_half_of_a_mixture_are_noticed(tmp_path: Path) -> None:
    def asked(half: rd.data.Images) -> rd.Result:
        recipe = rd.Recipe(epochs=1, batch_size=8, lr=0.05)
        return rd.fit(net(), net(9), rd.KD(), Mixed(DATA.unlabelled(), half), recipe, seed=0, out=tmp_path / "run", quiet=True)

    first = asked(DATA.unlabelled())
    with pytest.raises(rd.RedistillError, match="holds a run with other training images"):
        asked(dataclasses.replace(DATA.unlabelled(), x=255 - DATA.x))
    assert asked(DATA.unlabelled()).losses == first.losses


@pytest.mark.parametrize("where", ["terms.kd:KD.numerics", "train.loop:NUMERICS", "data.augment:NUMERICS", "models.wrn:NUMERICS"])
def test_results_of_formulas_that_have_changed_since_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def asked() -> rd.Result:
        student, teacher = (rd.models.wrn(10, 1, classes=3, channels=1, image_size=8, seed=seed) for seed in (0, 1))
        recipe = rd.Recipe(steps=2, batch_size=4, lr=0.01)
        return rd.fit(student, teacher, rd.KD(), DATA, recipe, seed=0, out=tmp_path / "run", quiet=True)

    first = asked()
    assert asked().losses == first.losses
    module, _, name = where.partition(":")
    *owner, name = name.split(".")
    found = importlib.import_module(f"redistill.{module}")
    with monkeypatch.context() as later:
        later.setattr(getattr(found, *owner) if owner else found, name, 17)
        with pytest.raises(rd.RedistillError, match="holds a run with other formulas of this package, which have changed since"):
            asked()
    assert asked().losses == first.losses


def test_another_generator_or_another_stage_before_is_noticed(tmp_path: Path) -> None:
    def zero_shot(seed: int) -> rd.Result:
        torch.manual_seed(seed)
        source = rd.sources.Adversarial(Noise(), "none", epoch_blocks=1)
        recipe = rd.Recipe(steps=2, batch_size=4, lr=0.01)
        return rd.fit(net(), net(9), rd.KD(), source, recipe, seed=0, out=tmp_path / "zero", quiet=True)

    first = zero_shot(0)
    with pytest.raises(rd.RedistillError, match="holds a run with other weights or parts of the generator, which have changed since"):
        zero_shot(1)
    assert zero_shot(0).losses == first.losses

    def second_stage(scale: float) -> rd.Result:
        recipe, student, teacher = rd.Recipe(epochs=1, batch_size=8, lr=0.01), layers(0), layers(1)
        learned = rd.fit(layers(0), teacher, rd.FT(at=("3",), learns="paraphraser"), DATA, recipe, seed=0, quiet=True).method.learned()
        method = rd.CE() + rd.FT(at=("3",), learns="translator")
        method = method.beginning_with({name: scale * value for name, value in learned.items()})
        return rd.fit(student, teacher, method, DATA, recipe, seed=0, out=tmp_path / "two", quiet=True)

    first = second_stage(1.0)
    with pytest.raises(rd.RedistillError, match="holds a run with other parts that the terms of student 0 go on with"):
        second_stage(0.5)
    assert second_stage(1.0).losses == first.losses


def test_a_saved_fit_that_goes_on_elsewhere_says_so(tmp_path: Path) -> None:
    trained(net(), out=tmp_path / "run", checkpoint_every=0.0)
    place = tmp_path / "run"
    state, facts = checkpoint.load(place / checkpoint.PREVIOUS)
    (place / checkpoint.NAME).unlink()
    facts["sessions"][-1]["threads"] = 77
    checkpoint.save(place, state, facts)
    with pytest.warns(UserWarning, match=r"checkpoint.safetensors: it comes from threads 77 \(here \d+\): the result may differ"):
        trained(net(), out=place)


def module_of(path: Path) -> Any:
    """A module of a file, as it is now."""
    spec = importlib.util.spec_from_file_location("mine_of_fit", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mine_of_fit"] = module
    exec(compile(path.read_text(), str(path), "exec"), vars(module))  # never an older file's bytecode
    return module


def test_a_damaged_checkpoint_of_a_fit_is_told_and_one_of_another_version_is_left_alone(tmp_path: Path) -> None:
    first = trained(net(), out=tmp_path / "run")
    place = tmp_path / "run" / checkpoint.NAME
    whole = place.read_bytes()
    place.write_bytes(whole[:-3])
    with pytest.warns(UserWarning, match=r"is damaged.*kept as checkpoint.damaged.safetensors, and the run goes on from what was saved"):
        assert trained(net(), out=tmp_path / "run").losses == first.losses
    state, facts = checkpoint.load(place)
    checkpoint.save(place.parent, {key: value for key, value in state.items() if key != "students"}, facts)
    with pytest.raises(checkpoint.Foreign, match=r"does not fit this run .KeyError.*another version of redistill wrote it"):
        trained(net(), out=tmp_path / "run")


def test_small_steps_take_one_thread_and_give_the_others_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        cpu = torch.device("cpu")
        assert threads.wanted([net()], (1, 8, 8), 64, cpu) == 1
        assert threads.wanted([rd.models.wrn(16, 1, seed=0)], (3, 32, 32), 1024, cpu) == 2
        trained(net())
        assert torch.get_num_threads() == 2
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert threads.wanted([net()], (1, 8, 8), 64, cpu) == 2
    finally:
        torch.set_num_threads(before)
    with pytest.raises(rd.RedistillError, match="threads=0"):
        trained(net(), threads=0)


def test_what_no_cohort_is_made_of_is_said() -> None:
    with pytest.raises(rd.RedistillError, match=r"a cohort is a list of \(student, method\) pairs"):
        rd.fit_cohort([net()], None, DATA, rd.Recipe(epochs=1), seed=0)  # type: ignore[list-item]
    for odd in ("x", float("nan"), -1.0, None):
        with pytest.raises(rd.RedistillError, match=r"checkpoint_every=.*seconds between two checkpoints"):
            trained(net(), checkpoint_every=odd)
    with pytest.raises(rd.RedistillError, match=r'out="" names no folder'):  # it wrote into the current one
        trained(net(), out="")


# -- several methods in one file --------------------------------------------------------------------------------------
FILE = """
[teacher]
from = "wrn-16-2-digits"
[student]
model = "wrn-10-1"
[source]
data = "digits"
per_class = 10
[recipe]
epochs = 1
batch_size = 50
[methods]
plain = [{ use = "CE" }]
KD = [{ use = "CE", weight = 0.1 }, { use = "KD", weight = 0.9 }]
[methods.slow]
terms = [{ use = "CE" }]
recipe = { lr = 0.01 }
"""


def test_one_file_holds_several_methods_and_goes_on_from_another(tmp_path: Path) -> None:
    (tmp_path / "all.toml").write_text(FILE)
    plain, kd, slow = Experiment.load_all(tmp_path / "all.toml", device="cpu")
    assert [one.label for one in (plain, kd, slow)] == ["plain", "KD", "slow"] and slow.recipe.lr == 0.01 != plain.recipe.lr
    single = FILE.partition("[methods]")[0] + '[[method]]\nuse = "CE"\nweight = 0.1\n[[method]]\nuse = "KD"\nweight = 0.9\n'
    (tmp_path / "one.toml").write_text(single)
    assert Experiment.load(tmp_path / "one.toml", device="cpu").id == kd.id
    (tmp_path / "more.toml").write_text('extends = "one.toml"\n[recipe]\nepochs = 2\n')
    more = Experiment.load(tmp_path / "more.toml", device="cpu")
    assert more.recipe.epochs == 2 and more.recipe.batch_size == 50
    with pytest.raises(rd.RedistillError, match="holds several methods"):
        Experiment.load(tmp_path / "all.toml")
    warmer = Experiment.load_all(tmp_path / "all.toml", device="cpu", change=["method.KD.T=2", "recipe.epochs=3"])  # where KD stands
    assert [one.recipe.epochs for one in warmer] == [3] * 3 and warmer[1].method[1].settings["T"] == 2.0
    assert [one.method for one in warmer[::2]] == [plain.method, slow.method]
    second = Experiment.load_all(tmp_path / "all.toml", device="cpu", change=["method.1.weight=0.5"])
    assert [[part.weight for part in one.method] for one in second] == [[1.0], [0.1, 0.5], [1.0]]
    for change, says in (
        ("method.KDD.T=2", "unknown term 'KDD': did you mean KD"), ("method.2.weight=1", "unknown term '2'"), ("odd", "write key=value"),
        ("method.KD.TT=2", "unknown setting of KD 'TT'"),
    ):  # fmt: skip
        with pytest.raises(rd.RedistillError, match=says):
            Experiment.load_all(tmp_path / "all.toml", device="cpu", change=[change])
    (tmp_path / "bad.toml").write_text(FILE.replace('"KD", weight', '"KDD", weight'))
    with pytest.raises(rd.RedistillError, match=r'line 14, method\[1\].use = "KDD": unknown term'):
        Experiment.load_all(tmp_path / "bad.toml")
    (tmp_path / "more.toml").write_text('extends = "more.toml"\n')
    with pytest.raises(rd.RedistillError, match="leads back to this file"):
        Experiment.load(tmp_path / "more.toml")


def test_a_term_needs_no_decorator_and_says_what_is_missing_where_it_has_a_constructor() -> None:
    class Gap(rd.Term):
        scale: float = 2.0

        def forward(self, student: rd.Output, teacher: rd.Output, batch: rd.Batch) -> torch.Tensor:
            return self.scale * (student.logits - teacher.logits).abs().mean()

    assert repr(3 * Gap(scale=1.5)) == "3.0 * Gap(scale=1.5)" and Gap().settings() == {"scale": 2.0}

    class Odd(rd.Term):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

    with pytest.raises(rd.RedistillError, match="Odd defines __init__, and a term's settings are its fields"):
        Odd(1.0)


class Counts(nn.Module):
    """Counts its calls and draws at each, in every mode."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.inner(x.flatten(1)) + 0 * torch.rand(1)


def test_choosing_threads_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    one, before = Counts(), torch.get_rng_state()
    assert threads.wanted([one], (1, 2, 2), 8, torch.device("cpu")) == 1
    assert one.calls == 0 and one.training and torch.equal(before, torch.get_rng_state())

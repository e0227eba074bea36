"""Runs that look up what their teacher said: the bits of those that compute, or a reason why not."""

from __future__ import annotations

import copy
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import redistill as rd
from helpers.remembered import Net, images
from redistill.answers import folder as answers
from redistill.answers.table import HEAD
from redistill.errors import RedistillError
from redistill.sources.mixed import Mixed
from redistill.tensor_files import tensors_digest
from redistill.train.remembered import CacheWarning

# -- runs -------------------------------------------------------------------------------------------------------------
RECIPE = rd.Recipe(epochs=3, lr=0.05, batch_size=40)
KD = 0.1 * rd.CE() + 0.9 * rd.KD(T=4)


def run(cache: Path | bool, source: Any = None, teacher: nn.Module | None = None, method: Any = KD, recipe: rd.Recipe = RECIPE) -> rd.Loop:
    loop = rd.Loop([(Net(), method)], teacher or Net(8, seed=1), source or images(), recipe, seed=3, device="cpu", cache=cache)
    list(loop)
    return loop


def weights(loop: rd.Loop) -> str:
    return tensors_digest(loop.students[0].net.state_dict())


def counts(loop: rd.Loop) -> tuple[int, int, str | None]:
    assert loop.teacher is not None
    answered = loop.teacher.answered
    return answered.looked_up, answered.computed, answered.off


AT = rd.CE() + 0.5 * rd.KD(T=2.0) + 10.0 * rd.AT(at=[("conv", "conv"), ("bn", "bn")])


@pytest.mark.parametrize("method", [KD, AT], ids=["logits", "features"])
@pytest.mark.parametrize("augment", ["none", "crop-flip:2"])
@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE, RECIPE.model_copy(update={"precision": "double"}), RECIPE.model_copy(update={"channels_last": False}),
        RECIPE.model_copy(update={"batch_size": 7}), RECIPE.model_copy(update={"precision": "fast"}),
    ],
    ids=["strict", "double", "contiguous", "small batches", "fast"],
)  # fmt: skip
def test_a_run_that_looks_up_has_the_bits_of_one_that_computes(tmp_path: Path, recipe: rd.Recipe, augment: str, method: Any) -> None:
    live, source = run(False, images(augment=augment), method=method, recipe=recipe), images(augment=augment)
    first = run(tmp_path, source, method=method, recipe=recipe)
    second = run(tmp_path, source, method=method, recipe=recipe)
    assert weights(live) == weights(first) == weights(second)
    assert live.results()[0].losses == second.results()[0].losses
    assert counts(second) == (150, 0, None)
    looked, computed, off = counts(first)
    assert looked + computed == 150 and off is None and (computed == 50 if augment == "none" else computed > 50)


def test_a_half_known_batch_and_a_cohort_and_another_seed_have_the_bits_of_the_live_teacher(tmp_path: Path) -> None:
    source = images(augment="crop-flip:1")
    for seed in range(3):
        pair: list[tuple[nn.Module, Any]] = [(Net(), KD), (Net(5), AT)]
        if seed:
            pair = pair[:1]
        nets = [[net for net, _ in copy.deepcopy(pair)] for _ in range(2)]
        for mine, cache in zip(nets, (False, tmp_path), strict=True):
            rd.fit_cohort(list(zip(mine, [m for _, m in pair], strict=True)), Net(8, seed=1), source, RECIPE, seed=seed, device="cpu",
                          cache=cache)  # fmt: skip
        assert [tensors_digest(net.state_dict()) for net in nets[0]] == [tensors_digest(net.state_dict()) for net in nets[1]]
    loop = run(tmp_path, source)
    assert counts(loop)[0] > 0 and weights(loop) == weights(run(False, source))


def test_nothing_is_found_by_another_teacher_data_normalisation_augmentation_or_arithmetic(tmp_path: Path) -> None:
    assert counts(run(tmp_path)) == (100, 50, None)
    moved = images()
    moved.x[7, 0, 0, 0] ^= 1
    for other in (
        lambda: run(tmp_path, teacher=Net(8, seed=2)),
        lambda: run(tmp_path, teacher=Net(8, seed=1, act=F.gelu)),
        lambda: run(tmp_path, moved),
        lambda: run(tmp_path, images(normalise="half")),
        lambda: run(tmp_path, images(augment="flip")),
        lambda: run(tmp_path, images().first_per_class(10)),
        lambda: run(tmp_path, recipe=RECIPE.model_copy(update={"precision": "double"})),
        lambda: run(tmp_path, recipe=RECIPE.model_copy(update={"channels_last": False})),
    ):
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        assert counts(other())[1] > 0
        assert all(path.read_bytes() == content for path, content in before.items())
    assert counts(run(tmp_path)) == (150, 0, None)


def test_pixels_changed_behind_the_hash_of_their_set_are_asked_anew(tmp_path: Path) -> None:
    source = images()
    run(tmp_path, source)
    source.x[7] = 255 - source.x[7]  # the set's hash was taken already
    with pytest.warns(CacheWarning, match="do not fit their checksums"):
        loop = run(tmp_path, source)
    assert counts(loop)[1] == 1 and weights(loop) == weights(run(False, source))


def test_a_damaged_table_changes_no_bit(tmp_path: Path) -> None:
    first = run(tmp_path, method=AT)
    for path in tmp_path.iterdir():
        content = bytearray(path.read_bytes())
        content[HEAD + 300 : HEAD + 1200] = bytes(range(256))[:225] * 4
        path.write_bytes(content)
    with pytest.warns(CacheWarning, match="do not fit"):
        loop = run(tmp_path, method=AT)
    assert weights(loop) == weights(first) and 0 < counts(loop)[1] < 50
    assert counts(run(tmp_path, method=AT)) == (150, 0, None)


class Draws(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.1))


class Counts(Net):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) + 1e-3 * self.calls


class Beside(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0))


class Quiet(Net):
    """Draws what it never uses."""

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(1)
        return super().forward(x)


class Asserts(Net):
    """Takes pixels between 0 and 1 alone, as a careful author writes it: noise is refused."""

    def forward(self, x: Tensor) -> Tensor:
        assert float(x.min()) >= 0.0 and float(x.max()) <= 1.0, "images between 0 and 1"
        return super().forward(x)


@pytest.mark.parametrize(
    ("make", "why"), [(Draws, "draws random numbers"), (Quiet, "draws random numbers"), (Counts, "changes by being asked"),
                      (Beside, "depends on the images beside it"),
                      (Asserts, "cannot be tried on noise (AssertionError: images between 0 and 1)")]
)  # fmt: skip
def test_a_teacher_whose_answers_are_not_the_images_own_is_not_remembered(tmp_path: Path, make: Any, why: str) -> None:
    loop = run(tmp_path, teacher=make(8, seed=1))
    assert why in (counts(loop)[2] or "") and list(tmp_path.iterdir()) == []
    assert weights(loop) == weights(run(False, teacher=make(8, seed=1)))


def test_batch_statistics_train_mode_and_made_up_images_are_not_remembered(tmp_path: Path) -> None:
    teacher = Net(8, seed=1)
    teacher.bn = nn.BatchNorm2d(8, track_running_stats=False)
    assert "depends on the images beside it" in (counts(run(tmp_path, teacher=teacher))[2] or "")
    trains = run(tmp_path, recipe=RECIPE.model_copy(update={"teacher_mode": "train"}))
    assert counts(trains)[2] == "the teacher is in train mode"
    mixed = Mixed(images(), images(seed=1))
    loop = rd.Loop([(Net(), rd.KD())], Net(8, seed=1), mixed, RECIPE, seed=0, device="cpu", cache=tmp_path)
    assert "Mixed are no fixed set" in (counts(loop)[2] or "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cleared", [False, True])
def test_a_resumed_run_has_the_same_bits_and_looks_up_unless_its_table_was_cleared(tmp_path: Path, cleared: bool) -> None:
    def loop() -> rd.Loop:
        return rd.Loop([(Net(), KD)], Net(8, seed=1), images(augment="flip"), RECIPE, seed=3, device="cpu", cache=tmp_path)

    first = loop()
    for _ in range(3):
        next(first)
    saved = copy.deepcopy(first.state())
    list(first)
    if cleared:
        assert len(answers.clear(tmp_path)) == 1
    second = loop()
    second.load_state(saved)
    list(second)
    assert weights(first) == weights(second) and (counts(second)[1] > 0) == cleared


# -- the folder -------------------------------------------------------------------------------------------------------
def test_a_folder_that_cannot_be_made_is_a_sentence_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(CacheWarning, match=r"is not remembered: .*file/below.*a part of the path is a file"):
        loop = run(tmp_path / "file" / "below")
    assert weights(loop) == weights(run(False)) and "a part of the path is a file" in (counts(loop)[2] or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.warns(CacheWarning, match="permission denied"):
        run(tmp_path / "closed")


def test_a_disk_that_fills_up_switches_it_off_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrote, real = [], os.pwrite

    def full(file: int, content: bytes, at: int) -> int:
        wrote.append(at)
        if len(wrote) > 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, content, at)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.warns(CacheWarning, match=r"not remembered from here on \(.*the disk is full\)"):
        loop = run(tmp_path)
    assert weights(loop) == weights(run(False)) and "the disk is full" in (counts(loop)[2] or "")
    assert len(wrote) == 21  # tried once and not at every step
    monkeypatch.undo()
    assert counts(run(tmp_path)) == (120, 30, None)  # what was written before is whole


FULL = """
import resource, signal, sys, warnings
sys.path[:0] = sys.argv[2:]
import torch; torch.set_num_threads(1)
from test_remembered import counts, run
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
warnings.simplefilter("ignore")
print(counts(run(__import__("pathlib").Path(sys.argv[1])))[2])
"""


def test_a_limit_of_the_system_on_files_is_no_crash(tmp_path: Path) -> None:
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(here.parent), str(here.parents[1]), str(here.parents[2] / "src")],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "the file is larger than allowed here" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_table_that_is_removed_or_cut_while_a_run_is_at_it_loses_nothing(tmp_path: Path) -> None:
    def half() -> rd.Loop:
        loop = rd.Loop([(Net(), KD)], Net(8, seed=1), images(), RECIPE, seed=3, device="cpu", cache=tmp_path)
        next(loop), next(loop)
        return loop

    removed = half()
    assert [kept.rows for kept in answers.clear(tmp_path)] == [50] and answers.listed(tmp_path) == []
    list(removed)
    cut = half()
    os.truncate(next(tmp_path.iterdir()), 100)
    with pytest.warns(CacheWarning, match="cut short while it was in use"):
        list(cut)
    assert weights(removed) == weights(cut) == weights(run(False))
    with pytest.warns(CacheWarning, match="made anew"):
        assert counts(run(tmp_path)) == (100, 50, None)


def test_the_limit_is_kept_and_what_was_used_last_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = HEAD + 50 * 24
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", str(2 * size + 100))
    for seed in (1, 2):
        run(tmp_path, teacher=Net(8, seed=seed))
    first, second = (kept.path for kept in reversed(answers.listed(tmp_path)))
    os.utime(second, (1, 1))
    run(tmp_path, teacher=Net(8, seed=3))
    assert first.exists() and not second.exists() and len(answers.listed(tmp_path)) == 2
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", "1KB")
    off = counts(run(tmp_path, teacher=Net(8, seed=4)))[2] or ""
    assert "5.3 kB are more than the 1 kB that may be remembered" in off and len(answers.listed(tmp_path)) == 2
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", "0")
    assert counts(run(tmp_path, teacher=Net(8, seed=3))) == (0, 0, "nothing may be remembered: REDISTILL_CACHE_LIMIT is 0")
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", "lots")
    with pytest.raises(RedistillError, match="REDISTILL_CACHE_LIMIT: a size in bytes was expected, got 'lots'"):
        answers.limit()


def test_tables_that_do_not_fit_together_are_not_begun_and_the_logits_are_there_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the three would fit: begun one by one, they would drive each other out at every run."""
    source, live = images(), run(False, method=AT)
    sizes = [size for size, _ in sorted((kept.size, kept.about) for kept in _listed(run(tmp_path / "whole", source, method=AT), tmp_path))]
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", str(sum(sizes) - 1))
    for computed in (150, 150):
        loop = run(tmp_path / "small", source, method=AT)
        looked_up, fresh, off = counts(loop)
        assert (looked_up, fresh) == (0, computed) and "its features do not fit" in (off or "") and "may be remembered" in (off or "")
        assert weights(loop) == weights(live)
        assert [kept.about.partition(" of ")[0] for kept in answers.listed(tmp_path / "small")] == ["logits"]
    assert counts(run(tmp_path / "small", source)) == (150, 0, None)
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", str(sum(sizes)))
    assert counts(run(tmp_path / "small", source, method=AT)) == (100, 50, None)  # the logits' table stays, the others come to it
    assert counts(run(tmp_path / "small", source, method=AT)) == (150, 0, None)


def _listed(loop: rd.Loop, folder: Path) -> list[answers.Kept]:
    assert counts(loop)[2] is None
    return answers.listed(folder / "whole")


def test_a_hook_makes_a_teacher_untellable(tmp_path: Path) -> None:
    teacher = Net(8, seed=1)
    teacher.bn.register_forward_hook(lambda module, args, out: out * 1.5)
    assert "a hook stands on its part BatchNorm2d" in (counts(run(tmp_path, teacher=teacher))[2] or "")
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, out: None)
    try:
        assert "a hook stands on every module" in (counts(run(tmp_path))[2] or "")
    finally:
        handle.remove()
    assert list(tmp_path.iterdir()) == []


def test_features_that_do_not_fit_leave_the_teacher_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", "20KB")
    loop = run(tmp_path, images(augment="crop-flip:2"), method=AT)
    assert "may be remembered" in (counts(loop)[2] or "") and list(tmp_path.iterdir()) == []


# -- what suffices of a feature ---------------------------------------------------------------------------------------
MAPS = [("conv", "conv"), ("bn", "bn")]
ATTENTION, HINT = rd.CE() + 10.0 * rd.AT(at=MAPS), rd.CE() + rd.FitNet(at=[("bn", "bn")])


def _about(folder: Path) -> dict[str, int]:
    """What lies there, with the bytes of an answer in fp32."""
    return {kept.about.rpartition(" of ")[0]: (kept.size - HEAD) // kept.rows - 8 for kept in answers.listed(folder)}


def test_attention_remembers_a_number_a_position_and_a_reader_of_the_map_the_map(tmp_path: Path) -> None:
    attention = "attention(p=2.0, absolute=False) of"
    run(tmp_path / "at", method=ATTENTION)
    assert _about(tmp_path / "at") == {"logits": 16, f"{attention} conv": 4 * 64, f"{attention} bn": 4 * 64}
    both = ATTENTION + rd.FitNet(at=[("bn", "bn")])
    run(tmp_path / "both", method=both)
    assert _about(tmp_path / "both") == {"logits": 16, f"{attention} conv": 4 * 64, "bn": 8 * 4 * 64}
    assert weights(run(False, method=both)) == weights(run(tmp_path / "both", method=both))


def test_one_exponent_is_not_read_for_another(tmp_path: Path) -> None:
    run(tmp_path, method=ATTENTION)
    for other in (rd.AT(at=MAPS, p=4.0), rd.AT(at=MAPS, p=3.0, absolute=True), rd.AT(at=MAPS, p=3.0)):
        method = rd.CE() + 10.0 * other
        loop = run(tmp_path, method=method)
        assert counts(loop) == (100, 50, None) and weights(loop) == weights(run(False, method=method))
    for same in (rd.AT(at=MAPS, form="norm"), rd.AT(at=MAPS, over="batch"), rd.AT(at=MAPS, normalise=False)):
        method = rd.CE() + 0.1 * same
        loop = run(tmp_path, method=method)
        assert counts(loop) == (150, 0, None) and weights(loop) == weights(run(False, method=method))


def test_two_exponents_of_one_map_are_both_remembered(tmp_path: Path) -> None:
    method = ATTENTION + rd.AT(at=MAPS, p=4.0)
    assert weights(run(tmp_path, method=method)) == weights(run(False, method=method)) == weights(run(tmp_path, method=method))
    assert len(_about(tmp_path)) == 5


def test_maps_that_are_there_already_are_looked_up_and_attention_has_its_bits_of_them(tmp_path: Path) -> None:
    """A run of a term that reads the maps whole comes first: attention's run computes nothing, and begins no tables of its own."""
    run(tmp_path, method=rd.CE() + rd.FitNet(at=[("conv", "conv")]) + rd.FitNet(at=[("bn", "bn")]))
    before = _about(tmp_path)
    loop = run(tmp_path, method=ATTENTION)
    assert counts(loop) == (150, 0, None) and _about(tmp_path) == before
    assert weights(loop) == weights(run(False, method=ATTENTION))


def test_tables_of_maps_that_were_only_begun_are_left_for_less(tmp_path: Path) -> None:
    """A table that is mostly holes saves nothing: what is small is filled instead of what is large."""
    source = images(2000)
    maps = rd.CE() + rd.FitNet(at=[("conv", "conv")]) + rd.FitNet(at=[("bn", "bn")])
    run(tmp_path, source, method=maps, recipe=rd.Recipe(steps=2, lr=0.05, batch_size=40))
    run(tmp_path, source, method=ATTENTION, recipe=rd.Recipe(steps=2, lr=0.05, batch_size=40))
    assert sum(name.startswith("attention") for name in _about(tmp_path)) == 2


class Pooled(Net):
    """Half the height and width."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.avg_pool2d(x, 2))


def test_a_map_that_meets_a_smaller_one_is_remembered_whole_because_it_is_averaged_before_it_is_raised(tmp_path: Path) -> None:
    for student, about in ((Pooled(), {"logits", "conv", "bn"}), (Net(), None)):
        teacher = Net(8, seed=1) if about else Pooled(8, seed=1)
        made = []
        for cache in (False, tmp_path / str(bool(about)), tmp_path / str(bool(about))):
            loop = rd.Loop([(copy.deepcopy(student), ATTENTION)], teacher, images(), RECIPE, seed=3, device="cpu", cache=cache)
            list(loop)
            made.append(weights(loop))
        assert len(set(made)) == 1 and counts(loop) == (150, 0, None)
        found = set(_about(tmp_path / str(bool(about))))
        assert found == about if about else {name.partition("(")[0] for name in found} == {"logits", "attention"}


class Curious(rd.AT):
    """A term of one's own that reads more than AT does."""

    def forward(self, student: rd.Output, teacher: rd.Output, batch: rd.Batch) -> Tensor:
        return super().forward(student, teacher, batch) + 0.01 * teacher["bn"].square().mean() * student.logits.square().mean()


def test_a_subclass_that_reads_the_map_has_it(tmp_path: Path) -> None:
    method = rd.CE() + Curious(at=MAPS)
    assert weights(run(tmp_path, method=method)) == weights(run(False, method=method)) == weights(run(tmp_path, method=method))
    assert set(_about(tmp_path)) == {"logits", "conv", "bn"}


@pytest.mark.parametrize(
    "of",
    [lambda f: f.mean((1, 2, 3)) - f.mean(), lambda f: f.sum((1, 2, 3)) * (1.0 + len(f) / 64)],
    ids=["its neighbours", "how many they are"],
)
def test_a_summary_that_depends_on_the_images_beside_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: Any) -> None:
    monkeypatch.setattr(rd.AT, "summaries", lambda self: {theirs: rd.core.Summary("odd", of) for _, theirs in self.pairs})
    loop = run(tmp_path, method=ATTENTION)
    assert set(_about(tmp_path)) == {"logits", "conv", "bn"} and weights(loop) == weights(run(False, method=ATTENTION))


def test_a_rise_of_the_formulas_numerics_asks_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(tmp_path, method=ATTENTION)
    monkeypatch.setattr(rd.AT, "numerics", rd.AT.numerics + 1)
    assert counts(run(tmp_path, method=ATTENTION)) == (100, 50, None)

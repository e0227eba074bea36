"""What teachers said is remembered exactly, or not at all: tables, keys, and runs that look up."""

from __future__ import annotations

import copy
import errno
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import redistill as rd
from redistill.answers import folder as answers
from redistill.answers.network import Untold, network_key
from redistill.answers.numbers import remembered
from redistill.answers.table import HEAD, Prints, Shape, Sum, Table, header
from redistill.data import Images
from redistill.errors import RedistillError
from redistill.files import Spoilt, digest
from redistill.sources.mixed import Mixed
from redistill.tensor_files import tensors_digest
from redistill.train.remembered import CacheWarning

KEY = digest("a key")
FEW = torch.arange(10)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def table(path: Path, shape: Shape, rows: int = 20, key: str = KEY) -> Table:
    return Table(path, key, "a test", rows, shape)


def filled(path: Path, said: Tensor) -> tuple[Table, Tensor]:
    """A table that knows ten rows, 3 to 12, of images with the prints 0 to 9."""
    shape = Shape.of(said)
    assert shape is not None
    made = table(path, shape)
    made.write(FEW + 3, FEW, shape.packed(said))
    return made, FEW + 3


# -- one file ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "said",
    [
        draw(10, 7), draw(10, 10).bfloat16(), draw(10, 3).double(), draw(10, 4, 3, 3), draw(10, 5, 1, 1),
        draw(10, 4, 3, 3).contiguous(memory_format=torch.channels_last), draw(10, 6, 5).transpose(1, 2), draw(10, 1),
    ],
    ids=["odd", "bf16", "double", "map", "1x1", "channels last", "turned", "one"],
)  # fmt: skip
def test_a_table_gives_back_bits_and_layout(tmp_path: Path, said: Tensor) -> None:
    made, rows = filled(tmp_path / "one.table", said)
    known, words = made.read(rows, FEW)
    found = made.shape.unpacked(words)
    assert known.all() and torch.equal(found, said) and found.stride() == said.stride() and found.dtype == said.dtype
    assert not made.read(torch.tensor([0, 1, 13]), FEW[:3])[0].any()
    again = table(tmp_path / "one.table", made.shape)  # from the disk, and whole
    assert torch.equal(again.shape.unpacked(again.read(rows, FEW)[1]), said) and again.filled() == 10 and again.notes == []


def test_an_answer_that_does_not_lie_side_by_side_has_no_shape() -> None:
    assert Shape.of(draw(10, 8)[:, ::2]) is None and Shape.of(draw(4, 10).T) is None and Shape.of(draw(10, 4, 8)[:, 0]) is None
    assert Shape.of(torch.zeros(10, 3, dtype=torch.complex64)) is None


def test_the_sum_is_that_of_the_slow_formula_and_every_change_of_a_bit_changes_it() -> None:
    one, words = Sum(5, 3), torch.tensor([[3, -7, 2**62 + 5]])
    mask = (1 << 64) - 1
    total = 0
    for word, odd in zip(words[0].tolist(), one.odd.tolist(), strict=True):
        word &= mask
        total = (total + (word ^ ((word >> 29) & 0x7FFFFFFFF)) * odd) & mask
    assert int(one(words)) & mask == total and all(odd % 2 for odd in one.odd.tolist())
    seen = {int(one(words))}
    for column in range(3):
        for bit in range(64):
            changed = words.clone()
            changed[0, column] ^= (1 << bit) if bit < 63 else -(1 << 63)
            seen.add(int(one(changed)))
    both = words.clone()
    both[0, :2] ^= -(1 << 63)  # two highest bits at once
    assert len(seen) == 193 and int(one(both)) not in seen


def test_a_row_for_another_image_is_not_found(tmp_path: Path) -> None:
    made, rows = filled(tmp_path / "one.table", draw(10, 7))
    prints = FEW.clone()
    prints[4] = 99
    assert made.read(rows, prints)[0].tolist() == [i != 4 for i in range(10)]


def test_prints_follow_every_pixel_and_not_the_layout() -> None:
    for shape in ((5, 3, 8, 8), (5, 1, 3, 3), (5, 7)):
        images, prints = draw(*shape), Prints()
        first = prints(images)
        assert torch.equal(first, prints(images.clone())) and len(set(first.tolist())) == 5
        for position in range(images[0].numel()):
            changed = images.clone()
            changed[2].view(-1)[position] += 1
            assert (prints(changed) != first).tolist() == [i == 2 for i in range(5)]


@pytest.mark.parametrize("where", [0, 1, 7, 8, 15, 35])
def test_every_damaged_byte_of_a_row_is_noticed(tmp_path: Path, where: int) -> None:
    said = draw(10, 7)
    made, rows = filled(tmp_path / "one.table", said)
    row = 8 * (1 + made.shape.words)
    content = bytearray((tmp_path / "one.table").read_bytes())
    content[HEAD + row * 5 + where] ^= 0x40
    (tmp_path / "one.table").write_bytes(content)
    again = table(tmp_path / "one.table", made.shape)
    known, _ = again.read(rows, FEW)
    assert known.tolist() == [r != 5 for r in rows.tolist()] and "1 answers do not fit their checksums" in again.notes[0]
    again.write(rows, FEW, again.shape.packed(said))
    assert again.read(rows, FEW)[0].all()


def test_rows_that_changed_places_are_noticed(tmp_path: Path) -> None:
    made, rows = filled(tmp_path / "one.table", draw(10, 7))
    row = 8 * (1 + made.shape.words)
    content = bytearray((tmp_path / "one.table").read_bytes())
    a, b = HEAD + row * 5, HEAD + row * 6
    content[a : a + row], content[b : b + row] = content[b : b + row], content[a : a + row]
    (tmp_path / "one.table").write_bytes(content)
    assert not table(tmp_path / "one.table", made.shape).read(rows, FEW)[0][2:4].any()


def _cut(content: bytearray) -> bytes:
    return bytes(content[:-1])


SPOILT: dict[str, tuple[Callable[[bytearray], bytes], str]] = {
    "cut short": (_cut, "cut short"),
    "empty": (lambda content: b"", "it is no table"),
    "half a head": (lambda content: bytes(content[:100]), "altered|cannot be read"),
    "longer": (lambda content: bytes(content) + b"x", "it should have"),
    "another format": (lambda content: b"PK\x03\x04" + bytes(content[4:]), "it is no table"),
    "altered head": (lambda content: bytes(content[:120]) + b"?" + bytes(content[121:]), "its head was altered"),
    "no numbers": (lambda content: bytes(content[:18]) + b"\xff" * 100 + bytes(content[118:]), "cannot be read"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_damaged_file_is_noticed_and_made_anew(tmp_path: Path, name: str) -> None:
    spoil, says = SPOILT[name]
    path, said = tmp_path / "one.table", draw(10, 7)
    made, rows = filled(path, said)
    path.write_bytes(spoil(bytearray(path.read_bytes())))
    with pytest.raises(Spoilt, match=says):
        header(path)
    again = table(path, made.shape)
    assert "it is made anew" in again.notes[0] and again.filled() == 0
    again.write(rows, FEW, again.shape.packed(said))
    assert again.read(rows, FEW)[0].all() and header(path).key == KEY


def test_a_file_of_another_key_under_this_name_is_made_anew(tmp_path: Path) -> None:
    made, rows = filled(tmp_path / "one.table", draw(10, 7))
    other = table(tmp_path / "one.table", made.shape, key=digest("another"))
    assert "something else" in other.notes[0] and not other.read(rows, FEW)[0].any()
    assert made.read(rows, FEW)[0].all()  # whoever had it open keeps what it had


def test_a_table_that_is_cut_while_it_is_open_is_an_error_and_no_crash(tmp_path: Path) -> None:
    made, rows = filled(tmp_path / "one.table", draw(10, 7))
    os.truncate(tmp_path / "one.table", HEAD)
    with pytest.raises(OSError, match="cut short while it was in use"):
        made.read(rows, FEW)


def test_a_table_takes_room_on_the_disk_only_where_it_is_filled(tmp_path: Path) -> None:
    shape = Shape.of(draw(2, 10))
    assert shape is not None
    made = table(tmp_path / "one.table", shape, rows=1_000_000)
    made.write(torch.tensor([999_999]), torch.tensor([7]), shape.packed(draw(1, 10)))
    assert (tmp_path / "one.table").stat().st_size == 48_000_000 + HEAD
    assert (tmp_path / "one.table").stat().st_blocks * 512 < 1_000_000
    assert made.read(torch.tensor([999_999]), torch.tensor([7]))[0].item()


WRITER = """
import sys, torch
from pathlib import Path
from redistill.answers.table import Shape, Table
shape = Shape((10,), (1,), torch.float32)
made = Table(Path(sys.argv[1]), "{key}", "a test", 4000, shape)
order = torch.randperm(4000, generator=torch.Generator().manual_seed(int(sys.argv[2])))
said = torch.randn(4000, 10, generator=torch.Generator().manual_seed(0))
for rows in order.split(50):
    known, words = made.read(rows, rows)
    assert torch.equal(shape.unpacked(words)[known], said[rows][known])
    made.write(rows[~known], rows[~known], shape.packed(said[rows[~known]]))
assert made.notes == [], made.notes
"""


def test_two_processes_fill_one_table(tmp_path: Path) -> None:
    path, script = tmp_path / "one.table", tmp_path / "writer.py"
    script.write_text(WRITER.format(key=KEY), encoding="utf-8")
    source = str(Path(__file__).parents[1] / "src")
    both = [
        subprocess.Popen([sys.executable, str(script), str(path), str(seed)], env={**os.environ, "PYTHONPATH": source}) for seed in (1, 2)
    ]
    assert [one.wait(120) for one in both] == [0, 0]
    shape = Shape((10,), (1,), torch.float32)
    every = torch.arange(4000)
    known, words = table(path, shape, rows=4000).read(every, every)
    assert known.all() and torch.equal(shape.unpacked(words), torch.randn(4000, 10, generator=torch.Generator().manual_seed(0)))


# -- who a network is -------------------------------------------------------------------------------------------------
class Net(nn.Module):
    """Convolution and batch norm, with an attribute that its forward reads."""

    def __init__(self, width: int = 4, seed: int = 0, scale: float = 1.0, act: Callable[[Tensor], Tensor] = F.relu):
        super().__init__()
        with rd.rng.seeded(seed, "init", width):
            self.conv, self.bn, self.head = nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.Linear(width, 3)
        self.scale, self.act, self.table = scale, act, {"a": [1, 2.0], "b": None}

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.bn(self.conv(x))).mean((2, 3))) * self.scale


def test_equal_networks_have_equal_keys_and_a_copy_too() -> None:
    assert network_key(Net()) == network_key(Net()) == network_key(copy.deepcopy(Net()))
    wrn = rd.models.build("wrn-10-1", classes=10, seed=0)
    assert network_key(wrn) == network_key(rd.models.build("wrn-10-1", classes=10, seed=0))


def _changed(change: Callable[[Net], object]) -> Net:
    net = Net()
    change(net)
    return net


def _bend(slope: float) -> Callable[[Tensor], Tensor]:
    return lambda x: F.leaky_relu(x, slope)


DIFFERENT: dict[str, Callable[[], nn.Module]] = {
    "weights": lambda: Net(seed=1),
    "a running mean": lambda: _changed(lambda net: net.bn.running_mean.add_(1e-7)),  # type: ignore[union-attr]
    "an attribute": lambda: Net(scale=2.0),
    "deep in an attribute": lambda: _changed(lambda net: net.table["a"].append(3)),
    "a function": lambda: Net(act=F.gelu),
    "a function of one's own": lambda: Net(act=_bend(0.1)),
    "what a function holds": lambda: Net(act=_bend(0.2)),
    "a partial": lambda: Net(act=functools.partial(F.leaky_relu, negative_slope=0.1)),
    "an epsilon": lambda: _changed(lambda net: setattr(net.bn, "eps", 1e-3)),
    "a forward put upon it": lambda: _changed(lambda net: setattr(net, "forward", lambda x: net.head(net.conv(x).mean((2, 3))))),
    "a subclass": lambda: type("Sub", (Net,), {"forward": lambda self, x: -Net.forward(self, x)})(),
    "another subclass": lambda: type("Sub", (Net,), {"forward": lambda self, x: -2 * Net.forward(self, x)})(),
    "precision": lambda: Net().double(),
    "a buffer that is not saved": lambda: _changed(lambda net: net.register_buffer("more", torch.ones(1), persistent=False)),
    "padding of zeros": lambda: _changed(lambda net: setattr(net.conv, "padding_mode", "reflect")),
}


def test_networks_that_compute_otherwise_have_other_keys() -> None:
    keys = {name: network_key(make()) for name, make in DIFFERENT.items()} | {"plain": network_key(Net())}
    assert len(set(keys.values())) == len(keys), keys


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_cannot_be_told_is_not_told() -> None:
    hooked = Net()
    hooked.conv.register_forward_hook(lambda m, a, out: out + 1)
    drawing = _changed(lambda net: setattr(net, "random", torch.Generator()))
    normed = Net()
    nn.utils.weight_norm(normed.head)
    for net, why in ((hooked, "a hook"), (drawing, "Generator"), (normed, "a hook"), (torch.jit.script(nn.Linear(2, 2)), "compiled")):
        with pytest.raises(Untold, match=why):
            network_key(net)


# -- runs -------------------------------------------------------------------------------------------------------------
def images(count: int = 50, augment: str = "none", seed: int = 0, normalise: str = "none") -> Images:
    g = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, 1, 8, 8), generator=g, dtype=torch.uint8)
    return Images(x, torch.arange(count) % 3, 3, "made:train", normalise, augment)


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
    told = loop.teacher.answered
    return told.looked_up, told.computed, told.off


AT = rd.CE() + 0.5 * rd.KD(T=2.0) + 10.0 * rd.AT(at=[("conv", "conv"), ("bn", "bn")])


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
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


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
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


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
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


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
def test_pixels_changed_behind_the_hash_of_their_set_are_asked_anew(tmp_path: Path) -> None:
    source = images()
    run(tmp_path, source)
    source.x[7] = 255 - source.x[7]  # the set's hash was taken already
    with pytest.warns(CacheWarning, match="do not fit their checksums"):
        loop = run(tmp_path, source)
    assert counts(loop)[1] == 1 and weights(loop) == weights(run(False, source))


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
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


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
@pytest.mark.parametrize(
    ("make", "why"), [(Draws, "draws random numbers"), (Quiet, "draws random numbers"), (Counts, "changes by being asked"),
                      (Beside, "depends on the images beside it")]
)  # fmt: skip
def test_a_teacher_whose_answers_are_not_the_images_own_is_not_remembered(tmp_path: Path, make: Any, why: str) -> None:
    loop = run(tmp_path, teacher=make(8, seed=1))
    assert why in (counts(loop)[2] or "") and list(tmp_path.iterdir()) == []
    assert weights(loop) == weights(run(False, teacher=make(8, seed=1)))


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
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


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
def test_a_resumed_run_looks_up_and_has_the_same_bits(tmp_path: Path) -> None:
    def loop() -> rd.Loop:
        return rd.Loop([(Net(), KD)], Net(8, seed=1), images(augment="flip"), RECIPE, seed=3, device="cpu", cache=tmp_path)

    first = loop()
    for _ in range(3):
        next(first)
    saved = copy.deepcopy(first.state())
    list(first)
    second = loop()
    second.load_state(saved)
    list(second)
    assert weights(first) == weights(second) and counts(second)[1] == 0


# -- the folder -------------------------------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
def test_a_folder_that_cannot_be_made_is_a_sentence_and_the_run_goes_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(CacheWarning, match=r"is not remembered: .*file/below.*a part of the path is a file"):
        loop = run(tmp_path / "file" / "below")
    assert weights(loop) == weights(run(False)) and "a part of the path is a file" in (counts(loop)[2] or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
def test_a_folder_that_may_not_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.warns(CacheWarning, match="permission denied"):
        run(tmp_path / "closed")


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
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
sys.path[:0] = [sys.argv[2], sys.argv[3]]
import torch; torch.set_num_threads(1)
from test_answers import counts, run
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
warnings.simplefilter("ignore")
print(counts(run(__import__("pathlib").Path(sys.argv[1])))[2])
"""


def test_a_limit_of_the_system_on_files_is_no_crash(tmp_path: Path) -> None:
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), str(here.parent), str(here.parents[1] / "src")],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "the file is larger than allowed here" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
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


@pytest.mark.filterwarnings("ignore::redistill.train.preflight.TeacherWarning")
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
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", "lots")
    with pytest.raises(RedistillError, match="REDISTILL_CACHE_LIMIT: a size in bytes was expected, got 'lots'"):
        answers.limit()


def test_features_that_do_not_fit_leave_the_teacher_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", "20KB")
    loop = run(tmp_path, images(augment="crop-flip:2"), method=AT)
    assert "may be remembered" in (counts(loop)[2] or "") and list(tmp_path.iterdir()) == []


# -- numbers ----------------------------------------------------------------------------------------------------------
def test_a_number_is_measured_once_for_one_network_and_set(tmp_path: Path) -> None:
    asked = []

    def number(net: nn.Module, shown: Images, value: float = 91.25, **what: Any) -> float:
        return remembered(net, shown, {"name": "accuracy", **what}, tmp_path, lambda: asked.append(value) or value)

    assert number(Net(), images()) == number(Net(), images(), 3.0) == 91.25 and len(asked) == 1
    assert number(Net(seed=1), images(), 2.0) == 2.0 and number(Net(), images(seed=1), 3.0) == 3.0
    assert number(Net(), images(), 4.0, version=2) == 4.0
    changed = images()
    assert changed.sha256 and number(Net(), changed, 0.0) == 91.25
    changed.x[0] = 0
    assert number(Net(), changed, 5.0) == 5.0
    for path in tmp_path.iterdir():
        path.write_text(path.read_text().replace("91.25", "99.25"))
    assert number(Net(), images(), 6.0) == 6.0 and number(Net(), images(), 7.0) == 6.0
    assert {kept.about for kept in answers.listed(tmp_path)} == {"accuracy of Net on made:train, 50 images"}
    (tmp_path / "file").write_text("")
    assert remembered(Net(), images(), {}, tmp_path / "file", lambda: 8.0) == 8.0 == remembered(Net(), images(), {}, None, lambda: 8.0)

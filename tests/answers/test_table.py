"""One file of answers: bits, damage, two writers."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from redistill.answers.folder import NoRoom, make_room
from redistill.answers.table import HEAD, Prints, Shape, Sum, Table, header
from redistill.files import Spoilt, digest, shared

KEY = digest("a key")
FEW = torch.arange(10)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def table(path: Path, shape: Shape, rows: int = 20, key: str = KEY) -> Table:
    return Table(path, key, "a test", rows, shape)


def filled(path: Path, stored: Tensor) -> tuple[Table, Tensor]:
    """A table that knows ten rows, 3 to 12, of images with the prints 0 to 9."""
    shape = Shape.of(stored)
    assert shape is not None
    made = table(path, shape)
    made.write(FEW + 3, FEW, shape.packed(stored))
    return made, FEW + 3


def holds(made: Table) -> int:
    """How many answers stand in its file, right or not."""
    lines = np.fromfile(made.path, "<i8", offset=HEAD).reshape(made.rows, -1)
    return int(np.count_nonzero(lines[:, 0]))


# -- one file ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "stored",
    [
        draw(10, 7), draw(10, 10).bfloat16(), draw(10, 3).double(), draw(10, 4, 3, 3), draw(10, 5, 1, 1),
        draw(10, 4, 3, 3).contiguous(memory_format=torch.channels_last), draw(10, 6, 5).transpose(1, 2), draw(10, 1),
    ],
    ids=["odd", "bf16", "double", "map", "1x1", "channels last", "turned", "one"],
)  # fmt: skip
def test_a_table_gives_back_bits_and_layout(tmp_path: Path, stored: Tensor) -> None:
    made, rows = filled(tmp_path / "one.table", stored)
    known, words = made.read(rows, FEW)
    found = made.shape.unpacked(words)
    assert known.all() and torch.equal(found, stored) and found.stride() == stored.stride() and found.dtype == stored.dtype
    assert not made.read(torch.tensor([0, 1, 13]), FEW[:3])[0].any()
    again = table(tmp_path / "one.table", made.shape)  # from the disk, and whole
    assert torch.equal(again.shape.unpacked(again.read(rows, FEW)[1]), stored) and holds(again) == 10 and again.notes == []


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
    stored = draw(10, 7)
    made, rows = filled(tmp_path / "one.table", stored)
    row = 8 * (1 + made.shape.words)
    content = bytearray((tmp_path / "one.table").read_bytes())
    content[HEAD + row * 5 + where] ^= 0x40
    (tmp_path / "one.table").write_bytes(content)
    again = table(tmp_path / "one.table", made.shape)
    known, _ = again.read(rows, FEW)
    assert known.tolist() == [r != 5 for r in rows.tolist()] and "1 answers do not fit their checksums" in again.notes[0]
    again.write(rows, FEW, again.shape.packed(stored))
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
    path, stored = tmp_path / "one.table", draw(10, 7)
    made, rows = filled(path, stored)
    path.write_bytes(spoil(bytearray(path.read_bytes())))
    with pytest.raises(Spoilt, match=says):
        header(path)
    again = table(path, made.shape)
    assert "it is made anew" in again.notes[0] and holds(again) == 0
    again.write(rows, FEW, again.shape.packed(stored))
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
    source = str(Path(__file__).parents[2] / "src")
    both = [
        subprocess.Popen([sys.executable, str(script), str(path), str(seed)], env={**os.environ, "PYTHONPATH": source}) for seed in (1, 2)
    ]
    assert [one.wait(120) for one in both] == [0, 0]
    shape = Shape((10,), (1,), torch.float32)
    every = torch.arange(4000)
    known, words = table(path, shape, rows=4000).read(every, every)
    assert known.all() and torch.equal(shape.unpacked(words), torch.randn(4000, 10, generator=torch.Generator().manual_seed(0)))


FULL_DISK = """
import os, sys, torch
from pathlib import Path
from redistill.answers.table import Shape, Table
shape, few, path = Shape((100,), (1,), torch.float32), torch.arange(10), Path(sys.argv[1]) / "one.table"
made, said = Table(path, "{key}", "a test", 300, shape), torch.randn(10, 100)
made.write(few, few, shape.packed(said))
other = os.open(path.with_name("other"), os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(other, bytes(4096))
except OSError:
    pass
known, words = made.read(few, few)
assert known.all() and torch.equal(shape.unpacked(words), said)
assert not made.read(few + 150, few)[0].any()
try:
    made.write(few + 150, few, shape.packed(said))
except OSError as error:
    print(error)
"""


def test_a_full_disk_in_memory_ends_no_process(tmp_path: Path) -> None:
    """A hole that is looked at through a map takes a page there; where there is none left, the process would get SIGBUS."""
    script, disk = tmp_path / "full.py", tmp_path / "disk"
    disk.mkdir()
    script.write_text(FULL_DISK.format(key=KEY), encoding="utf-8")
    mounted = 'mount -t tmpfs -o size=256k tmpfs "$1" || exit 77; shift; "$@"'
    own = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mounted, "-"]
    words = [*own, str(disk), sys.executable, str(script), str(disk)]
    try:
        done = subprocess.run(
            words, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}, capture_output=True, text=True, timeout=120,
            check=False,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("there is no unshare here")
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"no file system of one's own here: {done.stderr.strip()}")
    assert done.returncode == 0 and "No space left" in done.stdout, done.stderr


@pytest.mark.parametrize(("numbers", "mapped"), [(900, True), (2000, False)], ids=["less than a page", "more"])
def test_a_file_with_holes_and_a_whole_one_are_read_alike(numbers: int, mapped: bool, tmp_path: Path) -> None:
    """Small rows of a whole file through the map; large ones never: it reads megabytes around each that is not in memory."""
    shape = Shape((numbers,), (1,), torch.float32)
    made, said = table(tmp_path / "one.table", shape), draw(20, numbers)
    rows = torch.arange(20)
    made.write(rows[:10], rows[:10], shape.packed(said[:10]))
    holes = made._found(rows[:10])
    made.write(rows[10:], rows[10:], shape.packed(said[10:]))
    assert made.path.stat().st_blocks * 512 >= made.head.length and torch.equal(made._found(rows[:10]), holes)
    assert holds(made) == 20
    made._table = np.zeros_like(made._table)
    assert torch.equal(made._found(rows[:10]), holes) is not mapped


def test_a_table_that_is_looked_up_for_hours_is_not_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, rows = filled(tmp_path / "one.table", draw(10, 7))
    os.utime(made.path, (1, 1))
    made.read(rows, FEW)
    assert made.path.stat().st_mtime == 1  # not at every step
    monkeypatch.setattr("redistill.answers.table.TOUCHED", -1.0)
    made.read(rows, FEW)
    assert made.path.stat().st_mtime > 1e9


def test_room_is_made_of_what_nobody_has_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table without its name would take its place on the disk until its run ends, and be lost to whoever goes on."""
    at_work, _ = filled(tmp_path / "one.table", draw(10, 7))
    left, _ = filled(tmp_path / "two.table", draw(10, 7))
    size = left.path.stat().st_size
    os.utime(at_work.path, (1, 1))  # used before the other
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", str(2 * size))
    with pytest.raises(NoRoom, match="beside what runs at work look up: REDISTILL_CACHE_LIMIT allows more") as refused:
        make_room(tmp_path, size)
    assert not refused.value.broken and at_work.path.exists() and left.path.exists()
    path = left.path
    del left
    make_room(tmp_path, size)
    assert at_work.path.exists() and not path.exists()
    with pytest.raises(NoRoom):
        make_room(tmp_path, 2 * size)


def test_a_table_that_is_opened_while_room_is_made_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Removing gigabytes takes seconds, in which another run starts: three tables of one were lost so, open as they were."""
    for age, name in enumerate(("one", "two"), 1):
        filled(tmp_path / f"{name}.table", draw(10, 7))
        os.utime(tmp_path / f"{name}.table", (age, age))
    size = (tmp_path / "one.table").stat().st_size
    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", str(2 * size))
    opened: list[tuple[Table, Tensor]] = []

    def looked(path: Path) -> bool:
        answer = shared(path)
        if not opened:
            opened.append(filled(tmp_path / "one.table", draw(10, 7)))
        return answer

    monkeypatch.setattr("redistill.answers.folder.shared", looked)
    make_room(tmp_path, size)
    assert (tmp_path / "one.table").exists() and not (tmp_path / "two.table").exists()


def test_room_is_made_of_what_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "one.table", draw(10, 7))
    size = (tmp_path / "one.table").stat().st_size

    def refused(*given: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("REDISTILL_CACHE_LIMIT", str(size))
    monkeypatch.setattr("redistill.files.os.open", refused)
    make_room(tmp_path, size)
    assert not (tmp_path / "one.table").exists()


def test_a_table_is_not_opened_while_it_is_removed(tmp_path: Path) -> None:
    """Who opens it waits, and makes it anew: what has no name any more is found by nobody else."""
    path = tmp_path / "one.table"
    filled(path, draw(10, 7))
    remover = os.open(path, os.O_RDONLY)
    fcntl.flock(remover, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as threads:
        opening = threads.submit(filled, path, draw(10, 7))
        time.sleep(0.2)
        assert not opening.done()
        path.unlink()
        os.close(remover)
        made, _ = opening.result(timeout=10)
    assert path.exists() and os.path.samestat(os.stat(made._file), path.stat()) and shared(path)

"""Readers of the official formats on small files of the same layout, made here; downloads from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from redistill.core import RedistillError
from redistill.data import fetch, formats
from redistill.data.fetch import File, Place

RNG = np.random.default_rng(0)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


# -- pickles ----------------------------------------------------------------------------------------------------------
class _Calls:
    """Pickles into a call."""

    def __init__(self, function: Callable[..., Any], *args: Any):
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_cifar_batch_is_read_without_calling_numpy(tmp_path: Path, protocol: int) -> None:
    x = RNG.integers(0, 256, (5, 3072), dtype=np.uint8)
    if protocol == 2:  # as Python 2 wrote the official files: raw bytes as BINSTRING, which Python 3 does not write
        data = (
            b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x05M\x00\x0ct"
            b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            + b"T" + struct.pack("<i", x.size) + x.tobytes() + b"tbU\x06labels](K\x03K\x01K\x04K\x01K\x05eu."
        )  # fmt: skip
    else:
        labels_and_more = {b"labels": [3, 1, 4, 1, 5], b"batch_label": b"training batch 1 of 5", b"filenames": [b"a.png"]}
        data = pickle.dumps({b"data": x, **labels_and_more}, protocol=protocol)
    path = tmp_path / "data_batch_1"
    path.write_bytes(data)
    pixels, labels = formats.read_cifar(path, "labels")
    assert np.array_equal(pixels, x.reshape(5, 3, 32, 32)) and labels.tolist() == [3, 1, 4, 1, 5]
    assert pixels.dtype == np.uint8 and labels.dtype == np.int64


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path: Path, protocol: int) -> None:
    victim = tmp_path / "created"
    path = tmp_path / "data_batch_1"
    for hostile in (
        _Calls(os.mkdir, str(victim)),
        _Calls(eval, f"open({str(victim)!r}, 'w')"),
        _Calls(os.system, f"touch {victim}"),
        _Calls(np.fromfile, str(path)),
        _Calls(getattr, "", "join"),
    ):
        path.write_bytes(pickle.dumps({b"data": hostile, b"labels": []}, protocol=protocol))
        with pytest.raises(RedistillError, match=r"data_batch_1 asks for \S+ while loading, which could run code: refused"):
            formats.read_cifar(path, "labels")
        assert not victim.exists()
    # the same bytes do run when they are loaded without protection
    path.write_bytes(pickle.dumps(_Calls(os.mkdir, str(victim)), protocol=protocol))
    pickle.loads(path.read_bytes())
    assert victim.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("INST", b"(S'x'\nios\nmkdir\n."),
        ("OBJ", b"(cnumpy\ndtype\nS'u1'\no."),
        ("NEWOBJ", b"\x80\x02cnumpy\nndarray\n)\x81."),
        ("EXT1", b"\x80\x02\x82\x01."),
        ("PERSID", b"Pname\n."),
        ("NEXT_BUFFER", b"\x80\x05\x97."),
    ],
)
def test_operations_that_make_other_objects_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(RedistillError, match=f"asks for the operation {name} while loading, which could run code: refused"):
        formats.read_pickle(path)


def test_a_pickle_cannot_change_what_a_permitted_name_stands_for(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x02cnumpy\ndtype\n}X\x01\x00\x00\x00akK\x01sb.")  # dtype.__dict__.update(...)
    with pytest.raises(RedistillError, match="batch is not a readable data file"):
        formats.read_pickle(path)


def test_arrays_of_objects_inside_a_pickle_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps({b"data": np.array([b"a", None], dtype=object), b"labels": [0, 1]}, protocol=4))
    with pytest.raises(RedistillError, match="array of something other than numbers"):
        formats.read_cifar(path, "labels")


@pytest.mark.parametrize(
    "content", [b"", b"\x80", b"garbage", b"\x80\x02}q\x01", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f."]
)
def test_what_is_no_pickle_gets_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "batch"
    path.write_bytes(content)
    with pytest.raises(RedistillError, match=r"batch is not a readable data file .*: get the official file again"):
        formats.read_pickle(path)


def test_pickles_with_other_contents_get_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    for content, message in (
        ([1, 2], "holds a list, expected a dictionary"),
        ({"data": 1, "y": 2}, "holds data, y, expected 'labels'"),
        ({"data": np.zeros((2, 5), np.uint8), "labels": [0, 1]}, "does not hold rows of 3,072 bytes"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "does not hold rows of 3,072 bytes with one label each"),
    ):
        path.write_bytes(pickle.dumps(content, protocol=4))
        with pytest.raises(RedistillError, match=message):
            formats.read_cifar(path, "labels")


def test_altered_bytes_are_read_or_refused_but_never_run(tmp_path: Path) -> None:
    """500 random changes in the head of a batch file; anything but a sentence would surface as another exception."""
    raw = pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [1], b"batch_label": b"x"}, protocol=3)
    path, refused, draw = tmp_path / "batch", 0, np.random.default_rng(5)
    for _ in range(500):
        altered = bytearray(raw)
        for at in draw.integers(0, 230, draw.integers(1, 4)):
            altered[at] = draw.integers(0, 256)
        path.write_bytes(altered)
        try:
            formats.read_cifar(path, "labels")
        except RedistillError:
            refused += 1
    assert refused > 250


def test_class_names(tmp_path: Path) -> None:
    path = tmp_path / "meta"
    path.write_bytes(pickle.dumps({b"fine_label_names": [b"apple", "pear"]}, protocol=3))
    assert formats.read_names(path, "fine_label_names") == ("apple", "pear")


# -- mat, idx, npz ----------------------------------------------------------------------------------------------------
def test_svhn_mat_file(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    path = tmp_path / "train_32x32.mat"
    scipy.io.savemat(path, {"X": x, "y": np.array([[1], [10], [9], [2]], np.uint8)}, do_compression=True)
    pixels, labels = formats.read_svhn(path)
    assert labels.tolist() == [1, 0, 9, 2] and pixels.shape == (4, 3, 32, 32) and pixels.dtype == np.uint8
    assert pixels[2, 1, 5, 30] == x[5, 30, 1, 2]


def test_a_broken_mat_file(tmp_path: Path) -> None:
    path = tmp_path / "train_32x32.mat"
    scipy.io.savemat(path, {"X": np.zeros((32, 32, 3, 9), np.uint8), "y": np.ones((9, 1))}, do_compression=True)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RedistillError, match=r"train_32x32.mat is not a MATLAB version 5 file"):
        formats.read_svhn(path)
    scipy.io.savemat(path, {"X": np.zeros((8, 8, 3, 9), np.uint8), "y": np.ones((9, 1))})
    with pytest.raises(RedistillError, match=r"does not hold X \[32, 32, 3, N\]"):
        formats.read_svhn(path)
    scipy.io.savemat(path, {"Z": np.zeros(3)})
    with pytest.raises(RedistillError, match=r"holds .*, expected 'X'"):
        formats.read_svhn(path)


def idx(array: np.ndarray[Any, Any]) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_idx_files_plain_and_gzipped(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (6, 28, 28), dtype=np.uint8)
    (tmp_path / "i.gz").write_bytes(gzip.compress(idx(x)))
    (tmp_path / "l").write_bytes(idx(np.arange(6, dtype=np.uint8)))
    pixels, labels = formats.read_mnist(tmp_path / "i.gz", tmp_path / "l")
    assert np.array_equal(pixels[:, 0], x) and labels.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "content", [b"", b"\0\0\x08\x03\0\0\0\x02", idx(np.zeros((2, 3), np.uint8))[:-1], b"\0\0\x0d\x01\0\0\0\0"]
)
def test_broken_idx_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels").write_bytes(content)
    with pytest.raises(RedistillError, match="labels is not an idx file of bytes"):
        formats.read_idx(tmp_path / "labels")
    (tmp_path / "labels.gz").write_bytes(gzip.compress(idx(np.zeros(50, np.uint8)))[:-9])
    with pytest.raises(RedistillError, match=r"labels.gz cannot be unpacked"):
        formats.read_idx(tmp_path / "labels.gz")


def test_arrays_in_both_layouts(tmp_path: Path) -> None:
    x = RNG.integers(0, 256, (5, 3, 8, 6), dtype=np.uint8)
    for name, value in (("chw", x), ("hwc", x.transpose(0, 2, 3, 1))):
        np.savez(tmp_path / f"{name}.npz", x=value, y=np.arange(5, dtype=np.int32))
        pixels, labels = formats.read_arrays(tmp_path / f"{name}.npz")
        assert np.array_equal(pixels, x) and labels is not None and labels.dtype == np.int64
    np.savez(tmp_path / "grey.npz", x=x[:, 0])
    pixels, labels = formats.read_arrays(tmp_path / "grey.npz")
    assert np.array_equal(pixels, x[:, :1]) and labels is None


def test_arrays_that_cannot_work(tmp_path: Path) -> None:
    victim = tmp_path / "created"
    path = tmp_path / "a.npz"
    ok = np.zeros((2, 3, 4, 4), np.uint8)
    hostile = np.array([_Calls(os.mkdir, str(victim))], dtype=object)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"x": hostile}, "cannot be read as arrays .*write it with numpy.savez"),
        ({"z": ok}, "has no array 'x'"),
        ({"x": ok + np.float32(1.5)}, r"or numbers whose white is known, got float32 \[2, 3, 4, 4\] from 1.5 to 1.5"),
        ({"x": np.zeros((2, 5, 4, 4), np.uint8)}, "neither 1 nor 3 channels"),
        ({"x": ok, "y": np.zeros(3, np.int64)}, r"y must be whole numbers \[2\], one an image, got int64 \[3\]"),
        ({"x": ok, "y": np.zeros(2)}, r"y must be whole numbers \[2\]"),
    ]
    for content, message in cases:
        np.savez(path, **content)
        with pytest.raises(RedistillError, match=message):
            formats.read_arrays(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(RedistillError, match="cannot be read as arrays"):
        formats.read_arrays(path)
    assert not victim.exists()


# -- finding and checking ---------------------------------------------------------------------------------------------
@pytest.fixture
def thing(tmp_path: Path) -> tuple[Place, tuple[File, ...], Path]:
    """A data set of two files in a tar archive, and an empty data folder."""
    made = tmp_path / "made" / "thing"
    made.mkdir(parents=True)
    (made / "a").write_bytes(b"first")
    (made / "b").write_bytes(b"second")
    with tarfile.open(tmp_path / "thing.tar.gz", "w:gz") as tape:
        tape.add(made, "thing")
    files = tuple(File(name, md5(made / name)) for name in ("a", "b"))
    place = Place("thing", File("thing.tar.gz", md5(tmp_path / "thing.tar.gz"), ("http://127.0.0.1:9/thing.tar.gz",)))
    base = tmp_path / "data"
    base.mkdir()
    return place, files, base


def test_missing_files_say_what_to_put_where(thing: tuple[Place, tuple[File, ...], Path]) -> None:
    place, files, base = thing
    with pytest.raises(RedistillError) as error:
        fetch.obtain(place, files, base, download=False)
    assert str(error.value) == (
        f"a, b not found in {base / 'thing'}: put them there, or their archive thing.tar.gz "
        f"(from http://127.0.0.1:9/thing.tar.gz) into {base}, or fetch them with download=True (redistill download)"
    )
    with pytest.raises(RedistillError, match=r"train.mat not found in .*svhn: put them there \(from http://x.org/d/\), or fetch"):
        fetch.obtain(Place("svhn"), (File("train.mat", "0", ("http://x.org/d/train.mat",)),), base, download=False)


def test_an_archive_is_unpacked_and_checked(thing: tuple[Place, tuple[File, ...], Path], tmp_path: Path) -> None:
    place, files, base = thing
    (base / "thing.tar.gz").write_bytes((tmp_path / "thing.tar.gz").read_bytes())
    paths = fetch.obtain(place, files, base, download=False)
    assert [p.read_bytes() for p in paths] == [b"first", b"second"]
    assert sorted(p.name for p in base.iterdir()) == ["thing", "thing.tar.gz"], "nothing else is left behind"
    assert fetch.obtain(place, files, base / "thing", download=False) == paths, "the folder itself may be given too"
    paths[0].unlink()
    assert fetch.obtain(place, files, base, download=False)[0].read_bytes() == b"first", "what is missing comes again"


def test_unpacking_again_writes_into_no_file_that_another_process_reads(
    thing: tuple[Place, tuple[File, ...], Path], tmp_path: Path
) -> None:
    place, files, base = thing
    (base / "thing.tar.gz").write_bytes((tmp_path / "thing.tar.gz").read_bytes())
    first, second = fetch.obtain(place, files, base, download=False)
    second.unlink()
    with first.open("rb") as read_by_another:
        fetch.obtain(place, files, base, download=False)
        assert os.stat(first).st_ino != os.fstat(read_by_another.fileno()).st_ino, "a new file stands in its place"
        assert read_by_another.read() == b"first" and second.read_bytes() == b"second"


def test_an_altered_file_is_named_with_both_sums(thing: tuple[Place, tuple[File, ...], Path]) -> None:
    place, files, base = thing
    (base / "thing").mkdir()
    (base / "thing" / "a").write_bytes(b"first")
    (base / "thing" / "b").write_bytes(b"secon")
    found = md5(base / "thing" / "b")
    with pytest.raises(RedistillError) as error:
        fetch.obtain(place, files, base, download=False)
    assert str(error.value) == (
        f"{base / 'thing' / 'b'} is not the official file but truncated or altered: expected MD5 {files[1].md5}, found {found} "
        f"(5 bytes); delete it and get it again from its archive"
    )
    (base / "thing" / "b").unlink()
    (base / "thing.tar.gz").write_bytes(b"half an archive")
    with pytest.raises(RedistillError, match=r"thing.tar.gz is not the official file .*again from download=True .redistill download., or http://127"):
        fetch.obtain(place, files, base, download=False)


def test_the_data_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDISTILL_DATA", "/some/where")
    assert fetch.default_dir() == Path("/some/where")
    monkeypatch.delenv("REDISTILL_DATA")
    assert fetch.default_dir() == Path.home() / ".cache" / "redistill"


def tar_with(path: Path, *members: tarfile.TarInfo) -> None:
    with tarfile.open(path, "w") as tape:
        good = tarfile.TarInfo("thing/good")
        good.size = 2
        tape.addfile(good, io.BytesIO(b"ok"))
        for member in members:
            tape.addfile(member, io.BytesIO(b"x" * member.size))


@pytest.mark.parametrize("name", ["../evil", "thing/../../evil", "/tmp/evil", "other/evil", "thing\\..\\..\\evil", "C:/evil"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    base = tmp_path / "base"
    base.mkdir()
    archive = tmp_path / f"thing.{kind}"
    if kind == "tar":
        member = tarfile.TarInfo(name)
        member.size = 4
        tar_with(archive, member)
    else:
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr("thing/good", "ok")
            packed.writestr(name, "evil")
    with pytest.raises(RedistillError, match="which is not inside thing: refused, nothing was unpacked"):
        fetch.unpack(archive, base, "thing")
    assert list(base.iterdir()) == [] and not (tmp_path / "evil").exists()


def test_links_and_devices_in_archives_are_refused(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        member = tarfile.TarInfo("thing/link")
        member.type, member.linkname = kind, "/etc/passwd"
        tar_with(tmp_path / "thing.tar", member)
        with pytest.raises(RedistillError, match=r"'thing/link', which is neither a file nor a folder|cannot be unpacked"):
            fetch.unpack(tmp_path / "thing.tar", base, "thing")
    with zipfile.ZipFile(tmp_path / "thing.zip", "w") as packed:
        link = zipfile.ZipInfo("thing/link")
        link.external_attr = 0o120777 << 16
        packed.writestr(link, "/etc/passwd")
    with pytest.raises(RedistillError, match="neither a file nor a folder"):
        fetch.unpack(tmp_path / "thing.zip", base, "thing")
    assert list(base.iterdir()) == []


def test_broken_archives_get_a_sentence(tmp_path: Path) -> None:
    for name in ("thing.tar.gz", "thing.zip"):
        (tmp_path / name).write_bytes(b"no archive")
        with pytest.raises(RedistillError, match=f"{name} cannot be unpacked .*delete it and download it again"):
            fetch.unpack(tmp_path / name, tmp_path, "thing")


# -- downloading ------------------------------------------------------------------------------------------------------
@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """(address, folder, requests) of a web server on this machine."""
    root, asked = tmp_path / "www", list[str]()
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **more: Any):
            super().__init__(*args, directory=str(root), **more)

        def log_message(self, format: str, *args: Any) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}", root, asked
        web.shutdown()
        thread.join()


def test_the_second_mirror_serves_when_the_first_does_not(server: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    address, root, asked = server
    (root / "good.bin").write_bytes(b"the real thing")
    (root / "altered.bin").write_bytes(b"something else")
    sum_ = md5(root / "good.bin")
    urls = ("http://127.0.0.1:9/dead.bin", f"{address}/absent.bin", f"{address}/altered.bin", f"{address}/good.bin")
    files = (File("file.bin", sum_, urls),)
    (path,) = fetch.obtain(Place("things"), files, tmp_path / "data", download=True)
    assert path == tmp_path / "data" / "things" / "file.bin" and path.read_bytes() == b"the real thing"
    before = len(asked)
    fetch.obtain(Place("things"), files, tmp_path / "data", download=True)
    assert len(asked) == before, "downloaded once"


def test_no_mirror_serves_the_file(server: tuple[str, Path, list[str]], tmp_path: Path) -> None:
    address, root, _ = server
    (root / "altered.bin").write_bytes(b"something else")
    files = (File("file.bin", "0" * 32, (f"{address}/absent.bin", f"{address}/altered.bin")),)
    with pytest.raises(RedistillError, match=r"file.bin could not be downloaded: tried .*absent.bin \(HTTP.*altered.bin \(Value"):
        fetch.obtain(Place("things"), files, tmp_path / "data", download=True)
    assert not (tmp_path / "data" / "things" / "file.bin").exists()
    files = (File("file.bin", "0" * 32, ("http://127.0.0.1:9/dead.bin",)),)
    with pytest.raises(RedistillError, match=r"dead.bin \(ConnectionError: Connection refused\); get it"):
        fetch.obtain(Place("things"), files, tmp_path / "data", download=True)
    (tmp_path / "no-folder").touch()
    with pytest.raises(RedistillError, match=r"^cannot make the folder .*no-folder.* is a file"):
        fetch.obtain(Place("things"), files, tmp_path / "no-folder", download=True)


def test_an_archive_is_downloaded_and_unpacked(
    server: tuple[str, Path, list[str]], thing: tuple[Place, tuple[File, ...], Path], tmp_path: Path
) -> None:
    address, root, _ = server
    place, files, base = thing
    (root / "thing.tar.gz").write_bytes((tmp_path / "thing.tar.gz").read_bytes())
    assert place.archive is not None
    place = Place("thing", File("thing.tar.gz", place.archive.md5, (f"{address}/thing.tar.gz",)))
    assert [p.read_bytes() for p in fetch.obtain(place, files, base, download=True)] == [b"first", b"second"]

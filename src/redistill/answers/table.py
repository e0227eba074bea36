"""One file of answers: a row for every (image, variant), filled as they are asked for, read through a memory map.

After a head of :data:`HEAD` bytes every row is a checksum of 64 bits (0: not known yet) and the answer, padded to 8 bytes. The
checksum is over the key of the table, the number of the row, *the image that was answered* and the answer. So a row that was
damaged, torn by a crash, left from something else or given for another image does not fit its checksum: it counts as unknown,
is computed again and written over. Any number of processes may fill one file: two that write a row write the same bytes.

Rows are written with ``pwrite`` and never through the map, where a full disk would end the process; the length is looked at
before each reading, because a map that reaches beyond the end of its file ends it too. While a file still has holes, rows that no
answer was written to, it is read with ``pread``: a file system in memory (tmpfs) gives a hole a page when somebody looks at it
through a map, and ends the process where it has none left. So are rows of a page and more, whose tables may be larger than memory:
a map reads ahead around every one of them that is not there (measured: 22 times what was asked for, with maps of 131 kB).
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from redistill.files import UNREADABLE, Spoilt, canonical, digest, partial_of, share

MAGIC = b"redistill answers\n"
FORMAT = 1
HEAD = 4096
TOUCHED = 60.0  # seconds, at least, between two notes on the file that it is in use: what is looked up for hours is not the oldest
TYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Shape:
    """How one answer lies in memory: a tensor of ``size`` without the batch, its ``stride``, its type of numbers."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, answers: Tensor) -> Shape | None:
        """Of one image's answer in ``answers`` [B, ...]; None where an image's numbers do not lie side by side, in some order."""
        size, stride = tuple(answers.shape[1:]), tuple(answers.stride()[1:])
        count, dense = 1, 1
        for step, many in sorted((s, n) for s, n in zip(stride, size, strict=True) if n > 1):
            if step != dense:
                return None
            dense *= many
        count = math.prod(size)
        if count == 0 or answers.stride(0) != count or str(answers.dtype).removeprefix("torch.") not in TYPES:
            return None
        return cls(size, stride, answers.dtype)

    @property
    def numbers(self) -> int:
        return math.prod(self.size)

    @property
    def words(self) -> int:
        """Of 8 bytes."""
        return -(-self.numbers * torch.empty(0, dtype=self.dtype).element_size() // 8)

    def packed(self, answers: Tensor) -> Tensor:
        """int64 [B, words] of answers [B, ...]."""
        flat = torch.zeros(len(answers), 8 * self.words // answers.element_size(), dtype=self.dtype)
        self._as(flat[:, : self.numbers]).copy_(answers)
        return flat.view(torch.int64)

    def unpacked(self, words: Tensor) -> Tensor:
        """Inverse of :meth:`packed`, with the strides of what was packed."""
        flat = words.contiguous().view(self.dtype)[:, : self.numbers].contiguous()
        return self._as(flat)

    def _as(self, flat: Tensor) -> Tensor:
        return flat.as_strided((len(flat), *self.size), (flat.stride(0), *self.stride))

    def written(self) -> dict[str, Any]:
        return {"size": list(self.size), "stride": list(self.stride), "dtype": str(self.dtype).removeprefix("torch.")}


def _odd(seed: int, count: int) -> Tensor:
    """int64 [count], odd numbers that follow from a seed (splitmix64, Steele et al. 2014), the same for ever and everywhere."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, count + 1, dtype=np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return torch.from_numpy((z | np.uint64(1)).view(np.int64))


class Sum:
    """A 64-bit checksum of rows of int64 [B, count]: Σ_i mixed(w_i) · odd_i modulo 2^64; every change of one word changes it."""

    def __init__(self, seed: int, count: int):
        self.odd = _odd(seed, count)

    def __call__(self, words: Tensor) -> Tensor:
        """int64 [B]."""
        # the shift (without the sign) brings high bits down: with products alone two changes of highest bits would cancel
        return ((words ^ ((words >> 29) & 0x7FFFFFFFF)) * self.odd).sum(1)


class Prints:
    """A number for each image of a batch, of all its bytes: whoever asks for another image does not find this one's answer."""

    def __init__(self) -> None:
        self._sum: Sum | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """int64 [B] of images [B, ...], on the CPU, of one shape and type in all calls."""
        rows = images
        if images.ndim == 4 and not images.is_contiguous() and images.is_contiguous(memory_format=torch.channels_last):
            rows = images.permute(0, 2, 3, 1)
        rows = rows.contiguous().view(len(images), -1)
        bytes_ = rows.shape[1] * rows.element_size()
        unit = next(kind for kind, many in ((torch.int64, 8), (torch.int32, 4), (torch.int16, 2)) if bytes_ % many == 0)
        words = rows.view(unit).long()
        if self._sum is None or len(self._sum.odd) != words.shape[1]:
            self._sum = Sum(words.shape[1], words.shape[1])
        return self._sum(words)


@dataclass(frozen=True)
class Header:
    """What a table holds. key: 64 hex digits that say whose answers these are. about: the same in words."""

    key: str
    about: str
    rows: int
    shape: dict[str, Any]

    @property
    def length(self) -> int:
        """Bytes of the whole file."""
        per = torch.empty(0, dtype=TYPES[self.shape["dtype"]]).element_size()
        return HEAD + 8 * int(self.rows) * (1 + -(-int(math.prod(self.shape["size"])) * per // 8))

    def packed(self) -> bytes:
        text = canonical({"format": FORMAT, "key": self.key, "about": self.about[:400], "rows": self.rows, "shape": self.shape})
        content = MAGIC + f"{digest(text)}\n{text}\n".encode()
        return content.ljust(HEAD, b"\0")


def header(path: Path) -> Header:
    """The head of a table's file.

    Raises:
        Spoilt: it is none of ours, of another format, altered, or the file is cut short. OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read(HEAD)
        length = os.fstat(file.fileno()).st_size
    if not content.startswith(MAGIC):
        raise Spoilt(path, "it is no table of answers")
    try:
        sha, text = content[len(MAGIC) :].split(b"\0", 1)[0].decode().split("\n")[:2]
        if digest(text) != sha:
            raise Spoilt(path, "its head was altered")
        value: Mapping[str, Any] = json.loads(text)
        if value["format"] != FORMAT:
            raise Spoilt(path, f"it has format {value['format']}, this version writes {FORMAT}")
        found = Header(str(value["key"]), str(value["about"]), int(value["rows"]), dict(value["shape"]))
        wanted = found.length
    except UNREADABLE as error:
        if isinstance(error, Spoilt):
            raise
        raise Spoilt(path, "its head cannot be read") from error
    if length != wanted:
        raise Spoilt(path, f"it has {length} bytes, it should have {wanted}: cut short, or written over")
    return found


class Table:
    """An open file of answers. See the module; ``notes`` says what was found damaged.

    Args:
        path: of the file, made where there is none and made anew where it is damaged or of something else. key, about, rows,
            shape: what it must hold.

    Raises:
        OSError: it can neither be opened nor made.
    """

    def __init__(self, path: Path, key: str, about: str, rows: int, shape: Shape):
        self.path, self.shape, self.rows = path, shape, rows
        self.head = Header(key, about, rows, shape.written())
        self.notes: list[str] = []
        self._words, self._touched = 1 + shape.words, time.monotonic()
        self._sum = Sum(int(key[:15], 16), 2 + shape.words)
        self._file = self._opened()
        weakref.finalize(self, os.close, self._file)
        try:
            view = mmap.mmap(self._file, self.head.length, access=mmap.ACCESS_READ)
        except ValueError as error:  # shorter than it was a moment ago
            raise self._cut() from error
        self._table = np.frombuffer(view, dtype="<i8", offset=HEAD).reshape(rows, self._words)

    def _opened(self) -> int:
        for _ in range(3):  # another process may remove it or put a new one there meanwhile
            try:
                found = header(self.path)
                if (found.key, found.rows, found.shape) != (self.head.key, self.head.rows, self.head.shape):
                    raise Spoilt(self.path, "it holds the answers of something else")
                if (file := self._in_use()) is not None:
                    return file
            except FileNotFoundError:
                self._make(replace=False)
            except Spoilt as error:
                self.notes.append(f"{error}; it is made anew")
                self._make(replace=True)
        raise OSError(f"{self.path} is changed by somebody again and again")

    def _in_use(self) -> int | None:
        """The file, open and said to be so; None where it is no longer the one of this name."""
        file = os.open(self.path, os.O_RDWR)
        try:
            share(file)
            facts = os.fstat(file)
            if facts.st_size == self.head.length and os.path.samestat(facts, self.path.stat()):
                os.utime(file)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return None

    def _make(self, *, replace: bool) -> None:
        """A file without answers, there in one step; the pages of unknown rows take no room on the disk."""
        partial = partial_of(self.path)
        try:
            with open(partial, "xb") as file:
                file.write(self.head.packed())
                file.flush()
                os.ftruncate(file.fileno(), self.head.length)
            if replace:
                os.replace(partial, self.path)
            else:
                with contextlib.suppress(FileExistsError):  # another process was quicker: its file is as good
                    try:
                        os.link(partial, self.path)
                    except FileExistsError:
                        raise
                    except OSError:  # a file system without hard links; nobody loses more than answers computed twice
                        os.replace(partial, self.path)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _sums(self, rows: Tensor, prints: Tensor, words: Tensor) -> Tensor:
        made = self._sum(torch.cat([rows[:, None], prints[:, None], words], 1))
        return torch.where(made == 0, torch.ones_like(made), made)

    def read(self, rows: Tensor, prints: Tensor) -> tuple[Tensor, Tensor]:
        """Which of ``rows`` int64 [B] are known for the images of these ``prints`` [B], bool [B]; and int64 [B, words].

        Raises:
            OSError: the file was cut short meanwhile.
        """
        found = self._found(rows)
        words = found[:, 1:]
        known = found[:, 0] == self._sums(rows, prints, words)
        if bad := int(((found[:, 0] != 0) & ~known).sum()):
            self._tell_damaged(bad)
        return known, words

    def _found(self, rows: Tensor) -> Tensor:
        """int64 [B, 1 + words], as they lie in the file."""
        if time.monotonic() - self._touched > TOUCHED:
            self._touched = time.monotonic()
            with contextlib.suppress(OSError):
                os.utime(self._file)
        facts, size = os.fstat(self._file), 8 * self._words
        if facts.st_size < self.head.length:
            raise self._cut()
        if size < mmap.PAGESIZE and 512 * facts.st_blocks >= self.head.length:  # small, and without holes
            return torch.from_numpy(self._table[rows.numpy()])
        content = bytearray().join(os.pread(self._file, size, HEAD + row * size) for row in rows.tolist())
        if len(content) != size * len(rows):
            raise self._cut()
        return torch.from_numpy(np.frombuffer(content, dtype="<i8").reshape(len(rows), self._words))

    def _cut(self) -> OSError:
        return OSError(f"{self.path} was cut short while it was in use")

    def write(self, rows: Tensor, prints: Tensor, words: Tensor) -> None:
        """Remember answers. Raises OSError where the disk does not take them."""
        lines = torch.cat([self._sums(rows, prints, words)[:, None], words], 1).numpy()
        size = 8 * self._words
        for row, line in zip(rows.tolist(), lines, strict=True):
            os.pwrite(self._file, line.tobytes(), HEAD + row * size)

    def _tell_damaged(self, count: int) -> None:
        if not self.notes:
            self.notes.append(
                f"{self.path}: {count} answers do not fit their checksums (a crash, a damaged disk); such are computed and written again"
            )

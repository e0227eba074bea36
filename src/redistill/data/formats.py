"""Readers of the official file formats. Nothing stored in a file is ever executed.

* CIFAR python files are pickles. :func:`read_pickle` builds lists, dictionaries, numbers, bytes and plain numeric arrays, and
  refuses a file that names anything else, before that thing is looked up.
* ``.mat`` (version 5), ``idx`` and ``.npz`` hold numbers only; object arrays, which would be pickles, are refused.
"""

from __future__ import annotations

import gzip
import io
import lzma
import math
import pickle
import pickletools
import re
import stat
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from redistill.core import RedistillError
from redistill.errors import first_line

Pixels = npt.NDArray[np.uint8]
"""[N, C, H, W]."""

Labels = npt.NDArray[np.int64]
"""[N]."""


# -- pickles ----------------------------------------------------------------------------------------------------------
class _DType:
    """Stands for a ``numpy.dtype`` while a pickle is read: only its name and byte order are kept."""

    def __init__(self, name: object):
        self.name = _text(name)
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])


class _Array:
    """Stands for an array while a pickle is read; filled by ``__setstate__`` from its raw bytes."""

    value: npt.NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(dtype, _DType) or not re.fullmatch("[uifb][1-8]", dtype.name) or not isinstance(raw, bytes):
            raise pickle.UnpicklingError("an array of something other than numbers")
        flat = np.frombuffer(raw, np.dtype(f"{dtype.order}{dtype.name}"))
        self.value = flat.reshape(shape, order="F" if fortran else "C")


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


class _Make:
    """What a permitted name stands for: a call that makes a stand-in; without attributes that a pickle could change."""

    __slots__ = ()

    def __call__(self, *args: object) -> _Array | _DType:
        # numpy._reconstruct is called with (class, shape, type code), numpy.dtype with (name, align, copy)
        return _DType(args[0]) if isinstance(args[0], bytes | str) else _Array()


_PERMITTED = {
    ("numpy", "ndarray"),  # named, never called
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),  # the same function since NumPy 2
}

# Operations that build plain data; all others (instances, extensions, persistent names, buffers) are refused.
_OPERATIONS = frozenset(
    "PROTO FRAME STOP MARK EMPTY_DICT EMPTY_LIST EMPTY_TUPLE DICT LIST TUPLE TUPLE1 TUPLE2 TUPLE3 APPEND APPENDS SETITEM "
    "SETITEMS NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING "
    "SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 PUT BINPUT LONG_BINPUT "
    "MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD".split()
)


class _Forbidden(pickle.UnpicklingError):
    """A pickle asks for something that is not permitted."""


def _refusal(operation: str) -> Callable[[_Reader], None]:
    def refuse(reader: _Reader) -> None:
        raise _Forbidden(f"the operation {operation}")

    return refuse


class _Reader(pickle._Unpickler):
    """The unpickler in Python, which looks up every operation in a table (the one in C cannot be restricted, and allocates
    whatever memory a damaged file asks for)."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        ord(o.code): pickle._Unpickler.dispatch[ord(o.code)] if o.name in _OPERATIONS else _refusal(o.name)
        for o in pickletools.opcodes
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _PERMITTED:
            raise _Forbidden(f"{module}.{name}")
        return _Make()


# what the unpickler raises on bytes that are no pickle
_UNREADABLE = (
    *(pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, AssertionError),
    *(OverflowError, MemoryError, struct.error),
)


def read_pickle(path: Path) -> dict[str, Any]:
    """A dictionary of lists, numbers, bytes and numeric arrays from a pickle of Python 2 or 3.

    Keys become text. Anything that would call a function while loading is refused and not called.
    """
    try:
        loaded = _Reader(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except _Forbidden as error:
        raise RedistillError(
            f"{path} asks for {error} while loading, which could run code: refused, nothing was executed; "
            f"a data file needs only numeric arrays, so get the official file again"
        ) from None
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise RedistillError(f"{path} is not a readable data file ({reason}): get the official file again") from error
    if not isinstance(loaded, dict):
        raise RedistillError(f"{path} holds a {type(loaded).__name__}, expected a dictionary: get the official file again")
    named = {k.decode(errors="replace") if isinstance(k, bytes) else str(k): v for k, v in loaded.items()}
    return {key: value.value if isinstance(value, _Array) else value for key, value in named.items()}


def _entry(path: Path, found: dict[str, Any], key: str) -> Any:
    if key not in found:
        held = ", ".join(sorted(found)) or "nothing"
        raise RedistillError(f"{path} holds {held}, expected {key!r}: get the official file again")
    return found[key]


def read_cifar(path: Path, labels: str) -> tuple[Pixels, Labels]:
    """One batch file of CIFAR-10 (``labels="labels"``) or CIFAR-100 (``"fine_labels"``, ``"coarse_labels"``)."""
    found = read_pickle(path)
    x, y = _entry(path, found, "data"), np.asarray(_entry(path, found, labels), np.int64)
    if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != 3072 or y.shape != (len(x),):
        raise RedistillError(f"{path} does not hold rows of 3,072 bytes with one label each: get the official file again")
    return x.reshape(-1, 3, 32, 32), y


def read_names(path: Path, key: str) -> tuple[str, ...]:
    """Class names from a CIFAR ``meta`` file."""
    found = _entry(path, read_pickle(path), key)
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in found)


# -- SVHN -------------------------------------------------------------------------------------------------------------
def read_svhn(path: Path) -> tuple[Pixels, Labels]:
    """A cropped-digits file (MATLAB version 5): X [32, 32, 3, N], y [N, 1] with 1..10, where 10 stands for the digit 0."""
    import scipy.io

    try:
        found = scipy.io.loadmat(str(path), variable_names=("X", "y"))
    except (ValueError, TypeError, OSError, RuntimeError, zlib.error, struct.error) as error:
        raise RedistillError(f"{path} is not a MATLAB version 5 file ({error}): get the official file again") from error
    x, y = _entry(path, found, "X"), _entry(path, found, "y").astype(np.int64).reshape(-1)
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[:3] != (32, 32, 3) or x.shape[3] != len(y):
        raise RedistillError(f"{path} does not hold X [32, 32, 3, N] with N labels y: get the official file again")
    y[y == 10] = 0
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), y


# -- idx --------------------------------------------------------------------------------------------------------------
def read_idx(path: Path) -> Pixels:
    """An idx file of unsigned bytes, plain or gzipped: magic 0, 0, 8, number of sizes; big-endian sizes; the bytes."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise RedistillError(f"{path} cannot be unpacked ({error}): get the official file again") from error
    dims = content[3] if len(content) >= 4 and content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * dims
    shape = struct.unpack(f">{dims}I", content[4:start]) if dims and len(content) >= start else (0,)
    if not dims or len(content) - start != int(np.prod(shape, dtype=np.int64)):
        raise RedistillError(f"{path} is not an idx file of bytes with the size it announces: get the official file again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_mnist(images: Path, labels: Path) -> tuple[Pixels, Labels]:
    """The pair of idx files of MNIST and Fashion-MNIST: [N, 28, 28] and [N]."""
    x, y = read_idx(images), read_idx(labels)
    if x.ndim != 3 or y.ndim != 1 or len(x) != len(y):
        raise RedistillError(f"{images} [{len(x)} images] and {labels} [{len(y)} labels] do not belong together")
    return x[:, None].copy(), y.astype(np.int64)


# -- two arrays -------------------------------------------------------------------------------------------------------
# what numpy, zipfile and their decompressors raise on bytes that are no archive of arrays
_NO_ARRAYS = (
    ValueError, TypeError, LookupError, ArithmeticError, OSError, EOFError, RuntimeError, MemoryError, AttributeError, SyntaxError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, UserWarning,
)  # fmt: skip

_WRITE = "write it with numpy.savez(file, x=images, y=labels), x as uint8 [N, C, H, W] and y as whole numbers"
SMALL = 2**26  # bytes; an archive may always unpack to this many, and above it to FOLD times its own size
FOLD = 200


def _stored(path: Path, wanted: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    """The wanted arrays of an ``.npz`` file; what it announces is looked at before memory is asked for."""
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        raise ValueError("it is one array, an .npy file under another name")
    if not start.startswith(b"PK"):
        raise ValueError("it is no archive of arrays" if start else "it is empty")
    size = path.stat().st_size
    found = {}
    with zipfile.ZipFile(path) as archive:
        for key in wanted:
            name = next((n for n in (f"{key}.npy", key) if n in archive.NameToInfo), None)
            if name is None:
                continue
            with archive.open(name) as member:
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                shape, _, dtype = read[np.lib.format.read_magic(member)](member)
            if dtype.hasobject:
                raise ValueError(f"{key} holds objects, which could run a program")
            announced = math.prod(shape) * dtype.itemsize
            if max(announced, archive.NameToInfo[name].file_size) > max(SMALL, FOLD * size):
                raise ValueError(f"{key} would unpack to {announced:,} bytes, more than {FOLD} times the {size:,} of the file")
            with archive.open(name) as member, warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # numpy's remark on a header of Python 2
                found[key] = np.lib.format.read_array(member, allow_pickle=False)
    return found


def read_arrays(path: Path, classes: int | None = None) -> tuple[Pixels, Labels | None]:
    """``x`` ([N, C, H, W], [N, H, W, C] or [N, H, W]) and, where there are labels, ``y`` (whole numbers [N]) of an ``.npz`` file.

    The white of the pixels belongs to the data. It is an entry ``peak`` of the file; else 255 for bytes, 65535 for uint16, and
    for other numbers 1 where all lie in 0..1, 255 where all are whole and at most 255. Pixels become bytes, scaled to 0..255
    and rounded. ``classes``: how many there are, where somebody says it.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ValueError("it is no plain file")
        found = _stored(path, ("x", "y", "peak"))
    except _NO_ARRAYS as error:
        raise RedistillError(f"{path} cannot be read as arrays ({first_line(error)[:200]}): {_WRITE}") from error
    if "x" not in found:
        raise RedistillError(f"{path} has no array 'x': write it with numpy.savez(file, x=images, y=labels)")
    x = _bytes(found["x"], _number(path, found, "peak"), path)
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] not in (1, 3):
        if x.shape[3] not in (1, 3):
            raise RedistillError(f"{path}: x {list(x.shape)} has neither 1 nor 3 channels in second or last place")
        x = x.transpose(0, 3, 1, 2)
    y = found.get("y")
    if y is not None:
        if y.dtype.kind not in "iu" or y.shape != (len(x),):
            raise RedistillError(f"{path}: y must be whole numbers [{len(x)}], one an image, got {y.dtype} {list(y.shape)}")
        if classes is None and len(y) and int(y.max()) >= max(len(y), FEWEST):
            raise RedistillError(
                f"{path}: labels run from {y.min()} to {y.max()}, for {len(y)} images: number the classes from 0, or say how many "
                f"there are, numpy.savez(file, x=images, y=labels, classes={int(y.max()) + 1})"
            )
    return np.ascontiguousarray(x), None if y is None else y.astype(np.int64)


def stated_classes(path: Path) -> int | None:
    """The entry ``classes`` of an ``.npz`` file, if it has one."""
    try:
        return _number(path, _stored(path, ("classes",)), "classes")
    except RedistillError:
        raise
    except _NO_ARRAYS:
        return None  # the reader of the images says why


FEWEST = 1000  # labels below this many need no word about the number of classes, however few images there are


def _number(path: Path, found: dict[str, npt.NDArray[Any]], key: str) -> int | None:
    if key not in found:
        return None
    value = found[key]
    if value.size != 1 or value.dtype.kind not in "iuf" or not (float(value.reshape(())) == int(value.reshape(())) > 0):
        raise RedistillError(f"{path}: {key} must be one whole number above 0, got {value.dtype} {list(value.shape)}")
    return int(value.reshape(()))


def _bytes(x: npt.NDArray[Any], peak: int | None, path: Path) -> Pixels:
    """Pixels as bytes 0..255 by their white; nothing is clipped."""
    where = f"{path}: x must be uint8 [N, C, H, W] or [N, H, W, C], or numbers whose white is known"
    if x.ndim not in (3, 4) or x.dtype.kind not in "uifb" or not x.size:
        raise RedistillError(f"{where}, got {x.dtype} {list(x.shape)}: give pixels 0..255 as bytes")
    low, high = float(x.min()), float(x.max())  # NaN where one pixel is
    if peak is None:
        peak = 255 if x.dtype == np.uint8 else 65535 if x.dtype == np.uint16 else None
    if peak is None and low >= 0:
        if x.dtype.kind in "bf" and high <= 1:
            peak = 1
        elif high <= 255 and (x.dtype.kind != "f" or bool((x == np.floor(x)).all())):
            peak = 255
    if peak is None or not 0 <= low <= high <= peak:
        raise RedistillError(
            f"{where}, got {x.dtype} {list(x.shape)} from {low:g} to {high:g}: give pixels 0..255 as bytes, or say which number is "
            f"white, numpy.savez(file, x=images, peak=4095)"
        )
    if peak == 255 and x.dtype.kind in "ui":
        return x.astype(np.uint8, copy=False)
    out = np.empty(x.shape, np.uint8)
    for i in range(len(x)):  # one image at a time: doubles of all would be eight times the bytes
        out[i] = np.floor(x[i].astype(np.float64) * (255 / peak) + 0.5)
    return out

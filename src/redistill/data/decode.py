"""Image files: which there are, and how one becomes a square of bytes.

A training crop is a pure function of (file, variant): the variant is the 63-bit number that seeds its few draws.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
import struct
import warnings
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from redistill.core import RedistillError

NUMERICS = 1
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff")

UNREADABLE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError, MemoryError, struct.error,
    zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning,
)  # fmt: skip
"""What Pillow raises for files that are no image, or only part of one."""

AREA = (0.08, 1.0)  # share of the image that a random resized crop covers: Szegedy et al. 2015 (Inception), section 6
RATIO = (3 / 4, 4 / 3)  # its width over its height
TRIES = 10  # draws before the largest central crop is taken instead
T = TypeVar("T")
R = TypeVar("R")


def shown(name: object) -> str:
    """A file's name as it can be printed and written: bytes that are no UTF-8 appear as escapes."""
    return os.fsencode(str(name)).decode("utf-8", "backslashreplace")


def passed_over(name: str) -> bool:
    """Hidden files and folders, and those that a Mac puts beside the real ones into an archive."""
    return name.startswith(".") or name == "__MACOSX"


def places_above(folder: Path) -> set[tuple[int, int]]:
    """(device, inode) of a folder and of all above it: a link to one of them leads in a circle."""
    found = set()
    real = folder.resolve()
    for above in (real, *real.parents):
        with contextlib.suppress(OSError):
            about = above.stat()
            found.add((about.st_dev, about.st_ino))
    return found


def image_files(root: Path) -> list[str]:
    """Relative paths of all image files below ``root``, sorted; hidden files and folders are passed over.

    Each folder is entered once, links that lead upwards never; pipes and devices are no images, whatever their name.
    """
    return sorted(file for file in _files(root) if file.lower().endswith(SUFFIXES) and _plain(os.path.join(root, file)))


def other_endings(root: Path) -> Counter[str]:
    """How many files below ``root`` are passed over for their ending, by ending (``.heic``; "none" where there is none)."""
    return Counter(
        os.path.splitext(file)[1].lower() or "none" for file in _files(root) if not file.lower().endswith(SUFFIXES)
    )


def _files(root: Path) -> Iterator[str]:
    """Relative paths of all files below ``root`` that are not hidden."""

    def unreadable(error: OSError) -> None:
        raise RedistillError(f"the folder {shown(error.filename)} cannot be read ({error.strerror}): change its rights, or leave it out")

    been = places_above(root)
    for folder, folders, files in os.walk(root, followlinks=True, onerror=unreadable):
        inside = []
        for name in sorted(f for f in folders if not passed_over(f)):
            about = os.stat(os.path.join(folder, name))
            if (place := (about.st_dev, about.st_ino)) not in been:
                been.add(place)
                inside.append(name)
        folders[:] = inside
        here = Path(folder).relative_to(root)
        yield from ((here / f).as_posix() for f in files if not passed_over(f))


def _plain(path: str) -> bool:
    """False for pipes and devices; a link that leads nowhere is left for the reader to name."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True


# -- pictures of every kind -------------------------------------------------------------------------------------------
SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")

GREY = ("1", "L", "LA", "La", *SIXTEEN, "I")
_TURNED = (5, 6, 7, 8)  # values of the EXIF tag 274 that exchange width and height
_MANY = ("MPO",)  # photographs with further views inside, of which the first is the photograph


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Pillow's remarks about odd files are no news, and its doubt about very large ones is a refusal. For the main thread."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def require_known_white(image: Image.Image) -> None:
    """Refuse by name what has no one meaning as bytes: several pictures in a file, numbers without a known white.

    Raises:
        ValueError: what is wrong with the picture.
    """
    if getattr(image, "n_frames", 1) > 1 and image.format not in _MANY:
        raise ValueError(f"it holds {getattr(image, 'n_frames', 2)} pictures (animated, or several pages): save one of them as a file")
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        kind = "floating point" if image.mode == "F" else "32-bit whole"
        raise ValueError(f"its pixels are {kind} numbers, of which nobody says which one is white: save it with 8 or 16 bits")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation by the header alone. TIFF files are turned by Pillow itself; a PNG would be decoded to look further."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    return int(image.getexif().get(274, 1) or 1)


def eight_bits(image: Image.Image) -> Image.Image:
    """Any picture with 8 bits a channel, upright; 16-bit grey is scaled (65535 becomes 255, rounded), never clipped.

    Transparency is left out, as the usual readers do; palettes, CMYK and YCbCr become RGB by Pillow's rules.
    """
    require_known_white(image)
    turn = _orientation(image)
    if image.mode in (*SIXTEEN, "I"):
        values = np.asarray(image).astype(np.int64)
        if values.size and not 0 <= values.min() <= values.max() <= 65535:
            raise ValueError(f"its pixels run from {values.min()} to {values.max()}, expected 0 to 65535: save it with 8 or 16 bits")
        image = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    elif image.mode in ("P", "PA") and "transparency" in image.info:
        image = image.convert("RGBA")  # directly to RGB Pillow warns
    return image.transpose(_UPRIGHT[turn]) if turn in _UPRIGHT else image


_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
"""EXIF's orientation, and what brings the picture upright."""


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of the upright picture, from the header alone."""
    with Image.open(path) as image:
        require_known_white(image)
        return (image.height, image.width) if _orientation(image) in _TURNED else image.size


def decoded(path: Path) -> Image.Image:
    """The whole image as RGB, 8 bits a channel, upright."""
    with Image.open(path) as image:
        return eight_bits(image).convert("RGB")


def whole_image(image: Image.Image, size: int, resize: int) -> Image.Image:
    """Shorter side to ``resize``, then the central ``size`` x ``size``: evaluation, and data sets held in memory."""
    width, height = image.size
    if (short := min(width, height)) != resize:
        width, height = round(width * resize / short), round(height * resize / short)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def crop_box(width: int, height: int, draw: torch.Generator, least: float = AREA[0]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a random crop: area uniform from ``least`` to all, log of the ratio uniform in RATIO."""
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(TRIES):
        a, b, c, d = torch.rand(4, generator=draw, dtype=torch.float64).tolist()
        area = (least + (AREA[1] - least) * a) * width * height
        ratio = math.exp(low + (high - low) * b)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(c * (width - w + 1)), int(d * (height - h + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def random_crop(image: Image.Image, size: tuple[int, int], variant: int, least: float = AREA[0]) -> Image.Image:
    """A random resized crop of ``size`` (width, height), mirrored half of the time; ``variant`` fixes both."""
    draw = torch.Generator().manual_seed(variant)
    flip = bool(torch.rand((), generator=draw) < 0.5)
    crop = image.crop(crop_box(*image.size, draw, least)).resize(size, Image.Resampling.BILINEAR)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else crop


def tensor_of(image: Image.Image) -> Tensor:
    """uint8 [C, H, W]."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, len(image.getbands())).permute(2, 0, 1)


def reason(error: Exception) -> str:
    """Why a file is no image, or none that can be used."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def read(path: Path, size: int, resize: int, variant: int | None = None, least: float = AREA[0]) -> Tensor:
    """uint8 [3, size, size] of one file: its random crop of that number, of an area of at least ``least``, or with None the middle."""
    try:
        image = decoded(path)
    except UNREADABLE as error:
        raise RedistillError(
            f"{shown(path)} cannot be read ({reason(error)}): remove it, or read the folder with on_corrupt='skip', which checks "
            f"every file"
        ) from error
    return tensor_of(whole_image(image, size, resize) if variant is None else random_crop(image, (size, size), variant, least))


def read_all(root: Path, files: Sequence[str], size: int, resize: int, workers: int) -> Tensor:
    """uint8 [N, 3, size, size] of many files."""
    x = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    with quietly():
        for i, pixels in enumerate(in_threads(partial(read, size=size, resize=resize), (root / f for f in files), workers)):
            x[i] = pixels
    return x


def workers_or_all(workers: int | None) -> int:
    """How many threads decode: as given, else one a core, at most 16."""
    if workers is None:
        return min(16, os.cpu_count() or 1)
    if workers < 1:
        raise RedistillError(f"workers must be at least 1, got {workers}")
    return workers


def in_threads(work: Callable[[T], R], items: Iterable[T], workers: int, ahead: int = 256) -> Iterator[R]:
    """``map`` over a pool of threads (Pillow leaves the interpreter lock), with at most ``ahead`` results waiting."""
    todo = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(work, item) for item in islice(todo, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(todo, 1))

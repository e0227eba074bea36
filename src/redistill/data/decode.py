"""Image files: which there are, and how one becomes a square of bytes.

A training crop is a pure function of (file, variant): the variant is the 63-bit number that seeds its few draws.
"""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from redistill.core import RedistillError

NUMERICS = 1
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff")
UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
"""What Pillow raises for files that are no image, or only part of one."""

AREA = (0.08, 1.0)  # share of the image that a random resized crop covers: Szegedy et al. 2015 (Inception), section 6
RATIO = (3 / 4, 4 / 3)  # its width over its height
TRIES = 10  # draws before the largest central crop is taken instead

T = TypeVar("T")
R = TypeVar("R")


def image_files(root: Path) -> list[str]:
    """Relative paths of all image files below ``root``, sorted; hidden files and folders are passed over."""
    found = []
    for folder, folders, files in os.walk(root, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        here = Path(folder).relative_to(root)
        found += [(here / f).as_posix() for f in files if f.lower().endswith(SUFFIXES) and not f.startswith(".")]
    return sorted(found)


def size_of(path: Path) -> tuple[int, int]:
    """(width, height), from the header alone."""
    with Image.open(path) as image:
        return image.size


def decoded(path: Path) -> Image.Image:
    """The whole image as RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def whole_image(image: Image.Image, size: int, resize: int) -> Image.Image:
    """Shorter side to ``resize``, then the central ``size`` x ``size``: evaluation, and data sets held in memory."""
    width, height = image.size
    if (short := min(width, height)) != resize:
        width, height = round(width * resize / short), round(height * resize / short)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def crop_box(width: int, height: int, draw: torch.Generator) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a random crop: area uniform in AREA, log of the ratio uniform in RATIO."""
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    for _ in range(TRIES):
        a, b, c, d = torch.rand(4, generator=draw, dtype=torch.float64).tolist()
        area = (AREA[0] + (AREA[1] - AREA[0]) * a) * width * height
        ratio = math.exp(low + (high - low) * b)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(c * (width - w + 1)), int(d * (height - h + 1))
            return left, top, left + w, top + h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def random_crop(image: Image.Image, size: int, variant: int) -> Image.Image:
    """A random resized crop, mirrored half of the time; ``variant`` fixes both."""
    draw = torch.Generator().manual_seed(variant)
    flip = bool(torch.rand((), generator=draw) < 0.5)
    crop = image.crop(crop_box(*image.size, draw)).resize((size, size), Image.Resampling.BILINEAR)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else crop


def tensor_of(image: Image.Image) -> Tensor:
    """uint8 [C, H, W]."""
    pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return pixels.view(image.height, image.width, len(image.getbands())).permute(2, 0, 1)


def read(path: Path, size: int, resize: int, variant: int | None = None) -> Tensor:
    """uint8 [3, size, size] of one file: its random crop of that number, or with None the middle of it."""
    try:
        image = decoded(path)
    except UNREADABLE as error:
        raise RedistillError(
            f"{path} cannot be read ({error}): remove it, or read the folder with on_corrupt='skip', which checks every file"
        ) from error
    return tensor_of(whole_image(image, size, resize) if variant is None else random_crop(image, size, variant))


def read_all(root: Path, files: Sequence[str], size: int, resize: int, workers: int) -> Tensor:
    """uint8 [N, 3, size, size] of many files."""
    x = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
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

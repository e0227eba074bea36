"""Images that two sets have in common: an accuracy on images that were trained on says nothing of others."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from torch import Tensor

from redistill.data import decode
from redistill.data.catalogue import row_of
from redistill.data.folders import MEMORY, Folder
from redistill.data.images import Images


def shared(train: Any, test: Any, *, decoded: bool = True) -> int:
    """How many evaluation images are training images too: pixel for pixel, or file for file where both are on disk.

    Args:
        decoded: where one set is held in memory and the other is not, decode that one for it, as crops out of files
            (``resized-crop``) keep few pictures on disk as well; 0 where it is too large for memory. False: 0 for such a pair.

    Of anything else than :class:`Images` and :class:`Folder` nothing is known: 0. The parts into which its makers divided a set have
    nothing in common here, whatever they let in twice.
    """
    if not (isinstance(train, Images | Folder) and isinstance(test, Images | Folder)):
        return 0
    apart = train.name != test.name and None not in (row_of(train.name), row_of(test.name))
    by_file = isinstance(train, Folder) and isinstance(test, Folder)
    if apart or not (decoded or by_file or (isinstance(train, Images) and isinstance(test, Images))):
        return 0
    known = set(pictures(train, by_file))
    return sum(one in known for one in pictures(test, by_file))


def pictures(images: Any, by_file: bool) -> Iterator[object]:
    """What tells each image from others: its file, or a hash of its pixels; nothing of sets that are too large to be decoded."""
    pixels: Iterable[Tensor] = ()
    if by_file:
        yield from ((images.root / file).resolve() for file in images.files)
    elif isinstance(images, Images):
        pixels = images.x.cpu()
    elif isinstance(images, Folder) and len(images) * math.prod(images.image_shape) <= MEMORY:
        pixels = decode.in_threads(partial(images.pixels, variant=None), range(len(images)), decode.workers_or_all(images.workers))
    yield from (hashlib.blake2b(one.numpy().tobytes(), digest_size=16).digest() for one in pixels)

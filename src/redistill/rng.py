"""One seed, many named streams of random numbers.

Every draw in the package comes from ``stream(seed, purpose, ...)``: a generator whose state depends on the seed and on
the *names* of what it is for, never on the global state, on a position in a list, or on what was drawn before. Adding a
method to a comparison therefore cannot move another method's first weights or the order of the images.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from typing import SupportsIndex

import numpy as np
import torch

from redistill.errors import RedistillError

Name = str | int | float | bool | None | tuple["Name", ...]

NUMERICS = 2
"""Version of the derivation below; part of every experiment's identity. 2: numbered streams cannot meet."""

_BITS = 0xFFFFFFFF


def derive(seed: int, *names: Name) -> int:
    """A 63-bit number that depends on ``seed`` and on each of ``names``, and on nothing else.

    >>> derive(0, "order", 3) == derive(0, "order", 3), derive(0, "order", 3) == derive(0, "order", 4)
    (True, False)
    """
    # SupportsIndex: a seed out of numpy.arange is a whole number too
    if isinstance(seed, bool) or not isinstance(seed, SupportsIndex) or seed < 0:
        raise RedistillError(f"seed must be a whole number >= 0, got {seed!r}")
    text = json.dumps([int(seed), *names], separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _mixed(x: int) -> int:
    """A bijection of the whole numbers below 2^32 (two rounds of xor-shift and odd multiplication, as hash finalisers use)."""
    x ^= x >> 16
    x = x * 0x7FEB352D & _BITS
    x ^= x >> 15
    x = x * 0x846CA68B & _BITS
    return x ^ x >> 16


def generator_seed(seed: int, *names: Name) -> int:
    """The number below 2^32 that torch's generator of this stream is seeded with.

    torch's CPU generator keeps the low 32 bits of a seed, so of 100,000 epochs numbered by a hash about one pair would
    have the same order. Where the last name is a whole number (an epoch, a step, a block), it is therefore sent through a
    bijection keyed by seed and purpose: two numbers below 2^32 of one purpose never share a generator.

    >>> len({generator_seed(0, "order", epoch) for epoch in range(1000)})
    1000
    """
    number = names[-1] if names else None
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= _BITS:
        return derive(seed, *names) & _BITS
    key = derive(seed, *names[:-1])
    return _mixed(_mixed(number ^ key & _BITS) + (key >> 31) & _BITS)


def stream(seed: int, *names: Name) -> torch.Generator:
    """A CPU generator for one purpose, for example ``stream(seed, "order", epoch)``."""
    return torch.Generator().manual_seed(generator_seed(seed, *names))


@contextlib.contextmanager
def seeded(seed: int, *names: Name, device: torch.device | str = "cpu") -> Iterator[Callable[[], bool]]:
    """Run library code that only knows the global generators (layer initialisation, dropout) under a named stream.

    Those of Python, numpy and torch's CPU, and of ``device`` where that is an accelerator, are restored afterwards: some networks
    drop whole layers by ``random.random()`` or ``np.random``. What is yielded tells whether anything was drawn so far.
    """
    where = torch.device(device)
    number = generator_seed(seed, *names)
    with _host_seeded(number) as host_moved:
        if where.type in ("cpu", "meta"):  # what is built without memory draws nothing, and no accelerator need be there
            before = torch.random.get_rng_state()
            torch.default_generator.manual_seed(number)
            try:
                yield lambda: host_moved() or _moved_since(number, None)
            finally:
                torch.random.set_rng_state(before)
            return
        index = where.index if where.index is not None else torch.accelerator.current_device_index()
        with torch.random.fork_rng(devices=[index], device_type=where.type):
            torch.manual_seed(number)
            yield lambda: host_moved() or _moved_since(number, torch.device(where.type, index))


_FRESH = np.random.RandomState()
"""Tells what numpy's global generator is right after it was seeded."""


@contextlib.contextmanager
def _host_seeded(number: int) -> Iterator[Callable[[], bool]]:
    """The global generators of Python and numpy, of which torch knows nothing; another kind in numpy's place is left to its owner.

    Half a millisecond, nearly all of it for numpy's.
    """
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    ours = numpy["bit_generator"] == "MT19937"
    random.seed(number)
    if ours:
        np.random.seed(number)

    def moved() -> bool:
        if random.getstate() != random.Random(number).getstate():
            return True
        if not ours:
            return False
        _FRESH.seed(number)
        fresh, now = (state["state"] for state in (_FRESH.get_state(legacy=False), np.random.get_state(legacy=False)))
        return bool(fresh["pos"] != now["pos"] or (fresh["key"] != now["key"]).any())

    try:
        yield moved
    finally:
        random.setstate(python)
        if ours:
            np.random.set_state(numpy)


def _moved_since(number: int, accelerator: torch.device | None) -> bool:
    """Whether torch's generator, seeded with ``number``, has been drawn from."""
    fresh = torch.Generator().manual_seed(number).get_state()
    if not torch.equal(fresh, torch.default_generator.get_state()):
        return True
    if accelerator is None or accelerator.type != "cuda":
        return False
    own = torch.Generator(accelerator).manual_seed(number).get_state()
    return not torch.equal(own, torch.cuda.get_rng_state(accelerator))

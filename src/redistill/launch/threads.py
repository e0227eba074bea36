"""How many threads a run works with, where nobody says: small networks on several cores only wait for each other.

Threads of one step meet hundreds of times; where another program holds a core, all of them wait for the slowest (36 times slower was
measured with WRN-16-2 on 8x8 images). The rule looks at the work of a step alone, so that the same run has the same number, and the
same bits, however busy the machine is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

import torch
from torch import nn

from redistill.features.modes import evaluating, untouched

SMALL = 8e9
"""Floating point operations of the forwards of one step, below which one thread works: WRN-16-1 with 128 images of 32x32 has 7e9."""


SHARE = "REDISTILL_SHARE_OF_CORES"
"""In the environment of one of several processes: what OMP_NUM_THREADS says there is its share of the cores, and nobody's word."""


def word() -> int | None:
    """Threads that OMP_NUM_THREADS asks for, where somebody has set it."""
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(said) if said.isdecimal() and int(said) > 0 and SHARE not in os.environ else None


def work_of(net: nn.Module, shape: tuple[int, ...]) -> float | None:
    """Floating point operations of one image [C, H, W]; None where they cannot be counted."""
    from torch.utils.flop_counter import FlopCounterMode

    first = next(net.parameters(), None)
    images = torch.zeros(1, *shape) if first is None else torch.zeros(1, *shape, device=first.device, dtype=first.dtype)
    counter = FlopCounterMode(display=False)
    try:
        with untouched(net), evaluating(net), torch.no_grad(), counter:
            net(images)
    except Exception:  # a network that takes no single image, a scripted one: then nothing is said
        return None
    return float(counter.get_total_flops())


def wanted(nets: Iterable[nn.Module], shape: tuple[int, ...], batch_size: int, device: torch.device) -> int:
    """Threads for steps of ``nets`` on images [C, H, W]: 1 where all of them are small, else as many as torch has now.

    What OMP_NUM_THREADS says stands, and so does a single thread.
    """
    now = torch.get_num_threads()
    if now == 1 or word() is not None or device.type != "cpu":
        return now
    with using(1):
        counted = [work_of(net, shape) for net in nets]
    each = max((work for work in counted if work is not None), default=None)
    return now if each is None or each * batch_size >= SMALL else 1


@contextlib.contextmanager
def using(threads: int | None) -> Iterator[None]:
    """That many threads for a while; None: as it is."""
    before = torch.get_num_threads()
    if threads is not None and threads != before:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)

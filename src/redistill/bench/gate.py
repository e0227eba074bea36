"""Same work or no ratio: losses and all gradients of the first step, and the pixels, before anything is timed."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from redistill.bench.plain import Pictures
from redistill.bench.rows import ROWS, Row, library_loop, noise, package_loop, plain_loop
from redistill.core import RedistillError
from redistill.train.loop import Loop

BATCH = 8
DRAWS = 8
DOUBLE, FP32 = 1e-9, 1e-5
ROUNDING = 4.0


class OtherWork(RedistillError):
    """Two loops do not do the same work."""


@dataclass(frozen=True)
class Step:
    """The first step of a loop: its loss, and the gradient of every parameter of student and adapters, by name."""

    loss: float
    gradients: dict[str, Tensor]

    def distance(self, other: Step) -> float:
        """Largest difference of loss or of a gradient, relative to the loss and to the largest gradient."""
        if self.gradients.keys() != other.gradients.keys():
            raise OtherWork(f"other parameters learn: {sorted(self.gradients.keys() ^ other.gradients.keys())[:3]}")
        largest = most(float(g.abs().max()) for g in other.gradients.values())
        apart = most(float((self.gradients[n].double() - g.double()).abs().max()) for n, g in other.gradients.items())
        return most([apart / largest, abs(self.loss - other.loss) / abs(other.loss)])


def most(numbers: Iterable[float]) -> float:
    """The largest; infinite where one is NaN, which ``max`` passes over wherever it does not stand first.

    >>> most([0.0, math.nan]), most([1.0, 2.0])
    (inf, 2.0)
    """
    return max(math.inf if math.isnan(number) else number for number in numbers)


def _gradients(*modules: torch.nn.Module) -> dict[str, Tensor]:
    return {
        f"{number} {name}": p.grad.detach().clone()
        for number, module in enumerate(modules)
        for name, p in module.named_parameters()
        if p.grad is not None
    }


def of_package(loop: Loop) -> Step:
    """One step of the package's loop, taken here."""
    next(loop)
    own = loop.students[0]
    return Step(own.rows(0).totals[0], _gradients(own.net, list(own.method.parts())[-1][1]))


def checked(row: Row, kinds: list[str]) -> dict[str, float]:
    """How far each kind's first step lies from the plain loop's.

    In double precision the two must be equal (:data:`DOUBLE`), and the pixels those of Pillow; in fp32 and the same memory layout
    to :data:`FP32`. In another layout, whose convolutions sum in another order, and in bf16 a kind may lie as far from the double
    step as :data:`ROUNDING` times the plain loop of the same precision does, which is under ``torch.autocast`` in bf16.

    The smallest distance of :data:`DRAWS` batches counts. A pre-activation within rounding of zero falls on either side of a ReLU's
    kink, and then gradients jump by 1e-4 or more, though the work is the same (seen on 2 to 6 of 6 batches of 32 images). Other work
    is other work on every batch.

    Raises:
        OtherWork: it lies further.
    """

    @functools.cache
    def first(kind: str, draw: int, *, contiguous: bool = False) -> tuple[Step, Step, float]:
        images = noise(BATCH, draw)
        loop = package_loop([row.method()], images, kind=kind, batch=BATCH, steps=1, contiguous=contiguous)
        dtype = torch.float64 if kind == "double" else torch.float32
        by_hand = plain_loop(row, loop, images, Pictures(images, dtype), dtype)
        shown = loop.stream.batch(0).images
        mine = of_package(loop)
        with loop.means.autocast():
            by_hand()
        pixels = float((by_hand.images - shown).abs().max())
        return mine, Step(by_hand.loss, _gradients(by_hand.student.net, by_hand.adapters[0])), pixels

    exact, same, pixels = first("double", 0)
    found = {"double": exact.distance(same), "pixels": pixels}
    if not found["double"] <= DOUBLE or not pixels <= 1e-6:
        raise OtherWork(
            f"{row.name}: in double precision the first steps differ by {found['double']:.1e} (allowed {DOUBLE:.0e}), the pixels by "
            f"{pixels:.1e}: no ratio"
        )
    found["contiguous"] = math.inf
    for draw in range(DRAWS):
        mine, by_hand, _ = first("strict", draw, contiguous=True)
        found["contiguous"] = min(found["contiguous"], mine.distance(by_hand))
        if found["contiguous"] <= FP32:
            break
    else:
        raise OtherWork(f"{row.name}: in fp32 the first steps differ by {found['contiguous']:.1e}, allowed {FP32:.0e}: no ratio")
    for kind in kinds:
        found[kind] = theirs = math.inf
        for draw in range(DRAWS):
            exact, _, _ = first("double", draw)
            mine, by_hand, _ = first(kind, draw)
            found[kind], theirs = min(found[kind], mine.distance(exact)), min(theirs, by_hand.distance(exact))
            allowed = max(FP32, ROUNDING * theirs)
            if found[kind] <= allowed:
                break
        else:
            raise OtherWork(f"{row.name}, {kind}: the first step is {found[kind]:.1e} from the exact one, allowed {allowed:.1e}: no ratio")
    return found


def library_checked() -> float:
    """How far the first step of torchdistill's loop lies from the plain loop's: its loss, and the weights after it, relative to the
    largest change of a weight.

    Raises:
        OtherWork: further than :data:`FP32`. NotThere: the library cannot be asked.
    """
    row, images = ROWS["KD"], noise(BATCH)
    loop = package_loop([row.method()], images, kind="strict", batch=BATCH, steps=1)
    by_hand, library = plain_loop(row, loop, images, Pictures(images)), library_loop(loop, images, Pictures(images), BATCH)
    first = {name: p.detach().clone() for name, p in library.student.named_parameters()}
    by_hand()
    library()
    theirs = dict(by_hand.student.net.named_parameters())
    moved = most(float((theirs[name].detach() - value).abs().max()) for name, value in first.items())
    apart = most(float((theirs[name] - value).detach().abs().max()) for name, value in library.student.named_parameters())
    found = most([apart / moved, abs(library.loss - by_hand.loss) / abs(by_hand.loss)])
    if not found <= FP32:
        raise OtherWork(f"KD, torchdistill: the first step is {found:.1e} from the plain loop's, allowed {FP32:.0e}: no ratio")
    return found

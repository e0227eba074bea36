"""Are two trainings the same, bit for bit? And if not, what differs first?

:func:`first_difference` compares two loops at the same step, component by component in the order in which one causes the
next: batches, rate, streams, optimiser, parameters, buffers, terms, curves. A resumed run that went wrong is thereby told by
its cause and not by its last symptom.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from redistill.core import Batch, Stream
from redistill.fit import Loop


class Watched:
    """A stream that remembers the last batch it gave."""

    def __init__(self, stream: Stream):
        self.stream = stream
        self.last: Batch | None = None

    def batch(self, step: int) -> Batch:
        self.last = self.stream.batch(step)
        return self.last

    def state_dict(self) -> dict[str, Any]:
        return self.stream.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stream.load_state_dict(state)

    def log(self) -> dict[str, float]:
        return self.stream.log()


def watched(loop: Loop) -> Loop:
    """The same loop, whose batches can be compared too."""
    if not isinstance(loop.stream, Watched):
        loop.stream = Watched(loop.stream)
    return loop


def components(loop: Loop) -> dict[str, Any]:
    """Everything that the rest of a training depends on, by component, causes first."""
    state = loop.state()
    last = loop.stream.last if isinstance(loop.stream, Watched) else None
    # a batch is known only to a loop that has taken a step since it was made
    batches = {} if last is None else {"images": last.images, "labels": last.labels, "index": last.index, "variant": last.variant}
    found: dict[str, Any] = {"step": loop.step, "batches": batches, "rate": {}, "streams": {}, "optimiser": {}}
    found |= {"parameters": {}, "buffers": {}, "terms": {}, "curves": {}}
    found["streams"] = {"source": state["stream"], "teacher": state["teacher"]}
    for number, (student, saved) in enumerate(zip(loop.students, state["students"], strict=True)):
        learned = {name for name, _ in student.net.named_parameters()}
        optimiser = saved["optimizer"]
        found["rate"][number] = [group["lr"] for group in optimiser["param_groups"]]
        found["optimiser"][number] = optimiser
        found["parameters"][number] = {name: value for name, value in saved["net"].items() if name in learned}
        found["buffers"][number] = {name: value for name, value in saved["net"].items() if name not in learned}
        found["terms"][number] = saved["method"]
        found["curves"][number] = {key: saved[key] for key in ("buffer", "epoch_sum", "losses", "curves", "diverged")}
    found["curves"]["source"] = state["source_log"]
    return found


def first_difference(a: Loop, b: Loop) -> str | None:
    """The first component in which two loops differ, and where in it; None where they are bit-identical."""
    return difference(components(a), components(b))


def difference(a: Any, b: Any, at: str = "") -> str | None:
    """The first difference between two trees of tensors and plain values, in a sentence; None where there is none.

    >>> difference({"rate": [0.1]}, {"rate": [0.2]})
    'rate/0: 0.1 and 0.2'
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _tensors(a, b, at)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if missing := next((key for key in [*a, *b] if key not in a or key not in b), None):
            return f"{_under(at, missing)}: only one of the two has it"
        return next((d for key in a if (d := difference(a[key], b[key], _under(at, key)))), None)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return f"{at}: {len(a)} and {len(b)} entries"
        pairs = enumerate(zip(a, b, strict=True))
        return next((d for i, (x, y) in pairs if (d := difference(x, y, _under(at, i)))), None)
    same = type(a) is type(b) and (a == b or (a != a and b != b))
    return None if same else f"{at}: {_short(a)} and {_short(b)}"


def largest_difference(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> str | None:
    """How two networks differ, whatever the order of their tensors: how many do, and where the largest difference is.

    >>> one, two = torch.zeros(3), torch.tensor([0.0, 2.0, 0.5])
    >>> largest_difference({"x": one, "y": one}, {"y": two, "x": one + 1})
    '2 of 2 tensors differ, most of all y: 2 of 3 numbers differ, by up to 2'
    """
    if missing := sorted(a.keys() ^ b.keys()):
        return f"{missing[0]}: only one of the two has it" + (f" (and {len(missing) - 1} more)" if missing[1:] else "")
    found = {name: says for name in sorted(a) if (says := _tensors(a[name], b[name], name)) is not None}
    if not found:
        return None

    def size(name: str) -> float:
        one, two = a[name].detach().cpu(), b[name].detach().cpu()
        if one.shape != two.shape or one.dtype != two.dtype:
            return math.inf
        gap = float((one.double() - two.double()).abs().max())
        return math.inf if math.isnan(gap) else gap

    worst = max(sorted(found), key=size)  # of equal ones the first by name
    return f"{len(found)} of {len(a)} tensors differ, most of all {found[worst]}"


def _under(at: str, key: object) -> str:
    return f"{at}/{key}" if at else str(key)


def _short(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


def _tensors(a: Tensor, b: Tensor, at: str) -> str | None:
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"{at}: {a.dtype} {tuple(a.shape)} and {b.dtype} {tuple(b.shape)}"
    one, two = a.detach().cpu(), b.detach().cpu()
    # bits, not values: -0.0 is not 0.0, and a NaN equals itself
    differ = (_bits(one) != _bits(two)).view(one.numel(), -1).any(1) if one.numel() else torch.zeros(0, dtype=torch.bool)
    count = int(differ.sum())
    if count == 0:
        return None
    largest = float((one.double() - two.double()).abs().max())
    return f"{at}: {count} of {one.numel()} numbers differ, by up to {largest:.3g}"


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def all_differences(a: Mapping[str, Any], b: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every leaf in which two trees of plain values differ: (path, one, other); None for what one of them has not."""
    for key in dict.fromkeys([*a, *b]):
        one, two = a.get(key), b.get(key)
        path = f"{at}.{key}" if at else str(key)
        if isinstance(one, list) and isinstance(two, list) and any(isinstance(x, Mapping) for x in [*one, *two]):
            one, two = dict(enumerate(one)), dict(enumerate(two))
        if isinstance(one, Mapping) and isinstance(two, Mapping):
            yield from all_differences(one, two, path)
        elif one != two:
            yield path, one, two

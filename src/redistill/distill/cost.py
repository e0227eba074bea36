"""What networks cost on this machine: time and memory of a forward, and of a training step."""

from __future__ import annotations

import contextlib
import functools
import os
import statistics
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from redistill.errors import counted
from redistill.features.modes import evaluating, untouched
from redistill.features.outputs import logits_of
from redistill.machine import wait_for

ROUNDS = 15
"""Rounds of a latency; the median of them is told."""
TIMED = (1, 32)
"""Images of a forward whose latency is measured."""
SECONDS = 6.0
"""After so long a measurement of latencies ends, with three rounds at least."""


class _Living(TorchDispatchMode):
    """Bytes of the tensors that operations make and that live at once; what an operation needs inside itself is not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now: int = 0
        self.peak: int = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self.see(value)
        return out

    def see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _weights(net: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in (*net.parameters(), *net.buffers()))


def zeros(net: nn.Module, count: int, shape: Sequence[int], device: torch.device) -> Tensor:
    """Images for a network, in its own precision."""
    own = next((p.dtype for p in net.parameters() if p.is_floating_point()), torch.float32)
    return torch.zeros(count, *shape, dtype=own, device=device)


def forward_memory(net: nn.Module, images: Tensor) -> int:
    """Bytes of weights and of the tensors that live at once in a forward in evaluation mode; on an accelerator those of its allocator."""
    with evaluating(net), torch.no_grad():
        if images.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(images.device)
            before = torch.cuda.memory_allocated(images.device)
            net(images)
            return int(torch.cuda.max_memory_allocated(images.device) - before) + _weights(net)
        with _Living() as living:
            living.see(images)
            net(images)
    return int(living.peak) + _weights(net)


def training_memory(
    student: nn.Module, teacher: nn.Module | None, shape: Sequence[int], batch: int, device: torch.device, students: int = 1
) -> int:
    """Bytes that a training step of ``batch`` images needs: measured with two and with four images and drawn on in a line.

    Weights of both, and of each of ``students`` its gradient and the optimiser's averages beside them, are counted; students of a
    cohort take their steps one after the other.
    """
    grown = _grown(student, teacher, tuple(shape), device)
    each = max(0, grown[4] - grown[2]) / 2
    fixed = max(0.0, grown[2] - 2 * each)
    return int(fixed + each * batch + 4 * students * _weights(student) + (0 if teacher is None else _weights(teacher)))


@functools.lru_cache(maxsize=4)
def _grown(student: nn.Module, teacher: nn.Module | None, shape: tuple[int, ...], device: torch.device) -> dict[int, int]:
    """Peak of a step by number of images."""
    return {few: _step_peak(student, teacher, torch.zeros(few, *shape, device=device)) for few in (2, 4)}


def _step_peak(student: nn.Module, teacher: nn.Module | None, images: Tensor) -> int:
    with untouched(student), torch.enable_grad():
        student.train()
        with _Living() as living:
            living.see(images)
            if teacher is not None:
                with evaluating(teacher), torch.no_grad():
                    teacher(images)
            loss = logits_of(student(images), student).float().square().mean()
            torch.autograd.grad(loss, [p for p in student.parameters() if p.requires_grad], allow_unused=True)
    return int(living.peak)


def step_seconds(student: nn.Module, teacher: nn.Module | None, shape: Sequence[int], batch: int, device: torch.device) -> float:
    """Seconds of one training step: the faster of two after one that warms up; on a CPU with at most 32 images, in proportion, which a
    step of an accelerator is not in."""
    few = min(batch, 32) if device.type == "cpu" else batch
    images = torch.zeros(few, *shape, device=device)
    turns = []
    with untouched(student), torch.enable_grad():
        student.train()
        for _ in range(3):
            began = time.perf_counter()
            if teacher is not None:
                with evaluating(teacher), torch.no_grad():
                    teacher(images)
            loss = logits_of(student(images), student).float().square().mean()
            torch.autograd.grad(loss, [p for p in student.parameters() if p.requires_grad], allow_unused=True)
            wait_for(device)
            turns.append(time.perf_counter() - began)
            if turns[-1] > 10:
                break
    return min(turns[-2:]) * batch / few


def available_memory(device: torch.device) -> int | None:
    """Bytes that are free for a run here; None where the system does not say it. A limit of a container counts."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free: list[int] = []
    with contextlib.suppress(OSError, ValueError, LookupError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))) * 1024)
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        with contextlib.suppress(OSError, ValueError):
            free.append(int(Path("/sys/fs/cgroup", limit).read_text()) - int(Path("/sys/fs/cgroup", used).read_text()))
    if not free and hasattr(os, "sysconf"):
        with contextlib.suppress(OSError, ValueError):
            free.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(free, default=None)


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a forward in evaluation mode, by batch size: the median over interleaved rounds."""

    milliseconds: dict[int, float]
    rounds: int


def latencies(
    nets: Mapping[str, nn.Module], shape: Sequence[int], device: torch.device, batches: Sequence[int] = TIMED
) -> dict[str, Latency]:
    """Forwards of all networks in turn, so that whatever else the machine does falls on each of them alike."""
    inputs = {(name, batch): zeros(net, batch, shape, device) for name, net in nets.items() for batch in batches}
    turns: dict[tuple[str, int], list[float]] = {(name, batch): [] for name in nets for batch in batches}
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(evaluating(*nets.values()))
        for (name, _), images in inputs.items():
            nets[name](images)  # warms up
        began = time.perf_counter()
        rounds = 0
        while rounds < ROUNDS and (rounds < 3 or time.perf_counter() - began < SECONDS):
            for (name, batch), found in turns.items():
                wait_for(device)
                start = time.perf_counter()
                nets[name](inputs[name, batch])
                wait_for(device)
                found.append(1000 * (time.perf_counter() - start))
            rounds += 1
    return {name: Latency({b: statistics.median(turns[name, b]) for b in batches}, rounds) for name in nets}


def threads_text() -> str:
    """``1 thread``, ``8 threads``: with which torch works now."""
    return counted(torch.get_num_threads(), "thread")


def bytes_text(size: float) -> str:
    """``1.4 MB`` for 1_400_000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    raise AssertionError

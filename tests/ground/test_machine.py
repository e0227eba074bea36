"""What a process asks of its C library."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from redistill import machine
from redistill.distill import cost
from redistill.launch import rates
from redistill.models import describe, wrn

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import resource
import numpy as np
from redistill.allocator import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(5_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
keep_freed_memory()
faults()
print(first, faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is asked; elsewhere nothing is")
def test_freed_memory_is_used_again() -> None:
    facts = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=facts, timeout=120)
    assert done.returncode == 0, done.stderr
    first, then = map(int, done.stdout.split())
    if first < 1000:
        pytest.skip("this C library keeps what is freed by itself")
    assert then < first / 10


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system counts from the beginning of a process")
def test_a_peak_of_memory_is_of_the_run_and_not_of_an_earlier_one() -> None:
    cpu, size = torch.device("cpu"), 150_000_000
    with mmap.mmap(-1, size) as memory:
        memory.write(b"1" * size)
    before = machine.peak_memory(cpu)["process"]
    machine.forget_peak(cpu)
    assert machine.peak_memory(cpu)["process"] < before - size // 2


def test_a_checkout_says_its_commit() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    asked = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    if asked.returncode:
        pytest.skip("git does not answer here")
    found = machine.git()
    assert found is not None and found["commit"] == asked.stdout.strip()


def test_a_device_that_nobody_has_used_has_no_peak_to_forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--device cuda:1``: asked by its number before its first tensor, PyTorch raises "did you call init?"."""

    def asked(device: object) -> None:
        raise RuntimeError(f"Invalid device argument {device}: did you call init?")

    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", asked)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    machine.forget_peak(torch.device("cuda:1"))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(RuntimeError, match="did you call init"):
        machine.forget_peak(torch.device("cuda:1"))


class Device:
    """A clock, and a device that runs behind the host: a step is asked for in no time, and takes ten milliseconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int):
        self.now, self.asked, self.steps, self.waits, self.per_epoch = 0.0, 0, steps, 0, 0
        monkeypatch.setattr("redistill.train.loop.Loop", self.loop)
        monkeypatch.setattr("redistill.machine.wait_for", self.wait)
        monkeypatch.setattr("time.perf_counter", lambda: self.now)

    def loop(self, students: Any, teacher: Any, source: Any, *more: Any, **settings: Any) -> Device:
        self.per_epoch = source.steps_per_epoch(128, False)
        return self

    def wait(self, device: torch.device) -> None:
        self.waits += 1
        self.now, self.asked = self.now + 0.01 * self.asked, 0

    def close(self) -> None:
        pass

    def __iter__(self) -> Iterator[Any]:
        for step in range(1, self.steps + 1):
            self.asked += 1
            if step % self.per_epoch == 0:
                self.now += 0.05  # what the end of an epoch costs
            yield SimpleNamespace(step=step)


def test_how_fast_an_accelerator_is_is_told_by_steps_that_were_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by how fast they are asked for, nor by an epoch's end after each."""
    device = Device(monkeypatch, 400)
    work = 3 * 128 * describe(wrn(16, 2, classes=10, seed=0)).macs
    assert rates.measured("cuda", "strict") == pytest.approx(work / 0.01)
    assert 4 <= device.waits < 40


def test_a_step_of_an_accelerator_is_timed_as_large_as_it_will_be() -> None:
    """It takes 128 images in hardly more time than 32, and four times that of 32 made a time budget last for a quarter of its epochs."""
    seen: list[int] = []
    for where, batch in (("meta", 128), ("cpu", 128), ("cpu", 8)):
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2)).to(where)
        net.register_forward_hook(lambda module, given, out: seen.append(len(out)))
        cost.step_seconds(net, None, (3, 2, 2), batch, torch.device(where))
    assert seen == [128] * 3 + [32] * 3 + [8] * 3

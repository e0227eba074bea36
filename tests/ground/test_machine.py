"""What a process asks of its C library."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from redistill import machine

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

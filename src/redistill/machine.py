"""Where a run was computed: versions, hardware, threads, git commit, memory. Facts for the record, never for the id."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import resource
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from redistill import __version__
from redistill.package_code import package_sha256

PACKAGES = ("numpy", "safetensors", "pydantic", "Pillow", "scipy", "scikit-learn")


def versions() -> dict[str, str]:
    """Of this package (``package``: SHA-256 of its code), of Python and of what it computes with."""
    found = {"redistill": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    found["package"] = package_sha256()
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def processor() -> str:
    """The CPU's own name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: platform knows less, but something
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return processor() if device.type == "cpu" else device.type


def hardware(device: torch.device) -> dict[str, Any]:
    """What bit-identity is promised for: the same of all of these. ``capability``: the CPU instructions torch uses."""
    return {
        "device": device_name(device),
        "processor": processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
    }


@functools.cache
def git() -> dict[str, Any] | None:
    """Commit of the package's own checkout, and whether it was changed since; None for an installed package."""
    home = Path(__file__).resolve().parents[2]
    if not (home / ".git").exists():
        return None

    def ask(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(home), *words], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "changed": bool(ask("status", "--porcelain", "--untracked-files=no"))}


def origin(device: torch.device) -> dict[str, Any]:
    """Where a number comes from, for a record of one command: versions, commit, hardware."""
    return {"versions": versions(), "git": git(), "hardware": hardware(device)}


def free_memory(device: torch.device) -> int | None:
    """Bytes that a process may still ask for on a device, within the limit of its container; None where nobody says it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    try:
        limit, stat = (Path(f"/sys/fs/cgroup/memory.{name}").read_text() for name in ("max", "stat"))
        used = next(int(line.split()[1]) for line in stat.splitlines() if line.startswith("anon "))  # files in memory make room
        return min(free, max(0, int(limit) - used))
    except (OSError, ValueError, StopIteration, IndexError):
        return free  # no container, or one without a limit


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was asked: an accelerator runs behind the host, whose clock says nothing before."""
    if device.type not in ("cpu", "meta"):
        torch.accelerator.synchronize(device)


def _own_peak() -> int:
    """Of this program. Linux counts in getrusage what the process held before it became this program, the memory of who started it."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass  # not Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak(device: torch.device) -> None:
    """The highest memory use counts from now on: a process that makes several runs would tell of each the largest so far. Where the
    system cannot (not Linux) it goes on."""
    with contextlib.suppress(OSError):
        asked = os.open("/proc/self/clear_refs", os.O_WRONLY)
        try:
            os.write(asked, b"5")
        finally:
            os.close(asked)
    if device.type == "cuda" and torch.cuda.is_initialized():  # before its first tensor a device has no peak, and asked by number it raises
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device) -> dict[str, int]:
    """Highest memory use so far, or since :func:`forget_peak`, in bytes: of this process, and of the device's allocator where it has
    one."""
    found = {"process": _own_peak()}
    if device.type == "cuda":
        found["device"] = int(torch.cuda.max_memory_allocated(device))
    return found

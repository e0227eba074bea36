"""Where a run was computed: versions, hardware, threads, git commit, memory. Facts for the record, never for the id."""

from __future__ import annotations

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

PACKAGES = ("numpy", "safetensors", "pydantic", "Pillow", "scipy", "scikit-learn")


def versions() -> dict[str, str]:
    found = {"redistill": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
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
    home = Path(__file__).resolve().parents[3]
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


def peak_memory(device: torch.device) -> dict[str, int]:
    """Highest memory use so far in bytes: of this process, and of the device's allocator where it has one."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.type == "cuda":
        found["device"] = int(torch.cuda.max_memory_allocated(device))
    return found

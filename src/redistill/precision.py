"""Devices and the arithmetic a recipe means on them: fp64, IEEE fp32, or bf16 where the device has units for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from redistill.core import RedistillError
from redistill.recipe import Recipe

NUMERICS = 1


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """``auto``: the accelerator torch reports, else the CPU."""
    if str(device) != "auto":
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise RedistillError(f"unknown device {device!r}: use auto, cpu, cuda, cuda:1, mps ...") from error
    if torch.accelerator.is_available():
        found = torch.accelerator.current_accelerator()
        if found is not None:
            return found
    return torch.device("cpu")


def has_bf16_matrix_units(device: torch.device) -> bool:
    """Whether the device declares units that multiply bf16 matrices (CPU: AMX tiles or AVX512-BF16; CUDA: sm_80)."""
    if device.type == "cpu":
        flags = torch.backends.cpu.get_cpu_capability()
        if flags == "DEFAULT":
            return False
        probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in probes)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return False


def arithmetic(recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """What a recipe means on a device: dtype of the forward passes, memory layout. Written into the experiment."""
    bf16 = recipe.precision == "fast" and has_bf16_matrix_units(device)
    forward = {"double": "float64", "strict": "float32", "fast": "bfloat16" if bf16 else "float32"}[recipe.precision]
    layout = recipe.channels_last
    if layout is None:
        layout = recipe.precision != "double" and (device.type == "cpu" or bf16)
    return {"forward": forward, "channels_last": layout, "compile": recipe.compile}


@contextlib.contextmanager
def ieee(device: torch.device, exact: bool) -> Iterator[None]:
    """fp32 means fp32: no TF32, no reduced matmul precision, deterministic kernels; the caller's settings come back."""
    matmul = torch.get_float32_matmul_precision()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_float32_matmul_precision("highest" if exact else matmul)
    if exact and device.type == "cuda":
        # a few kernels (adaptive pooling backward) have no deterministic form: they warn, and the record says "cuda"
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=not exact, deterministic=exact, allow_tf32=not exact
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)

"""Devices and the arithmetic a recipe means on them: fp64, IEEE fp32, or bf16 where the device has units for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from redistill.core import Output, RedistillError
from redistill.recipe import Recipe

NUMERICS = 1


def resolve_device(device: str | torch.device = "auto", *, walk: bool = False) -> torch.device:
    """``auto``: the accelerator torch reports, else the CPU. ``walk``: the meta device too, where steps are walked without numbers."""
    if str(device) != "auto":
        try:
            asked = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise RedistillError(f"unknown device {device!r}: use auto, cpu, cuda, cuda:1, mps ...") from error
        if asked.type == "meta" and not walk:
            raise RedistillError("on device 'meta' there are shapes and no numbers, and nothing can be trained or measured: use cpu")
        _require_there(asked)
    else:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        asked = torch.device("cpu") if found is None else found
    if asked.type == "cuda":
        # read once, at the first matrix product of the process: that is long before the first step, when networks are looked at
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return asked


def _require_there(device: torch.device) -> None:
    """Refuse an accelerator that this machine, or this build of torch, does not have."""
    if device.type in ("cuda", "mps", "xpu"):
        module = getattr(torch, device.type)
        if not module.is_available():
            raise RedistillError(f"there is no device {str(device)!r} here (torch {torch.__version__}): use cpu, or auto for what there is")
        if device.index is not None and device.index >= (count := module.device_count()):
            raise RedistillError(f"there is no device {str(device)!r} here: {count} of this kind, counted from 0")
    elif device.type not in ("cpu", "meta"):  # others that torch can name; on meta, which holds no numbers, what devices do is walked
        try:
            torch.zeros(1, device=device).item()
        except (RuntimeError, NotImplementedError, AssertionError) as error:
            raise RedistillError(
                f"nothing can be computed on device {str(device)!r} here (torch {torch.__version__}): use cpu, or auto for what there is"
            ) from error


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
    return {"forward": forward, "channels_last": layout, "compile": recipe.compile is True}


COMPILING = 67.0  # seconds that torch.compile took for teacher and student, at most, where it was measured
SAVED = 1.3e-12  # seconds it saves a multiply-accumulate on one core with AMX tiles (0.30 to 0.23 of a plain KD step of 52 G)


def compiling_may_pay(recipe: Recipe, device: torch.device) -> bool:
    """Whether ``compile = "auto"`` is asked for where compiling saves anything: ``fast`` on a CPU with tiles for bf16 matrices.

    With AVX512-BF16 alone it gave nothing; a CUDA device replays whole steps as graphs.
    """
    if recipe.compile != "auto" or recipe.precision != "fast" or device.type != "cpu":
        return False
    return has_bf16_matrix_units(device) and bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def compiling_pays(macs: float) -> bool:
    """Whether a run of so many multiply-accumulates saves at least twice what compiling costs."""
    return macs * SAVED >= 2 * COMPILING


_ALL = (("generic", "all"), ("cuda", "all"), ("mkldnn", "all"))
_EACH = tuple((where, what) for where in ("cuda", "mkldnn") for what in ("matmul", "conv", "rnn"))


@contextlib.contextmanager
def _older_settings_count(exact: bool) -> Iterator[None]:
    """What a caller has set by ``fp32_precision`` (PyTorch 2.9) is put aside for a while.

    It stands beside the older settings, and PyTorch refuses to read those where the two disagree; where the older ones say no more than
    "none", as they do for cuDNN, the newer count. A fast run keeps TF32 for matrix products.
    """
    read, write = (getattr(torch._C, f"_{verb}_fp32_precision_{verb}ter", None) for verb in ("get", "set"))
    if read is None or write is None:
        yield
        return
    seen = {key: read(*key) for key in _EACH}
    if not _disagree(read):
        try:
            yield
        finally:  # the older setting of matrix products leaves an "ieee" where nothing was set
            for key in (("cuda", "matmul"), ("mkldnn", "matmul")):
                write(*key, seen[key])
        return
    own = {}
    for key in (*_ALL, *_EACH):  # parents first: what is read after them is a setting's own
        own[key] = read(*key)
        write(*key, "none")
    before = torch.get_float32_matmul_precision()
    torch._C._set_cudnn_allow_tf32(cudnn := _older_cudnn())
    torch.set_float32_matmul_precision("high" if seen["cuda", "matmul"] == "tf32" and not exact else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
        torch._C._set_cudnn_allow_tf32(cudnn)
        for key, value in own.items():
            write(*key, value)
        for key, value in seen.items():  # cuDNN's TF32 gives way to a parent only as long as nobody has set it
            if read(*key) != value:
                write(*key, value)


def _disagree(read: Callable[[str, str], str]) -> bool:
    """Whether something was set by the newer way."""
    if any(read(*key) != "none" for key in (*_ALL, ("mkldnn", "conv"), ("mkldnn", "rnn"))):
        return True
    try:
        torch.get_float32_matmul_precision()
        torch._C._get_cudnn_allow_tf32()
    except RuntimeError:
        return True
    return False


def _older_cudnn() -> bool:
    """The older setting of cuDNN, where the newer ones stand at "none": it is refused where it says something else."""
    try:
        return bool(torch._C._get_cudnn_allow_tf32())
    except RuntimeError:
        return True


def require_undisturbed(device: torch.device) -> None:
    """Refuse what the caller has set for the whole process and a run would obey.

    Raises:
        RedistillError: autocast, which would round what a run computes, and keep weights as they once were; another default type than
            float32, in which first weights and other draws are other numbers; a default device, which the draws of a run cannot use.
    """
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        raise RedistillError(
            f"a run decides by itself in what it computes, and torch.autocast({device.type!r}) is on around it: call it outside, and for "
            f"bf16 give precision='fast' in the recipe"
        )
    if (kind := torch.get_default_dtype()) != torch.float32:
        raise RedistillError(
            f"torch.set_default_dtype({kind}) is in force, in which a run would draw other first weights than its seed stands for: set "
            f"torch.float32 before; in what a run computes its recipe says (precision='double' for float64)"
        )
    if (place := torch.get_default_device()).type != "cpu":
        raise RedistillError(
            f"torch.set_default_device({str(place)!r}) is in force, and a run draws on the CPU, wherever it computes: set 'cpu' before, "
            f"and say where to compute with device={str(place)!r}"
        )


@contextlib.contextmanager
def ieee(device: torch.device, exact: bool) -> Iterator[None]:
    """Around a step of a run: :func:`unrounded`, where nothing disturbs it (:func:`require_undisturbed`)."""
    require_undisturbed(device)
    with unrounded(device, exact):
        yield


@contextlib.contextmanager
def unrounded(device: torch.device, exact: bool = True) -> Iterator[None]:
    """fp32 means fp32: no TF32, no reduced matmul precision, deterministic kernels; the caller's settings come back. Not ``exact``: what
    ``fast`` allows."""
    with _older_settings_count(exact):
        matmul = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest" if exact else matmul)
        try:
            with _cudnn(exact) if device.type == "cuda" else contextlib.nullcontext():
                yield
        finally:
            torch.set_float32_matmul_precision(matmul)


@contextlib.contextmanager
def _cudnn(exact: bool) -> Iterator[None]:
    """What only a CUDA device knows."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    if exact:
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nothing reads what it did not write
        # a few kernels (adaptive pooling backward) have no deterministic form: they warn, and the record says "cuda"
        torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled, benchmark=not exact, deterministic=exact, allow_tf32=not exact
        ):
            yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


@dataclass(frozen=True)
class Arithmetic:
    """How a run computes: ``dtype`` of weights and images, bf16 forwards, layout of the images, IEEE or not."""

    device: torch.device
    dtype: torch.dtype
    bf16: bool
    channels_last: bool
    exact: bool

    @classmethod
    def of(cls, recipe: Recipe, device: torch.device) -> Arithmetic:
        """What :func:`arithmetic` says, as values.

        Raises:
            RedistillError: double precision on a device without it.
        """
        if recipe.precision == "double" and device.type == "mps":
            raise RedistillError("precision = 'double' asks for float64, which device 'mps' does not have: use cpu, or 'strict'")
        means = arithmetic(recipe, device)
        dtype = torch.float64 if means["forward"] == "float64" else torch.float32
        return cls(device, dtype, means["forward"] == "bfloat16", bool(means["channels_last"]), recipe.precision != "fast")

    def place(self, module: nn.Module) -> nn.Module:
        """The module on the device, in the precision of the run. Its layout stays: kernels follow that of the images."""
        return module.to(device=self.device, dtype=self.dtype)

    def zeros(self, shape: tuple[int, ...], channels_last: bool) -> Tensor:
        """Two images [2, C, H, W] of zeros, to look at networks with."""
        images = torch.zeros(2, *shape, device=self.device, dtype=self.dtype)
        return images.to(memory_format=torch.channels_last) if channels_last else images

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Context of every forward."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def wide(self, out: Output) -> Output:
        """Terms compute in fp32 whatever the networks computed in."""
        if not self.bf16:
            return out
        return Output(out.logits.float(), {name: tap.float() for name, tap in out.taps.items()})

    def ieee(self) -> contextlib.AbstractContextManager[None]:
        """See :func:`ieee`."""
        return ieee(self.device, self.exact)

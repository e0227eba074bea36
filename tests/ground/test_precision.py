"""What a caller has set of PyTorch's arithmetic changes nothing of a run, and comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from helpers.small_fit import DATA, net, trained
from redistill import RedistillError, precision
from redistill.metrics import accuracy
from redistill.precision import ieee, resolve_device
from redistill.recipe import Recipe
from redistill.terms import CE
from redistill.train.loop import Loop

KEYS = (*precision._ALL, *precision._EACH)
newer = pytest.mark.skipif(not hasattr(torch._C, "_get_fp32_precision_getter"), reason="PyTorch before 2.9 has the older settings only")


def set_(where: str, what: str, value: str) -> Callable[[], object]:
    return lambda: torch._C._set_fp32_precision_setter(where, what, value)  # type: ignore[attr-defined]


SETTINGS: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "older, TF32": lambda: torch.set_float32_matmul_precision("high"),
    "older, bf16": lambda: torch.set_float32_matmul_precision("medium"),
    "older, cuDNN without": lambda: torch._C._set_cudnn_allow_tf32(False),
    "everything TF32": set_("generic", "all", "tf32"),
    "everything IEEE": set_("generic", "all", "ieee"),
    "CUDA's matrix products TF32": set_("cuda", "matmul", "tf32"),
    "cuDNN's convolutions IEEE": set_("cuda", "conv", "ieee"),
    "CUDA TF32": set_("cuda", "all", "tf32"),
    "oneDNN's convolutions bf16": set_("mkldnn", "conv", "bf16"),
    "oneDNN bf16": set_("mkldnn", "all", "bf16"),
}


def seen() -> dict[str, object]:
    """All settings as they work, the older ones where PyTorch is ready to read them."""
    found: dict[str, object] = {str(key): torch._C._get_fp32_precision_getter(*key) for key in KEYS}  # type: ignore[attr-defined]
    for name, read in (("matmul", torch.get_float32_matmul_precision), ("cudnn", torch._C._get_cudnn_allow_tf32)):
        try:
            found[name] = read()
        except RuntimeError:
            found[name] = "refused"
    return found


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = {} if not hasattr(torch._C, "_get_fp32_precision_getter") else seen()
    yield
    torch.set_float32_matmul_precision("highest")
    torch._C._set_cudnn_allow_tf32(True)
    for key in KEYS if before else ():
        torch._C._set_fp32_precision_setter(*key, before[str(key)])  # type: ignore[attr-defined]


@newer
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("setting", SETTINGS)
def test_settings_of_the_caller_change_nothing_and_come_back(setting: str, exact: bool, device: str) -> None:
    SETTINGS[setting]()
    before = seen()
    with ieee(torch.device(device), exact):
        inside = seen()
        assert "refused" not in inside.values()  # a network may read them
        rounding = [key for key, value in inside.items() if value in ("tf32", "bf16") and (device == "cuda" or "mkldnn" in key)]
        assert not (exact and rounding), rounding
        assert not exact or (inside["matmul"] == "highest" and (device == "cpu" or inside["cudnn"] is False))
    assert seen() == before
    with pytest.raises(ZeroDivisionError), ieee(torch.device(device), exact):
        raise ZeroDivisionError
    assert seen() == before


@newer
def test_an_accuracy_is_measured_in_what_fp32_promises() -> None:
    """Also outside of a run, where a caller's settings would round; and it may be asked for inside autocast."""
    inside: list[dict[str, object]] = []
    probe = net()
    probe.register_forward_hook(lambda *args: inside.append(seen()) and None)
    set_("mkldnn", "all", "bf16")()
    before = seen()
    first = accuracy(probe, DATA)
    assert not [key for key, value in inside[0].items() if value == "bf16"] and seen() == before
    with torch.autocast("cpu", dtype=torch.bfloat16):
        accuracy(probe, DATA)
    set_("mkldnn", "all", "none")()
    assert accuracy(probe, DATA) == first


@newer
def test_what_was_not_set_is_not_set_afterwards() -> None:
    """Whoever turns TF32 on after a run gets it."""
    trained(net())
    set_("generic", "all", "tf32")()
    assert torch._C._get_fp32_precision_getter("cuda", "matmul") == "tf32"  # type: ignore[attr-defined]


@newer
def test_a_run_on_a_cpu_is_the_same_whatever_is_set() -> None:
    set_("mkldnn", "all", "bf16")()
    rounded = trained(net(), epochs=1)
    set_("mkldnn", "all", "none")()
    assert rounded.losses == trained(net(), epochs=1).losses


@pytest.mark.parametrize("given", ["strict", "fast"])
def test_a_run_inside_autocast_is_refused(given: Any) -> None:
    """It would round what strict promises not to, and keep the weights of the first step for ever."""
    recipe = Recipe(epochs=1, batch_size=8, precision=given)
    refused = pytest.raises(RedistillError, match=r"autocast\('cpu'\) is on around it: call it outside")
    with torch.autocast("cpu", dtype=torch.bfloat16), refused:
        trained(net(), recipe=recipe)


@pytest.mark.parametrize(
    ("disturb", "says"),
    [
        (lambda: torch.set_default_dtype(torch.float64), r"set_default_dtype\(torch.float64\) is in force.*precision='double'"),
        (lambda: torch.set_default_device("meta"), r"set_default_device\('meta'\) is in force.*device='meta'"),
    ],
)
def test_a_run_under_other_defaults_is_refused(disturb: Callable[[], None], says: str) -> None:
    """The same seed would stand for other first weights, or nothing could be drawn at all."""
    student, recipe = net(), Recipe(epochs=1, batch_size=8)
    loop = Loop([(net(), CE())], None, DATA, recipe, seed=0, device="cpu")
    try:
        disturb()
        with pytest.raises(RedistillError, match=says):
            trained(student, recipe=recipe)
        with pytest.raises(RedistillError, match=says):
            next(loop)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)


def test_matrix_products_are_told_to_repeat_before_the_first_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch looks at the first matrix product of a process, which is when networks are looked at, long before a step."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it comes back, however it was
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    resolve_device("cpu")
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    resolve_device("cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    resolve_device("cuda")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_double_precision_is_refused_where_there_is_none() -> None:
    with pytest.raises(RedistillError, match="asks for float64, which device 'mps' does not have: use cpu"):
        precision.Arithmetic.of(Recipe(epochs=1, precision="double"), torch.device("mps"))
    assert precision.Arithmetic.of(Recipe(epochs=1), torch.device("mps")).dtype is torch.float32

"""Equal tensors and texts are equal files, and the library reads them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch

from redistill import models
from redistill.errors import RedistillError
from redistill.tensor_files import TYPES, header, packed, save, tensors_digest, tensors_of


def some() -> dict[str, torch.Tensor]:
    weight = torch.arange(6.0).reshape(2, 3)
    return {
        "b.weight": weight, "tied": weight, "a": torch.tensor(3), "half": torch.ones(3, dtype=torch.bfloat16), "turned": weight.T,
        "none": torch.zeros(0, 4), "yes": torch.tensor([True, False, True]), "ünï": torch.tensor([1j, 2.0]).conj(),
    }  # fmt: skip


TEXTS = {str(key): str(key) for key in range(20)}


def test_the_library_reads_what_was_written() -> None:
    content = packed(some(), TEXTS)
    found = safetensors.torch.load(content)
    assert found.keys() == some().keys() and header(content, Path("x")) == TEXTS
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in some().items())
    assert tensors_digest(found) == tensors_digest(some())


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_every_type_of_number_goes_there_and_back(kind: torch.dtype) -> None:
    one = torch.arange(3).to(kind)
    (back,) = safetensors.torch.load(packed({"x": one})).values()
    assert back.dtype == kind and torch.equal(back.view(torch.uint8), one.view(torch.uint8))


def test_order_of_making_and_of_texts_changes_no_byte() -> None:
    turned = dict(reversed(some().items()))
    assert packed(turned, dict(reversed(TEXTS.items()))) == packed(some(), TEXTS)


def test_two_processes_write_the_same_file(tmp_path: Path) -> None:
    script = "import sys, redistill as rd; rd.models.save(rd.models.wrn(10, 1), sys.argv[1], extra={'x': '1', 'y': '2'})"
    written = []
    for number in range(2):
        file = tmp_path / f"{number}.safetensors"
        facts = {**os.environ, "PYTHONHASHSEED": str(number)}
        subprocess.run([sys.executable, "-c", script, str(file)], check=True, env=facts)
        written.append(file.read_bytes())
    assert written[0] == written[1]
    with safetensors.safe_open(str(tmp_path / "0.safetensors"), framework="pt") as file:
        assert (file.metadata() or {}).keys() == {"redistill", "x", "y"}


def test_a_saved_network_is_a_file_like_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    before = os.umask(0o022)
    try:
        models.save(models.wrn(10, 1), "~/net.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "net.safetensors").stat().st_mode) == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"], "nothing half-written is left"
    with pytest.raises(RedistillError, match=r"there is no folder .*missing; make it first"):
        models.save(models.wrn(10, 1), tmp_path / "missing" / "net.safetensors")
    with pytest.raises(RedistillError, match="it is a folder"):
        models.save(models.wrn(10, 1), tmp_path)


def test_what_is_no_tensor_is_named(tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="'x' is a str"):
        save(tmp_path / "a.safetensors", {"x": "text"})  # type: ignore[dict-item]
    with pytest.raises(RedistillError, match=r"'x' is a torch\.sparse_coo tensor"):
        packed({"x": torch.eye(2).to_sparse()})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"12345678", b"\x10\0\0\0\0\0\0\0[[[[", b"\x02\0\0\0\0\0\0\0[]", packed(some())[:-1]])
def test_what_is_no_file_of_tensors_gets_a_sentence(content: bytes) -> None:
    with pytest.raises(RedistillError, match=r"weights\.safetensors is damaged"):
        tensors_of(content, Path("weights.safetensors"))

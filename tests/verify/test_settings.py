"""Cases are read by their settings: made-up ones of other sizes, classes and formulas, computed here with plain torch."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from redistill import models
from redistill.verify import PACKAGED, report, verify, verify_case
from redistill.verify.images import formula, labels
from redistill.verify.reader import NotSupported, checksum, closed_entry, closed_form, probes

ROOT = Path(__file__).resolve().parents[2]


def write(folder: Path, group: str, meta: dict[str, Any], arrays: dict[str, Any]) -> Path:
    (folder / group).mkdir(exist_ok=True)
    file = folder / group / f"{meta['id']}.json"
    described = {n: {"shape": list(np.shape(v)), "dtype": str(np.asarray(v).dtype)} for n, v in arrays.items()}
    file.write_text(json.dumps({"group": group, "arrays": described, "source": {"repo": "plain torch", "commit": "own"}, **meta}))
    np.savez(file.with_suffix(".npz"), **arrays)
    return file


def made(folder: Path, method: str, ours: str, classes: int, shape: list[int], rule: str, **more: Any) -> Path:
    """A models case of a network filled by the rule: outputs and gradients of both modes by one plain call of the module."""
    net = models.build(ours, classes, image_size=shape[-1]).double()
    state = net.state_dict()
    net.load_state_dict({n: torch.from_numpy(closed_entry(i, n, v.shape)).to(v) for i, (n, v) in enumerate(state.items())})
    start = {n: v.clone() for n, v in net.state_dict().items()}
    tag = 4321 if "4321" in rule else 1000
    images = (0.5 if rule.startswith("x = 0.5") else 2) * torch.from_numpy(closed_form(tag, shape))
    arrays: dict[str, Any] = {"out/weight_checksums": np.stack([checksum(v.numpy()) for v in start.values()])}
    names = [n for n, _ in net.named_parameters()]
    for mode in ("eval", "train"):
        net.load_state_dict(start)
        net.train(mode == "train")
        logits = net(images)
        grads = torch.autograd.grad((logits * torch.from_numpy(closed_form(777, tuple(logits.shape)))).sum(), list(net.parameters()))
        arrays[f"out/{mode}_logits"] = logits.detach().numpy()
        arrays[f"out/{mode}_paramgrad_checksums"] = np.stack([checksum(g.numpy()) for g in grads])
    meta = {
        "id": f"{method}__made_up", "method": method, "num_classes": classes,
        "weights": {"rule": "read_golden.fill_state over state_dict_entries", "salt": 0},
        "input": {"formula": rule, "shape": shape, "salt": 0},
        "gradient": {"loss": "sum(logits * closed_form(777, logits.shape, salt))"},
        "state_dict_entries": [[n, list(v.shape)] for n, v in start.items()], "paramgrad_names": names,
        "parameters": sum(p.numel() for p in net.parameters()), "tolerances": {"float64": {"loss": 1e-9, "grad": 1e-8}}, **more,
    }  # fmt: skip
    return write(folder, "models", meta, arrays)


@pytest.mark.parametrize(
    ("method", "ours", "classes", "size"),
    [
        ("wrn_16_1", "wrn-16-1", 10, 32),
        ("vgg8", "vgg8", 7, 64),
        ("resnet8", "resnet8", 10, 24),
        ("mdistiller_resnet8", "resnet8", 3, 32),
        ("ReviewKD_wrn_10_1", "wrn-10-1", 3, 16),
        ("vgg8_bn", "vgg8", 5, 32),
        ("mobile_half", "mobilenetv2", 10, 32),
        ("mobilenetv2_tinyimagenet", "mobilenetv2-tiny", 200, 64),
    ],
)
def test_networks_of_any_size_and_number_of_classes_are_read(method: str, ours: str, classes: int, size: int, tmp_path: Path) -> None:
    rule = "x = 2*closed_form(1000, shape, salt)"
    verdict = verify_case(made(tmp_path, method, ours, classes, [2, 3, size, size], rule))
    assert (verdict.outcome, verdict.reason) == ("pass", "")


def test_images_of_another_formula_are_read(tmp_path: Path) -> None:
    verdict = verify_case(made(tmp_path, "resnet8", "resnet8", 4, [2, 3, 16, 16], "x = 0.5*closed_form(4321, (B,3,16,16), salt)"))
    assert (verdict.outcome, verdict.reason) == ("pass", "")
    other = verify_case(made(tmp_path, "resnet8", "resnet8", 4, [2, 3, 16, 16], "x = sin(closed_form(1000, shape, salt))"))
    assert other.outcome == "not supported" and "are unknown" in other.reason


def test_features_before_the_activation_are_read(tmp_path: Path) -> None:
    shapes = [[2, 16, 8, 8], [2, 16, 8, 8], [2, 32, 4, 4], [2, 64, 2, 2], [2, 64]]
    rule = "x = 2*closed_form(1000, shape, salt)"
    file = made(tmp_path, "resnet8", "resnet8", 5, [2, 3, 8, 8], rule, feature_shapes=shapes, preact_shapes=shapes)
    meta = json.loads(file.read_text())
    with np.load(file.with_suffix(".npz")) as opened:
        arrays = dict(opened)
    net = models.build("resnet8", 5, image_size=8).double().eval()
    net.load_state_dict({n: torch.from_numpy(closed_entry(i, n, v.shape)).to(v) for i, (n, v) in enumerate(net.state_dict().items())})
    x = F.relu(net.bn1(net.conv1(2 * torch.from_numpy(closed_form(1000, (2, 3, 8, 8))))))
    found, before = [x], [x]
    for g in (1, 2, 3):
        block = net.get_submodule(f"layer{g}.0")
        rest = x if block.downsample is None else block.downsample(x)
        pre = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x))))) + rest
        x = F.relu(pre)
        found, before = [*found, x], [*before, pre]
    mean: Tensor = x.mean((2, 3))
    for name, many in (("feat", [*found, mean]), ("preact", [*before, mean])):
        for i, value in enumerate(v.detach().numpy() for v in many):
            arrays[f"out/eval_{name}{i}_checksum"], arrays[f"out/eval_{name}{i}_probes"] = checksum(value), probes(value)
    file = write(tmp_path, "models", {k: v for k, v in meta.items() if k not in ("arrays", "group", "source")}, arrays)
    verdict = verify_case(file)
    assert (verdict.outcome, verdict.reason) == ("pass", "")


def test_batch_norm_in_evaluation_mode_is_read(tmp_path: Path) -> None:
    g = np.random.default_rng(3)
    shapes = {"in/student_feat": (2, 3, 4, 4), "in/teacher_feat": (2, 2, 4, 4), "param/conv.weight": (2, 3, 1, 1), "param/conv.bias": (2,),
              "param/bn.weight": (2,), "param/bn.bias": (2,), "buf/bn.running_mean": (2,)}  # fmt: skip
    arrays: dict[str, Any] = {n: g.standard_normal(s) for n, s in shapes.items()} | {"buf/bn.running_var": g.random(2) + 0.5}
    x = torch.from_numpy(arrays["in/student_feat"]).requires_grad_()
    t = {n.split("/", 1)[1]: torch.from_numpy(v) for n, v in arrays.items()}
    y = torch.einsum("bchw,oc->bohw", x, t["conv.weight"][:, :, 0, 0]) + t["conv.bias"].view(1, -1, 1, 1)
    scale = t["bn.weight"] / (t["bn.running_var"] + 1e-5).sqrt()
    y = (y - t["bn.running_mean"].view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1) + t["bn.bias"].view(1, -1, 1, 1)
    loss = ((y - t["teacher_feat"]) ** 2).mean()
    arrays |= {"out/loss": loss.detach().numpy(), "grad/in/student_feat": torch.autograd.grad(loss, x)[0].numpy()}
    meta = {
        "id": "fitnet__running", "method": "fitnet", "conventions": {"batchnorm": "running statistics"},
        "hyperparameters": {"use_relu": False, "student_shape": [2, 3, 4, 4], "teacher_shape": [2, 2, 4, 4]},
        "tolerances": {"float64": {"loss": 1e-10, "grad": 1e-10}},
    }  # fmt: skip
    for mode in ({}, {"module_mode": "eval"}):
        verdict = verify_case(write(tmp_path, "losses", meta | mode, arrays))
        assert (verdict.outcome, verdict.reason) == ("pass", "")
    verdict = verify_case(write(tmp_path, "losses", meta | {"module_mode": "train"}, arrays))
    assert verdict.outcome == "not supported" and "contradicts module_mode" in verdict.reason


def test_every_formula_of_the_golden_folder_is_read() -> None:
    batch = formula("x = 2*closed_form(10000+t, (B,3,32,32), salt)").images(7, B=2, t=3)
    assert np.array_equal(batch.numpy(), 2 * closed_form(10003, (2, 3, 32, 32), 7))
    text = "x = 2*nearest_up_8x(closed_form(tag, (1,3,4,4), salt)) + 0.5*closed_form(tag+50000, (1,3,32,32), salt), salt = 0"
    coarse = closed_form(5, (1, 3, 4, 4)).repeat(8, 2).repeat(8, 3)
    assert np.array_equal(formula(text).images(9, tag=5).numpy(), 2 * coarse + 0.5 * closed_form(50005, (1, 3, 32, 32)))
    assert labels("(37*n + 11*t + 5) mod C").labels(3, 2, 10).tolist() == [7, 4, 1]
    assert labels("(37n+5) mod C").labels(3, 2, 10).tolist() == [5, 2, 9]
    for wrong in (None, "y = 2*closed_form(1, shape, salt)", "x = 2*closed_form(1, shape, salt) - 1", "x = randn(shape)"):
        with pytest.raises(NotSupported):
            formula(wrong)
    with pytest.raises(NotSupported):
        formula("x = closed_form(tag, shape, salt)").images(0, (2, 3))


# -- the cases of the package ------------------------------------------------------------------------------------------
def test_the_cases_of_the_package_pass_and_side_by_side_alike() -> None:
    written: list[str] = []
    assert report(write=written.append) == 0
    assert written[-1] == f"{len(written) - 1} pass  0 fail  0 not supported" and len(written) > 15
    assert [v.line() for v in verify(PACKAGED / "losses", jobs=2)] == [line for line in written if line.startswith("losses/")]


def test_the_cases_of_the_package_are_packaged_with_their_sources(shared: Path) -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["redistill"]
    package = ROOT / "src" / "redistill"
    packed = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    files = [path for path in PACKAGED.rglob("*") if path.is_file()]
    assert set(files) <= packed and (PACKAGED / "README.md") in packed
    assert sum(path.stat().st_size for path in files) < 150_000
    for file in files:
        if file.suffix == ".json":
            meta = json.loads(file.read_text())
            assert all(s["repo"] and s["commit"] for s in (meta["source"] if isinstance(meta["source"], list) else [meta["source"]]))
        if file.suffix != ".md":
            assert file.read_bytes() == (shared / "golden" / file.relative_to(PACKAGED)).read_bytes()

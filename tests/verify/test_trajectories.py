"""The authors' short trainings and transition curves, repeated; and what is changed in one of them is noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill import models
from redistill.terms.ft import Paraphraser, Translator
from redistill.verify import verify_case
from redistill.verify.reader import checksum, closed_entry, closed_form

QUICK = [
    "training/polo5_zero_shot__wrn_16_1__wrn_16_2",
    "training/seed_zero_shot__wrn_16_1__wrn_16_2",
    "training/seed_modified_zero_shot__wrn_16_1__wrn_16_2",
    "training/seed_kd_att__wrn_16_1__wrn_16_2",
    "training/rep_kd__wrn_16_1__wrn_16_2",
    "training/rep_hint__wrn_16_1__wrn_16_2",
    "training/rep_vid__wrn_16_1__wrn_16_2",
    "training/rep_attention__wrn_16_1__wrn_16_2",
    "training/reviewkd__wrn_16_1__wrn_16_2",
    "training/reviewkd__wrn_16_1__wrn_16_2__teacher_eval",
    "metrics/transition_curves_polo5__K20_lr1",
]


@pytest.mark.parametrize("name", QUICK)
def test_the_package_repeats_the_authors(name: str, shared: Path) -> None:
    verdict = verify_case(shared / "golden" / f"{name}.json")
    assert (verdict.outcome, verdict.reason) == ("pass", "")
    assert verdict.error is not None and verdict.error < 1e-11


@pytest.mark.parametrize(
    ("name", "change", "outcome"),
    [
        ("training/seed_zero_shot__wrn_16_1__wrn_16_2", {"hyperparameters.AT_beta": 251}, "fail"),
        ("training/seed_zero_shot__wrn_16_1__wrn_16_2", {"hyperparameters.momentum": 0.9}, "not supported"),
        ("training/seed_zero_shot__wrn_16_1__wrn_16_2", {"conventions.modes": "student eval"}, "not supported"),
        ("training/rep_kd__wrn_16_1__wrn_16_2", {"hyperparameters.distill": "abound"}, "not supported"),
        ("training/rep_kd__wrn_16_1__wrn_16_2", {"augmentation": "flip"}, "not supported"),
        ("training/rep_kd__wrn_16_1__wrn_16_2", {"student.arch": "wrn_16_3x"}, "not supported"),
        ("training/rep_kd__wrn_16_1__wrn_16_2", {"data.rule": "another"}, "not supported"),
        ("metrics/transition_curves_polo5__K20_lr1", {"conventions.labels": "shuffled"}, "not supported"),
        ("metrics/transition_curves_polo5__K20_lr1", {"hyperparameters.learning_rate": 1.01}, "fail"),
    ],
)
def test_a_changed_setting_is_not_ignored(name: str, change: dict[str, Any], outcome: str, shared: Path, tmp_path: Path) -> None:
    source = shared / "golden" / f"{name}.json"
    sidecar = json.loads(source.read_text())
    for path, value in change.items():
        *parents, last = path.split(".")
        place = sidecar
        for parent in parents:
            place = place[parent]
        place[last] = value
    folder = tmp_path / source.parent.name
    folder.mkdir()
    (folder / source.name).write_text(json.dumps(sidecar))
    shutil.copy(source.with_suffix(".npz"), folder / f"{source.stem}.npz")
    assert verify_case(folder / source.name).outcome == outcome


def test_noise_a_millionth_larger_fails(shared: Path, tmp_path: Path) -> None:
    source = shared / "golden" / "training" / "seed_zero_shot__wrn_16_1__wrn_16_2.json"
    (tmp_path / "training").mkdir()
    shutil.copy(source, tmp_path / "training" / source.name)
    with np.load(source.with_suffix(".npz")) as opened:
        arrays = {n: opened[n].copy() for n in opened.files}
    arrays["in/z"] = arrays["in/z"].astype(np.float64) * (1 + 1e-6)
    np.savez(tmp_path / "training" / f"{source.stem}.npz", **arrays)
    assert verify_case(tmp_path / "training" / source.name).outcome == "fail"


# -- other criteria of the same loop, repeated here with plain torch ----------------------------------------------------
def filled(net: nn.Module, salt: int) -> nn.Module:
    state = net.double().state_dict()
    net.load_state_dict({n: torch.from_numpy(closed_entry(i, n, v.shape, salt)).to(v) for i, (n, v) in enumerate(state.items())})
    return net


def similarity(f_s: dict[str, Tensor], f_t: dict[str, Tensor], extra: list[nn.Module]) -> Tensor:
    s, t = (F.normalize((g := f["map"].flatten(1)) @ g.T) for f in (f_s, f_t))
    return (t - s).square().sum() / len(s) ** 2


def correlation(f_s: dict[str, Tensor], f_t: dict[str, Tensor], extra: list[nn.Module]) -> Tensor:
    away = (extra[0](f_s["vector"]) - extra[1](f_t["vector"])).abs()
    return (away[:-1] * away[1:]).sum(1).mean()


def factor(f_s: dict[str, Tensor], f_t: dict[str, Tensor], extra: list[nn.Module]) -> Tensor:
    s, t = ((extra[k].encoder(f["map"]) ** 2).mean(1).flatten(1) for k, f in ((0, f_s), (1, f_t)))  # type: ignore[operator]
    return (s / s.norm(dim=1, keepdim=True) - t / t.norm(dim=1, keepdim=True)).abs().mean()


ADDED: dict[str, Callable[[], list[nn.Module]]] = {
    "correlation": lambda: [nn.Linear(64, 5), nn.Linear(64, 5)],
    "factor": lambda: [Translator(64, 32), Paraphraser(64, 32).requires_grad_(False)],
}


@pytest.mark.parametrize(("distill", "loss"), [("similarity", similarity), ("correlation", correlation), ("factor", factor)])
def test_other_criteria_of_repdistillers_loop_are_read(distill: str, loss: Any, tmp_path: Path) -> None:
    """Networks of one family and unlike depth; the original's lists are feat[-2], the last map, and feat[-1], the vector."""
    student, teacher = filled(models.build("resnet14", 7), 100), filled(models.build("resnet8", 7), 200).eval()
    extra = [module.double() for module in ADDED.get(distill, list)()]
    for i, (name, value) in enumerate(pair for m in extra for pair in m.state_dict().items()):
        value.copy_(torch.from_numpy(closed_entry(i, name, value.shape, 300)))
    outputs: list[dict[str, Tensor]] = [{}, {}]
    for net, kept in zip((student, teacher), outputs, strict=True):
        net.layer3.register_forward_hook(lambda m, a, out, kept=kept: kept.update(map=out))  # type: ignore[union-attr, operator, misc]
        net.fc.register_forward_pre_hook(lambda m, a, kept=kept: kept.update(vector=a[0]))  # type: ignore[union-attr, operator, misc]
    rows = list(student.state_dict())
    trained = [p for m in (student, *extra) for p in m.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=0.05, momentum=0.9, weight_decay=5e-4)
    series: dict[str, list[float]] = {"loss": [], "cls": [], "div": [], "kd": []}
    first = None
    for t in range(2):
        images = 2 * torch.from_numpy(closed_form(10000 + t, (4, 3, 32, 32)))
        labels = torch.tensor([(37 * n + 11 * t + 5) % 7 for n in range(4)])
        z = student.train()(images)
        with torch.no_grad():
            y = teacher(images)
        parts = {"cls": F.cross_entropy(z, labels), "kd": loss(*outputs, extra)}
        parts["div"] = 16 * F.kl_div((z / 4).log_softmax(1), (y / 4).softmax(1), reduction="batchmean")
        total = parts["cls"] + 3.0 * parts["kd"]
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        for name, value in {**parts, "loss": total}.items():
            series[name].append(float(value.detach()))
        first = first if first is not None else np.stack([checksum(v.numpy()) for v in student.state_dict().values()])
    last = np.stack([checksum(v.numpy()) for v in student.state_dict().values()])
    arrays: dict[str, Any] = {f"out/{n}": np.array(v) for n, v in series.items()}
    with torch.no_grad():
        logits = student.eval()(2 * torch.from_numpy(closed_form(10000, (4, 3, 32, 32))))
    arrays |= {"out/first_step_student_checksums": first, "out/final_student_checksums": last}
    arrays["out/final_eval_logits_batch0"] = logits.numpy()
    if extra:
        ended = [v for m in extra for n, v in m.state_dict().items() if not n.endswith("num_batches_tracked")]
        arrays["out/final_extra_checksums"] = np.stack([checksum(v.numpy()) for v in ended])
    meta = {
        "id": f"rep_{distill}__resnet14__resnet8", "group": "training", "method": f"rep_{distill}__resnet14__resnet8",
        "source": {"repo": "plain torch", "commit": "own"}, "conventions": {"student_mode": "train", "teacher_mode": "eval"},
        "hyperparameters": {
            "distill": distill, "gamma": 1, "alpha": 0, "beta": 3.0, "kd_T": 4.0, "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4,
            "nesterov": False, "steps": 2, "batch": 4, "num_classes": 7, "nce": None,
            **({"feat_dim": 5} if distill == "correlation" else {}),
        },
        "student": {"arch": "resnet14", "salt": 100}, "teacher": {"arch": "resnet8", "salt": 200}, "extra_modules": {"salt": 300},
        "data": {"rule": "batch t: x = 2*closed_form(10000+t, (B,3,32,32), salt); label_n = (37*n + 11*t + 5) mod C", "salt": 0},
        "final_student_rows": rows, "tolerances": {"float64": {"loss": 1e-9, "grad": 1e-8}},
        "arrays": {n: {"shape": list(np.shape(v)), "dtype": str(np.asarray(v).dtype)} for n, v in arrays.items()},
    }  # fmt: skip
    (tmp_path / "training").mkdir()
    file = tmp_path / "training" / f"{meta['id']}.json"
    file.write_text(json.dumps(meta))
    np.savez(file.with_suffix(".npz"), **arrays)
    verdict = verify_case(file)
    assert (verdict.outcome, verdict.reason) == ("pass", "")

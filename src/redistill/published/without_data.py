"""Distillation without data as its publications ran it: presets of source, method and recipe, by kind of source and name.

A preset is written out before anything is read (:func:`written_out`): what a file says itself comes on top. The recipe's schedule is
in parts of the run, so that a shorter one has its drops at the same places.

Read in VainF/Data-Free-Adversarial-Distillation@053861f, NVlabs/DeepInversion@abafd38 (cifar10/), zju-vipa/CMI@3f791f9 with its
scripts, and copies of huawei-noah's DAFL-train.py and README (the repository itself is not stored). ``fang2021`` is the benchmark
of CMI's repository, for every method of it: WRN-40-2 to WRN-16-1 on CIFAR-10. Its generator is given the teacher for the student
too (``student=teacher`` in datafree_kd.py at that commit), so that what is adversarial in it is 0; here it is given the student.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from redistill.core import nearest
from redistill.settings.lines import Path as Key
from redistill.settings.validation import ValidationErrors

Preset = Mapping[str, Any]

_SGD = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": False}
_KD_20 = [{"use": "KD", "weight": 1.0, "T": 20.0}]


def _drops(*at: float) -> dict[str, Any]:
    return {"kind": "multistep", "unit": "fraction", "at": list(at), "gamma": 0.1}


# datafree_kd.py: 200 epochs of 400 steps, drops after 120, 150 and 180
_BENCHMARK = {**_SGD, "batch_size": 256, "weight_decay": 1e-4, "schedule": _drops(0.6, 0.75, 0.9)}
_BENCHMARK_GENERATOR = {
    "n_G": 1, "n_S": 5, "images": "after", "noise": "fresh", "lr": 1e-3, "betas": [0.5, 0.999], "decay": "constant", "clip": None,
    "blocks": 16_000, "generator": "cmi-generator", "z": 256,
}  # fmt: skip

PRESETS: dict[str, dict[str, Preset]] = {
    "dafl": {
        # README: --n_epochs 2000 --batch_size 1024 --lr_G 0.02 --lr_S 0.1 --latent_dim 1000; 120 iterations an epoch, drops at 800 and 1600
        "chen2019": {
            "source": {
                "n_G": 1, "n_S": 1, "images": "before", "noise": "same", "lr": 0.02, "decay": "constant", "clip": None, "blocks": 240_000,
                "generator": "dafl-generator", "z": 1000, "one_hot": 1.0, "activation": 0.1, "entropy": 5.0, "entropy_base": "10",
            },
            "method": [{"use": "KD", "weight": 1.0, "T": 1.0, "scale_T2": False}],
            "recipe": {**_SGD, "batch_size": 1024, "weight_decay": 5e-4, "schedule": _drops(0.4, 0.8)},
        },
        "fang2021": {
            "source": {**_BENCHMARK_GENERATOR, "one_hot": 1.0, "activation": 0.1, "entropy": 20.0},
            "method": _KD_20,
            "recipe": _BENCHMARK,
        },
        # the same script with other weights: Choi et al. 2020 (arXiv:2005.04136)
        "fang2021-dfq": {
            "source": {**_BENCHMARK_GENERATOR, "n_S": 10, "blocks": 8_000, "one_hot": 1.0, "entropy": 20.0, "batch_norm": 1.0,
                       "adversarial": 1.0},
            "method": _KD_20,
            "recipe": _BENCHMARK,
        },
    },
    "dfad": {
        # 500 epochs of 50 iterations with --scheduler; the scheduler steps before an epoch, so that drops stand at 99 and 199
        "fang2019": {
            "source": {
                "n_G": 1, "n_S": 5, "images": "after", "noise": "fresh", "first": "student", "lr": 1e-3, "decay": "multistep",
                "milestones": [4_950, 9_950], "clip": None, "blocks": 25_000, "generator": "dfad-generator", "z": 256,
                "adversarial": 1.0, "form": "l1",
            },
            "method": [{"use": "LogitDistance", "weight": 1.0}],
            "recipe": {**_SGD, "batch_size": 256, "weight_decay": 5e-4, "schedule": _drops(0.198, 0.398)},
        },
        "fang2021": {
            "source": {**_BENCHMARK_GENERATOR, "adversarial": 1.0, "form": "l1"},
            "method": [{"use": "LogitDistance", "weight": 1.0}],
            "recipe": _BENCHMARK,
        },
    },
    "deep-inversion": {
        # cifar10/README.md, "parameters from the paper"; no code there trains a student: steps and recipe are the benchmark's
        "yin2020": {
            "source": {
                "images": 256, "iterations": 2000, "lr": 0.05, "classes": "balanced", "jitter": 2, "one_hot": 1.0, "batch_norm": 10.0,
                "variation": 2.5e-5, "blocks": 200, "n_S": 400,
            },
            "method": _KD_20,
            "recipe": _BENCHMARK,
        },
        "fang2021": {
            "source": {
                "images": 256, "iterations": 1000, "lr": 0.1, "betas": [0.5, 0.99], "classes": "random", "jitter": 4, "flip": True,
                "clamp": True, "one_hot": 1.0, "batch_norm": 10.0, "adversarial": 1.0, "form": "js", "T": 3.0, "variation": 1e-3,
                "blocks": 200, "n_S": 400,
            },
            "method": _KD_20,
            "recipe": _BENCHMARK,
        },
    },
    "cmi": {
        # scripts/cmi/scratch_cmi_cifar10_wrn402_wrn161.sh: no images made before
        "fang2021": {
            "source": {
                "images": 256, "iterations": 200, "lr": 1e-3, "betas": [0.5, 0.999], "classes": "random", "keep": "best", "one_hot": 1.0,
                "batch_norm": 1.0, "adversarial": 0.5, "form": "agreed", "contrast": 0.8, "contrast_T": 0.1, "bank": 40_960,
                "negatives": 4096, "head": 256, "generator": "cmi-generator", "z": 256, "blocks": 200, "n_S": 400,
            },
            "method": _KD_20,
            "recipe": {**_BENCHMARK, "batch_size": 128},
        },
        # scripts/cmi/adv_cmi_cifar10_wrn402_wrn161.sh, which starts from 50,000 images made before; here there are none
        "fang2021-adversarial": {
            "source": {
                "images": 256, "iterations": 200, "lr": 1e-3, "betas": [0.5, 0.999], "classes": "random", "keep": "best", "one_hot": 0.5,
                "batch_norm": 1.0, "adversarial": 0.5, "form": "agreed", "contrast": 0.8, "contrast_T": 0.1, "bank": 40_960,
                "negatives": 4096, "head": 256, "generator": "cmi-generator", "z": 256, "blocks": 40, "n_S": 2000,
            },
            "method": _KD_20,
            "recipe": {**_BENCHMARK, "batch_size": 128, "schedule": _drops(0.625, 0.75, 0.875)},
        },
    },
}
"""By kind of source and by name; the first of a kind is its default. A batch of the generator is as large as the student's."""


def written_out(data: dict[str, Any], mistakes: ValidationErrors, key: Key = ("source",)) -> dict[str, Any]:
    """An experiment's settings with the preset of such a source written out: its switches, and method and recipe where nothing is said.

    What is wrong is told to ``mistakes``, at its place ``key``.
    """
    source = data.get("source")
    if not isinstance(source, dict):
        return data
    if source.get("kind") == "mixed":
        halves = {}
        for side in ("first", "second"):
            if side in source:
                half: dict[str, Any] = {"source": source[side], "method": [], "recipe": {"steps": 1}}
                halves[side] = written_out(half, mistakes, (*key, side))["source"]
        return {**data, "source": {**source, **halves}}
    kind = source.get("kind")
    if not isinstance(kind, str) or kind not in PRESETS or "preset" not in source:
        return data
    given = {name: value for name, value in source.items() if name != "preset"}
    name = source["preset"]
    if not isinstance(name, str) or name not in PRESETS[kind]:
        mistakes.add((*key, "preset"), nearest(str(name), PRESETS[kind], f"preset of {kind}"))
        name = next(iter(PRESETS[kind]))
    chosen = copy.deepcopy(dict(PRESETS[kind][name]))
    whole = {**chosen["source"], **given}
    if given.get("decay", "multistep") != "multistep":
        whole = {n: v for n, v in whole.items() if n != "milestones" or n in given}
    elif "milestones" in whole and "milestones" not in given and isinstance(whole["blocks"], int):
        part = whole["blocks"] / chosen["source"]["blocks"]
        whole["milestones"] = sorted({max(1, round(part * at)) for at in whole["milestones"]})
    made = {**data, "source": whole}
    if isinstance(recipe := data.get("recipe", {}), dict):
        filled = chosen["recipe"]
        if "epochs" not in recipe and isinstance(whole["blocks"], int) and isinstance(whole["n_S"], int):
            filled = {"steps": whole["blocks"] * whole["n_S"], **filled}
        made["recipe"] = {**filled, **recipe}
    if "method" not in data:
        made["method"] = chosen["method"]
    return made

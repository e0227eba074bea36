"""Real CIFAR-10, 100 images a class, strict fp32: six methods in cohorts, two published teachers, seeds 0 1 2.

The setting of issue 5, point 5: students WRN-16-1 from the published WRN-16-2 and WRN-40-1 of Ferles et al., the first 100
images of each class, 600 steps of batch 100 reshuffled every 10 steps (one epoch), pad 4 with zeros, crop and flip,
`cifar10-kuangliu`, RepDistiller's initialisation, SGD .05, momentum .9 without Nesterov, weight decay 5e-4 on students and
adapters, rate x0.1 after 60 % and 80 % of the steps.

    python scripts/cifar10_few.py --data-dir D --shared ../shared --out results/cifar10-m100 [--only wrn-16-2:0]

Each (teacher, seed) is one cohort and one record; a record that is there is not run again; a run that was cut off goes on
from its checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

import redistill as rd
from redistill.features.places import NUMERICS as TAPS
from redistill.metrics import NUMERICS as EVALUATE
from redistill.precision import arithmetic, resolve_device
from redistill.rng import NUMERICS as RNG
from redistill.train.loop import NUMERICS as FIT

TEACHERS = {"wrn-16-2": "wrn-16-2-seed-0-dict.pth", "wrn-40-1": "wrn-40-1-seed-0-dict.pth"}
SEEDS = (0, 1, 2)
STAGES = ("stage1", "stage2", "stage3")
METHODS = {
    "CE": 1.0 * rd.CE(),
    "KD": 0.1 * rd.CE() + 0.9 * rd.KD(T=4),
    "AT": rd.CE() + 1000 * rd.AT(at=STAGES),
    "FitNet": rd.CE() + 100 * rd.FitNet(at="stage2"),
    "VID": rd.CE() + 1.0 * rd.VID(at=STAGES),
    "Review": rd.CE() + 5.0 * rd.Review(),
}
RECIPE = rd.Recipe(
    steps=600, batch_size=100, lr=0.05, momentum=0.9, weight_decay=5e-4,
    schedule=rd.MultiStep(at=(0.6, 0.8), gamma=0.1, unit="fraction"), precision="strict",
)  # fmt: skip


def run(teacher_name: str, seed: int, args: argparse.Namespace) -> None:
    record_file = args.out / f"{teacher_name}-seed-{seed}.json"
    if record_file.exists():
        print(f"{record_file}: there")
        return
    train, test = rd.data.cifar10(args.data_dir)
    few = train.first_per_class(100)
    file = args.shared / "checkpoints" / "ferles2020" / TEACHERS[teacher_name]
    teacher = rd.models.load(file, model=teacher_name, classes=10, normalisation="cifar10-kuangliu")
    students = {name: rd.models.wrn(16, 1, classes=10, seed=seed) for name in METHODS}
    loop = rd.Loop(
        [(students[n], METHODS[n]) for n in METHODS], teacher, few, RECIPE, seed=seed, evaluate={"test": test}, every=30, device="cpu"
    )
    checkpoint = record_file.with_suffix(".checkpoint")
    if checkpoint.exists():
        loop.load_state(torch.load(checkpoint, weights_only=True))
        print(f"{record_file.name}: going on at step {loop.step}", flush=True)
    saved = time.monotonic()
    for progress in loop:
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            partial = checkpoint.with_suffix(".partial")
            torch.save(loop.state(), partial)
            os.replace(partial, checkpoint)
            print(f"{record_file.name}: step {progress.step} of {progress.steps}", flush=True)
    record: dict[str, Any] = {
        "what": "CIFAR-10, first 100 images a class, WRN-16-1, cohort of six methods",
        "command": "python scripts/cifar10_few.py --data-dir D --shared ../shared --out results/cifar10-m100",
        "teacher": {"model": teacher_name, "file": f"ferles2020/{TEACHERS[teacher_name]}", "accuracy": rd.accuracy(teacher, test)},
        "student": "wrn-16-1",
        "seed": seed,
        "data": few.manifest(),
        "recipe": RECIPE.settings(),
        "arithmetic": arithmetic(RECIPE, resolve_device("cpu")),
        "methods": {name: rd.Method.of(m).settings() for name, m in METHODS.items()},
        "numerics": {"rng": RNG, "fit": FIT, "taps": TAPS, "evaluate": EVALUATE},
        "versions": {"redistill": rd.__version__, "torch": torch.__version__, "python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "students": {},
    }
    for name, result in zip(METHODS, loop.results(), strict=True):
        record["students"][name] = {
            "accuracy": {s: dataclasses.asdict(a) for s, a in result.accuracy.items()},
            "losses": result.losses,
            "own_seconds": round(result.own_seconds, 1),
            "diverged": result.diverged,
        }
    record["seconds"], record["cpu_seconds"] = round(loop.results()[0].seconds, 1), round(loop.results()[0].cpu_seconds, 1)
    partial = record_file.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, record_file)
    checkpoint.unlink(missing_ok=True)
    last = {n: s["accuracy"]["test"]["last"] for n, s in record["students"].items()}
    print(f"{record_file}: {last}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("results/cifar10-m100"))
    parser.add_argument("--only", nargs="*", help="teacher:seed, for example wrn-16-2:0")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        for teacher in TEACHERS:
            if not args.only or f"{teacher}:{seed}" in args.only:
                run(teacher, seed, args)


if __name__ == "__main__":
    main()

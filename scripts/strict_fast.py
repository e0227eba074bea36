"""Does `fast` change results? Strict and fast on equal seeds: CE, KD and KD+AT with 100 images a class of CIFAR-10.

The protocol of results/measured/cifar10-m100: students WRN-16-1 from the published WRN-16-2 of Ferles et al., the
first 100 images of each class, 600 steps of batch 100, crop and flip. Fast differs from strict in its forwards in bf16 alone:
first weights, order and crops are those of the same seed, so differences are paired.

    python scripts/strict_fast.py --data-dir D --shared ../shared [--seeds 8] [--emulate-bf16] [--only strict:0 fast:3]
    python scripts/strict_fast.py --summary

Each (precision, seed) is one record in results/measured/strict-fast; one that is there is not run again, one that was cut off goes on from
its checkpoint. Without bf16 matrix units `fast` is fp32 and there is nothing to compare: such a machine is refused, or told to
emulate: convolutions and matrix products then take operands rounded to bf16, add up in fp32 and round their result, forwards and
gradients, which is what the units do but for the order of the sums; all else is torch's own bf16. Records say so.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import redistill as rd
from redistill import machine, precision
from redistill.recipe import Precision
from redistill.runs.measured import begin, keep, measured
from redistill.stats import paired_difference
from redistill.train.loop import NUMERICS

FILE = "wrn-16-2-seed-0-dict.pth"
STAGES = ("stage1", "stage2", "stage3")
KD = 0.1 * rd.CE() + 0.9 * rd.KD(T=4)
# two cohorts: the one that reads only logits looks the teacher up
COHORTS = ({"CE": rd.Method.of(rd.CE()), "KD": KD}, {"KD+AT": KD + 1000 * rd.AT(at=STAGES)})
METHODS = [name for cohort in COHORTS for name in cohort]
TOLERANCE = 0.2  # points of accuracy; below it `fast` may stand for `strict`


def recipe(kind: Precision) -> rd.Recipe:
    return rd.Recipe(
        steps=600, batch_size=100, lr=0.05, momentum=0.9, weight_decay=5e-4,
        schedule=rd.MultiStep(at=(0.6, 0.8), gamma=0.1, unit="fraction"), precision="fast" if kind == "fast" else "strict",
    )  # fmt: skip


@contextlib.contextmanager
def emulated() -> Iterator[None]:
    """bf16 matrix units where there are none: see the module."""
    kept: dict[str, Any] = {name: getattr(F, name) for name in ("conv2d", "linear")}
    has = precision.has_bf16_matrix_units

    def of(real: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def called(x: Tensor, weight: Tensor, bias: Tensor | None = None, *more: Any, **words: Any) -> Tensor:
            if not torch.is_autocast_enabled("cpu"):
                return real(x, weight, bias, *more, **words)
            with torch.autocast("cpu", enabled=False):
                rounded = [None if t is None else t.bfloat16().float() for t in (x, weight, bias)]
                return real(*rounded, *more, **words).bfloat16()

        return called

    precision.has_bf16_matrix_units = lambda device: True
    for name, real in kept.items():
        setattr(F, name, of(real))
    try:
        yield
    finally:
        precision.has_bf16_matrix_units = has
        for name, real in kept.items():
            setattr(F, name, real)


def run(kind: Precision, seed: int, args: argparse.Namespace) -> None:
    record_file = args.out / f"{kind}-seed-{seed}.json"
    if record_file.exists():
        print(f"{record_file}: there", flush=True)
        return
    begun = begin()
    train, test = rd.data.cifar10(args.data_dir)
    few = train.first_per_class(100)
    teacher = rd.models.load(args.shared / "checkpoints" / "ferles2020" / FILE, model="wrn-16-2", classes=10,
                             normalisation="cifar10-kuangliu")  # fmt: skip
    record: dict[str, Any] = {
        "what": "CIFAR-10, first 100 images a class, WRN-16-1 from WRN-16-2 (ferles2020), strict against fast",
        "command": "python scripts/strict_fast.py --data-dir D --shared ../shared",
        "precision": kind, "emulated": args.emulate_bf16, "seed": seed, "data": few.manifest(), "recipe": recipe(kind).settings(),
        "arithmetic": precision.arithmetic(recipe(kind), torch.device("cpu")), "numerics": {"fit": NUMERICS},
        "versions": machine.versions(), "hardware": machine.hardware(torch.device("cpu")), "accuracy": {}, "cpu_seconds": 0.0,
    }  # fmt: skip
    for number, methods in enumerate(COHORTS):
        students = {name: rd.models.wrn(16, 1, classes=10, seed=seed) for name in methods}
        loop = rd.Loop(
            [(students[n], methods[n]) for n in methods], teacher, few, recipe(kind), seed=seed, evaluate={"test": test}, every=60,
            device="cpu", cache=True,
        )  # fmt: skip
        checkpoint = record_file.with_suffix(f".{number}.checkpoint")
        if checkpoint.exists():
            loop.load_state(torch.load(checkpoint, weights_only=True))
        saved = time.monotonic()
        for progress in loop:
            if progress.step == progress.steps or time.monotonic() - saved > 60:
                saved = time.monotonic()
                partial = checkpoint.with_suffix(".partial")
                torch.save(loop.state(), partial)
                os.replace(partial, checkpoint)
                print(f"{record_file.name} {'+'.join(methods)}: step {progress.step} of {progress.steps}", flush=True)
        for name, result in zip(methods, loop.results(), strict=True):
            record["accuracy"][name] = result.accuracy["test"].last if result.diverged is None else None
        record["cpu_seconds"] += round(loop.results()[0].cpu_seconds, 1)
    keep(record_file, record, begun)
    for number in range(len(COHORTS)):
        record_file.with_suffix(f".{number}.checkpoint").unlink(missing_ok=True)
    print(f"{record_file}: {record['accuracy']}", flush=True)


def summary(folder: Path) -> None:
    """Print the paired differences, fast - strict, and keep them in ``summary.json``."""
    read = {path.stem: measured(path) for path in folder.glob("*-seed-*.json")}
    seeds = sorted(one["seed"] for name, one in read.items() if name.startswith("fast-") and f"strict-seed-{one['seed']}" in read)
    if len(seeds) < 2:
        raise SystemExit(f"{len(seeds)} pairs of strict and fast in {folder}: two are needed for an interval")
    found: dict[str, Any] = {
        "seeds": seeds, "tolerance": TOLERANCE, "emulated": any(one["emulated"] for one in read.values() if one["precision"] == "fast"),
        "processors": sorted({one["hardware"]["device"] for one in read.values()}), "methods": {},
    }  # fmt: skip
    for method in METHODS:
        fast, strict = ([read[f"{kind}-seed-{seed}"]["accuracy"][method] for seed in seeds] for kind in ("fast", "strict"))
        difference = paired_difference(fast, strict)
        found["methods"][method] = {
            "strict": strict, "fast": fast, "difference": round(difference.value, 3),
            "interval": [round(difference.low, 3), round(difference.high, 3)],
            "within_tolerance": abs(difference.low) <= TOLERANCE and abs(difference.high) <= TOLERANCE,
        }  # fmt: skip
        print(f"{method}: fast - strict {difference.value:+.2f} points, 95 % interval {difference.low:+.2f} to {difference.high:+.2f}")
    keep(folder / "summary.json", found, begin())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--out", type=Path, default=Path("results/measured/strict-fast"))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--emulate-bf16", action="store_true")
    parser.add_argument("--only", nargs="*", help="precision:seed, for example fast:0")
    parser.add_argument("--summary", action="store_true", help="only read what is there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.summary:
        if not args.emulate_bf16 and not precision.has_bf16_matrix_units(torch.device("cpu")):
            raise SystemExit("this processor has no bf16 matrix units, so fast is strict here: --emulate-bf16, or another machine")
        args.out.mkdir(parents=True, exist_ok=True)
        for seed in range(args.seeds):
            for kind in ("strict", "fast"):
                if not args.only or f"{kind}:{seed}" in args.only:
                    with emulated() if kind == "fast" and args.emulate_bf16 else contextlib.nullcontext():
                        run(kind, seed, args)
    summary(args.out)


if __name__ == "__main__":
    main()

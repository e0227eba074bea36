"""Belief matching of WRN-16-1 beside WRN-16-2: all images and classes together against one image and one class at a time.

The loop is algorithm 2 of Micaelli & Storkey 2019 as it is written. Same-work gate first: every probability on the way must
agree. Then both take turns in one process, one thread, and process CPU time is compared turn by turn.

    python benchmarks/belief.py [--images 16] [-K 5] [--rounds 5] [--json results/measured/benchmarks/belief.json]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import torch
import torch.nn.functional as F
from paired import interleaved, machine, ratio, report
from torch import Tensor

import redistill as rd
from redistill import rng
from redistill.belief import adversarial_trajectory, target_classes
from redistill.runs.measured import begin

CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("-K", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    begun = begin()
    student = rd.models.wrn(16, 1, classes=CLASSES, seed=0).eval()
    teacher = rd.models.wrn(16, 2, classes=CLASSES, seed=1).eval()
    images = torch.randn(args.images, 3, 32, 32, generator=rng.stream(0, "benchmark"))
    with torch.no_grad():
        targets = target_classes(student(images).argmax(1), CLASSES)

    def one_at_a_time() -> Tensor:
        found = torch.zeros(2, args.images, CLASSES - 1, args.K)
        for n in range(args.images):
            for t, j in enumerate(targets[n]):
                x = images[n : n + 1]
                for k in range(args.K):
                    x = x.detach().requires_grad_()
                    logits = student(x)
                    with torch.no_grad():
                        found[0, n, t, k] = logits.softmax(1)[0, j]
                        found[1, n, t, k] = teacher(x).softmax(1)[0, j]
                    if k < args.K - 1:
                        (gradient,) = torch.autograd.grad(F.cross_entropy(logits, j[None]), x)
                        x = x - gradient
        return found

    def together() -> Tensor:
        return adversarial_trajectory(student, [teacher], images, targets, K=args.K)

    gap = float((one_at_a_time() - together()).abs().max())
    print(f"gate: probabilities differ by {gap:.1e}, allowed 1e-4", flush=True)
    if not gap <= 1e-4:
        raise SystemExit("the two do not walk the same way: no ratio")
    times = interleaved({"one at a time": one_at_a_time, "together": together}, args.rounds)
    row = {
        "work": f"transition curves WRN-16-1 attacked, WRN-16-2 beside: {args.images} images, {CLASSES - 1} classes, K = {args.K}, "
                f"against one image and class at a time, one thread, process CPU time",
        **machine(),
        "rounds": args.rounds,
        "gate": gap,
        "seconds": {name: round(statistics.median(t), 3) for name, t in times.items()},
        "times_faster_than_plain": {"together": ratio(times["one at a time"], times["together"], 2)},
    }  # fmt: skip
    report(row, args.json, begun)


if __name__ == "__main__":
    main()

"""One KD step, WRN-40-2 -> WRN-16-1, batch 128: the package's loop against a plain PyTorch loop doing the same work.

Same-work gate first, else no ratio: the loss of the first step and every gradient must agree with the plain loop's (1e-5 in
fp32 and the same memory layout, 2e-2 in bf16), and in another layout, whose convolutions round differently, must lie no
further from the double-precision gradients than twice the plain loop's distance. Then the contenders are interleaved in one
process, one thread, and the process CPU time of each step is compared pair by pair.

    python benchmarks/kd_step.py [--rounds 15] [--batch 128] [--compile] [--json results/measured/benchmarks/kd_step.json]
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from paired import interleaved, machine, ratio, report
from torch import Tensor, nn

import redistill as rd
from redistill.precision import has_bf16_matrix_units
from redistill.recipe import Precision


class PlainLoop:
    """What a careful user writes: fp32, live teacher in eval mode, SGD, KL from the functional library."""

    def __init__(self, teacher: nn.Module, student: nn.Module, x: Tensor, y: Tensor, batch: int):
        self.teacher, self.student = teacher.eval(), student.train()
        self.optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
        self.x, self.y, self.size, self.step = x, y, batch, 0
        self.loss = 0.0

    def __call__(self) -> None:
        index = torch.arange(self.size) + (self.step * self.size) % (len(self.x) - self.size + 1)
        images, labels = self.x[index], self.y[index]
        with torch.no_grad():
            t = self.teacher(images)
        s = self.student(images)
        kl = F.kl_div(F.log_softmax(s / 4, 1), F.softmax(t / 4, 1), reduction="batchmean") * 16
        loss = 0.1 * F.cross_entropy(s, labels) + 0.9 * kl
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.loss = loss.item()
        self.step += 1


def gradients(net: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.detach().float().clone() for n, p in net.named_parameters() if p.grad is not None}


def package_loop(kind: str, steps: int, batch: int, images: Any, teacher: nn.Module) -> tuple[Any, nn.Module]:
    """The package's loop: ``strict`` or ``fast`` with their defaults, ``strict contiguous``, ``fast compiled``, ``double``."""
    name, _, more = kind.partition(" ")
    precision: Precision = "strict" if name == "strict" else "fast" if name == "fast" else "double"
    student = rd.models.wrn(16, 1, classes=10, seed=0)
    layout = False if more == "contiguous" else None
    recipe = rd.Recipe(
        steps=steps, batch_size=batch, lr=0.1, precision=precision, compile=more == "compiled", channels_last=layout
    )
    method = 0.1 * rd.CE() + 0.9 * rd.KD(T=4)
    return rd.Loop([(student, method)], teacher, images, recipe, seed=0, device="cpu"), student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--compile", action="store_true", help="also time the compiled fast step (the first call takes a minute)")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)

    g = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (args.batch, 3, 32, 32), generator=g, dtype=torch.uint8)
    y = torch.randint(0, 10, (args.batch,), generator=g)
    images = rd.data.Images(x=x, y=y, classes=10, name="noise", normalise="cifar10-kuangliu")
    teacher = rd.models.wrn(40, 2, classes=10, seed=1)
    order = torch.arange(args.batch)
    floats = images.normalised(order)

    contenders: dict[str, Any] = {}
    plain_student = rd.models.wrn(16, 1, classes=10, seed=0)
    contenders["plain"] = plain = PlainLoop(teacher, plain_student, floats, y, args.batch)
    gates: dict[str, float] = {}
    plain()
    reference, reference_loss = gradients(plain_student), plain.loss
    bf16 = has_bf16_matrix_units(torch.device("cpu"))
    largest = max(float(g.abs().max()) for g in reference.values())

    def distance(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
        return max(float((one[n] - g).abs().max()) for n, g in two.items()) / largest

    exact_loop, exact_student = package_loop("double", 1, args.batch, images, teacher)
    next(exact_loop)
    exact = gradients(exact_student)
    plain_error = distance(reference, exact)
    print(f"plain: largest difference to the double-precision gradients {plain_error:.1e}")
    kinds = ["strict contiguous", "strict", "fast", *(["fast compiled"] if args.compile else [])]
    total = args.rounds + 3
    for kind in kinds:
        loop, student = package_loop(kind, total, args.batch, images, teacher)
        next(loop)
        found = gradients(student)
        # all images are in the batch, so another order changes nothing but the rounding of the sums
        loss = loop.students[0].rows(0).totals[0]
        if kind == "strict":
            gates[kind], tolerance = distance(found, exact), 2 * plain_error
        else:
            gates[kind] = max(distance(found, reference), abs(loss - reference_loss) / abs(reference_loss))
            tolerance = 2e-2 if kind.startswith("fast") and bf16 else 1e-5
        print(f"gate {kind}: loss {loss:.6f} (plain {reference_loss:.6f}), difference {gates[kind]:.1e}, allowed {tolerance:.1e}")
        if gates[kind] > tolerance:
            raise SystemExit(f"{kind} does not do the same work: no ratio")
        contenders[kind] = lambda loop=loop: next(loop)

    times = interleaved(contenders, args.rounds)
    row = {
        "work": f"KD step WRN-40-2 -> WRN-16-1, batch {args.batch}, one thread, process CPU time",
        **machine(),
        "rounds": args.rounds,
        "gate": gates,
        "milliseconds": {n: round(1e3 * statistics.median(t), 1) for n, t in times.items()},
        "ratio_to_plain": {name: ratio(times[name], times["plain"], 3) for name in kinds},
    }
    report(row, args.json)


if __name__ == "__main__":
    main()

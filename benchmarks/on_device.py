"""How fast steps are on an accelerator: seconds an epoch and milliseconds a zero-shot block, replayed and as they are written.

One JSON object a line on the standard output, all that is known after each row; a row that does not fit the time is left out. 50,000
images of noise lie on the device, as CIFAR-10's would. An epoch is 391 times the mean of the steps that were timed, after the first
ones, with one wait at their end.

    python benchmarks/on_device.py [--seconds 120] [--rehearse] [ROW ...]
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import redistill as rd
from redistill import machine
from redistill.precision import resolve_device
from redistill.published.zero_shot import preset
from redistill.recipe import Precision
from redistill.sources.adversarial import Adversarial

METHODS = {
    "KD": lambda: 0.1 * rd.CE() + 0.9 * rd.KD(T=4),
    "KD+AT": lambda: 0.1 * rd.CE() + 0.9 * rd.KD(T=4) + 1000 * rd.AT(),
    "FitNet": lambda: rd.CE() + 100 * rd.FitNet(),
    "VID": lambda: rd.CE() + rd.VID(),
    "Review": lambda: rd.CE() + 5 * rd.Review(),
}


class Bench:
    """One device. ``small``: a rehearsal."""

    def __init__(self, small: bool):
        self.small = small
        self.device = torch.device("cpu") if small else resolve_device("auto")
        self.batch, self.timed, count, side = (8, 2, 64, 16) if small else (128, 200, 50_000, 32)
        g = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (count, 3, side, side), generator=g, dtype=torch.uint8)
        self.images = rd.data.Images(x, torch.arange(count) % 10, 10, "noise", "cifar10-kuangliu", "crop-flip")

    def teacher(self) -> nn.Module:
        return rd.models.wrn(10 if self.small else 40, 2, classes=10, seed=1)

    def student(self) -> nn.Module:
        return rd.models.wrn(10 if self.small else 16, 1, classes=10, seed=0)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, once: Any, steps: int, first: int = 8) -> float:
        """Of one call."""
        for _ in range(min(first, steps) if self.small else first):
            once()
        self.wait()
        began = time.perf_counter()
        for _ in range(steps):
            once()
        self.wait()
        return (time.perf_counter() - began) / steps

    def epoch(self, methods: list[Any], precision: Precision, replay: bool) -> dict[str, Any]:
        """Seconds an epoch of a cohort."""
        recipe = rd.Recipe(steps=10_000, batch_size=self.batch, lr=0.1, precision=precision)
        loop = rd.Loop(
            [(self.student(), m) for m in methods], self.teacher(), self.images, recipe, seed=0, device=self.device, replay=replay
        )
        found = {"epoch_s": round(391 * self.seconds(lambda: next(loop), self.timed if replay else self.timed // 2), 4)}
        reason = loop.replays.replayed.reason if loop.replays is not None else None
        return found if reason is None else {**found, "not replayed": reason}

    def plain(self) -> dict[str, Any]:
        """A plain loop in single precision, images on the device, no augmentation, no value read."""
        teacher, student = self.teacher().to(self.device).eval(), self.student().to(self.device).train()
        x = self.images.normalised(slice(0, 8 * self.batch)).to(self.device)
        y = (torch.arange(len(x)) % 10).to(self.device)
        optimizer, at = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4), [0]

        def once() -> None:
            first = at[0] % (len(x) - self.batch + 1)
            images, labels = x[first : first + self.batch], y[first : first + self.batch]
            with torch.no_grad():
                t = teacher(images)
            s = student(images)
            kl = F.kl_div(F.log_softmax(s / 4, 1), F.softmax(t / 4, 1), reduction="batchmean") * 16
            loss = 0.1 * F.cross_entropy(s, labels) + 0.9 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            at[0] += self.batch

        return {"epoch_s": round(391 * self.seconds(once, self.timed // 2), 4)}

    def zero_shot(self, precision: Precision, replay: bool) -> dict[str, Any]:
        """Milliseconds a block of one generator step and ten of the student."""
        blocks = 2_000
        p = preset("authors", blocks=blocks, batch_size=self.batch)
        generator = rd.models.generator(seed=0)
        source = Adversarial(generator, "cifar10-kuangliu", p.variant, p.generator_method, blocks=blocks, epoch_blocks=blocks)
        recipe = p.recipe.model_copy(update={"precision": precision})
        teacher = rd.models.wrn(10 if self.small else 16, 2, classes=10, seed=1)
        student = rd.models.wrn(10 if self.small else 16, 1, classes=10, seed=0)
        loop = rd.Loop([(student, p.method)], teacher, source, recipe, seed=0, device=self.device, replay=replay)

        def block() -> None:
            for _ in range(p.variant.n_S):
                next(loop)

        return {"block_ms": round(1e3 * self.seconds(block, 1 if self.small else 20, 5), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("rows", nargs="*", help="by name; default: all")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    warnings.simplefilter("ignore")
    bench = Bench(args.rehearse)
    rows: list[tuple[str, Any]] = [("KD, fast, replayed", lambda: bench.epoch([METHODS["KD"]()], "fast", True))]
    rows += [("KD, strict, replayed", lambda: bench.epoch([METHODS["KD"]()], "strict", True))]
    rows += [("zero-shot, fast, replayed", lambda: bench.zero_shot("fast", True)), ("plain", bench.plain)]
    rows += [("KD, fast, as written", lambda: bench.epoch([METHODS["KD"]()], "fast", False))]
    rows += [("five methods together, fast, replayed", lambda: bench.epoch([make() for make in METHODS.values()], "fast", True))]
    rows += [(f"{n}, fast, replayed", lambda n=n: bench.epoch([METHODS[n]()], "fast", True)) for n in METHODS if n != "KD"]
    rows += [("zero-shot, strict, replayed", lambda: bench.zero_shot("strict", True))]
    rows += [("zero-shot, fast, as written", lambda: bench.zero_shot("fast", False))]
    found: dict[str, Any] = {"device": machine.device_name(bench.device), "processor": machine.processor(), "batch": bench.batch}
    chosen = [(name, row) for name, row in rows if name in args.rows] if args.rows else rows[1:3] if args.rehearse else rows
    for name, row in chosen:
        if time.monotonic() > end - 5:
            found.setdefault("left out", []).append(name)
            continue
        try:
            found[name] = row()
        except Exception as error:  # one row that fails costs the others nothing
            found[name] = {"failed": (str(error).splitlines() or [type(error).__name__])[0][:200]}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

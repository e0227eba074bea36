"""How few CPU seconds could ``redistill verify DIR`` take? Its floating-point operations over the best rate of this core.

    OMP_NUM_THREADS=1 python benchmarks/verify_floor.py DIR

Counted is what convolutions and matrix products do in double precision, by the rules of torch.utils.flop_counter: two operations a
multiply-add. The
best rate is that of one large matrix product in double precision, which no convolution exceeds that multiplies all it has to.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from redistill.verify import verify_case
from redistill.verify.reader import find_cases


class Counted(TorchDispatchMode):
    """Counts the operations of what runs below it (FlopCounterMode follows modules too, and refuses ``autograd.grad``)."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (rule := flop_registry.get(func._overloadpacket)) is not None:
            self.total += rule(*args, **(kwargs or {}), out_val=out)
        return out


def best_rate(n: int = 1024, tries: int = 10) -> float:
    """Operations a CPU second of an n x n x n product, the best of some tries."""
    a, b = (torch.randn(n, n, dtype=torch.float64) for _ in "ab")
    found = []
    for _ in range(tries):
        began = time.process_time()
        a @ b
        found.append(2 * n**3 / (time.process_time() - began))
    return max(found)


def main() -> None:
    torch.set_num_threads(1)
    rate, total = best_rate(), 0
    for path in find_cases(Path(sys.argv[1])):
        with Counted() as counter:
            verdict = verify_case(path)
        total += counter.total
        print(f"{counter.total / 1e9:9.1f} GFLOP  {verdict.case}  {verdict.outcome}", flush=True)
    rate = max(rate, best_rate())
    print(f"{total / 1e9:9.1f} GFLOP in all, at most {rate / 1e9:.1f} a CPU second: no less than {total / rate:.0f} CPU seconds")


if __name__ == "__main__":
    main()

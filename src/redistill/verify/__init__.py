"""Proof against golden numbers: every case of a folder is computed in double precision and compared.

``redistill verify [DIR]`` prints one line a case and a line of totals; :func:`report` is that command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from redistill.allocator import keep_freed_memory
from redistill.core import RedistillError
from redistill.verify import losses, metrics, models, trajectories
from redistill.verify.compare import Compared, compare
from redistill.verify.reader import Array, Case, Damaged, NotSupported, find_cases

Outcome = Literal["pass", "fail", "not supported"]

GROUPS: dict[str, Callable[[Case], dict[str, Tensor | Array]]] = {
    "losses": losses.compute,
    "models": models.compute,
    "training": trajectories.compute,
    "metrics": metrics.compute,
}
"""Who computes the cases of each group: from a case to its ``out/``, ``grad/`` and ``after/`` arrays by name."""


@dataclass(frozen=True)
class Verdict:
    """What became of one case.

    Attributes:
        case: ``group/id``. source: repository and commit of the numbers. outcome: the verdict.
        error, tolerance: of the array that comes nearest to its tolerance, or exceeds it most; None where nothing was
            compared. reason: why not supported, or what failed. seconds: of the CPU that it took.
    """

    case: str
    source: str
    outcome: Outcome
    error: float | None = None
    tolerance: float | None = None
    reason: str = ""
    seconds: float = field(default=0.0, compare=False)

    def line(self) -> str:
        """Five columns, two spaces between: case, source, error (or why there is none), tolerance, verdict."""
        error = "-" if self.error is None else f"{self.error:.1e}"
        if self.reason:
            error = self.reason if self.error is None else f"{error} at {self.reason}"
        tolerance = "-" if self.tolerance is None else f"{self.tolerance:g}"
        return "  ".join((self.case, self.source, error, tolerance, self.outcome))


def verify_case(sidecar: Path) -> Verdict:
    """Read, compute and compare one case (the path of its sidecar)."""
    began = time.process_time()
    return replace(_verdict(sidecar), seconds=round(time.process_time() - began, 2))


def _verdict(sidecar: Path) -> Verdict:
    name, source = f"{sidecar.parent.name}/{sidecar.stem}", "?"
    try:
        case = Case(sidecar)
        name, source = case.name, case.source
        if case.group not in GROUPS:
            raise NotSupported(f"group {case.group} is not computed")
        computed = GROUPS[case.group](case)
        case.refuse_unused()
        worst = max(compare(case, computed), key=lambda c: (c.ratio, c.array), default=None)
    except NotSupported as reason:
        return Verdict(name, source, "not supported", reason=_one_line(reason))
    except (Damaged, RedistillError) as reason:
        return Verdict(name, source, "fail", reason=_one_line(reason))
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        # shapes that do not fit together, say: a failure of this case, which must not hide the others
        return Verdict(name, source, "fail", reason=_one_line(f"{type(error).__name__}: {error}"))
    if worst is None:
        return Verdict(name, source, "fail", reason="the case expects nothing")
    return Verdict(
        name, source, "pass" if worst.passed else "fail", worst.error, worst.tolerance, "" if worst.passed else worst.array
    )


def _one_line(what: object) -> str:
    return " ".join(str(what).split())


PACKAGED = Path(__file__).parent / "golden"
"""The small cases that travel in the package, with their sources in README.md beside them."""


def verify(folder: str | Path | None = None, jobs: int = 1) -> Iterator[Verdict]:
    """Every case below a folder, one verdict at a time, in the order of group and name.

    Args:
        folder: None: the cases of the package, which prove the installation.
        jobs: processes side by side, each with one thread.
    """
    root = PACKAGED if folder is None else Path(folder)
    if jobs < 1:
        raise RedistillError(f"jobs={jobs}: at least one process is needed")
    if not root.is_dir():
        raise RedistillError(f"no folder {root}: give the folder that holds <group>/<case>.json with <case>.npz")
    sidecars = find_cases(root)
    if not sidecars:
        raise RedistillError(f"{root} holds no case: a case is a pair <group>/<id>.json and <group>/<id>.npz")
    return _one_by_one(sidecars) if jobs == 1 else _side_by_side(sidecars, jobs)


def _one_by_one(sidecars: list[Path]) -> Iterator[Verdict]:
    keep_freed_memory()
    yield from map(verify_case, sidecars)


def _side_by_side(sidecars: list[Path], jobs: int) -> Iterator[Verdict]:
    # spawned: a forked process would inherit torch's threads half alive
    with ProcessPoolExecutor(min(jobs, len(sidecars)), get_context("spawn"), _prepared) as pool:
        yield from pool.map(verify_case, sidecars)


def _prepared() -> None:
    """A process of several, before its first case."""
    torch.set_num_threads(1)
    keep_freed_memory()


def report(folder: str | Path | None = None, write: Callable[[str], None] = print, jobs: int = 1) -> int:
    """Write one line a case and a last line of totals; the exit status is 1 where a case failed, else 0."""
    verdicts = []
    for verdict in verify(folder, jobs):
        write(verdict.line())
        verdicts.append(verdict)
    found = totals(verdicts)
    write("  ".join(f"{count} {outcome}" for outcome, count in found.items()))
    return 1 if found["fail"] else 0


def totals(verdicts: Iterable[Verdict]) -> dict[Outcome, int]:
    """How many cases have which outcome."""
    found: dict[Outcome, int] = {"pass": 0, "fail": 0, "not supported": 0}
    for verdict in verdicts:
        found[verdict.outcome] += 1
    return found


__all__ = ["GROUPS", "PACKAGED", "Case", "Compared", "Damaged", "NotSupported", "Verdict", "report", "totals", "verify", "verify_case"]

"""Belief matching of students against the WRN-40-2 teacher of ../shared on CIFAR-10: the student attacked, the teacher beside.

    python scripts/belief_matching.py --data-dir D --shared ../shared [NAME=RUN ...]

One record a student in ``results/belief``; a student that has one is not measured again. A run's weights are kept beside its record, so
that the comparison can be made again without training; the published students come from ``checkpoints/ferles2020``. Those were
taught by another WRN-40-2, which is not public, and their records say so.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

import redistill as rd
from redistill.belief import agreement_and_divergence, transitions
from redistill.files import file_digest
from redistill.metrics import predict
from redistill.report.progress import telling
from redistill.runs.store import Store
from redistill.terms import by_name

TEACHER = "teachers/wrn-40-2-cifar10.safetensors"
PUBLISHED = {
    "zero-shot, published": "ferles2020/reproducibility_zero_shot_teacher_wrn-40-2_student_wrn-16-1-M-0-seed-0-CIFAR10-dict.pth",
    "modified zero-shot, published": "ferles2020/modified_zero_shot_teacher_wrn-40-2_student_wrn-16-1-M-0-seed-0-CIFAR10-dict.pth",
    "KD+AT, M = 200, published": "ferles2020/kd_att_teacher_wrn-40-2_student_wrn-16-1-M-200-seed-0-CIFAR10-dict.pth",
}
NORMALISE = "cifar10-kuangliu"


@dataclass(frozen=True)
class Student:
    """``run``: its place in the store, where it was made here."""

    name: str
    file: Path
    run: str | None
    taught_by: str


def students(runs: list[str], store: Path, shared: Path, to: Path) -> Iterator[Student]:
    teacher = file_digest(shared / "checkpoints" / TEACHER)
    for given in runs:
        name, _, where = given.rpartition("=")
        (run,) = Store(store).pick(where)
        written = run.record["experiment"]
        # a student of a cohort has the teacher of the cohort, and may learn nothing from it
        taught = any(by_name(part["use"]).needs_teacher for part in written["method"])
        if taught and written["teacher"]["from"]["sha256"] != teacher:
            raise SystemExit(f"{where} did not learn from {TEACHER}: it says nothing here")
        file = to / f"{run.cell}-seed-{run.seed}.safetensors"
        if not file.exists():
            to.mkdir(parents=True, exist_ok=True)
            file.write_bytes(run.weights().read_bytes())
        yield Student(name, file, f"{run.cell}/seed-{run.seed}", "this teacher" if taught else "nobody")
    for name, path in PUBLISHED.items():
        yield Student(name, shared / "checkpoints" / path, None, "another WRN-40-2")


def in_percent(tell: Callable[[int], None], share: float) -> None:
    tell(int(100 * share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="NAME=RUN", help="a name for the figure, and a finished run of --runs")
    parser.add_argument("--runs", dest="store", type=Path, default=Path("runs"))
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--to", type=Path, default=Path("results/belief"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("-K", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(1)
    test = rd.data.load("cifar10:test", args.data_dir).with_(normalise=NORMALISE)
    assert test.y is not None
    source = args.shared / "checkpoints" / TEACHER
    teacher, told = rd.models.load(source, normalisation=NORMALISE), None
    for student in students(args.runs, args.store, args.shared, args.to):
        record = args.to / f"{re.sub('[^a-z0-9+]+', '-', student.name.lower())}.json"
        about = asdict(student) | {"file": student.file.name}
        if record.exists():
            known = json.loads(record.read_text(encoding="utf-8"))
            if known != known | about:  # what is said of it is told by its run; what was measured stays
                record.write_text(json.dumps(known | about, indent=1) + "\n", encoding="utf-8")
            continue
        began = time.process_time()
        net = rd.models.load(student.file, normalisation=NORMALISE)
        with telling(student.name, 100, unit="percent") as tell:
            nets = {student.name: net, "teacher": teacher}
            percent = functools.partial(in_percent, tell)
            found = transitions(nets, test, count=args.count, K=args.K, attack=[student.name], tell=percent)[student.name, "teacher"]
        told = predict(teacher, test) if told is None else told
        said = predict(net, test)
        same, forward, backward = agreement_and_divergence(said, told)
        row = about | {
            "sha256": file_digest(student.file),
            "accuracy": 100.0 * float(said.argmax(1).eq(test.y).double().mean()),
            "teacher": {"file": source.name, "sha256": file_digest(source)},
            "data": "cifar10:test",
            "normalise": NORMALISE,
            "images": len(found.index),
            "K": args.K,
            "xi": found.rate,
            "aim": "predicted",
            "attacked": "student",
            "mte": found.mte,
            "mte_standard_error": found.mte_standard_error,
            "relative_mte": found.relative_mte,
            "agreement": same,
            "kl_student_teacher": forward,
            "kl_teacher_student": backward,
            "cpu_seconds": round(time.process_time() - began, 1),
            "torch": torch.__version__,
            "command": "python scripts/belief_matching.py --data-dir D --shared ../shared NAME=RUN ...",
            "curves": found.rows(),
        }
        args.to.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        print(f"{student.name}: MTE {found.mte:.4f} ± {found.mte_standard_error:.4f}, agreement {same:.2f} %", flush=True)


if __name__ == "__main__":
    main()

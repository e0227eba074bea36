"""Measure what ``redistill distill`` is worth where README, RESULTS.md and docs/distill.md say it, and keep it as a record.

    python scripts/distill_measured.py shapes
    python scripts/distill_measured.py cifar10 --data-dir DIR --teacher-weights wrn-16-1-seed-0-dict.pth

``shapes`` is the README's example, its two commands as they stand there. ``cifar10`` writes the first images of each class of
CIFAR-10 as a folder of PNG, and takes a published WRN-16-1 as teacher and ``examples/small_cnn.py`` as student. ``cifar10-methods``,
``-choose``, ``-mixed`` and ``-unlabelled`` are the same with other methods, with a method chosen by trials, with mixed images, and
with the next 900 images of each class without their labels, for as many steps.

The work lies in ``--work`` (a stopped measurement goes on there, and a run that two of them need is trained once), the record in
``results/measured/distill/NAME.json``: the command, the processor time of its trainings, the table as it was printed, and every
number behind it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image

from redistill import data
from redistill.runs.measured import begin, keep

ROOT = Path(__file__).resolve().parents[1]
TRAIN, TEST, MORE = 100, 100, 900  # images of each class that the folder holds, and without labels in the folder beside it
CIFAR10 = (
    "redistill distill --data cifar-folder --teacher wrn-16-1 --teacher-weights {weights} --teacher-normalise cifar10-kuangliu "
    "--student examples/small_cnn.py:SmallCNN"
)
COMMANDS = {
    "shapes": "redistill distill --data shapes --teacher examples/shapes.py:Teacher --train-teacher 30 --student quarter --seeds 3",
    "cifar10": f"{CIFAR10} --epochs 50 --seeds 3",
    "cifar10-methods": f"{CIFAR10} --method KD,DKD,DIST,KD+AT,KD+SP,Review --epochs 50 --seeds 3",
    "cifar10-mixed": f"{CIFAR10} --augment crop-flip:4+mixup:1 --epochs 50 --seeds 3",
    "cifar10-choose": f"{CIFAR10} --choose --epochs 50 --seeds 3",
    "cifar10-unlabelled": f"{CIFAR10} --unlabelled cifar-unlabelled --batch-size 64 --epochs 5 --seeds 3",
}


def cifar_folders(work: Path, data_dir: Path | None) -> None:
    """The first images of each class of CIFAR-10 in class folders, ``train/`` and ``val/``; the next ones in a folder without classes."""
    if (work / "cifar-folder").exists():
        return
    made, unlabelled = work / "cifar-folder.partial", work / "cifar-unlabelled"
    unlabelled.mkdir(exist_ok=True)
    for part, images, count in zip(("train", "val"), data.cifar10(data_dir), (TRAIN, TEST), strict=True):
        labels = images.all_labels
        assert images.class_names is not None and labels is not None
        for number, name in enumerate(images.class_names):
            place = made / part / name
            place.mkdir(parents=True, exist_ok=True)
            mine = torch.eq(labels, number).nonzero().flatten().tolist()
            more = mine[count : count + MORE] if part == "train" else []
            for index in (*mine[:count], *more):
                to = unlabelled if index in more else place
                Image.fromarray(images.x[index].permute(1, 2, 0).numpy()).save(to / f"{index:05d}.png")
    made.rename(work / "cifar-folder")


def training_seconds(folders: list[Path]) -> float:
    """Processor time of the trainings by their records, a cohort once."""
    records = [json.loads((folder / "record.json").read_bytes()) for folder in folders]
    return sum({tuple(record["cohort"]): float(record["time"]["cpu"]) for record in records}.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=list(COMMANDS))
    parser.add_argument("--work", type=Path, default=Path("distill-measured"))
    parser.add_argument("--data-dir", type=Path, help="where CIFAR-10 lies")
    parser.add_argument("--teacher-weights", type=Path, help="the published file")
    parser.add_argument("--to", type=Path, default=ROOT / "results" / "measured" / "distill")
    given = parser.parse_args()
    begun = begin()
    work = given.work / given.which.partition("-")[0]
    (work / "examples").mkdir(parents=True, exist_ok=True)
    for name in ("shapes.py", "small_cnn.py"):
        shutil.copy(ROOT / "examples" / name, work / "examples")
    if given.which == "shapes":
        subprocess.run([sys.executable, "examples/shapes.py", "shapes"], check=True, cwd=work)
    else:
        if given.teacher_weights is None:
            parser.error(f"{given.which} needs --teacher-weights, the published file of a WRN-16-1")
        shutil.copy(given.teacher_weights, work)
        cifar_folders(work, given.data_dir)
    command = COMMANDS[given.which].format(weights=given.teacher_weights.name if given.teacher_weights else "")
    out = work / f"distilled-{given.which}"
    words = [sys.executable, "-P", "-m", *command.split(), "--threads", "1", "--out", out.name]
    subprocess.run(words, check=True, cwd=work, env={**os.environ, "PYTHONPATH": str(ROOT / "src")})
    found = json.loads((out / "table.json").read_text(encoding="utf-8"))
    trained = [folder for row in (*found["rows"], found.get("choice", {"runs": []})) for folder in row["runs"]]
    cpu = training_seconds([work / folder for folder in trained])
    plan = (out / "plan.txt").read_text(encoding="utf-8").replace(f"{work.resolve()}/", "").splitlines()
    table = (out / "table.md").read_text(encoding="utf-8")
    measured = {"command": command, "cpu_seconds": round(cpu, 1), **found, "plan": plan, "table": table}
    keep(given.to / f"{given.which}.json", measured, begun)


if __name__ == "__main__":
    main()

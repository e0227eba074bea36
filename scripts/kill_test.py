"""Kill a real training again and again, at random moments and while it writes; it must end as if nothing had happened.

    python scripts/kill_test.py [--times 200] [--out results/measured/kill-test]

Each time: a run (alone or in a cohort, one after the other of the cases below: methods, optimisers, schedules, sources) is
started as a process of its own, stopped at a random moment by SIGKILL, SIGTERM, SIGINT or SIGUSR1, started again, and so on
until it is through. Checkpoints are written after every step, so that a kill often falls into the writing of one. The final
run is compared with an uninterrupted one: every switch, curve and weight must be bit-identical.

The script can itself be stopped: the count goes on where it was. The result lies in ``<out>/<machine>.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from redistill import machine
from redistill.files import digest
from redistill.runs.compare import differences
from redistill.runs.measured import begin, keep, measured
from redistill.runs.store import Store

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
NETWORK = "wrn-10-1"
TEACHER = f"""
[student]
model = "{NETWORK}"
[[method]]
use = "CE"
[source]
data = "digits"
[recipe]
epochs = 2
batch_size = 64
"""
FEW = '[source]\ndata = "digits"\nper_class = 20\naugment = "crop-flip:1"\n'
SMALL = "n_G = 1\nn_S = 4\nblocks = 6\nz = 10\nchannels = 1\nimage_size = 8\nnormalise = \"digits\"\n"
SGD = 'optimizer = "sgd"\nlr = 0.05\nepochs = 3\n'
ADAM = 'optimizer = "adam"\nlr = 0.001\n'
CE = '[[method]]\nuse = "CE"\n'
KD = '[[method]]\nuse = "KD"\n'
CASES = {  # name: method, recipe, source
    "KD": (CE + KD + "weight = { start = 0, end = 3, last = 0.9 }\n", SGD, FEW),
    "AT, adam": ('[[method]]\nuse = "AT"\nweight = 1000.0\n', ADAM + 'epochs = 3\nschedule = { kind = "cosine" }\n', FEW),
    "VID, momentum reset": (
        CE + '[[method]]\nuse = "VID"\n', SGD + 'schedule = { kind = "multistep", at = [1, 2], reset_momentum = true }\n', FEW
    ),
    "FitNet, adamw": (CE + '[[method]]\nuse = "FitNet"\n', 'optimizer = "adamw"\nlr = 0.001\nwarmup = 1\nepochs = 3\n', FEW),
    "Review, clipped": (CE + '[[method]]\nuse = "Review"\n', SGD + "clip = 5.0\nnesterov = true\n", FEW),
    "zero-shot": (KD, ADAM + "steps = 24\n", f'[source]\nkind = "adversarial"\n{SMALL}'),
    "few and made images": (
        KD, ADAM + "steps = 24\n",
        f'[source]\nkind = "mixed"\n[source.first]\ndata = "digits"\nper_class = 5\n[source.second]\nkind = "adversarial"\n{SMALL}',
    ),
}  # fmt: skip


def experiment(name: str, method: str, recipe: str, source: str) -> str:
    """The text of an experiment file."""
    nets = f'[teacher]\nrun = "teacher.toml"\n[student]\nmodel = "{NETWORK}"\n[evaluate]\ntest = "digits:test"\nevery = 1\n'
    return f'name = "{name}"\n{method}[recipe]\nbatch_size = 32\n{recipe}{source}{nets}'


def cases(folder: Path) -> list[tuple[str, list[Path]]]:
    """Experiment files: each method alone, then two that share everything else as a cohort."""
    (folder / "teacher.toml").write_text(TEACHER)
    found = []
    for number, (name, parts) in enumerate(CASES.items()):
        path = folder / f"case{number}.toml"
        path.write_text(experiment(name, *parts))
        found.append((name, [path]))
    pair = [folder / "pair0.toml", folder / "pair1.toml"]
    for path, name in zip(pair, ("KD", "AT, adam"), strict=True):
        path.write_text(experiment(f"{name} in a cohort", CASES[name][0], SGD, FEW))
    return [*found, ("cohort", pair)]


def command(files: list[Path], out: Path, *more: str) -> list[str]:
    words = [sys.executable, "-m", "redistill", "run", *map(str, files), "--out", str(out), "--device", "cpu", "--threads", "1"]
    return [*words, *more]


def once(files: list[Path], whole: Path, folder: Path, draw: random.Random, longest: float) -> dict[str, Any]:
    """One run killed at random until it is through, compared with the uninterrupted one in ``whole``."""
    out = folder / "runs"
    shutil.copytree(whole, out, dirs_exist_ok=True)
    store = Store(out)
    reference = {run.id: run for run in Store(whole).finished() if run.record["name"]}
    for run in [run for run in store.finished() if run.record["name"]]:
        shutil.rmtree(run.folder)  # the teacher stays, the students are trained again
    kills: list[str] = []
    while True:
        if not kills:  # through before the first signal is no test: once more, and sooner
            for run in [run for run in store.finished() if run.record["name"]]:
                shutil.rmtree(run.folder)
        process = subprocess.Popen(
            command(files, out, "--checkpoint-every", "0"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        # after the beginning of training as a rule, sometimes before it
        moment = draw.uniform(0.0, longest)
        try:
            _, errors = process.communicate(timeout=moment)
            if process.returncode == 0 and kills:
                break
            if process.returncode == 0:
                longest *= 0.8
                continue
            raise SystemExit(f"the run ended by itself with status {process.returncode}: {errors}")
        except subprocess.TimeoutExpired:
            sent = draw.choice(SIGNALS)
            process.send_signal(sent)
            process.communicate(timeout=120)
            if process.returncode == 0:  # it was through before the signal reached it
                if kills:
                    break
                continue
            kills.append(sent.name)
            longest = longest * 1.1  # so that a slow machine gets through too
    made = {run.id: run for run in store.finished() if run.record["name"]}
    found = [f"{i}: missing" for i in reference if i not in made]
    for i, run in made.items():
        found += [f"{run.label}: {d.part}: {d.where}" for d in differences(reference[i], run) if d.matters]
    return {"kills": kills, "differences": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--out", type=Path, default=Path("results/measured/kill-test"))
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    begun = begin()
    here = {**machine.hardware(torch.device("cpu")), **machine.versions()}
    path = arguments.out / f"{digest(json.dumps(here, sort_keys=True))[:12]}.json"
    result: dict[str, Any] = {"machine": here, "git": machine.git(), "times": 0, "kills": {}, "differences": [], "cases": {}}
    if path.exists():
        result = measured(path)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        whole: dict[str, tuple[Path, float]] = {}
        table = cases(folder)
        while result["times"] < arguments.times:
            number = result["times"]
            name, files = table[number % len(table)]
            if name not in whole:
                out = folder / f"whole{number % len(table)}"
                subprocess.run(command(files, out), check=True, capture_output=True)
                for run in [run for run in Store(out).finished() if run.record["name"]]:
                    shutil.rmtree(run.folder)
                began = time.monotonic()  # measured with the teacher there already, as it will be
                subprocess.run(command(files, out), check=True, capture_output=True)
                whole[name] = out, time.monotonic() - began
            out, seconds = whole[name]
            work = folder / f"time{number}"
            found = once(files, out, work, random.Random(number), seconds)
            shutil.rmtree(work)
            result["times"] += 1
            result["differences"] += [f"time {number} ({name}): {d}" for d in found["differences"]]
            for kill in found["kills"]:
                result["kills"][kill] = result["kills"].get(kill, 0) + 1
            result["cases"][name] = result["cases"].get(name, 0) + 1
            keep(path, result, begun)
            outcome = found["differences"] or "identical"
            print(f"{result['times']} of {arguments.times}: {name}, {len(found['kills'])} kills, {outcome}", flush=True)
    total = f"{result['times']} times, {sum(result['kills'].values())} kills, {len(result['differences'])} differences"
    print(f"{total}; written: {path}")
    sys.exit(1 if result["differences"] else 0)


if __name__ == "__main__":
    main()

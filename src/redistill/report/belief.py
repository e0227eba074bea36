"""What ``redistill belief`` found of some networks: rows, figures, data, and a record of each pair."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redistill.belief import Over, Transition, agreement_and_divergence, noise_histogram, seeing, trajectory_images
from redistill.features.normalised import normalisation_of
from redistill.files import file_digest, write
from redistill.metrics import predict
from redistill.precision import unrounded
from redistill.report.zero_shot import grid, noise_figure, transition_figure
from redistill.runs.measured import keep
from redistill.runs.store import Run
from redistill.terms import by_name

Pairs = Mapping[tuple[str, str], Transition]


@dataclass(frozen=True)
class Compared:
    """Networks whose beliefs were compared.

    Attributes:
        nets: by the names that figures call them. images: the evaluation set, as it is normalised for the steps. found: by
            (attacked, other). logits: of every network, on the whole set. steps, rate: K and ξ of the walks.
    """

    nets: Mapping[str, nn.Module]
    images: Any
    found: Pairs
    logits: Mapping[str, Tensor]
    steps: int
    rate: float

    @classmethod
    def of(cls, nets: Mapping[str, nn.Module], images: Any, found: Pairs, steps: int, rate: float) -> Compared:
        """With what every network says of every image."""
        return cls(nets, images, found, {name: predict(net, images) for name, net in nets.items()}, steps, rate)

    @property
    def names(self) -> list[str]:
        """Of the classes that the networks tell apart: the set's, where it names these, else their numbers."""
        width = next(iter(self.logits.values())).shape[1]
        known = self.images.class_names
        return list(known) if known is not None and len(known) == width else list(map(str, range(width)))

    def rows(self) -> list[dict[str, Any]]:
        """A row a pair: transition errors, agreement in percent, KL in nats both ways."""
        made = []
        for (a, b), t in self.found.items():
            same, forward, backward = agreement_and_divergence(self.logits[a], self.logits[b])
            made.append(
                {
                    "attacked": a, "other": b, "images": len(t.index), "mte": t.mte,
                    "mte_standard_error": t.mte_standard_error if len(t.index) > 1 else None,
                    "relative_mte": t.relative_mte, "agreement": same, "kl_attacked_other": forward, "kl_other_attacked": backward,
                }
            )  # fmt: skip
        return made

    def write(self, to: Path, title: str, *, prefixes: bool, over: Over) -> list[Path]:
        """``transitions.svg``, ``curves.csv`` and ``images.png``."""
        rows = {pair: t.rows(prefixes=prefixes, over=over) for pair, t in self.found.items()}
        return [
            transition_figure(to / "transitions.svg", self.found, title, prefixes=prefixes, over=over),
            _curves(to / "curves.csv", rows),
            self._on_the_way(to / "images.png"),
        ]

    def noise(self, to: Path, count: int, seed: int) -> tuple[dict[str, list[int]], Path]:
        """What each network predicts on images of uniform noise, and ``noise.svg``."""
        images = self.images
        counts = {
            name: noise_histogram(
                net, tuple(images.image_shape), count=count, seed=seed, normalise=normalisation_of(net) or images.normalise
            )
            for name, net in self.nets.items()
        }
        return counts, noise_figure(to / "noise.svg", counts, self.names, f"predictions on {count} images of uniform noise")

    def _on_the_way(self, path: Path, shown: int = 4) -> Path:
        """For the first pair: some images, each on its way to another class, with both networks' belief in it."""
        nets, images = self.nets, self.images
        (a, b), t = next(iter(self.found.items()))
        parameter = next(nets[a].parameters())
        x = images.normalised(t.index[:shown]).to(parameter)
        which = torch.arange(len(x)) % t.targets.shape[1]
        targets = t.targets[torch.arange(len(x)), which].to(x.device)
        at = sorted({round((self.steps - 1) * part / 6) for part in range(7)})
        trail = trajectory_images(seeing(nets[a], images.normalise), x, targets, at, rate=self.rate)
        names = self.names
        captions = []
        for n in range(len(x)):
            with unrounded(x.device), torch.no_grad():
                p = [seeing(nets[who].eval(), images.normalise)(trail[n]).softmax(1)[:, targets[n]].tolist() for who in (a, b)]
            captions.append([f"{one:.2f} {two:.2f}" for one, two in zip(*p, strict=True)])
        with unrounded(x.device), torch.no_grad():
            start = seeing(nets[a], images.normalise)(x).argmax(1)
        titles = [f"{names[int(i)]} to {names[int(j)]}: {', '.join(map(str, at))} steps" for i, j in zip(start, targets, strict=True)]
        titles[0] += f"; below: p of {names[int(targets[0])]}, {a} and {b}"
        return grid(path, list(trail), images.normalise, titles=titles, captions=captions)


def _curves(path: Path, found: Mapping[tuple[str, str], list[dict[str, float]]]) -> Path:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("step", "attacked", "attacked_standard_error", "other", "other_standard_error")
    writer.writerow(["attacked_network", "other_network", *names])
    for (a, b), rows in found.items():
        writer.writerows([a, b, *(row[name] for name in names)] for row in rows)
    write(path, text.getvalue().encode())
    return path


@dataclass(frozen=True)
class Origin:
    """Where a network came from: the file of its weights, and the run that made it, where one did."""

    file: Path
    run: Run | None

    @property
    def sha256(self) -> str:
        return file_digest(self.file)


def kept(
    compared: Compared, origins: Mapping[str, Origin], settings: Mapping[str, Any], folder: Path, begun: Mapping[str, Any]
) -> list[Path]:
    """A record of each pair in ``folder``, a folder of measurements (:mod:`redistill.runs.measured`), named as its attacked network,
    and as both where several stand beside it. ``settings``: data, aim ... of the measurement; ``begun``: where and by which code."""
    paths: list[Path] = []
    for row in compared.rows():
        a, b, t = row["attacked"], row["other"], compared.found[row["attacked"], row["other"]]
        labels = compared.images.all_labels
        file, teacher = origins[a], origins[b]
        record = {
            "name": a,
            "file": file.file.name,
            "run": None if file.run is None else f"{file.run.cell}/seed-{file.run.seed}",
            "taught_by": taught_by(file.run, teacher.sha256),
            "sha256": file.sha256,
            "accuracy": None if labels is None else 100.0 * float(compared.logits[a].argmax(1).cpu().eq(labels).double().mean()),
            "teacher": {"file": teacher.file.name, "sha256": teacher.sha256},
            **settings,
            "images": row["images"],
            "attacked": "student",
            **{key: row[key] for key in ("mte", "mte_standard_error", "relative_mte", "agreement")},
            "kl_student_teacher": row["kl_attacked_other"],
            "kl_teacher_student": row["kl_other_attacked"],
            "curves": t.record(),
        }
        several = sum(one == a for one, _ in compared.found) > 1
        plain = re.sub(r"(?:[^\w+]|_)+", "-", (f"{a} {b}" if several else a).lower())
        ways = (folder / f"{plain}{end}.json" for end in ("", *(f"-{n}" for n in range(2, len(paths) + 3))))
        path = next(way for way in ways if way not in paths)  # no record takes the place of another of this call
        keep(path, record, begun)
        paths.append(path)
    return paths


def taught_by(run: Run | None, teacher: str) -> str:
    """Whether a network learned from the one whose weights have this SHA-256, as far as its run says."""
    if run is None:
        return "its file does not say"
    written = run.record["experiment"]
    if not any(by_name(part["use"]).needs_teacher for part in written["method"]):
        return "nobody"  # a student of a cohort has the teacher of the cohort, and may learn nothing from it
    mine = run.entry.teacher
    return "this teacher" if mine is not None and mine.sha256 == teacher else "another teacher"

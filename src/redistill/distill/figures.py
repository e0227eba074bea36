"""Two figures of a distillation: size against accuracy, and what the small network lost class by class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from redistill.errors import plain
from redistill.report.style import ACCENT, INK, MUTED, heading, no_more_than_all, panels, save

if TYPE_CHECKING:
    from redistill.distill.results import Distilled, Row

CLASSES = 25  # that a matrix shows; of more those that changed most
COLOURS = {"teacher": INK, "plain": MUTED, "distilled": ACCENT}
MARKS = {"teacher": "s", "plain": "o", "distilled": "D"}


def size_figure(path: Path, found: Distilled) -> Path:
    """Accuracy with its 95 % interval over the number of parameters, one mark a network."""
    figure, (axes,) = panels(width=6.4, height=4.0)
    for row in found.rows:
        accuracy, (low, high) = row.mean("accuracy") or 0.0, row.interval or (0.0, 0.0)
        colour = COLOURS[row.kind]
        axes.plot([row.cost.parameters] * 2, [low, high], color=colour, linewidth=2.5, alpha=0.45, solid_capstyle="round")
        axes.plot([row.cost.parameters], [accuracy], MARKS[row.kind], color=colour, markersize=7)
        side = -1 if row.kind == "plain" else 1
        axes.annotate(
            plain(f"{row.name} {accuracy:.1f} %"), (row.cost.parameters, accuracy), xytext=(9, 6 * side), textcoords="offset points",
            color=colour, va="bottom" if side > 0 else "top", ha="right" if row.kind == "teacher" else "left",
        )  # fmt: skip
    axes.set_xscale("log")
    axes.margins(x=0.25, y=0.15)
    axes.set_xlabel("parameters")
    axes.set_ylabel("accuracy on the evaluation images, %")
    no_more_than_all(axes.yaxis)
    title = "Size and accuracy (bars: 95 % intervals)"
    heading(figure, title)
    return save(
        figure, path, title, "; ".join(f"{r.name}: {r.cost.parameters:,} parameters, {r.mean('accuracy') or 0:.1f} %" for r in found.rows)
    )


def confusion(outputs: Tensor, labels: Tensor, classes: int) -> Tensor:
    """[classes, classes]: of the images of each class (row), which share is called what (column), in percent; NaN without images.

    >>> confusion(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1]), 2).tolist()
    [[0.0, 100.0], [0.0, 100.0]]
    """
    counts = torch.bincount(labels * classes + outputs.argmax(1), minlength=classes**2).view(classes, classes).double()
    return 100 * counts / counts.sum(1, keepdim=True)


def _mean_confusion(row: Row, labels: Tensor, classes: int) -> Tensor:
    return torch.stack([confusion(outputs, labels, classes) for outputs in row.outputs.values()]).mean(0)


def lost_figure(path: Path, found: Distilled) -> Path:
    """For every pair of classes how much more often the first distilled student takes one for the other than the teacher does, and
    the accuracy of each class by teacher, plain and distilled student."""
    assert found.labels is not None
    classes = len(found.class_names)
    teacher, small = found.rows[0], next(row for row in found.rows if row.kind == "distilled")
    alone = found.row("plain")
    change = _mean_confusion(small, found.labels, classes) - _mean_confusion(teacher, found.labels, classes)
    order = (
        change.nan_to_num().abs().sum(1).argsort(descending=True)[:CLASSES].sort().values if classes > CLASSES else torch.arange(classes)
    )
    shown = change[order][:, order]
    side = max(3.2, 0.32 * len(order) + 1.6)
    figure, (left, right) = panels(2, width=side + 0.5, height=side, columns=2)
    left.grid(visible=False)
    names = [plain(found.class_names[i])[:14] for i in order.tolist()]
    limit = max(1.0, float(shown.nan_to_num().abs().max()))
    drawn = left.imshow(shown.numpy(), cmap="PuOr_r", vmin=-limit, vmax=limit)
    for i in range(len(order)):
        for j in range(len(order)):
            value = float(shown[i, j])
            if abs(value) >= 1 and len(order) <= 12:
                left.text(j, i, f"{value:+.0f}", ha="center", va="center", fontsize=7, color="white" if abs(value) > 0.6 * limit else INK)
    left.set_xticks(range(len(order)), names, rotation=90)
    left.set_yticks(range(len(order)), names)
    left.set_xlabel("is called")
    left.set_ylabel("image of")
    left.set_title(plain(f"{small.name} minus teacher, points"), loc="left", fontsize=10, color=INK)
    figure.colorbar(drawn, ax=left, shrink=0.8)
    for row in (teacher, alone, small):
        if row is not None:
            own = _mean_confusion(row, found.labels, classes).diagonal()[order].tolist()
            right.plot(own, range(len(order)), MARKS[row.kind], color=COLOURS[row.kind], markersize=5, label=plain(row.name), alpha=0.85)
    right.set_yticks(range(len(order)), names)
    right.invert_yaxis()
    right.set_xlabel("accuracy of the class, %")
    no_more_than_all(right.xaxis)
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    title = "What the small network takes for what, and its accuracy class by class"
    heading(figure, title)
    return save(figure, path, title)

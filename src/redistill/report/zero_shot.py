"""Pictures of zero-shot runs and of beliefs: samples, images on their way, transition curves, what happened in training."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from redistill.belief import Over, Transition
from redistill.data import Renormalise
from redistill.files import write
from redistill.report.style import ACCENT, INK, MUTED, RUST, heading, matplotlib, panels, save

GAP, LABEL = 4, 14


def pixels(images: Tensor, normalise: str) -> NDArray[np.uint8]:
    """Normalised images [N, C, H, W] as they would look: uint8 [N, H, W, 3], what lies outside the range cut off."""
    shown = (Renormalise.between(normalise, "none")(images.float().cpu()).clamp(0, 1) * 255).round().to(torch.uint8)
    if shown.shape[1] == 1:
        shown = shown.expand(-1, 3, -1, -1)
    found: NDArray[np.uint8] = shown[:, :3].permute(0, 2, 3, 1).contiguous().numpy()
    return found


def grid(
    path: Path,
    rows: Sequence[Tensor],
    normalise: str,
    *,
    titles: Sequence[str],
    captions: Sequence[Sequence[str]] | None = None,
    side: int = 64,
) -> Path:
    """:func:`sheet` as a file."""
    write(path, sheet(rows, normalise, titles=titles, captions=captions, side=side))
    return path


def sheet(
    rows: Sequence[Tensor], normalise: str, *, titles: Sequence[str], captions: Sequence[Sequence[str]] | None = None, side: int = 64
) -> bytes:
    """A PNG with one row of images [n, C, H, W] below each title, and a caption of a few lines below each image where there are any.

    Images are enlarged by a whole number to about ``side`` pixels.
    """
    pictures = [pixels(row, normalise) for row in rows]
    enlarge = max(1, side // pictures[0].shape[1])
    height, width = (length * enlarge for length in pictures[0].shape[1:3])
    below = 0
    if captions is not None:
        lines = [text.splitlines() for row in captions for text in row]
        width = max(width, 7 * max((len(line) for text in lines for line in text), default=0))
        below = LABEL * max(map(len, lines), default=0)
    columns = max(len(row) for row in pictures)
    widest = max(int(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(title)) for title in titles)
    size = (max(GAP + columns * (width + GAP), widest + 2 * GAP), len(rows) * (LABEL + height + below + GAP) + GAP)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    for r, row in enumerate(pictures):
        top = GAP + r * (LABEL + height + below + GAP)
        draw.text((GAP, top), titles[r], fill=INK)
        for c, picture in enumerate(row):
            left = GAP + c * (width + GAP)
            one = Image.fromarray(picture).resize((picture.shape[1] * enlarge, height), Image.Resampling.NEAREST)
            canvas.paste(one, (left, top + LABEL))
            if captions is not None:
                draw.text((left, top + LABEL + height), captions[r][c], fill=INK)
    drawn = io.BytesIO()
    canvas.save(drawn, format="PNG")
    return drawn.getvalue()


def _panels(count: int, width: float = 3.4, size: float = 9) -> tuple[Any, list[Any]]:
    return panels(count, width=width, height=width * 2.8 / 3.4, columns=2 if count == 4 else min(count, 3), size=size)


def transition_figure(
    path: Path, found: Mapping[tuple[str, str], Transition], title: str, *, prefixes: bool = False, over: Over = "images"
) -> Path:
    """One panel an ordered pair: mean belief of both networks in the class aimed at, two standard errors on either side."""
    panels = []
    for t in found.values():
        many = len(t.index) > 1
        heading = f"MTE {t.mte:.4f}" + (f" ± {t.mte_standard_error:.4f}, {len(t.index)} images" if many else ", 1 image")
        panels.append((t.attacked, t.other, heading, t.rows(prefixes=prefixes, over=over)))
    return belief_panels(path, panels, title)


def belief_panels(path: Path, panels: Sequence[tuple[str, str, str, Sequence[Mapping[str, float | None]]]], title: str) -> Path:
    """The same from data: (attacked, other, heading, rows of :meth:`redistill.belief.Transition.rows`) a panel."""
    return save(beliefs_drawn(panels, title), path, title)


def beliefs_drawn(
    panels: Sequence[tuple[str, str, str, Sequence[Mapping[str, float | None]]]], title: str, *, width: float = 3.4, size: float = 9
) -> Any:
    """The figure itself; ``width`` of a panel in inches, ``size`` of its letters in points."""
    figure, axes = _panels(len(panels), width, size)
    for ax, (attacked, other, above, rows) in zip(axes, panels, strict=True):
        steps = np.array([row["step"] for row in rows])
        for which, name, colour in (("attacked", f"{attacked} (attacked)", RUST), ("other", other, ACCENT)):
            mean, error = (np.array([row[key] for row in rows], dtype=float) for key in (which, f"{which}_standard_error"))
            ax.fill_between(steps, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.25, linewidth=0)
            ax.plot(steps, mean, color=colour, linewidth=1.4, label=name)
        # curves may lie anywhere between 0 and 1: the names get a band of their own above them
        ax.set(xlabel="adversarial step", ylabel="probability of the class aimed at", ylim=(-0.02, 1.32), yticks=np.linspace(0, 1, 6))
        ax.set_title(above, loc="left", fontsize=size, color=INK)
        ax.legend(frameon=False, fontsize=size - 1, loc="upper right", borderaxespad=0.1, labelspacing=0.2)
    heading(figure, title)
    return figure


def noise_figure(path: Path, counts: Mapping[str, Sequence[int]], class_names: Sequence[str], title: str) -> Path:
    """One panel a network: share of uniform-noise images that it puts into each class."""
    figure, axes = _panels(len(counts))
    for ax, (name, numbers) in zip(axes, counts.items(), strict=True):
        ax.bar(range(len(numbers)), [100.0 * n / sum(numbers) for n in numbers], color=ACCENT)
        if len(numbers) <= 20:
            ax.set_xticks(range(len(numbers)), class_names, rotation=60, ha="right")
        ax.set(ylabel="% of images", ylim=(0, 100))
        ax.set_title(name, loc="left", fontsize=9, color=INK)
    heading(figure, title)
    return save(figure, path, title)


def _colours(count: int) -> list[Any]:
    table = matplotlib().colormaps["tab10" if count <= 10 else "turbo"]
    return [table(c if count <= 10 else c / (count - 1)) for c in range(count)]


def diagnostics_figure(path: Path, curves: Mapping[str, Any], title: str, together: int = 1) -> Path:
    """What happened in a zero-shot run, from its ``curves.json``: confidence, generator loss, gradient norms, pseudo-classes.

    ``together``: student steps in a block, n_S; the axis counts blocks.
    """
    matplotlib()
    from matplotlib.ticker import LogLocator

    points = [(step, numbers) for step, numbers in curves["source"] if "generator_loss" in numbers]
    steps = [step / together for step, _ in points]

    def of(key: str) -> list[float]:
        return [numbers[key] for _, numbers in points]

    looked = {name: found for name, found in curves.get("accuracy", {}).items() if found}
    figure, axes = _panels(6 if looked else 5)
    confidence, loss, norms, *shares_of, tested = axes if looked else (*axes, None)
    for key, colour in (("teacher_confidence", RUST), ("student_confidence", ACCENT), ("agreement", MUTED)):
        confidence.plot(steps, of(key), color=colour, linewidth=1.3, label=key.replace("_", " "))
    confidence.set(ylim=(0, 1), ylabel="share, mean probability")
    confidence.legend(frameon=False, fontsize=8)
    loss.plot(steps, of("generator_loss"), color=RUST, linewidth=1.3)
    loss.set(ylabel="generator loss")
    norms.plot(steps, of("generator_gradient_norm"), color=RUST, linewidth=1.3, label="generator")
    if students := curves.get("gradient_norms"):
        epochs = steps[-1] / len(students)  # a mean each epoch, the last one perhaps shorter
        norms.plot([min(epochs * (n + 1), steps[-1]) for n in range(len(students))], students, color=ACCENT, linewidth=1.3, label="student")
    norms.set(ylabel="gradient norm before clipping", yscale="log")
    norms.yaxis.set_major_formatter("{x:g}")
    norms.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
    norms.yaxis.set_minor_formatter("{x:g}")
    norms.legend(frameon=False, fontsize=8)
    width = sum(key.startswith("teacher_class_") for key in points[0][1])
    for ax, who in zip(shares_of, ("teacher", "student"), strict=True):
        shares = np.array([[numbers[f"{who}_class_{c}"] for c in range(width)] for _, numbers in points])
        ax.stackplot(steps, shares.T, linewidth=0, labels=list(map(str, range(width))), colors=_colours(width))
        ax.set(ylim=(0, 1.28), yticks=np.linspace(0, 1, 6), ylabel=f"{who}'s classes, share of images")
        if width <= 10:  # more have no colours that tell them apart
            ax.legend(frameon=False, fontsize=7, ncols=5, loc="upper center", columnspacing=0.8, handlelength=1.0, borderaxespad=0.1)
    if tested is not None:
        for i, (name, found) in enumerate(looked.items()):
            colour = (ACCENT, RUST, MUTED)[i % 3]
            tested.plot([step / together for step, _ in found], [value for _, value in found], linewidth=1.3, label=name, color=colour)
        tested.set(ylabel="student's accuracy, %")
        tested.legend(frameon=False, fontsize=8)
    for ax in axes:
        ax.set_xlabel("blocks" if together > 1 else "student steps")
    heading(figure, title)
    return save(figure, path, title)

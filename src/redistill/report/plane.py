"""Drawings of two-dimensional networks: decision regions, points on them, panels and an animation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from redistill.files import write
from redistill.report import style
from redistill.report.style import INK, MUTED, heading, save

REGIONS = ((245, 205, 200), (208, 232, 205), (205, 220, 242))
"""Fill of each class's region; the dots are :data:`DOTS`."""

DOTS = ((190, 40, 30), (35, 120, 40), (30, 75, 170))


@dataclass(frozen=True)
class Scene:
    """What is seen at one moment.

    Attributes:
        title: above the panel. regions: [n, n] class of each grid point, first axis x from left, second y from below.
        boundary: [n, n] regions whose borders are drawn as lines, or None. points: [m, 2]. colours: [m] class of each point.
    """

    title: str
    regions: NDArray[np.int64]
    boundary: NDArray[np.int64] | None
    points: NDArray[np.float64]
    colours: NDArray[np.int64]


def panels(path: Path, scenes: Sequence[Scene], extent: float, title: str) -> Path:
    """The scenes in a row, as SVG; both axes run from -extent to extent."""
    style.matplotlib()
    from matplotlib.colors import ListedColormap

    fills, dots = (ListedColormap([tuple(v / 255 for v in c) for c in table]) for table in (REGIONS, DOTS))
    figure, axes = style.panels(len(scenes), width=2.6, height=3.0, columns=len(scenes), size=9)
    box = (-extent, extent, -extent, extent)
    for ax, scene in zip(axes, scenes, strict=True):
        ax.grid(visible=False)
        ax.spines[:].set_visible(True)
        ax.imshow(scene.regions.T, origin="lower", extent=box, cmap=fills, vmin=0, vmax=2, interpolation="nearest")
        if scene.boundary is not None:
            for c in range(len(REGIONS)):
                mask = (scene.boundary == c).T.astype(float)
                if 0 < mask.mean() < 1:
                    ax.contour(mask, levels=[0.5], origin="lower", extent=box, colors=[INK], linewidths=0.7)
        ax.scatter(*scene.points.T, c=scene.colours, cmap=dots, vmin=0, vmax=2, s=7, linewidths=0.3, edgecolors="white")
        ax.set(xlim=(-extent, extent), ylim=(-extent, extent), xticks=(-extent, 0, extent), yticks=(-extent, 0, extent), aspect="equal")
        ax.set_title(scene.title, fontsize=9, color=INK)
        ax.tick_params(colors=MUTED, length=2)
    heading(figure, title)
    return save(figure, path, title)


def frame(scene: Scene, extent: float, side: int = 300) -> Any:
    """One picture of an animation."""
    palette = np.array(REGIONS, dtype=np.uint8)
    picture = Image.fromarray(palette[scene.regions.T[::-1]]).resize((side, side), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(picture)
    if scene.boundary is not None:
        theirs = Image.fromarray(scene.boundary.T[::-1].astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
        edges = np.asarray(theirs)
        border = np.zeros(edges.shape, dtype=bool)
        border[:, 1:] |= edges[:, 1:] != edges[:, :-1]
        border[1:] |= edges[1:] != edges[:-1]
        stencil = Image.fromarray((border * 255).astype(np.uint8))
        picture.paste((27, 31, 36), (0, 0), stencil)
    for (x, y), c in zip(scene.points, scene.colours, strict=True):
        u, v = (x / extent + 1) / 2 * side, (1 - y / extent) / 2 * side
        draw.ellipse((u - 3, v - 3, u + 3, v + 3), fill=DOTS[int(c)], outline="white")
    draw.text((6, 5), scene.title, fill=(27, 31, 36))
    return picture


def animation(path: Path, frames: Sequence[Any], milliseconds: int = 90) -> Path:
    """A GIF that runs once and starts again; the last picture stays a while."""
    reduced = [f.quantize(colors=16, method=Image.Quantize.MEDIANCUT) for f in frames]
    times = [milliseconds] * (len(reduced) - 1) + [2500]
    drawn = io.BytesIO()
    reduced[0].save(drawn, format="GIF", save_all=True, append_images=reduced[1:], duration=times, loop=0, optimize=False)
    write(path, drawn.getvalue())
    return path

"""The table at the end of a distillation, and what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from redistill.distill.cost import bytes_text
from redistill.stats import past_edge

if TYPE_CHECKING:
    from redistill.distill.results import Distilled, Row


def text(found: Distilled) -> str:
    """Quality and cost of every network as a Markdown table, and sentences."""
    head, *body = [list(column) for column in zip(*[_column(found, row) for row in (None, *found.rows)], strict=True)]
    lines = _aligned([head, *body])
    return "\n".join(lines) + "\n\n" + "\n\n".join(_sentences(found)) + "\n"


def _column(found: Distilled, row: Row | None) -> list[str]:
    """The labels at the left (None), or one network's column: many numbers and few networks stand better this way."""
    labelled = found.labels is not None
    top5 = any(one.mean("top5") is not None for one in found.rows)
    seeds = max((len(one.evaluations) for one in found.rows), default=1)
    if row is None:
        over = "seeds" if seeds > 1 else "images"
        quality = (
            ["accuracy %", f"95 % interval ({over})", *(["top-5 %"] if top5 else []), "NLL, nats", "calibration error %"]
            if labelled
            else []
        )
        gains = (
            ["distilled minus plain", *(["95 % images, 1st seed", "95 % over seeds"] if seeds > 1 else ["95 % over images"])]
            if any(r.gain for r in found.rows)
            else []
        )
        return [
            "",
            *quality,
            *gains,
            "agrees with teacher %",
            "parameters",
            "MACs an image",
            "file",
            "1 image, ms",
            "32 images, ms",
            "memory for 32",
        ]
    cells = [row.name]
    if labelled:
        low, high = row.interval or (0.0, 0.0)
        cells += [_number(row.mean("accuracy")), f"{low:.2f} to {high:.2f}", *([_number(row.mean("top5"))] if top5 else [])]
        cells += [_number(row.mean("nll"), 3), _number(row.mean("calibration_error"))]
    if any(r.gain for r in found.rows):
        mine = row.gain
        cells += ["" if mine is None else f"{mine.value:+.2f}", "" if mine is None else _span(mine.over_images)]
        if seeds > 1:
            cells.append("" if mine is None or mine.over_seeds is None else _span(mine.over_seeds))
    cells.append(_number(row.agreement))
    own = row.cost
    cells += [f"{own.parameters:,}", f"{own.macs / 1e6:,.2f} M", bytes_text(own.bytes)]
    return [*cells, *(f"{own.milliseconds[b]:.2f}" for b in (1, 32)), bytes_text(own.memory)]


def _sentences(found: Distilled) -> list[str]:
    lines = [] if found.choice is None else [found.choice.sentence]
    count = 0 if found.labels is None else len(found.labels)
    teacher = found.rows[0]
    for row in found.rows:
        if row.gain is None:
            continue
        low, high = row.gain.over_seeds or row.gain.over_images
        kind = f"{len(row.evaluations)} seeds" if row.gain.over_seeds else f"{count:,} images, one seed"
        if low > 0:
            verdict = (
                f"{row.name} is better than the plain student: {row.gain.value:+.2f} points, 95 % interval {_span((low, high))} ({kind})."
            )
        elif high < 0:
            verdict = (
                f"{row.name} is WORSE than the plain student: {row.gain.value:+.2f} points, 95 % interval {_span((low, high))} ({kind})."
            )
        else:
            verdict = (
                f"{row.name}: {row.gain.value:+.2f} points beside the plain student, 95 % interval {_span((low, high))} ({kind}): this "
                f"cannot show that distillation helped, nor that it did not."
            )
        if row.gain.over_seeds is None:
            verdict += " Another seed moves both students by more than this interval says: --seeds 3 measures that."
        lines.append(verdict)
    alone, mine = found.row("plain"), teacher.mean("accuracy")
    if alone is not None and mine is not None and (alone.mean("accuracy") or 0.0) >= mine:
        lines.append("The plain student is as good as the teacher on these images: there was nothing to learn from it but its mistakes.")
    for row in found.rows[1:]:
        if row.kind == "distilled":
            fewer, cheaper = teacher.cost.parameters / row.cost.parameters, teacher.cost.macs / row.cost.macs
            faster = teacher.cost.milliseconds[32] / row.cost.milliseconds[32]
            lines.append(
                f"{row.name} has {_times(fewer)} parameters of the teacher, {_times(cheaper)} multiplications, "
                f"{_times(faster)} time for 32 images."
            )
    lines.append(
        f"Latencies are medians of interleaved forwards on {found.place}; memory is weights and the tensors that live at once. "
        + (
            f"NLL, calibration error (15 bins) and top-5 are means over seeds{_one_network(found)}."
            if found.labels is not None
            else "Student and teacher were asked on the training images, for there are no others."
        )
    )
    return lines


def _one_network(found: Distilled) -> str:
    """Whose interval is over images in a table of several seeds."""
    several = any(len(row.evaluations) > 1 for row in found.rows)
    one = [row.name for row in found.rows if several and len(row.evaluations) == 1]
    return f"; the interval of {' and '.join(one)}, one network, is over images" if one else ""


def _times(ratio: float) -> str:
    return f"1/{ratio:.1f} of the" if ratio >= 1 else f"{1 / ratio:.2f} times the"


def _span(pair: Sequence[float]) -> str:
    return " to ".join(past_edge(end, 0.0, 0.0) for end in pair)


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return [lines[0], rule, *lines[1:]]

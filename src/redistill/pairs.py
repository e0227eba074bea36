"""Which stage of the student learns from which stage of the teacher.

Floor 0: it sees names and shapes only, so that terms can pair without knowing how features are read.
"""

from __future__ import annotations

from redistill.core import Context, Pair, RedistillError, describe_places


def pair_stages(ctx: Context) -> tuple[Pair, ...]:
    """Stages of both networks paired by resolution, from the deepest; shallowest pair first.

    Each student stage takes the deepest unused teacher stage of its resolution. Where no resolution is shared at all,
    stages are paired by position from the deepest.
    """
    if not ctx.student_stages or not ctx.teacher_stages:
        who = "student" if not ctx.student_stages else "teacher"
        places = ctx.student_places if who == "student" else ctx.teacher_places
        raise RedistillError(
            f"the {who} has no feature maps to pair (no stage was found); name the places yourself, "
            f"at=[(student place, teacher place)], from: {describe_places(places)}"
        )
    unused = list(ctx.teacher_stages)
    found: list[Pair] = []
    for mine in reversed(ctx.student_stages):
        size = ctx.student_places[mine][2:]
        same = [t for t in unused if ctx.teacher_places[t][2:] == size]
        if same:
            found.append((mine, same[-1]))
            del unused[unused.index(same[-1]) :]
    if not found:
        found = list(zip(reversed(ctx.student_stages), reversed(ctx.teacher_stages), strict=False))
    return tuple(reversed(found))


def check_pairs(ctx: Context, pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Refuse a pair whose place does not exist, with the nearest names."""
    for mine, theirs in pairs:
        ctx.shape("student", mine)
        ctx.shape("teacher", theirs)
    return pairs

"""Which stage of the student learns from which stage of the teacher.

It sees names and shapes only, so that terms can pair without knowing how features are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from redistill.core.batch import Shape
from redistill.core.places import Context, Pair, describe_places
from redistill.errors import RedistillError


def pair_stages(ctx: Context) -> tuple[Pair, ...]:
    """Stages of both networks paired by resolution, from the deepest; shallowest pair first.

    Each student stage takes the deepest unused teacher stage of its resolution. Where no resolution is shared at all,
    stages are paired by position from the deepest; so they are where the stages of one of the two all have one resolution, those of a
    transformer on a grid, which say nothing about the depth of the other's.
    """
    if not ctx.student_stages or not ctx.teacher_stages:
        who = "student" if not ctx.student_stages else "teacher"
        places = ctx.student_places if who == "student" else ctx.teacher_places
        net, unsure = (ctx.student, ctx.student_unsure) if who == "student" else (ctx.teacher, ctx.teacher_unsure)
        if unsure is not None:
            raise RedistillError(f"the stages of the {who} {type(net).__name__} cannot be told from one forward: {unsure}")
        raise RedistillError(
            f"the {who} has no feature maps to pair (no stage was found); name the places yourself, "
            f"at=[(student place, teacher place)], from: {describe_places(places)}"
        )
    return _by_resolution(ctx) or _by_position(ctx)


def _by_resolution(ctx: Context) -> tuple[Pair, ...]:
    if _depth_alone(ctx):
        return ()
    unused = list(ctx.teacher_stages)
    found: list[Pair] = []
    for mine in reversed(ctx.student_stages):
        size = ctx.student_places[mine][2:]
        same = [t for t in unused if ctx.teacher_places[t][2:] == size]
        if same:
            found.append((mine, same[-1]))
            del unused[unused.index(same[-1]) :]
    return tuple(reversed(found))


def _depth_alone(ctx: Context) -> bool:
    """One of the two is a transformer on a grid, whose stages are shares of its depth."""
    return _of_one_size(ctx.student_stages, ctx.student_places) != _of_one_size(ctx.teacher_stages, ctx.teacher_places)


def _of_one_size(stages: Sequence[str], places: Mapping[str, Shape]) -> bool:
    """Several stages of one resolution."""
    return len(stages) > 1 and len({places[name][2:] for name in stages}) == 1


def _by_position(ctx: Context) -> tuple[Pair, ...]:
    return tuple(reversed(list(zip(reversed(ctx.student_stages), reversed(ctx.teacher_stages), strict=False))))


def require_common_stages(ctx: Context, who: str) -> None:
    """Refuse networks that share no resolution and differ in the number of stages: which stages belong together is then a
    guess, which a term without adapters should not make. The sentence offers the guess, to be named by the user."""
    mine, theirs = ctx.student_stages, ctx.teacher_stages
    if not mine or not theirs or len(mine) == len(theirs) or _by_resolution(ctx) or _depth_alone(ctx):
        return
    raise RedistillError(
        f"{who} cannot pair the stages of the student ({_sizes(mine, ctx.student_places)}) with those of the teacher "
        f"({_sizes(theirs, ctx.teacher_places)}): they share no resolution and differ in number; name the pairs yourself, "
        f"for example at={list(_by_position(ctx))}"
    )


def _sizes(stages: Sequence[str], places: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, places[name][2:]))}" for name in stages)


def check_pairs(ctx: Context, pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """Refuse a pair whose place does not exist, with the nearest names."""
    for mine, theirs in pairs:
        ctx.shape("student", mine)
        ctx.shape("teacher", theirs)
    return pairs

"""From stage to stage: what a term has learned, handed on to the term of its name in the run that starts from that stage's student."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from torch import Tensor, nn

from redistill.errors import RedistillError

Learned = Mapping[str, Tensor]
"""Parameters and buffers by the name of their term, the part and the name within it: ``FT.paraphraser.encoder.0.weight``."""


class HandsOn(Protocol):
    """What of a term is asked here; see :class:`redistill.core.method.Term`."""

    took_over: set[str]

    @property
    def hands_on(self) -> tuple[str, ...]: ...

    def begins_with(self) -> tuple[str, ...]: ...

    def get_submodule(self, target: str) -> nn.Module: ...


Named = Iterable[tuple[str, HandsOn]]
"""The terms of a method under their names."""


def learned_by(terms: Named) -> dict[str, Tensor]:
    """Copies of the parts that the terms of a method hand on (``Term.hands_on``); empty where none does."""
    return {
        f"{name}.{part}.{key}": value.detach().cpu().clone()
        for name, term in terms
        for part in term.hands_on
        for key, value in term.get_submodule(part).state_dict().items()
    }


def taken_over(terms: Named, learned: Learned) -> None:
    """Give the terms that begin with parts of the stage before (``Term.begins_with``) what they learned there.

    Raises:
        RedistillError: the stage had no such part, or one of other sizes.
    """
    for name, term in terms:
        for part in term.begins_with():
            prefix = f"{name}.{part}."
            state = {key.removeprefix(prefix): value for key, value in learned.items() if key.startswith(prefix)}
            module = term.get_submodule(part)
            mine = {key: tuple(value.shape) for key, value in module.state_dict().items()}
            if {key: tuple(value.shape) for key, value in state.items()} != mine:
                why = "and it trained none" if not state else "whose sizes are others: the places, widths or settings of the two differ"
                raise RedistillError(f"{term!r} goes on with the {part} of the stage before, {why}")
            module.load_state_dict(state)
            term.took_over.add(part)


def require_taken_over(term: HandsOn) -> None:
    """A sentence where a term was to begin with what nobody has handed on."""
    if missing := [part for part in term.begins_with() if part not in term.took_over]:
        raise RedistillError(
            f"{term!r} goes on with the {missing[0]} that a stage before it has trained: let the student start from that stage "
            f'([student] run = "stage.toml"), or, in Python, give the method as method.beginning_with(stage.method.learned())'
        )

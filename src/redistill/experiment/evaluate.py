"""The section ``[evaluate]``: on which images a student is evaluated, how often, and which evaluations count for the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from redistill.data import named
from redistill.experiment.reading import Reading
from redistill.experiment.source.images import ImagesSettings, Settings, opening_of
from redistill.recipe import Recipe
from redistill.settings.validation import ValidationErrors
from redistill.user_code import load_if
from redistill.values import Value


class Evaluate(Value):
    """Evaluation sets by name (``content``: SHA-256 of those of one's own), and the epochs between evaluations.

    ``every`` None stands for the loop's own rule, 20 evaluations over the run, where the length is given in steps. ``since``
    (``from`` in a file): the best evaluation is looked for from this share of the run on.
    """

    sets: dict[str, str]  # none of them called ``every`` or ``content``
    content: dict[str, str] = Field(default_factory=dict)
    every: int | None
    since: float | None = Field(default=None, gt=0, lt=1)

    def written(self) -> dict[str, Any]:
        more: dict[str, Any] = {"content": self.content} if self.content else {}
        more |= {} if self.since is None else {"from": self.since}
        return {**self.sets, **more, **({} if self.every is None else {"every": self.every})}

    def first_step(self, steps: int) -> float:
        """The step from which an evaluation counts for the best of a run of ``steps``, within a millionth of a step."""
        return 0.0 if self.since is None else self.since * steps - 1e-6


def read(
    given: Mapping[str, Any] | None,
    source: Settings | None,
    recipe: Recipe | None,
    mistakes: ValidationErrors,
    reading: Reading,
    *,
    complete: bool = False,
) -> Evaluate:
    """The section, or what stands for one that is left out: the test part of the data, 20 times a run.

    ``complete``: it stands in a record, which writes down every default, so that ``every`` alone says: evaluate nothing.
    """
    rows = dict(given) if given is not None else {}
    every, since, known = rows.pop("every", None), rows.pop("from", None), rows.pop("content", {})
    for name, value in (("every", every), ("content", known), ("from", since)):
        if isinstance(value, str) and (":" in value or name == "content"):
            mistakes.add(("evaluate", name), f"no evaluation set can be called {name}: call it test, or as you like")
    if not isinstance(known, dict):
        known = {}
    if since is not None and (isinstance(since, bool) or not isinstance(since, int | float) or not 0 < since < 1):
        mistakes.add(("evaluate", "from"), f"must be a share of the run between 0 and 1, from = 0.8, got {since!r}")
        since = None
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        mistakes.add(("evaluate", "every"), "must be a whole number of epochs, at least 1")
        every = None
    if every is None and recipe is not None and recipe.epochs is not None:
        every = max(1, -(-recipe.epochs // 20))
    left_out = given is None or (given and not complete and given.keys() <= {"every", "from"})  # an empty [evaluate] says: evaluate nothing
    if left_out and isinstance(source, ImagesSettings) and (test := named.evaluated_on(source.data, reading.data_dir)) is not None:
        rows = {"test": test}
    sets, contents = {}, {}
    opening = opening_of(source)  # pictures are shown as they were taught
    for name, data in rows.items():
        if name == "held_out":
            mistakes.add(("evaluate", name), "held_out is the name of the part that [source] held_out sets apart")
        elif not isinstance(data, str):
            mistakes.add(("evaluate", name), 'must be the name of a data set, test = "cifar10:test"')
        else:
            with mistakes.at(("evaluate", name)):
                sets[name] = named.full_name(data, "test", reading.folder, reading.data_dir)
                if named.is_own_data(data):
                    load_if(reading.trusted, data, reading.folder)
                if (found := known.get(name) or named.content(sets[name], reading.data_dir, opening)) is not None:
                    contents[name] = found
    return Evaluate(sets=sets, content=contents, every=every, since=since)

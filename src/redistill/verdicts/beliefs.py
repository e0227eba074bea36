"""Mean transition errors of a paper's cells: measured on finished runs, once, and kept as small records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redistill import belief
from redistill.belief.minibatch import minibatch_transition, relative
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.files import Spoilt, json_of, make_folder, pretty, write
from redistill.papers.schema import Pick
from redistill.runs.store import Run, Store

COUNT, STEPS, RATE = 1000, 100, 1.0  # Micaelli & Storkey 2019, p. 8


@dataclass(frozen=True)
class Believed:
    """MTE between the student of a run and its teacher.

    Attributes:
        run: id. attacked: whose gradient pushes the images, ``student`` or ``teacher``; ``relative``: the student's, and ``mte`` is the
            relative one of the TensorFlow reproduction, by its code. images: how many, of ``data``.
        mte, standard_error: over images (None where it is relative, and of a single image). pick: which images
            (:func:`redistill.belief.transitions`).
        numerics: version of the measurement (:data:`redistill.belief.NUMERICS`).
        curves: mean beliefs step by step (:meth:`redistill.belief.Transition.rows`); the first records have none.
    """

    run: str
    attacked: str
    data: str
    images: int
    mte: float
    standard_error: float | None
    pick: Pick = "first"
    numerics: int = 1
    curves: Sequence[Mapping[str, float | None]] = ()


def kept(folder: Path, pick: Pick = "first") -> dict[tuple[str, str], Believed]:
    """Every measurement in a folder that was made on such images, by run and attacked network; those of another version of the
    measurement are none.

    Raises:
        RedistillError: a record that is none.
    """
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            one = Believed(**json_of(path))
        except (Spoilt, TypeError) as error:
            raise RedistillError(f"{path} is no record of a transition error ({error}): delete it to measure again") from error
        if one.pick == pick and one.numerics == belief.NUMERICS:
            found[one.run, one.attacked] = one
    return found


def measure(
    asked: Iterator[tuple[Run, Experiment, str]], store: Store, folder: Path, data_dir: Path | None, device: str = "auto",
    pick: Pick = "first",
) -> Iterator[Believed]:
    """Measure what is not kept yet: (run, its experiment, attacked network) one after the other.

    Raises:
        RedistillError: the data, or the teacher's weights, are not there.
    """
    from redistill.data.named import load_data
    from redistill.launch.materials import first_network
    from redistill.precision import resolve_device

    known = kept(folder, pick)
    where = resolve_device(device)
    for run, one, attacked in asked:
        if (run.id, attacked) in known:
            continue
        data = one.evaluate.sets["test"]
        images: Any = load_data(data, data_dir)
        if one.teacher is None:
            raise RedistillError(f"{one.label} has no teacher to compare beliefs with")
        teacher, _ = first_network(one.teacher, {}, one.seed, store)
        nets = {"student": run.network().to(where), "teacher": teacher.to(where).eval()}
        if attacked == "relative":
            error: float | None = None
            t = minibatch_transition(nets["student"], nets["teacher"], images, K=STEPS, rate=RATE)
            value = relative(t)
        else:
            [t] = belief.transitions(nets, images, count=COUNT, K=STEPS, rate=RATE, attack=[attacked], pick=pick).values()
            value, error = t.mte, t.mte_standard_error if len(t.index) > 1 else None
        made = Believed(run.id, attacked, data, len(t.index), value, error, pick, belief.NUMERICS, t.written())
        known[run.id, attacked] = made
        make_folder(folder)
        name = f"{run.id}-{attacked}{'' if pick == 'first' else f'-{pick}'}.json"
        write(folder / name, pretty(asdict(made)))
        yield made

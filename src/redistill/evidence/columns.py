"""Runs from a CSV or JSON lines with named columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, counted, nearest
from redistill.evidence.files import Stated, content_of, lines_of, runs_of, value_in, whole
from redistill.evidence.model import Evidence, Trained, arm_of
from redistill.evidence.units import ERRORS, Unit, column_name, of_errors, percent, says_percent

ROLES: dict[str, tuple[str, ...]] = {
    "dataset": ("dataset", "data", "data_set"),
    "teacher": ("teacher", "model_t", "teacher_model", "t"),
    "student": ("student", "model_s", "student_model", "model", "network", "arch", "s"),
    "method": ("method", "distill", "algorithm", "distiller", "approach"),
    "seed": ("seed", "trial", "random_seed"),
    "epochs": ("epochs", "n_epochs", "num_epochs"),
    "last": ("last", "last_acc", "final", "final_acc", "final_top1", "last_top1", "test_acc_final", "test_last"),
    "best": ("best", "best_acc", "best_top1", "best_test_acc", "max_acc"),
    "value": (
        "acc", "accuracy", "top1", "top_1", "test_acc", "test_accuracy", "acc1", "acc@1", "test_top1", "top1_acc", "top_1_acc",
        "top1_accuracy", "top_1_accuracy",
    ),
    "error": ERRORS,
    "paper": ("paper",),
    "best_on": ("best_on",),
}
"""What a column can be -> its names (:func:`redistill.evidence.units.column_name`). ``value``: an accuracy whose epoch no name tells."""

MEASURED = re.compile(
    r"second|time|hour|duration|loss|top-?5|acc(?!um)|err(or)?\b|mem|date|path|file|log\b|^run|name|^id$|host|device", re.I
)
"""Names of columns that are no settings."""

SETTING = re.compile(
    r"(^|_)(weights?|coef\w*|lambda|alpha|beta|gamma|tau|temperature|lr|(learning|drop|dropout|drop_path)_rate|momentum|decay|wd|factor|"
    r"scale|type|fn|bank|(batch|memory|bank|queue)_size|freq|warmup|margin|optim\w*|schedul\w*)(_|$)"
)
"""Names that are settings whatever else stands in them: a ``loss_weight`` is no loss."""

STATES = ("state", "status", "run_state", "run_status")
"""Names of the column in which a tracker's export says how a run ended."""

UNFINISHED = (
    "running", "in_progress", "crashed", "failed", "killed", "aborted", "stopped", "preempted", "preempting", "pending", "queued",
    "scheduled",
)  # fmt: skip
"""What wandb, MLflow, ClearML and Comet write there of a run that did not come to its end."""

STEPS = ("step", "global_step", "iteration", "iter", "it")
"""Names of columns that count within a run (``_step`` of wandb too)."""

SPREADS = re.compile(r"(.+_)?(std|stdev|std_dev|stddev|sd|sem|stderr)|(std|stdev|sd)_(.+)|±|\+/?-")
COUNTS = ("seeds", "n_seeds", "num_seeds", "n_runs", "num_runs")
"""Names of columns by which a row is a mean of several runs: beside an accuracy, its spread; and how many runs there are."""

CSV, LINES = "CSV with named columns", "JSON lines with named keys"
"""Kinds of evidence that are read here."""

NOTHING = ("", "-", "none", "null", "na", "n/a")


def read_csv(path: Path, stated: Stated) -> Evidence:
    """A CSV (or .tsv) with a header."""
    text = content_of(path)
    rows = lines_of(text, str(path), "\t" if path.suffix == ".tsv" else ",")
    if len(rows) < 2:
        raise RedistillError(f"{path}: needs a header and at least one row, it has {len(rows)} lines")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise RedistillError(f"{path}: the header names column {twice!r} twice")
    if len(header) == 1 and (mark := next((m for m in (";", "\t", "|") if m in header[0]), None)):
        raise RedistillError(f"{path}: its columns are parted by {mark!r}: part them by commas, with points in numbers")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise RedistillError(f"{path}, line {number}: has {len(row)} entries, the header has {len(header)}")
    records = [dict(zip(header, (cell.strip() for cell in row), strict=True)) for row in rows[1:]]
    return _evidence(path, records, header, [f"{path.name}, line {n}" for n in range(2, len(rows) + 1)], stated, CSV)


def read_lines(path: Path, stated: Stated) -> Evidence:
    """JSON lines: one object a run."""
    records: list[dict[str, Any]] = []
    places = []
    for number, line in enumerate(content_of(path).splitlines(), 1):
        if not line.strip():
            continue
        record = value_in(line, f"{path}, line {number}")
        if not isinstance(record, dict):
            raise RedistillError(f"{path}, line {number}: is no object, one run a line is expected")
        records.append(record)
        places.append(f"{path.name}, line {number}")
    if not records:
        raise RedistillError(f"{path}: holds no runs")
    header = list(dict.fromkeys(name for record in records for name in record))
    return _evidence(path, records, header, places, stated, LINES)


def roles_of(header: Sequence[str], stated: Stated, where: str) -> dict[str, str]:
    """Role -> column.

    Raises:
        RedistillError: two columns could be one role, no column is an accuracy, or ``--column`` names one that is not there.
    """
    roles: dict[str, str] = {}
    for role, name in (stated.columns or {}).items():
        if role not in ROLES:
            raise RedistillError(f"--column {role}={name}: {nearest(role, ROLES, 'role of a column')}")
        if name not in header:
            raise RedistillError(f"--column {role}={name}: {nearest(name, header, f'column of {where}')}")
        roles[role] = name
    for role, others in ROLES.items():
        if role in roles:
            continue
        fits = [name for name in header if column_name(name) in others and name not in roles.values()]
        if len(fits) > 1:
            raise RedistillError(
                f"{where}: columns {' and '.join(map(repr, fits))} could both be the {role}: say which with --column {role}={fits[0]}"
            )
        if fits:
            roles[role] = fits[0]
    if not {"last", "best", "value", "error"} & set(roles):
        raise RedistillError(
            f"{where}: no column can be told to be an accuracy (last, best, acc, error ...), there are {', '.join(header)}: "
            f"say which with --column last=NAME or --column best=NAME"
        )
    if "error" in roles and {"last", "best", "value"} & set(roles):
        raise RedistillError(f"{where}: has a column of accuracies and one of errors ({roles['error']!r}): leave one of them out")
    if "value" in roles and {"last", "best"} & set(roles):
        known = roles.get("last") or roles.get("best")
        raise RedistillError(
            f"{where}: columns {known!r} and {roles['value']!r} are both accuracies, and the second does not say of which epoch: "
            f"say --column last={roles['value']} or --column best={roles['value']}"
        )
    return roles


def _evidence(
    path: Path, records: Sequence[dict[str, Any]], header: Sequence[str], places: Sequence[str], stated: Stated, kind: str
) -> Evidence:
    roles = roles_of(header, stated, str(path))
    records, places, notes = _finished(records, places, [name for name in header if name not in roles.values()], str(path))
    _no_means(records, places, roles, header, str(path))
    told: Unit | None = None
    errors = roles.pop("error", None) or (roles.get("value") if stated.unit == "error" else None)  # before a best epoch is looked for
    if errors is not None:
        records, words = _turned(records, places, errors, stated, str(path))
        roles["value"], told = errors, "percent"
        notes += words
    elif stated.unit is None:
        columns = [roles[role] for role in ("last", "best", "value") if role in roles]
        told = "percent" if says_percent([_empty(record.get(column)) for record in records for column in columns]) else None
    epoch = next((name for name in header if name.lower() == "epoch"), None)
    if epoch is None:
        _no_steps(records, roles, header, str(path))
    if epoch is not None and "value" not in roles:
        _no_epochs(records, roles, epoch, str(path))
    if epoch is not None and "value" in roles:
        records, places, words = _of_epochs(records, places, roles, epoch, str(path))
        header = list(dict.fromkeys(name for record in records for name in record))
        roles = {**{role: column for role, column in roles.items() if role != "value"}, "last": "last", "best": "best", "epochs": "epochs"}
        notes += words
    if "value" in roles:
        notes.append(f"{path}: column {roles['value']!r} does not say of which epoch it is: it is taken as the last")
    if "best" in roles and "best_on" not in roles:
        notes.append(f"{path}: column {roles['best']!r} does not say on which images the epoch was chosen: it is taken as the test images")
    settings, measured, words = _kinds(records, header, roles, str(path))
    notes += words
    rows = []
    for place, record in zip(places, records, strict=True):
        row: dict[str, Any] = {role: _empty(record.get(column)) for role, column in roles.items() if role != "value"}
        for role in ("last", "best", "value"):
            if role in roles:
                row["last" if role == "value" else role] = _number(record.get(roles[role]), place, roles[role])
        if row.get("best") is not None and not row.get("best_on"):
            row["best_on"] = "test"
        others = {name: value for name, value in record.items() if name in settings and _empty(value) is not None}
        more = {name: value for name, value in record.items() if name in measured and _empty(value) is not None}
        row["settings"] = others.pop("settings") if isinstance(others.get("settings"), dict) else {}
        row["extra"] = {**(more.pop("extra") if isinstance(more.get("extra"), dict) else {}), **more}
        row["settings"] = {**row["settings"], **others}
        rows.append(row)
    runs, unit = runs_of(rows, places, str(path), stated, told)
    _seeds_of_all(runs)
    return Evidence(path.stem, kind, stated.origin(path, kind), runs, notes=(*notes, *unit))


def _no_means(
    records: Sequence[dict[str, Any]], places: Sequence[str], roles: Mapping[str, str], header: Sequence[str], where: str
) -> None:
    """Refuse rows that are means: each would be judged as one run."""
    accuracies = {column_name(roles[role]) for role in ("last", "best", "value", "error") if role in roles}
    accuracies |= {"acc", "accuracy", "test_acc", "top1", "top_1", "mean"}
    for name in header:
        found = SPREADS.fullmatch(column_name(name).strip("_"))
        of = "" if found is None else (found[1] or found[4] or "").strip("_")
        spread = found is not None and (not of or of in accuracies)
        many = column_name(name) in COUNTS and any(_many(record.get(name)) for record in records)
        if name not in roles.values() and (spread or many) and (of_one := _first(records, places, name)) is not None:
            raise RedistillError(
                f"{where}: column {name!r} ({of_one}) says that a row is the mean of several runs, and evidence is one run a row: give the "
                f"accuracy of each seed, or leave the column out if every row is one run"
            )


def _first(records: Sequence[dict[str, Any]], places: Sequence[str], name: str) -> str | None:
    """The first value of a column with its place; None where it is empty."""
    values = ((place, _empty(record.get(name))) for place, record in zip(places, records, strict=True))
    return next((f"{place}: {value}" for place, value in values if value is not None), None)


def _many(value: Any) -> bool:
    """Whether a number is a whole one above 1."""
    try:
        return float(str(value)) > 1 and float(str(value)).is_integer()
    except (ValueError, OverflowError):
        return False


def _no_steps(records: Sequence[dict[str, Any]], roles: Mapping[str, str], header: Sequence[str], where: str) -> None:
    """Refuse a row a step: its rows would be so many runs, told apart by their steps."""
    step = next((name for name in header if column_name(name).strip("_") in STEPS and name not in roles.values()), None)
    if step is None:
        return
    whose = [column for role, column in roles.items() if role not in ("last", "best", "value")]
    groups: dict[tuple[str, ...], set[str]] = {}
    for record in records:
        groups.setdefault(tuple(str(record.get(column, "")) for column in whose), set()).add(str(record.get(step)))
    if any(len(steps) > 2 for steps in groups.values()):
        raise RedistillError(
            f"{where}: column {step!r} counts steps within a run, so each run is many rows: keep the last row of each run, or count epochs "
            f"in a column 'epoch'"
        )


def _seeds_of_all(runs: Sequence[Trained]) -> None:
    """Refuse a run without a seed beside others of the same thing that have one: mostly it is their mean, which would count as a run."""
    groups: dict[tuple[Any, ...], list[Trained]] = {}
    for run in runs:
        groups.setdefault(arm_of(run), []).append(run)
    for mine in groups.values():
        without = [run for run in mine if run.seed is None]
        if without and len(without) < len(mine):
            raise RedistillError(
                f"{without[0].place}: has no seed, where other runs of the same thing have one "
                f"({counted(len(mine) - len(without), 'run')}): leave it out if it is their mean, else give its seed"
            )


def _finished(
    records: Sequence[dict[str, Any]], places: Sequence[str], others: Sequence[str], where: str
) -> tuple[Sequence[dict[str, Any]], Sequence[str], list[str]]:
    """Without the runs that a tracker's export calls unfinished: their number is no last one, as that of a log cut short is none.

    others: columns without a role. Returns the records, their places, and what was left out.
    """
    column = next((name for name in others if column_name(name) in STATES), None)
    if column is None:
        return records, places, []
    states = [str(record.get(column) or "").strip().lower() for record in records]
    kept = [n for n, state in enumerate(states) if state not in UNFINISHED]
    if len(kept) == len(records):
        return records, places, []
    if not kept:
        raise RedistillError(f"{where}: column {column!r} calls no run finished, so that no last accuracy is known")
    out = ", ".join(f"{place} ({state})" for place, state in zip(places, states, strict=True) if state in UNFINISHED)
    words = f"{where}: column {column!r} says that these did not come to their end, they are left out: {out}"
    return [records[n] for n in kept], [places[n] for n in kept], [words]


def _turned(
    records: Sequence[dict[str, Any]], places: Sequence[str], errors: str, stated: Stated, where: str
) -> tuple[list[dict[str, Any]], list[str]]:
    """Records with accuracies in percent in the place of their errors, and what was recognised."""
    numbers = [_number(record.get(errors), place, errors) for place, record in zip(places, records, strict=True)]
    told: Unit | None = "percent" if says_percent([_empty(record.get(errors)) for record in records]) else None
    unit = of_errors([one for one in numbers if one is not None], stated.unit or told, where)
    made = [
        {**record, errors: None if one is None else percent(percent(one, unit), "error")}
        for record, one in zip(records, numbers, strict=True)
    ]
    words = "errors as fractions" if unit == "fraction" else "errors"
    return made, [f"{where}: column {errors!r} holds {words}: accuracies are 100 minus them"]


def _no_epochs(records: Sequence[dict[str, Any]], roles: Mapping[str, str], epoch: str, where: str) -> None:
    """Refuse a row an epoch under a name that promises a row a run: its rows would be judged as so many runs."""
    groups: dict[tuple[str, ...], list[Any]] = {}
    whose = [column for role, column in roles.items() if role not in ("last", "best")]
    for record in records:
        groups.setdefault(tuple(str(record.get(column, "")) for column in whose), []).append(record.get(epoch))
    for epochs in groups.values():
        if len(epochs) > 2 and any([str(one) for one in epochs] == [str(n + first) for n in range(len(epochs))] for first in (0, 1)):
            name = roles.get("last") or roles.get("best")
            raise RedistillError(
                f"{where}: column {epoch!r} counts epochs, so each run is many rows, and {name!r} is no last or best accuracy: say "
                f"--column value={name}"
            )


def _of_epochs(
    records: Sequence[dict[str, Any]], places: Sequence[str], roles: Mapping[str, str], epoch: str, where: str
) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """One record a run from one record an epoch: the last epoch and the best.

    Raises:
        RedistillError: epochs are missing or stand twice.
    """
    whose = [column for role, column in roles.items() if role not in ("value", "epochs")]
    groups: dict[tuple[str, ...], list[tuple[int, float, str]]] = {}
    members: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    ends: dict[tuple[str, ...], int] = {}
    for place, record in zip(places, records, strict=True):
        number, value = whole(_empty(record.get(epoch)), epoch, place), _number(record.get(roles["value"]), place, roles["value"])
        if number is None:
            continue
        key = tuple(str(record.get(column, "")) for column in whose)
        ends[key] = max(number, ends.get(key, 0))
        members.setdefault(key, []).append(record)
        if value is None:
            continue
        if value != value:
            raise RedistillError(f"{place}: {roles['value']} is nan at epoch {number:g}")
        groups.setdefault(key, []).append((number, value, place))
    # what is one value in every run is a setting of it, as a weight is; what changes with the epoch, such as a rate, is none
    others = [
        name
        for name in dict.fromkeys(name for record in records for name in record)
        if name not in (epoch, *roles.values(), "last", "best", "epochs")
        and all(len({repr(r.get(name)) for r in mine}) == 1 for mine in members.values())
    ]
    if groups and all(len(points) == 1 for points in groups.values()) and any(points[0][0] > 1 for points in groups.values()):
        raise RedistillError(
            f"{where}: column {epoch!r} has one row a run, so that no other epoch is known: say --column last={roles['value']} where these "
            f"are the last epochs, else --column best={roles['value']}"
        )
    made, first = [], []
    for key, points in groups.items():
        counted = [number for number, _, _ in points]
        if counted != list(range(counted[0], counted[0] + len(counted))) or counted[0] not in (0, 1):
            raise RedistillError(
                f"{where}: the epochs of one run do not count from 0 or 1 without a gap ({counted[0]} to {counted[-1]}, "
                f"{len(counted)} rows): "
                f"several runs need a column that tells them apart, such as seed"
            )
        if ends[key] > counted[-1]:
            raise RedistillError(
                f"{where}: a run has no {roles['value']} at its last epoch, {ends[key]}, so that its last accuracy is not known: leave out "
                f"the epochs after {counted[-1]}, if these are not meant"
            )
        values = [value for _, value, _ in points]
        same = {name: members[key][0].get(name) for name in others}
        made.append({**same, **dict(zip(whose, key, strict=True)), "last": values[-1], "best": max(values), "epochs": len(values)})
        first.append(points[0][2])
    if not made:
        raise RedistillError(f"{where}: holds no epoch with an accuracy")
    words = (
        f"{where}: column {epoch!r} counts epochs, so each run is many rows: last is its last row, best its largest (on the test images)"
    )
    return made, first, [words]


def _kinds(
    records: Sequence[dict[str, Any]], header: Sequence[str], roles: Mapping[str, str], where: str
) -> tuple[set[str], set[str], list[str]]:
    """The other columns: settings, which runs of one cell share, and measurements, which differ from run to run.

    A column with a measurement's name, or with another value in more than half of the rows, is a measurement, but for those with a
    setting's name; where runs of one cell would then have a seed twice, the latter are settings after all.
    """
    others = [name for name in header if name not in roles.values()]
    asked = {name for name in others if SETTING.search(column_name(name))}
    named = {name for name in others if name not in asked and (MEASURED.search(name) or name == "extra")}
    varied = {
        name
        for name in set(others) - asked - named
        if len({repr(r.get(name)) for r in records}) > len(records) / 2 and len(records) > 1
    }
    settings = set(others) - named - varied
    if varied and "seed" in roles:
        keys = [roles[role] for role in ("dataset", "teacher", "student", "method", "seed") if role in roles] + sorted(settings)
        if len({tuple(repr(record.get(key)) for key in keys) for record in records}) < len(records):
            settings, varied = settings | varied, set()
    measured = named | varied
    shown = sorted(measured - {"extra"})
    words = [f"{where}: taken as measurements and not as settings: {', '.join(shown)}"] if shown else []
    return settings, measured, words


def _empty(value: Any) -> Any:
    return None if value is None or (isinstance(value, str) and value.strip().lower() in NOTHING) else value


def _number(value: Any, place: str, column: str) -> float | None:
    value = _empty(value)
    if value is None:
        return None
    try:
        return float(str(value).strip().rstrip("%"))
    except ValueError:
        raise RedistillError(f"{place}: {column} is {value!r}, which is no number") from None

"""Published files, evaluated: found by their SHA-256, measured once, kept as small records."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from redistill.claims import Finding
from redistill.errors import RedistillError
from redistill.files import Spoilt, file_digest, json_of
from redistill.papers.cells import Cell, Paper
from redistill.papers.schema import Checkpoint
from redistill.runs.measured import begin, keep, measured
from redistill.user_code import refuse_code


@dataclass(frozen=True)
class Checked:
    """One evaluation of one published file: percent of ``images`` images of ``data`` classified correctly, strict fp32."""

    file: str
    sha256: str
    data: str
    normalise: str
    images: int
    accuracy: float

    def answers(self, asked: Checkpoint) -> bool:
        """Whether it was made as a paper file asks for it today: on that data, normalised that way."""
        return (self.sha256, self.data, self.normalise) == (asked.sha256, asked.data, asked.normalise)


def kept(folder: Path) -> dict[str, Checked]:
    """Every evaluation in a folder, by SHA-256 of the file.

    Raises:
        RedistillError: a record that is none, or two records of one file that differ.
    """
    found: dict[str, Checked] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = json_of(path)
            one = Checked(**(measured(path) if "head" in record else record))  # older ones have no head
        except (Spoilt, TypeError) as error:
            raise RedistillError(f"{path} is no record of an evaluated file ({error}): delete it to evaluate again") from error
        if found.setdefault(one.sha256, one) != one:
            raise RedistillError(f"{path} and another record tell different things of one file, {one.file}: delete the wrong one")
    return found


def evaluate(
    paper: Paper, files: Path, out: Path, data_dir: Path | None, cells: Collection[Cell] | None = None
) -> Iterator[Checked | str]:
    """Evaluate those files of a paper that lie under ``files`` and were not evaluated yet; one record each in ``out``.

    Files are known by their content, whatever they are called. Each gives a sentence when it begins, and one whose data, or whose
    reader, are not here a sentence instead of what it came to.

    Args:
        cells: only the files that one of these cells is about, and others of the same name (see :func:`looked_for`).
    """
    from redistill import data, models
    from redistill.metrics import accuracy

    every = paper.file.checkpoint
    if cells is not None:
        asked = {c.file for c in every if any(c.table == cell.table and c.holds(cell.facts) for cell in cells)}
        tables = {cell.table for cell in cells}
        every = tuple(c for c in every if c.file in asked and c.table in tables)
    wanted: dict[str, Checkpoint] = {c.sha256: c for c in every}
    known, lacking, begun = kept(out), set[str](), begin()
    for path in sorted(p for p in files.rglob("*") if p.is_file()):
        if (one := wanted.get(file_digest(path))) is None or (one.sha256 in known and known[one.sha256].answers(one)):
            continue
        refuse_code(one.model, "a paper file")
        if one.data in lacking:
            yield f"{one.file} is not evaluated: {one.data} is not here either"
            continue
        try:
            images = data.load(one.data, data_dir)
        except RedistillError as error:
            lacking.add(one.data)
            yield f"{one.file} is not evaluated: {error}"
            continue
        yield f"evaluating {one.file} on {len(images):,} images of {one.data}"
        try:
            network = models.load(path, model=one.model, classes=images.classes, normalisation=one.normalise)
        except RedistillError as error:
            yield f"{one.file} is not evaluated: {error}"
            continue
        found = Checked(one.file, one.sha256, one.data, one.normalise, len(images), accuracy(network, images))
        keep(out / f"{one.sha256[:16]}.json", asdict(found), begun)
        yield found


def looked_for(finding: Finding, paper: Paper, files: Mapping[str, Checked]) -> Finding:
    """A finding about a published file that does not give the print, with the other files of that name; any other as it is.

    A repository may hold several files of one name: before one of them is called below the print, a reader must know
    whether the others were tried.
    """
    if finding.claim.kind != "checkpoint" or finding.verdict not in ("above", "below"):
        return finding
    mine = next(c for c in paper.file.checkpoint if f"file {c.path}" == finding.claim.cell)
    others = {c.path: c.sha256 for c in paper.file.checkpoint if c.file == mine.file and c.sha256 != mine.sha256}
    others_found = []
    for path, sha in others.items():
        found = files.get(sha)
        others_found.append(f"{path} ({'not evaluated here' if found is None else f'{found.accuracy:g}'})")
    if others_found:
        note = f"this is {mine.path}; other files of that name: {', '.join(others_found)}"
    else:
        note = f"this is {mine.path}; no other file of that name is known in the repository"
    return replace(finding, note="; ".join(part for part in (finding.note, note) if part))

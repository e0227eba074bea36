"""The audit of somebody's runs as one page: whose they are, what is not known of them, what they settle, which claims they bear on."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from redistill import files
from redistill.claims import Finding, sentence, sentences, summary_sentences, verdict_words
from redistill.claims.words import end_words
from redistill.errors import RedistillError, counted
from redistill.evidence.bearing import Bearing, bearings
from redistill.evidence.model import Evidence
from redistill.evidence.read import FINDINGS, is_audit
from redistill.evidence.settled import Fact, settled
from redistill.evidence.significance import Tested, p_words, tested
from redistill.report.table import bars


@dataclass(frozen=True)
class Audit:
    """Everything about one source.

    Attributes:
        unknown: what is not known of its runs, in sentences. nothing: runs that bear on no claim, in sentences.
    """

    evidence: Evidence
    unknown: tuple[str, ...]
    facts: tuple[Fact, ...]
    tests: tuple[Tested, ...]
    bearings: tuple[Bearing, ...]
    nothing: tuple[str, ...]


def audit(evidence: Evidence, paper: str | None = None) -> Audit:
    """One source audited; ``paper``: against that paper only.

    Raises:
        RedistillError: the runs contradict themselves (a seed twice), or name claims that do not exist.
    """
    found, nothing = bearings(evidence, paper)
    return Audit(evidence, tuple(unknown(evidence)), tuple(settled(evidence)), tuple(tested(evidence)), tuple(found), tuple(nothing))


def unknown(evidence: Evidence) -> list[str]:
    """What these runs do not say."""
    runs, lines = evidence.runs, []
    if evidence.source.commit is None:
        lines.append("from which commit these runs are (give --source OWNER/NAME@COMMIT)")
    if (none := sum(run.seed is None for run in runs)) > 0:
        lines.append(f"the seed of {none} of {len(runs)} runs")
    if (none := sum(run.epochs is None for run in runs)) > 0:
        lines.append(f"how many epochs {none} of {len(runs)} runs had")
    if (none := sum(run.last is None for run in runs)) > 0:
        lines.append(f"the last epoch of {none} of {len(runs)} runs")
    if (none := sum(run.best is None for run in runs)) > 0:
        lines.append(f"the best epoch of {none} of {len(runs)} runs")
    distilled = [run for run in runs if run.teacher]
    hashed = any("sha256" in teacher for teacher in evidence.teachers)
    if distilled and evidence.store is None and not hashed and not any("teacher" in key for run in distilled for key in run.extra):
        known = " (its name and accuracy are)" if evidence.teachers else ""
        lines.append(f"which weights the teacher of {len(distilled)} runs had{known}")
    if evidence.store is None:
        lines.append("whether equal seeds share first weights and the order of images: differences are judged unpaired")
    return lines


def finding_sentence(finding: Finding) -> str:
    """A finding in a sentence that does not call other people's runs ours."""
    return _theirs(sentence(finding))


def _theirs(text: str) -> str:
    """What the judge says of runs, where they are other people's."""
    for ours, theirs in (
        (r"\bours is\b", "these runs are of"), (r" seeds of ours\b", " seeds"), (r"; ours\b", "; these runs"),
        (r": ours\b", ": these runs give"),
        (r"\bours\b", "these runs"),
    ):  # fmt: skip
        text = re.sub(ours, theirs, text)
    return text


# ---------------------------------------------------------------------------------------------------------------------
# As a page
# ---------------------------------------------------------------------------------------------------------------------
def page(one: Audit, level: int = 1) -> str:
    """Markdown."""
    evidence, source = one.evidence, one.evidence.source
    head, sub = "#" * level, "#" * (level + 1)
    lines = [f"{head} {evidence.name}", ""]
    whose = f"Runs of {source.words}, {evidence.kind}"
    stated = f"; licence as stated there: {source.licence}" if source.licence else ""
    lines += [f"{whose}{f', read on {source.read}' if source.read else ''}{stated}. {counted(len(evidence.runs), 'run')}.", ""]
    if source.how:
        lines += [f"How they were read: {source.how}.", ""]
    if evidence.notes:
        lines += ["Recognised in reading:", "", *(f"- {text}" for text in evidence.notes), ""]
    if one.unknown:
        lines += ["Not known: " + "; ".join(one.unknown) + ".", ""]
    if one.bearings:
        lines += [f"{sub} Claims that these runs bear on", ""]
        for bearing in one.bearings:
            lines += _bearing(bearing)
    if one.facts:
        lines += [f"{sub} What the logs settle", "", *(f"- {fact.text}" for fact in one.facts), ""]
        for fact in one.facts:
            if fact.about == "published":
                lines += _published(fact)
    if one.tests:
        lines += [f"{sub} Reported significance, from the runs", "", *_tests(one.tests), ""]
    if one.nothing:
        lines += [f"{sub} Bearing on no claim", "", *(f"- {text}" for text in one.nothing), ""]
    if evidence.caveats:
        lines += [f"{sub} What the reader of these runs wrote down", "", *(f"- {text}" for text in evidence.caveats), ""]
    if evidence.problems:
        lines += [f"{sub} Not read", "", *(f"- {text}" for text in evidence.problems), ""]
    return "\n".join(lines).rstrip() + "\n"


def _bearing(bearing: Bearing) -> list[str]:
    variant = f", {bearing.variant}" if bearing.variant else ""
    lines = [f"**{bearing.paper}, table {bearing.table}** (runs of {bearing.whose}{variant})", ""]
    if bearing.findings:
        lines += table(bearing), ""
        lines += [f"- {_theirs(text)}" for text in sentences([finding for finding in bearing.findings if finding.reading is not None])]
        if bearing.summary is not None and any(finding.reading is not None for finding in bearing.findings):
            every, said = sum(bearing.summary.counts.values()), summary_sentences(bearing.summary)
            if every != len(bearing.findings):  # of a second combination of settings only what differs is listed
                said[0] = (
                    f"These are {len(bearing.findings)} of {counted(every, 'claim')}; the others rest on the same runs as above and stand "
                    "there. Counted together:"
                )
            lines += [f"- {text}" for text in said]
    lines += [f"- {text}" for text in (*bearing.apart, *bearing.rules)]
    return [*lines, ""]


def table(bearing: Bearing) -> str:
    """The findings of a table, one a line."""
    lines = ["| claim | printed | these runs | runs | difference [interval] | verdict |", "|---|--:|--:|--:|--:|---|"]
    for finding in bearing.findings:
        claim, reading = finding.claim, finding.reading
        runs = [bearing.arms[cell] for cell in claim.cells if cell in bearing.arms]
        printed = "" if claim.claimed is None else f"{claim.claimed:+.2f}" if claim.baseline else f"{claim.claimed:.2f}"
        if reading is not None:
            value = f"{reading.ours.value:+.2f}" if claim.baseline else f"{reading.ours.value:.2f}"
            # an order has no difference to the paper: its sign decides
            interval = "" if reading.interval is None or reading.difference is None or claim.kind == "order" else (
                f"{reading.difference:+.2f} [{', '.join(end_words(claim, end) for end in reading.interval)}]")  # fmt: skip
        else:
            single = [mine[0].last for mine in runs if len(mine) == 1]
            one = len(claim.cells) == 1 and len(single) == 1 and single[0] is not None
            value, interval = (f"{single[0]:.2f}" if one else ""), ""
        behind = reading.ours.n if reading is not None and not runs else min(len(bearing.runs_of(cell)) for cell in claim.cells)
        lines.append(bars((claim.id, printed, value, behind, interval, verdict_words(finding))))
    return "\n".join(lines)


def _published(fact: Fact) -> list[str]:
    lines = ["| published | of | last | best | epochs | is | read in |", "|--:|---|--:|--:|--:|---|---|"]
    for row in fact.rows:
        last, best = (f"{row[name]:.2f}" if row[name] is not None else "" for name in ("last", "best"))
        part = f" (run {row['part']})" if row["part"] else ""
        lines.append(bars((f"{row['published']:g}", row["of"], last, best, row["epochs"] or "", row["is"], f"{row['where'] or ''}{part}")))
    return [*lines, ""]


def _tests(tests: Sequence[Tested]) -> list[str]:
    lines = ["| comparison | reported | called | from the runs | their test | after Holm |", "|---|--:|---|--:|--:|--:|"]
    for one in tests:
        called = "" if one.significant is None else "significant" if one.significant else "not significant"
        if one.gain is None or one.theirs is None or one.ours is None:
            lines.append(bars((one.of, "" if one.difference is None else f"{one.difference:+.2f}", called, one.note, "", "")))
            continue
        reported = "" if one.difference is None else f"{one.difference:+.2f}"
        lines.append(bars((one.of, reported, called, one.recomputed, *(f"p = {p_words(p)}" for p in (one.theirs, one.ours)))))
    changed = sum(one.significant is True and one.ours is not None and one.ours >= 0.05 for one in tests)
    counted = [one for one in tests if one.ours is not None]
    lines += [
        "",
        f"Holm's family are the {len(counted)} comparisons of this list. Reported as significant and not below 0.05 after Holm: {changed}.",
    ]
    return lines


# ---------------------------------------------------------------------------------------------------------------------
# As data
# ---------------------------------------------------------------------------------------------------------------------
def rows(one: Audit) -> dict[str, Any]:
    """JSON, numbers to 6 decimals."""
    evidence = one.evidence
    made = {
        "name": evidence.name, "kind": evidence.kind, "source": asdict(evidence.source), "runs": len(evidence.runs),
        "said": list(evidence.notes),
        "unknown": list(one.unknown), "findings": [row for bearing in one.bearings for row in finding_rows(bearing)],
        "apart": [text for bearing in one.bearings for text in bearing.apart],
        "settled": [{"about": f.about, "text": f.text, "rows": [dict(row) for row in f.rows]} for f in one.facts],
        "significance": [
            {"of": t.of, "reported": t.difference, "significant": t.significant, "gain": None if t.gain is None else t.gain.value,
             "p": t.theirs, "p_holm": t.ours, "note": t.note} for t in one.tests],
        "no_claim": list(one.nothing), "caveats": list(evidence.caveats), "problems": list(evidence.problems),
    }  # fmt: skip
    short: dict[str, Any] = _short(made)
    return short


def _short(value: Any) -> Any:
    """With every number to 6 decimals: more would differ between versions of numpy. A setting that is no number is a word, as JSON has
    none for it."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {name: _short(inner) for name, inner in value.items()}
    return [_short(inner) for inner in value] if isinstance(value, list | tuple) else value


def finding_rows(bearing: Bearing) -> list[dict[str, Any]]:
    made = []
    for finding in bearing.findings:
        reading, claim = finding.reading, finding.claim
        cells = [bearing.runs_of(cell) for cell in claim.cells]
        runs = [run for cell in cells for run in cell]
        made.append(
            {
                "paper": bearing.paper, "table": bearing.table, "claim": claim.id, "kind": claim.kind, "whose": bearing.whose,
                "settings": bearing.variant,
                "verdict": finding.verdict, "printed": claim.claimed, "value": None if reading is None else reading.ours.value,
                "each": [len(cell) for cell in cells], "runs": [place for place, _ in runs], "seeds": [seed for _, seed in runs],
                "difference": finding.difference,
                "interval": None if finding.interval is None else list(finding.interval),
                "level": None if reading is None or reading.interval is None else reading.level, "p": finding.p, "epoch": finding.epoch,
                "tolerance": claim.tolerance, "sentence": finding_sentence(finding),
            }
        )  # fmt: skip
    return made


def _names(audits: Sequence[Audit]) -> list[str]:
    """What the pages of audits are called: two files of one name are two pages."""
    seen: Counter[str] = Counter()
    made = []
    for one in audits:
        name = re.sub(r"[^\w.-]+", "-", one.evidence.name) or "evidence"
        seen[name] += 1
        made.append(name if seen[name] == 1 else f"{name}-{seen[name]}")
    return made


def side_by_side(audits: Sequence[Audit]) -> str:
    """Claims that more than one source, or file of one, bears on, each in its own line; "" where there is none. Nothing is pooled."""
    by_claim: dict[tuple[str, str, str], list[tuple[str, Bearing, Finding]]] = {}
    for page_of, one in zip(_names(audits), audits, strict=True):
        for bearing in one.bearings:
            for finding in bearing.findings:
                by_claim.setdefault((bearing.paper, bearing.table, finding.claim.id), []).append((page_of, bearing, finding))
    shared = {key: them for key, them in by_claim.items() if len({(page_of, bearing.whose) for page_of, bearing, _ in them}) > 1}
    if not shared:
        return ""
    lines = [
        "# Side by side",
        "",
        "Evidence of unlike sources is never pooled.",
        "",
        "| claim | whose runs | these runs | verdict |",
        "|---|---|--:|---|",
    ]
    for (paper, name, claim), them in shared.items():
        pages: dict[str, set[str]] = {}
        for page_of, bearing, _ in them:
            pages.setdefault(bearing.whose, set()).add(page_of)
        for page_of, bearing, finding in them:
            runs = [bearing.arms[cell] for cell in finding.claim.cells if cell in bearing.arms]
            value = "" if finding.reading is None else f"{finding.reading.ours.value:.2f}"
            if finding.reading is None and len(runs) == 1 and len(runs[0]) == 1 and runs[0][0].last is not None:
                value = f"{runs[0][0].last:.2f}"
            variant = f", {bearing.variant}" if bearing.variant else ""
            file = f" ({page_of})" if len(pages[bearing.whose]) > 1 else ""
            lines.append(bars((f"{paper} {name}: {claim}", f"{bearing.whose}{file}{variant}", value, verdict_words(finding))))
    return "\n".join(lines) + "\n"


def save(audits: Sequence[Audit], folder: Path) -> list[Path]:
    """``NAME.md`` and ``NAME.json`` of each source (``NAME-2`` of a second one), ``findings.csv`` and, where sources meet,
    ``side-by-side.md``.

    Raises:
        RedistillError: a file of such a name is there that no audit has written, the evidence itself for example.
    """
    names = _names(audits)
    for name, proof in (*((f"{name}{end}", f"{name}.json") for name in names for end in (".json", ".md")), ("findings.csv",) * 2):
        if files.there(folder / name) and not is_audit(folder / proof):
            raise RedistillError(f"{folder / name} is there, and no audit has written it: give another folder, --to {folder / 'audit'}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []

    def write(name: str, text: str) -> None:
        files.write(folder / name, text.encode())
        written.append(folder / name)

    for name, one in zip(names, audits, strict=True):
        write(f"{name}.json", json.dumps(rows(one), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        write(f"{name}.md", page(one))
    listed = [row for one in audits for bearing in one.bearings for row in finding_rows(bearing)]
    if listed:
        text = io.StringIO()
        writer = csv.DictWriter(text, FINDINGS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_short(listed))
        write("findings.csv", text.getvalue())
    if both := side_by_side(audits):
        write("side-by-side.md", both)
    return written

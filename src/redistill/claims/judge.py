"""From runs to findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from redistill.claims.alike import told
from redistill.claims.living import in_words, may_be, possible
from redistill.claims.model import Claim, Design, Epoch, Finding, Measured, Pool, Reading, Summary, Verdict, Which
from redistill.claims.published_file import judge_file
from redistill.claims.scatter import Blocks, Print, blocks, pooled, printed
from redistill.claims.view import ALPHA, MOST, View, deciding
from redistill.claims.words import LIVED, p_words, widest
from redistill.errors import RedistillError
from redistill.stats import NOTHING, VarianceComponent, holm

Runs = Mapping[str, Sequence[Measured]]


def judge(claim: Claim, runs: Runs, pool: Pool | None = None) -> Finding:
    """One claim alone: with its own spread (or ``pool``), its p-value not adjusted.

    Args:
        runs: cell -> its runs. A cell that is not there is *not attempted*; one with fewer runs than planned *pending*.
    """
    around = _Around() if pool is None else _Around({("last", ""): pool, ("best_on_test", ""): pool})
    seen = _look(claim, runs, around)
    return _decide(seen, seen.p, 1)


def judge_table(
    claims: Sequence[Claim], runs: Runs, regimes: Mapping[str, str] | None = None, company: Sequence[Claim] = ()
) -> tuple[list[Finding], Summary]:
    """All claims of a table: spread pooled over its cells, Holm over its claims of gain and order.

    Claims of gain and order that wait for runs count in Holm's family with p = 1, so that a verdict given early is not
    taken back when the others come in.

    Args:
        regimes: cell -> its regime, as known before the runs (method family and images a class); only cells of one regime
            lend each other their spread. Cells that are not named are of one regime.
        company: the table's other claims, of which nothing is returned: a verdict is the same whichever of them are looked at.
    """
    every = (*claims, *company)
    twice = [name for name, count in Counter(claim.id for claim in every).items() if count > 1]
    if twice:
        raise RedistillError(f"two claims of the table are named {twice[0]!r}: a finding is known by its claim's id")
    around = _surroundings(every, runs, regimes or {})
    seen = [_look(claim, runs, around) for claim in every]
    family = [s for s in seen if s.finding.claim.kind in ("gain", "order") and s.finding.verdict != "not attempted"]
    p = holm([1.0 if s.p is None else s.p for s in family])
    adjusted = {s.finding.claim.id: value for s, value in zip(family, p, strict=True)}
    decided = (_decide(s, adjusted.get(s.finding.claim.id), max(1, len(family))) for s in seen[: len(claims)])
    findings = [told(found, every) for found in decided]
    sized = sum(
        found.claim.kind in ("value", "gain") and found.reading is not None and found.verdict != "disputed" for found in findings
    )
    looked = {found.epoch for found in findings}
    return findings, Summary(
        counts=Counter(found.verdict for found in findings),
        judged=sized,
        expected_false=ALPHA * sized,
        holm={found.claim.id: found.p for found in findings if found.p is not None},
        pools={
            epoch: made
            for epoch, cells in around.cells.items()
            if epoch in looked and (made := around.pools.get((epoch, "")) or pooled(cells))
        },
        regimes={key: made for key, made in around.pools.items() if key[0] in looked},
    )


def pool(runs: Runs, epoch: Epoch = "last") -> Pool | None:
    """The spread common to all cells, from runs that are neither stale nor dead; None where no cell has two."""
    return pooled(_cells(_lived(runs, epoch), epoch))


@dataclass(frozen=True)
class _Around:
    """What the other cells of a table say about one.

    Attributes:
        pools: by epoch and regime. regimes: cell -> regime. cells: epoch -> cell -> seed -> percent, of runs that did not diverge:
            a network that guesses says nothing of a spread. theirs: variance of one of the paper's runs, for numbers that print a
            spread.
    """

    pools: Mapping[tuple[Which, str], Pool] = field(default_factory=dict)
    regimes: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[Epoch, Mapping[str, Mapping[int, float]]] = field(default_factory=dict)
    theirs: Mapping[Print, VarianceComponent] = field(default_factory=dict)
    made: dict[tuple[Epoch, tuple[int, ...]], Blocks | None] = field(default_factory=dict)

    def pools_of(self, claim: Claim, epoch: Epoch) -> dict[str, Pool]:
        known = {cell: self.pools.get((epoch, self.regimes.get(cell, ""))) for cell in claim.cells}
        return {cell: made for cell, made in known.items() if made is not None}

    def blocks(self, numbers: Mapping[str, Mapping[int, float]], epoch: Epoch) -> Blocks | None:
        """The layout of the cells that have the seeds which these two have in common."""
        first, second = numbers.values()
        seeds = tuple(seed for seed in first if seed in second)
        if (epoch, seeds) not in self.made:
            self.made[epoch, seeds] = blocks(self.cells.get(epoch, {}), seeds)
        found = self.made[epoch, seeds]
        return found


def _surroundings(claims: Sequence[Claim], runs: Runs, regimes: Mapping[str, str]) -> _Around:
    cells = {epoch: _cells(_lived(runs, epoch), epoch) for epoch in get_args(Epoch)}
    pools: dict[tuple[Which, str], Pool] = {}
    for epoch, known in cells.items():
        for regime in dict.fromkeys(regimes.get(cell, "") for cell in known):
            made = pooled({cell: values for cell, values in known.items() if regimes.get(cell, "") == regime})
            if made is not None:
                pools[epoch, regime] = made
    theirs: dict[Print, VarianceComponent] = {}
    values = [claim for claim in claims if claim.kind == "value" and claim.published is not None]
    for regime in dict.fromkeys(regimes.get(claim.cell, "") for claim in values):
        theirs |= printed([(c.cell, c.published) for c in values if c.published and regimes.get(c.cell, "") == regime])
    return _Around(pools, regimes, cells, theirs)


def _cells(runs: Runs, epoch: Epoch) -> dict[str, dict[int, float]]:
    return {cell: values for cell, measured in runs.items() if (values := _values(cell, measured, epoch))}


def _lived(runs: Runs, epoch: Epoch) -> Runs:
    """Without the runs that diverged, at the last epoch: at the best one they stand for what they reached."""
    return runs if epoch != "last" else {cell: [run for run in measured if not run.diverged] for cell, measured in runs.items()}


# ---------------------------------------------------------------------------------------------------------------------
# Is there something to judge, and which numbers
# ---------------------------------------------------------------------------------------------------------------------
def _values(cell: str, measured: Sequence[Measured], epoch: Epoch) -> dict[int, float] | None:
    """seed -> percent of the runs that are not stale; None where some have no such number."""
    fresh = [run for run in measured if not run.stale]
    twice = [seed for seed, count in Counter(run.seed for run in fresh).items() if count > 1]
    if twice:
        raise RedistillError(f"cell {cell!r} holds seed {twice[0]} twice: give one run a seed")
    if epoch == "last":
        return {run.seed: run.last for run in fresh}
    best = {run.seed: run.best_on_test for run in fresh if run.best_on_test is not None}
    return best if len(best) == len(fresh) else None


def _numbers(claim: Claim, runs: Runs, epoch: Epoch) -> dict[str, dict[int, float]] | None:
    numbers = {cell: _values(cell, runs.get(cell, ()), epoch) for cell in claim.cells}
    known = {cell: values for cell, values in numbers.items() if values is not None}
    return known if len(known) == len(numbers) else None


def _behind(claim: Claim, numbers: Mapping[str, Mapping[int, float]]) -> int:
    """How many runs stand behind our number, or pairs of one seed where nothing else is compared."""
    if claim.decides == "paired":
        return len(set.intersection(*map(set, numbers.values())))
    return min(map(len, numbers.values()))


def _epoch(claim: Claim, runs: Runs) -> Epoch:
    """The epoch of our numbers: like the paper's where that is known and measured, else the last."""
    like = claim.compare or ("best_on_test" if claim.published and claim.published.which == "best_on_test" else "last")
    return "last" if like == "last" or _numbers(claim, runs, like) is None else "best_on_test"


def _waiting(claim: Claim, runs: Runs) -> tuple[Verdict, str] | None:
    """Why there is nothing to judge yet, or None."""
    missing = [cell for cell in claim.cells if cell not in runs]
    if missing:
        return "not attempted", f"no runs of {missing[0]}"
    need = 1 if claim.kind == "checkpoint" else claim.seeds
    fresh = [set(_values(cell, runs[cell], "last") or ()) for cell in claim.cells]
    both = claim.decides in ("paired", "blocked")
    count = len(set.intersection(*fresh)) if both else min(map(len, fresh))
    if claim.looks:  # between two looks nobody looks
        need = next((look for look in claim.looks if look >= count), claim.looks[-1])
    absent = [seed for seed in claim.needs if any(seed not in seeds for seeds in fresh)]
    if count >= need and not absent:
        return None
    stale = sum(run.stale for cell in claim.cells for run in runs[cell])
    if stale:
        return "stale", f"{stale} of its runs from before something changed that moves the numbers: run again"
    if count >= need:
        which = f"seed{'s' if len(absent) > 1 else ''} {', '.join(map(str, absent))}"
        return "pending", f"{which} planned or begun and not there: every one counts, whatever the others say"
    return "pending", f"{count} of {need} seeds{' in both cells' if both else ''} so far"


def _require_percent(claim: Claim, runs: Runs) -> None:
    """Refuse accuracies as fractions beside a printed percentage: they would be *below*, by a hundred times what they are.

    Told by their being the printed number when taken times 100, to a fifth of it, since accuracies below 1 % are possible; below 10 %
    nothing is asked, and what is printed as a fraction is compared with fractions.
    """
    for cell, number in zip(claim.cells, (claim.published, claim.published_baseline), strict=False):
        if number is None or number.value < 10 or (cell == claim.cell and claim.baseline and claim.published_baseline is None):
            continue
        lasts = [run.last for run in runs[cell] if not (run.stale or run.diverged)]
        if lasts and all(0 < last < 1 for last in lasts) and abs(100 * sum(lasts) / len(lasts) - number.value) < number.value / 5:
            raise RedistillError(
                f"cell {cell!r}: its runs end at {', '.join(f'{last:g}' for last in lasts[:3])}, and {number.value:g} is printed: "
                f"these are fractions, and Measured takes percent: give {100 * lasts[0]:g} for {lasts[0]:g}"
            )


def mismatch(claim: Claim, epoch: Which) -> str:
    """Where the paper's epoch is another than ours, in words; "" where they are alike."""
    words = {
        "last": "the last epoch",
        "best_on_test": "the best epoch on the test set",
        "best_on_validation": "an epoch chosen on validation images",
        "at_step": "a step that it names",
        "unknown": "an epoch that it does not name",
    }
    printed = [p.which for p in (claim.published, claim.published_baseline) if p is not None and p.which != "none"]
    theirs = " and ".join(words[which] for which in dict.fromkeys(printed))
    ours = "an epoch that is not stated" if epoch == "unknown" else words[epoch]
    return f"the paper reports {theirs}, ours is {ours}" if any(which != epoch for which in printed) else ""


# ---------------------------------------------------------------------------------------------------------------------
# Judging
# ---------------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Examined:
    """A claim looked at, before the other claims of its table have their say.

    Attributes:
        view: by which it is decided; None where nothing is. p: of its difference, tested alone. may: the verdicts that it can get
            where some of its seeds diverged, besides *unclear*; None: all.
    """

    finding: Finding
    view: View | None = None
    p: float | None = None
    may: frozenset[Verdict] | None = None

    def settled(self, verdict: Verdict) -> Verdict:
        return verdict if self.may is None or verdict in self.may else "unclear"


def _look(claim: Claim, runs: Runs, around: _Around) -> _Examined:
    waiting = _waiting(claim, runs)
    if waiting is not None:
        return _Examined(Finding(claim, waiting[0], note=waiting[1]))
    _require_percent(claim, runs)
    if claim.kind == "checkpoint":
        return _Examined(judge_file(claim, runs[claim.cell]))
    epoch = _epoch(claim, runs)
    unlike = mismatch(claim, epoch)
    numbers = _numbers(claim, runs, epoch)
    assert numbers is not None
    if _behind(claim, numbers) < 2:
        note = "no verdict from one seed"
        return _Examined(Finding(claim, "unclear", epoch=epoch, more_seeds=2, mismatch=unlike, note=note))
    diverged = {cell: sum(run.diverged for run in runs[cell] if not run.stale) for cell in claim.cells if epoch == "last"}
    dead = frozenset(cell for cell, count in diverged.items() if count == len(numbers[cell]))
    hurt = frozenset(cell for cell, count in diverged.items() if count)
    view, layout = _view(claim, numbers, around, epoch, dead, by_itself=bool(hurt - dead))
    reading = view.reading(_name(view))
    best = _numbers(claim, runs, "best_on_test") if epoch == "last" else None
    notes, others = _notes(view), _others(view, layout, best)
    found = Finding(claim, reading.verdict, reading, others, epoch, mismatch=unlike, note="; ".join(notes))
    if not hurt:
        return _Examined(found, view, reading.p)
    words = [f"{diverged[cell]} of {len(numbers[cell])} seeds{f' of {cell}' if len(numbers) > 1 else ''} diverged" for cell in sorted(hurt)]
    lived = _numbers(claim, _lived(runs, epoch), epoch)
    assert lived is not None
    return _by_the_living(replace(found, note="; ".join([*notes, *words])), view, lived, around, hurt)


def _by_the_living(
    found: Finding, view: View, lived: Mapping[str, Mapping[int, float]], around: _Around, hurt: frozenset[str]
) -> _Examined:
    """What can be shown where seeds of some cells (``hurt``) diverged.

    A cell with dead networks comes to no more than its others do, so these can show that it comes to less than is printed, and nothing
    else; nor does one that has dead networks alone. view: of all seeds, which decides where fewer than two lived.
    """
    claim, p = found.claim, found.reading.p if found.reading else None
    may = may_be(claim, hurt)
    words = [f"so that nothing but {next(iter(may))} can be shown" if may else "so that nothing can be shown"]
    if hurt == view.dead:
        return _Examined(replace(found, note=", ".join([found.note, *words])), view, p, may)
    found = replace(found, reading=possible(found))
    if _behind(claim, lived) > 1:
        view, _ = _view(claim, lived, around, "last")
        reading = view.reading(LIVED)
        found, p = replace(found, others=(reading, *found.others)), reading.p
        words.append(f"by the seeds that lived: {in_words(reading.ours)}")
    elif may:
        words.append("and that takes two that lived")
    return _Examined(replace(found, note=", ".join([found.note, *words])), view, p, may)


def _view(
    claim: Claim,
    numbers: Mapping[str, Mapping[int, float]],
    around: _Around,
    epoch: Epoch,
    dead: frozenset[str] = frozenset(),
    *,
    by_itself: bool = False,
) -> tuple[View, Blocks | None]:
    """How a claim is looked at, and the blocks of its table. dead: cells of which every run diverged. by_itself: without what other
    cells lend."""
    layout = around.blocks(numbers, epoch) if len(numbers) == 2 and not by_itself else None
    design = _design(claim, layout)
    pools = {} if by_itself else around.pools_of(claim, epoch)
    return View(claim, numbers, pools, design, claim.published, layout if design == "blocked" else None, around.theirs, dead), layout


def _design(claim: Claim, layout: Blocks | None) -> Design | None:
    """Blocked where a table is there to make blocks of; two cells alone are compared by their means."""
    return "unpaired" if claim.decides == "blocked" and layout is None else claim.decides


def _notes(view: View) -> list[str]:
    """What a reader must know about spreads and seeds."""
    claim, notes = view.claim, []
    for cell in claim.cells:
        pool = view.pools.get(cell)
        if view.design in ("paired", "blocked") or pool is None:
            continue
        if cell in pool.left and pool.p is not None:
            notes.append(f"spreads differ among the cells ({p_words(pool.p)}): {cell} is judged by its own")
        elif cell in pool.apart:
            notes.append(f"{cell} scatters more than the others, be it by chance: its own spread decides")
    if view.design == "blocked" and view.blocks is not None and (wide := [c for c in claim.cells if c in view.blocks.own]):
        they, its = ("scatters", "its") if len(wide) == 1 else ("scatter", "their")
        notes.append(f"{' and '.join(wide)} {they} more than the others, be it by chance: judged by {its} own spread")
    still = [cell for cell, x in zip(claim.cells, view.columns(), strict=True) if float(x.max() - x.min()) < NOTHING]
    for cell in (cell for cell in still if cell not in view.dead):  # nobody wonders that dead networks guess alike
        end = ", so nothing can be said" if view.still() else ""
        notes.append(f"all {len(view.numbers[cell])} seeds of {cell} gave the same number: do they do anything?{end}")
    if view.n() > claim.seeds and not claim.looks:
        notes.append(f"{view.n()} seeds instead of the {claim.seeds} planned")
    if claim.looks:
        notes.append(f"look at {view.n()} of {', '.join(map(str, claim.looks))} seeds, each at {100 * deciding(claim):.2f} %")
    return notes


def _name(view: View) -> str:
    if view.design == "paired":
        return "own spread, paired"
    lone = view.blocks.own if view.design == "blocked" and view.blocks is not None else None
    own = [cell for cell in view.claim.cells if (view.own(cell) if lone is None else cell in lone)]
    spread = "own spread" if len(own) == len(view.claim.cells) else "own and pooled spread" if own else "pooled spread"
    return ", ".join([spread, *([view.design] if view.design else [])])


def _others(view: View, layout: Blocks | None, best: Mapping[str, Mapping[int, float]] | None) -> tuple[Reading, ...]:
    """The same claim with the other spread, the other designs, our best epoch where the paper names none."""
    claim, published, others = view.claim, view.claim.published, []
    alone = replace(view, pools={}, theirs={})
    if view.pools and view.design not in ("paired", "blocked"):
        lent = {cell: replace(p, left=frozenset(), apart=frozenset()) for cell, p in view.pools.items()}
        others.append(alone if not all(view.own(cell) for cell in claim.cells) else replace(view, pools=lent))
    if claim.decides is not None:
        median = published is not None and published.aggregate == "median"
        designs: tuple[Design, ...] = ("paired", "unpaired", "blocked")
        for turned in designs:
            fits = turned == "unpaired" or (not median and len(view.pairs()) > 1 and (turned == "paired" or layout is not None))
            if turned != view.design and fits:
                others.append(replace(view, design=turned, blocks=layout if turned == "blocked" else None))
    readings = [other.reading(_name(other)) for other in others]
    if published is not None and published.which not in get_args(Epoch) and best is not None:
        other = replace(alone, numbers=best, design=view.design if view.design != "blocked" else "unpaired", blocks=None)
        readings.append(other.reading(f"{_name(other)}, our best epoch on the test set"))
    return tuple(readings)


def _decide(seen: _Examined, p: float | None, family: int) -> Finding:
    """The verdict with the adjusted p-value of its difference."""
    found, view = seen.finding, seen.view
    if view is None:
        return found
    verdict, more, bound, notes = seen.settled(view.verdict(p)), None, None, [found.note] if found.note else []
    against = [replace(view, published=n).reading(f"against {n.value:.{n.decimals}f}", p) for n in found.claim.contradicting]
    against = [replace(reading, verdict=seen.settled(reading.verdict)) for reading in against]
    if any(reading.verdict != verdict for reading in against):
        assert found.reading is not None
        found, verdict = replace(found, reading=replace(found.reading, verdict=verdict)), "disputed"
    elif against:
        notes.append(f"printed otherwise too ({', '.join(r.what.removeprefix('against ') for r in against)}): the same verdict")
    if verdict == "compatible":
        assert found.interval is not None
        bound = widest(found.interval)
        if found.claim.reach is None:
            notes.append(f"not even {MOST} seeds of ours would settle ±{found.claim.tolerance:g}: print and seeds scatter too much")
    elif verdict == "unclear" and not view.still() and seen.may is None:
        more = view.more_seeds(family)
        if more is None:
            notes.append(f"not even 1000 more seeds of ours would settle it: ±{view.half_width(1000):.2f} stays open")
    others = (*found.others, *against)
    return replace(found, verdict=verdict, others=others, p=p, more_seeds=more, bound=bound, note="; ".join(notes))

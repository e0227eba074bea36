"""Verdicts: a published number beside our runs, judged by a rule that was written down before they ran.

A claim of value or gain is *reproduced* when the 94 % interval of (ours - paper's) lies inside its tolerance (two
one-sided tests at 3 %, which keep 5 % where results are skewed too), *above* or *below* when it lies wholly outside, *unclear*
otherwise, and *compatible* within a stated bound where no affordable number of seeds could settle it. A claim of order is reproduced
when our difference has the claimed sign at 5 % after Holm, *below* when it has the other one. A published file that is
evaluated (*checkpoint*) has no seeds: equal to the printed digits or not. What these rules really do at three and five
seeds is measured in ``docs/verdicts.md``.

Everything here speaks the unit of our runs, percent of test images classified correctly; error rates are turned into
accuracies where a paper is read (100 - error: the spread stays, an order turns round).

Knows neither the files of papers nor run folders, and never waits for torch.
"""

from __future__ import annotations

from redistill.claims.judge import judge, judge_table, pool
from redistill.claims.model import Claim, Finding, Measured, Pool, Published, Reading, Summary, Verdict
from redistill.claims.view import ALPHA
from redistill.claims.words import sentence, sentences, summary_sentences, verdict_words
from redistill.errors import counted

__all__ = [
    "ALPHA",
    "Claim",
    "Finding",
    "Measured",
    "Pool",
    "Published",
    "Reading",
    "Summary",
    "Verdict",
    "counted",
    "judge",
    "judge_table",
    "pool",
    "sentence",
    "sentences",
    "summary_sentences",
    "verdict_words",
]

"""What a plan says of power, beside what the judge does; and the command that says it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import redistill.cli.papers  # noqa: F401  it adds its commands to app
from redistill.claims import Claim, Measured, Published, judge_table
from redistill.cli import app
from redistill.errors import RedistillError
from redistill.papers.load import load
from redistill.papers.plan import listed, make, select
from redistill.report import power
from redistill.verdicts.expected import Expected, Power

TIMES = 250


def settled(kind: str, sd: float, seeds: int, cells: int, gain: float = 0.0) -> float:
    """How often the judge calls the first of ``cells`` claims reproduced, every one exactly true."""
    rng, count = np.random.default_rng([seeds, cells, round(100 * sd)]), 0
    for _ in range(TIMES):
        ours = 80 + sd * rng.normal(size=(cells, seeds))
        theirs = 80 + sd * rng.normal(size=(cells, 3)).mean(axis=1)
        ours[0] += gain
        runs = {str(c): [Measured(s, float(x)) for s, x in enumerate(row)] for c, row in enumerate(ours)}
        printed = [Published(round(float(x), 2), None, 3, None, "last", "mean") for x in theirs]
        claims = [Claim(str(c), "value", str(c), number, seeds=seeds) for c, number in enumerate(printed)]
        if kind == "order":
            claims = [Claim("order", "order", "0", baseline="1", decides="unpaired", seeds=seeds), *claims[2:]]
        count += judge_table(claims, runs)[0][0].verdict == "reproduced"
    return count / TIMES


@pytest.mark.parametrize(("sd", "seeds", "cells"), [(0.2, 3, 6), (0.2, 5, 6), (0.2, 10, 1), (0.3, 10, 6)])
def test_the_chance_of_a_value_is_what_the_judge_does(sd: float, seeds: int, cells: int) -> None:
    claim = Claim("c", "value", "0", Published(80.0, None, 3, None, "last", "mean"))
    chosen = Power(claim, (Expected(sd, ""),), cells, 0).power_of(seeds)
    assert chosen == pytest.approx(settled("value", sd, seeds, cells), abs=0.12)


def test_the_chance_of_an_order_is_what_the_judge_does() -> None:
    claim = Claim("o", "order", "0", Published(80.4), "1", Published(80.0), "unpaired")
    chosen = Power(claim, (Expected(0.2, ""), Expected(0.2, "")), 1, 1)
    assert chosen.power_of(3) == pytest.approx(settled("order", 0.2, 3, 2, gain=0.4), abs=0.12)
    assert chosen.power_of(2) < chosen.power_of(3) < chosen.power_of(5) and chosen.power_of(1) == 0.0
    seeds = chosen.settled()
    assert seeds is not None and chosen.power_of(seeds) >= 0.8 > chosen.power_of(seeds - 1)


def test_a_print_too_uncertain_is_settled_by_no_number_of_seeds() -> None:
    claim = Claim("c", "value", "0", Published(80.0, 0.6, 3, 0, "last", "mean"))
    one = Power(claim, (Expected(0.5, ""),), 6, 0)
    assert one.settled() is None and one.power_of(1000) < 0.5
    assert one.within(10) > one.within(1000) > 0.5  # what is left of the interval is the print's


def test_the_command_says_what_can_be_settled_and_runs_nothing() -> None:
    words = ["plan", "tian2020", "--table", "same", "--only", "KD,CRD", "--power", "--device", "cpu"]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0
    pattern = r"21 claims\..*: (\d+) with 3 seeds, (\d+) with 5 seeds, (\d+) with 10 seeds\."
    counts = re.fullmatch(pattern, ended.stdout.splitlines()[0])
    assert counts is not None and 0 < int(counts[1]) < int(counts[2]) <= int(counts[3]) == 21
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["same"]
    first = found[0]
    assert first["claim"] == "KD / wrn-40-2 -> wrn-16-2" and set(first["chance"]) == {"3", "5", "10"}
    assert first["chance"]["3"] < first["chance"]["5"] < first["chance"]["10"] and first["settled_by"] > 5
    assert not any("Teacher" in row["claim"] for row in found)
    none = CliRunner().invoke(app, ["plan", "kth2019", "--table", "2", "--power", "--device", "cpu"])
    assert none.exit_code == 0 and "there is nothing to reckon" in none.stdout
    plain = CliRunner().invoke(app, [*words[:-3], "--rows", "KD", "--columns", "vgg13 -> vgg8", "--device", "cpu"])
    assert plain.stdout.splitlines()[-1].startswith("cells 1 experiments ")


def test_published_files_are_not_a_matter_of_seeds() -> None:
    paper = load("he2016")
    [several] = power.powers(make(paper, select(paper), device="cpu")).values()
    assert len(several) == 10 and not any(one.claim.kind == "checkpoint" for one in several)


def test_several_names_in_one_text() -> None:
    paper = load("ahn2019")
    assert {c.facts["method"] for c in select(paper, ["1,tf"], ["KD, FitNet"])} == {"KD", "FitNet"}
    assert {c.facts["method"] for c in select(paper, only=["VID, three maps"])} == {"VID, three maps"}  # a name with a comma is one
    assert [c.id for c in select(paper, ["table1"], ["KD"], columns=["2 %,10 %"])] == ["ahn2019:1:KD:10 %", "ahn2019:1:KD:2 %"]
    assert listed(["a,,b,"], []) == ["a", "b"] and listed([""], ["a"]) == [""]
    with pytest.raises(RedistillError, match=r"unknown method 'FitNot': did you mean FitNet"):
        select(paper, ["1"], ["KD,FitNot"])
    with pytest.raises(RedistillError, match="unknown method ''"):
        select(paper, ["1"], [""])
    with pytest.raises(RedistillError, match="unknown table of ahn2019 '9'"):
        select(paper, ["1,9"])

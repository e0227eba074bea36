"""Claims before runs: what a plan says, what stands in the store, and that no choice of seeds made afterwards moves a verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import redistill.cli.papers  # noqa: F401  it adds its commands to app
from helpers.finished_runs import begun, finished
from redistill import papers
from redistill.claims.model import SIDE
from redistill.cli import app
from redistill.cli.planning import allowance_of
from redistill.errors import RedistillError
from redistill.experiment.value import Experiment
from redistill.launch import rates
from redistill.papers.plan import Plan, make, select
from redistill.report.rule_text import lines, rows
from redistill.runs.store import Store
from redistill.stats import pocock
from redistill.verdicts.claims import claimed_order, claims_of, tables_of
from redistill.verdicts.rules import place, write_rules
from redistill.verdicts.tables import judged

MICAELLI = papers.load("micaelli2019")


def plan(seeds: tuple[int, ...] = (0, 1, 2), only: str = "zero-shot", **how: Any) -> Plan:
    return make(MICAELLI, select(MICAELLI, ["1"], rows=["WRN-40-2, WRN-16-2"], only=[only]), seeds=seeds, device="cpu", **how)


def experiment(of: Plan) -> Experiment:
    one = of.cells[0].experiment
    assert one is not None
    return one


def test_claims_are_made_before_anything_runs() -> None:
    made = claims_of(make(MICAELLI, select(MICAELLI, ["1"]), device="cpu"))
    assert list(made) == ["1"]
    kinds = [claim.kind for claim in made["1"]]
    assert kinds.count("value") == 16 and kinds.count("order") == 3  # where the paper's own spreads show one
    reach = {claim.id: claim.reach for claim in made["1"] if claim.kind == "value"}
    assert reach["WRN-16-2, WRN-16-1 / teacher alone"] is True and reach["WRN-16-2, WRN-16-1 / zero-shot"] is False


def test_every_finished_seed_counts_whichever_a_report_asks_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, value in enumerate((87.9, 89.68, 89.74)):
        finished(store, experiment(plan()).with_seed(seed), value)
    found = {seeds: judged(plan(seeds), store)[0].findings[0] for seeds in ((0, 1, 2), (1, 2))}
    assert found[0, 1, 2].interval == found[1, 2].interval and found[1, 2].verdict == found[0, 1, 2].verdict == "compatible"
    assert "3 seeds instead of the 2 planned" in found[1, 2].note


def test_a_begun_seed_is_waited_for_and_a_diverged_one_counts(tmp_path: Path) -> None:
    store, one = Store(tmp_path), experiment(plan(only="KD+AT"))
    for seed, value in enumerate((86.3, 86.4, 86.45)):
        finished(store, one.with_seed(seed), value)
    begun(store, one.with_seed(3))
    [table] = judged(plan(only="KD+AT"), store)
    assert table.findings[0].verdict == "pending"
    assert table.findings[0].note == (
        "seed 3 planned or begun and not there: every one counts, whatever the others say; seed 3 was begun and is not finished"
    )
    other = Store(tmp_path / "other")
    for seed, value in enumerate((86.3, 86.4, 10.0)):
        finished(other, one.with_seed(seed), value, diverged="NaN at step 5" if value == 10.0 else None)
    [table] = judged(plan(only="KD+AT"), other)
    assert table.findings[0].ours is not None and table.findings[0].ours.n == 3
    assert "seed 2 diverged and counts" in table.findings[0].note


def test_the_rule_that_was_written_first_is_the_one_that_counts(tmp_path: Path) -> None:
    store, first = Store(tmp_path), plan(unit=6.0)
    assert write_rules(first, store) == 1 and write_rules(plan(), store) == 0  # never written again
    [claim] = [c for c in claims_of(first)["1"] if c.kind == "value"]
    stored = json.loads((tmp_path / place("micaelli2019", "1", claim)).read_text(encoding="utf-8"))
    assert stored["rule"]["tolerance"] == claim.tolerance > 0.5 and stored["planned"] == [0, 1, 2] and stored["late"] == []
    finished(store, experiment(plan()).with_seed(1), 89.7)
    finished(store, experiment(plan()).with_seed(2), 89.7)
    [table] = judged(plan((1, 2)), store)  # tolerance and seeds of the rule, not of this report
    assert table.findings[0].claim.tolerance == claim.tolerance and table.findings[0].claim.needs == (0, 1, 2)
    assert table.findings[0].verdict == "pending"
    assert table.rules[0].startswith("The rule of 1 claim was written before its first run")
    [table] = judged(plan((1, 2)), Store(tmp_path / "none"))
    assert table.rules[0].startswith("For 1 claim no rule stands in the store: the paper file's of today is used")


def test_a_rule_from_before_the_level_was_a_choice_keeps_its_level(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_rules(plan(), store)
    for seed, value in enumerate((87.9, 89.68, 89.74)):
        finished(store, experiment(plan()).with_seed(seed), value)
    [file] = tmp_path.glob("rules/micaelli2019/1/*.json")
    rule = json.loads(file.read_text(encoding="utf-8"))
    assert rule["rule"]["side"] == SIDE == 0.03
    now = judged(plan(), store)[0].findings[0]
    del rule["rule"]["side"]
    file.write_text(json.dumps(rule), encoding="utf-8")
    then = judged(plan(), store)[0].findings[0]
    assert now.reading is not None and then.reading is not None and (now.reading.level, then.reading.level) == (0.94, 0.9)
    assert now.interval is not None and then.interval is not None and now.interval[1] > then.interval[1]


def test_a_rule_written_after_runs_says_so_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finished(store, experiment(plan()).with_seed(0), 89.7)
    write_rules(plan(), store)
    [file] = tmp_path.glob("rules/micaelli2019/1/*.json")
    assert json.loads(file.read_text(encoding="utf-8"))["late"] == [0]
    assert "Of 1 claim the rule was written when some runs were there already." in judged(plan(), store)[0].rules
    file.write_text("{", encoding="utf-8")
    with pytest.raises(RedistillError, match="is damaged: it is no rule"):
        judged(plan(), store)


def test_a_plan_says_the_rule_and_its_chance_and_more_seeds_never_make_it_worse() -> None:
    whole = make(MICAELLI, select(MICAELLI, ["1"]), device="cpu")
    [table] = tables_of(whole)
    text = "\n".join(lines(whole))
    assert "WRN-16-2, WRN-16-1 / teacher alone: within ±0.5 of 93.97; 3 seeds, last epoch; chance " in text
    assert "no number of seeds settles it: compatible, ± about " in text
    for claim in (c for c in table.claims if c.kind == "value"):
        power = table.power(claim)
        assert power is not None
        chances = [power.power_of(n) for n in (3, 5, 10, 30)]
        assert chances == sorted(chances) and 0 <= chances[0] <= chances[-1] <= 1
        needed = power.settled()
        assert needed is None or power.power_of(needed) >= 0.8 > power.power_of(needed - 1) or needed == 2
    assert {row["reach"] for row in rows(whole)["1"] if row["kind"] == "value"} == {True, False}


def test_a_teacher_a_seed_is_a_switch_of_the_plan_and_tables_say_which_teacher(tmp_path: Path) -> None:
    one, each, allowed = plan(), plan(teachers_each=True), plan(allowance=0.2)
    assert experiment(one).teacher is not None and experiment(one).teacher.seed == 0  # type: ignore[union-attr]
    assert experiment(each).teacher.seed == "same" and experiment(each).cell != experiment(one).cell  # type: ignore[union-attr]
    assert experiment(allowed).cell == experiment(one).cell
    assert {len(p.teachers) for p in (one, each)} == {1, 3}
    claim = {name: claims_of(p)["1"][0] for name, p in (("one", one), ("each", each), ("allowed", allowed))}
    number = {name: c.published for name, c in claim.items()}
    assert number["one"] is not None and number["one"].teachers is None and number["one"].spread is not None
    # the paper's runs share a teacher: their spread does not hold what another would add
    assert number["each"] is not None and number["each"].teachers == 1 and number["each"].spread is None
    assert claim["allowed"].allowance == 0.2
    last_rule = {name: judged(p, Store(tmp_path))[0].rules[-1] for name, p in (("one", one), ("each", each), ("allowed", allowed))}
    assert last_rule["one"].startswith("With this teacher: all seeds of these cells learn from one network")
    assert last_rule["each"].startswith("Every seed has a teacher of its own")
    assert "differ by ±0.2 points" in last_rule["allowed"]
    with pytest.raises(RedistillError, match="none where every seed has its own teacher"):
        plan(teachers_each=True, allowance=0.1)
    for odd in ("-0.2", "nan", "inf", "some"):
        with pytest.raises(RedistillError, match=f"--teachers '{odd}': write paper"):
            allowance_of(odd)


def test_a_table_says_which_allowance_its_rules_have_and_not_which_one_a_report_is_asked_for(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_rules(plan(allowance=0.2), store)
    asked_otherwise, asked_alike = judged(plan(), store)[0], judged(plan(allowance=0.2), store)[0]
    assert {table.findings[0].claim.allowance for table in (asked_otherwise, asked_alike)} == {0.2}
    assert asked_otherwise.rules == asked_alike.rules and "differ by ±0.2 points" in asked_otherwise.rules[-1]
    write_rules(plan(), other := Store(tmp_path / "other"))
    [table] = judged(plan(allowance=0.2), other)
    assert table.findings[0].claim.allowance == 0.0 and table.rules[-1].startswith("With this teacher")


def test_a_number_that_is_another_than_when_its_rule_was_written_is_told(tmp_path: Path) -> None:
    """A paper file may be corrected, or another one have its name: the rule stays, and says for which number it was made."""
    store = Store(tmp_path)
    write_rules(plan(), store)
    assert not [rule for rule in judged(plan(), store)[0].rules if "printed number" in rule]
    [file] = tmp_path.glob("rules/micaelli2019/1/*.json")
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert stored["printed"] == 89.71
    file.write_text(json.dumps(stored | {"printed": 86.9}), encoding="utf-8")
    [told] = [rule for rule in judged(plan(), store)[0].rules if "printed number" in rule]
    assert "was written for the printed number 86.9, the paper file has 89.71 now" in told
    del stored["printed"]
    file.write_text(json.dumps(stored), encoding="utf-8")  # of an earlier version
    assert not [rule for rule in judged(plan(), store)[0].rules if "printed number" in rule]


@pytest.mark.parametrize("lost", ["rule", "planned", "late", "written"])
def test_a_rule_with_a_part_lost_is_refused_in_a_sentence(tmp_path: Path, lost: str) -> None:
    store = Store(tmp_path)
    write_rules(plan(), store)
    [file] = tmp_path.glob("rules/micaelli2019/1/*.json")
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text(encoding="utf-8")).items() if k != lost}), encoding="utf-8")
    with pytest.raises(RedistillError, match=f"is incomplete \\('{lost}'\\): restore its file, or delete it"):
        judged(plan(), store)


def test_a_table_speaks_of_a_teacher_only_where_its_students_ran(tmp_path: Path) -> None:
    paper = papers.load("ahn2019")
    made = make(paper, select(paper, ["1"], columns=["2 %"], rows=["Student", "KD"]), device="cpu")
    alone, distilled = (p.experiment for p in made.cells)
    assert alone is not None and distilled is not None
    finished(Store(tmp_path), alone, 56.0)
    assert not [rule for rule in judged(made, Store(tmp_path))[0].rules if "With this teacher" in rule]
    finished(Store(tmp_path), distilled, 58.0)
    assert [rule for rule in judged(made, Store(tmp_path))[0].rules if "With this teacher" in rule]


def test_seeds_auto_looks_at_numbers_fixed_before_each_at_a_stricter_level(tmp_path: Path) -> None:
    looks = plan(looks=(3, 5, 10))
    assert claims_of(looks)["1"][0].looks == (3, 5, 10) and pocock((3, 5, 10), SIDE) < 0.015
    store = Store(tmp_path)
    write_rules(looks, store)
    for seed in range(4):
        finished(store, experiment(looks).with_seed(seed), 89.7 + 0.01 * seed)
    [table] = judged(looks, store)
    assert (table.findings[0].verdict, table.findings[0].note) == ("pending", "4 of 5 seeds so far")


def test_orders_are_claimed_where_the_paper_claims_them() -> None:
    from redistill.claims import Published

    def number(value: float, std: float | None = None) -> Published:
        return Published(value, std, 3, 0 if std is not None else None, "last", "mean")

    assert claimed_order(number(84.0, 0.2), number(80.0, 0.2)) == 1 and claimed_order(number(80.0, 0.2), number(84.0, 0.2)) == -1
    assert claimed_order(number(84.0, 2.0), number(83.0, 2.0)) == 0  # inside its own spread
    assert claimed_order(number(84.0), number(83.0)) == 1 and claimed_order(number(83.0), number(84.0)) == 0
    assert claimed_order(number(93.85), number(93.84)) == 0  # a hundredth


def test_the_command_prints_rules_and_writes_nothing_when_it_only_plans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "rate", lambda device="auto", precision="strict": 1e10)
    given = ["reproduce", "micaelli2019", "--table", "1", "--rows", "WRN-40-2, WRN-16-2", "--only", "zero-shot", "--device", "cpu",
             "--dry-run", "--out", str(tmp_path)]  # fmt: skip
    ended = CliRunner().invoke(app, given)
    assert ended.exit_code == 0 and "zero-shot: within ±0.5 of 89.71; 3 seeds, last epoch; chance" in ended.stdout
    auto = CliRunner().invoke(app, [*given, "--seeds", "auto", "--teachers", "0.2", "--json"])
    claim = json.loads(auto.stdout)["claims"]["1"][0]
    assert claim["looks"] == [3, 5, 10] and claim["level"] == pocock((3, 5, 10), SIDE) and not list(tmp_path.iterdir())
    wrong = CliRunner().invoke(app, [*given, "--teachers", "all"])
    assert wrong.exit_code != 0 and "write paper (as the paper has them), each" in str(wrong.exception)

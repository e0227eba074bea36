from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, Optional

import numpy as np
import pytest
import torch

from redistill.core import Batch, Method, Output, Ramp, RedistillError, Term, nearest, pairs_of
from redistill.core.kinds import declared
from redistill.terms import ALL, CE, DKD, KD, MLKD, NKD, OFA, OFD, VID, DeiT, FitNet, Review, by_name


def test_methods_print_as_they_are_written() -> None:
    method = 0.1 * CE() + 0.9 * KD(T=2.0)
    assert repr(method) == "0.1 * CE() + 0.9 * KD(T=2.0)"
    assert repr(CE() + 0.9 * KD()) == "CE() + 0.9 * KD()"
    assert repr(2 * (CE() + KD())) == "2.0 * CE() + 2.0 * KD()"
    assert repr(sum([CE(), KD()])) == "CE() + KD()"
    assert (CE() + CE(smoothing=0.1)).names == ("CE", "CE.2")


def test_the_loss_is_the_weighted_sum() -> None:
    s, t, y = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.eye(4, 3), torch.tensor([0, 1, 2, 0])
    batch = Batch(s, labels=y)
    got = (0.1 * CE() + 0.9 * KD()).loss(Output(s), Output(t), batch)
    want = 0.1 * CE()(Output(s), None, batch) + 0.9 * KD()(Output(s), Output(t), batch)
    assert float(got) == pytest.approx(float(want), rel=1e-7)


def test_a_weight_that_changes_is_told_what_time_it_is() -> None:
    """In a loop of one's own, where nobody said it, a ramp stayed what it is in the first epoch: a term with weight 0 for ever."""
    s, t = torch.zeros(4, 3), torch.eye(4, 3)
    told: dict[str, int] = {}
    for unit in ("epoch", "step"):
        method = CE() + 2.0 * Ramp(0, 4, unit=unit) * KD()  # type: ignore[arg-type]
        with pytest.raises(RedistillError, match=rf"the weight of KD\(\) changes from {unit} to {unit}: method.loss\(..., {unit}={unit}\)"):
            method.loss(Output(s), Output(t), Batch(s, labels=torch.zeros(4, dtype=torch.int64)), **told)
        told = {unit: 2}
        batch = Batch(s, labels=torch.zeros(4, dtype=torch.int64))
        want = CE()(Output(s), None, batch) + 1.0 * KD()(Output(s), Output(t), batch)
        assert float(method.loss(Output(s), Output(t), batch, **told)) == pytest.approx(float(want))


def test_ramps() -> None:
    warm = 5.0 * Ramp(0, 20)
    assert [warm.at(epoch=e, step=0) for e in (0, 1, 20, 99)] == [0.0, 0.25, 5.0, 5.0]
    table = (CE() + (5.0 * Ramp(0, 2)) * KD()).weight_table(6, 2)
    assert [table[step] for step in range(6)] == [[1, 0], [1, 0], [1, 2.5], [1, 2.5], [1, 5], [1, 5]]
    assert len(table.rows) == 3 and len((CE() + KD()).weight_table(100_000, 400).rows) == 1
    fitnets = Ramp(0, 500, first=4.0, last=1.0)
    assert fitnets.at(epoch=250, step=0) == 2.5
    assert [Ramp(2, 4, unit="step").at(epoch=0, step=s) for s in range(6)] == [0, 0, 0, 0.5, 1, 1]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: float("inf") * CE(), "must be finite"),
        (lambda: Method([]), "at least one term"),
        (lambda: Method([("0.1", CE())]), "must be a number or a Ramp"),
        (lambda: Method.of("KD"), "expected a method such as"),
        (lambda: Ramp(3, 3), "end must come after the start"),
        (lambda: KD(T=0), "temperature must be above 0"),
        (lambda: KD(reduction="mean"), "known are 'batch' and 'element'"),
        (lambda: CE(smoothing=1.0), r"must lie in \[0, 1\)"),
        (lambda: by_name("KDD"), "unknown term 'KDD': did you mean KD"),
        (lambda: pairs_of([("a", "b", "c")]), "every entry is a place"),
        (lambda: pairs_of([]), "names no place"),
        (lambda: pairs_of({"stage1": "layer1"}), "a dict names no places; give a place"),  # type: ignore[arg-type]
        (lambda: pairs_of(5), "a int names no places"),  # type: ignore[arg-type]
        (lambda: pairs_of([5]), "every entry is a place"),  # type: ignore[list-item]
        (lambda: OFA(at={"stage1"}), "names places of the student alone"),  # type: ignore[arg-type]
        (lambda: DeiT(at=3), "names two heads of the student"),  # type: ignore[arg-type]
        (lambda: OFD(norms=3), "names batch norms of the teacher"),  # type: ignore[arg-type]
        (lambda: Ramp("0", 20), r"Ramp\(start='0'\): must be a number"),  # type: ignore[arg-type]
        (lambda: Ramp(0, 20, last=True), r"Ramp\(last=True\): must be a number"),
        (lambda: KD(temperature=4), "KD: unknown setting 'temperature': here it is called T"),  # type: ignore[call-arg]
        (Term, "a Term is one formula: make one of redistill.terms"),
        (lambda: KD(alpha=0.9), r"KD has no setting 'alpha': a weight stands before a term, 0.9 \* KD\(\)"),  # type: ignore[call-arg]
        (lambda: FitNet(layers="stage2"), "unknown setting 'layers': here it is called at"),  # type: ignore[call-arg]
        (lambda: KD(T="4"), "must be a number, got a str"),  # type: ignore[arg-type]
        (lambda: KD(scale_T2="no"), "must be True or False, got a str"),  # type: ignore[arg-type]
        (lambda: VID(mid=2.5), "must be a whole number or None, got a float"),  # type: ignore[arg-type]
        (lambda: VID(init_log_scale="5"), "must be a number or None, got a str"),  # type: ignore[arg-type]
        (lambda: MLKD(temperatures=4.0), "must be a list of numbers, got a float"),  # type: ignore[arg-type]
        (lambda: MLKD(temperatures=(4.0, "3")), "must be a list of numbers, got a tuple"),  # type: ignore[arg-type]
        (lambda: Review(levels=4), "must be a list, cells a side"),  # type: ignore[arg-type]
        (lambda: FitNet(factor=float("nan")), "must be finite"),
    ],
)
def test_bad_values_are_sentences(make, says: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RedistillError, match=says):
        make()


def test_label_free_batches_say_who_asked() -> None:
    with pytest.raises(RedistillError, match="CE needs labels, but this batch has none"):
        CE()(Output(torch.zeros(2, 3)), None, Batch(torch.zeros(2, 1, 8, 8)))


def test_numbers_of_numpy_are_settings_like_any() -> None:
    term = MLKD(temperatures=(np.float32(4), np.int64(2)), slip=np.int64(1), standardise=np.bool_(True), views=1)  # type: ignore[arg-type]
    plain = MLKD(temperatures=(4.0, 2.0), slip=1, standardise=True, views=1)
    assert repr(term) == repr(plain) and term.settings() == plain.settings()
    assert [type(value) for value in term.settings().values()] == [type(value) for value in plain.settings().values()]


def test_every_number_and_switch_of_every_term_is_told_apart_from_a_text() -> None:
    for cls in ALL:
        for name in declared(cls).keys() & {field.name for field in fields(cls)}:  # type: ignore[arg-type]
            with pytest.raises(RedistillError, match=rf"{cls.__name__}\({name}='x'\): must be "):
                cls(**{name: "x"})


OWN = """
class Own(Term):
    mid: int | None = None
    other: Optional[int] = None
    both: float | str = "auto"
"""


@pytest.mark.parametrize("future", ["", "from __future__ import annotations"])
def test_a_term_of_ones_own_may_declare_a_number_or_none(future: str) -> None:
    """As in a notebook, whose cells have no ``from __future__ import annotations``."""
    own: dict[str, Any] = {"Term": Term, "Optional": Optional, "__name__": __name__}
    exec(compile(future + OWN, "cell", "exec", dont_inherit=True), own)
    made = own["Own"]
    assert repr(made(mid=3, both="x")) == "Own(mid=3, both='x')" and made(other=None).settings()["other"] is None
    with pytest.raises(RedistillError, match=r"Own\(mid='3'\): must be a whole number or None"):
        made(mid="3")


@pytest.mark.parametrize("make", [CE, DKD, NKD, lambda: DeiT(at=["logits", "logits"])])
def test_labels_are_whole_numbers_of_either_length_and_classes(make: Callable[[], Term]) -> None:
    z = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels, term = torch.tensor([0, 1, 2, 0]), make()
    assert torch.equal(*(term(Output(z), Output(-z), Batch(z, labels=y)) for y in (labels, labels.int())))
    with pytest.raises(RedistillError, match="labels run from 0 to 7, and logits of 3 classes"):
        term(Output(z), Output(-z), Batch(z, labels=torch.tensor([0, 1, 7, 0])))


def test_shapes_that_differ_are_told_with_both() -> None:
    x = torch.zeros(2, 1, 8, 8)
    with pytest.raises(RedistillError, match=r"student logits have shape \(2, 3\), the teacher's \(2, 5\)"):
        KD()(Output(torch.zeros(2, 3)), Output(torch.zeros(2, 5)), Batch(x))
    with pytest.raises(RedistillError, match="5 labels for 2 rows"):
        CE()(Output(torch.zeros(2, 3)), None, Batch(x, labels=torch.zeros(5, dtype=torch.int64)))


def test_a_method_without_teacher_says_so() -> None:
    with pytest.raises(RedistillError, match="KD compares with a teacher, but there is none"):
        (CE() + KD())(Output(torch.zeros(2, 3)), None, Batch(torch.zeros(2, 1), labels=torch.tensor([0, 1])))


def test_nearest_lists_all_when_nothing_is_near() -> None:
    assert nearest("zzz", ["a", "b"], "thing") == "unknown thing 'zzz': known are a, b"

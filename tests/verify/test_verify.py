"""Golden numbers: ours and the authors' pass, anything moved fails, anything unknown is not supported."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import make_golden
from redistill.core import RedistillError
from redistill.verify import Verdict, report, verify, verify_case
from redistill.verify.compare import compare, relative_error, row_error
from redistill.verify.losses import METHODS
from redistill.verify.reader import Case, NotSupported, checksum, closed_entry, closed_form, fill_closed, probes

OWN = Path(__file__).parents[1] / "golden"
CASES = sorted(path.stem for path in (OWN / "losses").glob("*.json"))


@pytest.mark.parametrize("name", CASES)
def test_our_own_numbers_pass(name: str) -> None:
    verdict = verify_case(OWN / "losses" / f"{name}.json")
    assert (verdict.outcome, verdict.reason) == ("pass", "")
    assert verdict.error is not None and verdict.error < 1e-13


def test_our_own_numbers_are_those_of_the_slow_formulas() -> None:
    made = {sidecar["id"]: (sidecar, arrays) for sidecar, arrays in make_golden.cases()}
    assert sorted(made) == CASES, "run: python tests/make_golden.py"
    for name, (sidecar, arrays) in made.items():
        file = OWN / "losses" / f"{name}.json"
        stored = json.loads(file.read_text(encoding="utf-8"))
        assert stored["hyperparameters"] == sidecar["hyperparameters"] and stored["arrays"] == sidecar["arrays"]
        with np.load(file.with_suffix(".npz")) as opened:
            for array, value in arrays.items():
                np.testing.assert_allclose(opened[array], value, rtol=1e-12, atol=1e-14, err_msg=f"{name} {array}")


def test_every_loss_of_the_authors_that_we_claim_passes(shared: Path) -> None:
    verdicts = {v.case: v for v in verify(shared / "golden" / "losses")}
    methods = {p.stem: json.loads(p.read_text())["method"] for p in (shared / "golden" / "losses").glob("*.json")}
    claimed = {f"losses/{name}" for name, method in methods.items() if method in METHODS}
    assert len(claimed) >= 23
    assert {v.case for v in verdicts.values() if v.outcome == "pass"} >= claimed
    assert not [v.line() for v in verdicts.values() if v.outcome == "fail"]
    assert all((v.error or 0) < 1e-12 for v in verdicts.values() if v.case in claimed)


def test_the_closed_form_rule_is_the_readers(shared: Path) -> None:
    spec = importlib.util.spec_from_file_location("read_golden", shared / "golden" / "read_golden.py")
    assert spec is not None and spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    for tag, shape, salt in ((0, (), 0), (7, (3, 4), 100), (99, (2, 3, 5), 0), (20_000, (2, 3, 32, 32), 300)):
        assert np.array_equal(closed_form(tag, shape, salt), theirs.closed_form(tag, shape, salt))
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(3, 2)).double()
    fill_closed(net, salt=200)
    want = theirs.fill_state([(n, tuple(v.shape)) for n, v in net.state_dict().items()], 200)
    assert all(np.array_equal(v.numpy(), want[n]) for n, v in net.state_dict().items())
    values = closed_form(3, (5, 7))
    assert np.array_equal(checksum(values), theirs.checksum(values))
    assert np.array_equal(probes(values), values.reshape(-1)[theirs.probe_indices(35)])


def test_the_closed_form_rule_by_hand() -> None:
    assert closed_form(0, (1,)).tolist() == [(2 * (314159 + 271828 + 141421) + 1 - 1000003) / 1000003]
    k = (314159 * 9 + 271828 * 3 * 106 + 141421 * 106 * 106) % 1000003
    assert closed_form(5, (3,), salt=100)[2] == (2 * k + 1 - 1000003) / 1000003
    kinds = {"a.running_mean": 0.1, "a.running_var": 0.5, "a.bias": 0.1, "a.weight": 0.25}
    for name, scale in kinds.items():
        centre = {"a.running_var": 1.0, "a.weight": 0.75}.get(name, 0.0)
        np.testing.assert_allclose(closed_entry(4, name, (6,)), centre + scale * closed_form(4, (6,)))
    np.testing.assert_allclose(closed_entry(4, "a.weight", (2, 3)), 2**0.5 * closed_form(4, (2, 3)))
    assert closed_entry(4, "a.num_batches_tracked", ()).tolist() == 0
    assert probes(np.arange(8.0)).tolist() == list(range(8)) and probes(np.arange(71.0)).tolist() == list(range(0, 71, 10))


# -- a case with something changed -------------------------------------------------------------------------------------
Change = Callable[[dict[str, Any], dict[str, Any]], None]


def changed(tmp_path: Path, name: str, change: Change) -> Verdict:
    """The verdict on a copy of one of our cases after ``change(sidecar, arrays)``."""
    folder = tmp_path / "losses"
    folder.mkdir(exist_ok=True)
    sidecar = json.loads((OWN / "losses" / f"{name}.json").read_text(encoding="utf-8"))
    with np.load(OWN / "losses" / f"{name}.npz") as opened:
        arrays = {n: opened[n].copy() for n in opened.files}
    change(sidecar, arrays)
    sidecar["arrays"] = {n: {"shape": list(v.shape), "dtype": str(v.dtype)} for n, v in arrays.items()}
    (folder / f"{name}.json").write_text(json.dumps(sidecar), encoding="utf-8")
    np.savez(folder / f"{name}.npz", **arrays)
    return verify_case(folder / f"{name}.json")


@pytest.mark.parametrize("name", CASES)
def test_one_input_a_millionth_larger_fails(name: str, tmp_path: Path) -> None:
    def nudge(sidecar: dict[str, Any], arrays: dict[str, Any]) -> None:
        inputs = sorted(n for n, v in arrays.items() if n.startswith("in/") and v.dtype.kind == "f" and "cotangent" not in n)
        arrays[inputs[0]] = arrays[inputs[0]].astype(np.float64) * (1 + 1e-6)

    verdict = changed(tmp_path, name, nudge)
    assert verdict.outcome == "fail" and verdict.error is not None and verdict.error > 1e-10


@pytest.mark.parametrize("name", CASES)
def test_every_expected_number_is_compared(name: str, tmp_path: Path) -> None:
    with np.load(OWN / "losses" / f"{name}.npz") as opened:
        expected = [n for n in opened.files if n.startswith(("out/", "grad/", "after/"))]
    zero = set(json.loads((OWN / "losses" / f"{name}.json").read_text()).get("zero_gradients", []))
    for array in expected:
        if array.removeprefix("grad/") in zero:
            continue

        def nudge(sidecar: dict[str, Any], arrays: dict[str, Any], array: str = array) -> None:
            arrays[array] = arrays[array] * (1 + 1e-9) + (1e-9 if "grad" in array else 0.0)

        verdict = changed(tmp_path, name, nudge)
        assert (verdict.outcome, verdict.reason) == ("fail", array)


def _set(where: str, key: str, value: Any) -> Change:
    return lambda sidecar, arrays: sidecar[where].update({key: value})


def _add(array: str) -> Change:
    return lambda sidecar, arrays: arrays.update({array: np.ones(2, dtype=np.float32)})


OUT_4 = _set("hyperparameters", "out_channel", 4)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("kd__T3", _set("hyperparameters", "reverse", True), "hyperparameter reverse is unknown"),
        ("kd__T3", _set("hyperparameters", "T", "4"), 'hyperparameter T = "4" is unknown'),
        ("kd__T3", _set("hyperparameters", "T", -1.0), "hyperparameter T = -1.0 is unknown"),
        ("kd__T3", lambda s, a: s["hyperparameters"].pop("T"), "hyperparameter T is missing"),
        ("kd__T3", _set("conventions", "reduction", "sum"), 'convention reduction = "sum" is unknown'),
        ("kd__T3", _set("conventions", "teacher_temperature", 2), "convention teacher_temperature is unknown"),
        ("kd__T3", lambda s, a: s.update(method="kd2"), "method kd2 is not computed"),
        ("kd__T3", lambda s, a: s.update(group="speech"), "group speech is not computed"),
        ("kd__T3", _add("in/weights"), "in/weights is not used by our formula"),
        ("kd_zagoruyko__T2", lambda s, a: a.pop("in/labels"), "the case has no in/labels"),
        ("zskt_student__T2", _set("hyperparameters", "n_classes", 5), "n_classes = 5, but the logits have 4"),
        ("at__p3_pooled", _set("conventions", "squared", "no"), 'convention squared = "no" is unknown'),
        ("at__p3_pooled", _set("hyperparameters", "p", 1.5), "hyperparameter p = 1.5 is unknown"),
        ("extra_m_seed__half", _set("hyperparameters", "b", 1000), "hyperparameter b = 1000 is unknown"),
        ("vid__teacher_larger", _set("hyperparameters", "bias", True), "hyperparameter bias is unknown"),
        ("vid__teacher_larger", lambda s, a: s.update(module_mode="fp8"), 'module_mode = "fp8" is unknown'),
        ("fitnet__teacher_twice", _add("param/bn2.weight"), "state bn2.weight is only in the case"),
        ("fitnet__teacher_twice", lambda s, a: a.pop("param/conv.bias"), "state conv.bias is only in our module"),
        ("fitnet__teacher_twice", _set("hyperparameters", "use_relu", 1), "hyperparameter use_relu = 1 is unknown"),
        ("abf__resized", _set("hyperparameters", "shape", 4), "shape = 4, but x has [3, 3]"),
        ("abf__resized", OUT_4, "param/conv2.0.weight has shape [3, 2, 3, 3], ours [4, 2, 3, 3]"),
        ("hcl__levels_6_3_1", _set("hyperparameters", "levels", [4, 0]), "hyperparameter levels = [4, 0] is unknown"),
    ],
)  # fmt: skip
def test_what_we_do_not_know_is_not_supported(name: str, change: Change, reason: str, tmp_path: Path) -> None:
    verdict = changed(tmp_path, name, change)
    assert (verdict.outcome, verdict.reason) == ("not supported", reason)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        # a setting we know is followed: the numbers then differ
        ("kd__T3", _set("hyperparameters", "T", 2.0), None),
        ("kd__T3", _set("conventions", "T2_factor", False), None),
        ("fitnet__teacher_twice", _set("hyperparameters", "use_relu", True), None),
        # shapes that do not fit fail this case, not the run
        ("hcl__levels_6_3_1", lambda s, a: a.update({"in/teacher_feat0": a["in/teacher_feat0"][:1]}), None),
        ("kd_zagoruyko__T2", lambda s, a: a.update({"in/labels": np.array([0, 9, 1])}), None),
        # what we do not compute is not passed over
        ("kd__T3", _add("out/entropy"), "out/entropy"),
        ("kd__T3", _add("grad/in/temperature"), "grad/in/temperature"),
        ("kd__T3", _set("expected_parts", "part_entropy", 1.0), "expected_parts part_entropy"),
        ("kd__T3", lambda s, a: s.update(expected_loss=1.0), "expected_loss"),
        ("kd__T3", lambda s, a: s.update(tolerances={}), "the sidecar gives no float64 tolerance"),
        ("kd__T3", lambda s, a: s.update(tolerances=None), "the sidecar gives no float64 tolerance"),
        ("kd__T3", lambda s, a: s["tolerances"].update(float64="x"),
         "not the sidecar of a case: TypeError float64 of tolerances is no table"),
        # a number that is none is no agreement
        ("kd__T3", lambda s, a: s.update(expected_loss=float("nan")), "expected_loss is NaN, expected a finite number"),
        ("kd__T3", lambda s, a: s.update(expected_loss="0.5"), 'expected_loss is "0.5", expected a finite number'),
        ("kd__T3", _set("expected_parts", "loss", float("nan")), "expected_parts loss is NaN, expected a finite number"),
        ("kd__T3", lambda s, a: a["out/loss"].fill(np.nan), "out/loss is not finite"),
        ("kd__T3", lambda s, a: a["in/student_logits"].fill(np.nan), "in/student_logits is not finite"),
        # an analytic zero is measured against the other gradients
        ("fitnet__teacher_twice", lambda s, a: s.update(grad_scale=1e-30), "grad/param/conv.bias"),
        ("fitnet__teacher_twice", lambda s, a: s.pop("grad_scale"), "zero_gradients needs a grad_scale above 0"),
    ],
)
def test_what_is_wrong_fails(name: str, change: Change, reason: str | None, tmp_path: Path) -> None:
    verdict = changed(tmp_path, name, change)
    assert verdict.outcome == "fail"
    assert reason is None or verdict.reason == reason


def test_modes_are_followed(tmp_path: Path) -> None:
    def in_eval(sidecar: dict[str, Any], arrays: dict[str, Any]) -> None:
        sidecar["module_mode"] = "eval"

    assert changed(tmp_path, "abf__resized", in_eval).outcome == "fail"  # running statistics give other numbers


def test_damaged_cases_fail_and_say_why(tmp_path: Path) -> None:
    folder = tmp_path / "losses"
    folder.mkdir()
    shutil.copy(OWN / "losses" / "kd__T3.json", folder)
    assert verify_case(folder / "kd__T3.json").line() == "losses/kd__T3  slow.py@own  kd__T3.npz is missing  -  fail"
    (folder / "kd__T3.npz").write_bytes(b"PK\x03\x04 nothing")
    assert "kd__T3.npz cannot be read" in verify_case(folder / "kd__T3.json").reason
    (folder / "broken.json").write_text("{", encoding="utf-8")
    assert verify_case(folder / "broken.json").reason.startswith("not the sidecar of a case: JSONDecodeError")
    (folder / "other.json").write_text('{"id": "x"}', encoding="utf-8")
    assert verify_case(folder / "other.json").reason == "not the sidecar of a case: KeyError 'group'"
    shutil.copy(OWN / "losses" / "kd__T3.npz", folder)
    sidecar = json.loads((folder / "kd__T3.json").read_text(encoding="utf-8"))
    sidecar["arrays"]["out/loss"]["shape"] = [1]
    (folder / "kd__T3.json").write_text(json.dumps(sidecar), encoding="utf-8")
    assert verify_case(folder / "kd__T3.json").reason == "out/loss has shape [], the sidecar says [1]"


def test_the_report_is_one_plain_line_a_case_and_the_totals(tmp_path: Path) -> None:
    shutil.copytree(OWN / "losses", tmp_path / "losses")
    written: list[str] = []
    assert report(tmp_path, written.append) == 0
    assert written[-1] == f"{len(CASES)} pass  0 fail  0 not supported"
    assert len(written) == len(CASES) + 1 and not any("\n" in line or len(line.split("  ")) != 5 for line in written[:-1])
    assert written[0].startswith("losses/abf__resized  slow.py@own  ") and written[0].endswith("  1e-10  pass")

    sidecar = json.loads((tmp_path / "losses" / "kd__T3.json").read_text(encoding="utf-8"))
    long = "https://github.com/someone/" + 150 * "long"
    sources = [{"repo": long, "commit": "0123456789"}, {"repo": long, "commit": "0123456"}, {"repo": "b/c", "commit": "99"}]
    sidecar |= {"method": "kd3", "source": sources}
    (tmp_path / "losses" / "kd__T3.json").write_text(json.dumps(sidecar), encoding="utf-8")
    written.clear()
    assert report(tmp_path, written.append) == 0  # not supported is no failure
    source = f"{150 * 'long'}@0123456+c@99"  # never cut
    assert f"losses/kd__T3  {source}  method kd3 is not computed  -  not supported" in written
    assert written[-1] == f"{len(CASES) - 1} pass  0 fail  1 not supported"

    sidecar |= {"method": "kd", "expected_loss": 3.0}
    (tmp_path / "losses" / "kd__T3.json").write_text(json.dumps(sidecar), encoding="utf-8")
    written.clear()
    assert report(tmp_path, written.append) == 1
    assert next(line for line in written if line.endswith("  1e-10  fail")).split("  ")[2].endswith(" at expected_loss")
    assert written[-1] == f"{len(CASES) - 1} pass  1 fail  0 not supported"


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="holds no case: a case is a pair"):
        verify(tmp_path)
    with pytest.raises(RedistillError, match=r"no folder .*missing: give the folder that holds"):
        verify(tmp_path / "missing")


def test_errors_by_hand() -> None:
    assert relative_error(np.array([1.0, 2.5]), np.array([1.0, 2.0])) == 0.25
    assert relative_error(np.array([1.0]), np.array([1.0, 2.0])) == float("inf")
    assert relative_error(np.array([np.nan]), np.array([1.0])) == float("inf")
    assert relative_error(np.array([1.0]), np.array([np.nan])) == relative_error(np.array([1.0]), np.array([np.inf])) == float("inf")
    want = np.array([[100.0, 1.0, 1.0], [0.01, 0.0, 0.0]])
    got = want + np.array([[0.0, 1.0, 0.0], [0.0, 0.001, 0.0]])
    assert row_error(got, want) == pytest.approx(0.01)  # rows against 100 and against the floor 0.1


def test_a_gradient_that_vanishes_in_the_original_and_is_none_here_fails() -> None:
    """A NaN among errors must not be smaller than the others."""
    case = Case(OWN / "losses" / "fitnet__teacher_twice.json")
    name = f"grad/{case.meta['zero_gradients'][0]}"
    computed = {n: torch.from_numpy(v) for n, v in case.arrays.items()} | {name: torch.full(case.arrays[name].shape, torch.nan)}
    assert {c.array: c.error for c in compare(case, computed)}[name] == float("inf")


def test_a_taken_array_asks_for_the_gradient_that_is_expected() -> None:
    case = Case(OWN / "losses" / "kd__T3.json")
    student, teacher = case.take("in/student_logits"), case.take("in/teacher_logits")
    assert (student.requires_grad, teacher.requires_grad, student.dtype) == (True, False, torch.float64)
    case.refuse_unused()
    with pytest.raises(NotSupported, match="in/teacher_logits is not used"):
        other = Case(OWN / "losses" / "kd__T3.json")
        other.take("in/student_logits")
        other.refuse_unused()

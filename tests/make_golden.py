"""Writes ``tests/golden``: a small set of our own numbers in the golden format, for machines without the authors' numbers.

    python tests/make_golden.py

Values come from the slow formulas of ``slow.py``, gradients from a complex step through them: nothing of the package takes
part. Inputs are drawn under fixed seeds and rounded to float32, as in the authors' set.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from helpers import slow

A = slow.A
Arrays = dict[str, A]
HERE = Path(__file__).parent / "golden"


def case(
    method: str,
    name: str,
    given: Arrays,
    total: Callable[[Arrays], Any],
    hyperparameters: dict[str, Any],
    wanted: list[str],
    outputs: Callable[[Arrays], dict[str, Any]] = lambda a: {},
    after: Arrays | None = None,
    **extra: Any,
) -> tuple[dict[str, Any], Arrays]:
    """Sidecar and arrays of one case; ``wanted``: the arrays whose gradients are expected."""
    exact = {n: v if v.dtype.kind == "i" else v.astype(np.float32).astype(np.float64) for n, v in given.items()}
    loss = float(np.real(total(exact)))
    arrays: Arrays = {n: v if v.dtype.kind == "i" else v.astype(np.float32) for n, v in given.items()}
    arrays["out/loss"] = np.array(loss)
    arrays |= {f"out/{n}": np.array(np.real(v)) for n, v in outputs(exact).items()}
    vanishing = [n for n in extra.get("zero_gradients", ())]
    for n in wanted:
        grad = slow.derivative(lambda x, n=n: total({**exact, n: x}), exact[n])  # type: ignore[misc]
        arrays[f"grad/{n}"] = np.zeros_like(grad) if n in vanishing else grad
    arrays |= {f"after/{n}": v for n, v in (after or {}).items()}
    sidecar = {
        "id": f"{method}__{name}",
        "group": "losses",
        "method": method,
        "case": name,
        "set": "own",
        "source": {"repo": "redistill/tests/slow.py", "commit": "own"},
        "conventions": {},
        "hyperparameters": hyperparameters,
        "expected_loss": loss,
        "expected_parts": {n[4:]: float(v) for n, v in arrays.items() if n.startswith("out/") and v.ndim == 0},
        "grad_scale": max(float(np.abs(v).max()) for n, v in arrays.items() if n.startswith("grad/")),
        "module_mode": "train",
        "tolerances": {"float64": {"loss": 1e-10, "grad": 1e-10}},
        "arrays": {n: {"shape": list(v.shape), "dtype": str(v.dtype)} for n, v in arrays.items()},
        **extra,
    }
    return sidecar, arrays


def draws(seed: int, **shapes: tuple[int, ...]) -> Arrays:
    """Normal numbers by array name (``__`` stands for ``/``), float32-exact."""
    g = np.random.default_rng(seed)
    return {n.replace("__", "/"): g.normal(size=s).astype(np.float32).astype(np.float64) for n, s in shapes.items()}


def norm_state(given: Arrays, name: str, channels: int, seed: int) -> None:
    g = np.random.default_rng(seed)
    lows = {"param/{}.weight": 0.5, "param/{}.bias": -0.5, "buf/{}.running_mean": -0.5, "buf/{}.running_var": 0.5}
    for part, low in lows.items():
        given[part.format(name)] = (low + g.random(channels)).astype(np.float32).astype(np.float64)


def running(given: Arrays, name: str, f: A) -> Arrays:
    """Running statistics after one batch ``f``: momentum 0.1, unbiased variance."""
    mean, variance, n = slow.moments(f)
    old_mean, old_variance = given[f"buf/{name}.running_mean"], given[f"buf/{name}.running_var"]
    return {
        f"{name}.running_mean": 0.9 * old_mean + 0.1 * mean,
        f"{name}.running_var": 0.9 * old_variance + 0.1 * variance * n / (n - 1),
    }


def state_of(a: Arrays) -> Arrays:
    return {n.removeprefix("param/"): v for n, v in a.items() if n.startswith("param/")}


def at_levels(a: Arrays, p: float, stem: str = "feat") -> list[Any]:
    count = sum(n.startswith(f"in/student_{stem}") for n in a)
    return [slow.at(a[f"in/student_{stem}{i}"], a[f"in/teacher_{stem}{i}"], p) for i in range(count)]


def logit_cases() -> list[tuple[dict[str, Any], Arrays]]:
    z = draws(1, in__student_logits=(3, 4), in__teacher_logits=(3, 4))
    labels = {"in/labels": np.array([0, 3, 1])}
    student, both = ["in/student_logits"], ["in/student_logits", "in/teacher_logits"]
    element = lambda a, T: slow.kl(a["in/student_logits"], a["in/teacher_logits"], T) / 12  # noqa: E731
    ce = lambda a: slow.ce(a["in/student_logits"], a["in/labels"])  # noqa: E731
    maps = draws(2, in__student_feat0=(3, 2, 2, 2), in__teacher_feat0=(3, 3, 2, 2))
    acts = {n.replace("feat", "act"): v for n, v in maps.items()}
    return [
        case("kd", "T3", z, lambda a: 9 * 4 * element(a, 3.0), {"T": 3.0}, student),
        case(
            "kd_zagoruyko", "T2", z | labels, lambda a: 0.7 * 16 * element(a, 2.0) + 0.3 * ce(a), {"T": 2.0, "alpha": 0.7},
            student, lambda a: {"part_kl": 16 * element(a, 2.0), "part_ce": ce(a)},
        ),
        case(
            "kd_att_seed", "one_map", z | labels | acts,
            lambda a: 0.4 * ce(a) + 2 * 0.6 * 9 * element(a, 3.0) + 7.0 * at_levels(a, 2, "act")[0],
            {"T": 3, "a": 0.6, "b": 7}, [*student, "in/student_act0"],
            lambda a: {
                "part_ce_unweighted": ce(a), "part_kl_elementmean_unweighted": element(a, 3.0),
                "part_attention0": at_levels(a, 2, "act")[0],
            },
        ),
        case(
            "zskt_student", "T2", z | maps, lambda a: element(a, 2.0) + 50.0 * at_levels(a, 2)[0],
            {"T": 2.0, "AT_beta": 50.0, "n_classes": 4}, [*student, "in/student_feat0"],
            lambda a: {"part_divergence": element(a, 2.0), "part_attention0": at_levels(a, 2)[0]},
        ),
        case("zskt_generator", "T2", z, lambda a: -element(a, 2.0), {"T": 2.0, "n_classes": 4}, both),
    ]  # fmt: skip


def extra_m() -> tuple[dict[str, Any], Arrays]:
    given = draws(3, in__x=(3, 2), in__teacher_logits=(3, 4)) | {"in/labels": np.array([2, 2, 0])}
    for who, seed in (("student", 4), ("clone", 5)):
        linear = draws(seed, a__weight=(3, 2), a__bias=(3,), b__weight=(4, 3), b__bias=(4,))
        given |= {f"param/{who}.{n.replace('/', '.')}": v for n, v in linear.items()}

    def kd_part(a: Arrays) -> Any:
        s = {n.removeprefix("param/student."): v for n, v in a.items() if n.startswith("param/student.")}
        hidden = np.tanh(a["in/x"] @ s["a.weight"].T + s["a.bias"])
        z = hidden @ s["b.weight"].T + s["b.bias"]
        return 0.1 * slow.ce(z, a["in/labels"]) + 1.8 * 4 * slow.kl(z, a["in/teacher_logits"], 2.0) / 12

    def total(a: Arrays) -> Any:
        now = {n[14:]: v for n, v in a.items() if n.startswith("param/student.")}
        start = {n[12:]: v for n, v in a.items() if n.startswith("param/clone.")}
        return kd_part(a) + 0.5 * slow.anchor(now, start)

    wanted = ["in/x", *(n for n in given if n.startswith("param/student."))]
    return case("extra_m_seed", "half", given, total, {"lamda": 0.5, "T": 2}, wanted, lambda a: {"part_kd": kd_part(a)})


def attention() -> tuple[dict[str, Any], Arrays]:
    given = draws(
        6, in__student_feat0=(2, 2, 4, 4), in__teacher_feat0=(2, 3, 2, 2), in__student_feat1=(2, 2, 2, 2),
        in__teacher_feat1=(2, 2, 3, 3),
    )  # fmt: skip
    return case(
        "at", "p3_pooled", given, lambda a: sum(at_levels(a, 3)), {"p": 3}, ["in/student_feat0", "in/student_feat1"],
        lambda a: {f"part_layer{i}": v for i, v in enumerate(at_levels(a, 3))},
    )  # fmt: skip


def vid() -> tuple[dict[str, Any], Arrays]:
    given = draws(7, in__student_feat=(2, 2, 2, 2), in__teacher_feat=(2, 3, 4, 4), param__log_scale=(3,))
    weights = draws(8, w0=(2, 2, 1, 1), w2=(2, 2, 1, 1), w4=(3, 2, 1, 1))
    given |= {f"param/regressor.{n[1]}.weight": v for n, v in weights.items()}

    def parts(a: Arrays) -> tuple[A, A]:
        f_s, f_t = slow.smaller(a["in/student_feat"], a["in/teacher_feat"])
        return slow.vid_head(f_s, [a[f"param/regressor.{k}.weight"] for k in (0, 2, 4)]), f_t

    def total(a: Arrays) -> Any:
        return slow.vid(parts(a)[0], a["param/log_scale"], 0.01, parts(a)[1])

    return case(
        "vid", "teacher_larger", given, total, {"init_pred_var": 2.0, "eps": 0.01, "num_mid_channel": 2},
        ["in/student_feat", *(n for n in given if n.startswith("param/"))],
        lambda a: {"pred_mean": parts(a)[0], "pred_var": np.log(1 + np.exp(a["param/log_scale"])) + 0.01},
    )  # fmt: skip


def fitnet() -> tuple[dict[str, Any], Arrays]:
    given = draws(9, in__student_feat=(2, 2, 2, 2), in__teacher_feat=(2, 3, 4, 4))
    given |= {f"param/conv.{n}": v for n, v in draws(10, weight=(2, 3, 4, 4), bias=(3,)).items()}
    norm_state(given, "bn", 3, 11)

    def made(a: Arrays) -> A:
        return slow.regressed(a["in/student_feat"], (4, 4), state_of(a), norm=True, use_relu=False)

    before = slow.regressed(given["in/student_feat"], (4, 4), state_of(given), norm=False, use_relu=False)
    return case(
        "fitnet", "teacher_twice", given, lambda a: slow.hint(made(a), a["in/teacher_feat"], "element"),
        {"use_relu": False, "student_shape": [2, 2, 2, 2], "teacher_shape": [2, 3, 4, 4]},
        ["in/student_feat", *(n for n in given if n.startswith("param/"))], lambda a: {"regressed": made(a)},
        after=running(given, "bn", before), zero_gradients=["param/conv.bias"],
    )  # fmt: skip


def abf() -> tuple[dict[str, Any], Arrays]:
    given = draws(
        12, in__x=(2, 2, 3, 3), in__residual=(2, 2, 2, 2), in__cotangent_out=(2, 3, 4, 4), in__cotangent_res=(2, 2, 4, 4)
    )
    given["param/conv1.0.weight"] = draws(13, w=(2, 2, 1, 1))["w"]
    norm_state(given, "conv1.1", 2, 14)
    given["param/conv2.0.weight"] = draws(15, w=(3, 2, 3, 3))["w"]
    norm_state(given, "conv2.1", 3, 16)
    given |= {f"param/att_conv.0.{n}": v for n, v in draws(17, weight=(2, 4, 1, 1), bias=(2,)).items()}

    def made(a: Arrays) -> tuple[A, A]:
        return slow.abf(a["in/x"], a["in/residual"], state_of(a), (4, 4))

    def total(a: Arrays) -> Any:
        out, residual = made(a)
        return (out * a["in/cotangent_out"]).sum() + (residual * a["in/cotangent_res"]).sum()

    first = slow.conv(given["in/x"], given["param/conv1.0.weight"])
    second = slow.conv(made(given)[1], given["param/conv2.0.weight"], padding=1)
    return case(
        "abf", "resized", given, total,
        {"in_channel": 2, "mid_channel": 2, "out_channel": 3, "fuse": True, "shape": 3, "out_shape": 4},
        ["in/x", "in/residual", *(n for n in given if n.startswith("param/"))],
        lambda a: dict(zip(("out", "residual_out"), made(a), strict=True)),
        after=running(given, "conv1.1", first) | running(given, "conv2.1", second),
    )  # fmt: skip


def context() -> tuple[dict[str, Any], Arrays]:
    shapes = {"feat0": (2, 2, 5, 5), "feat1": (2, 2, 1, 1)}
    given = draws(18, **{f"in__{who}_{n}": s for n, s in shapes.items() for who in ("student", "teacher")})

    def parts(a: Arrays) -> list[Any]:
        pairs = [(a[f"in/student_{n}"], a[f"in/teacher_{n}"]) for n in shapes]
        return [slow.context(f, g, ("h", 6, 3, 1), (1, 0.5, 0.25, 0.125)) for f, g in pairs]

    return case(
        "hcl", "levels_6_3_1", given, lambda a: sum(parts(a)), {"levels": [6, 3, 1]},
        [f"in/student_{n}" for n in shapes], lambda a: {f"part_level{i}": v for i, v in enumerate(parts(a))},
    )  # fmt: skip


def cases() -> list[tuple[dict[str, Any], Arrays]]:
    return [*logit_cases(), extra_m(), attention(), vid(), fitnet(), abf(), context()]


def main() -> None:
    folder = HERE / "losses"
    folder.mkdir(parents=True, exist_ok=True)
    for sidecar, arrays in cases():
        (folder / f"{sidecar['id']}.json").write_text(json.dumps(sidecar, indent=1) + "\n", encoding="utf-8")
        np.savez_compressed(folder / f"{sidecar['id']}.npz", **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()

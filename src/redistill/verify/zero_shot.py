"""Golden zero-shot trajectories: generator and student of the authors' loops, repeated by our source in our loop."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from redistill.core import Method
from redistill.recipe import Cosine, Recipe
from redistill.sources.adversarial import Adversarial, AdversarialStream
from redistill.sources.variants import Variant
from redistill.terms import AT, KD
from redistill.verify.networks import loop_of, network, numbers
from redistill.verify.reader import Array, Case, Kind, NotSupported, count, number, one_of, positive

_MODES = one_of("student train, teacher eval, generator train")
_KL = one_of("F.kl_div default mean (batch and classes)", "nn.KLDivLoss() default mean (batch and classes)")
_ADAM = one_of("torch defaults", "torch defaults (betas .9,.999, eps 1e-8)")

_KNOWN = {
    "id", "group", "method", "case", "set", "source", "formula", "conventions", "hyperparameters", "student", "teacher", "generator",
    "series", "rng", "patches", "final_student_rows", "final_generator_rows", "conditioning", "tolerances", "float32_prefix",
    "expected_loss", "generated_with", "arrays", "notes", "paper", "zero_gradients", "grad_scale", "module_mode",
}  # fmt: skip


def like(text: str) -> Kind:
    """This sentence; numbers may differ where the settings say them too."""
    pattern = re.sub(r"\d+", r"\\d+", re.escape(text))
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def polo5(case: Case) -> dict[str, Tensor | Array]:
    """Images made again after the generator's update, one noise a block, cosine over the run's blocks."""
    kinds: dict[str, Kind] = {
        "n_generator_iter": count, "n_student_iter": count, "lr_student": positive, "lr_generator": positive, "clip": positive,
        "AT_beta": number, "KL_temperature": positive, "total_n_pseudo_batches": count, "batch": count, "z_dim": count,
        "num_classes": count, "adam": _ADAM,
    }  # fmt: skip
    given = case.settings(kinds, optional=("adam", "z_dim"))
    noise = like(
        "in/z[k] is the noise of pseudo batch k; the generator runs again before EVERY step (train mode, its BN running "
        "statistics update each time), so the student sees images of the already updated generator; the student loss also "
        "back-propagates into the generator, whose grads are zeroed before its next step; teacher logits computed once (at the "
        "first student step)"
    )
    case.conventions({"noise": noise, "modes": _MODES, "kl": _KL})
    blocks = given["total_n_pseudo_batches"]
    variant = Variant(n_G=given["n_generator_iter"], n_S=given["n_student_iter"])
    return _run(case, given, variant, blocks, T_max=blocks, T=given["KL_temperature"])


_SEED: dict[str, Kind] = {
    "ng": count, "ns": count, "lr_student": positive, "lr_generator": positive, "clip": positive, "AT_beta": number, "T_max": count,
    "batches": count, "batch": count, "num_classes": count, "adam": _ADAM,
}  # fmt: skip


def seed(case: Case) -> dict[str, Tensor | Array]:
    """The student learns from the images of before the generator's update."""
    given = case.settings(_SEED, optional=("adam",))
    noise = like(
        "in/z[k] is the k-th noise drawn; one per batch; the student trains on the image of BEFORE the generator update, detached, "
        "reused for all 10 steps; teacher outputs computed once"
    )
    case.conventions({"noise": noise, "modes": _MODES, "kl": _KL})
    variant = Variant(n_G=given["ng"], n_S=given["ns"], images="before", generator_noise="fresh")
    return _run(case, given, variant, given["batches"], T_max=given["T_max"], T=1.0)


def seed_modified(case: Case) -> dict[str, Tensor | Array]:
    """Fresh noise for every step."""
    given = case.settings(_SEED, optional=("adam",))
    noise = like(
        "in/z[k] is the k-th noise drawn; per batch: 1 for the generator step then one fresh z for each of the 10 student steps "
        "(generator in train mode, teacher NOT detached)"
    )
    case.conventions({"noise": noise, "modes": _MODES, "kl": _KL})
    variant = Variant(n_G=given["ng"], n_S=given["ns"], noise="fresh", generator_noise="fresh")
    return _run(case, given, variant, given["batches"], T_max=given["T_max"], T=1.0)


def _run(case: Case, given: dict[str, Any], variant: Variant, blocks: int, T_max: int, T: float) -> dict[str, Tensor | Array]:
    if odd := sorted(set(case.meta) - _KNOWN):
        raise NotSupported(f"{odd[0]} is unknown")
    classes = given["num_classes"]
    student, teacher, generator = (network(case.meta[who], classes) for who in ("student", "teacher", "generator"))
    z = case.take("in/z")
    if z.shape[0] < blocks * variant.draws or z.shape[1] != given["batch"] or z.shape[2] != given.get("z_dim", z.shape[2]):
        raise NotSupported(f"in/z of shape {list(z.shape)} does not fit {blocks} blocks of {variant.draws} draws")
    variant = variant.model_copy(update={"lr": given["lr_generator"], "clip": float(given["clip"])})
    kl = KD(T=T, reduction="element", scale_T2=False)
    method = Method.of(kl) + given["AT_beta"] * AT() if given["AT_beta"] else Method.of(kl)
    recipe = Recipe(
        steps=blocks * variant.n_S,
        lr=given["lr_student"],
        batch_size=given["batch"],
        optimizer="adam",
        weight_decay=0.0,
        schedule=Cosine(T_max=T_max * variant.n_S, unit="step", hold=variant.n_S),
        per="step",
        clip=float(given["clip"]),
        precision="double",
    )
    source = Adversarial(
        generator.net, "cifar10-kuangliu", variant, -1.0 * kl, blocks=T_max, epoch_blocks=1, noise=lambda k: z[k]
    )
    loop = loop_of(student, method, teacher, source, recipe)
    stream, own = loop.stream, loop.students[0]
    assert isinstance(stream, AdversarialStream)
    made: list[float] = []
    generator.net.register_forward_hook(lambda module, args, images: made.append(float(images.detach().abs().sum())))
    totals: list[float] = []
    norms: list[float] = []
    generator_losses: list[Tensor] = []
    generator_norms: list[Tensor] = []
    sums: list[float] = []
    for progress in loop:
        rows = own.rows(progress.step - 1)
        assert rows.norms is not None  # the recipe clips
        totals += rows.totals
        norms += rows.norms.tolist()
        if progress.step % variant.n_S == 0:
            generator_losses += stream.losses
            generator_norms += stream.norms
            # one forward of ours stands for n_S of theirs where noise and weights are the same
            again = variant.n_S - 1 if variant.images == "after" and variant.noise == "same" else 0
            sums += made + made[-1:] * again
            made.clear()
    return {
        "out/loss": numbers(totals),
        "out/student_grad_norm": numbers(norms),
        "out/generator_loss": numbers(generator_losses),
        "out/generator_grad_norm": numbers(generator_norms),
        "out/image_sum": numbers(sums),
        "out/final_student_checksums": student.rows(case.meta["final_student_rows"]),
        "out/final_generator_checksums": generator.rows(case.meta["final_generator_rows"]),
    }

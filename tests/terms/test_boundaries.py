"""AB, FT, OFD and MLKD against slow formulas, where the batch norms of OFD are found, and what each refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import slow_relations as slow
from helpers.relations import drawn, equal, place
from helpers.slow import derivative
from redistill import models
from redistill.core import Batch, Context, Output, RedistillError, Term
from redistill.features.places import context
from redistill.terms import AB, FT, OFD, factor_distance, margins, multi_level


def seen(term: Term, c_s: int = 3, c_t: int = 3, teacher: nn.Module | None = None) -> Term:
    shapes = {"place": (2, c_s, 2, 2)}, {"place": (2, c_t, 2, 2)}
    term.setup(Context(nn.Identity(), teacher or nn.Identity(), *shapes, (), (), 2))
    return term.double()


def test_ab_is_its_formula() -> None:
    s, t = 2 * drawn(2, 3, 2, 2, seed=1), drawn(2, 3, 2, 2, seed=2)
    equal(seen(AB(at="place", margin=0.7, factor=1.0)), s, t, lambda x: slow.activation_boundary(x, t, 0.7), place)


def test_the_deepest_layer_of_ab_and_ofd_weighs_twice_the_one_before() -> None:
    shapes = {name: (2, 3, 2, 2) for name in ("a", "b")}
    norms = nn.ModuleDict({"n": nn.BatchNorm2d(3)})
    for term in (AB(at=["a", "b"], factor=1.0), OFD(at=["a", "b"], norms=["n", "n"], factor=1.0)):
        term.setup(Context(nn.Identity(), norms, shapes, shapes, (), (), 2))
        maps = {name: torch.tensor(drawn(2, 3, 2, 2, seed=seed), dtype=torch.float32) for name, seed in (("a", 1), ("b", 2))}
        theirs = {name: torch.tensor(drawn(2, 3, 2, 2, seed=seed), dtype=torch.float32) for name, seed in (("a", 3), ("b", 4))}
        student, teacher = Output(torch.zeros(2, 2), maps), Output(torch.zeros(2, 2), theirs)
        first, second = (float(v.detach()) for v in term.distances(student, teacher))
        assert float(term(student, teacher, Batch(torch.zeros(2, 3))).detach()) == pytest.approx(first / 2 + second, rel=1e-6)


def test_ofd_is_its_formula() -> None:
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0]))
        norm.bias.copy_(torch.tensor([0.0, 0.2, -1.0]))
    s, t = 2 * drawn(3, 3, 2, 2, seed=1), 2 * drawn(3, 3, 2, 2, seed=2)
    term = seen(OFD(at="place", norms=["n"], factor=0.5), teacher=nn.ModuleDict({"n": norm}))
    assert isinstance(term, OFD)
    term.connectors[0] = nn.Identity()  # whose own numbers the golden cases prove
    m = margins(norm.weight, norm.bias).numpy().astype(np.float64)
    equal(term, s, t, lambda x: 0.5 * slow.partial(x, t, m), place)


def test_a_margin_is_the_mean_of_the_negative_values() -> None:
    # a million draws of each channel; the third is hardly ever negative, the fourth constant
    gain, bias = torch.tensor([1.5, -0.4, 0.1, 0.0]), torch.tensor([0.7, -0.3, 2.0, -0.25])
    found = margins(gain, bias)
    for c in range(2):
        draws = float(bias[c]) + abs(float(gain[c])) * np.random.default_rng(c).standard_normal(1_000_000)
        assert float(found[c]) == pytest.approx(draws[draws < 0].mean(), abs=3e-3)
    assert found[2:].tolist() == pytest.approx([-0.3, -0.25]) and found.dtype == torch.float32


@pytest.mark.parametrize("p2", [1, 2])
def test_ft_compares_factors_by_its_formula(p2: int) -> None:
    s, t = drawn(2, 3, 2, 2, seed=1), drawn(2, 4, 2, 2, seed=2)
    x = torch.tensor(s, requires_grad=True)
    loss = factor_distance(x, torch.tensor(t), 2, p2)
    (grad,) = torch.autograd.grad(loss, x)
    assert float(loss.detach()) == pytest.approx(float(slow.factors(s, t, 2, p2)), rel=1e-12)
    np.testing.assert_allclose(grad.numpy(), derivative(lambda v: slow.factors(v, t, 2, p2), s), rtol=1e-8, atol=1e-11)


def test_only_the_reconstruction_teaches_the_paraphraser() -> None:
    s, t = torch.tensor(drawn(2, 3, 2, 2, seed=1)), torch.tensor(drawn(2, 4, 2, 2, seed=2))
    term = seen(FT(at="place", reconstruction=0.5), 3, 4)
    assert isinstance(term, FT)
    loss = term(place(s), place(t), Batch(s))
    factor, again = term.paraphraser(t)
    want = factor_distance(term.translator(s), factor) + 0.5 * (again - t).square().mean()
    assert float(loss.detach()) == pytest.approx(float(want.detach()), rel=1e-9)
    grads = torch.autograd.grad(loss, [*term.paraphraser.parameters()])
    alone = torch.autograd.grad(0.5 * (term.paraphraser(t)[1] - t).square().mean(), [*term.paraphraser.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-15) for a, b in zip(grads, alone, strict=True))
    assert not any(p.requires_grad for p in seen(FT(at="place", reconstruction=0.0), 3, 4).paraphraser.parameters())  # type: ignore[operator]


def test_mlkd_is_its_formula() -> None:
    s, s_strong, t, t_strong = (drawn(4, 5, seed=k) for k in range(4))
    y, Ts = np.array([1, 0, 4, 2]), [4.0, 3.0, 5.0, 2.0, 6.0]
    for which, start in ((0, s), (1, s_strong)):
        x = torch.tensor(start, requires_grad=True)
        mine = (x, torch.tensor(s_strong)) if which == 0 else (torch.tensor(s), x)
        parts = multi_level(mine, (torch.tensor(t), torch.tensor(t_strong)), torch.tensor(y), ce=0.3, kd=0.7)
        loss = torch.stack(list(parts.values())).sum()

        def want(v: np.ndarray, which: int = which) -> object:
            return slow.multi_level(*((v, s_strong) if which == 0 else (s, v)), t, t_strong, y, Ts, 0.3, 0.7)

        assert float(loss.detach()) == pytest.approx(float(np.real(want(start))), rel=1e-11)
        (grad,) = torch.autograd.grad(loss, x)
        np.testing.assert_allclose(grad.numpy(), derivative(want, start), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        ("wrn-16-1", ["block2.layer.0.bn1", "block3.layer.0.bn1", "bn1"]),  # as the originals list them
        ("resnet8", ["layer1.0.bn2", "layer2.0.bn2", "layer3.0.bn2"]),
        ("vgg13", ["block1.4", "block2.4", "block3.4", "block4.4"]),
        ("resnet50", ["layer1.2.bn3", "layer2.3.bn3", "layer3.5.bn3", "layer4.2.bn3"]),
        ("mobilenetv2", ["blocks.1.1.conv.7", "blocks.2.2.conv.7", "blocks.4.2.conv.7", "blocks.6.0.conv.7"]),
    ],
)
def test_ofd_finds_the_batch_norms_that_the_published_code_names(name: str, paths: list[str]) -> None:
    teacher = models.build(name, 10, trust_code=False)
    with torch.no_grad():
        for i, module in enumerate(m for m in teacher.modules() if isinstance(m, nn.BatchNorm2d)):
            module.bias.fill_(-1.0 - i)  # every margin tells which batch norm it came from
    term = OFD()
    term.setup(context(teacher, teacher, torch.zeros(2, 3, 32, 32)))
    want = [margins(teacher.get_parameter(f"{p}.weight"), teacher.get_parameter(f"{p}.bias")).view(1, -1, 1, 1) for p in paths]
    assert all(torch.equal(term.get_buffer(f"margin{i}"), m) for i, m in enumerate(want[: len(term.pairs)]))
    assert len(term.pairs) >= len(paths)


def test_boundaries_are_read_before_the_activation() -> None:
    net = models.build("resnet8", 10, trust_code=False)
    for term in (AB(), OFD()):
        term.setup(context(net, net, torch.zeros(2, 3, 32, 32)))
        assert term.pairs == tuple((f"stage{i}:pre", f"stage{i}:pre") for i in (1, 2, 3))


def _ofd(norms: list[str] | None, teacher: nn.Module) -> Callable[[], Term]:
    return lambda: seen(OFD(at="place", norms=norms), teacher=teacher)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: AB(margin=0.0), "the margin must be above 0"),
        (lambda: AB(factor=float("nan")), "the constant must be above 0"),
        (lambda: FT(k=0.0), "the share of channels"),
        (lambda: FT(p2=3), "make a distance negative"),
        (lambda: FT(at=["a", "b"]), "factors of one place, but at names 2"),
        (lambda: seen(FT(at="place", k=0.1)), "leaves no channel of the 3"),
        (lambda: OFD(kernel_size=2), "an odd number"),
        (_ofd(None, nn.Identity()), r"finds none in the teacher Identity: name the batch norms with norms="),
        (_ofd(["n"], nn.ModuleDict({"n": nn.ReLU()})), "'n' is a ReLU in the teacher, expected a batch norm"),
        (_ofd(["n"], nn.ModuleDict({"n": nn.BatchNorm2d(5)})), "has 5 channels, the feature 3"),
        (_ofd(["n", "n"], nn.ModuleDict({"n": nn.BatchNorm2d(3)})), "2 norms for 1 pairs"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: Callable[[], Term], sentence: str) -> None:
    with pytest.raises(RedistillError, match=sentence):
        make()


def test_views_that_do_not_go_together_are_refused() -> None:
    z = torch.zeros(2, 3)
    two: Callable[[Tensor, Tensor], dict[str, Tensor]] = lambda a, b: multi_level((a, b), (a, b), torch.tensor([0, 1]))  # noqa: E731
    with pytest.raises(RedistillError, match="two views of the same images"):
        two(z, torch.zeros(3, 3))

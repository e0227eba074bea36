"""What CRD's banks and NST's kernels hold in memory, counted; and what has no room is refused before anything is made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from redistill import machine
from redistill.core import Batch, Context, Output, RedistillError
from redistill.terms import CRD, NST
from redistill.terms import crd as crd_file
from redistill.terms import nst as nst_file


class Largest(TorchDispatchMode):
    """Numbers of the largest tensor that any operation made, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, Tensor):
                self.numbers = max(self.numbers, made.numel())
        return out


def kept(run: Any) -> tuple[Tensor, int]:
    """What ``run`` gives, and the numbers that are kept for its gradient."""
    held: dict[int, Tensor] = {}  # by storage: an expanded or transposed tensor holds no more than what it looks at

    def note(x: Tensor) -> Tensor:
        held[x.untyped_storage().data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        out = run()
    return out, sum(x.untyped_storage().nbytes() // x.element_size() for x in held.values())


def maps(channels: int, seed: int, grad: bool = False) -> Tensor:
    made = torch.randn(8, channels, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return made.requires_grad_(grad)


def nst(pieces: int | None, monkeypatch: pytest.MonkeyPatch) -> tuple[float, Tensor, int, int]:
    """Value, gradient, numbers kept and largest tensor, with kernels of ``pieces`` images at a time (None: of all)."""
    monkeypatch.setattr(nst_file, "ENTRIES", 64 * 64 * pieces if pieces else 10**9)
    s, t = maps(64, 1, True), maps(64, 2)
    logits = torch.zeros(8, 2, dtype=torch.float64)
    term = NST(at="a")
    with Largest() as largest:
        loss, held = kept(lambda: term(Output(logits, {"a": s}), Output(logits, {"a": t}), Batch(logits)))
        (grad,) = torch.autograd.grad(loss, [s])
    return float(loss.detach()), grad, held, largest.numbers


def test_the_kernels_of_nst_are_made_in_pieces_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, pieces = nst(None, monkeypatch), nst(2, monkeypatch)
    assert pieces[0] == pytest.approx(whole[0], rel=1e-12)
    torch.testing.assert_close(pieces[1], whole[1], rtol=1e-10, atol=1e-14)
    kernel = 8 * 64 * 64  # numbers of one kernel of the batch
    assert whole[3] == kernel and whole[2] >= 2 * kernel
    assert pieces[3] == 2 * 64 * 64  # two images at a time
    assert pieces[2] <= kernel + 3 * 8 * 64 < whole[2]  # four maps at most (8·64·16 numbers each) and lengths of channels, no kernel


def crd(count: int, monkeypatch: pytest.MonkeyPatch, entries: int = 10**9) -> tuple[CRD, float, int]:
    monkeypatch.setattr(crd_file, "ENTRIES", entries)
    shapes = {"pooled": (8, 6)}
    term = CRD(dim=4, K=16)
    labels = torch.arange(count) % 3
    term.setup(Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), 3, count=count, labels=labels))
    term.double()
    drawn = torch.randn(2, 8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    out = [Output(torch.zeros(8, 3), {"pooled": d.clone().requires_grad_()}) for d in drawn]
    with Largest() as largest:
        loss = term(out[0], out[1], Batch(torch.zeros(8, 1), labels[:8], torch.arange(8)))
        loss.backward()
    return term, float(loss.detach()), largest.numbers


def test_the_banks_of_crd_are_what_its_card_says_and_its_scores_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3000
    term, whole, largest = crd(count, monkeypatch)
    banks = sum(b.numel() * b.element_size() for b in (term.memory_student, term.memory_teacher))
    assert banks == 2 * 8 * count * 4  # in double; 8·n·dim in single precision, and as much for a step's copies
    assert crd_file.bank_bytes(count, 4) == 2 * (banks // 2)
    assert largest == 8 * count  # every image of the batch against the whole memory
    _, pieces, smaller = crd(count, monkeypatch, entries=2 * count)
    assert smaller == max(2 * count, count * 4) and pieces == pytest.approx(whole, rel=1e-12)


def test_a_bank_without_room_is_refused_with_both_sizes_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda device: 2_000_000_000)
    shapes = {"pooled": (8, 6)}
    count = 1_281_167
    ctx = Context(nn.Identity(), nn.Identity(), shapes, shapes, (), (), 2, count=count, labels=torch.arange(count) % 2)
    message = (
        r"CRD remembers 1,281,167 images with 128 numbers in two banks, which needs 2.6 GB of memory, and 2.0 GB are free on cpu: give it "
        r"fewer images, or a smaller CRD\(dim=...\)"
    )
    with pytest.raises(RedistillError, match=message):
        CRD().setup(ctx)


def test_free_memory_is_a_number_of_bytes_below_that_of_the_machine() -> None:
    free = machine.free_memory(torch.device("cpu"))
    assert free is None or 0 < free < 2**50

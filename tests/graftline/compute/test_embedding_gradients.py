"""The gradients of large tables are PyTorch's to the bit, step after step, in memory that is used again."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from graftline.compute import embedding_gradients
from graftline.compute.embedding_gradients import recyclable_gradients, recycle_gradients
from graftline.training import loop
from graftline.training.plan import Plan
from tests.graftline.training.test_loop import PLAN, trained
from tests.support.tiny_models import ARCHITECTURES, Architecture, write_tiny_model

pytestmark = pytest.mark.full

PADDING = 0
# Rows that occur twice, and once beside padding; a step without a row of the one before it; a row again after a while.
STEPS = [[[3, 3, 5], [PADDING, 7, 3]], [[1, 2, 2], [1, 1, 1]], [[PADDING, PADDING, 9], [3, 8, 8]]]


@pytest.fixture(autouse=True)
def every_table_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_gradients, "LARGE", 0)


def table() -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(10, 6, padding_idx=PADDING)


def look_up(rows: nn.Embedding, ids: list[list[int]]) -> None:
    """A step's backward pass, with numbers that show in which order they are added."""
    vectors = rows(torch.tensor(ids))
    loss: Tensor = (vectors * torch.linspace(0.1, 1e4, vectors.numel()).view(vectors.shape)).sum()
    loss.backward()  # type: ignore[no-untyped-call]


def gradient_of(rows: nn.Embedding) -> Tensor:
    assert rows.weight.grad is not None
    return rows.weight.grad


@pytest.mark.parametrize("backwards", [1, 2])
def test_gradients_are_those_of_torch_to_the_bit(backwards: int) -> None:
    """Of one batch, and of two whose gradients make one step."""
    seen: list[list[Tensor]] = []
    for ours in (False, True):
        rows, gradients = table(), []
        with recyclable_gradients() if ours else nullcontext():
            for ids in STEPS:
                for _ in range(backwards):
                    look_up(rows, ids)
                gradients.append(gradient_of(rows).clone())
                gradient_of(rows).mul_(0.3)  # as clipping does
                recycle_gradients(everywhere=False)
                rows.zero_grad()
        seen.append(gradients)
    assert all(map(torch.equal, *seen))


def test_the_memory_of_a_gradient_is_that_of_the_step_before() -> None:
    rows, places = table(), set()
    with recyclable_gradients():
        for ids in STEPS:
            look_up(rows, ids)
            gradient = gradient_of(rows)
            places.add(gradient.data_ptr())
            recycle_gradients(everywhere=False)
            assert rows.weight.grad is None
            assert not gradient.any()
            assert not any(known.touched for known in embedding_gradients._tables.values())
            del gradient
            held = torch.ones(10, 6)  # would take the place of memory that had been given back
            places.discard(held.data_ptr())
    assert len(places) == 1


def test_a_gradient_that_somebody_holds_is_left_to_them() -> None:
    rows = table()
    with recyclable_gradients():
        look_up(rows, STEPS[0])
        kept = gradient_of(rows)
        expected = kept.clone()
        rows.zero_grad()  # and not recycled
        look_up(rows, STEPS[1])
    assert torch.equal(kept, expected)


def test_what_it_has_no_gradient_of_its_own_for_is_left_to_torch() -> None:
    ids, weight = torch.tensor([1, 2, 2]), torch.randn(10, 6, requires_grad=True)
    with recyclable_gradients():
        for options in ({"scale_grad_by_freq": True}, {"sparse": True}, {"max_norm": 1.0}):
            functional.embedding(ids, weight, **options).sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            assert not functional.embedding(ids, weight).requires_grad
        assert not functional.embedding(ids, weight.detach()).requires_grad
        assert not embedding_gradients._tables
    assert functional.embedding is embedding_gradients._torch_embedding


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("plan", [{}, {"accumulation": 2}, {"l2_sp": 0.1}], ids=str)
def test_a_training_ends_with_the_same_weights_with_and_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: Architecture, plan: dict[str, float]
) -> None:
    base = write_tiny_model(tmp_path / "base", architecture)
    chosen = Plan(**{**PLAN.__dict__, **plan})
    recycled: list[int] = []

    def counting(*, everywhere: bool) -> None:
        recycled.append(len(embedding_gradients._tables))
        recycle_gradients(everywhere=everywhere)
        assert not any(table.touched for table in embedding_gradients._tables.values())

    monkeypatch.setattr(loop, "recycle_gradients", counting)
    ours = trained(base, tmp_path / "ours", chosen)
    assert recycled
    assert all(recycled)
    monkeypatch.setattr(embedding_gradients, "LARGE", 1 << 40)
    assert trained(base, tmp_path / "theirs", chosen).sha256 == ours.sha256

"""Attention and dropout of training are PyTorch's in all but speed, rounding and the draws, and models use them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from graftline.compute.fast_training import attention, dropout, fast_training

SHAPE = (2, 3, 5, 8)  # batch, heads, tokens, width


def heads() -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(SHAPE, requires_grad=True) for _ in range(3))
    return query, key, value


def padding() -> Tensor:
    """The second row has two tokens less; no query of it is without any key."""
    return (torch.arange(5) < torch.tensor([5, 3])[:, None])[:, None, None]


MASKS: dict[str, Callable[[], dict[str, Any]]] = {
    "no mask": dict,
    "which keys there are": lambda: {"attn_mask": padding()},
    "numbers to add": lambda: {"attn_mask": torch.zeros(2, 1, 1, 5).masked_fill(~padding(), float("-inf"))},
    "no later key": lambda: {"is_causal": True},
    "a scale of its own": lambda: {"scale": 0.3},
}


@pytest.mark.parametrize("name", MASKS)
def test_attention_and_its_gradients_are_those_of_torch(name: str) -> None:
    options = MASKS[name]()
    answers = []
    functions: list[Callable[..., Tensor]] = [attention, functional.scaled_dot_product_attention]
    for function in functions:
        inputs = heads()
        answer = function(*inputs, **options)
        answers.append([answer, *torch.autograd.grad(answer.square().sum(), inputs)])
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_grouped_queries_are_left_to_torch() -> None:
    query, key, value = heads()
    key, value = key[:, :1], value[:, :1]
    expected = functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)
    torch.testing.assert_close(attention(query, key, value, enable_gqa=True), expected)


def test_in_bfloat16_attention_stays_within_rounding_of_float32() -> None:
    inputs = heads()
    exact = attention(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = attention(*inputs)
    assert rounded.dtype == torch.bfloat16
    assert not torch.equal(rounded.float(), exact)
    # Products, softmax and sum are each rounded to 8 bits.
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=4 / 256 * float(exact.detach().abs().max()))


def test_a_query_without_any_key_has_finite_answers_and_gradients() -> None:
    inputs = heads()
    nothing = torch.zeros(2, 1, 1, 5, dtype=torch.bool)
    answer = attention(*inputs, attn_mask=nothing)
    gradients = torch.autograd.grad(answer.sum(), inputs)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in (answer, *gradients))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_and_keeps_the_mean(dtype: torch.dtype, p: float) -> None:
    torch.manual_seed(0)
    values = torch.ones(500, 401, dtype=dtype)
    dropped = dropout(values, p)
    share = float((dropped == 0).float().mean())
    # Five standard deviations of the share of so many draws.
    assert share == pytest.approx(p, abs=5 * (p * (1 - p) / values.numel()) ** 0.5)
    assert float(dropped.max()) == pytest.approx(1 / (1 - p), rel=1 / 256)
    # Rows and columns alike, and no row as another.
    assert float((dropped == 0).float().mean(0).std()) < 1.3 * (p * (1 - p) / 500) ** 0.5
    assert len(torch.unique(dropped, dim=0)) == 500


def test_dropout_follows_the_seed_of_torch_and_draws_anew_each_time() -> None:
    def draw() -> list[Tensor]:
        torch.manual_seed(7)
        return [dropout(torch.ones(1000), 0.5) for _ in range(2)]

    first, again = draw(), draw()
    assert all(map(torch.equal, first, again))
    assert not torch.equal(*first)


def test_the_gradient_of_dropout_is_what_it_let_through() -> None:
    values = torch.full((1000,), 2.0, requires_grad=True)
    dropped = dropout(values, 0.25)
    (gradient,) = torch.autograd.grad(dropped.sum(), values)
    assert torch.equal(gradient * 2, dropped)


@pytest.mark.parametrize(("p", "training"), [(0.0, True), (0.5, False), (1.0, True)])
def test_dropout_that_draws_nothing_is_left_to_torch(p: float, training: bool) -> None:
    values, before = torch.randn(50), torch.get_rng_state()
    assert torch.equal(dropout(values, p, training), functional.dropout(values, p, training))
    assert p == 1 or torch.equal(torch.get_rng_state(), before)


def test_models_use_them_inside_only() -> None:
    def run() -> Tensor:
        torch.manual_seed(0)
        dropped: Tensor = nn.Dropout(0.5)(torch.ones(1000))
        return dropped

    plain = run()
    with fast_training():
        ours = run()
        torch.manual_seed(0)
        assert torch.equal(ours, dropout(torch.ones(1000), 0.5))
    assert not torch.equal(ours, plain)
    assert torch.equal(run(), plain)


def test_activations_that_are_recomputed_meet_the_same_masks() -> None:
    layers = nn.Sequential(nn.Linear(20, 20), nn.Dropout(0.5), nn.Linear(20, 20))
    gradients: list[Tensor | None] = []
    with fast_training():
        for recompute in (False, True):
            torch.manual_seed(1)
            entering = torch.ones(4, 20, requires_grad=True)
            answer = checkpoint(layers, entering, use_reentrant=False) if recompute else layers(entering)
            answer.square().sum().backward()
            gradients.append(entering.grad)
    torch.testing.assert_close(*gradients, rtol=0, atol=0)

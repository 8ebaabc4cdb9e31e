"""Placing the tensors of a checkpoint: by name below any prefix, by order only where everything agrees."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from graftline.base_models.weight_matching import Match, match_tensors
from graftline.errors import BaseModelRefusedError

COUNTER = "num_batches_tracked"


def network() -> nn.Sequential:
    """Norms of the same width as each other, which shapes alone do not tell apart."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5))
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            nn.init.normal_(tensor)
    return model


def other_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As another library calls them: the layers otherwise, the parts of a layer the same."""
    return {f"block{name.partition('.')[0]}.{name.partition('.')[2]}": tensor for name, tensor in tensors.items()}


def match(tensors: dict[str, Tensor], spare: tuple[str, ...] = ()) -> Match:
    return match_tensors(tensors, network().state_dict(), where="x", model="Net", spare=spare)


def refused(tensors: dict[str, Tensor]) -> str:
    with pytest.raises(BaseModelRefusedError) as error:
        match(tensors)
    return str(error.value)


def without_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(COUNTER)}


def equal(found: Match, expected: dict[str, Tensor]) -> bool:
    return list(found.tensors) == list(expected) and all(
        torch.equal(found.tensors[name], tensor) for name, tensor in expected.items()
    )


@settings(max_examples=25, deadline=None)
@given(st.permutations(list(network().state_dict())), st.sampled_from(["", "module.", "model.backbone."]))
def test_names_decide_in_any_order_and_below_any_prefix(order: list[str], prefix: str) -> None:
    state = network().state_dict()
    found = match({prefix + name: state[name] for name in order})
    assert equal(found, state)
    assert (found.by_name, found.by_order, found.fresh, found.left_out) == (len(state), 0, 0, ())


def test_other_names_are_placed_by_order() -> None:
    state = network().state_dict()
    found = match(other_names(state))
    assert equal(found, state)
    assert (found.by_name, found.by_order) == (0, len(state))


def test_known_names_among_others_count_as_placed_by_name() -> None:
    state = network().state_dict()
    mixed = dict(itertools.chain(list(state.items())[:2], list(other_names(state).items())[2:]))
    found = match(mixed)
    assert equal(found, state)
    assert (found.by_name, found.by_order) == (2, len(state) - 2)


@pytest.mark.parametrize("by_name", [True, False])
def test_counters_that_an_old_checkpoint_lacks_are_set_to_0(by_name: bool) -> None:
    state = network().state_dict()
    old = without_counters(state if by_name else other_names(state))
    found = match(old)
    assert equal(found, state | {name: torch.tensor(0) for name in state if name.endswith(COUNTER)})
    assert (found.fresh, found.by_name + found.by_order) == (2, len(state) - 2)


@pytest.mark.parametrize(
    ("first", "second"), [("1.weight", "1.bias"), ("1.weight", "1.running_mean"), ("1.bias", "3.weight")]
)
def test_tensors_of_one_shape_in_another_order_are_refused(first: str, second: str) -> None:
    state = network().state_dict()
    names = list(state)
    one, two = names.index(first), names.index(second)
    names[one], names[two] = names[two], names[one]
    foreign = other_names({name: state[name] for name in names})
    said = refused(foreign)
    assert f"differs from it first at number {one + 1}, block{second}" in said
    assert f"expected {first} (4,)" in said


def test_a_known_name_in_another_place_is_refused() -> None:
    state = network().state_dict()
    foreign = {("1.weight" if name == "block3.weight" else name): t for name, t in other_names(state).items()}
    assert "first at number 10, 1.weight (4,); expected 3.weight (4,)" in refused(foreign)


def test_the_first_other_shape_is_named() -> None:
    foreign = other_names(network().state_dict())
    foreign["block2.weight"] = torch.zeros(4, 4, 5, 5)
    said = refused(foreign)
    assert said.startswith("x: holds 16 tensors where Net has 16, and differs from it first at number 8, block2.weight")
    assert "block2.weight (4, 4, 5, 5); expected 2.weight (4, 4, 3, 3); name the architecture" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [("shorter", "number 16, where it ends; expected 4.bias (5,)"),
     ("longer", "number 17, more.weight (1,); expected no more tensors")],
)  # fmt: skip
def test_another_number_of_tensors_is_refused(change: str, said: str) -> None:
    foreign = other_names(network().state_dict())
    if change == "shorter":
        foreign.popitem()
    else:
        foreign["more.weight"] = torch.zeros(1)
    assert said in refused(foreign)


def test_of_known_names_the_missing_and_the_misshapen_are_named() -> None:
    state = network().state_dict()
    reordered = dict(sorted(state.items(), reverse=True))
    assert "2.weight, which is missing; expected 2.weight (4, 4, 3, 3)" in refused(
        {name: tensor for name, tensor in reordered.items() if name != "2.weight"}
    )
    assert "first at 2.weight (4, 4, 5, 5); expected 2.weight (4, 4, 3, 3)" in refused(
        reordered | {"2.weight": torch.zeros(4, 4, 5, 5)}
    )


def test_a_larger_network_of_the_same_names_is_refused() -> None:
    """Every name of a ResNet-18 is in a ResNet-34, with the same shape."""
    assert "first at 5.weight (4,); expected nothing of that name" in refused(
        {**network().state_dict(), "5.weight": torch.zeros(4)}
    )


def test_spare_layers_masks_and_what_lies_beside_the_prefix_are_left_out() -> None:
    state = {f"model.{name}": tensor for name, tensor in network().state_dict().items()}
    beside = {"model.fc.weight": torch.zeros(3, 4), "model.0.mask": torch.ones(4, dtype=torch.bool)}
    found = match(state | beside | {"loss.weight": torch.ones(2)}, spare=("fc.",))
    assert found.left_out == ("model.fc.weight", "model.0.mask", "loss.weight")
    assert equal(found, network().state_dict())


def test_two_whole_networks_in_one_checkpoint_are_refused() -> None:
    state = network().state_dict()
    both = {f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in state.items()}
    assert "holds 32 tensors where Net has 16" in refused(both)


def test_a_whole_number_does_not_take_the_place_of_a_fraction() -> None:
    foreign = other_names(network().state_dict())
    foreign["block1.weight"] = torch.ones(4, dtype=torch.int64)
    assert "first at number 3, block1.weight" in refused(foreign)


def test_half_precision_is_kept_and_shared_memory_is_parted() -> None:
    state = {name: t.half() if t.is_floating_point() else t for name, t in network().state_dict().items()}
    state["3.weight"] = state["1.weight"]
    found = match(state)
    assert found.tensors["0.weight"].dtype == torch.float16
    assert found.tensors["3.weight"].data_ptr() != found.tensors["1.weight"].data_ptr()

"""The table of strategies: it has all of them, and its words are true of a model that was adapted."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import torch
from pydantic import ValidationError

from graftline.frozen.freezing import FREEZES, freeze
from graftline.models.parts import BACKBONE, LORA
from graftline.settings.adaptation import FREEZE_UNTIL, AdaptationSettings, Strategy
from graftline.training.strategies import METHODS
from graftline.training.strategy_table import COLUMNS, markdown_rows
from tests.graftline.frozen.test_freezing import Mixer
from tests.graftline.training.test_strategies import ran
from tests.support.tiny_models import write_tiny_model

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
BLOCK = "2"
BEFORE_THE_BLOCK = tuple(f"{BACKBONE}.{part}." for part in ("embeddings", "encoder.layer.0", "encoder.layer.1"))
CASES = [
    (strategy, until)
    for strategy in STRATEGIES
    for until in (None, BLOCK)
    if FREEZE_UNTIL[strategy] != ("needed" if until is None else "refused")
]


def is_of_backbone(name: str) -> bool:
    return name.startswith(f"{BACKBONE}.")


# The parameters that are meant, if they do not run before the block that `freeze_until` names.
MEANT: dict[str, Callable[[str], bool]] = {
    "nothing": lambda _: False,
    "everything": lambda _: True,
    "everything else": lambda _: True,
    "the backbone": is_of_backbone,
    "the head": lambda name: not is_of_backbone(name),
    "what runs before the block `freeze_until`": lambda _: False,
    "that block and what runs behind it": lambda _: True,
    "the statistics of BatchNorms": lambda _: False,
    "all but the head, then fewer blocks in each stage, in the end nothing": lambda _: False,
    "the head, then more blocks in each stage, in the end everything": lambda _: True,
    "all weights of the backbone": lambda name: is_of_backbone(name) and LORA not in name,
    "low-rank adapters beside them, and the head": lambda name: not is_of_backbone(name) or LORA in name,
    "the backbone without its biases": lambda name: is_of_backbone(name) and not name.endswith(".bias"),
    "the biases, and the head": lambda name: not is_of_backbone(name) or name.endswith(".bias"),
    "the backbone without its norm layers": lambda name: is_of_backbone(name) and ".LayerNorm." not in name,
    "the norm layers, and the head": lambda name: not is_of_backbone(name) or ".LayerNorm." in name,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "base")


def test_every_strategy_is_in_the_table() -> None:
    assert tuple(METHODS) == tuple(FREEZES) == tuple(FREEZE_UNTIL) == STRATEGIES
    rows = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in markdown_rows()]
    assert [row[0] for row in rows] == ["strategy", "---", *STRATEGIES]
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert all(all(row) for row in rows)


@pytest.mark.parametrize(("strategy", "until"), CASES)
def test_what_the_table_says_is_frozen_is_frozen_and_the_rest_learns(
    base: Path, tmp_path: Path, strategy: Strategy, until: str | None
) -> None:
    done = ran(base, tmp_path, strategy=strategy, freeze_until=until, lora_merge=False, epochs=2, train_rows=16)
    frozen, learns = MEANT[FREEZES[strategy].frozen], MEANT[FREEZES[strategy].learns]
    for name, parameter in done.model.named_parameters():
        runs_before = until is not None and name.startswith(BEFORE_THE_BLOCK)
        assert parameter.requires_grad == (learns(name) and not runs_before), name
        assert parameter.requires_grad != (frozen(name) or runs_before), name
    is_solved = any(said.startswith("head: solved") for said in done.said)
    assert is_solved == (METHODS[strategy].head == "solved")


@pytest.mark.parametrize("strategy", [strategy for strategy in STRATEGIES if strategy != "lora"])
def test_statistics_stay_where_the_table_says_so(strategy: Strategy) -> None:
    until = "1" if FREEZE_UNTIL[strategy] == "needed" else None
    point = freeze(Mixer(), strategy, until, example={"x": torch.randn(2, 3, 4)})
    assert point.still_statistics == ("statistics" in FREEZES[strategy].frozen)


@pytest.mark.parametrize("until", [None, BLOCK])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_settings_have_a_freeze_point_where_the_table_has_one(strategy: Strategy, until: str | None) -> None:
    if (strategy, until) in CASES:
        assert AdaptationSettings(strategy=strategy, freeze_until=until).freeze_until == until
    else:
        with pytest.raises(ValidationError, match="partial needs freeze_until"):
            AdaptationSettings(strategy=strategy, freeze_until=until)

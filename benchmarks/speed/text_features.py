"""Feature extraction from texts, against Trainer and against `encode` with a logistic regression."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

from benchmarks.problems.problem import Task
from benchmarks.sides.ours import adapt, adapted_outcome, with_openvino
from benchmarks.sides.trainer import Recipe, best_recipe, train_text
from benchmarks.sides.turns import (
    WARM_UP_ROWS,
    Bench,
    Clock,
    Comparison,
    Measured,
    Outcome,
    Row,
    Side,
    by_turns,
    fastest,
)
from graftline.settings.adaptation import AdaptationSettings

EPOCHS = 5
# Of 5e-5 to 1e-1 the rate with the best accuracy on 320 of these texts under the mean of the tokens. Trainer's own 5e-5
# leaves the head at chance. The time that a step takes does not depend on it.
HEAD_RATE = 3e-2
OURS, FLOAT32, PENALTY, HEAD = "ours", "ours, float32", "ours, another penalty", "ours, another head and seed"
FASTER, FASTER_FLOAT32 = "ours, OpenVINO", "ours, float32, OpenVINO"
DEFAULTS, OWN_RATE, BEST = "Trainer, defaults", "Trainer, defaults with its own rate", "Trainer, best"
ENCODE = "encode + logistic regression"
ENCODE_BATCHES = (8, 16, 32, 64)
SOLVED = AdaptationSettings(strategy="feature_extraction")
LEARNED = AdaptationSettings(strategy="feature_extraction", head="mlp", epochs=EPOCHS)

ROWS = (
    *(Row("feature extraction, 5 epochs' worth", ours, DEFAULTS, target=40) for ours in (OURS, FASTER)),
    *(Row("feature extraction, 5 epochs' worth", ours, BEST, target=0.9 * EPOCHS) for ours in (OURS, FASTER)),
    *(Row("feature extraction, float32", ours, ENCODE, target=2.8) for ours in (FLOAT32, FASTER_FLOAT32)),
    *(Row("feature extraction", ours, ENCODE) for ours in (OURS, FASTER)),
    Row("new regularisation on stored features", PENALTY, DEFAULTS, target=100, most_seconds=3),
    Row("new head and seed on stored features", HEAD, DEFAULTS, target=100, most_seconds=3),
)


def measure(bench: Bench, task: Task) -> Mapping[str, Measured]:
    """Every side from raw texts to a head on the frozen backbone."""
    defaults = Recipe(EPOCHS, "backbone", HEAD_RATE)
    best = replace(defaults, bf16=True, by_length=True, mean_pooled=True, frozen_in_eval=True)
    candidates = [replace(best, batch_size=size) for size in (8, 16, 32, 64)]
    candidates += [replace(best, batch_size=16, attention="eager"), replace(best, batch_size=16, bf16=False)]
    best = best_recipe(bench, task, candidates, train_text)
    few = task.small(WARM_UP_ROWS)
    batch = fastest(ENCODE_BATCHES, lambda size: encoded_outcome(few, size).seconds)
    solved = SOLVED.model_copy(update={"precision": bench.fast})
    learned = LEARNED.model_copy(update={"precision": bench.fast})
    kept = bench.scratch / "features of texts"
    adapt(task, solved, features=kept)

    def again(settings: AdaptationSettings, rows: Task) -> Outcome:
        return adapted_outcome(rows, settings, features=kept)

    sides: list[Side[Task]] = [
        Side(OURS, f"{bench.fast}, solved head", lambda rows, _: adapted_outcome(rows, solved)),
        Side(FASTER, f"{bench.fast}, solved head", lambda rows, _: adapted_outcome(rows, with_openvino(solved))),
        Side(FLOAT32, "float32, solved head", lambda rows, _: adapted_outcome(rows, SOLVED)),
        Side(FASTER_FLOAT32, "float32, solved head", lambda rows, _: adapted_outcome(rows, with_openvino(SOLVED))),
        Side(
            PENALTY,
            f"{bench.fast}, features kept, a fixed L2 penalty",
            lambda rows, seed: again(solved.model_copy(update={"head_penalty": 0.01 * (seed + 1)}), rows),
        ),
        Side(
            HEAD,
            f"{bench.fast}, features kept, hidden layer, {EPOCHS} epochs",
            lambda rows, seed: again(learned.model_copy(update={"seed": seed}), rows),
        ),
        Side(DEFAULTS, defaults.what, lambda rows, seed: train_text(rows, defaults, seed)),
        Side(BEST, best.what, lambda rows, seed: train_text(rows, best, seed)),
        Side(
            ENCODE,
            f"float32, batch {batch}, scikit-learn's defaults",
            lambda rows, _: encoded_outcome(rows, batch),
        ),
    ]
    own = Recipe(EPOCHS, "backbone")
    sides.append(Side(OWN_RATE, own.what, lambda rows, seed: train_text(rows, own, seed), once=True))
    return by_turns(bench, sides, task, small=few)


def encoded_outcome(task: Task, batch_size: int) -> Outcome:
    """sentence-transformers' vectors under scikit-learn's logistic regression."""
    model = SentenceTransformer(str(task.base), device="cpu", local_files_only=True)
    model.max_seq_length = task.reading.max_tokens
    model.to(torch.float32)
    began = Clock.seconds()
    vectors = model.encode(list(task.train.inputs), batch_size=batch_size, show_progress_bar=False)
    head = LogisticRegression(max_iter=1000).fit(vectors, task.train.targets)
    seconds = Clock.seconds() - began
    held = model.encode(list(task.test.inputs), batch_size=batch_size, show_progress_bar=False)
    return Outcome(seconds, float(head.score(held, task.test.targets)))


COMPARISON = Comparison("text_features", "text", ROWS, measure)

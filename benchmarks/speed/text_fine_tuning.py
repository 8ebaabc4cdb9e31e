"""Fine-tuning on texts, half of the blocks or all, against Trainer."""

from collections.abc import Mapping
from dataclasses import replace

from benchmarks.problems.problem import Task
from benchmarks.sides.ours import adapted_outcome
from benchmarks.sides.trainer import Recipe, best_recipe, train_text
from benchmarks.sides.turns import WARM_UP_ROWS, Bench, Comparison, Measured, Row, Side, by_turns
from graftline.settings.adaptation import AdaptationSettings

EPOCHS = 3
OURS, DEFAULTS, BEST = "ours", "Trainer, defaults", "Trainer, best"
# As params.yaml has them, but each side trains once: few rows would be learned from again by ours.
SETTINGS = AdaptationSettings(epochs=EPOCHS, batch_size=16, learning_rate=5e-5, head_learning_rate=3e-4, refit_rows=0)


def measure_half(bench: Bench, task: Task) -> Mapping[str, Measured]:
    """The second half of the blocks and the head."""
    chosen = {"strategy": "partial", "freeze_until": "0.5", "precision": bench.fast, "feature_precision": bench.fast}
    ours = SETTINGS.model_copy(update=chosen)
    return by_turns(
        bench, [_ours(ours), _trainer(DEFAULTS, Recipe(EPOCHS, "half"))], task, small=task.small(WARM_UP_ROWS)
    )


def measure_whole(bench: Bench, task: Task) -> Mapping[str, Measured]:
    """Everything, from a solved head on, as is the default where rows are few."""
    ours = SETTINGS.model_copy(update={"strategy": "probe_then_fine_tune", "precision": bench.fast})
    sides = [_ours(ours), _trainer(DEFAULTS, Recipe(EPOCHS, "nothing")), _trainer(BEST, fastest_trainer(bench, task))]
    return by_turns(bench, sides, task, small=task.small(WARM_UP_ROWS))


def fastest_trainer(bench: Bench, task: Task) -> Recipe:
    """Trainer as it is fastest here, everything trained."""
    plain = Recipe(EPOCHS, "nothing", by_length=True, mean_pooled=True)
    candidates = [replace(plain, batch_size=size) for size in (8, 16, 32)] + [
        replace(plain, batch_size=16, attention="eager")
    ]
    if bench.fast == "bfloat16":
        candidates += [replace(recipe, bf16=True) for recipe in candidates]
    return best_recipe(bench, task, candidates, train_text)


def _ours(settings: AdaptationSettings) -> Side[Task]:
    return Side(
        OURS,
        f"{settings.strategy}, {settings.precision}, batch {settings.batch_size}, rate {settings.learning_rate:g}",
        lambda rows, seed: adapted_outcome(rows, settings.model_copy(update={"seed": seed})),
    )


def _trainer(name: str, recipe: Recipe) -> Side[Task]:
    return Side(name, recipe.what, lambda rows, seed: train_text(rows, recipe, seed))


HALF = Comparison(
    "text_half_frozen",
    "text",
    (Row("half of the blocks frozen, 3 epochs", OURS, DEFAULTS, target=5),),
    measure_half,
)
WHOLE = Comparison(
    "text_fine_tuning",
    "text",
    (
        Row("full fine-tuning, 3 epochs", OURS, DEFAULTS, target=4),
        Row("full fine-tuning, 3 epochs", OURS, BEST, target=1.4),
    ),
    measure_whole,
)

"""How the models among the baselines are adapted, by what the settings say of the candidate."""

from pydantic import JsonValue

from graftline.settings import Settings
from graftline.settings.adaptation import AdaptationSettings, Answers

# The settings in common with the adaptation: what is read of a row, what an error costs, how it is computed.
SHARED = (
    "max_tokens", "max_seconds", "augmentation", "views", "block_pattern", "class_weights", "label_smoothing",
    "device", "precision", "threads",
)  # fmt: skip
# Each random weight has its place to find, so ten times the usual rate of fine-tuning: AdamW's steps are as large as
# the rate, whatever the gradients. It lies between those that the originals began with: 1e-4 for BERT (arXiv
# 1810.04805), 6e-4 for RoBERTa (arXiv 1907.11692).
SCRATCH_RATE = 3e-4
MOST_EPOCHS = 1000


def is_solved_head(settings: AdaptationSettings) -> bool:
    """Whether the adaptation is nothing but a head that is solved on the frozen base model and the rows as they are."""
    plain = settings.fairness == "none" and settings.domain == "none"
    return settings.strategy == "feature_extraction" and settings.head == "linear" and plain


def frozen_head_settings(settings: Settings) -> AdaptationSettings:
    """How the head of the untouched base model is solved: the penalty is chosen on the validation rows.

    With that penalty, the head learns from these, too.
    """
    shared = _shared(settings, "feature_precision", "feature_gigabytes", "runtime")
    return AdaptationSettings.model_validate({**shared, "strategy": "feature_extraction"})


def scratch_settings(settings: Settings) -> AdaptationSettings:
    """How the architecture is trained from random weights: on as many epochs and batches as the settings give.

    Everything learns, also where the adaptation is cheaper because most of it is frozen. The epochs of several runs are
    spent in one: runs that start from random weights end too far apart to be averaged. Epochs are averaged where that
    does better on the validation rows. Rates and decay are its own: those of the adaptation suit trained weights.
    """
    given = settings.adaptation
    shared = _shared(settings, "batch_size", "gradient_accumulation", "gradient_checkpointing", "compile")
    budget = {"epochs": min(MOST_EPOCHS, given.epochs * given.runs), "average": "greedy"}
    rates = {"learning_rate": SCRATCH_RATE, "head_learning_rate": SCRATCH_RATE}
    return AdaptationSettings.model_validate({**shared, **budget, **rates, "strategy": "fine_tuning"})


def _shared(settings: Settings, *more: str) -> dict[str, JsonValue]:
    """Seeded by the evaluation: another seed of the adaptation shall find the same baselines."""
    given = settings.adaptation.model_dump(mode="json", include={*SHARED, *more})
    return {**given, "answers": answers_of_baselines(settings), "seed": settings.evaluation.seed}


def answers_of_baselines(settings: Settings) -> Answers:
    """Whoever beats a baseline by thresholds shall have beaten the baseline's own; costs are weighed elsewhere."""
    return "thresholds" if settings.adaptation.answers == "thresholds" else "likeliest"

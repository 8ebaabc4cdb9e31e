"""Scores of predicted numbers."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from graftline.errors import GraftlineError
from graftline.evaluation.calibration import no_temperature
from graftline.evaluation.examination import Answers, Examination
from graftline.evaluation.group_rates import Rate, everyone
from graftline.evaluation.linear_models import Answer, Matrix
from graftline.evaluation.metrics import Floats, Integers, Metric, mean_of, require_rows
from graftline.evaluation.pictures import confusion_picture, number_picture
from graftline.evaluation.scoring import HIGHER, LOWER, Scoring
from graftline.evaluation.task_scores import Said, TaskScores
from graftline.evaluation.thresholds import no_thresholds

# A smaller variance than this share of the mean square is the rounding error of equal numbers; and so is a smaller
# distance from the mean than this share of it.
NO_SPREAD, ROUNDING = 1e-12, 1e-14
BINS = 10
QUARTERS = ("1 lowest", "2", "3", "4 highest")
# A number that moves by less than this share of the numbers' spread counts as unchanged.
MOVE_SHARE = 0.1


def metrics_of_numbers(predictions: Floats, targets: Floats) -> dict[str, Metric]:
    """The scores of (rows, 1) numbers against (rows, 1) targets, as functions of how often each row counts.

    R² is the share of the targets' variance that is explained; of equal targets none can be, which is 0, or 1 if all
    predictions are right, as in scikit-learn.
    Raises: GraftlineError for no rows, and for predictions that are no finite numbers.
    """
    require_rows(len(predictions))
    if faulty := int((~np.isfinite(predictions)).sum()):
        raise GraftlineError(
            f"{faulty} of {len(predictions)} rows were given values that are no finite numbers, so the model cannot be"
            " scored; its weights are damaged or its training diverged: lower adaptation.learning_rate"
        )
    error = (predictions - targets)[:, 0]
    # Around their middle, so that squares of large numbers do not swallow small differences.
    around = targets[:, 0] - targets.mean()
    mean_squared = mean_of(error**2)

    def r2(counts: Floats) -> Floats:
        rows = counts.sum(1)
        size = counts @ around**2
        spread, left = size - (counts @ around) ** 2 / rows, counts @ error**2
        told_apart = spread > np.maximum(NO_SPREAD * size, (ROUNDING * targets.mean()) ** 2 * rows)
        explained = 1 - np.divide(left, spread, out=np.ones_like(left), where=told_apart)
        return np.asarray(np.where(told_apart | (left > 0), explained, 1.0))

    return {
        "r2": r2,
        "mean_absolute_error": mean_of(np.abs(error)),
        "root_mean_squared_error": lambda counts: np.sqrt(mean_squared(counts)),
    }


def in_quarters(predictions: Floats, targets: Floats) -> Integers:
    """How often each quarter of the actual values (rows) was predicted as each (columns): (4, 4)."""
    edges = np.quantile(targets, [0.25, 0.5, 0.75])
    places = 4 * np.searchsorted(edges, targets[:, 0]) + np.searchsorted(edges, predictions[:, 0])
    return np.bincount(places, minlength=16).reshape(4, 4).astype(np.int64)


def number_reliability(predictions: Floats, targets: Floats) -> list[dict[str, float]]:
    """For each tenth of the rows, from low to high predictions: mean prediction, mean actual value, rows."""
    return [
        {
            "confidence": float(predictions[rows].mean()),
            "accuracy": float(targets[rows].mean()),
            "rows": len(rows),
        }
        for rows in np.array_split(predictions[:, 0].argsort(kind="stable"), BINS)
        if len(rows)
    ]


def examine(answers: Answers) -> Examination:
    """Predicted beside actual numbers."""
    predictions, targets = answers.predictions, answers.targets
    table, bins = in_quarters(predictions, targets), number_reliability(predictions, targets)
    pictures = {
        "Predicted against actual on the held-out rows": number_picture(predictions, targets, answers.target_name),
        "Quarters of the actual values": confusion_picture(table, QUARTERS),
    }
    return Examination(QUARTERS, table, bins, (), (), pictures)


def unexplained(predictions: Floats, targets: Floats) -> Floats:
    """How much of the mean variance of all these rows' numbers is left, as a negative number: (rows,)."""
    variance = float(targets.var())
    return np.asarray(-((predictions - targets)[:, 0] ** 2) / (variance or 1.0))


def mean(train: Floats, rows: int, _labels: Sequence[str]) -> tuple[str, Floats]:
    """That of the training rows' numbers."""
    return f"{train.mean():g}", np.full((rows, 1), train.mean())


def learn(words: Matrix, targets: Floats, _labels: int, /, *, strength: float, balanced: bool) -> Answer:  # noqa: ARG001
    """Ridge regression."""
    from sklearn.linear_model import Ridge

    ridge = Ridge(alpha=1 / strength).fit(words, targets[:, 0])
    return lambda asked: np.asarray(ridge.predict(asked), dtype=float)[:, None]


def moves(before: Floats, after: Floats, spread: float) -> Floats:
    """The distance, as a share of the spread."""
    return np.asarray(np.abs(after - before)[:, 0] / spread)


def is_same(before: Floats, after: Floats, spread: float) -> NDArray[np.bool_]:
    """Whether the number is nearly the same."""
    return np.asarray(np.abs(after - before)[:, 0] <= MOVE_SHARE * spread)


def rates(predictions: Floats, targets: Floats) -> dict[str, Rate]:
    """No rates, but means."""
    all_rows = everyone(len(targets))
    error = np.abs(predictions - targets)
    return {"mean absolute error": Rate(error, all_rows), "mean prediction": Rate(predictions, all_rows)}


def wrongness(predictions: Floats, targets: Floats) -> Floats:
    """The distance."""
    return np.asarray(np.abs(predictions - targets)[:, 0])


def said(predictions: Floats, _labels: Sequence[str]) -> Said:
    """The number, in four digits."""
    return f"{predictions[0]:.4g}", None


SCORES = TaskScores(
    scoring=Scoring(
        primary="r2",
        better={"r2": HIGHER, "mean_absolute_error": LOWER, "root_mean_squared_error": LOWER},
        floors=("r2",),
        loss="squared error",
        baseline="the training mean",
        on_words="TF-IDF with ridge regression",
    ),
    metrics=metrics_of_numbers,
    quality=unexplained,
    temperature=no_temperature,
    thresholds=no_thresholds,
    examine=examine,
    without_model=mean,
    learn=learn,
    moves=moves,
    is_same=is_same,
    rates=rates,
    wrongness=wrongness,
    said=said,
    graded=True,
)

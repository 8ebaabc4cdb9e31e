"""Simulated held-out rows and models for them, and the gate's verdict on two of them.

Each held-out row has a difficulty that all models share; each model adds something of its own. Both are normal, on the
scale of the logit of the right label, which gives the accuracy and the share of discordant rows that retrainings of the
review model have. A row's outcome under candidate and champion is thus correlated as in practice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from graftline.evaluation.bootstrap import Score, difference_of, row_counts
from graftline.evaluation.comparison import Comparison, Slice, SliceGains
from graftline.evaluation.metrics import CALIBRATION_BINS, calibration_bins
from graftline.evaluation.paired_tests import Gains, gains
from graftline.evaluation.single_label import SCORES
from graftline.verdict.gate import Evaluated, Verdict, decide
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy

# Those of the review data.
ROWS = 1610
RESAMPLES = 1000

Floats = NDArray[np.float64]
Drawn = NDArray[np.float32]


@dataclass(frozen=True)
class Strength:
    """Rows of one kind: how many there are, and how two retrainings did on them."""

    name: str
    share: float
    accuracy: float
    discordance: float

    def correlation(self) -> float:
        """How alike two models' logits are, so that they are discordant on the right share of rows."""
        middle = norm.ppf(self.accuracy)

        def surplus(correlation: float) -> float:
            both = multivariate_normal([0, 0], [[1, correlation], [correlation, 1]]).cdf([middle, middle])
            return float(2 * (self.accuracy - both) - self.discordance)

        return float(brentq(surplus, 0, 0.9999))


# Those of the review data with clear and with mild ratings.
STRENGTHS = (Strength("clear", 2 / 3, 0.916, 0.047), Strength("mild", 1 / 3, 0.732, 0.119))
# The standard deviation of the logits of those retrainings.
SPREAD = 1.66


@dataclass(frozen=True)
class Rows:
    """Held-out rows: what they are, and how they are resampled, alike for all retrainings."""

    targets: NDArray[np.int64]
    strength: NDArray[np.int64]
    slices: Sequence[Slice]
    counts: Drawn
    """(resamples, rows)"""


def held_out(rows: int, *, seed: int) -> Rows:
    """Rows of two classes, in two strengths and four quarters of length."""
    number = np.arange(rows)
    targets = (number % 2).astype(np.int64)
    strength = np.random.default_rng((seed, rows)).permutation(number >= rows * STRENGTHS[0].share).astype(np.int64)
    length = number // 2 % 4
    slices = [
        *(Slice("strength", kind.name, strength == place) for place, kind in enumerate(STRENGTHS)),
        *(Slice("input length", f"quarter {place + 1}", length == place) for place in range(4)),
        *(Slice("class", str(place), targets == place) for place in range(2)),
    ]
    drawn = np.concatenate(list(row_counts(targets, RESAMPLES, seed)))
    return Rows(targets, strength, slices, drawn.astype(np.float32))


def logits(rows: Rows, true_difference: float, some: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Candidate's and champion's logits of the right label: (some, rows) each."""
    correlation = np.array([kind.correlation() for kind in STRENGTHS])[rows.strength]
    shared = np.sqrt(correlation) * random.standard_normal((some, len(rows.targets)))
    models = []
    for gain in (true_difference, 0.0):
        middle = np.asarray(norm.ppf([kind.accuracy + gain for kind in STRENGTHS]))[rows.strength]
        own = np.sqrt(1 - correlation) * random.standard_normal(shared.shape)
        models.append(np.asarray(SPREAD * (middle + shared + own)))
    return models[0], models[1]


def judge(seen: tuple[Comparison, Comparison], policy: Policy, allowed: Allowance | None = None) -> Verdict:
    """The gate's verdict."""
    champion, majority = seen
    values = {name: champion.scores[name].value + champion.differences[name].value for name in champion.scores}
    scores = {name: Score(value, value, value) for name, value in values.items()}
    candidate = Evaluated(SCORES.scoring, scores)
    return decide(candidate, champion, baselines={"majority": majority}, policy=policy, allowed=allowed)


def compare_all(rows: Rows, candidate: Floats, champion: Floats) -> list[tuple[Comparison, Comparison]]:
    """Each candidate beside champion and majority, as `compare` of graftline/evaluation/ does it, for all at once.

    The same sums over the same resamples; a test holds the two against one another.
    """
    whole = np.ones((1, len(rows.targets)), dtype=np.float32)
    drawn, exact = ([_scores(counts, rows, each) for each in (candidate, champion)] for counts in (rows.counts, whole))
    guesses = (rows.targets == 0).astype(np.float32)  # the label that comes first where both are as frequent
    beside = _mean(rows.counts, (candidate > 0) - guesses), _mean(whole, (candidate > 0) - guesses)
    result = []
    for place in range(len(candidate)):
        ours, theirs = candidate[place] > 0, champion[place] > 0
        differences = {
            name: difference_of(
                float(exact[0][name][0, place] - exact[1][name][0, place]),
                (drawn[0][name][:, place] - drawn[1][name][:, place]).astype(float),
            )
            for name in SCORES.scoring.better
        }
        scores = {name: _exactly(float(exact[1][name][0, place])) for name in differences}
        parts = [
            SliceGains(part.column, part.value, _gains(ours[part.rows], theirs[part.rows])) for part in rows.slices
        ]
        against = Comparison("the champion", scores, differences, _gains(ours, theirs), parts)
        of_majority = difference_of(float(beside[1][0, place]), beside[0][:, place].astype(float))
        majority = Comparison(
            "the most frequent label",
            {"accuracy": _exactly(float(guesses.mean()))},
            {"accuracy": of_majority},
            _gains(ours, guesses),
        )
        result.append((against, majority))
    return result


def _scores(counts: Drawn, rows: Rows, logit: Floats) -> Mapping[str, Drawn]:
    """Every score of each model on each resample: (resamples, models)."""
    hit = (logit > 0).astype(np.float32)
    first = (rows.targets == 0).astype(np.float32)
    of_first, of_second = float(first.sum()), float(len(first) - first.sum())
    right, right_first = (_sum(counts, values) for values in (hit, hit * first))
    right_second = right - right_first
    given_first = right_first + of_second - right_second
    f1 = (2 * right_first / (of_first + given_first) + 2 * right_second / (of_second + len(first) - given_first)) / 2
    confidence = 1 / (1 + np.exp(-np.abs(logit)))
    place, surplus = calibration_bins(confidence), (hit - confidence).astype(np.float32)
    # Of two labels the likelier has at least a half.
    bins = range(CALIBRATION_BINS // 2, CALIBRATION_BINS)
    error = sum(np.abs(_sum(counts, np.where(place == number, surplus, 0))) for number in bins)
    return {
        "accuracy": right / np.float32(len(first)),
        "macro_f1": f1.astype(np.float32),
        "log_loss": _mean(counts, np.logaddexp(0, -logit)),
        "calibration_error": np.asarray(error / np.float32(len(first))),
    }


def _sum(counts: Drawn, values: NDArray[np.generic]) -> Drawn:
    """(resamples, rows) counts and (models, rows) values to (resamples, models)."""
    return np.asarray(counts @ values.astype(np.float32).T)


def _mean(counts: Drawn, values: NDArray[np.generic]) -> Drawn:
    return _sum(counts, values) / np.float32(counts.shape[1])


def _gains(ours: NDArray[np.bool_], theirs: NDArray[np.generic]) -> Gains:
    return gains(ours.astype(float), theirs.astype(float), hits=True)


def _exactly(value: float) -> Score:
    return Score(value, value, value)

"""Simulated held-out rows and models for them, and the gate's verdict on two of them.

Each held-out row has a difficulty that all models share; each model adds something of its own. Both are normal, on the
scale of the logit of the right label, which gives the accuracy and the share of discordant rows that retrainings of the
review model have. A row's outcome under candidate and champion is thus correlated as in practice.

Rows may come in groups, of speakers or customers: then a part of a row's difficulty, and of what a model adds, is that
of its whole group. That changes no row by itself, but the rows of a group go along with one another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from graftline.evaluation.bootstrap import Score, difference_of, row_counts
from graftline.evaluation.comparison import Comparison, Slice, SliceGains
from graftline.evaluation.groups import Likeness, group_sums
from graftline.evaluation.metrics import CALIBRATION_BINS, calibration_bins
from graftline.evaluation.paired_tests import Gains, gains
from graftline.evaluation.single_label import SCORES
from graftline.verdict.domain_axes import InTargetDomain
from graftline.verdict.gate import Evaluated, Verdict, decide
from graftline.verdict.life import Allowance
from graftline.verdict.policy import Policy

# Those of the review data.
ROWS = 1610
RESAMPLES = 1000

Floats = NDArray[np.float64]
Drawn = NDArray[np.float32]
Integers = NDArray[np.int64]


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
# Which share of the variance is that of a row's group: of how difficult it is, and of what a model makes of it.
SHARED_BY_GROUP = 0.3
# Groups of several sizes: many of one row, and some that hold most of the rows.
MIXED = (1, 1, 1, 1, 1, 2, 2, 5, 5, 10, 20, 40)


@dataclass(frozen=True)
class Rows:
    """Held-out rows: what they are, and how they are resampled, alike for all retrainings."""

    targets: NDArray[np.int64]
    strength: NDArray[np.int64]
    slices: Sequence[Slice]
    counts: Drawn
    """(resamples, rows)"""
    groups: Integers | None = None
    """The number of each row's group: (rows,)."""
    by_row: bool = False
    """Whether they are judged as if they were in no groups."""

    @property
    def judged_groups(self) -> Integers | None:
        """The groups as the verdict sees them."""
        return None if self.by_row else self.groups


def held_out(rows: int, *, seed: int, sizes: Sequence[int] = (), by_row: bool = False) -> Rows:
    """Rows of two classes, in two strengths and four quarters of length.

    With `sizes` they come in groups of these sizes, over and over; `by_row` judges them as if they did not.
    """
    number = np.arange(rows)
    targets = (number % 2).astype(np.int64)
    strength = np.random.default_rng((seed, rows)).permutation(number >= rows * STRENGTHS[0].share).astype(np.int64)
    length = number // 2 % 4
    slices = [
        *(Slice("strength", kind.name, strength == place) for place, kind in enumerate(STRENGTHS)),
        *(Slice("input length", f"quarter {place + 1}", length == place) for place in range(4)),
        *(Slice("class", str(place), targets == place) for place in range(2)),
    ]
    groups = in_groups(rows, sizes, seed=seed) if sizes else None
    judged = None if by_row else groups
    drawn = np.concatenate(list(row_counts(targets, RESAMPLES, seed, judged)))
    return Rows(targets, strength, slices, drawn.astype(np.float32), groups, by_row)


def in_groups(rows: int, sizes: Sequence[int], *, seed: int) -> Integers:
    """The number of each row's group, groups having these sizes over and over: (rows,). Which rows is drawn."""
    repeats = -(-rows // sum(sizes))
    numbers = np.repeat(np.arange(repeats * len(sizes)), np.tile(sizes, repeats))[:rows]
    return np.random.default_rng((seed, rows, *sizes)).permutation(numbers).astype(np.int64)


def normal(rows: Rows, some: int, random: np.random.Generator) -> Floats:
    """Standard normal draws for each of some models and each row, alike within a group: (some, rows)."""
    own = random.standard_normal((some, len(rows.targets)))
    if rows.groups is None:
        return own
    of_groups = random.standard_normal((some, int(rows.groups.max()) + 1))[:, rows.groups]
    return np.asarray(np.sqrt(1 - SHARED_BY_GROUP) * own + np.sqrt(SHARED_BY_GROUP) * of_groups)


def logits(rows: Rows, true_difference: float, some: int, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Candidate's and champion's logits of the right label: (some, rows) each."""
    correlation = np.array([kind.correlation() for kind in STRENGTHS])[rows.strength]
    shared = np.sqrt(correlation) * normal(rows, some, random)
    models = []
    for gain in (true_difference, 0.0):
        middle = np.asarray(norm.ppf([kind.accuracy + gain for kind in STRENGTHS]))[rows.strength]
        own = np.sqrt(1 - correlation) * normal(rows, some, random)
        models.append(np.asarray(SPREAD * (middle + shared + own)))
    return models[0], models[1]


def gains_of(rows: Rows, candidate: Floats, champion: Floats) -> Gains:
    """What one candidate gained on one champion, as the verdict sees it: of logits (rows,) each."""
    return _gains(candidate > 0, champion > 0, rows.judged_groups)


def gained(rows: Rows, candidate: Floats, champion: Floats) -> Floats:
    """The same of each row, or of each group where the verdict is by group: what is independent of each other."""
    each = (candidate > 0).astype(float) - (champion > 0)
    return each if rows.judged_groups is None else group_sums(each, rows.judged_groups)


def judge(
    seen: tuple[Comparison, Comparison],
    policy: Policy,
    allowed: Allowance | None = None,
    *,
    target: InTargetDomain | None = None,
) -> Verdict:
    """The gate's verdict, beside what labelled rows of a target domain say."""
    champion, majority = seen
    candidate = candidate_in(champion, target=target)
    return decide(candidate, champion, baselines={"majority": majority}, policy=policy, allowed=allowed)


def candidate_in(champion: Comparison, *, target: InTargetDomain | None = None) -> Evaluated:
    """The candidate of a comparison with the champion."""
    values = {name: champion.scores[name].value + champion.differences[name].value for name in champion.scores}
    scores = {name: Score(value, value, value) for name, value in values.items()}
    groups = champion.gains.grouped.groups if champion.gains.grouped else None
    return Evaluated(SCORES.scoring, scores, groups=groups, target=target)


def compare_all(rows: Rows, candidate: Floats, champion: Floats) -> list[tuple[Comparison, Comparison]]:
    """Each candidate beside champion and majority, as `compare` of graftline/evaluation/ does it, for all at once.

    The same sums over the same resamples; a test holds the two against one another.
    """
    whole = np.ones((1, len(rows.targets)), dtype=np.float32)
    drawn, exact = ([_scores(counts, rows, each) for each in (candidate, champion)] for counts in (rows.counts, whole))
    guesses = (rows.targets == 0).astype(np.float32)  # the label that comes first where both are as frequent
    beside = _mean(rows.counts, (candidate > 0) - guesses), _mean(whole, (candidate > 0) - guesses)
    groups, result = rows.judged_groups, []
    count = None if groups is None else len(np.unique(groups))
    for place in range(len(candidate)):
        ours, theirs = candidate[place] > 0, champion[place] > 0
        differences = {
            name: difference_of(
                float(exact[0][name][0, place] - exact[1][name][0, place]),
                (drawn[0][name][:, place] - drawn[1][name][:, place]).astype(float),
                count,
            )
            for name in SCORES.scoring.better
        }
        scores = {name: _exactly(float(exact[1][name][0, place])) for name in differences}
        like = None if groups is None else Likeness.of(ours.astype(float) - theirs, groups)
        parts = [
            SliceGains(
                part.column,
                part.value,
                _gains(ours[part.rows], theirs[part.rows], None if groups is None else groups[part.rows], like),
            )
            for part in rows.slices
        ]
        against = Comparison("the champion", scores, differences, _gains(ours, theirs, groups), parts)
        of_majority = difference_of(float(beside[1][0, place]), beside[0][:, place].astype(float), count)
        majority = Comparison(
            "the most frequent label",
            {"accuracy": _exactly(float(guesses.mean()))},
            {"accuracy": of_majority},
            _gains(ours, guesses, groups),
        )
        result.append((against, majority))
    return result


def _scores(counts: Drawn, rows: Rows, logit: Floats) -> Mapping[str, Drawn]:
    """Every score of each model on each resample: (resamples, models)."""
    hit = (logit > 0).astype(np.float32)
    first = (rows.targets == 0).astype(np.float32)
    # Alike in all resamples where the classes are strata; of whole groups now more, now fewer are drawn.
    of_first, every = counts @ first[:, None], counts.sum(axis=1, keepdims=True)
    of_second = every - of_first
    right, right_first = (_sum(counts, values) for values in (hit, hit * first))
    right_second = right - right_first
    given_first = right_first + of_second - right_second
    f1 = (2 * right_first / (of_first + given_first) + 2 * right_second / (of_second + every - given_first)) / 2
    confidence = 1 / (1 + np.exp(-np.abs(logit)))
    place, surplus = calibration_bins(confidence), (hit - confidence).astype(np.float32)
    # Of two labels the likelier has at least a half.
    bins = range(CALIBRATION_BINS // 2, CALIBRATION_BINS)
    error = sum(np.abs(_sum(counts, np.where(place == number, surplus, 0))) for number in bins)
    return {
        "accuracy": right / every,
        "macro_f1": f1.astype(np.float32),
        "log_loss": _mean(counts, np.logaddexp(0, -logit)),
        "calibration_error": np.asarray(error / every),
    }


def _sum(counts: Drawn, values: NDArray[np.generic]) -> Drawn:
    """(resamples, rows) counts and (models, rows) values to (resamples, models)."""
    return np.asarray(counts @ values.astype(np.float32).T)


def _mean(counts: Drawn, values: NDArray[np.generic]) -> Drawn:
    return np.asarray(_sum(counts, values) / counts.sum(axis=1, keepdims=True))


def _gains(
    ours: NDArray[np.bool_], theirs: NDArray[np.generic], groups: Integers | None = None, like: Likeness | None = None
) -> Gains:
    return gains(ours.astype(float), theirs.astype(float), hits=True, groups=groups, like=like)


def _exactly(value: float) -> Score:
    return Score(value, value, value)

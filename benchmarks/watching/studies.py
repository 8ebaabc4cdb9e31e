"""What is simulated for docs/measurements/watching.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.watching.real_rows import REVIEWS, Texts
from benchmarks.watching.years import (
    OURS,
    SPENDING,
    SPLIT,
    Drawn,
    Rule,
    TrueScores,
    Year,
    finite_median,
    found_after,
    year,
)
from graftline.evaluation.metrics import Floats
from graftline.transfer.permutations import ENOUGH_EXTREMES, MOST_DRAWS
from graftline.transfer.two_samples import Vectors, median_distance
from graftline.watching.estimates import estimated_score
from graftline.watching.evidence import LOOKS_A_YEAR, YEARLY_CHANCE, budget_share, capitals, needed
from graftline.watching.looks import SIGNALS, Rows, Watched, joined
from graftline.watching.scores import lowest_mean, pays_for_scores

# Of the drawn rows: as many times more held-out ones as the reviews have beside 400 a day.
HELD_OUT, A_DAY = 200, 50
REAL_HELD_OUT, REAL_A_DAY = 1_600, 100
# When a drift begins, and for how long it is waited for.
BEGINS, WAITED = 30, 90
SHARES = (0.05, 0.1, 0.2, 0.5, 1.0)
FALLS = (0.0, 0.02, 0.05, 0.1, 0.2)
PROMISED, LABELS_A_DAY = 0.85, (10, 50, 200)
MARGIN = 0.02


@dataclass(frozen=True)
class FalseAlarms:
    """Years without a drift."""

    rows: str
    rule: Rule
    years: int
    first: Sequence[int]
    """The first look with an alarm of each year that had one."""


@dataclass(frozen=True)
class Found:
    """Years with a drift."""

    kind: str
    share: float
    rule: Rule
    delay: float | None
    """The median, in looks; None where most did not find it."""
    found: float
    years: int


@dataclass(frozen=True)
class FoundScore:
    """Years in which labels come."""

    labels: int
    fall: float
    years: int
    alarmed: float
    delay: float | None
    """The same."""


@dataclass(frozen=True)
class Luck:
    """Years whose true scores are what the model is worth, which so many held-out rows told with some luck."""

    held_out: int
    years: int
    by_mean: float
    """The share with an alarm if their score is compared with that of the held-out rows less the margin."""
    by_bound: float
    """The same less the luck of so few rows, where that is more."""


@dataclass(frozen=True)
class Estimate:
    """A day of one kind of text without labels."""

    kind: str
    share: float
    true: float
    estimated: float
    error: float


def by_law(years: int, *, seed: int = 0) -> list[FalseAlarms]:
    """Years of p-values as exchangeable rows give them, with independent signals: the law needs no rows."""
    random, first = np.random.default_rng(seed), np.full(years, LOOKS_A_YEAR)
    for _ in SIGNALS:
        alarmed = capitals(_lawful_p(random, (years, LOOKS_A_YEAR))) >= needed(budget_share(SIGNALS))
        first = np.minimum(first, np.where(alarmed.any(1), alarmed.argmax(1), LOOKS_A_YEAR))
    return [FalseAlarms("the law alone", OURS, years, sorted(first[first < LOOKS_A_YEAR].tolist()))]


def _lawful_p(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """What permutation_test gives where the true choice is one of many equally likely ones.

    Given the chance u of a draw as extreme, the tenth such draw comes when it does by the negative binomial law.
    """
    chance = random.random(shape)
    draws = ENOUGH_EXTREMES + random.negative_binomial(ENOUGH_EXTREMES, chance)
    late = (1 + random.binomial(MOST_DRAWS, chance).clip(max=ENOUGH_EXTREMES - 1)) / (1 + MOST_DRAWS)
    return np.where(draws <= MOST_DRAWS, ENOUGH_EXTREMES / draws, late)


def drawn_years(rules: Sequence[Rule], count: int, *, seed: int = 0, looks: int = LOOKS_A_YEAR) -> list[FalseAlarms]:
    """Years without a drift of drawn rows, each with held-out rows of its own."""
    seen = [_drawn_year(rules, (seed, number), looks) for number in range(count)]
    return [_false_alarms("drawn", rule, seen) for rule in rules]


def _drawn_year(rules: Sequence[Rule], seed: tuple[int, int], looks: int) -> Year:
    law = Drawn()
    held_out = law.rows(HELD_OUT, 0, np.random.default_rng((*seed, 9)))
    return year(
        held_out,
        lambda day, random: law.rows(A_DAY, day, random),
        median_distance(_features(held_out)),
        seed=seed,
        looks=looks,
        rules=rules,
        scores=TrueScores(lambda _, random: (random.random(A_DAY) < PROMISED).astype(float), PROMISED),
    )


def real_years(texts: Mapping[str, Texts], count: int, *, seed: int = 0) -> list[FalseAlarms]:
    """Years without a drift of real film reviews."""
    seen = [_real_year(texts, REVIEWS, 0.0, (OURS,), (seed, number), LOOKS_A_YEAR) for number in range(count)]
    return [_false_alarms("film reviews", OURS, seen)]


def _real_year(
    texts: Mapping[str, Texts], kind: str, share: float, rules: Sequence[Rule], seed: tuple[int, int], looks: int
) -> Year:
    """Film reviews, from the day of the drift on with a share of another kind; drawn with repetition."""
    own, foreign = texts[REVIEWS].rows, texts[kind].rows
    held_out = _some(own, REAL_HELD_OUT, np.random.default_rng((*seed, 9)))

    def rows_of(day: int, random: np.random.Generator) -> Rows:
        mixed = int(random.binomial(REAL_A_DAY, share)) if day >= BEGINS else 0
        return joined([_some(own, REAL_A_DAY - mixed, random), _some(foreign, mixed, random)])

    bandwidth = median_distance(_features(held_out))
    return year(held_out, rows_of, bandwidth, seed=seed, looks=looks, rules=rules, ends_with_alarms=share > 0)


def real_drift(texts: Mapping[str, Texts], kind: str, share: float, count: int, *, seed: int = 0) -> list[Found]:
    """How soon each valid rule finds a share of another kind of text."""
    rules: tuple[Rule, ...] = (OURS, SPENDING, SPLIT)
    looks = BEGINS + WAITED
    seen = [_real_year(texts, kind, share, rules, (seed, number), looks) for number in range(count)]
    return [Found(kind, share, rule, *found_after(seen, rule, BEGINS, looks), count) for rule in rules]


def fallen_scores(labels: int, fall: float, years: int, *, seed: int = 0) -> list[FoundScore]:
    """Labels of so many rows a day, and a score that lies below what was promised from the day of the drift on."""
    random, delays = np.random.default_rng((seed, labels)), []
    for _ in range(years):
        watched = Watched()
        for look in range(LOOKS_A_YEAR):
            score = PROMISED - (fall if look >= BEGINS else 0)
            right = (random.random(labels) < score).astype(float)
            watched = watched.after(pays_for_scores(right, PROMISED), look, budget_share(SIGNALS))
            if watched.alarm is not None:
                break
        delays.append(float("inf") if watched.alarm is None else watched.alarm - (BEGINS if fall else 0) + 1)
    found = FoundScore(labels, fall, years, float(np.isfinite(delays).mean()), finite_median(delays))
    return [found]


def lucky_promises(held_out: int, years: int, *, seed: int = 0) -> list[Luck]:
    """Years in which nothing changed, each judged by held-out rows of its own."""
    random, alarmed = np.random.default_rng((seed, held_out)), np.zeros(2)
    for _ in range(years):
        right = (random.random(held_out) < PROMISED).astype(float)
        mean = float(right.mean()) - MARGIN
        promises = (mean, min(mean, lowest_mean(right, YEARLY_CHANCE * budget_share(SIGNALS))))
        days = (random.random((LOOKS_A_YEAR, LABELS_A_DAY[1])) < PROMISED).astype(float)
        alarmed += [_falls_below(days, promise) for promise in promises]
    by_mean, by_bound = (alarmed / years).tolist()
    return [Luck(held_out, years, by_mean, by_bound)]


def _falls_below(days: Floats, promise: float) -> bool:
    watched = Watched()
    for look, right in enumerate(days):
        watched = watched.after(pays_for_scores(right, promise), look, budget_share(SIGNALS))
        if watched.alarm is not None:
            return True
    return False


def estimates(texts: Mapping[str, Texts], *, seed: int = 0) -> list[Estimate]:
    """What is estimated without labels of each kind of text, and what is true."""
    random, own = np.random.default_rng(seed), texts[REVIEWS]
    half = random.permutation(len(own.right))[:REAL_HELD_OUT]
    held_out, right = own.rows.confidence[half], own.right[half]
    found = []
    for kind, foreign in texts.items():
        for share in (0.2, 1.0) if kind != REVIEWS else (1.0,):
            mixed = int(4 * REAL_A_DAY * share)
            some, rest = random.choice(len(foreign.right), mixed), random.choice(len(own.right), 4 * REAL_A_DAY - mixed)
            confidence = np.r_[foreign.rows.confidence[some], own.rows.confidence[rest]]
            true = float(np.r_[foreign.right[some], own.right[rest]].mean())
            estimated = estimated_score(confidence, held_out, right, random)
            found.append(Estimate(kind, share, true, estimated.value, estimated.error))
    return found


def _some(rows: Rows, count: int, random: np.random.Generator) -> Rows:
    return rows.take(random.choice(len(rows), count))


def _features(rows: Rows) -> Vectors:
    assert rows.features is not None
    return rows.features


def _false_alarms(rows: str, rule: Rule, seen: Sequence[Year]) -> FalseAlarms:
    return FalseAlarms(rows, rule, len(seen), sorted(one.alarms[rule] for one in seen if rule in one.alarms))

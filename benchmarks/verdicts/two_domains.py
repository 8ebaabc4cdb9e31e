"""A year of retrainings that are to be better in the target domain and no worse at home, on rows of each.

Prints how many years promote anything that is no better there: the same question as year.py asks, of the joint rule.
"""

import argparse

from benchmarks.verdicts.models import ROWS, Floats, Rows, compare_all, gains_of, held_out, judge
from benchmarks.verdicts.year import LOOKS, Models, Spending
from graftline.evaluation.comparison import Comparison
from graftline.verdict.domain_axes import InTargetDomain
from graftline.verdict.policy import Policy

POLICY = Policy(improvement="target_domain")
TARGET_ROWS = 600


def promotions(
    there: Rows, home: Rows, *, seed: tuple[int, ...], looks: int = LOOKS, lost_at_home: float = 0.0
) -> list[int]:
    """The looks of a year that promote a model which is no better there; the champion is replaced by each of them.

    Candidates are worse at home by `lost_at_home`.
    """
    of_target, of_home, spending = Models(there, (*seed, 0)), Models(home, (*seed, 1)), Spending(there)
    champion = of_target.next(0.0), of_home.next(0.0)
    promoted = []
    for look in range(1, looks + 1):
        candidate = of_target.next(0.0), of_home.next(-lost_at_home)
        allowed = spending.allowance(candidate[0], champion[0], POLICY)
        spending.add(candidate[0], champion[0], allowed)
        seen = gains_of(there, candidate[0], champion[0])
        # The gate asks this and more; of a candidate that fails here nothing has to be resampled.
        if seen.mean <= 0 or seen.p > allowed.level:
            continue
        target = InTargetDomain(_against(there, candidate[0], champion[0]))
        at_home = compare_all(home, candidate[1][None], champion[1][None])[0]
        if judge(at_home, POLICY, allowed, target=target).verdict == "PROMOTE":
            promoted.append(look)
            champion = candidate
    return promoted


def _against(rows: Rows, candidate: Floats, champion: Floats) -> Comparison:
    (compared,) = compare_all(rows, candidate[None], champion[None])
    return compared[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=40)
    parser.add_argument("--looks", type=int, default=LOOKS)
    options = parser.parse_args()
    there, home = held_out(TARGET_ROWS, seed=1), held_out(ROWS, seed=0)
    years = [promotions(there, home, seed=(5, number), looks=options.looks) for number in range(options.years)]
    print(f"{sum(map(bool, years))} of {options.years} years of {options.looks} looks promote what is no better there")


if __name__ == "__main__":
    main()

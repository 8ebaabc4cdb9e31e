"""A year of daily looks without drift, and with drifts of several sizes: writes watching.md and watching.svg.

Usage: python -m benchmarks.watching --data FOLDER [--years N] [--other-years N] [--real-years N] [--drifts N]

`--data` holds the texts of the source archive of vaderSentiment==0.5 (additional_resources/hutto_ICWSM_2014.tar.gz,
unpacked); the vectors that MiniLM gives of them are kept there. What is known is kept beside the page: a killed run
goes on where it stopped.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

from benchmarks.scores.kept_page import KeptPage, page_options
from benchmarks.watching.page import Results, page, picture
from benchmarks.watching.real_rows import FOREIGN, read_texts
from benchmarks.watching.studies import (
    FALLS,
    HELD_OUT,
    LABELS_A_DAY,
    REAL_HELD_OUT,
    SHARES,
    by_law,
    drawn_years,
    estimates,
    fallen_scores,
    lucky_promises,
    real_drift,
    real_years,
)
from benchmarks.watching.years import OURS, RULES, SPLIT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "measurements" / "watching.md"
LAWFUL_YEARS, SCORE_YEARS = 20_000, 500

One = TypeVar("One")


def main() -> None:
    parser = page_options(__doc__, PAGE)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--years", type=int, default=120, help="of drawn rows")
    parser.add_argument("--other-years", type=int, default=15, help="of the same, for the other rules")
    parser.add_argument("--real-years", type=int, default=4, help="of film reviews")
    parser.add_argument("--drifts", type=int, default=3, help="of each kind and share")
    options = parser.parse_args()
    kept = KeptPage(options.output, Results)  # each result says of how many years it is
    known = kept.read(Results())

    def study(name: str, into: list[One], of: Callable[[], Sequence[One]]) -> None:
        if name not in known.done:
            into.extend(of())
            known.done.append(name)
            kept.keep(known, name)
            _write(kept, known)

    texts = read_texts(options.data)
    others = tuple(rule for rule in RULES if rule not in (OURS, SPLIT))
    study("estimates", known.estimates, partial(estimates, texts))
    study("the law", known.false_alarms, partial(by_law, LAWFUL_YEARS))
    for labels, fall in product(LABELS_A_DAY, FALLS):
        years = SCORE_YEARS * (1 if fall else 4)
        study(f"{labels} labels, {fall}", known.scores, partial(fallen_scores, labels, fall, years))
    for held_out in (HELD_OUT, REAL_HELD_OUT):
        study(f"luck of {held_out}", known.luck, partial(lucky_promises, held_out, SCORE_YEARS))
    study("drawn years", known.false_alarms, partial(drawn_years, [OURS], options.years))
    study("drawn years, others", known.false_alarms, partial(drawn_years, others, options.other_years))
    # The larger a drift the sooner it is found, and the sooner its years end.
    for share, kind in product(sorted(SHARES, reverse=True), FOREIGN):
        study(f"{kind}, {share}", known.found, partial(real_drift, texts, kind, share, options.drifts))
    study("real years", known.false_alarms, partial(real_years, texts, options.real_years))
    _write(kept, known)


def _write(kept: KeptPage[Results], known: Results) -> None:
    from matplotlib import rc_context

    kept.write(page(known))
    with rc_context({"svg.hashsalt": "graftline"}):
        picture(known).savefig(kept.path.with_suffix(".svg"), format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()

"""A year of daily looks without drift, and with drifts of several sizes: writes watching.md and watching.svg.

Usage: python -m benchmarks.watching --data FOLDER [--years N] [--drifts N]

`--data` holds the texts of the source archive of vaderSentiment==0.5 (additional_resources/hutto_ICWSM_2014.tar.gz,
unpacked); the vectors that MiniLM gives of them are kept there. What is known is kept beside the page: a killed run
goes on where it stopped.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.scores.kept_page import KeptPage, page_options
from benchmarks.watching.page import Results, page, picture
from benchmarks.watching.real_rows import FOREIGN, read_texts
from benchmarks.watching.studies import (
    FALLS,
    LABELS_A_DAY,
    SHARES,
    by_law,
    drawn_years,
    estimates,
    fallen_scores,
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
    parser.add_argument("--years", type=int, default=120, help="of drawn rows; a third as many for the other rules")
    parser.add_argument("--real-years", type=int, default=12, help="of film reviews")
    parser.add_argument("--drifts", type=int, default=5, help="of each kind and share")
    options = parser.parse_args()
    from matplotlib import rc_context

    asked = {name: getattr(options, name) for name in ("years", "real_years", "drifts")}
    kept = KeptPage(options.output, Results, asked)
    known = kept.read(Results())

    def study(name: str, into: list[One], of: Callable[[], Sequence[One]]) -> None:
        if name not in known.done:
            into.extend(of())
            known.done.append(name)
            kept.keep(known, name)

    texts = read_texts(options.data)
    others = tuple(rule for rule in RULES if rule not in (OURS, SPLIT))
    study("estimates", known.estimates, lambda: estimates(texts))
    study("the law", known.false_alarms, lambda: [by_law(LAWFUL_YEARS)])
    for labels in LABELS_A_DAY:
        for fall in FALLS:
            years = SCORE_YEARS * (1 if fall else 4)
            study(f"{labels} labels, {fall}", known.scores, lambda a=labels, b=fall, c=years: [fallen_scores(a, b, c)])  # type: ignore[misc]
    study("drawn years", known.false_alarms, lambda: drawn_years([OURS], options.years))
    study("drawn years, others", known.false_alarms, lambda: drawn_years(others, options.years // 3))
    for share in SHARES:
        for kind in FOREIGN:
            study(f"{kind}, {share}", known.found, lambda a=kind, b=share: real_drift(texts, a, b, options.drifts))  # type: ignore[misc]
    study("real years", known.false_alarms, lambda: [real_years(texts, options.real_years)])
    kept.write(page(known))
    with rc_context({"svg.hashsalt": "graftline"}):
        picture(known).savefig(options.output.with_suffix(".svg"), format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()

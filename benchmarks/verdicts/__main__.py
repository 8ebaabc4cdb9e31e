"""How often the verdict errs: simulated retrainings, judged by the gate itself. Writes verdicts.md and .svg."""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.verdicts.models import ROWS, STRENGTHS, Rows, compare_all, held_out, judge, logits
from benchmarks.verdicts.page import Judged, page, picture
from graftline.verdict.gate import Verdict
from graftline.verdict.policy import Policy

DOCS = Path(__file__).resolve().parents[2] / "docs" / "measurements"
RETRAININGS = 2000
# Simulated at once: 1,000 resamples of 20 sums over them take some hundred megabytes.
CHUNK = 250
TRUE_DIFFERENCES = (-0.01, 0.0, 0.01, 0.02, 0.03)


def simulate(rows: Rows, true_difference: float, retrainings: int, *, seed: int, policy: Policy) -> Judged:
    """Judge retrainings whose accuracy is higher by `true_difference` in every slice, each on rows of its own."""
    random = np.random.default_rng((seed, len(rows.targets), round(1e6 * (1 + true_difference))))
    verdicts: list[Verdict] = []
    larger = 0
    for start in range(0, retrainings, CHUNK):
        some = min(CHUNK, retrainings - start)
        candidate, champion = logits(rows, true_difference, some, random)
        larger += int(((candidate > 0).sum(1) > (champion > 0).sum(1)).sum())
        verdicts += [judge(seen, policy) for seen in compare_all(rows, candidate, champion)]
    return Judged(len(rows.targets), true_difference, verdicts, larger)


def study(policy: Policy, retrainings: int, *, seed: int) -> list[Judged]:
    """Every true difference on the review data's row count, then on that which its own verdicts computed."""
    few = _on_all_differences(ROWS, policy, retrainings, seed=seed)
    same = next(one for one in few if not one.true_difference)
    return [*few, *_on_all_differences(same.rows_enough, policy, retrainings, seed=seed)]


def _on_all_differences(count: int, policy: Policy, retrainings: int, *, seed: int) -> list[Judged]:
    rows, judged = held_out(count, seed=seed), []
    for true_difference in TRUE_DIFFERENCES:
        matters = true_difference in (0.0, policy.wanted_difference)
        some = retrainings if matters else max(1, retrainings // 4)
        judged.append(simulate(rows, true_difference, some, seed=seed, policy=policy))
        one = judged[-1]
        print(
            f"{count} rows, truly {true_difference:+g}: {one.promoted} promoted and {one.larger} larger of {some};"
            f" {one.rows_enough} rows were told",
            flush=True,
        )
    return judged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retrainings", type=int, default=RETRAININGS, help="at each of the two points that count")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DOCS, help="where verdicts.md and verdicts.svg are written")
    options = parser.parse_args()
    from matplotlib import rc_context

    began, policy = time.process_time(), Policy()
    judged = study(policy, options.retrainings, seed=options.seed)
    (options.out / "verdicts.md").write_text(page(judged, policy, _models()), encoding="utf-8")
    with rc_context({"svg.hashsalt": "graftline"}):
        picture(judged, policy).savefig(options.out / "verdicts.svg", format="svg", metadata={"Date": None})
    print(f"{time.process_time() - began:.0f} seconds of one core")


def _models() -> str:
    """The simulated models in words."""
    return "; ".join(
        f"{kind.name} rows: {100 * kind.accuracy:.1f} % right, {100 * kind.discordance:.1f} % discordant"
        for kind in STRENGTHS
    )


if __name__ == "__main__":
    main()

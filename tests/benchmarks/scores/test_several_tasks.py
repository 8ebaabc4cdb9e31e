"""What several targets came to beside each alone, as a page: means over seeds, and the first REJECT."""

from benchmarks.scores.several_tasks import Measured, Seed, page


def seed(together: float, alone: float, verdict: str = "PROMOTE") -> Seed:
    one = Measured(together, alone, -0.1, 0.1, 300, "accuracy")
    reasons = ["rating worse by more than 0.0300"] if verdict == "REJECT" else []
    return Seed({"label": one}, "loss" if verdict == "REJECT" else "tie", verdict, reasons)


def test_the_page_tells_the_mean_difference_over_seeds_and_the_first_rejection() -> None:
    known = {"few labels; equal; seed 0": seed(0.8, 0.7), "few labels; equal; seed 1": seed(0.9, 0.7, "REJECT")}
    said = page(known)
    (line,) = (line for line in said.splitlines() if line.startswith("| few labels | equal "))
    # The mean of 0.1 and 0.2, and 12.706 (t, one degree of freedom) times their standard error of 0.05.
    assert "| 2 | 0.8500 | 0.7000 | +0.1500 (-0.4853 to +0.7853) | tie, loss |" in line
    assert "seed 1, balance equal: **REJECT**" in said
    assert said.rstrip().endswith("> rating worse by more than 0.0300")

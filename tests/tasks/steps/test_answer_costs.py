"""Costs in a run: on the held-out rows, beside the champion, in the report; and refused before anything learns."""

from dataclasses import replace

import numpy as np
import pytest

from graftline.answers.tasks import TASKS
from graftline.errors import SettingsError
from graftline.settings import EvaluationSettings
from graftline.tasks.steps.answer_costs import answer_costs, costs_compared, costs_table
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.held_out import Scorer
from graftline.tasks.steps.report_tables import tables_of
from tests.support.tiny_project import Line


def with_costs(adapted: Line, *lines: str) -> "Line":
    evaluation = adapted.settings.evaluation.model_copy(
        update={"costs": list(lines), "bootstrap": 100, "changed_rows": 0}
    )
    return replace(adapted, settings=adapted.settings.model_copy(update={"evaluation": evaluation}))


def test_a_run_says_what_its_answers_cost_only_if_it_was_asked(adapted: Line) -> None:
    line = with_costs(adapted, "bad > good: 4")
    evaluation = evaluate_model.fn(line.workspace, line.settings, line.data, line.checkpoint, line.baselines, None)
    assert evaluation.costs is not None
    table = next(one for one in tables_of(evaluation, adapted.candidate, ()) if one.title == "Costs")
    assert [row[2] for row in table.rows] == ["not compared"] * 3
    assert adapted.evaluation.costs is None
    assert not [one for one in tables_of(adapted.evaluation, adapted.candidate, ()) if one.title == "Costs"]


def test_the_cost_of_two_models_is_compared_on_the_same_rows() -> None:
    targets = np.array([0, 1] * 30)
    sure = np.eye(2)[targets] * 0.8 + 0.1
    unsure = np.where(np.arange(60)[:, None] < 20, sure[:, ::-1], sure)
    settings = EvaluationSettings(costs=["bad > good: 4"], bootstrap=200)
    scores = Scorer(TASKS["single_label"].scores, targets, settings, ())
    names = [f"r{row}" for row in range(60)]
    found = answer_costs(scores, ("bad", "good"), names, sure, ("champion version 1", unsure), {})
    table = costs_table(found)
    # Ten of each label are wrong: at 4 and at 1, of 60 rows.
    assert table.rows[0][1:] == ("0.0000 (0.0000 – 0.0000)", table.rows[0][2])
    assert table.rows[0][2].startswith(f"{-(10 * 4 + 10 * 1) / 60:+.4f} (")
    assert table.rows[0][2].endswith("p 0.00995")
    compared = costs_compared(found)
    assert compared.main_difference is not None
    assert compared.main_difference.value == pytest.approx((10 * 4 + 10 * 1) / 60)
    assert compared.comparison is not None
    assert (compared.comparison.gains.better, compared.comparison.gains.hits) == (20, False)


def test_costs_of_unknown_labels_are_refused_before_anything_learns(adapted: Line) -> None:
    with pytest.raises(SettingsError, match=r"evaluation\.costs: 'ugly' is none of the labels of the data, bad, good"):
        _ = with_costs(adapted, "ugly > good: 2").inputs

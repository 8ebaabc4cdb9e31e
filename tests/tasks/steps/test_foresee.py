"""What is expected before a training: measured on the validation rows, noted in the run, and judged in the report."""

from dataclasses import replace

import pytest
from mlflow import MlflowClient

from graftline.answers.tasks import TASKS
from graftline.tasks.data.accepted_rows import split_targets
from graftline.tasks.steps.baseline_settings import frozen_head_settings
from graftline.tasks.steps.baselines import MAJORITY
from graftline.tasks.steps.foresee import FORESEEN, foresee
from graftline.tasks.steps.report_tables import tables_of_foresight
from graftline.tasks.steps.solved_head import answers_of_solved_head
from graftline.tasks.steps.untouched_base import head_features
from graftline.transfer.foresight import Foreseen
from graftline.verdict.policy import Baseline
from tests.support.tiny_project import Line

USUAL: tuple[Baseline, ...] = ("tfidf", "frozen_head")


@pytest.fixture
def foreseen(adapted: Line) -> Foreseen:
    run = replace(adapted.run, finished=False)
    (found,) = foresee.fn(adapted.workspace, adapted.settings, USUAL, adapted.data, adapted.base, run)
    return found


@pytest.mark.parametrize("wanted", [(), ("tfidf",), ("frozen_head", "scratch")])
def test_without_both_baselines_nothing_is_foreseen(adapted: Line, wanted: tuple[Baseline, ...]) -> None:
    assert foresee.fn(adapted.workspace, adapted.settings, wanted, adapted.data, adapted.base) == ()


def test_the_lead_is_that_of_the_solved_head_over_the_words(adapted: Line, foreseen: Foreseen) -> None:
    """On these rows two words decide, so words alone are nearly always right."""
    data, task = adapted.data, TASKS[adapted.data.task]
    targets = {side: split_targets(data, side) for side in ("train", "validation")}
    outputs = task.outputs.outputs_for(data.labels, targets["train"])
    vectors = head_features(
        adapted.workspace, frozen_head_settings(adapted.settings), data, adapted.base, ("train", "validation")
    )
    head = answers_of_solved_head(
        adapted.settings, data, outputs, {str(side): of_side for side, of_side in vectors.items()}, targets
    )
    right = float((head.argmax(1) == targets["validation"].numpy()).mean())
    assert foreseen.rival == "tfidf"
    assert 0.9 <= right - foreseen.lead.value <= 1
    assert foreseen.lead.low <= foreseen.lead.value <= foreseen.lead.high


def test_it_is_noted_in_the_run_before_anything_is_trained(adapted: Line, foreseen: Foreseen) -> None:
    assert MlflowClient().get_run(adapted.run.run_id).data.tags[FORESEEN] == foreseen.sentence


def test_it_stands_beside_what_came(adapted: Line, foreseen: Foreseen) -> None:
    evaluation = adapted.evaluation
    assert tables_of_foresight([foreseen], evaluation) == []
    beside_words = replace(evaluation, baselines={"tfidf": evaluation.baselines[MAJORITY]})
    (table,) = tables_of_foresight([foreseen], beside_words)
    ((against, expected, came, word),) = table.rows
    assert against == foreseen.against
    assert expected.startswith(foreseen.expected)
    assert came.startswith("ahead: +")
    assert word == {"ahead": "as foreseen", "behind": "not as foreseen", "open": "open"}[foreseen.expected]

"""What is expected before a training: measured on the validation rows, noted in the run, and judged in the report."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import Tensor

from graftline.answers.tasks import TASKS
from graftline.data.splitting import Side
from graftline.evaluation.metrics import Integers
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import ValidatedData, split_targets
from graftline.tasks.steps import foresee as step
from graftline.tasks.steps.baseline_settings import frozen_head_settings
from graftline.tasks.steps.baselines import MAJORITY
from graftline.tasks.steps.foresee import FORESEEN, foresee
from graftline.tasks.steps.report_tables import tables_of_foresight
from graftline.tasks.steps.solved_head import answers_of_solved_head
from graftline.tasks.steps.untouched_base import head_features
from graftline.transfer.foresight import Foreseen
from graftline.transfer.wrong_labels import folds_of, out_of_fold
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


def test_the_lead_is_that_of_the_solved_head_over_the_words(adapted: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """On these rows two words decide, so words alone are nearly always right."""
    monkeypatch.setattr(step, "ENOUGH_ROWS", 1)
    monkeypatch.setattr(step, "STEP", "foresee on validation rows")  # another folder: the number is a part of the code
    (found,) = foresee.fn(adapted.workspace, adapted.settings, USUAL, adapted.data, adapted.base)
    vectors, targets = seen_by_heads(adapted)
    outputs = TASKS[adapted.data.task].outputs.outputs_for(adapted.data.labels, targets["train"])
    head = answers_of_solved_head(adapted.settings, adapted.data, outputs, vectors, targets)
    right = float((head.argmax(1) == targets["validation"].numpy()).mean())
    assert (found.rival, found.judged_by) == ("tfidf", "the validation rows")
    assert 0.9 <= right - found.lead.value <= 1
    assert found.lead.low <= found.lead.value <= found.lead.high


def test_of_few_validation_rows_all_labelled_rows_are_asked_in_folds(adapted: Line, foreseen: Foreseen) -> None:
    vectors, targets = seen_by_heads(adapted)
    truth, task = torch.cat(list(targets.values())), TASKS[adapted.data.task]
    folds = folds_of(np.arange(len(truth)), [str(one) for one in truth.tolist()], adapted.settings.evaluation.seed)
    head = out_of_fold(
        torch.cat(list(vectors.values())), truth, folds,
        outputs=task.outputs.outputs_for(adapted.data.labels, truth), kind=task.outputs,
        objective_for=task.objective_for,
    )  # fmt: skip
    right = float((head.probabilities.argmax(1) == truth.numpy()).mean())
    assert foreseen.judged_by == "all labelled rows, out of five folds"
    assert 0.9 <= right - foreseen.lead.value <= 1
    assert foreseen.lead.value * len(truth) == pytest.approx(round(foreseen.lead.value * len(truth)))


@pytest.mark.parametrize(("groups", "asked"), [(3, "the validation rows"), (5, step.BY_FOLDS)])
def test_where_there_are_fewer_groups_than_folds_the_validation_rows_say_it(
    adapted: Line, monkeypatch: pytest.MonkeyPatch, groups: int, asked: str
) -> None:
    def of_groups(_settings: Settings, data: ValidatedData, *sides: Side) -> Integers:
        return np.arange(sum(data.split_rows[side] for side in sides)) % groups

    monkeypatch.setattr(step, "groups_of", of_groups)
    monkeypatch.setattr(step, "STEP", f"foresee with {groups} groups")
    (found,) = foresee.fn(adapted.workspace, adapted.settings, USUAL, adapted.data, adapted.base)
    assert found.judged_by == asked


def seen_by_heads(line: Line) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What heads read of the labelled rows, and their targets."""
    sides: tuple[Side, ...] = ("train", "validation")
    vectors = head_features(line.workspace, frozen_head_settings(line.settings), line.data, line.base, sides)
    return {str(side): vectors[side] for side in sides}, {str(side): split_targets(line.data, side) for side in sides}


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

"""How far from home the rows of a run are: measured once, before the training, judged by the policy, and shown."""

from collections.abc import Iterator

import pytest

from graftline.settings import Settings
from graftline.tasks.steps.beside_held_out import BesideHeldOut
from graftline.tasks.steps.decide import judge
from graftline.tasks.steps.distances import distances
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.evaluation import SUMMARY, Evaluation
from graftline.tasks.steps.report_tables import tables_of
from graftline.tasks.steps.source_task import source_task
from graftline.verdict.axis import Axis
from graftline.verdict.policy import DistanceLimits, Effects, Policy
from tests.support.tiny_project import Line, rows_as_csv

PROBE = "home.csv"


@pytest.fixture(scope="module")
def probed(adapted_once: Line) -> Iterator[tuple[Settings, Evaluation]]:
    """The evaluation of a run whose settings name rows of a source task, which are of the same words."""
    line, path = adapted_once, adapted_once.workspace.root / PROBE
    path.write_text("".join(rows_as_csv(seed=5).splitlines(keepends=True)[:-1]), encoding="utf-8")
    plain = line.settings.model_dump()
    settings = Settings.model_validate({**plain, "evaluation": {**plain["evaluation"], "probe": PROBE}})
    source = source_task.fn(line.workspace, settings, line.base)
    pairs = distances.fn(line.workspace, settings, line.data, line.base, source)
    yield (
        settings,
        evaluate_model.fn(
            line.workspace, settings, line.data, line.checkpoint, line.baselines, None, BesideHeldOut(source, pairs)
        ),
    )
    path.unlink()


def axes_of(evaluation: Evaluation, policy: Policy) -> list[Axis]:
    verdict = judge(policy, evaluation, barred=None, unfair=None, trial=None)
    return [axis for axis in verdict.axes if axis.name == "distance"]


def test_where_no_rows_of_a_source_task_are_named_nothing_is_measured_and_no_record_changes(adapted: Line) -> None:
    assert distances.fn(adapted.workspace, adapted.settings, adapted.data, adapted.base, None) == ()
    assert "distances" not in (adapted.evaluation.folder.path / SUMMARY).read_text()
    assert axes_of(adapted.evaluation, Policy()) == []


def test_the_source_task_and_the_slices_are_measured_and_stand_in_the_report(
    adapted: Line, probed: tuple[Settings, Evaluation]
) -> None:
    pairs = probed[1].held_out.behaviour.distances
    assert [pair.about for pair in pairs] == ["source task", "slice", "slice", "slice"]
    assert not pairs[0].distances.differ
    table = next(one for one in tables_of(probed[1], adapted.candidate, ()) if one.title == "How far from home")
    assert [row[0] for row in table.rows] == [pair.target for pair in pairs]
    assert all(len(row) == len(table.head) for row in table.rows)


def test_without_a_limit_the_axis_is_not_asked_for(probed: tuple[Settings, Evaluation]) -> None:
    (axis,) = axes_of(probed[1], Policy())
    assert (axis.asked, axis.consequence, len(axis.parts)) == (False, None, 4)
    assert axis.sentence.startswith("the policy sets no limit; the farthest: ")


def test_rows_within_the_limit_pass(probed: tuple[Settings, Evaluation]) -> None:
    (axis,) = axes_of(probed[1], Policy(distance=DistanceLimits(a_distance=1.9)))
    assert (axis.outcome, axis.consequence) == ("tie", None)


def test_a_limit_without_rows_to_measure_from_holds(adapted: Line) -> None:
    (axis,) = axes_of(adapted.evaluation, Policy(distance=DistanceLimits(a_distance=1)))
    assert axis.consequence == "HOLD"
    assert axis.sentence.endswith("set evaluation.probe or data.target_domain")
    advising = Policy(distance=DistanceLimits(a_distance=1), effects=Effects(distance="advise"))
    assert axes_of(adapted.evaluation, advising)[0].consequence is None

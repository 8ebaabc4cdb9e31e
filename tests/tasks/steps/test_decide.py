"""A candidate is judged once; the record comes first, and what a kill cuts short the next start finishes."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from graftline.behaviour.findings import Behaviour
from graftline.behaviour.held_out import Calibration, HeldOut, Majority
from graftline.errors import RegistryRefusedError
from graftline.evaluation.bootstrap import Difference, Score
from graftline.evaluation.comparison import Comparison
from graftline.evaluation.paired_tests import Gains
from graftline.evaluation.row_gains import RowGains, row_gains
from graftline.tasks.registry import carrying_out
from graftline.tasks.registry.binding import AXES, POLICY_SHA256
from graftline.tasks.registry.history import read_history
from graftline.tasks.registry.promotion import repair
from graftline.tasks.registry.records import Record
from graftline.tasks.registry.versions import BARRED, CHAMPION, REASONS, VERDICT, champion_of
from graftline.tasks.step_folders import StepFolder
from graftline.tasks.steps import decide as step
from graftline.tasks.steps.champion import Champion
from graftline.tasks.steps.decide import Decision
from graftline.tasks.steps.evaluation import Evaluation, Scores
from graftline.tasks.steps.register_model import Candidate
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import Floors, Policy

MODEL = "tiny"
NO_FILES = "s3://nowhere/model"  # nothing here loads a version
FLOOR = Policy(floors=Floors(accuracy=0.75))
SCORES = ("accuracy", "macro_f1", "log_loss", "calibration_error")

Interval = tuple[float, float, float]
BETTER, SAME, WORSE = (0.1, 0.05, 0.15), (0.0, -0.05, 0.05), (-0.1, -0.15, -0.05)


def candidate() -> Candidate:
    """One more version of the model."""
    client = MlflowClient()
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    version = client.create_model_version(MODEL, NO_FILES)
    return Candidate(MODEL, int(version.version), "run", "ran")


HELD_OUT = HeldOut(
    rows=1000,
    majority=Majority("bad", {}),
    calibration=Calibration(1.0, {}, []),
    classes=[],
    slices={},
    confusion=[],
    confusion_names=[],
    reliability=[],
    pictures={},
    behaviour=Behaviour(),
    examples=None,
)


def evaluation(
    champion: int | None = None,
    difference: Interval | None = None,
    accuracy: float = 0.9,
    obstacle: str | None = None,
) -> Evaluation:
    numbers: Scores = {name: {"value": accuracy, "low": accuracy, "high": accuracy} for name in SCORES}
    return Evaluation(
        folder=StepFolder(Path("nowhere"), "key", "ran"),
        task="single_label",
        champion=Champion(MODEL, champion) if champion else None,
        scores=numbers,
        comparison=compared(f"champion version {champion}", difference) if difference else None,
        row_gains=gains_of(difference) if difference else None,
        chosen=None,
        baselines={"majority": compared("the most frequent label", (0.4, 0.3, 0.5))},
        left_out={},
        obstacle=obstacle,
        predictions_sha256="p",
        held_out=HELD_OUT,
        sha256="e" * 64,
    )


def gains_of(difference: Interval) -> RowGains:
    """The rows' gains of `compared`: the better rows first, then the worse, each difference at rows of its own."""
    first = round(100 * difference[0])
    better, worse = round(1000 * max(0.0, difference[0])) + 20, round(1000 * max(0.0, -difference[0])) + 20
    each = np.roll(np.repeat([1.0, -1.0, 0.0], [better, worse, 1000 - better - worse]), 97 * first)
    return row_gains([str(number) for number in range(1000)], each)


def compared(against: str, difference: Interval) -> Comparison:
    """On 1,000 rows, with no slices, and no other score that differs."""
    differences = {name: Difference(0.0, -0.01, 0.01, 1.0) for name in SCORES} | {
        "accuracy": Difference(*difference, 0.01)
    }
    better = round(1000 * max(0.0, difference[0])) + 20
    worse = round(1000 * max(0.0, -difference[0])) + 20
    seen = Gains(1000, difference[0], 0.3, better, worse, hits=True)
    return Comparison(against, dict.fromkeys(SCORES, Score(0.5, 0.4, 0.6)), differences, seen)


def judge(workspace: Workspace, judged: Candidate, numbers: Evaluation) -> Decision:
    decision = step.decide.fn(workspace, FLOOR, judged, numbers)
    tags = MlflowClient().get_model_version(MODEL, str(judged.version)).tags
    newest = read_history(workspace, MODEL)[-1]
    assert (tags[VERDICT], tuple(tags[REASONS].split("\n"))) == (decision.verdict, decision.reasons)
    assert (newest.verdict, newest.why, newest.version) == (
        decision.verdict, "; ".join(decision.reasons), judged.version,
    )  # fmt: skip
    return decision


def with_a_champion(workspace: Workspace) -> Candidate:
    """Version 1 is the champion; version 2 is to be judged."""
    judge(workspace, candidate(), evaluation())
    assert champion_of(MODEL) == 1
    return candidate()


def test_the_first_model_that_reaches_its_floors_becomes_champion(workspace: Workspace) -> None:
    decision = judge(workspace, candidate(), evaluation())
    assert (decision.verdict, decision.reasons) == ("PROMOTE", ("the first model, and it reaches every floor",))
    assert decision.outcome == "ran"
    assert champion_of(MODEL) == 1


def test_a_first_model_below_its_floor_is_rejected(workspace: Workspace) -> None:
    decision = judge(workspace, candidate(), evaluation(accuracy=0.7))
    assert (decision.verdict, decision.reasons) == ("REJECT", ("accuracy 0.7000 is below its floor 0.7500",))
    assert champion_of(MODEL) is None


@pytest.mark.parametrize(
    ("difference", "verdict", "champion", "reason"),
    [(BETTER, "PROMOTE", 2, "better than champion version 1"), (WORSE, "REJECT", 1, "worse than champion version 1"),
     (SAME, "HOLD", 1, "not enough evidence against champion version 1")],
)  # fmt: skip
def test_only_a_better_model_replaces_the_champion(
    workspace: Workspace, difference: Interval, verdict: str, champion: int, reason: str
) -> None:
    decision = judge(workspace, with_a_champion(workspace), evaluation(1, difference))
    assert decision.verdict == verdict
    assert decision.reasons[0].startswith(reason)
    assert champion_of(MODEL) == champion


def test_a_record_of_a_verdict_names_the_champion_before_and_after_and_the_numbers(workspace: Workspace) -> None:
    judge(workspace, with_a_champion(workspace), evaluation(1, SAME))
    first, second = read_history(workspace, MODEL)
    assert (first.champion_before, first.champion_after) == (None, 1)
    assert (second.champion_before, second.champion_after) == (1, 1)
    assert (second.action, len(str(second.evaluation_sha256))) == ("verdict", 64)


def test_a_candidate_is_judged_once(workspace: Workspace) -> None:
    first = candidate()
    judge(workspace, first, evaluation())
    again = step.decide.fn(workspace, FLOOR, first, evaluation(accuracy=0.1))
    assert (again.verdict, again.reasons) == ("PROMOTE", ("the first model, and it reaches every floor",))
    assert again.outcome == "reused"
    assert len(read_history(workspace, MODEL)) == 1


def test_a_champion_that_changed_since_the_comparison_is_not_replaced(workspace: Workspace) -> None:
    second, third = with_a_champion(workspace), candidate()
    judge(workspace, second, evaluation(1, BETTER))
    with pytest.raises(RegistryRefusedError, match="the champion is version 2 by now, not version 1") as caught:
        step.decide.fn(workspace, FLOOR, third, evaluation(1, BETTER))
    assert caught.value.exit_code == 6
    assert champion_of(MODEL) == 2
    assert VERDICT not in MlflowClient().get_model_version(MODEL, "3").tags
    assert judge(workspace, third, evaluation(2, BETTER)).verdict == "PROMOTE"


def test_a_champion_that_cannot_be_scored_holds_the_candidate(workspace: Workspace) -> None:
    obstacle = "champion version 1 could not be scored: no answer"
    decision = judge(workspace, with_a_champion(workspace), evaluation(1, obstacle=obstacle))
    assert (decision.verdict, decision.reasons) == ("HOLD", (obstacle,))
    assert champion_of(MODEL) == 1


def test_modified_data_holds_the_candidate(workspace: Workspace) -> None:
    judged = candidate()
    MlflowClient().set_model_version_tag(MODEL, "1", BARRED, "its data differs")
    decision = judge(workspace, judged, evaluation())
    assert (decision.verdict, decision.reasons) == ("HOLD", ("its data differs",))


def test_the_version_says_by_which_policy_and_how_each_axis_came_out(workspace: Workspace) -> None:
    second = with_a_champion(workspace)
    decision = judge(workspace, second, evaluation(1, SAME))
    tags = MlflowClient().get_model_version(MODEL, str(second.version)).tags
    assert tags[POLICY_SHA256] == FLOOR.sha256
    axes = json.loads(tags[AXES])
    assert axes == {axis.name: axis.outcome for axis in decision.axes}
    assert (axes["champion"], axes["negative transfer"]) == ("tie", "unknown")


def test_tags_that_a_kill_kept_from_being_written_follow_at_the_next_start(workspace: Workspace) -> None:
    second = with_a_champion(workspace)
    judge(workspace, second, evaluation(1, SAME))
    before = MlflowClient().get_model_version(MODEL, str(second.version)).tags
    for name in (AXES, POLICY_SHA256):
        MlflowClient().delete_model_version_tag(MODEL, str(second.version), name)
    assert judge(workspace, second, evaluation(1, SAME)).outcome == "reused"
    assert MlflowClient().get_model_version(MODEL, str(second.version)).tags == before


def test_a_person_may_have_the_last_word(workspace: Workspace) -> None:
    policy, judged = Policy(approval_within_hours=24), candidate()
    decision = step.decide.fn(workspace, policy, judged, evaluation())
    assert decision.verdict == "HOLD"
    assert "wants a person's approval" in decision.reasons[0]
    assert decision.due is not None
    assert champion_of(MODEL) is None


def candidate_of_a_run(**settings: object) -> Candidate:
    """A version whose run was logged with these settings."""
    client = MlflowClient()
    run = client.create_run("0").info.run_id
    for name, value in settings.items():
        client.log_param(run, f"data.{name}", value)
    if not client.search_registered_models(f"name = '{MODEL}'"):
        client.create_registered_model(MODEL)
    return Candidate(MODEL, int(client.create_model_version(MODEL, NO_FILES, run).version), run, "ran")


@pytest.mark.parametrize(
    ("then", "now", "verdict"),
    [
        ({"test_share": 0.1, "group": "None"}, {"test_share": 0.2, "group": "None"}, "HOLD"),
        ({"test_share": 0.2, "group": "None"}, {"test_share": 0.2, "group": "person"}, "HOLD"),
        # Whatever is held out now was held out then.
        ({"test_share": 0.2, "group": "None"}, {"test_share": 0.1, "group": "None"}, "PROMOTE"),
        ({"test_share": 0.2, "group": "None"}, {"test_share": 0.2, "group": "None"}, "PROMOTE"),
    ],
)
def test_a_champion_that_may_have_learned_from_held_out_rows_is_no_measure(
    workspace: Workspace, then: dict[str, object], now: dict[str, object], verdict: str
) -> None:
    judge(workspace, candidate_of_a_run(**then), evaluation())
    decision = judge(workspace, candidate_of_a_run(**now), evaluation(1, BETTER))
    assert decision.verdict == verdict
    assert (verdict == "HOLD") == decision.reasons[0].startswith("the split changed since champion version 1 was made")


def killed_in(name: str, workspace: Workspace, judged: Candidate, numbers: Evaluation) -> list[Record]:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(carrying_out, name, kill)
        with pytest.raises(KeyboardInterrupt):
            step.decide.fn(workspace, FLOOR, judged, numbers)
    return read_history(workspace, MODEL)


@pytest.mark.parametrize("killed", ["set_champion", "note_verdict"])
def test_a_promotion_killed_after_its_record_is_finished_and_recorded_once(workspace: Workspace, killed: str) -> None:
    second = with_a_champion(workspace)
    records = killed_in(killed, workspace, second, evaluation(1, BETTER))
    assert judge(workspace, second, evaluation(1, BETTER)).verdict == "PROMOTE"
    assert read_history(workspace, MODEL) == records
    assert champion_of(MODEL) == 2


def test_a_verdict_killed_before_its_tags_is_finished_and_recorded_once(workspace: Workspace) -> None:
    second = with_a_champion(workspace)
    records = killed_in("note_verdict", workspace, second, evaluation(1, WORSE))
    assert judge(workspace, second, evaluation(1, WORSE)).verdict == "REJECT"
    assert read_history(workspace, MODEL) == records


def test_a_champion_set_by_hand_is_compared_with_and_reported(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    second, third = with_a_champion(workspace), candidate()
    MlflowClient().set_registered_model_alias(MODEL, CHAMPION, str(second.version))
    caplog.set_level(logging.WARNING)
    assert judge(workspace, third, evaluation(2, BETTER)).verdict == "PROMOTE"
    assert "the alias was moved outside of Graftline" in caplog.text
    repair(workspace, MODEL)
    assert champion_of(MODEL) == 3


def test_each_look_at_the_same_rows_leaves_less_for_the_next(workspace: Workspace) -> None:
    with_a_champion(workspace)
    levels = []
    for seed in range(3):
        judged = candidate()
        decision = judge(workspace, judged, evaluation(1, (0.005 + 0.01 * seed, -0.01, 0.02)))
        assert decision.verdict == "HOLD"
        levels.append(level_of(decision))
    assert 0.05 > levels[0] > levels[1] > levels[2]
    looks = [record.look for record in read_history(workspace, MODEL) if record.look]
    assert [look.level for look in looks] == levels
    assert [look.names_in for look in looks] == [None, 2, 2]
    again = judge(workspace, judged, evaluation(1, (0.025, -0.01, 0.02)))
    assert level_of(again) == levels[2]


def level_of(decision: Decision) -> float:
    """At which level the candidate was compared with the champion."""
    numbers = next(axis.numbers for axis in decision.axes if axis.name == "champion")
    return float((numbers or {})["level"] or 0)

"""The probe rows are checked like data, the base model is probed once, and what was forgotten decides."""

import csv
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from graftline.behaviour.retention import Retention
from graftline.digests import file_sha256
from graftline.errors import DataRefusedError, SettingsError
from graftline.settings import Settings, parse_settings
from graftline.tasks.data.accepted_rows import split_targets
from graftline.tasks.steps.beside_held_out import BesideHeldOut
from graftline.tasks.steps.decide import judge
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.steps.report_tables import tables_of
from graftline.tasks.steps.source_task import SourceTask, source_task
from graftline.tasks.steps.tracked_run import RunInputs, tracked_run
from graftline.verdict.policy import Policy, RetentionLimits
from tests.support.tiny_project import Line, rows_as_csv

PROBE = "probe.csv"


@pytest.fixture
def probe(adapted: Line) -> Iterator[Path]:
    """Rows of the same words as the tiny project's, in a table of its own."""
    path = adapted.workspace.root / PROBE
    path.write_text(probe_rows(seed=11), encoding="utf-8")
    yield path
    path.unlink(missing_ok=True)


def probe_rows(*, seed: int) -> str:
    """Without the faulty row at the end."""
    return "".join(rows_as_csv(seed=seed).splitlines(keepends=True)[:-1])


def asking(line: Line, evaluation: dict[str, Any] | None = None, **adaptation: Any) -> Settings:
    plain = line.settings.model_dump()
    asked = {**plain["evaluation"], "probe": PROBE, **(evaluation or {})}
    return Settings.model_validate({**plain, "evaluation": asked, "adaptation": {**plain["adaptation"], **adaptation}})


def sourced(line: Line, settings: Settings) -> SourceTask:
    source = source_task.fn(line.workspace, settings, line.base)
    assert source is not None
    return source


def evaluated(line: Line, settings: Settings, source: SourceTask | None) -> tuple[Evaluation, Retention | None]:
    evaluation = evaluate_model.fn(
        line.workspace, settings, line.data, line.checkpoint, line.baselines, None, BesideHeldOut(source)
    )
    return evaluation, evaluation.held_out.behaviour.retention


def test_without_probe_rows_nothing_is_asked(adapted: Line) -> None:
    assert source_task.fn(adapted.workspace, adapted.settings, adapted.base) is None
    assert adapted.evaluation.held_out.behaviour.retention is None
    axis = next(axis for axis in adapted.decision.axes if axis.name == "retention")
    assert (axis.outcome, axis.consequence) == ("unknown", None)


def test_what_the_base_model_knew_and_the_adapted_one_knows_is_evaluated_judged_and_shown(
    adapted: Line, probe: Path
) -> None:
    settings = asking(adapted)
    source = sourced(adapted, settings)
    evaluation, seen = evaluated(adapted, settings, source)
    assert seen is not None
    sides, targets = source.rows.split_rows, split_targets(source.rows, "test").numpy()
    assert (seen.gains.rows, seen.learned_from) == (sides["test"], sides["train"] + sides["validation"])
    assert sum(sides.values()) == 200
    assert seen.before.value == pytest.approx((source.predictions().argmax(1) == targets).mean())
    assert seen.difference.value == pytest.approx(seen.after.value - seen.before.value)
    # It was adapted to tell the same words apart.
    assert not seen.unchanged
    assert seen.difference.low > 0

    policy = Policy(retention=RetentionLimits(forgotten=0.02))
    axis = next(
        axis
        for axis in judge(policy, evaluation, barred=None, unfair=None, trial=None).axes
        if axis.name == "retention"
    )
    assert (axis.outcome, axis.consequence) == ("win", None)
    table = next(table for table in tables_of(evaluation, adapted.candidate, ()) if table.title == "Source task")
    assert table.rows[0][1].startswith(f"{seen.before.value:.4f} (")
    assert table.rows[1][1].startswith(f"{seen.after.value:.4f} (")
    assert table.rows[2][1].startswith(f"{seen.difference.value:+.3f} (")
    assert f"{sides['test']:,} others" in table.lead


def test_a_model_of_which_only_the_head_learned_forgot_nothing_to_the_bit(adapted: Line, probe: Path) -> None:
    settings = asking(adapted, strategy="feature_extraction")
    checkpoint = fine_tune.fn(adapted.workspace, settings.adaptation, adapted.data, adapted.base)
    frozen = dataclasses.replace(adapted, checkpoint=checkpoint)
    _, seen = evaluated(frozen, settings, sourced(adapted, settings))
    assert seen is not None
    assert seen.unchanged
    assert (seen.difference.value, seen.difference.low, seen.difference.high) == (0.0, 0.0, 0.0)


def test_the_base_model_is_probed_once_and_again_for_other_rows(adapted: Line, probe: Path) -> None:
    settings = asking(adapted, {"seed": 3})
    first = sourced(adapted, settings)
    again = sourced(adapted, asking(adapted, {"seed": 4}, learning_rate=1e-4))
    assert again.folder == dataclasses.replace(first.folder, outcome="reused")
    assert not (first.folder.path / "model").exists()
    before, _ = evaluated(adapted, settings, first)
    probe.write_text(probe_rows(seed=12), encoding="utf-8")
    other = sourced(adapted, settings)
    assert (other.folder.outcome, other.folder.key != first.folder.key) == ("ran", True)
    after, _ = evaluated(adapted, settings, other)
    assert after.folder.key != before.folder.key


def test_other_probe_rows_are_another_run_with_their_digest_in_its_record(adapted: Line, probe: Path) -> None:
    settings, policy, runs = asking(adapted, {"seed": 5}), Policy(), []
    for seed in (11, 12):
        probe.write_text(probe_rows(seed=seed), encoding="utf-8")
        source = sourced(adapted, settings)
        with tracked_run(adapted.workspace, RunInputs(settings, policy, adapted.data, adapted.base, source)) as run:
            runs.append(run.run_id)
        recorded = json.loads(Path(MlflowClient().download_artifacts(run.run_id, "provenance.json")).read_text())
        assert recorded["probe_sha256"] == file_sha256(probe)
    assert runs[0] != runs[1]


def test_columns_of_other_names_are_named_in_the_settings(adapted: Line, probe: Path) -> None:
    text = probe.read_text(encoding="utf-8").replace("id,text,label,source", "id,sentence,mood,source")
    probe.write_text(text, encoding="utf-8")
    named = sourced(adapted, asking(adapted, {"probe_input": "sentence", "probe_target": "mood"}))
    assert named.rows.labels == ("bad", "good")
    with pytest.raises(DataRefusedError, match=r"has no column 'text'.* name it in evaluation\.probe_input"):
        sourced(adapted, asking(adapted))
    with pytest.raises(DataRefusedError, match=r"has no column 'moods', .*probe_target; did you mean 'mood'\?"):
        sourced(adapted, asking(adapted, {"probe_input": "sentence", "probe_target": "moods"}))


def changed_rows(change: Callable[[int, dict[str, str]], dict[str, str] | None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        kept = [row for number, plain in enumerate(rows) if (row := change(number, plain)) is not None]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(kept)

    return write


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (changed_rows(lambda number, row: row | {"label": "bad"}), "two_classes"),
        (changed_rows(lambda number, row: row if number < 8 else None), "every class has at least 5 accepted rows"),
        (changed_rows(lambda number, row: row | {"text": " "} if number < 5 else row), "input_not_blank"),
        (changed_rows(lambda number, row: row | {"label": ""} if number < 5 else row), "target_present"),
        (Path.unlink, "there is no such table; correct its path in the settings"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"\xff\xfet\x00"), "UTF-16"),
    ],
)  # fmt: skip
def test_probe_rows_that_are_not_fit_are_refused_in_a_sentence(
    adapted: Line, probe: Path, fault: Callable[[Path], object], message: str
) -> None:
    fault(probe)
    with pytest.raises(DataRefusedError, match=message) as caught:
        sourced(adapted, asking(adapted))
    assert PROBE in str(caught.value)
    assert "\n" not in caught.value.sentence


def test_a_link_that_leads_out_of_the_project_is_refused(adapted: Line, probe: Path, tmp_path: Path) -> None:
    probe.unlink()
    (tmp_path / PROBE).write_text(rows_as_csv(), encoding="utf-8")
    probe.symlink_to(tmp_path / PROBE)
    with pytest.raises(SettingsError, match=r"evaluation\.probe: 'probe\.csv' lies outside the project folder"):
        sourced(adapted, asking(adapted))


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"probe": "../probe.csv"}, r"evaluation\.probe: '\.\./probe\.csv': .*expected a path below the project"),
        ({"probe": "/etc/passwd"}, r"evaluation\.probe: '/etc/passwd': .*is absolute"),
        ({"probe_input": "text"}, r"evaluation: .*name columns of probe, which is empty"),
    ],
)
def test_a_path_outside_and_columns_of_nothing_are_refused_with_the_settings(
    adapted: Line, evaluation: dict[str, str], message: str
) -> None:
    tree = adapted.settings.model_dump(mode="json") | {"evaluation": evaluation}
    with pytest.raises(SettingsError, match=message):
        parse_settings(tree, source="params.yaml")


def test_an_emptied_box_of_the_form_is_no_probe(adapted: Line) -> None:
    emptied = {"probe": "", "probe_input": "", "probe_target": ""}
    tree = adapted.settings.model_dump(mode="json") | {"evaluation": emptied}
    assert parse_settings(tree, source="the form").evaluation.probe is None

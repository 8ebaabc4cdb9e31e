"""Labelled rows of the target domain judge all models there, and teach none of them anything."""

import json
from pathlib import Path
from typing import Any

import pytest

from graftline.answers.predicting import predictor_of
from graftline.errors import SettingsError
from graftline.settings import Settings, parse_settings
from graftline.tasks.data.accepted_rows import raw_inputs, read_split, split_targets
from graftline.tasks.steps.beside_held_out import BesideHeldOut
from graftline.tasks.steps.decide import judge
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.steps.report_tables import tables_of
from graftline.tasks.steps.target_domain import target_domain
from graftline.tasks.steps.target_rows import plain_training, target_rows
from graftline.tasks.steps.tracked_run import RunInputs
from graftline.verdict.policy import Policy
from tests.support.tiny_project import Line, rows_as_csv

ROWS = "shops.csv"


@pytest.fixture
def shops(adapted: Line) -> Any:
    """Rows with the words of the project's, eighty of them labelled, and one that it learns from."""
    copied = read_split(adapted.data, "train", ["input", "target"])
    lines = rows_as_csv(80, seed=21).splitlines()[:-1]
    path = adapted.workspace.root / ROWS
    path.write_text("\n".join([*lines, f"x1,{copied['input'][0]},{copied['target'][0]},s0", ""]), encoding="utf-8")
    yield path
    path.unlink()


def asking(line: Line, data: dict[str, Any] | None = None, **adaptation: Any) -> Settings:
    plain = line.settings.model_dump()
    return Settings.model_validate(
        {
            **plain,
            "data": {**plain["data"], **(data or {})},
            "evaluation": {**plain["evaluation"], "target_rows": ROWS},
            "adaptation": {**plain["adaptation"], **adaptation},
        }
    )


def test_all_models_are_scored_on_the_rows_that_none_of_them_learned_from(adapted: Line, shops: Path) -> None:
    workspace, way = adapted.workspace, {"domain": "self_training", "strategy": "feature_extraction"}
    settings = asking(adapted, {"target_domain": ROWS}, **way)
    target = target_rows.fn(workspace, settings, adapted.data)
    assert target is not None
    assert (target.rows.accepted, target.scored, target.rows.twins) == (81, 80, 1)
    # What judges teaches nothing, also where it is named as rows to learn from.
    apart = target_domain.fn(workspace, settings.data, adapted.data, target.rows)
    assert apart is not None
    assert (apart.kept_out, apart.learned) == (80, 1)
    domain = target_domain.fn(workspace, settings.data, adapted.data)
    checkpoint = fine_tune.fn(workspace, settings.adaptation, adapted.data, adapted.base, domain=domain)
    plain = plain_training(workspace, settings, adapted.data, adapted.base, target, domain)
    assert plain is not None
    assert checkpoint.domain.startswith("self_training; ")
    assert (plain.domain, plain.weights_sha256 != checkpoint.weights_sha256) == ("", True)
    beside = BesideHeldOut(target=target, plain=plain)
    evaluation = evaluate_model.fn(workspace, settings, adapted.data, checkpoint, adapted.baselines, None, beside)
    seen = evaluation.target
    assert seen is not None
    truth = split_targets(target.rows, "test").numpy()
    ours, theirs = (
        (predictor_of(model).predict(raw_inputs(workspace, target.rows, "test")).argmax(1) == truth).mean()
        for model in (checkpoint.model, plain.model)
    )
    assert seen.rows == 80
    assert seen.scores["accuracy"]["value"] == pytest.approx(ours)
    assert set(seen.rivals) == {"majority", "plain_training"}
    assert seen.rivals["plain_training"].scores["accuracy"].value == pytest.approx(theirs)
    assert seen.rivals["plain_training"].differences["accuracy"].value == pytest.approx(ours - theirs)
    axis = next(
        axis
        for axis in judge(Policy(), evaluation, barred=None, unfair=None, trial=None).axes
        if axis.name == "target domain"
    )
    assert {part.name for part in axis.parts} == {"majority", "plain_training"}
    table = next(table for table in tables_of(evaluation, adapted.candidate, ()) if table.title == "Target domain")
    assert [row[0] for row in table.rows][::2] == [
        "this model",
        "the same training without a way into the target domain",
    ]
    assert RunInputs(settings, Policy(), adapted.data, adapted.base, target=target).asked != adapted.inputs.asked


def test_the_rows_of_one_domain_in_the_data_judge_where_they_are_held_out_and_labelled(
    adapted: Line, tmp_path: Path
) -> None:
    root, workspace = adapted.workspace.root, adapted.workspace
    plain = adapted.settings.model_dump()
    data = {**plain["data"], "target_domain": "source=s1", "slices": []}
    settings = Settings.model_validate({**plain, "data": data, "evaluation": {"target_rows": "source=s1"}})
    target = target_rows.fn(workspace, settings, adapted.data)
    assert target is not None
    inputs = read_split(target.rows, "test", ["input"])["input"]
    assert 0 < len(inputs) == target.scored < target.rows.accepted
    assert json.loads((target.rows.folder.path / "summary.json").read_text())["test"] == target.scored
    assert root.is_dir()


def test_another_column_in_both_settings_is_refused_in_a_sentence(adapted: Line) -> None:
    tree = adapted.settings.model_dump(mode="json") | {"evaluation": {"target_rows": "source=s1"}}
    with pytest.raises(
        SettingsError, match=r"evaluation\.target_rows 'source=s1' is no path, .* the same column=value"
    ):
        parse_settings(tree, source="params.yaml")


@pytest.mark.parametrize(
    ("data", "adaptation", "message"),
    [
        ({}, {"domain": "auto"}, r"adaptation\.domain auto without data\.target_domain: name unlabelled rows"),
        ({"target_domain": ROWS}, {"domain": "coral"}, r"domain coral with strategy fine_tuning: .* to feature_ex"),
        ({"target_domain": ROWS}, {"domain": "self_training", "fairness": "reweigh"},
         r"adaptation\.domain self_training with adaptation\.fairness reweigh: .* set one of them to none"),
        ({"target_domain": ROWS, "task": "regression", "labels": []}, {"domain": "self_training"},
         r"adaptation\.domain self_training with data\.task regression: it labels rows with one label each"),
    ],
)  # fmt: skip
def test_a_way_without_a_domain_or_without_sense_is_refused_in_a_sentence(
    adapted: Line, data: dict[str, Any], adaptation: dict[str, Any], message: str
) -> None:
    tree = adapted.settings.model_dump(mode="json")
    tree["evaluation"]["groups"] = ["source"]
    tree = {**tree, "data": {**tree["data"], **data}, "adaptation": {**tree["adaptation"], **adaptation}}
    with pytest.raises(SettingsError, match=message):
        parse_settings(tree, source="params.yaml")

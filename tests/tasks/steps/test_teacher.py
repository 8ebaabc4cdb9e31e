"""A registered model teaches another: what its pupil learns, what is recorded, and who is refused as a teacher."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from graftline.answers.predicting import predictor_of
from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.settings import read_settings
from graftline.tasks.base_models.locking import lock_model, locked_model
from graftline.tasks.data.accepted_rows import raw_inputs
from graftline.tasks.past_project import recorded_by
from graftline.tasks.readiness import missing_things
from graftline.tasks.registry.versions import get_version
from graftline.tasks.steps.adapting import base_on_rows
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.steps.target_domain import target_domain
from graftline.tasks.steps.taught_rows import taught_rows
from graftline.tasks.steps.teacher import fetch_teacher, taught_outputs
from tests.support.tiny_project import Line, connected, forget_servers, rows_as_csv, run_line, write_project

TEACHER = "models:/tiny/1"
PUPIL = [
    f"adaptation.teacher={TEACHER}", "adaptation.strategy=feature_extraction", "registry.model=pupil",
]  # fmt: skip


@pytest.fixture(scope="module")
def taught_once(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[tuple[Line, Line]]:
    """A model, and the one that learned from it."""
    with pytest.MonkeyPatch.context() as patch:
        root = write_project(tmp_path_factory.mktemp("taught") / "project")
        connected(root, empty_store, patch)
        first = run_line(root, ["adaptation.epochs=6"])
        lock_model(first.workspace, TEACHER)
        yield first, run_line(root, PUPIL)


@pytest.fixture
def taught(taught_once: tuple[Line, Line], monkeypatch: pytest.MonkeyPatch) -> tuple[Line, Line]:
    from graftline.tasks.tracking.server import connect

    forget_servers(monkeypatch)
    connect(taught_once[0].workspace)
    return taught_once


def test_a_pupil_learns_its_teachers_answers_and_not_the_labels_alone(taught: tuple[Line, Line]) -> None:
    teacher, pupil = taught
    alone = pupil.settings.adaptation.model_copy(update={"teacher": None})
    plain = fine_tune.fn(pupil.workspace, alone, pupil.data, pupil.base)
    raws = raw_inputs(pupil.workspace, pupil.data, "test")
    said, learned, without = (
        torch.from_numpy(predictor_of(model).predict(raws))
        for model in (teacher.checkpoint.model, pupil.checkpoint.model, plain.model)
    )
    assert (learned - said).abs().mean() < (without - said).abs().mean()


def test_the_teachers_answers_are_its_outputs_in_the_order_of_the_labels(taught: tuple[Line, Line]) -> None:
    teacher, pupil = taught
    predictor = predictor_of(teacher.checkpoint.model)
    outputs = predictor.features(raw_inputs(pupil.workspace, pupil.data, "validation")).outputs
    found = taught_outputs(pupil.workspace, pupil.settings.adaptation, pupil.data, predictor.outputs)
    assert torch.equal(found["validation"], outputs)
    turned = replace(pupil.data, labels=tuple(reversed(pupil.data.labels)), sha256="other order")
    again = taught_outputs(pupil.workspace, pupil.settings.adaptation, turned, predictor.outputs)
    assert torch.equal(again["validation"], outputs.flip(1))


def test_rows_without_labels_are_learned_from_with_the_teachers_answers_alone(taught: tuple[Line, Line]) -> None:
    teacher, pupil = taught
    workspace, data = pupil.workspace, pupil.data
    table = workspace.root / "elsewhere" / "rows.csv"
    table.parent.mkdir(exist_ok=True)
    table.write_text(rows_as_csv(40, seed=9), encoding="utf-8")
    named = pupil.settings.data.model_copy(update={"target_domain": "elsewhere/rows.csv"})
    domain = target_domain.fn(workspace, named, data)
    assert domain is not None
    there = base_on_rows(workspace, pupil.settings.adaptation, data, pupil.base)
    ready = (there.preprocessor, there.model.outputs, there.rows, domain)
    rows = taught_rows(workspace, pupil.settings.adaptation, data, *ready)
    train, labelled = rows["train"].targets, data.split_rows["train"]
    assert len(train) == len(rows["train"].encoded) == labelled + domain.learned
    assert not train[:labelled].isnan().any()
    assert train[labelled:, 0].isnan().all()
    said = predictor_of(teacher.checkpoint.model).features(domain.inputs(workspace)).outputs
    assert torch.equal(train[labelled:, 1:], said)
    assert len(rows["validation"].targets) == data.split_rows["validation"]
    made = fine_tune.fn(workspace, pupil.settings.adaptation, data, pupil.base, domain=domain)
    assert made.weights_sha256 != pupil.checkpoint.weights_sha256


def test_the_verdict_asks_whether_the_pupil_is_no_worse_and_tells_how_alike_and_how_fast_it_is(
    taught: tuple[Line, Line],
) -> None:
    _, pupil = taught
    (axis,) = (axis for axis in pupil.decision.axes if axis.name == "teacher")
    assert f"its teacher {TEACHER} at 1" in axis.sentence
    assert axis.numbers is not None
    assert {"same", "times_as_fast", "times_as_small"} < axis.numbers.keys()
    assert "times as fast" in pupil.report.read_text(encoding="utf-8")
    assert not [axis for axis in taught[0].decision.axes if axis.name == "teacher"]


def test_who_the_teacher_was_is_recorded_by_its_digest_and_another_one_makes_another_run(
    taught: tuple[Line, Line],
) -> None:
    _, pupil = taught
    locked = locked_model(pupil.workspace, TEACHER)
    recorded = recorded_by(str(get_version("pupil", 1).run_id), of="pupil")
    assert (recorded["teacher"], recorded["teacher_sha256"]) == (TEACHER, locked.digest)
    inputs = pupil.inputs
    with_teacher = replace(inputs, teacher=replace(pupil.base, digest="a"))
    assert replace(inputs, teacher=replace(pupil.base, digest="b")).key != with_teacher.key
    assert MlflowClient().get_run(pupil.run.run_id).data.params["adaptation.teacher"] == TEACHER


def test_a_teacher_that_is_not_locked_or_answers_something_else_is_refused(taught: tuple[Line, Line]) -> None:
    workspace, settings, data = taught[1].workspace, taught[1].settings, taught[1].data
    other = settings.adaptation.model_copy(update={"teacher": "models:/tiny/2"})
    with pytest.raises(BaseModelRefusedError, match=r"no entry for adaptation.teacher models:/tiny/2.*graftline lock"):
        fetch_teacher.fn(workspace, other, data)
    missing = missing_things(workspace.root, settings.model_copy(update={"adaptation": other}))
    assert [one.sentence for one in missing if "adaptation.teacher" in one.sentence]
    strange = replace(data, labels=("bad", "so-so"))
    with pytest.raises(SettingsError, match=r"answers 'text, single_label, bad, good', expected .* so-so' as the data"):
        fetch_teacher.fn(workspace, settings.adaptation, strange)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("path:base", "'path:base' is no registered model; expected one such as models:/reviews@champion"),
        ("reviews", "is no whole address"),
    ],
)
def test_an_address_that_names_no_registered_model_is_refused(
    taught: tuple[Line, Line], teacher: str, said: str
) -> None:
    params = taught[0].workspace.root / "params.yaml"
    with pytest.raises(SettingsError, match=said):
        read_settings(params, [f"adaptation.teacher={teacher}"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("fairness=counterfactual", "with fairness counterfactual: a teacher's answers are learned row by row"),
        ("strategy=contrastive", "with strategy contrastive: "),
        ("strategy=auto", "with strategy auto: "),
        ("domain=self_training", "with domain self_training: "),
        ("class_weights=logit_adjusted", "with class_weights logit_adjusted: "),
    ],
)
def test_settings_that_learn_from_other_than_the_rows_as_they_are_have_no_teacher(
    taught: tuple[Line, Line], setting: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        read_settings(
            taught[0].workspace.root / "params.yaml", [f"adaptation.teacher={TEACHER}", f"adaptation.{setting}"]
        )

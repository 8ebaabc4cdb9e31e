"""Continued pre-training as a step: a base model of its own, made once, that every training behind it begins with."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient

from graftline.base_models.lock import describe_folder
from graftline.errors import SettingsError
from graftline.models.folders import DESCRIPTION
from graftline.settings import read_settings
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData, read_split
from graftline.tasks.registry.versions import PRETRAINED
from graftline.tasks.room import needed_room
from graftline.tasks.step_folders import MANIFEST
from graftline.tasks.steps.adapting import FEATURES
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.fine_tune import Checkpoint, fine_tune
from graftline.tasks.steps.pretraining import MODEL, STEP, SUMMARY, PretrainedBase, pretrained_base
from graftline.tasks.steps.target_domain import TargetDomain
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from tests.support.tiny_project import connected, run_line, write_project

SET = ["adaptation.pretraining_epochs=1", "adaptation.strategy=feature_extraction"]


@dataclass(frozen=True)
class Trained:
    """A tiny project whose model was adapted behind a continued pre-training."""

    workspace: Workspace
    settings: AdaptationSettings
    data: ValidatedData
    base: BaseModel
    checkpoint: Checkpoint
    made: PretrainedBase

    def again(self, **update: Any) -> PretrainedBase:
        """The base model that these settings lead to."""
        made = pretrained_base(self.workspace, self.settings.model_copy(update=update), self.data, self.base)
        assert made is not None
        return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = write_project(tmp_path_factory.mktemp("pretrained") / "project")
    workspace, settings = Workspace(root), read_settings(root / "params.yaml", SET)
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    base = fetch_model.fn(workspace, settings.base_model.uri)
    checkpoint = fine_tune.fn(workspace, settings.adaptation, data, base)
    assert checkpoint.pretrained is not None
    return Trained(workspace, settings.adaptation, data, base, checkpoint, checkpoint.pretrained)


def test_the_training_begins_with_the_base_model_that_came_out(trained: Trained) -> None:
    made, base = trained.made.model, trained.base
    assert (made.uri, made.licence) == (base.uri, base.licence)
    depends_on = json.loads((trained.checkpoint.folder.path / MANIFEST).read_text())["inputs"]["depends_on"]
    assert depends_on["base_model"] == made.digest != base.digest
    # Whatever lay beside the weights is the base model's, byte for byte.
    assert {one.path for one in made.files if one not in base.files} <= {"config.json", "model.safetensors"}

    settings = trained.settings.model_copy(update={"pretraining_epochs": 0})
    plain = fine_tune.fn(trained.workspace, settings, trained.data, base)
    assert plain.pretrained is None
    # What the frozen part gives is kept apart from what it gave before.
    stores = [(one.folder.path / FEATURES).read_text() for one in (plain, trained.checkpoint)]
    assert stores[0] != stores[1]


def test_it_learns_from_the_texts_of_the_training_rows_alone(trained: Trained) -> None:
    texts = {*read_split(trained.data, "train", ["input"])["input"]}
    written = cast("dict[str, Any]", trained.made.folder.read_json(SUMMARY))
    assert written["texts"] + written["held_texts"] == len(texts)
    assert (trained.made.texts, trained.made.loss) == (written["texts"], written["epochs"][0]["loss"])


def test_the_texts_of_the_target_domain_are_learned_from_too(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = TargetDomain(trained.data, trained.data.folder, learned=40, kept_out=0)
    monkeypatch.setattr(TargetDomain, "inputs", lambda *_: [f"good product number {number}" for number in range(40)])
    made = fine_tune.fn(trained.workspace, trained.settings, trained.data, trained.base, domain=domain).pretrained
    assert made is not None
    written = cast("dict[str, Any]", made.folder.read_json(SUMMARY))
    texts = {*read_split(trained.data, "train", ["input"])["input"]}
    assert written["texts"] + written["held_texts"] == len(texts) + 40
    assert made.model.digest != trained.made.model.digest


def test_trainings_that_differ_otherwise_share_it_and_a_repetition_gives_the_same_bits(trained: Trained) -> None:
    made = trained.made
    shared = trained.again(strategy="fine_tuning", learning_rate=1e-3, epochs=1)
    assert (shared.folder.key, shared.folder.outcome) == (made.folder.key, "reused")

    shutil.rmtree(made.folder.path)
    again = trained.again()
    assert (again.folder.outcome, again.model.digest) == ("ran", made.model.digest)
    assert trained.again(seed=5).model.digest != made.model.digest


def test_low_rank_adapters_beside_the_weights_are_refused(trained: Trained, tmp_path: Path) -> None:
    folder = shutil.copytree(trained.base.path, tmp_path / MODEL)
    (folder / DESCRIPTION).write_text(json.dumps({"lora": {"layers": ["a"], "rank": 8, "alpha": 16}}))
    described = describe_folder(folder, "path:adapted", revision="1", licence=None, versions={})
    base = replace(trained.base, uri="path:adapted", path=folder, digest=described.digest, files=described.files)
    with pytest.raises(SettingsError, match=r"path:adapted keeps low-rank adapters .* adaptation\.lora_merge true"):
        replace(trained, base=base).again()


def test_pictures_and_sounds_have_no_language_to_learn(trained: Trained) -> None:
    said = "adaptation.pretraining_epochs 1: continued pre-training learns the language of texts, which data.kind image"
    with pytest.raises(SettingsError, match=said):
        read_settings(trained.workspace.root / "params.yaml", [*SET, "data.kind=image", "data.path=data/pictures"])


def test_the_room_for_it_is_that_of_a_training_of_everything(trained: Trained) -> None:
    head, everything = (
        trained.settings.model_copy(update=update)
        for update in ({"pretraining_epochs": 0}, {"strategy": "fine_tuning"})
    )
    assert needed_room(trained.settings, 10**9) == needed_room(everything, 10**9)
    assert needed_room(head, 10**9).memory < needed_room(everything, 10**9).memory


@pytest.mark.full
def test_a_version_tells_that_and_how_its_base_model_went_on(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_project(tmp_path / "project", model="pretrained")
    connected(root, empty_store, monkeypatch)
    line = run_line(root, SET)
    made = line.checkpoint.pretrained
    assert made is not None
    version = MlflowClient().get_model_version("pretrained", str(line.candidate.version))
    assert version.tags[PRETRAINED] == made.model.digest
    page = line.report.read_text(encoding="utf-8")
    assert ">continued pre-training</th>" in page
    assert made.in_words in page
    assert f"{made.texts:,} texts without their labels" in made.in_words
    assert [name for name in line.done.steps if name in (STEP, "fine_tune")] == [STEP, "fine_tune"]

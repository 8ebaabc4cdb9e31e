"""Adapting what is already ours: the checkpoint in a registered model, from a real MLflow store."""

from pathlib import Path

import pytest

from graftline.errors import BaseModelRefusedError
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.tracking.server import connect, experiment_of
from graftline.tasks.workspace import Workspace
from tests.support.tiny_model_files import flip_byte, write_model

pytestmark = pytest.mark.full

URI = "models:/tiny@champion"
MODEL_CODE = """\
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

class Tiny(PythonModel):
    def predict(self, context, model_input: list[str]) -> list[str]:
        return model_input

set_model(Tiny())
"""


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow").mkdir()
    write_model(tmp_path / "model")
    (tmp_path / "code.py").write_text(MODEL_CODE)
    workspace = Workspace(tmp_path)
    connect(workspace)
    return workspace


def register(workspace: Workspace) -> None:
    import mlflow

    with mlflow.start_run(experiment_id=experiment_of(workspace, "tiny")):
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(workspace.root / "code.py"),
            artifacts={"model": str(workspace.root / "model")},
            pip_requirements=["mlflow"],
            registered_model_name="tiny",
        )
    mlflow.MlflowClient().set_registered_model_alias("tiny", "champion", str(logged.registered_model_version))


def test_an_alias_is_pinned_to_the_version_that_it_names_when_locking(workspace: Workspace) -> None:
    register(workspace)
    locked = lock_model(workspace, URI)
    assert locked.revision == "1"
    assert locked.digest == lock_model(workspace, "path:model").digest
    flip_byte(workspace.root / "model" / "model.safetensors")
    register(workspace)
    (workspace.artifacts / "base_models" / locked.digest).rename(workspace.root / "forgotten")
    assert fetch_model.fn(workspace, URI).digest == locked.digest
    assert lock_model(workspace, URI).revision == "2"


def test_a_registered_model_or_alias_that_does_not_exist_is_refused(workspace: Workspace) -> None:
    with pytest.raises(BaseModelRefusedError, match="the registry does not give its checkpoint"):
        lock_model(workspace, URI)

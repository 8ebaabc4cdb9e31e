"""Bringing runs and versions from one MLflow registry to another, with everything that is judged of them."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graftline.tasks.registry.versions import BROUGHT
from graftline.tasks.tracking.pages import as_description

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

# Set last: one that lacks it was left half done by a kill.
WHOLE = "graftline.brought"
# The source of a version that is to be removed. Nobody asks for it.
GAP = "s3://removed/before-it-was-brought"
# MLflow takes no more in one request.
METRICS, PARAMS, TAGS, RUNS_OF_A_PAGE = 1000, 100, 100, 500


@dataclass(frozen=True)
class Registries:
    """Where something is brought from, and where to."""

    source: "MlflowClient"
    target: "MlflowClient"
    experiment_id: str
    """Of the model, at the target."""

    def run(self, run_id: str) -> str:
        """Bring a run, unless it is there. Returns: its id there."""
        run = self.source.get_run(run_id)
        for found in self._brought(run_id):
            if WHOLE in found.data.tags:
                return str(found.info.run_id)
            self.target.delete_run(found.info.run_id)
        tags = {**run.data.tags, BROUGHT: run_id}
        tags.pop(WHOLE, None)
        made = self.target.create_run(self.experiment_id, run.info.start_time, tags=tags).info.run_id
        self._bring_content(run, made)
        self.target.set_tag(made, WHOLE, "whole")
        return str(made)

    def version(self, version: "ModelVersion", files: Path) -> int:
        """Bring a version, whose files lie in a folder, and its run. Returns: its number there."""
        target, run_id = self.target, self.run(str(version.run_id)) if version.run_id else None
        model = target.create_logged_model(self.experiment_id, name="model", source_run_id=run_id)
        target.log_model_artifacts(model.model_id, str(files))
        target.finalize_logged_model(model.model_id, "READY")
        tags = {BROUGHT: str(version.run_id), **version.tags} if version.run_id else {**version.tags}
        made = target.create_model_version(
            version.name, f"models:/{model.model_id}", run_id, tags,
            description=as_description(version.description or ""), model_id=model.model_id,
        )  # fmt: skip
        return int(made.version)

    def gap(self, name: str) -> int:
        """Use up a number: that of a version which was removed. Returns: that number.

        It stays until `remove_gaps`: whoever goes on after a kill sees how far the numbers are used up.
        """
        return int(self.target.create_model_version(name, GAP).version)

    def remove_gaps(self, name: str) -> None:
        """To be called when all versions are there."""
        for version in self.target.search_model_versions(f"name = '{name}'"):
            if version.source == GAP:
                self.target.delete_model_version(name, version.version)

    def _bring_content(self, run: "Run", made: str) -> None:
        from mlflow.entities import Param

        server = self.target
        params = [Param(name, value) for name, value in run.data.params.items()]
        for first in range(0, len(params), PARAMS):
            server.log_batch(made, params=params[first : first + PARAMS])
        numbers = [one for name in run.data.metrics for one in self.source.get_metric_history(run.info.run_id, name)]
        for first in range(0, len(numbers), METRICS):
            server.log_batch(made, metrics=numbers[first : first + METRICS])
        if run.inputs and run.inputs.dataset_inputs:
            server.log_inputs(made, datasets=run.inputs.dataset_inputs)
        with self._artifacts(run.info.run_id) as folder:
            if any(folder.iterdir()):
                server.log_artifacts(made, str(folder))
        server.set_terminated(made, run.info.status, run.info.end_time)

    @contextmanager
    def _artifacts(self, run_id: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            if self.source.list_artifacts(run_id):
                self.source.download_artifacts(run_id, "", folder)
            yield Path(folder)

    def _brought(self, run_id: str) -> "list[Run]":
        return list(self.target.search_runs([self.experiment_id], f"tags.`{BROUGHT}` = '{run_id}'"))


def runs_of(client: "MlflowClient", experiment_id: str) -> list[str]:
    """The ids of all runs of an experiment, the oldest first."""
    found: list[str] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id], order_by=["attributes.start_time ASC"], max_results=RUNS_OF_A_PAGE, page_token=token
        )
        found += [str(run.info.run_id) for run in page]
        if not (token := page.token):
            return found

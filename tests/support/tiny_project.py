"""A whole project of a few kilobytes: a git repository, versioned data of two classes, a tiny base model, settings."""

import csv
import io
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import yaml
from pydantic import JsonValue

from benchmarks.scores.projects import git, write_data_pointer
from graftline.settings import Settings, read_settings
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.steps.baselines import Baselines, baselines
from graftline.tasks.steps.beside_held_out import beside_held_out
from graftline.tasks.steps.champion import Champion
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.decide import Decision, decide
from graftline.tasks.steps.distances import distances
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.fine_tune import Checkpoint, fine_tune
from graftline.tasks.steps.foresee import foresee
from graftline.tasks.steps.mended_rows import mending_of
from graftline.tasks.steps.outcome import RunOutcome
from graftline.tasks.steps.publish import bound_pages, publish
from graftline.tasks.steps.question import question_of
from graftline.tasks.steps.receipt import beginning_of_run, keep_receipt
from graftline.tasks.steps.register_model import Candidate, champion_to_beat, register_model
from graftline.tasks.steps.source_task import source_task
from graftline.tasks.steps.target_domain import target_domain
from graftline.tasks.steps.target_rows import target_rows
from graftline.tasks.steps.teacher import fetch_teacher
from graftline.tasks.steps.tracked_run import RunInputs, tracked_run
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.tracking.server import TrackedRun, connect
from graftline.tasks.workspace import Workspace
from graftline.verdict.policy import POLICY, read_policy
from tests.support.running_project import copy_project
from tests.support.tiny_models import BAD, BLOCKS, FILLERS, GOOD, write_tiny_model

MODEL = "tiny"
ROWS, QUARANTINED = 200, 1
LABELS = ("bad", "good")
# The project's own folder must not lend its code to what is to run from elsewhere.
SERVERS = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "PREFECT_API_URL")


@dataclass(frozen=True)
class Line:
    """The results of all steps of a line."""

    workspace: Workspace
    settings: Settings
    data: ValidatedData
    base: BaseModel
    run: TrackedRun
    checkpoint: Checkpoint
    baselines: Baselines
    champion: Champion | None
    evaluation: Evaluation
    candidate: Candidate
    decision: Decision
    report: Path

    @property
    def inputs(self) -> RunInputs:
        return RunInputs(self.settings, read_policy(self.workspace.policy), self.data, self.base)

    @property
    def done(self) -> RunOutcome:
        """The outcome that its pages are made of."""
        steps = (self.checkpoint, self.baselines, self.evaluation, self.candidate, self.decision)
        return RunOutcome(self.inputs, self.run, *steps)


def run_line(root: Path, assignments: list[str] | None = None) -> Line:
    """The line as flows/adapt.py has it, its tasks as plain functions."""
    workspace, settings = Workspace(root), read_settings(root / "params.yaml", assignments)
    beginning = beginning_of_run(workspace, settings)
    policy = read_policy(workspace.policy)
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    target = target_rows.fn(workspace, settings, data)
    domain = target_domain.fn(workspace, settings.data, data, target.rows if target else None)
    base = fetch_model.fn(workspace, settings.base_model.uri)
    teacher = fetch_teacher.fn(workspace, settings.adaptation, data)
    source = source_task.fn(workspace, settings, base)
    apart = distances.fn(workspace, settings, data, base, source, domain)
    inputs = RunInputs(settings, policy, data, base, source, domain, target, teacher=teacher)
    with tracked_run(workspace, inputs) as run:
        foreseen = foresee.fn(workspace, settings, policy.baselines, data, base, run)
        costs = settings.evaluation.costs
        checkpoint = fine_tune.fn(workspace, settings.adaptation, data, base, run, mending_of(settings), domain, costs)
        beside = beside_held_out(workspace, inputs, apart)
        rivals = baselines.fn(workspace, settings, policy.baselines, data, base, teacher)
        question = question_of(inputs, checkpoint)
        champion = champion_to_beat.fn(workspace, settings.registry.model, run, question)
        evaluation = evaluate_model.fn(workspace, settings, data, checkpoint, rivals, champion, beside)
        candidate = register_model.fn(workspace, settings.registry.model, run, data, checkpoint, evaluation, question)
        outcome = partial(RunOutcome, inputs, run, checkpoint, rivals, evaluation, candidate, foreseen=foreseen)
        decision = decide.fn(workspace, policy, candidate, evaluation, bound_pages(workspace, outcome))
        done = outcome(decision)
        report = publish.fn(workspace, done)
    keep_receipt(workspace, done, report, beginning)
    return Line(
        workspace, settings, data, base, run, checkpoint, rivals, champion, evaluation, candidate, decision, report
    )  # fmt: skip


# Few rows show no model to be better than words alone.
PROJECT_POLICY: dict[str, JsonValue] = {"floors": {"accuracy": 0.75}, "baselines": []}


def write_project(root: Path, *, model: str = MODEL) -> Path:
    """A project whose run takes seconds and reaches its floor: one faulty row, one git commit, no server."""
    write_rows(root, ROWS)
    write_data_pointer(root)
    (root / ".gitignore").write_text("/artifacts/\n/reports/\n/mlflow/*\n!/mlflow/promotion.yaml\n/data/\n/.dvc/\n")
    write_tiny_base(root, model=model)
    write_policy(root, **PROJECT_POLICY)
    git(root, "init", "--quiet", "--initial-branch", "main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "a tiny project")
    return root


def copy_with_tiny_parts(root: Path) -> Path:
    """A copy of this project, as a repository without a commit, whose base model is tiny and whose data are to come."""
    copy_project(root)
    for folder in ("data", ".git", ".dvc/cache", ".dvc/tmp", "data_remote"):
        shutil.rmtree(root / folder, ignore_errors=True)
    (root / ".git").unlink(missing_ok=True)  # a worktree's is a file: what is committed here would land on its branch
    write_tiny_base(root, blocks=4, model="reviews")
    policy = yaml.safe_load((root / POLICY).read_text(encoding="utf-8"))
    write_policy(root, **{**policy, "baselines": []})  # on so few rows no model is shown to be better than another
    git(root, "init", "--quiet", "--initial-branch", "main")
    return root


def write_rows(root: Path, rows: int) -> None:
    """The table of a tiny project."""
    (root / "data").mkdir(parents=True, exist_ok=True)
    (root / "data" / "rows.csv").write_text(rows_as_csv(rows), encoding="utf-8")


def write_tiny_base(root: Path, *, blocks: int = BLOCKS, model: str = MODEL) -> None:
    """A tiny base model in `base/`, its lock, and settings for it."""
    write_tiny_model(root / "base", num_hidden_layers=blocks)
    (root / "params.yaml").write_text(yaml.safe_dump(_params(model), sort_keys=False), encoding="utf-8")
    lock_model(Workspace(root), "path:base")
    shutil.rmtree(root / "artifacts")


def write_policy(root: Path, **policy: JsonValue) -> None:
    """The project's promotion policy."""
    (root / "mlflow").mkdir(exist_ok=True)
    (root / "mlflow" / "promotion.yaml").write_text(yaml.safe_dump(policy))


def rows_as_csv(rows: int = ROWS, *, seed: int = 0) -> str:
    """Rows in which two words decide about the label, and at their end one with a misspelt label."""
    drawn = random.Random(seed)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "text", "label", "source"])
    for number in range(rows + QUARANTINED):
        words = [*drawn.choices(FILLERS, k=6), *drawn.choices(GOOD if number % 2 else BAD, k=2)]
        drawn.shuffle(words)
        label = LABELS[number % 2] if number < rows else "baad"
        writer.writerow([f"r{number}", " ".join(words), label, f"s{number % 3}"])
    return text.getvalue()


def graftline(root: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, in the project `root`."""
    return subprocess.run(
        [sys.executable, "-m", "graftline.flows", *arguments],
        cwd=root, env=surroundings(**environment), capture_output=True, text=True, check=False,
    )  # fmt: skip


def surroundings(**environment: str) -> dict[str, str]:
    """The environment without anybody's servers."""
    return {name: value for name, value in os.environ.items() if name not in SERVERS} | environment


def files_of(model: str, version: int) -> Path:
    """The folder that MLflow keeps of a registered version."""
    from mlflow import MlflowClient

    return Path(MlflowClient().get_model_version_download_uri(model, str(version)).removeprefix("file://"))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sqlite MLflow store with its tables made, which takes seconds, and nothing in it."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}", f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture
def workspace(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A project folder with nothing in it but a connected MLflow store."""
    return connected(tmp_path, empty_store, monkeypatch)


@pytest.fixture
def adapted(adapted_once: Line, monkeypatch: pytest.MonkeyPatch) -> Line:
    """A tiny project after its first run. Tests may read it; whoever changes something puts it back."""
    forget_servers(monkeypatch)
    connect(adapted_once.workspace)
    return adapted_once


@pytest.fixture(scope="session")
def adapted_once(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Line]:
    with pytest.MonkeyPatch.context() as patch:
        root = write_project(tmp_path_factory.mktemp("adapted") / "project")
        connected(root, empty_store, patch)
        yield run_line(root)


def connected(root: Path, empty_store: Path, patch: pytest.MonkeyPatch) -> Workspace:
    """The project in `root` with an MLflow store of its own."""
    forget_servers(patch)
    (root / "mlflow").mkdir(parents=True, exist_ok=True)
    shutil.copy(empty_store, root / "mlflow" / "mlflow.db")
    workspace = Workspace(root)
    connect(workspace)
    return workspace


def forget_servers(patch: pytest.MonkeyPatch) -> None:
    """Also the store that MLflow itself wrote into the environment when a test before connected to it."""
    for name in SERVERS:
        patch.delenv(name, raising=False)


def _params(model: str) -> JsonValue:
    return {
        "data": {
            "path": "data/rows.csv", "id": "id", "labels": list(LABELS), "slices": ["source"], "licence": "CC0",
            "test_share": 0.25, "min_rows_per_class": 5,
        },
        "base_model": {"uri": "path:base"},
        "adaptation": {
            "strategy": "fine_tuning", "epochs": 12, "learning_rate": 5.0e-3, "head_learning_rate": 1.0e-2,
            "batch_size": 16, "max_tokens": 32, "threads": 1, "device": "cpu",
        },
        "evaluation": {"bootstrap": 100},
        "registry": {"model": model},
    }  # fmt: skip

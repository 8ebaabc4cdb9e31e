"""Work that is spread over workers, on a tiny project, and all that comes of it."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import cloudpickle
import pytest
import yaml

from graftline.flows import search as flow_module
from graftline.flows.rank import rank
from graftline.search.space import space_of
from graftline.settings import read_settings
from graftline.tasks.steps.baselines import baselines
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.run_trial import run_trials
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workers import fanout
from graftline.tasks.workers.fanout import Needs, Workers
from graftline.tasks.workspace import Workspace
from tests.support.tiny_models import write_tiny_model
from tests.support.tiny_project import write_project

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Answer = TypeVar("Answer")
# Does the work in a project folder. Returns: what came of it, in plain values.
Work: TypeAlias = Callable[[Path], Any]


class ThroughPickles:
    """Other processes, as far as what goes to them and comes back is concerned; the last item first."""

    many = True

    def map(
        self, function: Callable[[Shared, Item], Answer], shared: Shared, items: Iterable[Item], needs: Needs
    ) -> Iterator[Answer]:
        sent = [cloudpickle.dumps((function, shared, item)) for item in items]
        answers = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fanout, "_workers", ContextVar("there", default=fanout.ThisProcess()))  # noqa: B039 - it holds nothing
            for content in reversed(sent):
                there, everything, item = cloudpickle.loads(content)
                answers.append(cloudpickle.dumps(there(everything, item)))
        yield from (cloudpickle.loads(answer) for answer in reversed(answers))


def found_by(those: Workers, work: Work, project: Path, root: Path) -> Any:
    """What came of the work in a copy of the project at `root`, with what is kept there: the same bytes."""
    shutil.copytree(project, root, symlinks=True)
    token = fanout._workers.set(those)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            found = work(root)
    finally:
        fanout._workers.reset(token)
    features = root / "artifacts" / "features"
    kept = {path.relative_to(features): path.read_bytes() for path in sorted(features.glob("*/*.bin"))}
    steps = [path.relative_to(root) for path in sorted((root / "artifacts").glob("[!.]*/[!.]*/manifest.json"))]
    return found, kept, steps


def write_candidates(root: Path) -> Path:
    """A tiny project that names another base model beside its own."""
    write_project(root)
    write_tiny_model(root / "other", num_hidden_layers=2)
    tree = yaml.safe_load((root / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump({**tree, "base_models": ["path:other"]}))
    return root


def ranked(root: Path) -> Any:
    """The scores of two base models, without how fast they were."""
    settings = read_settings(root / "params.yaml", ["adaptation.epochs=1"])
    found = rank(root, settings, verified=2, say=lambda _: None)
    models: Any = found["models"]
    rates = [one.pop("rows_per_second") for one in models]
    assert all(rate > 0 for rate in rates)
    return models, found["fine_tunings"]


def searched(root: Path) -> Any:
    """Three trials at once, and two more."""
    workspace, settings = Workspace(root), read_settings(root / "params.yaml", ["adaptation.epochs=2"])
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    base, space = fetch_model.fn(workspace, settings.base_model.uri), space_of(settings.adaptation, ["fine_tuning"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flow_module, "run_trials", run_trials.fn)
        trials = flow_module._trials(workspace, settings, data, base, None, space, 5, 0, 3)
    return [replace(trial, seconds=0.0) for trial in trials]


def compared(root: Path) -> Any:
    """Three baselines."""
    workspace, settings = Workspace(root), read_settings(root / "params.yaml")
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    base = fetch_model.fn(workspace, settings.base_model.uri)
    found = baselines.fn(workspace, settings, ("tfidf", "frozen_head"), data, base)
    said = {name: (one.answers, one.folder.key, one.predictions().tobytes()) for name, one in found.rivals.items()}
    return said, found.outcome

"""`graftline check`: a line for each thing that a run needs, and the exit code of the first that is not there."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graftline.flows.cli import app
from graftline.settings import read_settings
from graftline.tasks.checkup import expected_seconds
from tests.support.tiny_project import write_project


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("check") / "project")


@pytest.fixture
def root(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    shutil.copytree(written, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def test_a_whole_project_is_ready_and_nothing_was_trained(root: Path) -> None:
    done = CliRunner().invoke(app, ["check"])
    assert done.exit_code == 0, done.output
    assert done.stdout == "ready: `graftline adapt`\n"
    # On a busy machine what takes longer than a moment says so in between, with the time of day.
    lines = [line.split()[0] for line in done.stderr.splitlines()]
    assert [first for first in lines if ":" not in first] == ["ok"] * 8
    assert "201 rows, 1 of them faulty; bad 100, good 100" in done.stderr
    assert "training: fine_tuning about" in done.stderr
    assert {path.name for path in (root / "artifacts").iterdir()} <= {"base_models", "files"}


def test_all_that_is_wrong_is_shown_and_the_first_kind_gives_the_exit_code(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    wrong = ["--set", "data.input=tex", "--set", "base_model.uri=path:bse"]
    done = CliRunner().invoke(app, ["check", "--json", *wrong])
    assert done.exit_code == 3
    findings = {finding["what"]: finding for finding in json.loads(done.stdout.splitlines()[-1])["findings"]}
    assert "did you mean 'text'?" in findings["data"]["faults"][0]
    assert findings["base model"]["exit_code"] == 4
    assert "no server answers there" in findings["PREFECT_API_URL"]["faults"][0]


def test_a_teams_state_is_written_to(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTLINE_STATE", str(tmp_path / "state"))
    done = CliRunner().invoke(app, ["check", "--set", "base_model.uri=path:none"])
    assert f"{tmp_path / 'state'} takes what is written" in done.stderr
    monkeypatch.setenv("GRAFTLINE_STATE", "state")
    done = CliRunner().invoke(app, ["check", "--set", "base_model.uri=path:none"])
    assert "GRAFTLINE_STATE=state: is no place for state" in done.stderr


def test_a_servers_password_is_not_shown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://ada:secret@host/runs")
    monkeypatch.setenv("PREFECT_API_URL", "https://ada:secret@127.0.0.1:9/api")
    done = CliRunner().invoke(app, ["check", "--json", "--set", "base_model.uri=path:none"])
    assert "postgresql://host/runs: no server is asked" in done.stderr
    assert "https://127.0.0.1:9/api: no server answers there" in done.stderr
    assert "secret" not in done.output


def test_one_class_alone_is_seen_without_a_run(root: Path) -> None:
    table = root / "data" / "rows.csv"
    table.write_text(table.read_text().replace(",good,", ",bad,").replace(",baad,", ",bad,"))
    done = CliRunner().invoke(app, ["check", "--set", "data.allow_modified=true"])
    assert done.exit_code == 3
    assert "has the label 'bad', expected at least two" in done.stderr


def test_what_only_a_look_at_all_rows_shows_is_seen_without_a_run(root: Path) -> None:
    done = CliRunner().invoke(app, ["check", "--set", "data.min_rows_per_class=150"])
    assert done.exit_code == 3
    assert "the data would be refused" in done.stderr
    assert "every class has at least 150 accepted rows" in done.stderr


def test_the_expected_time_follows_rows_rate_and_epochs(root: Path) -> None:
    chosen = ["adaptation.epochs=2", "data.test_share=0.1"]
    settings = read_settings(root / "params.yaml", [*chosen, "adaptation.refit_rows=0"])
    # Two passes forward and backward over 80 rows, and half a second each for the rows that choose the epoch.
    seconds = expected_seconds(settings, rows=100, learning=80, rate=10)
    assert seconds == {"fine_tuning": 2 * (3 * 8 + 1), "feature_extraction": 10}
    # So few are learned from once more, with those that chose.
    again = expected_seconds(read_settings(root / "params.yaml", chosen), rows=100, learning=80, rate=10)
    assert again == {"fine_tuning": 2 * (3 * 8 + 1) + 2 * 3 * 9, "feature_extraction": 10}
    # Of contrastive two rows run for each, and all once more for the head; auto may choose that, after 10 passes.
    for strategy, more in (("contrastive", 0), ("at most auto", 10 * 3 * 8)):
        name = strategy.rpartition(" ")[2]
        chosen = ["adaptation.epochs=2", f"adaptation.strategy={name}", "adaptation.auto_passes=10"]
        settings = read_settings(root / "params.yaml", chosen)
        assert expected_seconds(settings, rows=100, learning=80, rate=10)[strategy] == 2 * 2 * (3 * 8 + 1) + 10 + more

"""Every error is one sentence and an exit code, the last line is JSON where that was asked for, and help is cheap."""

import importlib.metadata
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.artifacts import Artifact
from pydantic import JsonValue
from typer.testing import CliRunner, Result

from benchmarks.scores.projects import write_data_pointer
from graftline.errors import RegistryRefusedError
from graftline.flows import history_page
from graftline.flows.cli import app
from graftline.tasks.registry.approval import Approval
from graftline.tasks.registry.promotion import record_verdict
from graftline.tasks.workspace import Workspace
from tests.support.registered import move_by_hand, record_file, register
from tests.support.tiny_model_files import flip_byte
from tests.support.tiny_project import connected, graftline, write_policy, write_project
from tests.support.witnesses import bare_repository, name_witnesses

HEAVY = ("torch", "transformers", "mlflow", "prefect", "pandas", "numpy", "dvc", "great_expectations", "boto3")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("cli") / "project")


@pytest.fixture
def root(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy = tmp_path / "project"
    shutil.copytree(written, copy)
    monkeypatch.chdir(copy)
    return copy


def refused(arguments: list[str], exit_code: int) -> str:
    """The one sentence with which a command ends; the JSON line says the same."""
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == exit_code, done.output
    last = json.loads(done.stdout.splitlines()[-1])
    said = _sentence(done)
    assert (" ".join(last["error"].split()), last["exit_code"]) == (said, exit_code)
    return said


def _sentence(done: Result) -> str:
    assert "Traceback" not in done.stderr
    lines = done.stderr.rstrip().splitlines()
    (first,) = (number for number, line in enumerate(lines) if line.startswith("graftline: "))
    assert all(line.startswith("  - ") for line in lines[first + 1 :])  # its causes, and nothing else
    return " ".join(" ".join(lines[first:]).split()).removeprefix("graftline: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--set", "adaptation.epochs=0"], "--set adaptation.epochs=0: expected a whole number, 1 to 1000"),
     (["--set", "adaptation.strategy=all"], "--set adaptation.strategy=all: expected one of feature_extraction, "),
     (["--set", "adaptation.epoch=3"], "--set adaptation.epoch=3: there is no setting epoch; did you mean epochs?"),
     (["--set", "adaptation.epochs"], "--set adaptation.epochs: expected section.key=value"),
     (["--set", "epochs=3"], "--set epochs=3: expected section.key=value"),
     (["--params", "parms.yaml"], "parms.yaml: there is no such settings file"),
     (["--set", "registry.model=../up"], "--set registry.model=../up: expected text that matches ^[A-Z")],
    ids=["value", "choice", "key", "no value", "no section", "no file", "name"],
)  # fmt: skip
def test_wrong_settings_end_with_2(root: Path, arguments: list[str], said: str) -> None:
    assert said in refused(["adapt", *arguments], 2)
    assert not (root / "artifacts").exists()


def test_a_policy_that_is_not_understood_ends_with_2(prefect_server: None, root: Path) -> None:
    write_policy(root, floor=0.75)
    assert "promotion.yaml, line 1: floor: there is no setting floor; did you mean floors?" in refused(["adapt"], 2)
    assert not (root / "artifacts").exists()


def test_a_missing_column_ends_with_3_and_names_it(prefect_server: None, root: Path) -> None:
    table = root / "data" / "rows.csv"
    table.write_text(table.read_text().replace("id,text,label,source", "id,test,label,source", 1))
    write_data_pointer(root)
    said = refused(["adapt"], 3)
    assert "text" in said
    assert "rows.csv" in said


def test_changed_data_ends_with_3_and_names_the_file(prefect_server: None, root: Path) -> None:
    (root / "data" / "rows.csv").write_text("changed")
    assert "1 files differ from version" in refused(["adapt"], 3)


def test_a_changed_byte_in_the_stored_base_model_ends_with_4(prefect_server: None, root: Path) -> None:
    assert CliRunner().invoke(app, ["lock"]).exit_code == 0
    (weights,) = (root / "artifacts" / "base_models").glob("*/model.safetensors")
    flip_byte(weights)
    flip_byte(root / "base" / "model.safetensors")  # otherwise it is fetched from there again
    said = refused(["adapt"], 4)
    assert ": model.safetensors has sha256 " in said
    assert "the source is not what was locked" in said


def test_a_pickle_in_the_folder_of_the_stored_base_model_is_set_aside(prefect_server: None, root: Path) -> None:
    assert CliRunner().invoke(app, ["lock"]).exit_code == 0
    stored = root / "artifacts" / "base_models"
    (weights,) = stored.glob("*/model.safetensors")
    (weights.parent / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    done = CliRunner().invoke(app, ["adapt"])
    assert done.exit_code == 0, done.output
    assert "what does not belong to the base model is set aside" in done.stderr
    assert [path.parent.name[0] for path in stored.glob("*/pytorch_model.bin")] == ["."]


def test_a_base_model_with_a_pickle_is_not_locked_and_ends_with_4(root: Path) -> None:
    (root / "base" / "pytorch_model.bin").write_bytes(pickle.dumps({"a": 1}))
    assert "pytorch_model.bin, of a kind that can run any code when it is loaded" in refused(["lock"], 4)


def test_a_base_model_that_is_not_locked_ends_with_4(prefect_server: None, root: Path) -> None:
    assert "run `graftline lock`" in refused(["adapt", "--set", "base_model.uri=path:other"], 4)


@pytest.mark.parametrize(
    ("verb", "options"),
    [("promote", []), ("rollback", []), ("history", []), ("history", ["--verify"]), ("reproduce", []),
     ("override", ["--version", "1", "--reason", "a"]), ("approve", ["--version", "1", "--reason", "a", "--by", "A"])],
)  # fmt: skip
def test_an_unknown_model_ends_with_6(root: Path, empty_store: Path, verb: str, options: list[str]) -> None:
    (root / "mlflow").mkdir(exist_ok=True)
    shutil.copy(empty_store, root / "mlflow" / "mlflow.db")
    assert refused([verb, "tinny", *options], 6).startswith("tinny: no such registered model, the registry has none;")


@pytest.fixture
def registered(root: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A version on HOLD, and one that a person may let pass within the day."""
    workspace = connected(root, empty_store, monkeypatch)
    register(workspace, "HOLD", None)
    record_verdict(
        workspace, "tiny", version=2, verdict="PROMOTE", reasons=("better",), rival=None, evaluation_sha256="e",
        policy_sha256="p", approval=Approval(86_400),
    )  # fmt: skip
    return workspace


def succeeded(*arguments: str) -> dict[str, JsonValue]:
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    result: dict[str, JsonValue] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_what_was_held_is_overridden_with_a_reason_and_not_promoted(registered: Workspace) -> None:
    assert "has the verdict HOLD, expected PROMOTE" in refused(["promote", "tiny", "--version", "1"], 6)
    override = ["override", "tiny", "--version", "1", "--reason"]
    assert "the reason of an override is blank" in refused([*override, " "], 2)
    result = succeeded(*override, "urgent")
    assert (result["action"], result["verdict"], result["champion_after"]) == ("override", "HOLD", 1)
    assert result["summary"] == "tiny: the champion is version 1, it was none"


def test_a_promotion_that_waits_is_approved_from_the_command_line(registered: Workspace) -> None:
    unnamed = ["approve", "tiny", "--version", "2", "--reason", "I looked"]
    assert "--by: is missing, and the registry asks for no account" in refused(unnamed, 2)
    result = succeeded("approve", "tiny", "--version", "2", "--by", "Ada", "--reason", "I looked")
    assert (result["action"], result["verdict"], result["champion_after"]) == ("approval", "PROMOTE", 2)
    again = ["approve", "tiny", "--version", "2", "--by", "Ada", "--reason", "no", "--reject"]
    assert "does not wait for an approval, its verdict is PROMOTE" in refused(again, 6)


def test_verify_counts_the_records_or_ends_with_6_and_names_what_is_wrong(registered: Workspace) -> None:
    assert succeeded("history", "tiny", "--verify")["records"] == 2
    record_file(registered, "tiny", 1).unlink()
    move_by_hand(1)
    said = refused(["history", "tiny", "--verify"], 6)
    assert "record 1 was removed" in said
    assert "the alias champion is at version 1, but by the history at none" in said


def test_a_file_of_receipts_is_kept_and_compared(registered: Workspace, tmp_path: Path) -> None:
    receipts = str(tmp_path / "receipts.jsonl")
    said = str(succeeded("history", "tiny", "--receipt", receipts)["summary"])
    assert f"{receipts}: holds the receipts of all 2 records, 2 of them new" in said
    result = succeeded("history", "tiny", "--verify", "--receipt", receipts)
    assert result["witnesses"] == [{"where": receipts, "records": 2, "without": []}]
    assert f"witnessed by {receipts}: 2 records" in str(result["summary"])
    other = Path(receipts).read_text().replace('"number":2', '"number":7')
    Path(receipts).write_text(other)
    assert "this history ends at record 2: it was cut" in refused(
        ["history", "tiny", "--verify", "--receipt", receipts], 6
    )
    assert "and stays as it is" in refused(["history", "tiny", "--receipt", receipts], 6)
    assert "line 1 is no receipt" in refused(["history", "tiny", "--verify", "--receipt", "params.yaml"], 2)


def test_a_witness_that_cannot_be_asked_ends_the_verification_with_7(registered: Workspace) -> None:
    remote = bare_repository(registered.root / "witness.git")
    name_witnesses(registered, git=["witness.git"])
    result = succeeded("history", "tiny", "--verify")
    where = "git witness.git refs/heads/graftline/history/tiny"
    assert result["witnesses"] == [{"where": where, "records": 2, "without": []}]
    remote.rename(registered.root / "away.git")
    said = refused(["history", "tiny", "--verify"], 7)
    assert said.startswith("tiny: 2 records checked, and nothing found; but these witnesses could not be asked whether")
    assert f"- {where}: " in said


@pytest.mark.full
def test_the_page_shows_the_history_as_text(prefect_server: None, registered: Workspace) -> None:
    written = "x\n<script>alert(1)</script> [a](javascript:b)"
    succeeded("approve", "tiny", "--version", "2", "--by", "Ada", "--reason", written, "--reject")
    result: Any = history_page.history("tiny")
    artifact = cast("Artifact", Artifact.get("history"))
    lines = str(artifact.data).splitlines()
    # Four spaces before each: a code block, of which Markdown interprets nothing.
    assert all(line.startswith("    ") and len(line) <= 4 + history_page.PAGE_WIDTH for line in lines)
    assert str(artifact.data).split() == result["summary"].split()
    assert "<script>alert(1)</script>" in str(artifact.data)


@pytest.mark.full
def test_the_page_says_whether_the_history_is_unbroken(prefect_server: None, registered: Workspace) -> None:
    assert history_page.history("tiny", verify=True)["records"] == 2
    move_by_hand(1)
    with pytest.raises(RegistryRefusedError, match="the alias champion is at version 1"):
        history_page.history("tiny", verify=True)


def test_a_server_that_does_not_answer_ends_with_7(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert "no MLflow server answers there" in refused(["history", "tiny"], 7)


def test_what_nobody_foresaw_ends_with_1_and_one_sentence(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a test")

    monkeypatch.setattr("graftline.settings.read_settings", fail)
    assert refused(["lock"], 1) == "unexpected ZeroDivisionError: a test; --debug shows where"


def test_debug_shows_the_traceback(root: Path) -> None:
    done = CliRunner().invoke(app, ["adapt", "--debug", "--params", "parms.yaml"])
    assert type(done.exception).__name__ == "SettingsError"


def test_without_json_nothing_is_on_standard_output_but_the_summary(root: Path) -> None:
    done = CliRunner().invoke(app, ["lock"])
    assert done.stdout.startswith("locked path:base at ")
    assert len(done.stdout.splitlines()) == 1


def test_help_imports_none_of_the_heavy_libraries() -> None:
    program = (
        "import sys\nfrom graftline.flows.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit as end:\n    code = end.code\n"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 []"
    for verb in (
        "adapt",
        "promote",
        "override",
        "approve",
        "rollback",
        "history",
        "reproduce",
        "lock",
        "convert",
        "up",
        "predict",
        "compare",
        "models",
    ):
        assert verb in done.stdout


def test_the_version_and_the_words_that_complete_a_line_are_told_by_either_name_of_the_module() -> None:
    for module in ("graftline", "graftline.flows"):
        command = [sys.executable, "-m", module]
        version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
        assert version.stdout == f"graftline {importlib.metadata.version('graftline')}\n"
    asked = {"_GRAFTLINE_COMPLETE": "complete_bash", "COMP_WORDS": "graftline ad", "COMP_CWORD": "1"}
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["adapt"]


@pytest.mark.full
def test_a_refusal_inside_of_the_flow_is_one_sentence_in_a_process_of_its_own(root: Path) -> None:
    (root / "data" / "rows.csv").write_text("changed")
    done = graftline(root, "adapt", "--json")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    # Said once, and by nobody else; Prefect's server, which ends after that, says nothing.
    assert done.stderr.count("1 files differ from version") == 1
    assert done.stderr.splitlines()[-1].startswith("graftline: data/: 1 files differ")
    assert "prefect" not in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["exit_code"] == 3

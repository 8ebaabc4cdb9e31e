"""A version is handed over as one file, which its recipient checks with nothing but that file and a key."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from graftline.errors import BundleRefusedError, RegistryRefusedError, SettingsError
from graftline.flows.bundle import bundle
from graftline.flows.cli import app
from graftline.flows.verify import verify
from graftline.tasks.bundles.proving import prove
from graftline.tasks.registry.signing import KEY_FILE, TRUSTED_KEYS, Signing
from graftline.tasks.registry.versions import DATA_VERSION
from graftline.tasks.workspace import Workspace
from tests.support.bundles import bundle_in, entry, history, pem_of, signer, statement
from tests.support.registered import register
from tests.support.running_project import PROJECT
from tests.support.tiny_model_files import flip_byte
from tests.support.tiny_project import MODEL, Line, files_of

KEY = signer().public_key
HEAVY = ("mlflow", "numpy", "pandas", "torch", "prefect", "boto3", "sqlalchemy", "dvc", "scipy", "great_expectations")
# Runs the command line where no network answers, nothing is written, and what is heavy is not installed.
EMPTY_ENVIRONMENT = f"""
import sys

class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            raise ModuleNotFoundError(name)

def watch(event, arguments):
    if event.startswith("socket.") or event in ("os.mkdir", "os.rename", "os.remove", "subprocess.Popen"):
        raise SystemExit(f"it called {{event}}")
    if event == "open" and arguments[2] & 3:
        raise SystemExit(f"it wrote {{arguments[0]}}")

sys.meta_path.insert(0, NotInstalled())
sys.dont_write_bytecode = True
sys.addaudithook(watch)
from graftline.flows.cli import main
sys.argv = ["graftline", *sys.argv[1:]]
main()
"""


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key.pem"
    path.touch(0o600)
    path.write_bytes(pem_of("ours"))
    monkeypatch.setenv(KEY_FILE, str(path))
    monkeypatch.delenv(TRUSTED_KEYS, raising=False)


def bundled(line: Line, folder: Path) -> Path:
    bundle(line.workspace.root, MODEL, 1, folder / "tiny.bundle.json")
    return folder / "tiny.bundle.json"


def test_a_bundled_version_is_verified_with_what_was_judged(adapted: Line, tmp_path: Path) -> None:
    told = cast("dict[str, Any]", verify(bundled(adapted, tmp_path), [KEY], files_of(MODEL, 1)))
    evaluation, data = adapted.evaluation, adapted.data
    assert (told["model"], told["version"], told["verdict"]) == (MODEL, 1, "PROMOTE")
    assert told["reasons"] == list(adapted.decision.reasons)
    assert told["champion"] == {"before": None, "after": 1, "when_bundled": 1}
    score = evaluation.scores["accuracy"]
    assert told["score"] == {"name": "accuracy", "rows": evaluation.held_out.rows} | {
        part: score[part] for part in ("value", "low", "high")
    }
    assert told["data_version"] == data.data.version
    assert (told["split"]["sha256"], told["split"]["test_sha256"]) == (data.split_sha256, data.test_sha256)
    wanted = adapted.settings.data
    assert (told["split"]["group"], told["split"]["test_share"]) == (wanted.group, wanted.test_share)
    assert told["split"]["rows"] == {
        "read": data.read, "accepted": data.accepted, "quarantined": data.quarantined, "twins": data.twins,
        **data.split_rows,
    }  # fmt: skip
    assert told["base_model"]["sha256"] == adapted.base.digest
    assert told["policy_sha256"] == adapted.inputs.policy.sha256
    assert (told["signed"]["key"], told["files"]) == (KEY, told["model_files_compared"])


def test_the_summary_says_the_verdict_its_reasons_the_score_and_what_the_signer_alone_vouches_for(
    adapted: Line, tmp_path: Path
) -> None:
    said = str(verify(bundled(adapted, tmp_path), [KEY])["summary"])
    score = adapted.evaluation.scores["accuracy"]
    for words in (
        "tiny version 1: PROMOTE",
        *adapted.decision.reasons,
        f"accuracy {score['value']:.4f} (95 % interval {score['low']:.4f} to {score['high']:.4f})",
        f"data version {adapted.data.data.version}",
        f"signed with {KEY}, which you trust",
        "by the signer's word alone: settings",
        "compared with no folder, which --model names",
    ):
        assert words in said


def test_the_command_says_the_same_and_ends_with_9_where_a_bundle_does_not_hold(adapted: Line, tmp_path: Path) -> None:
    path = bundled(adapted, tmp_path)
    done = CliRunner().invoke(app, ["verify", str(path), "--key", KEY, "--json"])
    assert json.loads(done.stdout.splitlines()[-1])["verdict"] == "PROMOTE"
    flip_byte(path)
    done = CliRunner().invoke(app, ["verify", str(path), "--key", KEY])
    assert (done.exit_code, done.stdout) == (9, "")
    assert done.stderr.startswith(f"graftline: {path}: ")


def test_by_itself_a_bundle_lies_among_the_reports_which_git_leaves_alone(adapted: Line) -> None:
    path = Path(str(bundle(adapted.workspace.root, MODEL, 1)["bundle"]))
    assert path == adapted.workspace.reports / "tiny-1.bundle.json"
    git = ["git", "status", "--porcelain", "reports"]
    assert subprocess.run(git, cwd=adapted.workspace.root, capture_output=True, check=True).stdout == b""
    path.unlink()


def test_without_a_key_of_the_recipients_it_is_refused_and_names_the_key_to_ask_about(
    adapted: Line, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="no key is named whose signature counts") as caught:
        verify(bundled(adapted, tmp_path))
    assert KEY in str(caught.value)


def test_without_a_key_to_sign_with_nothing_is_bundled_and_it_says_how_to_make_one(
    adapted: Line, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_FILE)
    with pytest.raises(
        SettingsError, match=r"make one with `openssl genpkey -algorithm ed25519 -out KEY.pem`, chmod 600"
    ):
        bundled(adapted, tmp_path)
    assert not (tmp_path / "tiny.bundle.json").exists()


def weights(line: Line) -> Callable[[], object]:
    path = files_of(MODEL, 1) / "artifacts/model/head.safetensors"
    return _flipped(path)


def policy(line: Line) -> Callable[[], object]:
    folder = str(MlflowClient().get_run(line.candidate.run_id).info.artifact_uri)
    return _flipped(Path(folder.removeprefix("file://")) / "policy.json")


def provenance(line: Line) -> Callable[[], object]:
    path = Path(str(MlflowClient().get_run(line.candidate.run_id).info.artifact_uri).removeprefix("file://"))
    before = (path / "provenance.json").read_text()
    (path / "provenance.json").write_text(before.replace(line.data.data.version, "0" * 32))
    return lambda: (path / "provenance.json").write_text(before)


def no_provenance(line: Line) -> Callable[[], object]:
    path = Path(str(MlflowClient().get_run(line.candidate.run_id).info.artifact_uri).removeprefix("file://"))
    (path / "provenance.json").rename(path / "away")
    return lambda: (path / "away").rename(path / "provenance.json")


def tag(_: Line) -> Callable[[], object]:
    before = MlflowClient().get_model_version(MODEL, "1").tags[DATA_VERSION]
    MlflowClient().set_model_version_tag(MODEL, "1", DATA_VERSION, "other")
    return lambda: MlflowClient().set_model_version_tag(MODEL, "1", DATA_VERSION, before)


def record(line: Line) -> Callable[[], object]:
    return _flipped(line.workspace.root / "mlflow" / "history" / MODEL / "000001.json")


def _flipped(path: Path) -> Callable[[], object]:
    before = path.read_bytes()
    flip_byte(path)
    return lambda: path.write_bytes(before)


TAMPERINGS: list[tuple[Callable[[Line], Callable[[], object]], str]] = [
    (weights, "head.safetensors was changed"), (policy, "policy.json was changed in MLflow"),
    (tag, f"tag {DATA_VERSION} was changed"), (record, "000001.json"),
    (provenance, "what its provenance says of graftline.data_version is not what the version's tag says"),
    (no_provenance, "what lies with its run"),
]  # fmt: skip


@pytest.mark.parametrize(("tamper", "said"), TAMPERINGS, ids=lambda value: getattr(value, "__name__", ""))
def test_what_was_tampered_with_is_not_bundled(
    adapted: Line, tmp_path: Path, tamper: Callable[[Line], Callable[[], object]], said: str
) -> None:
    put_back = tamper(adapted)
    try:
        with pytest.raises((RegistryRefusedError, BundleRefusedError)) as caught:
            bundled(adapted, tmp_path)
    finally:
        put_back()
    assert said in str(caught.value)
    assert not (tmp_path / "tiny.bundle.json").exists()
    bundled(adapted, tmp_path)


def test_a_version_that_was_never_judged_by_its_files_is_not_bundled(workspace: Workspace) -> None:
    register(workspace, None, "REJECT")
    for version in (1, 2):
        with pytest.raises(RegistryRefusedError, match="holds no verdict that names its files"):
            bundle(workspace.root, MODEL, version)
    with pytest.raises(RegistryRefusedError, match="tiny version 3: not in the registry"):
        bundle(workspace.root, MODEL, 3)


def test_the_files_of_the_model_are_compared_and_the_one_that_differs_is_named(adapted: Line, tmp_path: Path) -> None:
    path, copy = bundled(adapted, tmp_path), tmp_path / "model"
    shutil.copytree(files_of(MODEL, 1), copy)
    for added in ("registered_model_meta", "code/__pycache__/graftline.pyc"):  # MLflow and Python put them there
        (copy / added).parent.mkdir(exist_ok=True)
        (copy / added).touch()
    assert f"files: equal in {copy}" in str(verify(path, [KEY], copy)["summary"])
    flip_byte(copy / "artifacts/model/model.safetensors")
    (copy / "code" / "torch.py").touch()
    (copy / "MLmodel").unlink()
    (copy / "served_model.py").unlink()
    (copy / "served_model.py").symlink_to(files_of(MODEL, 1) / "served_model.py")
    with pytest.raises(
        BundleRefusedError, match=r"is not the model that .* is about: served_model.py is no plain"
    ) as caught:
        verify(path, [KEY], copy)
    assert caught.value.causes[1:] == (
        "artifacts/model/model.safetensors was changed", "code/torch.py was added", "MLmodel is missing",
    )  # fmt: skip
    with pytest.raises(SettingsError, match="is no folder; name the one that holds the model's MLmodel"):
        verify(path, [KEY], tmp_path / "nothing")


def test_what_people_decided_after_the_verdict_is_told(tmp_path: Path) -> None:
    rejected = entry(verdict="REJECT", champion_after=None)
    moved = replace(rejected, action="override", champion_after=1, why="Ada takes it on herself", reasons=())
    made = statement(history(rejected, moved, by=signer()))
    said = str(verify(bundle_in(tmp_path, made), [KEY])["summary"])
    assert "reviews version 1: REJECT" in said
    assert "later: override, " in said
    assert ": Ada takes it on herself" in said
    assert "after none; when this was bundled version 1" in said


def test_text_of_others_is_spelt_out_and_begins_no_line(tmp_path: Path) -> None:
    hostile = "\x1b[2J\u202e\nverified: everything\r"
    records = history(entry(reasons=(hostile,)), by=signer())
    told = verify(bundle_in(tmp_path, statement(records)), [KEY])
    assert told["reasons"] == ["\\u001b[2J\\u202e\nverified: everything\\u000d"]
    assert "  - \\u001b[2J\\u202e\\nverified: everything\\u000d" in str(told["summary"]).split("\n")


def environment(folder: Path) -> list[str]:
    """A command in front of which nothing is left: no variables, no network where that can be taken away."""
    alone = ["unshare", "--user", "--map-root-user", "--net"]
    taken_away = subprocess.run([*alone, "true"], capture_output=True, check=False).returncode == 0
    return [*(alone if taken_away else []), "env", "-i", sys.executable, "-I", "-c", EMPTY_ENVIRONMENT]


@pytest.mark.parametrize("changed", [False, True], ids=["as signed", "with one byte changed"])
def test_it_is_verified_in_an_empty_environment_without_network_registry_and_heavy_packages(
    adapted: Line, tmp_path: Path, changed: bool
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    path = bundled(adapted, empty)
    if changed:
        flip_byte(path)
    command = [*environment(empty), "verify", path.name, "--key", KEY, "--json"]
    done = subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False)
    last = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, last.get("verdict")) == ((9, None) if changed else (0, "PROMOTE")), done.stderr
    assert [file.name for file in empty.iterdir()] == [path.name]


def test_code_that_lies_beside_a_bundle_does_not_run(tmp_path: Path) -> None:
    path = bundle_in(tmp_path)
    (tmp_path / "graftline" / "flows").mkdir(parents=True)
    for name in ("__init__.py", "flows/__init__.py", "flows/cli.py", "flows/__main__.py"):
        (tmp_path / "graftline" / name).write_text("raise SystemExit('foreign code ran')")
    program = "import sys; from graftline.flows.cli import main; main()"
    command = [sys.executable, "-I", "-c", program, "verify", path.name, "--key", KEY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith("reviews version 1: PROMOTE")) == (0, True), done.stderr


@pytest.mark.full
def test_no_byte_of_a_real_bundle_can_be_changed_or_cut(adapted: Line, tmp_path: Path) -> None:
    content, signing = bundled(adapted, tmp_path).read_bytes(), Signing((KEY,), {}, None)
    ends = {*range(500), *range(len(content) - 500, len(content))}
    for place in sorted(ends | {*range(0, len(content), 29)}):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        for damaged in (bytes(changed), content[:place]):
            with pytest.raises(BundleRefusedError):
                prove("a", damaged, signing)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
@pytest.mark.parametrize("changed", [False, True], ids=["as signed", "with one byte changed"])
def test_without_graftline_it_is_verified_as_the_page_says(tmp_path: Path, changed: bool) -> None:
    page = (PROJECT / "docs" / "how-to" / "hand-over-a-verdict.md").read_text(encoding="utf-8")
    (commands,) = (block for block in re.findall(r"^```sh\n(.*?)^```", page, re.S | re.M) if "pkeyutl" in block)
    made = statement()
    bundle_in(tmp_path, made).rename(tmp_path / "reviews-7.bundle.json")
    (tmp_path / "ours.pem").write_bytes(pem_of("ours"))
    public = ["openssl", "pkey", "-in", "ours.pem", "-pubout", "-out", "graftline.pub.pem"]
    subprocess.run(public, cwd=tmp_path, check=True)
    if changed:
        content = (tmp_path / "reviews-7.bundle.json").read_bytes()
        (tmp_path / "reviews-7.bundle.json").write_bytes(content.replace(b'"payload":"e', b'"payload":"f', 1))
    done = subprocess.run(["sh", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ("Signature Verified Successfully" in done.stdout, done.returncode) == ((False, 1) if changed else (True, 0))
    assert ((tmp_path / "statement.json").read_bytes() == made.payload) is not changed

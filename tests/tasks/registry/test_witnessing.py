"""A history that was cut or replaced, together with the registry and though it be signed, is told by its witnesses."""

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
import yaml
from botocore.exceptions import ClientError

from graftline.errors import RegistryRefusedError, SettingsError
from graftline.tasks.registry import promotion
from graftline.tasks.registry.carrying_out import read_settled
from graftline.tasks.registry.history import history_folder, read_history
from graftline.tasks.registry.promotion import override, promote, rollback
from graftline.tasks.registry.signing import KEY_FILE, TRUSTED_KEYS
from graftline.tasks.registry.verification import Proof, verify
from graftline.tasks.registry.witnessing import NOTE, keep_receipts
from graftline.tasks.workspace import Workspace
from tests.support.registered import MODEL, record_file, register
from tests.support.servers import running_s3
from tests.support.witnesses import bare_repository, make_bucket, name_witnesses, run_git
from tests.tasks.registry.test_signing import make_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RECORDS, KEPT = 5, 3
BRANCH = f"refs/heads/graftline/history/{MODEL}"


@pytest.fixture(autouse=True)
def _no_files_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_FILE, TRUSTED_KEYS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def remote(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_repository(tmp_path_factory.mktemp("server") / "witness.git")


def decide_thrice(workspace: Workspace) -> None:
    """Three records."""
    register(workspace, "PROMOTE", "HOLD")
    promote(workspace, MODEL, 1, "a test")


def decide_twice_more(workspace: Workspace, why: str = "a test") -> None:
    override(workspace, MODEL, 2, why)
    rollback(workspace, MODEL, why)


class Backup:
    """The history and the registry as they were, of which the files fit each other in all."""

    def __init__(self, workspace: Workspace) -> None:
        self.root = workspace.root
        shutil.copytree(self.root / "mlflow" / "history", self.root / "backup")
        with closing(sqlite3.connect(self.database)) as there, closing(sqlite3.connect(self.kept)) as kept:
            there.backup(kept)

    @property
    def database(self) -> Path:
        return self.root / "mlflow" / "mlflow.db"

    @property
    def kept(self) -> Path:
        return self.root / "backup" / "mlflow.db"

    def restore(self) -> None:
        shutil.rmtree(self.root / "mlflow" / "history")
        shutil.copytree(self.root / "backup", self.root / "mlflow" / "history")
        (self.root / "mlflow" / "history" / "mlflow.db").unlink()
        with closing(sqlite3.connect(self.kept)) as kept, closing(sqlite3.connect(self.database)) as there:
            kept.backup(there)


def findings(workspace: Workspace, receipts: Path | None = None) -> list[str]:
    return [str(finding) for finding in verify(workspace, MODEL, receipts).findings]


def witnessed(proof: Proof) -> list[tuple[int, tuple[int, ...], bool]]:
    return [(one.records, one.without, one.asked) for one in proof.witnessed]


def cut(workspace: Workspace) -> None:
    for number in range(KEPT + 1, RECORDS + 1):
        record_file(workspace, MODEL, number).unlink()
        record_file(workspace, MODEL, number).with_suffix(".done").unlink()


def test_each_record_is_witnessed_once_it_is_written(workspace: Workspace, remote: Path) -> None:
    name_witnesses(workspace, git=[str(remote)])
    decide_thrice(workspace)
    lines = run_git(remote, "log", "--reverse", "--format=%B", BRANCH).split()
    assert [json.loads(line) for line in lines] == [
        {"model": MODEL, "number": record.number, "sha256": record.sha256} for record in read_history(workspace, MODEL)
    ]
    proof = verify(workspace, MODEL)
    assert (proof.findings, witnessed(proof)) == ((), [(KEPT, (), True)])
    assert proof.witnessed[0].where == f"git {remote} {BRANCH}"


def test_a_cut_history_is_found_by_its_witness_too(workspace: Workspace, remote: Path) -> None:
    name_witnesses(workspace, git=[str(remote)])
    decide_thrice(workspace)
    decide_twice_more(workspace)
    newest = read_history(workspace, MODEL)[-1].sha256
    cut(workspace)
    found = findings(workspace)
    assert f"record {KEPT + 1} was removed" in found  # by the registry
    assert found[-1] == (
        f"record {RECORDS} was witnessed at git {remote} {BRANCH} with digest {newest}; this history ends at record"
        f" {KEPT}: it was cut"
    )


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_history_and_registry_that_were_put_back_together_are_found_by_the_witness_alone(
    workspace: Workspace, remote: Path, signed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if signed:
        make_key(workspace.root / "a.pem")
        monkeypatch.setenv(KEY_FILE, str(workspace.root / "a.pem"))
    name_witnesses(workspace, git=[str(remote)])
    decide_thrice(workspace)
    backup = Backup(workspace)
    decide_twice_more(workspace)
    backup.restore()

    name_witnesses(workspace)
    assert findings(workspace) == []  # as it was before there were witnesses
    name_witnesses(workspace, git=[str(remote)])
    (found,) = findings(workspace)
    assert found.startswith(f"record {RECORDS} was witnessed at git ")
    assert found.endswith(f"; this history ends at record {KEPT}: it was cut")
    with pytest.raises(RegistryRefusedError, match=r"it was cut; nothing is decided on it: .* name other witnesses"):
        override(workspace, MODEL, 2, "another")
    assert len(read_history(workspace, MODEL)) == KEPT


def test_another_history_in_the_place_of_the_witnessed_one_is_found(workspace: Workspace, remote: Path) -> None:
    name_witnesses(workspace, git=[str(remote)])
    decide_thrice(workspace)
    backup = Backup(workspace)
    decide_twice_more(workspace)
    backup.restore()
    name_witnesses(workspace)
    decide_twice_more(workspace, "of another history")
    rollback_again = read_history(workspace, MODEL)
    assert (len(rollback_again), findings(workspace)) == (RECORDS, [])
    name_witnesses(workspace, git=[str(remote)])
    (found,) = findings(workspace)
    assert found.startswith(f"record {KEPT + 1} was witnessed at git ")
    assert found.endswith(
        f"but has digest {rollback_again[KEPT].sha256}: this history is not the one that was witnessed"
    )
    with pytest.raises(RegistryRefusedError, match="is not the one that was witnessed"):
        promote(workspace, MODEL, 1, "a test")


def test_a_witness_that_is_away_loses_no_record_and_is_given_it_later(
    workspace: Workspace, remote: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name_witnesses(workspace, git=[str(remote)])
    decide_thrice(workspace)
    away = remote.with_name("away")
    remote.rename(away)
    decide_twice_more(workspace)
    assert len(read_history(workspace, MODEL)) == RECORDS
    assert f"records 1 to {RECORDS} not witnessed at git {remote} {BRANCH} yet, which the next command" in caplog.text
    proof = verify(workspace, MODEL)
    assert (proof.findings, witnessed(proof)) == ((), [(0, tuple(range(1, RECORDS + 1)), False)])
    assert read_settled(workspace, MODEL) is None
    away.rename(remote)
    assert len(promotion.history(workspace, MODEL)[0]) == RECORDS
    assert len(run_git(remote, "log", "--format=%B", BRANCH).split()) == RECORDS
    assert read_settled(workspace, MODEL) is not None
    assert witnessed(verify(workspace, MODEL)) == [(RECORDS, (), True)]


def test_a_witness_that_is_named_later_is_given_what_was_before(workspace: Workspace, remote: Path) -> None:
    decide_thrice(workspace)
    name_witnesses(workspace, git=[str(remote)])
    assert witnessed(verify(workspace, MODEL)) == [(KEPT, (), True)]
    assert len(run_git(remote, "log", "--format=%B", BRANCH).split()) == KEPT


def test_a_history_with_findings_gets_no_receipt(workspace: Workspace, remote: Path) -> None:
    decide_thrice(workspace)
    path = record_file(workspace, MODEL, 2)
    path.write_bytes(path.read_bytes().replace(b"HOLD", b"HELD"))
    name_witnesses(workspace, git=[str(remote)])
    assert findings(workspace)
    assert run_git(remote, "for-each-ref") == ""


def test_a_witness_that_takes_nothing_is_told_and_holds_nobody_up(
    workspace: Workspace, remote: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (remote / "hooks").mkdir(exist_ok=True)
    (remote / "hooks" / "pre-receive").write_text("#!/bin/sh\necho may not write >&2\nexit 1\n")
    (remote / "hooks" / "pre-receive").chmod(0o755)
    name_witnesses(workspace, git=[str(remote)])
    decide_thrice(workspace)
    assert "may not write" in caplog.text
    assert witnessed(verify(workspace, MODEL)) == [(0, (1, 2, 3), True)]


def test_a_witness_that_lost_its_receipts_is_told_and_not_filled_again(workspace: Workspace, remote: Path) -> None:
    name_witnesses(workspace, git=[str(remote)])
    decide_thrice(workspace)
    run_git(remote, "update-ref", "-d", BRANCH)  # as who owns the server can
    said = f"git {remote} {BRANCH} has lost the receipt of records 1 to {KEPT}: it was taken away there"
    assert findings(workspace) == [said]
    with pytest.raises(RegistryRefusedError, match="has lost the receipt"):
        override(workspace, MODEL, 2, "a test")
    (history_folder(workspace, MODEL) / NOTE).unlink()
    assert findings(workspace) == []


def test_a_damaged_note_of_what_was_given_only_costs_asking(workspace: Workspace, remote: Path) -> None:
    name_witnesses(workspace, git=[str(remote)])
    decide_thrice(workspace)
    for content in ("[]", "{", '{"a": "b"}'):
        (history_folder(workspace, MODEL) / NOTE).write_text(content)
        assert read_settled(workspace, MODEL) is None
        promotion.history(workspace, MODEL)
        assert read_settled(workspace, MODEL) is not None


def test_witnesses_outside_of_the_project_cannot_be_taken_out_of_it(
    workspace: Workspace, remote: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "trusted.yaml"
    outside.write_text(yaml.safe_dump({"witnesses": {"git": [str(remote)]}}))
    monkeypatch.setenv(TRUSTED_KEYS, str(outside))
    decide_thrice(workspace)
    backup = Backup(workspace)
    decide_twice_more(workspace)
    backup.restore()
    other = bare_repository(remote.with_name("other.git"))
    name_witnesses(workspace, git=[str(other)])
    proof = verify(workspace, MODEL)
    assert [str(finding).rpartition(": ")[2] for finding in proof.findings] == ["it was cut"]
    assert proof.left_out == (f"git {other} {BRANCH}",)
    monkeypatch.delenv(TRUSTED_KEYS)
    assert findings(workspace) == []  # where only what stands in the project counts


@pytest.mark.parametrize(
    ("named", "said"),
    [({"git": ["-x"]}, r"witnesses.yaml: git.0: .*is no address of a git repository"),
     ({"s3": ["http://host/bucket"]}, r"s3.0: .*is no address in a bucket, expected s3://BUCKET/PREFIX"),
     ({"gti": ["a"]}, "gti: Extra inputs are not permitted")],
)  # fmt: skip
def test_a_wrong_file_of_witnesses_is_refused_with_the_key(
    workspace: Workspace, named: dict[str, list[str]], said: str
) -> None:
    register(workspace, None)
    name_witnesses(workspace, **named)
    with pytest.raises(SettingsError, match=said):
        verify(workspace, MODEL)


def test_a_password_of_a_witness_is_in_nothing_that_is_written_or_said(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    name_witnesses(workspace, git=["http://ada:sesame@127.0.0.1:1/witness.git"])
    register(workspace, "PROMOTE")
    proof = verify(workspace, MODEL)
    written = [path.read_bytes() for path in history_folder(workspace, MODEL).iterdir()]
    assert "http://127.0.0.1:1/witness.git" in caplog.text
    assert not [text for text in (caplog.text, str(proof), str(written)) if "sesame" in text]


def test_a_file_of_receipts_finds_what_was_cut_or_replaced_since(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "kept" / "receipts.jsonl"
    decide_thrice(workspace)
    backup = Backup(workspace)
    assert keep_receipts(path, MODEL, read_history(workspace, MODEL)) == KEPT
    decide_twice_more(workspace)
    proof = verify(workspace, MODEL, path)
    assert (proof.findings, witnessed(proof)) == ((), [(KEPT, (4, 5), True)])
    assert keep_receipts(path, MODEL, read_history(workspace, MODEL)) == RECORDS - KEPT
    kept = path.read_bytes()
    backup.restore()
    (found,) = findings(workspace, path)
    assert found.startswith(f"record {RECORDS} was witnessed at {path} with digest ")
    with pytest.raises(RegistryRefusedError, match=r"holds receipts of another history of tiny .*, and stays as it is"):
        keep_receipts(path, MODEL, read_history(workspace, MODEL))
    decide_twice_more(workspace, "of another history")
    (found,) = findings(workspace, path)
    assert found.endswith("this history is not the one that was witnessed")
    assert path.read_bytes() == kept


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), ("", "holds no receipt of the model tiny"), ("{}\n", "line 1 is no receipt"),
     (json.dumps({"model": "another", "number": 1, "sha256": "a" * 64}), "holds no receipt of the model tiny")],
)  # fmt: skip
def test_a_file_that_holds_no_receipts_of_the_model_is_refused(
    workspace: Workspace, tmp_path: Path, content: str | None, said: str
) -> None:
    register(workspace, "HOLD")
    if content is not None:
        (tmp_path / "receipts.jsonl").write_text(content)
    with pytest.raises(SettingsError, match=said):
        verify(workspace, MODEL, tmp_path / "receipts.jsonl")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator["S3Client"]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        make_bucket(client, "locked", locked=True)
        make_bucket(client, "versioned", versioned=True)
        make_bucket(client, "plain")
        yield client


def objects(s3: "S3Client", bucket: str, prefix: str) -> list[str]:
    listed = s3.list_object_versions(Bucket=bucket, Prefix=f"{prefix}/history/{MODEL}/")
    return sorted(version["Key"] for version in listed.get("Versions", []))


@pytest.mark.full
@pytest.mark.parametrize("bucket", ["locked", "versioned"])
def test_history_and_registry_that_were_put_back_together_are_found_by_a_bucket(
    workspace: Workspace, s3: "S3Client", bucket: str
) -> None:
    name_witnesses(workspace, s3=[f"s3://{bucket}/put-back"])
    decide_thrice(workspace)
    backup = Backup(workspace)
    decide_twice_more(workspace)
    names = objects(s3, bucket, "put-back")
    assert len(names) == RECORDS
    proof = verify(workspace, MODEL)
    assert (proof.findings, witnessed(proof), proof.witnessed[0].weakness) == ((), [(RECORDS, (), True)], None)
    backup.restore()
    (found,) = findings(workspace)
    assert found.startswith(f"record {RECORDS} was witnessed at s3://{bucket}/put-back/history/{MODEL} with digest ")
    # Whoever may write there puts a mark of deletion on the receipts, and still they are seen.
    for name in names[KEPT:]:
        s3.delete_object(Bucket=bucket, Key=name)
    found_now = findings(workspace)
    assert found in found_now
    assert sum("was deleted at s3://" in one for one in found_now) == RECORDS - KEPT


@pytest.mark.full
def test_an_overwritten_receipt_is_told_and_a_locked_one_cannot_be_removed(
    workspace: Workspace, s3: "S3Client"
) -> None:
    name_witnesses(workspace, s3=["s3://locked/overwritten"])
    decide_thrice(workspace)
    name = objects(s3, "locked", "overwritten")[1]
    s3.put_object(Bucket="locked", Key=name, Body=b"another content")
    (found,) = findings(workspace)
    assert found.endswith("at s3://locked/overwritten/history/tiny was written anew")
    for version in s3.list_object_versions(Bucket="locked", Prefix=name)["Versions"]:
        with pytest.raises(ClientError, match="AccessDenied"):
            s3.delete_object(Bucket="locked", Key=name, VersionId=version["VersionId"])
    s3.put_object(Bucket="locked", Key=f"{name[:-64]}{'f' * 64}", Body=b"a second receipt")
    assert f"record 2 has 2 receipts at s3://locked/overwritten/history/{MODEL}: somebody wrote" in str(
        findings(workspace)
    )
    s3.put_object(Bucket="locked", Key=f"overwritten/history/{MODEL}/note", Body=b"")
    assert "holds 'note', which is no receipt" in str(findings(workspace))


@pytest.mark.full
def test_a_bucket_without_versions_is_told_to_be_weak_and_a_lost_receipt_is_seen(
    workspace: Workspace, s3: "S3Client"
) -> None:
    name_witnesses(workspace, s3=["s3://plain/weak"])
    decide_thrice(workspace)
    assert "this bucket keeps no versions" in str(verify(workspace, MODEL).witnessed[0].weakness)
    s3.delete_object(Bucket="plain", Key=objects(s3, "plain", "weak")[-1])
    assert "has lost the receipt of record 3: it was taken away there" in findings(workspace)[0]


@pytest.mark.full
def test_a_bucket_that_is_away_is_given_the_records_later(
    workspace: Workspace, s3: "S3Client", monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    name_witnesses(workspace, s3=["s3://locked/away"])
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        decide_thrice(workspace)
        assert "the S3 server that AWS_ENDPOINT_URL names does not answer" in caplog.text
        assert witnessed(verify(workspace, MODEL)) == [(0, (1, 2, 3), False)]
    assert witnessed(verify(workspace, MODEL)) == [(KEPT, (), True)]

"""Base models in a bucket of a real S3 server, also through a network that cuts connections."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from graftline.errors import BaseModelRefusedError
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.pace import SourceUnavailableError
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.workspace import Workspace
from tests.support.servers import CuttingProxy, S3Server, free_ports, running_proxy, running_s3
from tests.support.tiny_model_files import flip_byte, write_model

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.full

WEIGHTS = 1_000_000  # 4 MB: enough that a connection can be cut in the middle


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def client(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> "S3Client":
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return boto3.client("s3")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    write_model(tmp_path / "model", WEIGHTS)
    return Workspace(tmp_path)


def upload(client: "S3Client", folder: Path, bucket: str, prefix: str) -> str:
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")
    return f"s3://{bucket}/{prefix}"


def lock_and_forget(workspace: Workspace, uri: str) -> str:
    digest = lock_model(workspace, uri).digest
    (workspace.artifacts / "base_models" / digest).rename(workspace.root / "forgotten")
    return digest


def test_a_model_in_a_bucket_is_the_same_model_as_in_a_folder(workspace: Workspace, client: "S3Client") -> None:
    uri = upload(client, workspace.root / "model", "models", "tiny")
    upload(client, workspace.root / "model", "models", "tiny-other")
    digest = lock_and_forget(workspace, uri)
    assert digest == lock_model(workspace, "path:model").digest
    assert fetch_model.fn(workspace, uri).path.name == digest


def test_a_download_that_was_cut_goes_on_where_it_stopped(
    workspace: Workspace, client: "S3Client", server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = upload(client, workspace.root / "model", "models", "cut")
    digest = lock_and_forget(workspace, uri)
    size_bytes = (workspace.root / "model" / "model.safetensors").stat().st_size
    with running_proxy(CuttingProxy(int(server.url.rpartition(":")[2]), cut_after_bytes=size_bytes // 2)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(SourceUnavailableError, match=r"the connection failed .*run again: a fetch goes on"):
            fetch_model.fn(workspace, uri)
        assert not (workspace.artifacts / "base_models" / digest).exists()
        assert fetch_model.fn(workspace, uri).outcome == "ran"
        assert proxy.sent_bytes < 1.2 * size_bytes


def test_a_bucket_that_sends_a_byte_now_and_then_ends_the_try_and_is_gone_on_with(
    workspace: Workspace, client: "S3Client", server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = upload(client, workspace.root / "model", "models", "slow")
    lock_and_forget(workspace, uri)
    monkeypatch.setattr("graftline.tasks.pace.WINDOW_SECONDS", 1.0)
    target = int(server.url.rpartition(":")[2])
    with running_proxy(CuttingProxy(target, 0, cuts=0, trickle_after_bytes=1_000_000)) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(
            SourceUnavailableError, match=r"bytes came in \d+ seconds, expected at least 4,000 a second"
        ):
            fetch_model.fn(workspace, uri)
        before = proxy.sent_bytes
        proxy.trickle_after_bytes = None
        assert fetch_model.fn(workspace, uri).outcome == "ran"
        assert proxy.sent_bytes - before < 3_500_000  # of 4 MB: what had come was not sent again


def test_changed_and_cut_objects_are_refused(workspace: Workspace, client: "S3Client") -> None:
    weights = workspace.root / "model" / "model.safetensors"
    uri = upload(client, workspace.root / "model", "models", "changed")
    digest = lock_and_forget(workspace, uri)
    flip_byte(weights)
    upload(client, workspace.root / "model", "models", "changed")
    with pytest.raises(BaseModelRefusedError, match=r"model\.safetensors has sha256 .* the source is not what was"):
        fetch_model.fn(workspace, uri)
    weights.write_bytes(weights.read_bytes()[:-1000])
    upload(client, workspace.root / "model", "models", "changed")
    with pytest.raises(BaseModelRefusedError, match=r"model\.safetensors ends after \d+ bytes, expected"):
        fetch_model.fn(workspace, uri)
    assert not (workspace.artifacts / "base_models" / digest).exists()


def test_in_a_versioned_bucket_the_locked_versions_are_fetched(workspace: Workspace, client: "S3Client") -> None:
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    uri = upload(client, workspace.root / "model", "versioned", "tiny")
    digest = lock_and_forget(workspace, uri)
    flip_byte(workspace.root / "model" / "model.safetensors")
    upload(client, workspace.root / "model", "versioned", "tiny")
    assert fetch_model.fn(workspace, uri).digest == digest


def test_a_pickle_below_the_prefix_refuses_the_model(workspace: Workspace, client: "S3Client") -> None:
    (workspace.root / "model" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    uri = upload(client, workspace.root / "model", "models", "pickled")
    with pytest.raises(BaseModelRefusedError, match=r"holds pytorch_model\.bin"):
        lock_model(workspace, uri)


def test_a_bucket_that_does_not_exist_or_refuses_the_keys_is_refused(
    workspace: Workspace, client: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BaseModelRefusedError, match=r"the server refuses .*NoSuchBucket"):
        lock_model(workspace, "s3://no-such-bucket/tiny")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(BaseModelRefusedError, match=r"the server refuses .* base_model\.uri or AWS_ENDPOINT_URL"):
        lock_model(workspace, "s3://models/tiny")


def test_a_server_that_is_away_is_worth_a_retry(
    workspace: Workspace, client: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_ports(1)[0]}")
    with pytest.raises(SourceUnavailableError, match=r"EndpointConnectionError"):
        lock_model(workspace, "s3://models/tiny")

"""The five places that base models come from, each as a listing of files and their bytes from an offset on."""

import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from graftline.base_models.allowed_files import is_model_file
from graftline.base_models.lock import list_files
from graftline.digests import CHUNK_BYTES
from graftline.errors import BaseModelRefusedError, SettingsError
from graftline.settings.addresses import address_of
from graftline.tasks.pace import SourceUnavailableError
from graftline.tasks.progress import waiting
from graftline.tasks.scratch import scratch_folder
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from huggingface_hub import HfApi
    from mypy_boto3_s3 import S3Client
    from urllib3.response import BaseHTTPResponse

# Where our registered models keep the transformers checkpoint that they were made from.
CHECKPOINT_FOLDER = "artifacts/model"
# Content decides: these sources have no revision that is worth more than the digest in the lock.
BY_CONTENT = "by content"
TIMEOUT_SECONDS = 20
RANGE_NOT_SATISFIABLE = 416
SERVER_ERROR = 500


@dataclass(frozen=True)
class SourceFile:
    """A file that a source offers. `version` pins it where a bucket keeps versions."""

    path: str
    bytes: int
    version: str | None = None


class Source(Protocol):
    """A base model where it comes from, at one revision."""

    @property
    def revision(self) -> str: ...

    @property
    def licence(self) -> str | None:
        """The source's own word; the model card in the folder has precedence."""

    def list_files(self) -> list[SourceFile]: ...

    def read(self, file: SourceFile, offset: int) -> Iterator[bytes]:
        """The file's bytes from `offset` on, handed on as they arrive: a slow source shall be seen to be slow.

        Raises: SourceUnavailableError, BaseModelRefusedError.
        """


@contextmanager
def open_source(workspace: Workspace, uri: str, revision: str | None = None) -> Iterator[Source]:
    """The source that `uri` names, at the locked `revision`, or else at the one that `uri` means now.

    Raises: SettingsError as `parse_uri`; BaseModelRefusedError if nothing is there.
    """
    scheme, parts = parse_uri(uri)
    match scheme:
        case "package":
            yield _package(uri, parts["name"], parts["folder"])
        case "path":
            yield FolderSource(uri, _existing(workspace.root / parts["folder"], uri), revision=BY_CONTENT)
        case "hf":
            yield _hub(uri, parts["repository"], revision or parts["revision"])
        case "s3":
            yield _bucket(uri, parts["bucket"], parts["prefix"] + "/")
        case _:
            with scratch_folder(workspace) as scratch:
                yield _registered(workspace, uri, parts, revision=revision, scratch=scratch)


def parse_uri(uri: str) -> tuple[str, dict[str, str]]:
    """The scheme and the named parts of a base model's uri. Raises: SettingsError if it has none of the five forms."""
    try:
        return address_of(uri)
    except ValueError as error:
        raise SettingsError(f"base_model.uri: {error}; mend it in params.yaml") from None


@dataclass(frozen=True)
class FolderSource:
    """A folder on this machine. Every file of it belongs to the model, so one that may hold code refuses the model."""

    uri: str
    folder: Path
    revision: str
    licence: str | None = None

    def list_files(self) -> list[SourceFile]:
        names = list_files(self.folder, self.uri)
        return [SourceFile(name, (self.folder / name).stat().st_size) for name in names]

    def read(self, file: SourceFile, offset: int) -> Iterator[bytes]:
        path = self.folder / file.path
        if not path.is_file() or not path.resolve().is_relative_to(self.folder.resolve()):
            raise BaseModelRefusedError(
                f"{self.uri}: {file.path} is not in {self.folder}, expected the files of the lock;"
                " restore it, or run `graftline lock` if the change is intended"
            )
        with path.open("rb") as opened:
            opened.seek(offset)
            while chunk := opened.read(CHUNK_BYTES):
                yield chunk


@dataclass(frozen=True)
class HubSource:
    """A repository of the Hugging Face hub at one commit.

    Repositories usually hold the weights in other formats too: files of types that no base model may consist of are
    not listed and never fetched, so a pickle beside the safetensors does not refuse the model here.
    """

    uri: str
    api: "HfApi"
    repository: str
    revision: str
    files: tuple[SourceFile, ...]
    licence: str | None

    def list_files(self) -> list[SourceFile]:
        return [file for file in self.files if is_model_file(file.path)]

    def read(self, file: SourceFile, offset: int) -> Iterator[bytes]:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import (  # type: ignore[attr-defined]
            build_hf_headers,
            hf_raise_for_status,
            http_stream_backoff,
        )

        url = hf_hub_url(self.repository, file.path, revision=self.revision, endpoint=self.api.endpoint)
        # A compressed answer has other offsets than the file.
        headers = build_hf_headers(headers={"Range": f"bytes={offset}-", "Accept-Encoding": "identity"})
        with (
            _hub_errors(self.uri),
            http_stream_backoff("GET", url, headers=headers, timeout=TIMEOUT_SECONDS, max_retries=0) as response,
        ):
            hf_raise_for_status(response)
            yield from _from_offset(response.iter_bytes(), offset, partial=response.status_code == 206)


@dataclass(frozen=True)
class BucketSource:
    """The objects below a prefix of an S3 bucket. Each is pinned to its version where the bucket keeps versions."""

    uri: str
    client: "S3Client"
    bucket: str
    prefix: str
    revision: str = BY_CONTENT
    licence: str | None = None

    def list_files(self) -> list[SourceFile]:
        with _bucket_errors(self.uri):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
            keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
            # A key that ends in a slash is what some tools write to show an empty folder.
            return [self._describe(key) for key in sorted(keys) if not key.endswith("/")]

    def read(self, file: SourceFile, offset: int) -> Iterator[bytes]:
        key, position = self.prefix + file.path, f"bytes={offset}-"
        with _bucket_errors(f"{self.uri}: {file.path}"):
            if file.version is None:
                answer = self.client.get_object(Bucket=self.bucket, Key=key, Range=position)
            else:
                answer = self.client.get_object(Bucket=self.bucket, Key=key, Range=position, VersionId=file.version)
            chunks = _as_they_arrive(answer["Body"], answer["ContentLength"])
            yield from _from_offset(chunks, offset, partial="ContentRange" in answer)

    def _describe(self, key: str) -> SourceFile:
        head = self.client.head_object(Bucket=self.bucket, Key=key)
        version = head.get("VersionId")
        return SourceFile(
            key.removeprefix(self.prefix), head["ContentLength"], None if version in {None, "null"} else version
        )


def installed_package(uri: str, name: str) -> tuple[Path, str, str | None]:
    """Folder, version and licence of an installed package, found without importing it: importing runs its code.

    Raises: BaseModelRefusedError if it is not installed.
    """
    # Without dots: to find `a.b`, Python would import `a`.
    spec = importlib.util.find_spec(re.sub(r"[-.]+", "_", name))
    try:
        metadata = importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        metadata = None
    if metadata is None or spec is None or not spec.submodule_search_locations:
        raise BaseModelRefusedError(
            f"{uri}: the package {name} is not installed here, expected one that brings the model;"
            f" install it into the environment that runs graftline (pip install {name})"
        )
    licence = next((metadata[key] for key in ("License-Expression", "License") if key in metadata), None)
    return Path(spec.submodule_search_locations[0]), metadata["Version"], licence


def _package(uri: str, name: str, folder: str) -> FolderSource:
    package, version, licence = installed_package(uri, name)
    return FolderSource(uri, _existing(package / folder, uri), revision=version, licence=licence)


def _existing(folder: Path, uri: str) -> Path:
    if not folder.is_dir():
        raise BaseModelRefusedError(
            f"{uri}: there is no folder {folder}, expected the model's files there; correct base_model.uri"
        )
    return folder


def _hub(uri: str, repository: str, revision: str) -> HubSource:
    from huggingface_hub import HfApi

    api = HfApi()
    with _hub_errors(uri):
        info = api.model_info(repository, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
    files = tuple(SourceFile(sibling.rfilename, sibling.size or 0) for sibling in info.siblings or [])
    licence = info.card_data.get("license") if info.card_data else None
    return HubSource(uri, api, repository, revision=str(info.sha), files=files, licence=licence)


def _bucket(uri: str, bucket: str, prefix: str) -> BucketSource:
    import boto3
    from botocore.config import Config

    # Retries belong to the task; these only cover a single dropped request.
    config = Config(connect_timeout=TIMEOUT_SECONDS, read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 2})
    with _bucket_errors(uri):
        # A session of its own: the shared one is not safe across threads.
        client = boto3.Session().client("s3", config=config)
    return BucketSource(uri, client, bucket, prefix)


def _registered(
    workspace: Workspace, uri: str, parts: dict[str, str], *, revision: str | None, scratch: Path
) -> FolderSource:
    """The checkpoint in a registered model of ours. MLflow fetches it as a whole: a broken download starts afresh."""
    from graftline.tasks.tracking.server import client, connect

    connect(workspace)
    import mlflow
    from mlflow.exceptions import MlflowException

    name, version = parts["name"], revision or parts["number"]
    try:
        version = version or str(client().get_model_version_by_alias(name, parts["alias"]).version)
        address = f"models:/{name}/{version}/{CHECKPOINT_FOLDER}"
        with waiting(f"fetching {uri} from MLflow"):
            folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=address, dst_path=str(scratch)))
    except (MlflowException, OSError) as error:
        raise BaseModelRefusedError(
            f"{uri}: the registry does not give its checkpoint ({error});"
            " expected a version of a registered model of ours: `graftline history NAME` lists them"
        ) from None
    return FolderSource(uri, folder, revision=version)


def _as_they_arrive(body: "StreamingBody", length: int) -> Iterator[bytes]:
    """What a bucket sends; botocore's own way hands nothing on before a chunk is full.

    Raises: urllib3's errors; botocore's IncompleteReadError if it ends early.
    """
    from botocore.exceptions import IncompleteReadError

    received = 0
    with body as entered:
        raw = cast("BaseHTTPResponse", entered)  # urllib3's, whatever the stubs say
        while chunk := raw.read1(CHUNK_BYTES):
            received += len(chunk)
            yield chunk
    if received < length:
        raise IncompleteReadError(actual_bytes=received, expected_bytes=length)


def _from_offset(chunks: Iterable[bytes], offset: int, *, partial: bool) -> Iterator[bytes]:
    """The bytes from `offset` on, also from a server that ignored the range and began at the start."""
    surplus = 0 if partial else offset
    for chunk in chunks:
        yield chunk[surplus:]
        surplus = max(0, surplus - len(chunk))


@contextmanager
def _hub_errors(uri: str) -> Iterator[None]:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    try:
        yield
    except httpx2.TransportError as error:
        raise _unavailable(uri, error) from None
    except HfHubHTTPError as error:
        if error.response.status_code == RANGE_NOT_SATISFIABLE:
            return  # the file ends where the range begins: there is nothing more to read
        if error.response.status_code >= SERVER_ERROR:
            raise _unavailable(uri, error) from None
        raise _not_given(uri, f"HTTP {error.response.status_code}", "HF_TOKEN") from None


@contextmanager
def _bucket_errors(uri: str) -> Iterator[None]:
    from botocore import exceptions
    from urllib3.exceptions import HTTPError

    lost = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError, HTTPError)
    try:
        yield
    except lost as error:
        raise _unavailable(uri, error) from None
    except exceptions.ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status == RANGE_NOT_SATISFIABLE:
            return  # the object ends where the range begins: there is nothing more to read
        if status >= SERVER_ERROR:
            raise _unavailable(uri, error) from None
        raise _not_given(uri, str(error), "AWS_ENDPOINT_URL and the AWS credentials") from None
    except exceptions.BotoCoreError as error:
        raise _not_given(uri, str(error), "AWS_ENDPOINT_URL and the AWS credentials") from None


def _unavailable(uri: str, error: Exception) -> SourceUnavailableError:
    return SourceUnavailableError(
        f"{uri}: the connection failed ({type(error).__name__}: {error}), expected the model's files;"
        " run again: a fetch goes on where it stopped"
    )


def _not_given(uri: str, answer: str, look_at: str) -> BaseModelRefusedError:
    return BaseModelRefusedError(
        f"{uri}: the server refuses ({answer}), expected the model's files; correct base_model.uri or {look_at}"
    )

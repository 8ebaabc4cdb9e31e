"""A room below a prefix of a bucket, at any S3 server that knows conditional writes."""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path
from re import fullmatch
from typing import TYPE_CHECKING

from graftline.errors import GraftlineError, ServerAwayError, SettingsError
from graftline.tasks.state.lease import Lease, leased
from graftline.tasks.state.room import Kept, Lying

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ResponseMetadataTypeDef

ADDRESS = r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[\w./-]*[\w.-]))?/?"
# Files of a few kilobytes. Who holds a lock meanwhile must not hold it for a minute.
CONNECT_SECONDS, READ_SECONDS = 5, 10
# A record takes some 30 ms from afar, and a year of them is read before each decision.
READERS = 16
# Between two parts of a large file.
PART_SECONDS, PART_ATTEMPTS = 60, 3
NOT_THERE, CONFLICT, PRECONDITION_FAILED, SERVER_ERROR = 404, 409, 412, 500
# What tells boto3 whom to ask, and as whom.
NAMED_BY = (
    "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
    "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION",
    "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE",
)  # fmt: skip


@dataclass(frozen=True)
class Version:
    """One of all that was ever written under a name, or a deletion of it."""

    name: str
    is_deletion: bool


@dataclass(frozen=True)
class ReadAhead:
    """Files as they were when they were read."""

    files: Mapping[str, Kept | None]

    def read(self, name: str) -> Kept | None:
        return self.files[name]


@dataclass(frozen=True)
class Bucket:
    """A room in a bucket. Its methods raise ServerAwayError, or SettingsError where the server refuses."""

    address: str
    """s3://BUCKET/PREFIX"""
    _client: "S3Client" = field(repr=False)

    def where(self, name: str) -> str:
        return f"{self.address.rstrip('/')}/{name}"

    def read(self, name: str) -> Kept | None:
        with _told(self.address):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
                return Kept(found["Body"].read(), found["ETag"])
            except self._client.exceptions.NoSuchKey:
                return None

    def read_ahead(self, names: Sequence[str]) -> "ReadAhead":
        with ThreadPoolExecutor(READERS) as pool:
            return ReadAhead(dict(zip(names, pool.map(self.read, names), strict=True)))

    def write_once(self, name: str, content: bytes) -> bool:
        return self._put(name, content, IfNoneMatch="*")

    def replace(self, name: str, content: bytes, *, known: str | None = None) -> bool:
        return self._put(name, content, **({} if known is None else {"IfMatch": known}))

    def upload(self, name: str, path: Path) -> None:
        from boto3.exceptions import S3UploadFailedError

        with _told(self.address):
            try:
                _for_large_files(_named()).upload_file(str(path), self._bucket, self._key(name))
            except S3UploadFailedError as error:  # which hides what the server said
                raise (error.__context__ or error) from None

    def download(self, name: str, path: Path) -> bool:
        with _told(self.address):
            client = _for_large_files(_named())
            try:
                client.download_file(self._bucket, self._key(name), str(path))
            except client.exceptions.ClientError as error:
                if _status(error.response) != NOT_THERE or _code(error.response) == "NoSuchBucket":
                    raise
                return False
        return True

    def remove(self, name: str) -> None:
        with _told(self.address):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    def names(self) -> list[str]:
        return sorted(self.lying())

    def age(self, name: str) -> float | None:
        with _told(self.address):
            try:
                found = self._client.head_object(Bucket=self._bucket, Key=self._key(name))
            except self._client.exceptions.ClientError as error:
                if _status(error.response) != NOT_THERE:
                    raise
                return None
        return (_now(found["ResponseMetadata"]) - found["LastModified"]).total_seconds()

    def lying(self) -> dict[str, Lying]:
        start, found = self._key(""), dict[str, Lying]()
        for page in self._pages():
            now = _now(page["ResponseMetadata"])
            for one in page.get("Contents", []):
                age = (now - one["LastModified"]).total_seconds()
                found[one["Key"].removeprefix(start)] = Lying(one["Size"], age)
        return found

    def rooms(self) -> list[str]:
        start = self._key("")
        found = [one["Prefix"] for page in self._pages() for one in page.get("CommonPrefixes", [])]
        return sorted(name.removeprefix(start).rstrip("/") for name in found)

    def alone(self, name: str, seconds: float) -> AbstractContextManager[Lease]:
        return leased(self, name, seconds)

    def has_drafts(self) -> bool:
        return False  # what was not sent whole is not there

    def remove_drafts(self) -> None:
        pass

    def _pages(self) -> "Iterator[ListObjectsV2OutputTypeDef]":
        """The files of this room and the names of those in it, a thousand a page."""
        with _told(self.address):
            pages = self._client.get_paginator("list_objects_v2")
            yield from pages.paginate(Bucket=self._bucket, Prefix=self._key(""), Delimiter="/")

    def versions(self) -> list[Version]:
        """Everything that was ever written or deleted, as far as the bucket keeps versions."""
        start = self._key("")
        with _told(self.address):
            pages = self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=start)
            return [
                Version(one["Key"].removeprefix(start), deletion)
                for page in pages
                for deletion, found in ((False, page.get("Versions", [])), (True, page.get("DeleteMarkers", [])))
                for one in found
            ]

    def keeps_versions(self) -> bool:
        """Whether what is overwritten or deleted here is kept all the same."""
        with _told(self.address):
            return self._client.get_bucket_versioning(Bucket=self._bucket).get("Status") == "Enabled"

    def _put(self, name: str, content: bytes, **condition: str) -> bool:
        with _told(self.address):
            try:
                self._client.put_object(Bucket=self._bucket, Key=self._key(name), Body=content, **condition)  # type: ignore[arg-type]
            except self._client.exceptions.ClientError as error:
                # A conflict is another writer at the same moment; what was to be replaced may be gone.
                refused = (CONFLICT, PRECONDITION_FAILED, *([NOT_THERE] if "IfMatch" in condition else []))
                if _status(error.response) not in refused or _code(error.response) == "NoSuchBucket":
                    raise
                return False
        return True

    @property
    def _bucket(self) -> str:
        return _parts(self.address)[0]

    def _key(self, name: str) -> str:
        prefix = _parts(self.address)[1]
        return f"{prefix}/{name}" if prefix else name


def is_bucket(address: str) -> bool:
    """Whether an address has the form s3://BUCKET/PREFIX."""
    return fullmatch(ADDRESS, address) is not None and ".." not in address.split("/")


def open_bucket(address: str) -> Bucket:
    """The room at s3://BUCKET/PREFIX, at the endpoint and with the credentials that boto3 finds by itself.

    Raises: SettingsError if the address has another form.
    """
    if not is_bucket(address):
        raise SettingsError(f"{address}: is no address in a bucket, expected s3://BUCKET/PREFIX; correct it")
    with _told(address):
        return Bucket(address, _for_small_files(_named()))


def _named() -> tuple[str | None, ...]:
    """Whom the environment names, and the process: each needs a client, and connections, of its own."""
    return (str(os.getpid()), *(os.environ.get(name) for name in NAMED_BY))


@lru_cache(maxsize=2)
def _for_small_files(_named: tuple[str | None, ...]) -> "S3Client":
    # One attempt: a second one of a write whose answer was lost would be told that another writer was first.
    return _client(READ_SECONDS, attempts=1)


@lru_cache(maxsize=2)
def _for_large_files(_named: tuple[str | None, ...]) -> "S3Client":
    return _client(PART_SECONDS, attempts=PART_ATTEMPTS)


def _client(read_seconds: int, *, attempts: int) -> "S3Client":
    """It is made in a tenth of a second, and may be used by several threads."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS, read_timeout=read_seconds, retries={"total_max_attempts": attempts}
    )  # fmt: skip
    return boto3.Session().client("s3", config=config)


def _parts(address: str) -> tuple[str, str]:
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    return bucket, prefix.strip("/")


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What the server or the way to it refuses, as a sentence.

    Raises: ServerAwayError; SettingsError.
    """
    from boto3.exceptions import RetriesExceededError
    from botocore import exceptions

    lost = (
        exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError, RetriesExceededError,
    )  # fmt: skip
    try:
        yield
    except lost as error:
        # Its text holds the endpoint, which may hold a password.
        raise _away(address, type(error).__name__) from None
    except exceptions.ClientError as error:
        answer = f"HTTP {_status(error.response)} {_code(error.response)}".rstrip()
        raise _away(address, answer) if _status(error.response) >= SERVER_ERROR else _refused(address, answer) from None
    except (exceptions.BotoCoreError, ValueError) as error:  # no credentials, or an endpoint that is no address
        said = "the endpoint is no address" if isinstance(error, ValueError) else type(error).__name__
        raise _refused(address, said) from None


def _now(metadata: "ResponseMetadataTypeDef") -> datetime:
    """The server's clock."""
    said = metadata["HTTPHeaders"].get("date")
    return parsedate_to_datetime(said) if said else datetime.now(UTC)


def _status(response: object) -> int:
    metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
    return int(metadata.get("HTTPStatusCode", 0))


def _code(response: object) -> str:
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _away(address: str, why: str) -> GraftlineError:
    at = " that AWS_ENDPOINT_URL names" if os.environ.get("AWS_ENDPOINT_URL") else ""
    return ServerAwayError(f"{address}: the S3 server{at} does not answer ({why}); start it, or try again later")


def _refused(address: str, why: str) -> GraftlineError:
    return SettingsError(
        f"{address}: the S3 server refuses ({why}); correct the address, AWS_ENDPOINT_URL or the AWS credentials"
    )

"""A room below a prefix of a bucket, at any S3 server that knows conditional writes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from re import fullmatch
from typing import TYPE_CHECKING

from graftline.errors import GraftlineError, ServerAwayError, SettingsError
from graftline.tasks.state.room import Kept

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ADDRESS = r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(/(?P<prefix>[\w./-]*[\w.-]))?/?"
# Files of a few kilobytes. Who holds a lock meanwhile must not hold it for a minute.
CONNECT_SECONDS, READ_SECONDS = 5, 10
NOT_THERE, CONFLICT, PRECONDITION_FAILED, SERVER_ERROR = 404, 409, 412, 500


@dataclass(frozen=True)
class Version:
    """One of all that was ever written under a name, or a deletion of it."""

    name: str
    is_deletion: bool


@dataclass(frozen=True)
class Bucket:
    """A room in a bucket. Its methods raise ServerAwayError, or SettingsError where the server refuses."""

    address: str
    """s3://BUCKET/PREFIX"""
    _client: "S3Client" = field(repr=False)

    def read(self, name: str) -> Kept | None:
        with _told(self.address):
            try:
                found = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
                return Kept(found["Body"].read(), found["ETag"])
            except self._client.exceptions.NoSuchKey:
                return None

    def write_once(self, name: str, content: bytes) -> bool:
        return self._put(name, content, IfNoneMatch="*")

    def replace(self, name: str, content: bytes, *, known: str | None = None) -> bool:
        return self._put(name, content, **({} if known is None else {"IfMatch": known}))

    def names(self) -> list[str]:
        start = self._key("")
        with _told(self.address):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=start)
            return sorted(found["Key"].removeprefix(start) for page in pages for found in page.get("Contents", []))

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
    return fullmatch(ADDRESS, address) is not None


def open_bucket(address: str) -> Bucket:
    """The room at s3://BUCKET/PREFIX, at the endpoint and with the credentials that boto3 finds by itself.

    Raises: SettingsError if the address has another form.
    """
    if not is_bucket(address):
        raise SettingsError(f"{address}: is no address in a bucket, expected s3://BUCKET/PREFIX; correct it")
    import boto3
    from botocore.config import Config

    # One attempt: a second one of a write whose answer was lost would be told that another writer was first.
    config = Config(
        connect_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, retries={"total_max_attempts": 1}
    )  # fmt: skip
    with _told(address):
        return Bucket(address, boto3.Session().client("s3", config=config))


def _parts(address: str) -> tuple[str, str]:
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    return bucket, prefix.strip("/")


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What the server or the way to it refuses, as a sentence.

    Raises: ServerAwayError; SettingsError.
    """
    from botocore import exceptions

    lost = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError)
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

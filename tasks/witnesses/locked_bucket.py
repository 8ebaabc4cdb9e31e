"""Receipts in a bucket that keeps what was once written: with object lock, or with versions."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from graftline.tasks.state.bucket import Bucket, open_bucket
from graftline.tasks.witnesses.receipts import Receipt

# The name says all: a list tells every receipt without reading one, and none can be given another content.
NAME = re.compile(r"(?P<number>\d{6,})-(?P<sha256>[0-9a-f]{64})")
NO_VERSIONS = (
    "this bucket keeps no versions, so that whoever writes there can take receipts away; switch on versioning, or"
    " better make one with object lock"
)


@dataclass(frozen=True)
class BucketWitness:
    """An object for each record, below PREFIX/history/MODEL."""

    address: str
    """s3://BUCKET/PREFIX"""

    def where(self, model: str) -> str:
        return f"{self.address.rstrip('/')}/history/{model}"

    @contextmanager
    def asked(self, model: str) -> Iterator["BucketTestimony"]:
        bucket = open_bucket(self.where(model))
        versions = bucket.versions()
        written = Counter(version.name for version in versions if not version.is_deletion)
        named = {name: NAME.fullmatch(name) for name in written}
        receipts = [Receipt(model, int(found["number"]), found["sha256"]) for found in named.values() if found]
        faults = [f"{bucket.address} holds {name!r}, which is no receipt" for name, found in named.items() if not found]
        faults += [f"{name} at {bucket.address} was written anew" for name, times in written.items() if times > 1]
        deleted = sorted({version.name for version in versions if version.is_deletion})
        faults += [f"{name} was deleted at {bucket.address}, which kept it all the same" for name in deleted]
        yield BucketTestimony(bucket, receipts, faults, None if bucket.keeps_versions() else NO_VERSIONS)


@dataclass(frozen=True)
class BucketTestimony:
    bucket: Bucket
    receipts: Sequence[Receipt]
    faults: Sequence[str]
    weakness: str | None

    def add(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            # One that is there already, because its answer was lost, has the same name and so the same content.
            self.bucket.write_once(f"{receipt.number:06d}-{receipt.sha256}", f"{receipt.line}\n".encode())

"""Which witnesses a file names."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from graftline.tasks.state.bucket import is_bucket
from graftline.tasks.witnesses.git_branch import GitWitness
from graftline.tasks.witnesses.locked_bucket import BucketWitness
from graftline.tasks.witnesses.receipts import Witness


def _repository(address: str) -> str:
    # Neither an option nor, with two colons, a command.
    if not address or address.startswith("-") or "::" in address.partition("/")[0] or not address.isprintable():
        raise ValueError("is no address of a git repository, expected a URL, HOST:PATH or a path")
    return address


def _bucket(address: str) -> str:
    if not is_bucket(address):
        raise ValueError("is no address in a bucket, expected s3://BUCKET/PREFIX")
    return address


class Witnesses(BaseModel):
    """The content of `mlflow/witnesses.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    git: tuple[Annotated[str, AfterValidator(_repository)], ...] = ()
    s3: tuple[Annotated[str, AfterValidator(_bucket)], ...] = ()

    def named(self, root: Path) -> Sequence[Witness]:
        """They, for the project in `root`."""
        return [*(GitWitness(address, root) for address in self.git), *map(BucketWitness, self.s3)]

"""The project of the team: the tiny one, its data on S3, and a policy that wants a person's word."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.scores.projects import git
from tests.support.running_project import PROJECT
from tests.support.tiny_project import PROJECT_POLICY, write_policy, write_project

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET, REMOTE = "graftline", "remote"
IGNORED = ("/artifacts/", "/reports/", "/mlflow/*", "!/mlflow/promotion.yaml", "!/mlflow/server.yaml", "/data/",
           "/.graftline/", "/.dvc/tmp", "/.dvc/cache")  # fmt: skip
# So that every candidate that the gate lets pass waits for a person.
APPROVAL_HOURS = 24


def team_project(root: Path, endpoint: str, *, approval: bool = True) -> Path:
    """A clone as each machine has it: committed, and its remote is a bucket."""
    write_project(root)
    write_policy(root, **PROJECT_POLICY, approval_within_hours=APPROVAL_HOURS if approval else None)
    shutil.copy(PROJECT / "prefect.yaml", root)
    shutil.copy(PROJECT / "mlflow" / "server.yaml", root / "mlflow")
    (root / ".gitignore").write_text("\n".join(IGNORED))
    remote = {"url": f"s3://{BUCKET}/{REMOTE}", "endpointurl": endpoint, "verify": "true"}
    lines = ["[core]", "analytics = false", "no_scm = true", "remote = team", "['remote \"team\"']"]
    lines += [f"{name} = {value}" for name, value in remote.items()]
    (root / ".dvc" / "config").write_text("\n".join(lines) + "\n")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "for a team")
    return root


def push_data(root: Path, bucket: "S3Client") -> None:
    """Bring the objects of `data.dvc` to the remote, as `dvc push` does."""
    cache = root / ".dvc" / "cache"
    for path in cache.rglob("*"):
        if path.is_file():
            bucket.upload_file(str(path), BUCKET, f"{REMOTE}/{path.relative_to(cache).as_posix()}")


def client_of(environment: Mapping[str, str]) -> "S3Client":
    """A client of the team's S3 server, whatever this process' environment says."""
    import boto3

    key, secret = environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
    return boto3.client(
        "s3", "us-east-1", endpoint_url=environment["AWS_ENDPOINT_URL"], aws_access_key_id=key,
        aws_secret_access_key=secret,
    )  # fmt: skip

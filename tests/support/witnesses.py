"""Where receipts are kept in tests: a repository that takes nothing back, and buckets that keep what was written."""

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def bare_repository(path: Path, *, object_format: str = "sha1") -> Path:
    """As on a server: it refuses forced pushes and deletions."""
    run_git(path.parent, "init", "--quiet", "--bare", f"--object-format={object_format}", path.name)
    for name in ("receive.denyNonFastForwards", "receive.denyDeletes"):
        run_git(path, "config", name, "true")
    return path


def run_git(folder: Path, *arguments: str, told: str = "") -> str:
    """What git prints. Raises: subprocess.CalledProcessError."""
    who = ("-c", "user.name=mallory", "-c", "user.email=mallory@there")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=folder, input=told, capture_output=True, text=True, check=True
    )  # fmt: skip
    return done.stdout.strip()


def add_commit(repository: Path, branch: str, message: str) -> None:
    """What somebody can do who may push, but not by force."""
    tree = run_git(repository, "mktree")
    commit = run_git(repository, "commit-tree", tree, "-p", branch, "-m", message)
    run_git(repository, "update-ref", branch, commit)


def name_witnesses(workspace: Workspace, **named: list[str]) -> None:
    """Write the project's file."""
    (workspace.root / "mlflow" / "witnesses.yaml").write_text(yaml.safe_dump(named))


def make_bucket(client: "S3Client", name: str, *, locked: bool = False, versioned: bool = False) -> None:
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=locked)
    if locked:
        retention = {"Mode": "COMPLIANCE", "Days": 1}
        client.put_object_lock_configuration(
            Bucket=name,
            ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}},  # type: ignore[typeddict-item]
        )
    if versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

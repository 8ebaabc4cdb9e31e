"""What the repository brings for forges, editors and containers agrees with what it is built with."""

import re
import tomllib

import yaml

from tests.support.running_project import PROJECT


def test_the_hooks_have_the_ruff_of_the_lock() -> None:
    hooks = yaml.safe_load((PROJECT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (rev,) = (repository["rev"] for repository in hooks["repos"])
    assert f"\nruff=={rev.removeprefix('v')}\n" in (PROJECT / "requirements.lock").read_text(encoding="utf-8")


def test_the_forge_runs_ci_for_every_python_that_is_supported() -> None:
    job = yaml.safe_load((PROJECT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]["all"]
    supported = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    versions = job["strategy"]["matrix"]["python"]
    assert f">={versions[0]},<3.{int(versions[-1].partition('.')[2]) + 1}" == supported
    assert ".ci/run" in [step.get("run") for step in job["steps"]]


def test_the_image_is_made_of_files_that_are_there_and_runs_without_rights() -> None:
    lines = (PROJECT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = {
        name for line in lines if line.startswith("COPY ") and "--from" not in line for name in line.split()[1:-1]
    }
    sent = set(re.findall(r"^!(\S+)$", (PROJECT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    assert copied == sent
    links = [path for path in (PROJECT / "tasks" / "projects" / "templates").iterdir() if path.is_symlink()]
    assert {path.resolve().relative_to(PROJECT.resolve()).as_posix() for path in links} <= sent
    assert all((PROJECT / name).exists() for name in copied)
    assert lines.index("USER graftline") < lines.index('ENTRYPOINT ["graftline"]')

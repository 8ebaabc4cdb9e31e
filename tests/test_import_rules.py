"""Each import rule turns red for an import that breaks it: a rule over no modules would be green for ever."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.running_project import PROJECT, copy_project
from tests.support.tiny_project import surroundings

pytestmark = pytest.mark.full

CONTRACTS = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
# In the order of the contracts: a module, and what it may not do.
PLANTED = (
    ("benchmarks/scores/projects.py", "import tests.support.registered"),
    ("graftline/frozen/replay.py", "import graftline.training.loop"),
    ("tasks/registry/history.py", "import graftline.tasks.steps.decide"),
    ("graftline/settings/data.py", "import boto3"),
    ("flows/adapt.py", "def later() -> None:\n    import mlflow"),
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_project(tmp_path_factory.mktemp("rules") / "project")


def outcomes(copy: Path) -> dict[str, str]:
    """Each contract's name with KEPT or BROKEN."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=copy, env=surroundings(PYTHONPATH=str(copy), COLUMNS="500"), capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line.strip().rpartition(" ") for line in done.stdout.splitlines()]
    found = {name: outcome for name, _, outcome in lines if outcome in ("KEPT", "BROKEN")}
    assert found, done.stdout + done.stderr
    return found


def test_every_rule_is_broken_by_the_import_that_it_forbids(copy: Path) -> None:
    for file, statement in PLANTED:
        with (copy / file).open("a", encoding="utf-8") as opened:
            opened.write(f"\n\n{statement}\n")
    assert outcomes(copy) == {contract["name"]: "BROKEN" for contract in CONTRACTS}
    assert len(PLANTED) == len(CONTRACTS)


def test_a_new_module_has_to_say_where_it_belongs(copy: Path) -> None:
    newcomers = {"graftline/newcomer.py": "graftline.newcomer", "tasks/latecomer.py": "graftline.tasks.latecomer"}
    for file in newcomers:
        (copy / file).write_text('"""Nobody knows where this belongs."""\n')
    try:
        done = subprocess.run(
            [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
            cwd=copy, env=surroundings(PYTHONPATH=str(copy)), capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        for file in newcomers:
            (copy / file).unlink()
    assert done.returncode != 0
    assert all(name.rpartition(".")[2] in done.stdout for name in newcomers.values())

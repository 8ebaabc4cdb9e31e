"""A step's key counts the code that can change its result, and nothing else of ours."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graftline.answers.tasks import TASKS
from graftline.tasks import own_code
from graftline.tasks.own_code import NOT_COUNTED, PACKAGE, all_code_sha256, code_sha256, modules_behind
from tests.support.running_project import PROJECT

PARTS = ("outputs", "objective_for")
TEMPERATURE = TASKS["single_label"].scores.temperature.__module__
TRAINING = ("graftline.tasks.steps.fine_tune", *TASKS["single_label"].modules(*PARTS), TEMPERATURE)
VALIDATION = ("graftline.tasks.steps.validate_data", "graftline.pages.validation_page")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of our code in the place of it, to be edited."""
    for room in ("graftline", "tasks", "flows"):
        leave_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / room, tmp_path / room, symlinks=True, ignore=leave_out)
    monkeypatch.setattr(own_code, "PACKAGE", tmp_path / "graftline")
    forget()
    yield tmp_path / "graftline"
    forget()


def forget() -> None:
    """The modules are read once per process."""
    for kept in (own_code.code_sha256, own_code.all_code_sha256, own_code._imports, own_code._tree):
        kept.cache_clear()


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    forget()


def extended(path: Path) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("\n\nANOTHER = 1\n")
    forget()


NOT_RUN = (
    "pages/report.py", "pages/validation_page.py", "flows/adapt.py", "tasks/registry/history.py",
    "training/regression.py", "evaluation/regression.py", "evaluation/pictures.py", "evaluation/single_label.py",
)  # fmt: skip
RUN = (
    "training/loop.py", "training/strategies.py", "frozen/replay.py", "models/text_models.py", "compute/precision.py",
    "evaluation/calibration.py", "tasks/steps/fine_tune.py", "tasks/steps/adapting.py", "digests.py",
)  # fmt: skip


def test_what_is_imported_inside_of_functions_counts_too() -> None:
    found = modules_behind(*TRAINING, without=NOT_COUNTED)
    assert {"graftline.training.loop", "graftline.frozen.replay", "graftline.models", "graftline.digests"} <= {*found}


def test_settings_pages_flows_and_the_verdict_do_not_count_for_a_training() -> None:
    found = modules_behind(*TRAINING, without=NOT_COUNTED)
    rooms = {name.split(".")[1] for name in found if "." in name}
    assert not rooms & {"settings", "pages", "flows", "behaviour", "verdict"}


@pytest.mark.full
def test_words_settings_and_code_that_a_training_does_not_run_keep_it(package: Path) -> None:
    before = code_sha256(*TRAINING)
    for module, old, new in [
        ("training/loop.py", '"""', '"""Another docstring. '),
        ("training/loop.py", "\n\n\n", "\n\n\n# another comment\n"),
        ("settings/adaptation.py", '"""', '"""Another explanation. '),
        ("settings/adaptation.py", "    epochs: ", "    another: int = 0\n    epochs: "),
    ]:
        edited(package / module, old, new)
    for module in NOT_RUN:
        extended(package / module)
    assert code_sha256(*TRAINING) == before


@pytest.mark.full
def test_what_can_change_a_training_does_not_keep_it(package: Path) -> None:
    seen = {code_sha256(*TRAINING)}
    for module in RUN:
        extended(package / module)
        seen.add(code_sha256(*TRAINING))
    assert len(seen) == 1 + len(RUN)


def test_a_page_that_a_step_writes_counts_for_that_step(package: Path) -> None:
    before = code_sha256(*VALIDATION)
    extended(package / "pages" / "validation_page.py")
    assert code_sha256(*VALIDATION) != before


def _plain(package: Path) -> Path:
    """As a wheel has it: folders, no links."""
    for room in ("tasks", "flows"):
        (package / room).unlink()
        # Links of templates lead to files of the project, which is not copied.
        shutil.copytree(package.parent / room, package / room, ignore_dangling_symlinks=True)
    return package


@pytest.mark.parametrize("arranged", [_plain, lambda package: package])
def test_the_record_of_a_run_names_every_byte_of_our_code_wherever_it_is_installed(
    package: Path, arranged: Callable[[Path], Path]
) -> None:
    before = all_code_sha256()
    forget()
    arranged(package)
    assert all_code_sha256() == before
    edited(package / "flows" / "adapt.py", "\n\n\n", "\n\n\n# another comment\n")
    assert all_code_sha256() != before


def test_the_code_that_runs_is_the_code_that_counts() -> None:
    assert PACKAGE.samefile(PROJECT / "graftline")

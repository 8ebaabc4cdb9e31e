"""Of an environment made from requirements.lock nothing runs before it is known to be what the lock names."""

from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from graftline.digests import file_sha256
from graftline.errors import ReproductionError
from graftline.files import files_below
from graftline.tasks.own_code import PACKAGE, all_code_sha256, code_sha256_of_wheel
from graftline.tasks.tracking.environment import build_environment
from graftline.tasks.tracking.requirements import read_requirements

METADATA = {
    "graftline-9.9.dist-info/METADATA": "Metadata-Version: 2.1\nName: graftline\nVersion: 9.9\n",
    "graftline-9.9.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "graftline-9.9.dist-info/RECORD": "",
}
OURS = {"graftline/__init__.py": "", "graftline/tasks/__init__.py": "ANSWER = 42\n"}


def write_wheel(folder: Path, modules: Mapping[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    wheel = folder / "graftline-9.9-py3-none-any.whl"
    with ZipFile(wheel, "w") as packed:
        for name, content in {**modules, **METADATA}.items():
            packed.writestr(name, content)
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels in place of an index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    return tmp_path / "index"


def made(tmp_path: Path, digests: str, more: str = "") -> Path:
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"{more}graftline==9.9  # {digests}\n")
    return build_environment(lock, tmp_path / "environment")


def packages(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.glob("environment/lib/python*/site-packages/graftline*") if path.is_dir()]


def test_a_wheel_has_the_digest_of_our_code(tmp_path: Path) -> None:
    modules: dict[str, str] = {}
    for room in ("", "tasks/", "flows/"):
        place = (PACKAGE / room).resolve()
        for path in files_below(place):
            if path.suffix == ".py":
                modules[f"graftline/{room}{path.relative_to(place).as_posix()}"] = path.read_bytes().decode()
    assert code_sha256_of_wheel(write_wheel(tmp_path, modules)) == all_code_sha256()


def test_the_wheel_whose_code_is_known_is_installed(index: Path, tmp_path: Path) -> None:
    wheel = write_wheel(index, OURS)
    python = made(tmp_path, f"wheel sha256:{file_sha256(wheel)}, code sha256:{code_sha256_of_wheel(wheel)}")
    assert python.exists()
    assert len(packages(tmp_path)) == 2


@pytest.mark.parametrize(
    ("modules", "why"),
    [
        ({"graftline/__init__.py": "raise SystemExit\n"}, "has code of sha256 .*, expected"),
        ({**OURS, "runs_at_start.pth": "import os\n"}, "holds 'runs_at_start.pth', expected nothing but modules in"),
        (
            {**OURS, "graftline/tasks/__init__.abi3.so": ""},
            "holds 'graftline/tasks/__init__.abi3.so', expected nothing",
        ),
        ({**OURS, "graftline-9.9.data/purelib/torch.py": ""}, "holds 'graftline-9.9.data/purelib/torch.py', expected"),
    ],
)
def test_a_package_of_our_name_with_other_code_is_not_even_installed(
    index: Path, tmp_path: Path, modules: Mapping[str, str], why: str
) -> None:
    known = code_sha256_of_wheel(write_wheel(tmp_path / "known", OURS))
    write_wheel(index, modules)
    with pytest.raises(ReproductionError, match=why):
        made(tmp_path, f"code sha256:{known}")
    assert not (tmp_path / "environment").exists()


def test_a_lock_that_names_no_digest_and_another_python_are_refused(index: Path, tmp_path: Path) -> None:
    with pytest.raises(ReproductionError, match="it names no digest of graftline, whose code is to run"):
        made(tmp_path, "by hand")
    with pytest.raises(ReproductionError, match=r"it was written with Python 3\.1, here 3\.\d+ runs"):
        made(tmp_path, "by hand", "# All of it, written by `graftline init` with Python 3.1.4. `pip install`\n")
    assert read_requirements(tmp_path / "requirements.lock").python == "3.1"

"""Where the parallel work is done: what the file may say, and what is said of a faulty one."""

from pathlib import Path

import pytest

from graftline.errors import SettingsError
from graftline.settings.compute import Compute, read_compute


def test_without_a_file_all_work_is_done_in_the_runs_own_process(tmp_path: Path) -> None:
    assert read_compute(tmp_path / "compute.yaml") == Compute(engine="local", address=None, tries=3)


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "ray-head.team:6379", "[::1]:6379"])
def test_a_cluster_has_a_host_and_a_port(tmp_path: Path, address: str) -> None:
    (tmp_path / "compute.yaml").write_text(f'engine: ray\naddress: "{address}"\n')
    assert read_compute(tmp_path / "compute.yaml").address == address


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("engine: dask", "engine: 'dask'.* expected .*local.*ray"),
        ("engine: ray\naddress: ray://head:10001", "is no address of a Ray cluster, expected HOST:PORT"),
        ("engine: ray\naddress: head", "is no address of a Ray cluster, expected HOST:PORT"),
        ("engine: ray\naddress: 'head:70000'", "is no address of a Ray cluster, expected HOST:PORT"),
        ("address: 'head:6379'", "address head:6379 is for engine ray, and engine is local"),
        ("engine: ray\ntries: 0", "tries: 0"),
        ("engin: ray", "engin.*did you mean engine"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(tmp_path: Path, written: str, said: str) -> None:
    (tmp_path / "compute.yaml").write_text(written)
    with pytest.raises(SettingsError, match=f"(?s){said}"):
        read_compute(tmp_path / "compute.yaml")

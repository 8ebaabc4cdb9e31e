"""The check of a GPU, in its small form and on the processor: it comes to its end, and what is wrong is told."""

from pathlib import Path

import pytest

from benchmarks.gpu import checks
from benchmarks.gpu.shapes import SMALL
from benchmarks.gpu.sides import STRATEGIES
from scripts import gpu_check


@pytest.mark.full
def test_its_small_form_comes_to_its_end_on_a_processor(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    with pytest.raises(SystemExit) as ended:
        gpu_check.main(["--small", "--device", "cpu", "--output", str(page)])
    assert ended.value.code == 0
    lines = page.read_text().splitlines()
    for shape in SMALL:
        measured = [line for line in lines if line.startswith(f"| {shape.name} |")]
        assert [line.split(" | ")[1] for line in measured] == list(STRATEGIES)
        assert all(float(line.split(" | ")[2].replace(",", "")) > 0 for line in measured)
        assert len([line for line in lines if line.startswith(f"| {shape.name}: ") and line.endswith("| right |")]) == 3


def test_what_is_wrong_is_told_and_what_there_was_no_time_for_has_no_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "gpu.md"
    small = ["--small", "--device", "cpu", "--output", str(page)]
    monkeypatch.setattr(gpu_check, "SMALL", SMALL[:1])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main([*small, "--minutes", "0"])
    assert ended.value.code == 0
    text = page.read_text()
    assert text.count("not checked: no time was left") == 1
    assert text.count("no time was left |") == len(STRATEGIES) + 1
    monkeypatch.setitem(checks.MOST_APART, "float32", -1.0)
    monkeypatch.setattr(gpu_check, "lines_of", lambda *_, **__: iter(()))
    with pytest.raises(SystemExit) as ended:
        gpu_check.main(small)
    assert ended.value.code == 1
    assert page.read_text().count("**WRONG**") == 1

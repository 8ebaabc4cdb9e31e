"""What a killed run goes on from: results that hold what was asked, one by one or together."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scores.kept_page import KeptPage


@dataclass(frozen=True)
class Line:
    asked: dict[str, Any]
    score: float
    refused: str | None = None


@dataclass(frozen=True)
class Runs:
    scores: dict[str, float] = field(default_factory=dict)


LINES = {"texts": {"lora": Line({"rate": 0.1, "sizes": [1, 2]}, 0.75), "scratch": Line({}, 0, "no")}}


def test_results_are_read_as_they_were_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    KeptPage(tmp_path / "page.md", dict[str, dict[str, Line]]).keep(LINES, "lora: 0.75")
    assert capsys.readouterr().err == "lora: 0.75\n"
    assert KeptPage(tmp_path / "page.md", dict[str, dict[str, Line]]).read({}) == LINES
    assert json.loads((tmp_path / "page.json").read_text())["texts"]["scratch"]["refused"] == "no"


def test_without_an_earlier_run_there_is_what_the_caller_begins_with(tmp_path: Path) -> None:
    assert KeptPage(tmp_path / "page.md", Runs, {"rows": 1}).read(Runs({"a": 1})) == Runs({"a": 1})


def test_results_of_other_settings_are_forgotten(tmp_path: Path) -> None:
    KeptPage(tmp_path / "page.md", Runs, {"rows": 1}).keep(Runs({"a": 0.5}), "a")
    assert KeptPage(tmp_path / "page.md", Runs, {"rows": 1}).read(Runs()) == Runs({"a": 0.5})
    assert KeptPage(tmp_path / "page.md", Runs, {"rows": 2}).read(Runs()) == Runs()

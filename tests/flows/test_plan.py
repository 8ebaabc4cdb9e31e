"""How many held-out rows show which difference: by a stated discordance, or by the champion's own."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import JsonValue

from graftline.errors import SettingsError
from graftline.evaluation.paired_tests import mcnemar_power
from graftline.evaluation.row_gains import packed_gains, packed_names, row_gains
from graftline.flows.plan import plan
from graftline.settings import Settings, parse_settings
from graftline.tasks.registry.history import next_record, write_record
from graftline.tasks.registry.records import Entry, Look, LookAtGroups
from graftline.tasks.workspace import Workspace

SETTINGS: Settings = parse_settings(
    {"data": {"path": "data/rows.csv"}, "base_model": {"uri": "path:base"}, "registry": {"model": "tiny"}},
    source="params.yaml",
)


def looked_at(
    root: Path,
    gains: np.ndarray[tuple[int], np.dtype[np.float64]],
    level: float,
    of_groups: LookAtGroups | None = None,
) -> None:
    kept = row_gains([str(number) for number in range(len(gains))], gains)
    look = Look(
        level=level, spent=0.0, looks_before=0, rows=kept.rows, names=kept.names_text, names_in=None,
        gains=kept.gains_text, gain=0.0, error=0.01, of_groups=of_groups,
    )  # fmt: skip
    entry = Entry(action="verdict", version=1, champion_before=None, champion_after=None, why="", look=look)
    (root / "mlflow").mkdir()
    write_record(Workspace(root), "tiny", next_record([], entry))


def test_so_many_rows_show_the_difference_four_times_out_of_five_and_one_less_does_not(tmp_path: Path) -> None:
    told = plan(tmp_path, SETTINGS, 0.1)
    levels, needs = told["levels"], told["needs"]
    assert isinstance(levels, dict)
    assert isinstance(needs, list)
    (wanted,) = (need for need in needs if isinstance(need, dict) and need["difference"] == 0.02)
    for name, level in levels.items():
        rows = wanted[name]
        assert isinstance(rows, int)
        assert isinstance(level, float)
        few, enough = (
            mcnemar_power(count, difference=0.02, discordance=0.1, level=level) for count in (rows - 1, rows)
        )
        assert few < 0.8 <= enough
    assert (tmp_path / "reports" / "plan.svg").read_text().startswith("<?xml")


def test_without_a_stated_discordance_it_is_that_of_the_newest_candidate(tmp_path: Path) -> None:
    looked_at(tmp_path, np.repeat([1.0, -1.0, 0.0], [30, 20, 450]), level=0.004)
    told = plan(tmp_path, SETTINGS)
    assert (told["discordance"], told["rows"]) == (0.1, 500)
    assert "there are 500 now" in str(told["summary"])
    assert isinstance(told["levels"], dict)
    assert told["levels"]["as look 1, the newest"] == 0.004


def test_where_nothing_says_how_often_models_differ_it_asks(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="name one with --discordance"):
        plan(tmp_path, SETTINGS)
    looked_at(tmp_path, np.linspace(-1, 1, 500), level=0.004)
    with pytest.raises(SettingsError, match="name one with --discordance"):
        plan(tmp_path, SETTINGS)
    with pytest.raises(SettingsError, match="expected a share above 0"):
        plan(tmp_path, SETTINGS, 1.5)


def test_of_grouped_rows_as_many_more_are_told_as_the_design_effect_says(tmp_path: Path) -> None:
    gained = np.repeat([1.0, -1.0, 0.0], [30, 20, 450])
    kept = row_gains([str(row) for row in range(500)], gained, [f"speaker {row // 10}" for row in range(500)])
    assert kept.of_groups is not None
    of = LookAtGroups(
        50, packed_names(kept.of_groups.names), None, packed_gains(kept.of_groups.gains), kept.of_groups.design_effect
    )
    looked_at(tmp_path, gained, level=0.004, of_groups=of)
    told, alone = plan(tmp_path, SETTINGS), plan(tmp_path, SETTINGS, 0.1)
    assert told["groups"] == {"rows_in_each": 10.0, "design_effect": kept.of_groups.design_effect}
    assert kept.of_groups.design_effect > 5
    (tmp_path / "without").mkdir()
    looked_at(tmp_path / "without", gained, level=0.004)
    independent = plan(tmp_path / "without", SETTINGS)
    assert independent["groups"] is None
    for few, many in zip(rows_of(independent), rows_of(told), strict=True):
        assert many >= kept.of_groups.design_effect * few
    assert rows_of(alone) == rows_of(told)
    assert "there are 500 (50 groups) now" in str(told["summary"])
    assert "times as many are needed as of independent ones" in str(told["summary"])


def rows_of(told: dict[str, JsonValue]) -> list[int]:
    needs = told["needs"]
    assert isinstance(needs, list)
    return [rows for need in needs if isinstance(need, dict) for rows in need.values() if isinstance(rows, int)]

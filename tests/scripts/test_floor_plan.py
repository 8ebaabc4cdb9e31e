"""The floor plan: a made-up house whose rooms, arrows and walk can be counted by hand."""

from pathlib import Path

import pytest

from scripts.floor_plan import Walk, arrows_of, floor_plan, floors_of, layers_of, read_house, runs_up

LAYERS = """
[[tool.importlinter.contracts]]
type = "layers"
containers = ["graftline"]
layers = ["flows", "training", "settings | data", "errors"]
"""
HOUSE = {
    "graftline/__init__.py": "",
    "graftline/errors.py": "class Fault(Exception): ...",
    "graftline/settings/__init__.py": "from graftline.settings.tree import Settings",
    "graftline/settings/tree.py": "class Settings: ...",
    "graftline/data/rows.py": """
from graftline.errors import Fault

def rows(path): ...
""",
    "graftline/training/loop.py": """
from graftline.settings import Settings

def train(settings: Settings, held):
    from graftline.data.rows import rows
    return rows(settings.path)
""",
    "flows/adapt.py": """
from graftline.data.rows import rows
from graftline.settings import Settings
from graftline.training.loop import train

class Held:
    inner: Settings

def adapt(settings: Settings):
    path = settings.data.path
    rows(path)
    again(settings)
    train(held=Held(settings), settings=settings)
    train(1, 2)

def again(settings: Settings): ...
""",
    "pyproject.toml": LAYERS,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in HOUSE.items():
        write(tmp_path / name, text)
    (tmp_path / "graftline/flows").symlink_to("../flows")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_folder_behind_a_link_is_read_once_and_bears_the_name_that_it_is_imported_by(root: Path) -> None:
    assert [name for name in read_house(root) if "adapt" in name] == ["graftline.flows.adapt"]


def test_a_flat_house_bears_the_names_of_its_folders(root: Path) -> None:
    (root / "graftline/flows").unlink()
    assert "flows.adapt" in read_house(root)


def test_a_name_that_a_package_hands_on_is_an_arrow_to_the_module_that_defines_it(root: Path) -> None:
    arrows = arrows_of(read_house(root))
    assert arrows["graftline.training.loop"] == {"graftline.settings.tree", "graftline.data.rows"}
    assert "graftline.settings" not in arrows


@pytest.mark.parametrize(
    ("graph", "floors", "circles"),
    [
        ({}, 0, 0),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, 3, 0),
        ({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}, 3, 1),
    ],
)
def test_a_circle_is_one_floor(graph: dict[str, set[str]], floors: int, circles: int) -> None:
    assert floors_of(graph) == (floors, circles)


def test_an_arrow_to_a_higher_layer_runs_up(root: Path) -> None:
    (layers,) = layers_of(root)
    assert runs_up(layers, "graftline.errors", "graftline.data.rows")
    assert not runs_up(layers, "graftline.data.rows", "graftline.errors")
    assert not runs_up(layers, "graftline.data.rows", "graftline.settings.tree")
    assert not runs_up(layers, "graftline.errors", "torch")


def test_the_walk_follows_the_settings_their_parts_and_what_is_made_with_them(root: Path) -> None:
    walk = Walk(read_house(root))
    walk.enter(("graftline.flows.adapt", "adapt"), {"settings"})
    flow, rows, loop = "graftline.flows.adapt", "graftline.data.rows", "graftline.training.loop"
    assert walk.stops == [flow, rows, flow, loop, rows]


def test_functions_that_call_each_other_end_the_walk(tmp_path: Path) -> None:
    write(tmp_path / "flows/adapt.py", "def adapt(settings): other(settings)\ndef other(given): adapt(given)")
    walk = Walk(read_house(tmp_path))
    walk.enter(("flows.adapt", "adapt"), {"settings"})
    assert walk.stops == ["flows.adapt"] * 3


def test_the_page_counts_what_can_be_counted_by_hand(root: Path) -> None:
    write(root / "graftline/data/long.py", "def long():\n" + "    x = 1\n" * 40)
    page = list(floor_plan(root))
    for line in [
        "     2 on  1 floors  graftline/data/",
        "     3 arrows between   4 rooms of graftline/, on 3 floors, 0 circles",
        "     6 arrows between   5 rooms in all, on 4 floors, 0 circles",
        "     6 arrows between   6 modules in all, on 4 floors, 0 circles",
        "     0 arrows between modules run up, by 1 contracts of layers in pyproject.toml",
        "     3 functions in 2 modules have a parameter of a settings class",
        "     5 stops of the walk in 3 modules: 2 returns",
        "     1 have over 40 lines",
        "    41 long (graftline/data/long.py)",
    ]:
        assert line in page

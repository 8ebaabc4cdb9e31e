"""Folders of class folders: which folders are labels, and which are a split."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from graftline.data.class_folders import read_class_folders
from graftline.data.row_facts import row_facts
from graftline.data.single_label import TARGETS
from graftline.errors import DataRefusedError
from graftline.settings import DataSettings


def write(folder: Path, names: Sequence[str], files: int = 60) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        for number in range(files):
            (folder / name / f"{number}.png").write_bytes(b"")
    return folder


def sides_of(folder: Path) -> dict[str, set[str]]:
    """The sides of the split that the files of each first folder lie on."""
    rows = list(read_class_folders(folder, folder, "image"))
    splits = row_facts(rows, DataSettings(path="data", kind="image"), TARGETS).splits
    names = [str(row.values[0]).partition("/")[0] for row in rows]
    return {name: {side for one, side in zip(names, splits, strict=True) if one == name} for name in names}


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("Training", "Validation", "TEST"), ("train_set", "dev", "eval-images 2")],
)
def test_folders_of_a_split_are_the_split_and_never_labels(
    tmp_path: Path, train: str, validation: str, test: str
) -> None:
    names = [f"{side}/{label}" for side in (train, validation, test) for label in ("cat", "dog")]
    folder = write(tmp_path, names)
    assert {row.values[1] for row in read_class_folders(folder, folder, "image")} == {"cat", "dog"}
    assert sides_of(folder) == {train: {"train"}, validation: {"validation"}, test: {"test"}}


@pytest.mark.parametrize(
    ("folders", "drawn"),
    [(["train", "test"], {"train", "validation"}), (["train", "val"], {"train", "test"}),
     (["train"], {"train", "validation", "test"})],
)  # fmt: skip
def test_a_side_without_a_folder_is_drawn_from_the_rows_to_learn_from(
    tmp_path: Path, folders: list[str], drawn: set[str]
) -> None:
    folder = write(tmp_path, [f"{side}/{label}" for side in folders for label in ("cat", "dog")])
    assert sides_of(folder)["train"] == drawn


def test_what_lies_beside_the_folders_of_a_split_or_in_them_without_a_class_is_a_faulty_row(tmp_path: Path) -> None:
    folder = write(tmp_path, ["train/cat", "train/dog", "test/cat", "unlabelled/x", "__MACOSX/y"], files=1)
    (folder / "test" / "1.png").write_bytes(b"")
    faults = [str(row.fault) for row in read_class_folders(folder, folder, "image") if row.fault]
    assert sum("lies beside the folders of the split (test, train)" in fault for fault in faults) == 2
    assert sum("lies beside the class folders, expected inside one" in fault for fault in faults) == 1


@pytest.mark.parametrize(
    ("names", "said"),
    [(["train", "test"], "no labels, and hold no class folders"), (["val/cat", "test/cat"], "none to learn from")],
)
def test_folders_of_a_split_without_classes_or_rows_to_learn_from_are_refused(
    tmp_path: Path, names: list[str], said: str
) -> None:
    folder = write(tmp_path, names, files=1)
    with pytest.raises(DataRefusedError, match=said):
        list(read_class_folders(folder, folder, "image"))


@pytest.mark.parametrize("names", [["train", "car", "bus"], ["trains", "tests"], ["training shoes", "test tubes"]])
def test_classes_may_be_called_nearly_so(tmp_path: Path, names: list[str]) -> None:
    folder = write(tmp_path, names, files=1)
    assert {row.values[1] for row in read_class_folders(folder, folder, "image")} == set(names)

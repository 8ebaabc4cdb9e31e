"""A registered model is exactly the files that were judged: none changed, added, removed or led elsewhere."""

from pathlib import Path

import pytest

from graftline.tasks.tracking import model_files
from graftline.tasks.tracking.model_files import ChangedFilesError, digests_of, require_files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name in ("MLmodel", "served_model.py", "code/graftline/answers.py", "artifacts/model/head.safetensors"):
        path = tmp_path / "model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "model"


def fault_of(model: Path, files: dict[str, str]) -> str:
    with pytest.raises(ChangedFilesError) as caught:
        require_files("tiny version 1", model, files)
    assert caught.value.exit_code == 6
    return str(caught.value)


def test_what_was_judged_is_accepted(model: Path) -> None:
    files = digests_of("tiny version 1", model)
    assert sorted(files) == [
        "MLmodel", "artifacts/model/head.safetensors", "code/graftline/answers.py", "served_model.py",
    ]  # fmt: skip
    require_files("tiny version 1", model, files)


def test_a_changed_file_is_named(model: Path) -> None:
    files = digests_of("tiny version 1", model)
    (model / "served_model.py").write_text("other")
    assert "tiny version 1: its files are not those that were judged: served_model.py was changed" in fault_of(
        model, files
    )


def test_an_added_a_removed_and_a_linked_file_are_named(model: Path) -> None:
    files = digests_of("tiny version 1", model)
    (model / "code" / "torch.py").write_text("")
    (model / "MLmodel").unlink()
    (model / "served_model.py").rename(model.parent / "served_model.py")
    (model / "served_model.py").symlink_to(model.parent / "served_model.py")
    said = fault_of(model, files)
    assert "served_model.py is no plain file and 2 more" in said
    assert "\n  - code/torch.py was added\n  - MLmodel is missing" in said


def test_a_linked_folder_is_named_and_not_entered(model: Path) -> None:
    files = digests_of("tiny version 1", model)
    (model / "code").rename(model.parent / "code")
    (model / "code").symlink_to(model.parent / "code")
    assert "code is no plain file and 1 more" in fault_of(model, files)
    with pytest.raises(ChangedFilesError, match="code is no plain file"):
        digests_of("tiny version 1", model)


def test_what_mlflow_and_python_add_is_known_by_name_where_they_add_it(model: Path) -> None:
    files = digests_of("tiny version 1", model)
    (model / "registered_model_meta").write_text("model_name: tiny\n")
    (model / "code" / "__pycache__").mkdir()
    (model / "code" / "__pycache__" / "answers.cpython-311.pyc").write_bytes(b"compiled")
    require_files("tiny version 1", model, files)
    assert digests_of("tiny version 1", model) == files
    (model / "code" / "registered_model_meta").write_text("")
    (model / "code" / "answers.pyc").write_bytes(b"compiled")
    said = fault_of(model, files)
    assert "\n  - code/answers.pyc was added\n  - code/registered_model_meta was added" in said


def test_a_name_that_would_act_on_a_terminal_is_spelt_out(model: Path) -> None:
    files = digests_of("tiny version 1", model)
    (model / "\x1b[2J").write_text("")
    assert "'\\x1b[2J' was added" in fault_of(model, files)


def test_a_file_that_cannot_be_read_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = digests_of("tiny version 1", model)

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(model_files, "file_sha256", refuse)  # whoever runs this may read everything
    assert "MLmodel cannot be read and 3 more" in fault_of(model, files)


def test_a_copy_of_what_a_server_has_is_not_named_as_the_place_to_mend(model: Path) -> None:
    files = digests_of("tiny version 1", model)
    copy = model.parent / "scratch" / "a"
    model.joinpath("MLmodel").write_text("other")
    copy.parent.mkdir()
    model.rename(copy)
    said = fault_of(copy, files)
    assert "restore them where the registry keeps them from a backup" in said
    assert str(copy) not in said

"""The files that a base model's folder may hold, and the lock entry that describes them."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from graftline.base_models.allowed_files import check_content
from graftline.base_models.lock import (
    LockedFile,
    LockedModel,
    check_folder,
    describe_folder,
    listing_sha256,
    parse_lock,
    print_lock,
)
from graftline.errors import BaseModelRefusedError
from tests.support.tiny_model_files import flip_byte, write_model

URI = "path:model"


class Bomb:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return print, ("boom",)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def describe(folder: Path) -> LockedModel:
    return describe_folder(folder, URI, revision="1", licence=None, versions={})


def refused(folder: Path) -> str:
    with pytest.raises(BaseModelRefusedError) as error:
        describe(folder)
    assert error.value.exit_code == 4
    return str(error.value)


def test_a_folder_is_described_in_sorted_order_with_the_licence_of_its_card(folder: Path) -> None:
    locked = describe(folder)
    assert [file.path for file in locked.files] == [
        "1_Pooling/config.json",
        "README.md",
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    assert locked.licence == "apache-2.0"
    assert locked.bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_digest_names_the_content_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    other = describe_folder(write_model(tmp_path / "copy"), "path:copy", revision="2", licence="mit", versions={})
    assert other.digest == describe(folder).digest
    flip_byte(tmp_path / "copy" / "model.safetensors")
    assert describe(tmp_path / "copy").digest != other.digest


def test_a_folder_without_a_card_has_the_licence_of_its_source_or_an_unknown_one(folder: Path) -> None:
    (folder / "README.md").write_text("no front matter")
    assert describe(folder).licence == "unknown"
    assert describe_folder(folder, URI, revision="1", licence="MIT", versions={}).licence == "MIT"


def test_weights_must_be_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "holds 4 files and no .safetensors among them; expected weights as safetensors" in refused(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "x.pkl", "x.npy", "model.h5", "A.BIN", "x.pkl.gz"])
def test_a_file_of_a_kind_that_can_hold_a_pickle_is_refused_by_its_name(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"harmless")
    assert f"holds {name}, of a kind that can run any code" in refused(folder)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["notes.txt", "tokenizer.model", "LICENSE"])
def test_a_pickle_under_an_innocent_name_is_refused_by_its_content(folder: Path, name: str, protocol: int) -> None:
    (folder / name).write_bytes(pickle.dumps(Bomb(), protocol))
    assert f"{name} is a pickle, which can run any code when it is loaded" in refused(folder)


def test_a_zip_and_a_numpy_file_under_innocent_names_are_refused(folder: Path) -> None:
    with zipfile.ZipFile(folder / "merges.txt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    assert "merges.txt is a zip file, which can hold a pickle" in refused(folder)
    content = io.BytesIO()
    np.save(content, np.array([Bomb()], dtype=object), allow_pickle=True)
    (folder / "merges.txt").write_bytes(content.getvalue())
    assert "merges.txt is a NumPy file" in refused(folder)


def test_a_program_is_refused(folder: Path) -> None:
    (folder / "modeling_custom.py").write_text("print('boom')")
    assert "holds the program modeling_custom.py; expected data only" in refused(folder)


def test_a_file_of_an_unknown_kind_is_refused(folder: Path) -> None:
    (folder / "weights.gguf").write_bytes(b"GGUF")
    assert "holds weights.gguf, of an unknown kind" in refused(folder)


@pytest.mark.parametrize(
    "tree",
    [
        {"auto_map": {"AutoModel": "modeling.Custom"}},
        {"nested": [{"trust_remote_code": True}]},
        {"custom_pipelines": {"text": {"impl": "pipeline.Custom"}}},
    ],
)
def test_a_configuration_that_makes_a_loader_import_code_is_refused(folder: Path, tree: dict[str, object]) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(tree).replace("auto", "\\u0061uto"))
    assert "which makes a loader import the model's code; expected data only" in refused(folder)


def test_a_token_that_is_called_like_a_dangerous_key_is_only_a_token(folder: Path) -> None:
    (folder / "vocab.json").write_text(json.dumps({"auto_map": 17, "trust_remote_code": 0}))
    (folder / "other.json").write_text(json.dumps({"trust_remote_code": False, "chat_template": "{{ x }}"}))
    assert len(describe(folder).files) == 7


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"{", "is not JSON"), (b'"\xff"', "is not UTF-8"), (b'"\0"', "holds NUL bytes"), (b"[" * 100_000, "is not JSON")],
)
def test_a_broken_configuration_is_refused(folder: Path, content: bytes, fault: str) -> None:
    (folder / "config.json").write_bytes(content)
    assert f"config.json {fault}" in refused(folder)


def test_cut_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    assert "holds 216 bytes of tensors, its header describes 256; expected a whole safetensors file" in refused(folder)
    weights.write_bytes(weights.read_bytes()[:30])
    assert "has 30 bytes and announces a header of" in refused(folder)
    weights.write_bytes(b"")
    assert "has 0 bytes and announces a header of 0" in refused(folder)


def with_header(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 80]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}},
        {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        {"a": {"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "PY", "shape": [2], "data_offsets": [0, 8]}},
        {"a": {"dtype": "F32", "shape": [2]}},
        {"a": 1},
        [],
    ],
)
def test_a_header_that_does_not_describe_the_bytes_is_refused(folder: Path, header: object) -> None:
    (folder / "model.safetensors").write_bytes(with_header(header, b"\0" * 8))
    refused(folder)


@given(cut=st.integers(0, 400), flip=st.integers(0, 399), bit=st.integers(0, 7))
def test_weights_that_the_safetensors_library_refuses_are_refused_here_too(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, bit: int
) -> None:
    content = bytearray(save({"a": np.ones((4, 4), np.float32), "b": np.ones(3, np.int8)}))
    if flip < len(content):
        content[flip] ^= 1 << bit
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    path.write_bytes(content[:cut])
    try:
        with safe_open(path, framework="numpy"):
            return
    except SafetensorError:
        pass
    with pytest.raises(BaseModelRefusedError):
        check_content(path, path.name, URI)


def test_links_out_of_the_folder_are_refused_and_links_inside_are_files(folder: Path, tmp_path: Path) -> None:
    (folder / "LICENSE").symlink_to(folder / "README.md")
    assert "LICENSE" in {file.path for file in describe(folder).files}
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "notes.txt").symlink_to(tmp_path / "secret.txt")
    assert "'notes.txt' is a link that leads out of the model's folder" in refused(folder)
    (folder / "notes.txt").unlink()
    (folder / "more").symlink_to(tmp_path, target_is_directory=True)
    assert "'more' is a link that leads out of the model's folder" in refused(folder)


def test_a_name_with_control_characters_is_refused_and_shown_escaped(folder: Path) -> None:
    (folder / "no\ntes\u202e.txt").write_text("x")
    assert r"'no\ntes\u202e.txt'" in refused(folder)


def check(folder: Path, locked: LockedModel) -> str:
    with pytest.raises(BaseModelRefusedError) as error:
        check_folder(folder, URI, files=locked.files, next_step="delete it")
    return str(error.value)


def test_an_unchanged_folder_passes_the_check(folder: Path) -> None:
    check_folder(folder, URI, files=describe(folder).files, next_step="")


def test_a_changed_byte_a_missing_and_an_extra_file_are_named(folder: Path) -> None:
    locked = describe(folder)
    old = next(file.sha256 for file in locked.files if file.path == "model.safetensors")
    flip_byte(folder / "model.safetensors")
    new = next(file.sha256 for file in describe(folder).files if file.path == "model.safetensors")
    text = check(folder, locked)
    assert f"model.safetensors has sha256 {new[:12]}, expected {old[:12]} as locked; delete it" in text
    (folder / "vocab.txt").unlink()
    assert "vocab.txt is missing" in check(folder, locked)
    (folder / "evil.bin").write_bytes(b"")
    assert "'evil.bin' is extra" in check(folder, locked)


def test_the_lock_file_comes_back_as_it_was_written(folder: Path) -> None:
    versioned = describe_folder(folder, URI, revision="1.10", licence=None, versions={"vocab.txt": "v: 1"})
    models = {"path:zebra": versioned, "hf:a/b@ü": describe(folder)}
    text = print_lock(models)
    assert parse_lock(text, "base_models.lock") == models
    assert text == print_lock(dict(reversed(models.items())))
    assert sum("sha256:" in line for line in text.splitlines()) == 10


@pytest.mark.parametrize(
    "path", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "a\\evil.txt", "a//b.txt", "x\x1b.txt"]
)
def test_a_lock_file_that_names_a_path_outside_the_folder_is_refused(path: str) -> None:
    files = (LockedFile(path=path, bytes=1, sha256="0" * 64),)
    locked = LockedModel(revision="1", licence="mit", digest=listing_sha256(files), files=files)
    with pytest.raises(BaseModelRefusedError, match=r"base_models\.lock: path:model names the file"):
        parse_lock(print_lock({URI: locked}), "base_models.lock")


def test_a_lock_file_that_was_edited_by_hand_is_refused(folder: Path) -> None:
    text = print_lock({URI: describe(folder)})
    with pytest.raises(BaseModelRefusedError, match="the digest is not that of the files"):
        parse_lock(text.replace("bytes: 2,", "bytes: 3,"), "base_models.lock")
    with pytest.raises(BaseModelRefusedError, match="restore the file from git or lock again"):
        parse_lock(text.replace("licence", "license"), "base_models.lock")
    with pytest.raises(BaseModelRefusedError, match="restore the file from git or lock again"):
        parse_lock(text + "]", "base_models.lock")

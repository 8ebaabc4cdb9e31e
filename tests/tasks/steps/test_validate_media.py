"""Pictures and sounds: an unfit file is a quarantined row with its reason, a faulty set is refused, nothing is lost."""

import csv
import io
import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
import soundfile
from PIL import Image
from pyarrow import parquet

# Read when Great Expectations is imported.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")

from graftline.data.media_files import MediaFile, look_at
from graftline.digests import file_sha256
from graftline.errors import DataRefusedError, SettingsError, Stopped
from graftline.settings import DataSettings
from graftline.tasks.data import media_findings
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.files import DataVersion, rows_sha256, table_path
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.stopping import looking, stoppable
from graftline.tasks.workspace import Workspace
from tests.graftline.data.test_images import png_of_nothing
from tests.graftline.data.test_sounds import RATE, with_data_size, with_field
from tests.support.tiny_media_files import SOUND_RATE, tiny_image, tiny_sound, write_tiny_images, write_tiny_sounds

pytestmark = pytest.mark.full

ROWS = 60
TINY = {"min_rows_per_class": 5, "test_share": 0.25, "max_quarantined": 0.5}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    write_tiny_images(root / "data" / "photos", ROWS)
    return root


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recordings")
    write_tiny_sounds(root / "data" / "tones", ROWS)
    return root


@pytest.fixture
def photos(pictures: Path, tmp_path: Path) -> Path:
    """The folder of class folders of a project of its own."""
    return Path(shutil.copytree(pictures, tmp_path / "project")) / "data" / "photos"


@pytest.fixture
def tones(recordings: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(recordings, tmp_path / "project")) / "data" / "tones"


def run(source: Path, kind: Literal["image", "audio"], **settings: object) -> ValidatedData:
    """Validate a folder or table that lies in `data/`."""
    root = source.parents[1]
    path = source.relative_to(root).as_posix()
    data = DataSettings.model_validate({"path": path, "kind": kind, **TINY, **settings})
    table = table_path(Workspace(root), data)
    version = DataVersion("v" * 32, False, (), rows_sha256(root / "data", table, kind), table)
    result = validate_data.fn(Workspace(root), data, version)
    assert result.read == result.accepted + result.quarantined
    assert len(rows_of(result)["input"]) == result.accepted
    return result


def rows_of(result: ValidatedData) -> dict[str, list[str]]:
    rows: dict[str, list[str]] = parquet.read_table(result.folder.path / "accepted.parquet").to_pydict()
    return rows


def quarantine(result: ValidatedData) -> dict[str, list[str]]:
    """The reasons of each quarantined file."""
    lines = (result.folder.path / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == result.quarantined
    return {_name(record["values"]): record["reasons"] for record in records}


def twins(result: ValidatedData) -> list[str]:
    lines = (result.folder.path / "twins.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["said"] for line in lines]


def _name(values: dict[str, str]) -> str:
    """The file: of a folder, of a table, or of a row that could not be read."""
    return values.get("file") or values.get("text") or values["raw"]


def write_table(photos: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("text", "label")) -> Path:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    path = photos.parent / "table.csv"
    path.write_text(text.getvalue())
    return path


def paths_and_labels(folder: Path) -> list[list[str]]:
    return [[p.relative_to(folder.parent).as_posix(), p.parent.name] for p in sorted(folder.glob("*/*"))]


@pytest.fixture
def scans(pictures: Path, tmp_path: Path) -> Path:
    """Pictures of 16 bits a sample: of each class half hold values of 12 bits, half of 8."""
    folder = tmp_path / "project" / "data" / "scans"
    for number, path in enumerate(sorted((pictures / "data" / "photos").glob("*/*"))):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16)
        target = folder / path.parent.name / f"{number:04}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey << (4 if number % 2 else 0)).save(target)
    return folder


def test_pictures_of_16_bits_are_read_as_of_the_bits_that_the_whole_set_uses(
    scans: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="graftline.validate_data"):
        result = run(scans, "image")
    assert (result.accepted, result.sample_bits) == (ROWS, 12)
    assert caplog.text.count("pictures of 16 bits a sample are read as 12 bits") == 1
    assert "read as of 12 bits (data.sample_bits)" in result.page.read_text(encoding="utf-8")
    full = run(scans, "image", sample_bits=16)
    assert full.sample_bits == 16
    assert full.sha256 != result.sha256


def test_few_pictures_of_larger_values_that_darken_all_others_are_told(
    scans: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(np.full((32, 40), 2**16 - 1, np.uint16) * np.eye(32, 40).astype(np.uint16)).save(
        next(scans.glob("*/0000.png"))
    )
    with caplog.at_level("INFO", logger="graftline.validate_data"):
        assert run(scans, "image").sample_bits == 16
    assert f"1 of {ROWS} pictures of 16 bits a sample need more than 12 bits, so all are read as 16 bits" in caplog.text


def test_a_picture_that_needs_more_bits_than_the_setting_says_is_a_faulty_row(scans: Path) -> None:
    result = run(scans, "image", sample_bits=8, max_quarantined=0.6)
    assert (result.accepted, result.sample_bits) == (ROWS // 2, 8)
    said = "input_decodable: 'its values need 12 bits a sample, expected at most 8 as data.sample_bits says'"
    assert {reason for reasons in quarantine(result).values() for reason in reasons} == {said}


def test_a_folder_of_class_folders_becomes_rows(photos: Path) -> None:
    result = run(photos, "image")
    rows = rows_of(result)
    assert list(rows) == ["row_id", "line", "input", "target", "split", "input_sha256"]
    assert [list(row) for row in zip(rows["input"], rows["target"], strict=True)] == paths_and_labels(photos)
    assert rows["input_sha256"] == [file_sha256(photos.parent / name) for name in rows["input"]]
    assert (result.labels, result.kind, result.task) == (("disc", "stripes"), "image", "single_label")
    assert min(result.split_rows.values()) > 0


def test_sounds_come_with_their_seconds(tones: Path) -> None:
    rows = rows_of(run(tones, "audio"))
    assert list(rows)[-2:] == ["input_sha256", "seconds"]
    assert rows["seconds"] == [soundfile.info(tones.parent / name).duration for name in rows["input"]]


def test_a_table_of_paths_gives_the_same_rows_as_the_folder(photos: Path) -> None:
    folder, table = run(photos, "image"), run(write_table(photos, paths_and_labels(photos)), "image")
    columns = ("row_id", "input", "target", "split", "input_sha256")
    assert [rows_of(folder)[name] for name in columns] == [rows_of(table)[name] for name in columns]
    assert (folder.split_sha256, folder.test_sha256) == (table.split_sha256, table.test_sha256)


def test_a_picture_keeps_its_name_and_side_under_another_file_name(photos: Path) -> None:
    before = rows_of(run(photos, "image"))
    for path in photos.glob("*/*"):
        path.rename(path.with_stem(f"renamed {path.stem}"))
    after = rows_of(run(photos, "image"))
    assert [before[name] for name in ("row_id", "split")] == [after[name] for name in ("row_id", "split")]
    assert before["input"] != after["input"]


def test_each_unfit_picture_is_quarantined_with_its_reason(photos: Path) -> None:
    whole = next(photos.glob("disc/*.jpg")).read_bytes()
    files = {
        "truncated.jpg": (whole[:-100], "input_decodable: 'damaged or cut off (image file is truncated"),
        "words.png": (
            b"these are words",
            "input_decodable: \"no readable PNG, JPEG or WebP image: it begins with b'these are wo'",
        ),
        "bomb.png": (
            png_of_nothing(40_000, 40_000),
            "input_decodable: 'too large: 1,600,000,000 pixels, expected at most 50,000,000'",
        ),
        "large.png": (
            png_of_nothing(9000, 9000),
            "input_decodable: 'too large: 9,000 x 9,000 pixels, expected at most",
        ),
        "line.png": (
            png_of_nothing(16_000, 1),
            "input_decodable: 'too narrow: 16,000 x 1 pixels, expected at most 20 times as many along one side",
        ),
        "empty.webp": (b"", "input_decodable: 'the file is empty'"),
        "notes.txt": (
            b"notes",
            "row_readable: \"ends in '.txt', expected one of .png, .jpg, .jpeg, .jfif, .jpe, .webp; remove it",
        ),
        ".hidden.png": (whole, "row_readable: 'a hidden file; remove it'"),
        "../beside.png": (whole, "row_readable: 'lies beside the class folders, expected inside one"),
    }
    for name, (content, _) in files.items():
        (photos / "disc" / name).write_bytes(content)
    Image.new("RGB", (40, 40), "red").save(photos / "disc" / "red.png")
    tiny_image("disc", 999).resize((15, 40)).save(photos / "disc" / "narrow.png")
    result = run(photos, "image")
    found = quarantine(result)
    for name, (_, reason) in files.items():
        (reasons,) = [found.pop(path) for path in list(found) if path.endswith(f"/{name.removeprefix('../')}")]
        assert [text[: len(reason)] for text in reasons] == [reason]
    assert found == {
        "photos/disc/narrow.png": ["image_side: 15"],
        "photos/disc/red.png": ["image_not_constant: 'every pixel has the same colour'"],
    }
    assert (result.read, result.accepted) == (ROWS + 11, ROWS)
    assert "image_not_constant" in result.page.read_text(encoding="utf-8")


def test_each_unfit_sound_is_quarantined_with_its_reason(tones: Path) -> None:
    def wav(samples: object, rate: int = SOUND_RATE, subtype: str | None = None) -> bytes:
        content = io.BytesIO()
        soundfile.write(content, samples, rate, format="WAV", subtype=subtype)
        return content.getvalue()

    samples = tiny_sound("low", 999)
    broken = samples.copy()
    broken[7] = np.nan
    files = {
        "empty.wav": (wav(samples[:0]), "input_decodable: 'holds no samples'"),
        "nothing.wav": (b"", "input_decodable: 'the file is empty'"),
        "lies.wav": (
            with_data_size(wav(samples), 2**30),
            "input_decodable: 'cut off: its header promises 1,073,741,824",
        ),
        "rate.wav": (
            with_field(wav(samples), RATE, 8000),
            "input_decodable: 'its header contradicts itself: 1 channels",
        ),
        "loud.wav": (wav(1e30 * samples, subtype="FLOAT"), "input_decodable: 'sample 1 is "),
        "nan.wav": (wav(broken, subtype="FLOAT"), "input_decodable: 'sample 8 is nan, expected finite numbers "),
        "silent.wav": (wav(np.zeros(8000)), "sound_not_silent: 'the peak is 0.000000'"),
        "short.wav": (wav(samples[:100]), "sound_length: 0.00625"),
        "long.wav": (wav(np.tile(samples, 200)), "sound_length: "),
        "words.mp3": (b"these are words", 'input_decodable: "no readable WAV, FLAC, OGG or MP3 sound'),
        "cover.png": (b"x", "row_readable: \"ends in '.png', expected one of .wav"),
    }
    for name, (content, _) in files.items():
        (tones / "low" / name).write_bytes(content)
    (tones / "low" / "old.wav").write_bytes(wav(samples, 8000, "PCM_U8"))
    result = run(tones, "audio")
    found = quarantine(result)
    for name, (_, reason) in files.items():
        assert [text[: len(reason)] for text in found.pop(f"tones/low/{name}")] == [reason]
    assert found == {}
    assert "tones/low/old.wav" in rows_of(result)["input"]
    assert result.accepted == ROWS + 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/etc/hostname", "no path below data/: it is absolute"),
        ("../outside.png", "no path below data/: it is absolute or holds .."),
        ("photos/../../outside.png", "no path below data/"),
        ("photos/link.png", "a link that leads out of data/"),
        ("photos/nobody.png", "there is no such file below data/"),
        ("data/photos/disc/0000.png", "there is no such file below data/; paths start inside data/"),
        (r"photos\disc\0000.png", "there is no such file below data/; write / in place of Windows' \\\\, no drive"),
        ("C:/photos/disc/0000.png", "there is no such file below data/; write / in place of Windows'"),
        ("photos/LINK.png", "there is no such file below data/, but 'photos/link.png'; write the path so"),
        ("photos/disc", "a folder or device, expected a file"),
        ("photos/pipe", "a folder or device, expected a file"),
        ("x" * 300, "cannot be read (File name too long)"),
    ],
)
def test_a_path_that_leaves_data_or_names_no_file_is_a_faulty_row(photos: Path, name: str, reason: str) -> None:
    tiny_image("disc", 999).save(photos.parents[1] / "outside.png")
    (photos / "link.png").symlink_to(photos.parents[1] / "outside.png")
    os.mkfifo(photos / "pipe")
    found = quarantine(run(write_table(photos, [*paths_and_labels(photos), [name, "disc"]]), "image"))
    ((reasons),) = found.values()
    assert [text.removeprefix("file_there: ")[1:][: len(reason)] for text in reasons] == [reason]


def test_a_path_that_holds_half_a_character_is_a_faulty_row(photos: Path) -> None:
    rows = [*paths_and_labels(photos), ["photos/\ud83d.png", "disc"]]
    table = photos.parent / "table.jsonl"
    table.write_text("".join(json.dumps({"text": name, "label": label}) + "\n" for name, label in rows))
    result = run(table, "image")
    assert (result.accepted, quarantine(result)) == (
        ROWS,
        {
            r"photos/\ud83d.png": [
                'file_there: "no path below data/: U+D83D at character 8 is in no file\'s name"',
                "input_clean: 'U+D83D (no character) at character 8'",
            ]
        },
    )


def test_links_into_dvcs_cache_are_files(photos: Path) -> None:
    cache = photos.parents[1] / ".dvc" / "cache" / "files" / "md5"
    cache.mkdir(parents=True)
    path = next(photos.glob("disc/*"))
    path.symlink_to(path.rename(cache / "object"))
    assert run(photos, "image").accepted == ROWS


def test_a_link_to_a_folder_is_a_quarantined_row(photos: Path) -> None:
    (photos / "more").symlink_to(photos / "disc")
    (photos / "disc" / "deep").symlink_to(photos / "stripes")
    found = quarantine(run(photos, "image"))
    assert found["photos/disc/deep"] == [
        "row_readable: 'a link to a folder, which is not followed; put the files there'"
    ]
    assert list(found) == ["photos/disc/deep", "photos/more"]


def test_files_in_folders_of_a_class_folder_belong_to_the_class(photos: Path) -> None:
    path = next(photos.glob("disc/*"))
    (photos / "disc" / "2026").mkdir()
    path.rename(photos / "disc" / "2026" / path.name)
    rows = rows_of(run(photos, "image"))
    assert dict(zip(rows["input"], rows["target"], strict=True))[f"photos/disc/2026/{path.name}"] == "disc"


def test_one_picture_under_two_labels_is_a_conflict_however_it_is_stored(photos: Path) -> None:
    picture = tiny_image("disc", 999)
    picture.save(photos / "disc" / "one.png")
    picture.save(photos / "stripes" / "other.webp", lossless=True)
    found = quarantine(run(photos, "image"))
    assert list(found) == ["photos/disc/one.png", "photos/stripes/other.webp"]
    assert "has the same input with label 'stripes'" in found["photos/disc/one.png"][0]


def test_a_picture_that_was_saved_again_is_a_twin_where_it_is_held_out(photos: Path) -> None:
    picture = tiny_image("disc", 999).resize((200, 150))
    for quality in range(84, 96):
        picture.save(photos / "disc" / f"{quality}.jpg", quality=quality)
    result = run(photos, "image", max_twins=1)
    rows = rows_of(result)
    saved = {str(quality) for quality in range(60, 96, 3)}
    again = {split for name, split in zip(rows["input"], rows["split"], strict=True) if Path(name).stem in saved}
    assert again == {"train", "twin"}
    assert (result.quarantined, result.twins) == (0, rows["split"].count("twin"))
    assert all("a train row, shares 0.9" in said or "shares 1.00" in said for said in twins(result))


def test_the_same_recording_in_two_groups_is_a_twin_where_it_is_held_out(tones: Path) -> None:
    samples = tiny_sound("low", 999)
    rows = [[*row, f"speaker {number}"] for number, row in enumerate(paths_and_labels(tones))]
    for number in range(20):
        soundfile.write(tones / "low" / f"same {number}.wav", samples, SOUND_RATE)
        rows.append([f"tones/low/same {number}.wav", "low", f"other speaker {number}"])
    table = write_table(tones, rows, ("text", "label", "speaker"))
    result = run(table, "audio", group="speaker", max_twins=1)
    kept = {
        split for name, split in zip(rows_of(result)["input"], rows_of(result)["split"], strict=True) if "same" in name
    }
    assert kept == {"train", "twin"}
    assert all("shares 1.00 of its samples" in said for said in twins(result))


def test_a_class_folder_with_one_file_is_refused_by_name(photos: Path) -> None:
    (photos / "lonely").mkdir()
    tiny_image("disc", 999).save(photos / "lonely" / "one.png")
    with pytest.raises(DataRefusedError, match=r"class_rows .*at least 5 accepted rows.*label lonely: 1\)"):
        run(photos, "image")


def test_a_request_to_stop_is_heard_between_two_files(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look_at_and_be_stopped(data: Path, name: str, settings: DataSettings, **options: Any) -> MediaFile:
        looked.append(name)
        signal.raise_signal(signal.SIGTERM)
        return look_at(data, name, settings, **options)

    monkeypatch.setattr(media_findings, "look_at", look_at_and_be_stopped)
    with pytest.raises(Stopped), stoppable(), looking():
        run(photos, "image")
    assert len(looked) == 1


def test_folders_of_a_split_are_used_or_ignored_as_the_settings_say(photos: Path) -> None:
    for label in ("disc", "stripes"):
        for number, file in enumerate(sorted((photos / label).iterdir())):
            side = ("train", "train", "val", "test")[number % 4]
            (photos / side / label).mkdir(parents=True, exist_ok=True)
            file.rename(photos / side / label / file.name)
        (photos / label).rmdir()
    used = run(photos, "image")
    assert (used.labels, used.split_from) == (("disc", "stripes"), "test, train, val")
    sides = {"train": "train", "val": "validation", "test": "test"}
    rows = rows_of(used)
    assert rows["split"] == [sides[name.split("/")[1]] for name in rows["input"]]
    ignored = run(photos, "image", split_folders="ignore")
    assert (ignored.labels, ignored.split_from) == (used.labels, "hash")
    shutil.rmtree(photos / "val" / "disc")
    with pytest.raises(DataRefusedError, match=r"in the folders test, train, val \(.*data\.split_folders: ignore"):
        run(photos, "image")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data" / "photos").mkdir(parents=True)
    with pytest.raises(DataRefusedError, match=r"has_rows"):
        run(tmp_path / "data" / "photos", "image")


def test_too_many_unfit_files_refuse_the_data(photos: Path) -> None:
    for number in range(10):
        (photos / "disc" / f"words {number}.png").write_bytes(b"words")
    with pytest.raises(
        DataRefusedError, match=r"(?s)quarantined_share .*input_decodable .*10 of 70 faulty, such as line"
    ):
        run(photos, "image", max_quarantined=0.1)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"kind": "text"}, "is a folder, expected a table for data.kind text"),
        ({"id": "id", "slices": ["a"]}, r"has no columns for data\.id \(id\) and data\.slices \(a\)"),
        ({"task": "multi_label"}, "names one label for each file, but data.task is multi_label"),
    ],
)
def test_settings_that_a_folder_cannot_fulfil_are_refused(
    photos: Path, settings: dict[str, object], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        run(photos, **{"kind": "image", **settings})  # type: ignore[arg-type]


def test_a_folder_that_leads_out_of_the_one_with_the_version_is_refused(photos: Path) -> None:
    photos.rename(photos.parents[1] / "photos")
    with pytest.raises(SettingsError, match="is a folder outside data/"):
        run(photos.parents[1] / "data" / "tones", "image", path="data/../photos")


def test_a_changed_picture_is_another_version_of_the_rows(photos: Path) -> None:
    table = write_table(photos, paths_and_labels(photos))
    first = run(table, "image")
    tiny_image("disc", 999).save(next(photos.glob("disc/*")))
    second = run(table, "image")
    assert first.folder.key != second.folder.key
    assert run(table, "image").folder.outcome == "reused"


def test_a_picture_that_changes_while_it_is_read_stops_the_run(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_at_and_change(*arguments: object, **named: object) -> object:
        tiny_image("disc", 999).save(next(photos.glob("disc/*")))
        return look_at(*arguments, **named)  # type: ignore[arg-type]

    from graftline.data.media_files import look_at

    monkeypatch.setattr("graftline.tasks.data.media_findings.look_at", look_at_and_change)
    with pytest.raises(DataRefusedError, match="the files changed while they were read; run again"):
        run(photos, "image")


def test_a_file_name_that_is_no_text_or_turns_the_line_around_is_quarantined(photos: Path) -> None:
    picture = next(photos.glob("disc/*.png"))
    for name in (b"caf\xe9.png", "\u202egnp.png".encode()):
        (photos / "disc" / os.fsdecode(name)).write_bytes(picture.read_bytes())
    found = quarantine(run(photos, "image"))
    assert [reasons[0].partition(":")[0] for reasons in found.values()] == ["input_clean", "input_clean"]


def test_markup_in_a_file_name_stays_text_on_the_page(photos: Path) -> None:
    (photos / "disc" / "<img src=x onerror=alert(1)>.png").write_bytes(b"<script>alert(2)</script>")
    page = run(photos, "image").page.read_text(encoding="utf-8")
    assert "&lt;img src=x onerror=alert(1)&gt;.png" in page
    assert "&lt;script" in page
    assert "<img" not in page
    assert "<script" not in page


def test_a_table_that_holds_the_files_themselves_is_told_to_write_them(photos: Path) -> None:
    content = next(photos.glob("disc/*.jpg")).read_bytes()
    table = pa.table({"image": [{"bytes": content, "path": "a.jpg"}], "label": ["disc"]})
    parquet.write_table(table, photos.parent / "t.parquet")
    with pytest.raises(DataRefusedError, match=r"text, the path of each file: write contents to files; .*struct"):
        run(photos.parent / "t.parquet", "image", input="image", id=None)


def test_a_white_drawing_on_nothing_is_said_to_be_shown_on_white(photos: Path) -> None:
    drawing = Image.new("RGBA", (40, 40), (255, 255, 255, 0))
    drawing.paste((255, 255, 255, 255), (10, 10, 20, 20))
    drawing.save(photos / "disc" / "white.png")
    (reasons,) = quarantine(run(photos, "image")).values()
    assert reasons == [
        "image_not_constant: 'every pixel has the same colour, with its transparent parts shown on white; give it a"
        " background'"
    ]

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from mlflow import MlflowClient
from pyarrow import parquet

from benchmarks.scores.projects import write_data_pointer
from graftline.errors import DataRefusedError, RegistryRefusedError, SettingsError
from graftline.settings import DataSettings
from graftline.tasks.data.dvc_folder import objects_folder
from graftline.tasks.registry.named import VersionName, find_named
from graftline.tasks.tracking.git import git
from graftline.tasks.watching.feedback import read_feedback
from graftline.tasks.watching.held_out import HeldOutRows
from graftline.tasks.watching.looking import promised_by
from graftline.tasks.watching.page import log_looks, write_page
from graftline.tasks.watching.reference import Reference, reference_of
from graftline.tasks.watching.watched import Watched, newest_over, watch_champion
from graftline.tasks.workspace import Workspace
from tests.support.served_log import FIRST_DAY, ServedDay, serve_days, served_file
from tests.support.tiny_project import MODEL, ROWS, Line, rows_as_csv


@pytest.fixture
def reference(adapted: Line) -> Iterator[Reference]:
    """Of the champion of a tiny project; what tests write about it goes afterwards."""
    version = find_named(adapted.workspace, VersionName(MODEL, "champion"))
    yield reference_of(adapted.workspace, adapted.settings, HeldOutRows(adapted.workspace, adapted.data), version)
    for folder in ("artifacts/served", "artifacts/watch", "feedback"):
        shutil.rmtree(adapted.workspace.root / folder, ignore_errors=True)


def watch(adapted: Line, days: int, margin: float = 0.05) -> Watched:
    until = FIRST_DAY + timedelta(days=days - 1)
    return watch_champion(adapted.workspace, adapted.settings, MODEL, until, margin=margin)


def label(adapted: Line, days: list[ServedDay], right: float, *, name: str = "labels.csv") -> None:
    """Labels such that this share of the answers is right."""
    lines = ["id,label"]
    for day in days:
        for number, (one, answer) in enumerate(zip(day.ids, day.answers, strict=True)):
            other = "good" if answer == "bad" else "bad"
            lines.append(f"{one},{answer if number < right * len(day.ids) else other}")
    folder = adapted.workspace.root / "feedback"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n")


def test_the_reference_is_what_the_model_itself_says_of_the_held_out_rows(adapted: Line, reference: Reference) -> None:
    from graftline.answers.predicting import predictor_of
    from graftline.tasks.data.accepted_rows import questions

    texts = questions(adapted.workspace, adapted.data, "test")
    predictor = predictor_of(adapted.checkpoint.folder.path / "model")
    features = predictor.features([str(text) for text in texts])
    assert reference.rows.features is not None
    assert np.allclose(reference.rows.features, features.vectors.numpy(), atol=2e-3)
    assert reference.about.promised == pytest.approx(_accuracy(adapted))
    assert {"bytes", "characters", "words"} <= set(reference.about.facts)
    assert len(reference.rows) == adapted.data.split_rows["test"]


def test_days_like_the_held_out_rows_raise_no_alarm_and_moved_ones_do(adapted: Line, reference: Reference) -> None:
    serve_days(adapted.workspace, reference, 6)
    calm = watch(adapted, 6)
    assert [look.number for look in calm.new] == [1, 2, 3, 4, 5, 6]
    assert calm.looks[-1].alarms == {}
    serve_days(adapted.workspace, reference, 4, moved=2.0, first=FIRST_DAY + timedelta(days=6))
    moved = watch(adapted, 10)
    assert {"features_distance", "features_classifier"} <= moved.looks[-1].alarms.keys()
    assert min(moved.looks[-1].alarms.values()) > 6


def test_a_day_is_looked_at_once_however_often_one_asks(adapted: Line, reference: Reference) -> None:
    serve_days(adapted.workspace, reference, 3)
    first, again = watch(adapted, 3), watch(adapted, 3)
    assert again.new == []
    assert again.looks == first.looks


def test_looks_one_by_one_are_those_of_a_single_watch(adapted: Line, reference: Reference) -> None:
    serve_days(adapted.workspace, reference, 3)
    together = watch(adapted, 3).looks
    shutil.rmtree(adapted.workspace.artifacts / "watch")
    alone = [watch(adapted, day).new[0] for day in (1, 2, 3)]
    # All but when each was had, which the next one's digest holds.
    found, expected = ([replace(look, had=None, previous_sha256=None) for look in looks] for looks in (alone, together))
    assert found == expected


def test_few_rows_wait_for_those_of_the_next_day(adapted: Line, reference: Reference) -> None:
    serve_days(adapted.workspace, reference, 3, rows=12)
    (look,) = watch(adapted, 3).looks
    assert (look.first, look.last, look.rows) == (FIRST_DAY, FIRST_DAY + timedelta(days=1), 24)


def test_few_rows_a_day_are_compared_also_where_each_day_brings_a_label(adapted: Line, reference: Reference) -> None:
    days = serve_days(adapted.workspace, reference, 7, rows=8, moved=2.0)
    label(adapted, [replace(day, ids=day.ids[:1], answers=day.answers[:1]) for day in days], 1.0)
    looks = watch(adapted, 7).looks
    assert [look.labelled for look in looks] == [1] * 7
    assert [look.compared for look in looks] == [0, 0, 24, 0, 0, 24, 0]
    assert looks[2].tested["features_distance"].p < 0.01


def test_a_label_of_an_id_with_several_answers_counts_for_none(adapted: Line, reference: Reference) -> None:
    (day,) = serve_days(adapted.workspace, reference, 1)
    rows = parquet.read_table(served_file(adapted.workspace, MODEL, FIRST_DAY))
    one_id = pa.array(["7"] * 39 + ["8"])
    parquet.write_table(rows.set_column(0, "id", one_id), served_file(adapted.workspace, MODEL, FIRST_DAY))
    assert set(day.answers[:39]) == {"bad", "good"}
    label(adapted, [replace(day, ids=["7", "8"], answers=[day.answers[0], day.answers[-1]])], 1.0)
    assert watch(adapted, 1).looks[-1].labelled == 1


def test_labels_are_read_as_the_settings_spell_them_in_folders_too(adapted: Line, reference: Reference) -> None:
    (day,) = serve_days(adapted.workspace, reference, 1)
    spelled = adapted.settings.data.model_copy(update={"label_aliases": {"fine": "good", "poor": "bad"}})
    folder = adapted.workspace.root / "feedback" / "november"
    folder.mkdir(parents=True)
    other = {"good": "fine", "bad": "poor"}
    rows = [{"id": one, "label": other[answer]} for one, answer in zip(day.ids, day.answers, strict=True)]
    (folder / "labels.ndjson").write_text("\n".join(map(json.dumps, [*rows, {"id": "x", "label": None}])))
    settings = adapted.settings.model_copy(update={"data": spelled})
    look = watch_champion(adapted.workspace, settings, MODEL, FIRST_DAY, margin=0.05).looks[-1]
    assert (look.labelled, look.day_score) == (40, 1.0)


def test_what_is_no_number_is_no_label_of_a_regression(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "feedback").mkdir()
    (tmp_path / "feedback" / "labels.csv").write_text("id,label\na,n/a\nb,2.5\nc,nan\n")
    settings = DataSettings(path="data/x.csv", kind="text", task="regression", input="text", target="y")
    assert [one.label for one in read_feedback(Workspace(tmp_path), settings).values()] == ["2.5"]
    assert "2 rows hold no id or no label" in caplog.text


def test_a_split_that_changed_is_no_reference(adapted: Line, reference: Reference) -> None:
    serve_days(adapted.workspace, reference, 1)
    data = adapted.settings.data.model_copy(update={"test_share": 0.5})
    changed = adapted.settings.model_copy(update={"data": data})
    with pytest.raises(RegistryRefusedError, match=r"another split .* may be rows that it learned from"):
        watch_champion(adapted.workspace, changed, MODEL, FIRST_DAY, margin=0)


@pytest.fixture
def later_data(adapted: Line) -> Iterator[Path]:
    """The project has gone on to a next version of its data. Gives: the cache's listing of the one before."""
    root, before = adapted.workspace.root, rows_as_csv()
    listing = objects_folder(root) / adapted.data.data.version[:2] / f"{adapted.data.data.version[2:]}.dir"
    content, pointer = listing.read_bytes(), (root / "data.dvc").read_text()
    (root / "data" / "rows.csv").write_text(rows_as_csv(ROWS + 40))
    write_data_pointer(root)
    yield listing
    (root / "data" / "rows.csv").write_text(before)
    (root / "data.dvc").write_text(pointer)
    listing.write_bytes(content)


@pytest.mark.usefixtures("later_data")
def test_after_the_data_have_gone_on_the_reference_is_what_the_version_was_judged_on(
    adapted: Line, reference: Reference
) -> None:
    serve_days(adapted.workspace, reference, 1)
    about = watch(adapted, 1).reference.about
    assert (about.test_sha256, about.note) == (adapted.data.test_sha256, "")


def test_where_its_data_are_not_to_be_had_the_watch_says_so(
    adapted: Line, reference: Reference, later_data: Path
) -> None:
    later_data.unlink()
    serve_days(adapted.workspace, reference, 1)
    watched = watch(adapted, 1)
    assert watched.reference.about.test_sha256 != adapted.data.test_sha256
    assert "its own data version" in watched.reference.about.note
    assert "is not to be had" in write_page(adapted.workspace, watched.reference.about, watched.looks).read_text()


@pytest.mark.usefixtures("later_data")
@pytest.mark.parametrize("lost", ["provenance.json", "data.dvc"])
def test_a_version_that_does_not_tell_its_data_is_watched_all_the_same(
    adapted: Line, reference: Reference, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    root, run = adapted.workspace.root, MlflowClient().get_run(reference.about.run_id)
    note = Path(str(run.info.artifact_uri).removeprefix("file://")) / "provenance.json"
    content = note.read_bytes()
    if lost == note.name:
        note.unlink()
    else:  # it was trained on data that no .dvc file named, and the project has one by now
        commit = without(root, lost)
        note.write_text(json.dumps({**json.loads(content), "git_commit": commit, "data_version": "unversioned"}))
    serve_days(adapted.workspace, reference, 1)
    try:
        assert lost in watch(adapted, 1).reference.about.note
    finally:
        note.write_bytes(content)


def without(root: Path, name: str) -> str:
    """A commit like the present one but for a file, which no branch holds."""
    entries = [line for line in str(git(root, "ls-tree", "HEAD")).splitlines() if not line.endswith(f"\t{name}")]
    made = partial(subprocess.run, cwd=root, capture_output=True, check=True, text=True)
    tree = made(["git", "mktree"], input="\n".join(entries) + "\n").stdout.strip()
    return str(git(root, "-c", "user.name=x", "-c", "user.email=x@y", "commit-tree", tree, "-m", "without"))


def test_labels_that_come_later_are_joined_by_id_and_counted_once(adapted: Line, reference: Reference) -> None:
    days = serve_days(adapted.workspace, reference, 3)
    assert watch(adapted, 2).looks[-1].score is None
    label(adapted, days[:2], 0.75)
    with_labels = watch(adapted, 3).looks[-1]
    assert with_labels.labelled == 80
    assert with_labels.score is not None
    assert with_labels.score.value == pytest.approx(0.75)
    label(adapted, days, 0.75, name="more.csv")
    serve_days(adapted.workspace, reference, 1, first=FIRST_DAY + timedelta(days=3))
    assert watch(adapted, 4).looks[-1].labelled == 40


def test_true_scores_below_the_promise_raise_an_alarm_and_those_above_do_not(
    adapted: Line, reference: Reference
) -> None:
    days = serve_days(adapted.workspace, reference, 5)
    label(adapted, days, 0.4)
    assert "score" in watch(adapted, 5).looks[-1].alarms
    shutil.rmtree(adapted.workspace.artifacts / "watch")
    label(adapted, days, 1.0)
    assert "score" not in watch(adapted, 5).looks[-1].alarms


def test_held_out_rows_that_were_lucky_promise_no_more_than_so_few_of_them_can(
    adapted: Line, reference: Reference
) -> None:
    rows = np.arange(len(reference.right))
    lucky = replace(
        reference,
        about=replace(reference.about, promised=0.9),
        right=(rows < 0.9 * len(rows)).astype(float),
    )
    assert promised_by(lucky, 0.02) < 0.8
    many = replace(lucky, right=np.tile(lucky.right, 1_000))
    assert promised_by(many, 0.02) == pytest.approx(0.88)


def test_a_number_that_half_precision_cannot_hold_raises_no_alarm(adapted: Line, reference: Reference) -> None:
    serve_days(adapted.workspace, reference, 8, large=1e6)
    looks = watch(adapted, 8).looks
    assert min(look.tested["features_distance"].p for look in looks) > 1e-3
    assert looks[-1].alarms == {}


def test_a_label_with_a_time_counts_from_then_on(adapted: Line, reference: Reference) -> None:
    (day, *_) = serve_days(adapted.workspace, reference, 3)
    folder = adapted.workspace.root / "feedback"
    folder.mkdir()
    came = datetime.combine(FIRST_DAY + timedelta(days=2), datetime.min.time(), UTC).isoformat()
    lines = [
        json.dumps({"id": one, "label": answer, "time": came}) for one, answer in zip(day.ids, day.answers, strict=True)
    ]
    (folder / "late.jsonl").write_text("\n".join(lines))
    assert [look.labelled for look in watch(adapted, 3).looks] == [0, 0, 40]


@pytest.mark.parametrize("change", ["edit", "remove"])
def test_a_look_that_was_changed_is_noticed(adapted: Line, reference: Reference, change: str) -> None:
    serve_days(adapted.workspace, reference, 3)
    watch(adapted, 3)
    (folder,) = (adapted.workspace.artifacts / "watch" / MODEL).glob(f"1-{reference.about.run_id[:12]}")
    file = folder / "000002.json"
    if change == "remove":
        file.unlink()
    else:
        file.write_text(file.read_text().replace('"rows": 40', '"rows": 41'))
    with pytest.raises(RegistryRefusedError, match="a look was edited or removed"):
        watch(adapted, 3)


def test_rows_of_other_versions_are_not_looked_at(adapted: Line, reference: Reference) -> None:
    other = Reference(
        type(reference.about)(**{**vars(reference.about), "run_id": "another", "version": 9}),
        reference.rows,
        reference.right,
    )
    serve_days(adapted.workspace, other, 2)
    assert watch(adapted, 2).looks == []


def test_a_day_that_is_not_over_and_a_model_that_was_never_served_are_refused(
    adapted: Line, reference: Reference
) -> None:
    with pytest.raises(DataRefusedError, match="nothing was logged"):
        watch(adapted, 2)
    with pytest.raises(SettingsError, match="is not over yet"):
        watch_champion(adapted.workspace, adapted.settings, MODEL, datetime.now(UTC).date(), margin=0)


def test_a_day_is_over_when_its_last_rows_must_be_written() -> None:
    midnight = datetime(2026, 11, 30, tzinfo=UTC)
    assert newest_over(midnight + timedelta(minutes=119)) == date(2026, 11, 28)
    assert newest_over(midnight + timedelta(minutes=120)) == date(2026, 11, 29)


def test_a_file_that_holds_no_served_rows_is_named(adapted: Line, reference: Reference) -> None:
    serve_days(adapted.workspace, reference, 1)
    served_file(adapted.workspace, MODEL, FIRST_DAY).write_bytes(b"no table")
    with pytest.raises(DataRefusedError, match="holds no served rows"):
        watch(adapted, 1)


def test_feedback_without_ids_is_refused_with_what_is_missing(adapted: Line, reference: Reference) -> None:
    serve_days(adapted.workspace, reference, 1)
    (adapted.workspace.root / "feedback").mkdir()
    (adapted.workspace.root / "feedback" / "wrong.csv").write_text("key,label\n1,good\n")
    with pytest.raises(DataRefusedError, match="no column id"):
        watch(adapted, 1)


def test_the_page_and_mlflow_tell_each_look_once(adapted: Line, reference: Reference) -> None:
    serve_days(adapted.workspace, reference, 3)
    for days in (2, 3, 3):
        looks = watch(adapted, days).looks
        page = write_page(adapted.workspace, reference.about, looks)
        run_id = log_looks(adapted.workspace, reference.about, looks, page)
    told = page.read_text()
    assert "Nothing has shown a change" in told
    assert "<script" not in told
    history = MlflowClient().get_metric_history(run_id, "evidence/facts")
    assert [metric.step for metric in history] == [1, 2, 3]
    assert MlflowClient().get_run(run_id).info.status == "FINISHED"


def _accuracy(adapted: Line) -> float:
    scores = json.loads((adapted.evaluation.folder.path / "evaluation.json").read_text())["scores"]
    return float(scores["accuracy"]["value"])

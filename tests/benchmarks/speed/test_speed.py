"""The speed benchmarks: their shape and their arithmetic, never how fast anything is."""

import math
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.problems.long_reviews import LONGER, long_review_task
from benchmarks.problems.problem import Labelled, Task
from benchmarks.problems.tones import tone_task
from benchmarks.sides.turns import Bench, Measured, Outcome, Row, Side, by_turns, ratios, shortfalls
from benchmarks.speed.__main__ import COMPARISONS, Size, run
from benchmarks.speed.arithmetic import useful_gflops
from benchmarks.speed.machine import fast_precision
from benchmarks.speed.results import BEGIN, END, NOT_YET, PAGE, PICTURE, read_results, tables, write_results
from graftline.models.preprocessing import Reading
from tests.support.tiny_media import tiny_images, write_tiny_audio_model, write_tiny_image_model
from tests.support.tiny_models import BLOCKS, READING, WIDTH, tiny_preprocessor, tiny_texts, write_tiny_model

ROWS, TEST_ROWS, REPEATS = 12, 6, 1
INTERMEDIATE = 24
WORDS = 10


def text_task(folder: Path) -> Task:
    texts, targets = tiny_texts(ROWS + TEST_ROWS)
    base = write_tiny_model(folder / "text model")
    return Task(
        base, READING, ("bad", "good"), Labelled(texts[:ROWS], targets[:ROWS]), Labelled(texts[ROWS:], targets[ROWS:])
    )


def image_task(folder: Path) -> Task:
    files, targets = tiny_images(ROWS + TEST_ROWS)
    base = write_tiny_image_model(folder / "image model", "timm efficientnet")
    train, test = Labelled(files[:ROWS], targets[:ROWS]), Labelled(files[ROWS:], targets[ROWS:])
    return Task(base, Reading("image"), ("0", "1"), train, test)


def sound_task(folder: Path) -> Task:
    return tone_task(write_tiny_audio_model(folder / "sound model", "whisper"), rows=ROWS, test_rows=TEST_ROWS)


def measured(*seconds: float, accuracies: tuple[float, ...] = (), work: float = 1.0) -> Measured:
    return Measured("", seconds, (work,) * len(seconds), accuracies)


@pytest.mark.long
def test_every_comparison_fills_its_lines_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.sides.turns.TRIALS", 1)
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    (out / PAGE).write_text(f"before\n{BEGIN}\nold\n{END}\nbehind\n")
    makers = {
        "text": lambda: text_task(tmp_path),
        "image": lambda: image_task(tmp_path),
        "audio": lambda: sound_task(tmp_path),
    }
    run(
        COMPARISONS, makers, Size(ROWS, TEST_ROWS, REPEATS),  # type: ignore[arg-type]
        out=out, scratch=scratch, threads=1, peak_seconds=0.001,
    )  # fmt: skip
    results = read_results(out)
    assert list(results) == sorted(comparison.name for comparison in COMPARISONS)
    for comparison in COMPARISONS:
        sides = results[comparison.name].sides
        named = {name for row in comparison.rows for name in (row.ours, row.against)}
        # A processor that only emulates bfloat16 says nothing about it.
        assert {name for name in named if fast_precision() in name or "bfloat16" not in name} <= sides.keys()
        for side in sides.values():
            assert min(side.seconds) > 0
            assert all(0 <= accuracy <= 1 for accuracy in side.accuracies)
    page = (out / PAGE).read_text()
    assert page.startswith("before\n")
    assert page.endswith("\nbehind\n")
    assert (NOT_YET in page) == (fast_precision() == "float32")
    assert (out / PICTURE).read_text().count("<svg") == 1
    # From the file come the same tables and the same picture.
    picture = (out / PICTURE).read_bytes()
    write_results(out, COMPARISONS, results)
    assert (out / PAGE).read_text() == page
    assert (out / PICTURE).read_bytes() == picture


def test_what_was_not_measured_stands_in_the_table_with_its_target() -> None:
    table = tables(COMPARISONS, {})
    assert table.count(NOT_YET) == sum(len(comparison.rows) for comparison in COMPARISONS)
    assert "| feature extraction, 5 epochs' worth | ours | Trainer, defaults | at least 40x |" in table


def test_sides_take_turns_and_each_turn_has_its_own_seed(tmp_path: Path) -> None:
    called: list[tuple[str, str, int]] = []

    def side(name: str, *, once: bool = False) -> Side[str]:
        def ran(task: str, seed: int) -> Outcome:
            called.append((name, task, seed))
            return Outcome(1.0)

        return Side(name, "", ran, once)

    bench = Bench(repeats=2, fast="float32", scratch=tmp_path, peak_seconds=0.0, say=lambda _: None)
    result = by_turns(bench, [side("a"), side("b"), side("c", once=True)], "whole", small="small")
    assert called[:3] == [("a", "small", 0), ("b", "small", 0), ("c", "small", 0)]
    assert called[3:6] == [("a", "whole", 0), ("b", "whole", 0), ("c", "whole", 0)]
    assert called[6:] == [("b", "whole", 1), ("a", "whole", 1)]
    assert [len(result[name].seconds) for name in "abc"] == [2, 2, 1]


def test_quotients_are_taken_within_each_turn() -> None:
    ours, against = measured(1.0, 2.0, 4.0), measured(10.0, 40.0, 40.0)
    assert ratios(ours, against) == (10.0, 10.0, 20.0)
    share = measured(2.0, work=30.0), measured(1.0, work=20.0)
    assert ratios(*share) == (0.75, 0.75, 0.75)


@pytest.mark.parametrize(
    ("seconds", "accuracy", "expected"),
    [
        (1.0, 0.8951, []),
        (1.0, 0.8949, ["accuracy"]),
        (2.1, 0.9, ["speed"]),
        (4.0, 0.1, ["speed", "seconds", "accuracy"]),
    ],
)
def test_a_target_is_reached_by_speed_seconds_and_accuracy_together(
    seconds: float, accuracy: float, expected: list[str]
) -> None:
    row = Row("", "ours", "against", target=5, most_seconds=3)
    ours, against = measured(seconds, accuracies=(accuracy,)), measured(10.0, accuracies=(0.9,))
    assert shortfalls(row, ours, against) == expected


def test_useful_work_is_that_of_the_matrix_products_of_each_text_alone(tmp_path: Path) -> None:
    task, preprocessor = text_task(tmp_path), tiny_preprocessor(tmp_path / "text model")
    linear = 2 * (4 * WIDTH**2 + 2 * WIDTH * INTERMEDIATE)
    lengths = [preprocessor.length(row) for row in preprocessor.encode(task.train.inputs)]
    expected = sum(BLOCKS * (linear * length + 4 * length**2 * WIDTH) for length in lengths)
    assert math.isclose(sum(useful_gflops(task)), expected / 1e9)


def test_long_texts_are_made_of_snippets_of_their_label_each_used_once(tmp_path: Path) -> None:
    snippets = [(f"{'good' if row % 2 else 'bad'}{row} a b c d e f g h i", "ab"[row % 2]) for row in range(160)]
    task = long_review_task(snippets, tmp_path, rows=20, test_rows=10)
    texts = [*task.train.inputs, *task.test.inputs]
    targets = [*task.train.targets, *task.test.targets]
    assert (len(task.train.inputs), len(task.test.inputs), task.labels) == (20, 10, ("a", "b"))
    used = Counter(word for text in texts for word in text.split() if word.startswith(("good", "bad")))
    assert set(used.values()) == {1}
    for text, target in zip(texts, targets, strict=True):
        assert len(text.split()) >= LONGER * WORDS
        assert ("bad" in text, "good" in text) == (target == 0, target == 1)
    with pytest.raises(ValueError, match="lower --rows"):
        long_review_task(snippets, tmp_path, rows=60, test_rows=10)

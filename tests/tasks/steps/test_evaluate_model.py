"""The candidate's numbers are those of its predictions, and the champion is scored on the same rows."""

import dataclasses
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet
from sklearn.metrics import accuracy_score, f1_score, log_loss

from graftline.answers.tasks import TASKS
from graftline.errors import RegistryRefusedError
from graftline.evaluation.given import with_answers
from graftline.evaluation.metrics import Floats
from graftline.evaluation.row_gains import row_gains
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import read_split
from graftline.tasks.registry.looks import Choice
from graftline.tasks.registry.records import Look
from graftline.tasks.serving.trial import Scored
from graftline.tasks.step_folders import StepFolder
from graftline.tasks.steps.baselines import Baselines, baselines
from graftline.tasks.steps.champion import Champion
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.held_out import predictions_sha256
from graftline.tasks.steps.report_tables import tables_of
from tests.support.tiny_project import LABELS, MODEL, Line


def predicted(evaluation: Evaluation) -> tuple[list[str], Floats]:
    table = parquet.read_table(evaluation.folder.path / "predictions.parquet")
    columns = [table[f"probability.{label}"].to_numpy() for label in LABELS]
    return table["target"].to_pylist(), np.stack(columns, axis=1)


def evaluate(line: Line, champion: Champion | None) -> Evaluation:
    return evaluate_model.fn(line.workspace, line.settings, line.data, line.checkpoint, line.baselines, champion)


def test_the_scores_are_those_of_the_kept_predictions(adapted: Line) -> None:
    targets, probabilities = predicted(adapted.evaluation)
    answers = [LABELS[place] for place in probabilities.argmax(1)]
    scores = {name: score["value"] for name, score in adapted.evaluation.scores.items()}
    assert scores["accuracy"] == pytest.approx(accuracy_score(targets, answers))
    assert scores["macro_f1"] == pytest.approx(f1_score(targets, answers, average="macro"))
    assert scores["log_loss"] == pytest.approx(log_loss(targets, probabilities, labels=list(LABELS)))
    assert set(scores) == {"accuracy", "macro_f1", "log_loss", "calibration_error"}


def test_the_tiny_model_learns_what_decides_about_the_label(adapted: Line) -> None:
    assert adapted.evaluation.baselines["majority"].differences["accuracy"].low > 0


def test_exactly_the_held_out_rows_are_scored(adapted: Line) -> None:
    rows = read_split(adapted.data, "test", ["row_id", "target"])
    table = parquet.read_table(adapted.evaluation.folder.path / "predictions.parquet")
    assert table["row_id"].to_pylist() == rows["row_id"]
    assert adapted.evaluation.held_out.rows == len(rows["row_id"]) == adapted.data.split_rows["test"]


def test_every_value_of_a_slice_is_scored_and_all_rows_are_in_one(adapted: Line) -> None:
    slices = adapted.evaluation.held_out.slices
    values = Counter(read_split(adapted.data, "test", ["slice.source"])["slice.source"])
    assert {part.value: part.rows for part in slices["source"]} == values
    assert all(set(part.scores) == set(adapted.evaluation.scores) for part in slices["source"])


def test_the_baseline_knows_the_training_rows_only(adapted: Line) -> None:
    majority = adapted.evaluation.held_out.majority
    (label, _), *_ = Counter(read_split(adapted.data, "train", ["target"])["target"]).most_common()
    targets, _ = predicted(adapted.evaluation)
    assert majority.label == label
    scores = adapted.evaluation.baselines["majority"].scores
    assert scores["accuracy"].value == pytest.approx(targets.count(label) / len(targets))


def test_pictures_are_pictures(adapted: Line) -> None:
    pictures = adapted.evaluation.held_out.pictures
    assert len(pictures) == 2
    for name in pictures.values():
        assert (adapted.evaluation.folder.path / name).read_bytes().startswith(b"\x89PNG")


def digest_of(names: list[str], values: np.ndarray) -> str:
    return predictions_sha256(names, values, TASKS["single_label"].scores.is_same)


def test_the_digest_of_predictions_does_not_depend_on_the_order_of_the_rows() -> None:
    values = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]])
    assert digest_of(["a", "b", "c"], values) == digest_of(["c", "a", "b"], values[[2, 0, 1]])


def test_the_digest_of_predictions_changes_with_the_last_bit_and_with_a_name() -> None:
    values = np.array([[0.25, 0.75]])
    digest = digest_of(["a"], values)
    assert digest_of(["a"], np.nextafter(values, 1)) != digest
    assert digest_of(["b"], values) != digest


def test_the_digest_of_predictions_changes_with_an_answer_that_is_not_the_likeliest() -> None:
    values = np.array([[0.25, 0.75]])
    assert digest_of(["a"], with_answers(values, np.array([[False, True]]))) == digest_of(["a"], values)
    assert digest_of(["a"], with_answers(values, np.array([[True, False]]))) != digest_of(["a"], values)


def champion_answers(patch: pytest.MonkeyPatch, answer: Scored | RegistryRefusedError) -> None:
    def asked(*_: object, **__: object) -> Scored:
        if isinstance(answer, RegistryRefusedError):
            raise answer
        return answer

    patch.setattr("graftline.tasks.steps.champion.score_in_fresh_process", asked)


def test_a_champion_that_answers_alike_differs_by_nothing(adapted: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    _, probabilities = predicted(adapted.evaluation)
    champion_answers(monkeypatch, Scored("single_label", ["good", "bad"], probabilities[:, ::-1]))
    evaluation = evaluate(adapted, Champion(MODEL, 901))
    compared = evaluation.comparison
    assert compared is not None
    assert {name: score.as_json() for name, score in compared.scores.items()} == evaluation.scores
    assert {(score.value, score.low, score.high) for score in compared.differences.values()} == {(0.0, 0.0, 0.0)}
    assert (compared.gains.better, compared.gains.worse) == (0, 0)


def test_the_difference_is_the_candidates_score_minus_the_champions(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, _ = predicted(adapted.evaluation)
    always_bad = np.tile([0.9, 0.1], (len(targets), 1))
    champion_answers(monkeypatch, Scored("single_label", ["bad", "good"], always_bad))
    evaluation = evaluate(adapted, Champion(MODEL, 902))
    compared = evaluation.comparison
    assert compared is not None
    assert compared.scores["accuracy"].value == pytest.approx(targets.count("bad") / len(targets))
    for name, score in compared.differences.items():
        assert score.value == pytest.approx(evaluation.scores[name]["value"] - compared.scores[name].value)


def test_a_champion_is_scored_on_the_rows_that_it_was_not_chosen_by_too(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, _ = predicted(adapted.evaluation)
    names, some = read_split(adapted.data, "test", ["row_id"])["row_id"], len(targets) // 3
    # Right about every row that it was chosen by, and wrong about all others.
    right = np.array([target == "good" for target in targets]) == (np.arange(len(targets)) < some)
    champion_answers(monkeypatch, Scored("single_label", ["bad", "good"], np.stack([~right, right], 1).astype(float)))
    seen = row_gains(names[:some], np.ones(some))
    look = Look(
        level=0.05, spent=0.1, looks_before=1, rows=some, names=seen.names_text, names_in=None, gains=seen.gains_text,
        gain=0.026, error=0.01,
    )  # fmt: skip
    evaluation = evaluate(adapted, Champion(MODEL, 905, Choice(look, seen, by_verdict=True)))
    chosen, compared = evaluation.chosen, evaluation.comparison
    assert chosen is not None
    assert compared is not None
    assert chosen.scores is not None
    assert (chosen.rows, chosen.others, chosen.scores["accuracy"].value) == (some, len(targets) - some, 0.0)
    assert compared.scores["accuracy"].value == pytest.approx(some / len(targets))
    assert chosen.corrected is not None
    assert 0 < chosen.corrected < 0.02 < chosen.gain == 0.026
    table = next(one for one in tables_of(evaluation, adapted.candidate, ()) if one.title == "The champion's luck")
    assert table.rows[1][1:] == (f"{len(targets) - some:,}", "0.0000 (0.0000 – 0.0000)")
    assert "version 905 became champion because it was better on rows that are held out here" in table.lead
    assert evaluate(adapted, Champion(MODEL, 905)).chosen is None  # it was no one's rival


def test_a_champion_that_other_rows_chose_has_no_luck_with_these(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, predictions = predicted(adapted.evaluation)
    champion_answers(monkeypatch, Scored("single_label", ["bad", "good"], predictions))
    seen = row_gains([f"elsewhere {number}" for number in range(40)], np.ones(40))
    look = Look(
        level=0.05, spent=0.1, looks_before=1, rows=40, names=seen.names_text, names_in=None, gains=seen.gains_text,
        gain=0.026, error=0.01,
    )  # fmt: skip
    evaluation = evaluate(adapted, Champion(MODEL, 906, Choice(look, seen, by_verdict=True)))
    table = next(one for one in tables_of(evaluation, adapted.candidate, ()) if one.title == "The champion's luck")
    assert "because it was better on other rows than those held out here" in table.lead
    assert "its score here" not in table.lead
    assert table.rows[1][1] == f"{len(targets):,}"


def test_the_parts_of_the_rows_are_compared_one_by_one(adapted: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    targets, probabilities = predicted(adapted.evaluation)
    always_bad = np.tile([0.9, 0.1], (len(targets), 1))
    champion_answers(monkeypatch, Scored("single_label", ["bad", "good"], always_bad))
    compared = evaluate(adapted, Champion(MODEL, 904)).comparison
    assert compared is not None
    parts = {(part.column, part.value): part.gains for part in compared.slices}
    rows = len(targets)
    for column in ("class", "source", "input length"):
        assert sum(gains.rows for (name, _), gains in parts.items() if name == column) == rows
    right = probabilities.argmax(1) == np.array([LABELS.index(target) for target in targets])
    good = np.array([target == "good" for target in targets])
    # The champion is never right about a good row, and always about a bad one.
    assert (parts["class", "good"].better, parts["class", "good"].worse) == ((right & good).sum(), 0)
    assert (parts["class", "bad"].better, parts["class", "bad"].worse) == (0, (~right & ~good).sum())


def test_the_quarters_of_the_inputs_length_are_those_of_the_training_rows(adapted: Line) -> None:
    slices = adapted.evaluation.held_out.slices
    lengths = {side: list(map(len, read_split(adapted.data, side, ["input"])["input"])) for side in ("train", "test")}
    edges = [int(edge) for edge in np.quantile(lengths["train"], [0.25, 0.5, 0.75], method="inverted_cdf")]
    found = {part.value: part.rows for part in slices["input length"]}
    assert found[f"up to {edges[0]} characters"] == sum(length <= edges[0] for length in lengths["test"])
    assert found[f"above {edges[2]} characters"] == sum(length > edges[2] for length in lengths["test"])


def test_a_champion_that_cannot_be_scored_is_an_obstacle_and_not_an_error(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion_answers(monkeypatch, RegistryRefusedError("its files are gone"))
    evaluation = evaluate(adapted, Champion(MODEL, 903))
    assert evaluation.obstacle == "champion version 903 could not be scored: its files are gone"
    assert evaluation.comparison is None


def test_the_same_candidate_champion_and_rows_are_scored_once(adapted: Line) -> None:
    again = evaluate(adapted, adapted.champion)
    assert again == dataclasses.replace(adapted.evaluation, folder=reused(adapted.evaluation.folder))


def test_another_seed_of_the_resamples_is_another_evaluation_of_the_same_predictions(adapted: Line) -> None:
    settings = Settings.model_validate(adapted.settings.model_dump() | {"evaluation": {"bootstrap": 100, "seed": 1}})
    other = evaluate_model.fn(adapted.workspace, settings, adapted.data, adapted.checkpoint, adapted.baselines, None)
    assert other.folder.outcome == "ran"
    assert other.predictions_sha256 == adapted.evaluation.predictions_sha256
    assert other.scores["accuracy"]["value"] == adapted.evaluation.scores["accuracy"]["value"]


def reused(folder: StepFolder) -> StepFolder:
    return dataclasses.replace(folder, outcome="reused")


def test_the_temperature_in_the_models_folder_is_that_of_the_training(adapted: Line) -> None:
    described = json.loads((adapted.checkpoint.model / "graftline.json").read_text())
    assert described["outputs"]["temperature"] == adapted.checkpoint.temperature
    calibration = adapted.evaluation.held_out.calibration
    assert calibration.temperature == adapted.checkpoint.temperature


def test_a_temperature_changes_probabilities_once_and_no_label(adapted: Line, tmp_path: Path) -> None:
    model = Path(shutil.copytree(adapted.checkpoint.model, tmp_path / "model"))
    described = json.loads((model / "graftline.json").read_text())
    described["outputs"]["temperature"] = 0.5
    (model / "graftline.json").write_text(json.dumps(described))
    folder = dataclasses.replace(adapted.checkpoint.folder, key="calibrated")
    checkpoint = dataclasses.replace(adapted.checkpoint, model=model, temperature=0.5, folder=folder)
    evaluation = evaluate(dataclasses.replace(adapted, checkpoint=checkpoint), None)
    calibration = evaluation.held_out.calibration
    assert calibration.temperature == 0.5
    own = adapted.evaluation.held_out.calibration
    assert calibration.scores_before == own.scores_before
    targets, before = predicted(adapted.evaluation)
    sharper = before ** (adapted.checkpoint.temperature / 0.5)
    assert predicted(evaluation)[1] == pytest.approx(sharper / sharper.sum(1, keepdims=True))
    assert predicted(evaluation)[0] == targets
    for name in ("accuracy", "macro_f1"):
        assert evaluation.scores[name] == adapted.evaluation.scores[name]
    assert evaluation.scores["log_loss"] != adapted.evaluation.scores["log_loss"]


@pytest.fixture
def with_frozen(adapted: Line) -> Baselines:
    """Baselines with the frozen base model among them, which the tiny project's policy leaves out."""
    return baselines.fn(adapted.workspace, adapted.settings, ["frozen_head"], adapted.data, adapted.base)


def test_changed_rows_groups_and_words_are_looked_at_as_the_settings_say(adapted: Line, with_frozen: Baselines) -> None:
    asked = {
        "bootstrap": 100, "changed_rows": 20, "groups": ["source"], "counterfactuals": ["two: one|many", "none: x|y"],
        "directions": ["great > awful: good", "unheard > unseen: good"],
    }  # fmt: skip
    settings = Settings.model_validate(adapted.settings.model_dump() | {"evaluation": asked})
    evaluation = evaluate_model.fn(adapted.workspace, settings, adapted.data, adapted.checkpoint, with_frozen, None)
    behaviour = evaluation.held_out.behaviour
    assert {count.name: count.rows for count in behaviour.changes} == dict.fromkeys(
        ["lower case", "upper case", "typos", "more whitespace"], 20
    )
    texts = read_split(adapted.data, "test", ["input"])["input"]
    (direction,) = behaviour.directions
    assert direction.rows == sum(word in text.split() for text in texts for word in ("great", "awful")) > 0
    # That is what the tiny model learned.
    assert direction.share > 0.5
    swapped = next(one for one in behaviour.disparities if one.name == "two")
    assert swapped.rows == sum(bool({"one", "many"} & set(text.split())) for text in texts) > 0
    assert swapped.amplification is not None
    assert swapped.amplification.value == pytest.approx(swapped.value - (swapped.frozen or 0))
    assert behaviour.left_out == [
        "no held-out row holds a word of 'unheard > unseen: good'",
        "source: fewer than two groups have 30 held-out rows to be compared",
        "no held-out row holds a word of none",
    ]


def test_groups_are_compared_with_what_the_frozen_base_model_says_of_them(
    adapted: Line, with_frozen: Baselines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graftline.behaviour.bias.SMALLEST_GROUP", 5)
    asked = {"bootstrap": 100, "seed": 7, "changed_rows": 0, "groups": ["source"]}
    settings = Settings.model_validate(adapted.settings.model_dump() | {"evaluation": asked})
    evaluation = evaluate_model.fn(adapted.workspace, settings, adapted.data, adapted.checkpoint, with_frozen, None)
    behaviour = evaluation.held_out.behaviour
    assert behaviour.changes == []
    right = next(one for one in behaviour.disparities if one.measure == "right answers")
    frozen = with_frozen.rivals["frozen_head"].predictions().argmax(1)
    targets = [LABELS.index(target) for target in read_split(adapted.data, "test", ["target"])["target"]]
    sources = np.array(read_split(adapted.data, "test", ["slice.source"])["slice.source"])
    shares = [(frozen == targets)[sources == source].mean() for source in set(sources)]
    assert right.frozen == pytest.approx(max(shares) - min(shares))
    assert right.amplification is not None


def test_what_the_settings_do_not_ask_for_is_not_looked_at(adapted: Line) -> None:
    behaviour = adapted.evaluation.held_out.behaviour
    assert (behaviour.directions, behaviour.disparities, behaviour.left_out) == ([], [], [])
    assert {count.rows for count in behaviour.changes} == {adapted.data.split_rows["test"]}

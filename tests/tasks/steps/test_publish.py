"""A run's pages and numbers lie in reports/, in MLflow and on the registered version, and agree."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

from mlflow import MlflowClient
from pydantic import JsonValue

from graftline.tasks.data.accepted_rows import read_split
from graftline.tasks.steps.fine_tune import SUMMARY, fine_tune
from graftline.tasks.steps.publish import REPORT, bound_pages, publish
from graftline.tasks.steps.report_tables import tables_of_training
from graftline.verdict.policy import read_policy
from tests.support.tiny_project import LABELS, MODEL, Line


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_report_tells_verdict_scores_and_how_it_was_made(adapted: Line) -> None:
    text = adapted.report.read_text(encoding="utf-8")
    for part in ("PROMOTE: tiny version 1", adapted.checkpoint.weights_sha256, adapted.base.digest,
                 adapted.data.data.version, "Per source", "201 read, 200 accepted, 1 quarantined"):  # fmt: skip
        assert part in text


def test_report_and_card_tell_what_was_looked_at_beside_the_scores(adapted: Line) -> None:
    card = (adapted.workspace.reports / "model_card.md").read_text(encoding="utf-8")
    trial = adapted.candidate.trial
    assert trial is not None
    for page in (adapted.report.read_text(encoding="utf-8"), card):
        for part in (
            "Changed inputs", "typos", "As a server", f"{trial.p95_milliseconds:g} ms", "it changes no label",
        ):  # fmt: skip
            assert part in page


def test_a_mean_of_weights_before_and_after_is_recorded_with_every_share_that_was_tried(adapted: Line) -> None:
    update = {"strategy": "probe_then_fine_tune", "average": "wise", "epochs": 1}
    settings = adapted.settings.adaptation.model_copy(update=update)
    done = fine_tune.fn(adapted.workspace, settings, adapted.data, adapted.base)
    written = cast("dict[str, JsonValue]", done.folder.read_json(SUMMARY))
    shutil.rmtree(done.folder.path)  # other tests look at what the project's run made
    assert written["between"] == list(done.between)
    assert "between" not in cast("dict[str, JsonValue]", adapted.checkpoint.folder.read_json(SUMMARY))

    (table,) = tables_of_training(done, "accuracy", "log loss")
    assert [row[0] for row in table.rows] == ["0", *(f"0.{tenth}" for tenth in range(1, 10)), "1"]
    taken = next(row for row in table.rows if row[0] == f"{done.between[0]['share']:g}")
    assert table.title == f"Between base model and fine-tuned: {taken[0]} taken"
    assert taken[1:] == (f"{done.between[0]['validation_score']:.4f}", f"{done.between[0]['validation_loss']:.4f}")
    assert tables_of_training(adapted.checkpoint, "accuracy", "log loss") == []


def test_the_report_says_what_was_found_of_the_held_out_labels(adapted: Line) -> None:
    said = "Of 50 held-out labels 3 look wrong (6.0%). None can do better."
    done = replace(adapted.done, inputs=replace(adapted.inputs, labels=said))
    drawn = bound_pages(adapted.workspace, lambda decision: replace(done, decision=decision))(adapted.decision)
    assert f"<p>{said}</p>" in drawn[REPORT].decode()
    assert "Wrong labels" not in adapted.report.read_text(encoding="utf-8")


def test_the_numbers_for_dvc_are_those_of_the_evaluation(adapted: Line) -> None:
    metrics = json.loads((adapted.workspace.reports / "metrics.json").read_text())
    assert metrics == {**adapted.evaluation.scores, "verdict": "PROMOTE"}


def test_the_plots_for_dvc_have_a_row_per_epoch_and_per_held_out_row(adapted: Line) -> None:
    reports = adapted.workspace.reports
    assert [int(row["number"]) for row in table(reports / "training.csv")] == [
        epoch["number"] for epoch in adapted.checkpoint.epochs
    ]
    cells = table(reports / "confusion.csv")
    right = sum(row["actual"] == row["predicted"] for row in cells)
    assert len(cells) == adapted.evaluation.held_out.rows
    assert right / len(cells) == adapted.evaluation.scores["accuracy"]["value"]
    assert {row["actual"] for row in cells} == set(LABELS)
    assert sum(int(row["rows"]) for row in table(reports / "reliability.csv")) == len(cells)


def test_the_model_card_is_the_versions_description(adapted: Line) -> None:
    card = (adapted.workspace.reports / "model_card.md").read_text(encoding="utf-8")
    head, section, rest = card.partition("\n## ")
    description = str(MlflowClient().get_model_version(MODEL, "1").description)
    assert description.startswith(head)
    assert description.endswith(section + rest)
    assert "go round the gate" in description
    for part in ("licence of the data | CC0", "1 quarantined", "**PROMOTE**"):
        assert part in card


def test_mlflow_keeps_the_same_report(adapted: Line) -> None:
    kept = MlflowClient().download_artifacts(adapted.run.run_id, "report.html")
    assert Path(kept).read_bytes() == adapted.report.read_bytes()


def test_every_axis_of_the_verdict_stands_in_report_card_and_file(adapted: Line) -> None:
    table = json.loads((adapted.workspace.reports / "verdict.json").read_text())
    card = (adapted.workspace.reports / "model_card.md").read_text(encoding="utf-8")
    report = adapted.report.read_text(encoding="utf-8")
    assert [axis["name"] for axis in table["axes"]] == [axis.name for axis in adapted.decision.axes]
    assert table["policy"]["floors"]["accuracy"] == 0.75
    for axis in adapted.decision.axes:
        assert (f"| {axis.name} | " in card) == axis.asked
        assert f'<th scope="row">{axis.name}</th>' in report
    assert [axis.name for axis in adapted.decision.axes if not axis.asked] == [
        "champion", "negative transfer", "serving", "robustness", "bias", "retention",
    ]  # fmt: skip
    assert "Not asked for: champion, negative transfer, serving, robustness, bias, retention" in report
    assert ">unknown" not in report.replace('<td class="value">unknown', "")  # the base model's licence is not known
    assert "| unknown |" not in card.replace("licence of the base model | unknown |", "")
    assert "| baseline | win |" in card, "one of two was left out, the other was beaten"
    tags = MlflowClient().get_model_version(MODEL, "1").tags
    assert tags["graftline.policy_sha256"] == table["policy_sha256"] == read_policy(adapted.workspace.policy).sha256
    assert json.loads(tags["graftline.axes"]) == {axis.name: axis.outcome for axis in adapted.decision.axes}


def test_publishing_again_writes_the_same_bytes(adapted: Line) -> None:
    before = {path.name: path.read_bytes() for path in adapted.workspace.reports.iterdir()}
    publish.fn(adapted.workspace, adapted.done)
    assert {path.name: path.read_bytes() for path in adapted.workspace.reports.iterdir()} == before


def test_the_report_begins_with_a_sentence_without_statistics(adapted: Line) -> None:
    rows, right = adapted.evaluation.held_out.rows, adapted.evaluation.scores["accuracy"]["value"]
    most_frequent = adapted.evaluation.baselines["majority"].scores["accuracy"].value
    sentence = f"Right on {round(rows * right)} of {rows} texts; one answer for all on {round(rows * most_frequent)} of"
    text = adapted.report.read_text(encoding="utf-8")
    assert sentence in text
    assert text.index(sentence) < text.index("What decided")


def test_examples_are_held_out_rows_with_their_texts_and_answers(adapted: Line) -> None:
    text = adapted.report.read_text(encoding="utf-8")
    examples = adapted.evaluation.held_out.examples
    assert examples is not None
    rows = read_split(adapted.data, "test", ["row_id", "input"])
    texts = dict(zip(rows["row_id"], rows["input"], strict=True))
    gained = next(group for group in examples.groups if group.name == "newly right")
    assert len(gained.shown) == min(6, gained.rows) > 0
    for example in gained.shown:
        assert example.target == example.ours.said != example.theirs.said
        assert texts[example.row_id] in text


def test_the_validation_page_lies_beside_the_report_that_links_to_it(adapted: Line) -> None:
    assert 'href="validation.html"' in adapted.report.read_text(encoding="utf-8")
    assert (adapted.workspace.reports / "validation.html").read_bytes() == adapted.data.page.read_bytes()

"""Mending differences between groups: which rows are weighed or added, what is told, and that the gate still looks."""

import dataclasses
from typing import Any

import pytest
import torch

from graftline.errors import SettingsError
from graftline.settings import Settings
from graftline.tasks.data.accepted_rows import read_split
from graftline.tasks.steps.adapting import base_on_rows
from graftline.tasks.steps.baselines import baselines
from graftline.tasks.steps.decide import judge
from graftline.tasks.steps.evaluate_model import evaluate_model
from graftline.tasks.steps.fine_tune import Checkpoint, fine_tune
from graftline.tasks.steps.mended_rows import Mending, mended, mending_of
from graftline.tasks.steps.publish import REPORT, bound_pages
from graftline.tasks.steps.report_tables import tables_of
from graftline.verdict.policy import Bias, Policy
from tests.support.tiny_models import tiny_preprocessor
from tests.support.tiny_project import Line


def asking(line: Line, fairness: str, evaluation: dict[str, Any], **adaptation: Any) -> Settings:
    plain = line.settings.model_dump()
    chosen = {**plain["adaptation"], "fairness": fairness, "strategy": "feature_extraction", **adaptation}
    return Settings.model_validate(plain | {"adaptation": chosen, "evaluation": {"bootstrap": 100} | evaluation})


def trained(line: Line, settings: Settings) -> Checkpoint:
    return fine_tune.fn(line.workspace, settings.adaptation, line.data, line.base, mending=mending_of(settings))


def test_rows_on_all_sides_weigh_as_their_group_and_label_are_rare_together(adapted: Line) -> None:
    settings = asking(adapted, "reweigh", {"groups": ["source"]})
    there = base_on_rows(
        adapted.workspace, settings.adaptation, adapted.data, adapted.base, mending=mending_of(settings)
    )
    for side, rows in there.rows.items():
        columns = read_split(adapted.data, side, ["slice.source", "target"])
        pairs = list(zip(*columns.values(), strict=True))
        count = [[one[place] for one in pairs].count for place in range(2)]
        expected = [count[0](source) * count[1](label) / pairs.count((source, label)) for source, label in pairs]
        assert rows.weights is not None
        assert rows.weights.tolist() == pytest.approx([weight / len(pairs) for weight in expected])
    train = there.rows["train"].weights
    assert train is not None
    assert there.mended == (
        f"reweigh: {len(train)} rows of 3 groups by source count between {float(train.min()):.2f} and"
        f" {float(train.max()):.2f} times, the more the rarer their group and label are together"
    )


def test_swapped_texts_are_added_with_their_labels_to_the_training_rows_alone(adapted: Line) -> None:
    settings = asking(adapted, "counterfactual", {"counterfactuals": ["words: one|some", "more: other|quite"]})
    there = base_on_rows(
        adapted.workspace, settings.adaptation, adapted.data, adapted.base, mending=mending_of(settings)
    )
    plain = base_on_rows(adapted.workspace, settings.adaptation, adapted.data, adapted.base)
    texts = read_split(adapted.data, "train", ["input"])["input"]
    partners = {"one": "some", "some": "one"}, {"other": "quite", "quite": "other"}
    expected = {
        " ".join(swap.get(word, word) for word in text.split()): int(target)
        for swap in partners
        for text, target in zip(texts, plain.targets["train"], strict=True)
        if set(text.split()) & set(swap)
    }
    added = there.rows["train"].targets[len(texts) :].tolist()
    encoded = {str(tiny_preprocessor(adapted.base.path).encode([text])[0]): label for text, label in expected.items()}
    found = [str(one) for one in there.rows["train"].encoded[len(texts) :]]
    assert [encoded[one] for one in found] == added
    assert 0.8 * len(expected) < len(found) <= len(expected)
    assert torch.equal(there.rows["validation"].targets, plain.rows["validation"].targets)
    assert len(there.rows["validation"].encoded) == len(plain.rows["validation"].encoded)
    assert there.mended is not None
    assert f"to {len(texts)} rows {len(found)} were added with words swapped" in there.mended


def test_what_nearly_is_a_held_out_row_or_is_there_already_is_not_added(
    adapted: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = base_on_rows(adapted.workspace, adapted.settings.adaptation, adapted.data, adapted.base).rows
    texts = {
        "train": ["one plot was very dull and quite grim", "one", "some", "the actor was one of the other scene"],
        "validation": ["nothing like it"],
        "test": ["some plot was very dull and quite grim!"],
    }
    monkeypatch.setattr("graftline.tasks.steps.mended_rows.read_split", lambda _, side, names: {names[0]: texts[side]})
    made = mended(adapted.data, Mending("counterfactual", swaps=("words: one|some",), similarity=0.85), rows)
    train, before = made.rows["train"], rows["train"]
    (expected,) = before.preprocessor.encode(["the actor was some of the other scene"])
    (added,) = train.encoded[len(before.encoded) :]
    assert str(added) == str(expected)
    assert train.targets[-1] == before.targets[3]
    assert made.said.endswith(
        "(4 hold such words, 2 have their counterpart among the rows already, 1 would nearly be a held-out row)"
    )


@pytest.mark.parametrize(
    ("mending", "said"),
    [
        (Mending("reweigh", columns=("source",)),
         "all 123 rows to learn from have source 's1', so there is no other group to be like; name another column"),
        (Mending("counterfactual", swaps=("gender: he|she",), similarity=0.85),
         r"of 123 rows to learn from none can be added .* swapped \(0 hold such words, .*name words that they hold"),
    ],
)  # fmt: skip
def test_rows_with_nothing_to_mend_are_refused(
    adapted: Line, mending: Mending, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = base_on_rows(adapted.workspace, adapted.settings.adaptation, adapted.data, adapted.base).rows
    monkeypatch.setattr("graftline.tasks.steps.mended_rows._groups", lambda *_: ["s1"] * 123)
    with pytest.raises(SettingsError, match=said.replace("of 123", f"of {len(rows['train'].encoded)}")):
        mended(adapted.data, mending, rows)


def test_whoever_trains_without_mending_refuses_what_asks_for_it(adapted: Line) -> None:
    settings = asking(adapted, "reweigh", {"groups": ["source"]})
    with pytest.raises(SettingsError, match=r"fairness reweigh: .* and this does not; set it to none here"):
        fine_tune.fn(adapted.workspace, settings.adaptation, adapted.data, adapted.base)


def test_a_training_that_mends_nothing_has_the_key_it_always_had(adapted: Line) -> None:
    again = fine_tune.fn(adapted.workspace, adapted.settings.adaptation, adapted.data, adapted.base, mending=None)
    assert (again.folder.outcome, again.mended) == ("reused", None)
    named = asking(adapted, "none", {"groups": ["source"]}, strategy="fine_tuning")
    assert mending_of(named) is None
    assert "mended" not in str(again.folder.read_json("training.json"))
    assert "thresholds" not in str(adapted.evaluation.folder.read_json("evaluation.json"))


@pytest.fixture(scope="module")
def told(adapted_once: Line) -> tuple[Settings, Checkpoint]:
    settings = asking(adapted_once, "reweigh", {"groups": ["source"], "group_thresholds": "demographic_parity"})
    return settings, trained(adapted_once, settings)


def test_report_and_card_say_what_was_mended(adapted: Line, told: tuple[Settings, Checkpoint]) -> None:
    checkpoint = told[1]
    assert checkpoint.mended is not None
    assert checkpoint.weights_sha256 != adapted.checkpoint.weights_sha256
    shown = [_page(adapted, one) for one in (checkpoint, adapted.checkpoint)]
    named = '<th scope="row" class="name">fairness</th>'
    assert f'{named}<td class="value">{checkpoint.mended}</td>' in shown[0]
    assert named not in shown[1]


def _page(line: Line, checkpoint: Checkpoint) -> str:
    done = dataclasses.replace(line.done, checkpoint=checkpoint)
    pages = bound_pages(line.workspace, lambda decision: dataclasses.replace(done, decision=decision))
    return pages(line.decision)[REPORT].decode()


def test_a_mended_head_is_compared_with_the_plain_one_and_what_adapting_adds_still_decides(
    adapted: Line, told: tuple[Settings, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graftline.behaviour.bias.SMALLEST_GROUP", 5)
    monkeypatch.setattr("graftline.behaviour.group_thresholds.SMALLEST_GROUP", 5)
    settings, checkpoint = told
    rivals = baselines.fn(adapted.workspace, settings, ["frozen_head"], adapted.data, adapted.base)
    assert "frozen_head" in rivals.rivals
    evaluation = evaluate_model.fn(adapted.workspace, settings, adapted.data, checkpoint, rivals, None)
    behaviour = evaluation.held_out.behaviour
    assert all(one.amplification is not None for one in behaviour.disparities)
    (seen,) = behaviour.thresholds
    assert (seen.name, seen.constraint) == ("source", "demographic_parity")
    assert seen.learned_from == len(read_split(adapted.data, "validation", ["row_id"])["row_id"])
    assert [one.frozen for one in seen.disparities] == [one.value for one in behaviour.disparities]
    table = next(one for one in tables_of(evaluation, adapted.candidate, ()) if "Thresholds" in one.title)
    assert "the model is served without them" in table.lead
    assert table.rows[-1][0] == "accuracy"

    amplified = [
        dataclasses.replace(one, amplification=dataclasses.replace(one.amplification, value=0.3, low=0.2, high=0.4))
        for one in behaviour.disparities
        if one.amplification
    ]
    held_out = dataclasses.replace(evaluation.held_out, behaviour=dataclasses.replace(behaviour, disparities=amplified))
    verdict = judge(
        Policy(bias=Bias(amplification=0.1)), dataclasses.replace(evaluation, held_out=held_out), barred=None,
        unfair=None, trial=None,
    )  # fmt: skip
    axis = next(axis for axis in verdict.axes if axis.name == "bias")
    assert (axis.outcome, axis.consequence) == ("loss", "REJECT")

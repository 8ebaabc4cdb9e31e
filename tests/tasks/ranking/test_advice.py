"""Which base model is advised, and what is said of how sure that is."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import JsonValue

from graftline.evaluation.bootstrap import Score
from graftline.models.outputs import Outputs
from graftline.settings import Settings, parse_settings
from graftline.tasks.base_models.store import BaseModel
from graftline.tasks.data.accepted_rows import ValidatedData
from graftline.tasks.data.files import DataVersion
from graftline.tasks.ranking.advice import advise, check_in_words
from graftline.tasks.ranking.features import SeenBase
from graftline.tasks.ranking.points import Point, agreements, are_the_head
from graftline.tasks.ranking.scores import DepthScores, ScoredBase, ScoreName
from graftline.tasks.step_folders import StepFolder
from graftline.transfer.agreement import Agreement

TARGETS = torch.arange(200) % 2
HERE = Path("nowhere")


@pytest.fixture
def settings() -> Settings:
    tree: JsonValue = {
        "data": {"path": "data/rows.csv"}, "base_model": {"uri": "path:present"}, "evaluation": {"bootstrap": 200},
        "registry": {"model": "tiny"},
    }  # fmt: skip
    return parse_settings(tree, "a test")


@pytest.fixture
def data() -> ValidatedData:
    return ValidatedData(
        folder=StepFolder(HERE, "key", "ran"), data=DataVersion("v", False, (), "d", HERE, "data"), read=400,
        accepted=400, quarantined=0, twins=0, kind="text", task="single_label", input="text", labels=("a", "b"),
        label_separator="|", split_rows={}, split_from="hash", split_sha256="", test_sha256="", sha256="", page=HERE,
        sample_bits=0,
    )  # fmt: skip


def scored(uri: str, right: int, *, rate: float = 100.0, inner: int | None = None, logme: float = 0.0) -> ScoredBase:
    """A base model whose solved head is right on so many of 200 validation rows, and behind its block on `inner`."""
    base = BaseModel(uri, "1", f"digest of {uri}", HERE, "mit", 1, (), "reused")
    seen = SeenBase(base, Outputs("single_label", ("a", "b")), {"validation": TARGETS}, {}, 1000, rate, ())
    inside = [] if inner is None else [_depth("block 1 of 2", inner, logme)]
    return ScoredBase(seen, (*inside, _depth("head", right, logme)))


def _depth(name: str, right: int, logme: float) -> DepthScores:
    answers = np.where(np.arange(200) < right, TARGETS.numpy(), 1 - TARGETS.numpy())
    value = right / 200
    return DepthScores(name, None, Score(value, value, value), {"logme": logme}, np.eye(2)[answers])


def unchecked() -> Mapping[ScoreName, Agreement]:
    return agreements([], [])


def test_more_are_to_be_verified_only_where_so_many_are_ranked() -> None:
    said = check_in_words({}, "head", candidates=7)
    assert said.endswith(
        "0 of these 7 base models were fine-tuned on these rows, expected 5; `graftline rank --verify 5` does that"
    )


def test_fine_tunings_that_are_the_solved_head_itself_are_told_as_no_word_for_it(
    settings: Settings, data: ValidatedData
) -> None:
    bases = [scored(f"path:{place}", 100 + 10 * place) for place in range(6)]
    came = [one.last.head.value + (0.01 if place > 2 else 0.0) for place, one in enumerate(bases)]
    points = [
        Point(one.uri, one.seen.base.digest, "fine_tuning", value) for one, value in zip(bases, came, strict=True)
    ]
    assert are_the_head(bases, points) == 3
    found = advise(settings, data, bases, agreements(bases, points), are_the_head(bases, points))
    assert found.sentence.endswith(", of which 3 are that head itself, for no epoch was better")


def test_the_best_solved_head_is_advised_and_compared_with_the_present_one(
    settings: Settings, data: ValidatedData
) -> None:
    found = advise(settings, data, [scored("path:present", 120), scored("path:good", 180)], unchecked())
    assert found.advised.uri == "path:good"
    assert found.sentence.startswith("take path:good: best by solved head, validation rows (0.9000); shown better than")
    assert found.sentence.endswith(
        "0 of these 2 base models were fine-tuned on these rows, expected 5; name 3 more in base_models to ask"
    )
    alike = advise(settings, data, [scored("path:present", 178), scored("path:good", 180)], unchecked())
    assert "not shown better than path:present" in alike.sentence


def test_a_faster_one_that_is_not_shown_worse_is_named_and_a_worse_one_is_not(
    settings: Settings, data: ValidatedData
) -> None:
    bases = [scored("path:good", 180), scored("path:quick", 179, rate=400.0), scored("path:poor", 100, rate=900.0)]
    found = advise(settings, data, bases, unchecked())
    assert "path:quick is 4.0 times as fast and not shown worse (-0.0050" in found.sentence
    assert "path:poor" not in found.sentence


def test_equal_scores_go_to_the_faster_one(settings: Settings, data: ValidatedData) -> None:
    found = advise(settings, data, [scored("path:a", 180), scored("path:b", 180, rate=300.0)], unchecked())
    assert found.advised.uri == "path:b"


def test_a_block_that_does_better_than_the_last_one_is_where_to_tune_from(
    settings: Settings, data: ValidatedData
) -> None:
    deep = advise(settings, data, [scored("path:a", 150, inner=190), scored("path:b", 100)], unchecked())
    assert "behind block 1 of 2 a head does better than behind the last one (+0.2000" in deep.sentence
    shallow = advise(settings, data, [scored("path:a", 150, inner=151), scored("path:b", 100)], unchecked())
    assert "block" not in shallow.sentence


def test_the_score_that_finished_fine_tunings_speak_for_decides(settings: Settings, data: ValidatedData) -> None:
    bases = [scored(f"path:{place}", 100 + place, logme=-place) for place in range(6)]
    points = [Point(one.uri, one.seen.base.digest, "fine_tuning", -float(place)) for place, one in enumerate(bases)]
    checked = agreements(bases, points)
    assert checked["logme"].means_something
    assert not checked["head"].means_something
    assert "h_score" not in checked
    found = advise(settings, data, bases, checked)
    assert (found.decided_by, found.advised.uri) == ("logme", "path:0")
    assert "it orders 6 fine-tunings of 6 base models here (weighted Kendall tau 1.00" in found.sentence


def test_a_score_that_they_speak_against_is_said_to_mean_nothing(settings: Settings, data: ValidatedData) -> None:
    bases = [scored(f"path:{place}", 100 + place) for place in range(6)]
    points = [Point(one.uri, one.seen.base.digest, "fine_tuning", -float(place)) for place, one in enumerate(bases)]
    found = advise(settings, data, bases, agreements(bases, points))
    assert found.decided_by == "head"
    assert "it means nothing here: it does not order 6 fine-tunings" in found.sentence


def test_a_licence_that_is_not_known_is_said(settings: Settings, data: ValidatedData) -> None:
    good = scored("path:good", 180)
    unknown = replace(good, seen=replace(good.seen, base=replace(good.seen.base, licence="unknown")))
    other = scored("path:other", 150)
    assert "its licence is not known" in advise(settings, data, [unknown, other], unchecked()).sentence
    assert "licence" not in advise(settings, data, [good, other], unchecked()).sentence

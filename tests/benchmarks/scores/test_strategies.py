"""The pages about strategies and seeds: what is counted, compared and kept, never how good any model is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from benchmarks.scores import few_rows
from benchmarks.scores.kept_page import KeptPage
from benchmarks.scores.real_projects import DIGIT_PROJECT, PROJECTS, SCRATCH, UNTRAINED, Project
from benchmarks.scores.seeds import Runs, candidates, paired, trained_as
from benchmarks.scores.seeds import page as seeds_page
from benchmarks.scores.strategies import PAGE, Line, Lines, page, parameters_trained
from benchmarks.sides.from_scratch import write_untrained
from graftline.models.timm_backbones import load_timm
from graftline.models.transformers_backbones import load_transformers
from graftline.settings import parse_settings
from graftline.settings.adaptation import AdaptationSettings, Strategy
from tests.support.tiny_media import write_tiny_image_model
from tests.support.tiny_models import WIDTH, tiny_classifier, tiny_rows, write_tiny_model

HEAD_PARAMETERS = 2 * (WIDTH + 1)
LINE = Line({"rows": 9, "adaptation": {"strategy": "lora", "learning_rate": 5e-4}}, None, 0.75, 0.7, 0.8, 0.5, 1, 50, 7,
            {"train": 6, "validation": 1, "test": 2})  # fmt: skip


def counted(folder: Path, **settings: object) -> tuple[int, int]:
    chosen = AdaptationSettings.model_validate(settings)
    return parameters_trained(tiny_classifier(folder), chosen, tiny_rows(folder, 2).batch([0, 1]))


def test_the_trained_parameters_are_counted_by_what_the_strategy_leaves_to_learn(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base")
    whole = sum(parameter.numel() for parameter in tiny_classifier(base).parameters())
    assert counted(base, strategy="fine_tuning") == (whole, whole)
    assert counted(base, strategy="gradual_unfreezing") == (whole, whole)
    assert counted(base, strategy="feature_extraction") == (HEAD_PARAMETERS, whole)
    # Each of the 3 blocks has 4 square layers and 2 of 16 by 24; each adapter of rank 2 has 2 (inputs + outputs).
    adapters = 3 * 2 * (4 * (WIDTH + WIDTH) + 2 * (WIDTH + 24))
    assert counted(base, strategy="lora", lora_rank=2) == (adapters + HEAD_PARAMETERS, whole + adapters)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_an_untrained_model_is_the_same_one_with_other_weights(tmp_path: Path, kind: str) -> None:
    if kind == "text":
        base, load = write_tiny_model(tmp_path / "base"), load_transformers
    else:
        base, load = write_tiny_image_model(tmp_path / "base", "timm efficientnet"), load_timm
    twins = [load(write_untrained(base, tmp_path / name, seed=seed)) for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    trained, (first, again, other) = load(base).state_dict(), [model.state_dict() for model in twins]
    assert {name: tensor.shape for name, tensor in first.items()} == {name: t.shape for name, t in trained.items()}
    matrices = [name for name, tensor in first.items() if tensor.ndim > 1 and tensor.is_floating_point()]
    assert not any(torch.equal(first[name], trained[name]) for name in matrices)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in matrices)
    described = [path.name for path in base.iterdir() if path.suffix != ".safetensors"]
    assert {path.name for path in (tmp_path / "a").iterdir()} == {*described, "model.safetensors"}


@pytest.mark.parametrize("project", PROJECTS.values(), ids=PROJECTS)
def test_every_strategy_stands_in_the_table_with_settings_that_are_valid(project: Project) -> None:
    trees = {name: project.settings_of(name, threads=1) for name in project.strategies}
    parsed = {name: parse_settings(tree, source=name) for name, tree in trees.items()}
    assert set(parsed) == {*Strategy.__args__, SCRATCH}  # type: ignore[attr-defined]
    assert {settings.adaptation.epochs for settings in parsed.values()} == {3}
    assert len({settings.registry.model for settings in parsed.values()}) == len(parsed)
    untrained = [name for name, settings in parsed.items() if settings.base_model.uri == f"path:{UNTRAINED}"]
    assert untrained == [SCRATCH]


def test_the_page_has_a_table_for_each_project_with_lines() -> None:
    refused = Line({"adaptation": {}}, refused="a | b")
    shown = page({"digits": {"lora": LINE, "norm_only": refused}})
    assert "| lora | 0.7500 (0.7000 to 0.8000) | 0.500 | 2 % of 0.0 million | 0.0005, 0.001 | 7 |" in shown
    assert "| norm_only | refused: a / b |" in shown
    assert "Rows: 6 to learn from, 1 to choose by, 2 held out." in shown
    assert DIGIT_PROJECT.what in shown
    assert "## Reviews" not in shown


def test_the_page_in_docs_says_what_the_code_does_and_the_kept_lines_hold() -> None:
    shown = page(KeptPage(PAGE, Lines).read({}))
    assert PAGE.read_text(encoding="utf-8") == shown, "stale: python -m benchmarks.scores.strategies writes it first"


def test_the_page_of_few_rows_shows_the_tables_of_which_everything_is_known() -> None:
    texts, _ = few_rows.TABLES
    accuracies = {
        trained_as(f"texts; {side}", seed): 0.5 + 0.1 * place + 0.01 * seed * place
        for place, side in enumerate(texts.sides)
        for seed in (0, 1)
    }
    shown = few_rows.page(accuracies, [0, 1])
    assert "| fine_tuning, batch 16 | 0.5000 (0.5000 to 0.5000) | - |" in shown
    assert "| fine_tuning, batch 8 | 0.6050 (0.6000 to 0.6100) | +0.1050 (" in shown
    assert "## Texts" in shown
    assert "## Digits" not in shown


def test_paired_differences_are_those_of_the_t_test() -> None:
    ours, theirs = [0.80, 0.82, 0.81, 0.83, 0.80], [0.79, 0.80, 0.81, 0.80, 0.80]
    differences = np.subtract(ours, theirs)
    half = stats.t.ppf(0.975, 4) * differences.std(ddof=1) / 5**0.5
    assert np.allclose(paired(ours, theirs), [differences.mean(), differences.mean() - half, differences.mean() + half])


def test_the_page_of_seeds_compares_with_the_best_recipe_alone() -> None:
    settings = AdaptationSettings(batch_size=16, precision="bfloat16")
    recipes = candidates(settings)
    assert len({recipe.what for recipe in recipes}) == len(recipes)
    assert {(recipe.epochs, recipe.batch_size, recipe.bf16) for recipe in recipes} == {(3, 16, True)}
    best, worse = recipes[1], recipes[0]
    runs = Runs(
        {worse.what: 0.8, best.what: 0.9},
        {"lora; seed 0": 0.75, "lora; seed 1": 0.77, "partial; seed 0": 0.70, "partial; seed 1": 0.73},
        {trained_as(worse.what, 0): 0.1, trained_as(best.what, 0): 0.74, trained_as(best.what, 1): 0.74},
        {"train": 1000, "validation": 10, "test": 20},
    )
    shown = seeds_page(runs, best, [0, 1], ["lora", "partial"], settings)
    assert f"| **{best.what}** | 0.9000 |" in shown
    assert "| seed | lora | partial | Trainer |\n| --- | --- | --- | --- |\n| 0 | 0.7500 | 0.7000 | 0.7400 |" in shown
    assert "| **mean** | 0.7600 | 0.7150 | 0.7400 |" in shown
    assert "- lora: +0.0200, 95 %" in shown
    assert "- partial: -0.0250, 95 %" in shown
    assert "interval" not in seeds_page(runs, best, [0], ["lora"], settings)

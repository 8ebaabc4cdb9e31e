"""Great Expectations at work: expectations as data become its suites and checkpoints, its results become checks."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graftline.data.expectation import Check, Expectation
from graftline.data.expectations import shown

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 5


class Validator:
    """One ephemeral Great Expectations context, in which tables are checked one after the other."""

    def __init__(self) -> None:
        import great_expectations as gx
        from great_expectations.data_context.types.base import ProgressBarsConfig

        # It sets its own level on import and tells of each folder that it makes.
        logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
        self._context: Any = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        self._source: Any = self._context.data_sources.add_pandas("graftline")

    def decide(
        self, name: str, frame: "pd.DataFrame", expectations: Sequence[Expectation], index: str | None = None
    ) -> list[Check]:
        """Whether each expectation holds of the frame, with counts and a few examples named by the column `index`."""
        summary = {"result_format": "SUMMARY"} | ({"unexpected_index_column_names": [index]} if index else {})
        return [
            _as_check(expectation, result, index)
            for expectation, result in self._run(name, frame, expectations, summary)
        ]

    def faulty_rows(
        self, name: str, frame: "pd.DataFrame", expectations: Sequence[Expectation], index: str
    ) -> list[tuple[Expectation, int, object]]:
        """Each faulty row of each row expectation: its value of the column `index`, and the value found."""
        columns = [expectation.column for expectation in expectations]
        complete = {"result_format": "COMPLETE", "unexpected_index_column_names": [index]}
        return [
            (expectation, int(entry[index]), entry.get(expectation.column))
            for expectation, result in self._run(name, frame[[index, *dict.fromkeys(columns)]], expectations, complete)
            for entry in result.result["unexpected_index_list"]
        ]

    def _run(
        self, name: str, frame: "pd.DataFrame", expectations: Sequence[Expectation], result_format: Mapping[str, Any]
    ) -> list[tuple[Expectation, Any]]:
        import great_expectations as gx

        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = self._context.suites.add(gx.ExpectationSuite(name=name, expectations=[_of(e) for e in expectations]))
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        checkpoint = self._context.checkpoints.add(
            gx.Checkpoint(name=name, validation_definitions=[definition], result_format=dict(result_format))
        )
        (run,) = checkpoint.run(batch_parameters={"dataframe": frame}).run_results.values()
        results = {result.expectation_config.meta["name"]: result for result in run.results}
        # KeyError here: an expectation without a result may not pass as fulfilled.
        return [(expectation, results[expectation.name]) for expectation in expectations]


def _of(expectation: Expectation) -> Any:
    import great_expectations as gx

    column = {} if expectation.column is None else {"column": expectation.column}
    kind = getattr(gx.expectations, expectation.kind)
    return kind(**column, **expectation.bounds, meta={"name": expectation.name})


def _as_check(expectation: Expectation, result: Any, index: str | None) -> Check:
    if any(info.get("raised_exception") for info in _exceptions(result.exception_info)):
        raise RuntimeError(f"expectation {expectation.name} could not be evaluated: {result.exception_info}")
    found = result.result
    faulty = int(found.get("unexpected_count", 0 if result.success else 1))
    if "observed_value" in found:
        seen = f"{found['observed_value']}"
    elif "element_count" in found:
        seen = f"{faulty:,} of {found['element_count']:,} faulty"
    else:
        seen = "yes" if result.success else "no"
    return Check(expectation, bool(result.success), faulty, seen, tuple(_examples(expectation, found, index)))


def _examples(expectation: Expectation, found: Mapping[str, Any], index: str | None) -> list[str]:
    entries = found.get("partial_unexpected_index_list") or []
    if index is None or not entries:
        return list(dict.fromkeys(shown(value) for value in found.get("partial_unexpected_list", [])))[:EXAMPLES]
    return [f"{index} {entry[index]}: {shown(entry.get(expectation.column))}" for entry in entries[:EXAMPLES]]


def _exceptions(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One exception record, or one for each metric: Great Expectations writes both."""
    return [info] if "raised_exception" in info else list(info.values())

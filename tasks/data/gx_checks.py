"""Great Expectations at work: expectations as data become its suites and checkpoints, its results become checks."""

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from graftline.data.expectation import Asset, Check, Expectation
from graftline.data.team_columns import NO_NUMBER, own_column
from graftline.data.team_expectations import OURS
from graftline.wording import ERROR_CHARACTERS, shortened, shown

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 5
COLUMNS = ("column", "column_A", "column_B")


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
        return self.decide_in_parts(name, [frame], expectations, index)

    def decide_in_parts(
        self, name: str, frames: "Iterable[pd.DataFrame]", expectations: Sequence[Expectation], index: str | None = None
    ) -> list[Check]:
        """The same of rows that come in several frames: each expectation is one of every row by itself.

        Its counts are those of all frames together, and its examples the first ones by the column `index`.
        """
        summary = {"result_format": "SUMMARY"} | ({"unexpected_index_column_names": [index]} if index else {})
        by_frame = self._run(name, frames, expectations, summary)
        return [_as_check(*results, index) for results in zip(expectations, zip(*by_frame, strict=True), strict=True)]

    def faulty_rows(
        self, name: str, frames: "Iterable[pd.DataFrame]", expectations: Sequence[Expectation], index: str
    ) -> list[tuple[Expectation, int, object]]:
        """Each faulty row of each row expectation, by its value of the column `index`, in their order."""
        columns = [column for expectation in expectations for column in expectation.columns]
        wanted = [index, *dict.fromkeys(columns)]
        complete = {"result_format": "COMPLETE", "unexpected_index_column_names": [index]}
        by_frame = self._run(name, (frame[wanted] for frame in frames), expectations, complete)
        return [
            (expectation, int(entry[index]), _found(expectation, entry))
            for expectation, results in zip(expectations, zip(*by_frame, strict=True), strict=True)
            for entry in _by_index((result.result["unexpected_index_list"] for result in results), index)
        ]

    def _run(
        self,
        name: str,
        frames: "Iterable[pd.DataFrame]",
        expectations: Sequence[Expectation],
        result_format: Mapping[str, Any],
    ) -> list[list[Any]]:
        """For each frame the results, in the order of the expectations."""
        import great_expectations as gx

        batch = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
        suite = self._context.suites.add(gx.ExpectationSuite(name=name, expectations=[_of(e) for e in expectations]))
        definition = self._context.validation_definitions.add(
            gx.ValidationDefinition(name=name, data=batch, suite=suite)
        )
        checkpoint = self._context.checkpoints.add(
            gx.Checkpoint(name=name, validation_definitions=[definition], result_format=dict(result_format))
        )
        by_frame = []
        for frame in frames:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "This pattern is interpreted")  # pandas, of a pattern with groups
                (run,) = checkpoint.run(batch_parameters={"dataframe": frame}).run_results.values()
            results = {result.expectation_config.meta["name"]: result for result in run.results}
            # KeyError here: an expectation without a result may not pass as fulfilled.
            by_frame.append([results[expectation.name] for expectation in expectations])
        return by_frame


def suite_of(expectations: Sequence[Expectation]) -> JsonValue:
    """All expectations as one suite in Great Expectations' own form, ours marked as such.

    What a team added stands there with the table's columns, so that the suite can be read again beside the settings.
    """
    import great_expectations as gx

    suite = gx.ExpectationSuite(name=OURS, expectations=[_of(one) for one in expectations]).to_json_dict()
    return {
        "name": OURS,
        "meta": suite["meta"],
        "expectations": [
            _as_written(one, written) for one, written in zip(expectations, suite["expectations"], strict=True)
        ],
    }


def checkpoint_of(expectations: Sequence[Expectation]) -> JsonValue:
    """How the suite is run, in the form of Great Expectations' checkpoints: each frame by those that look at it."""
    frames = dict.fromkeys(map(_frame_of, expectations))
    return {
        "name": OURS,
        "actions": [],
        "result_format": {"result_format": "SUMMARY", "unexpected_index_column_names": ["line"]},
        "validation_definitions": [
            {
                "name": frame,
                "data": {"datasource": OURS, "asset": frame, "batch_definition": "all"},
                "suite": {"name": OURS, "expectations": [one.name for one in expectations if _frame_of(one) == frame]},
            }
            for frame in frames
        ],
    }


def _frame_of(expectation: Expectation) -> str:
    return frame_name(expectation.asset, expectation.target)


def frame_name(asset: Asset, target: str | None) -> str:
    """The name of a frame; of those for one target only, this says which, unless it is the first one."""
    return asset if target is None else f"{asset} of {target}"


def _as_written(expectation: Expectation, written: Mapping[str, Any]) -> JsonValue:
    meta: dict[str, JsonValue] = {
        "name": expectation.name,
        "level": expectation.level,
        "meaning": expectation.meaning,
        "from": expectation.source if _is_kept(expectation) else OURS,
    }
    arguments = dict(written["kwargs"])
    if expectation.source is not None:
        arguments |= {name: own_column(arguments[name]) for name in COLUMNS if name in arguments}
        if "column_list" in arguments:
            arguments["column_list"] = [own_column(name) for name in arguments["column_list"]]
    return {"type": written["type"], "kwargs": arguments, "meta": meta}


def _is_kept(expectation: Expectation) -> bool:
    """Whether a team wrote it; what follows from that is made anew."""
    follows = (expectation.column or "").startswith(NO_NUMBER) or expectation.asset != "rows"
    return expectation.source is not None and not follows


def _of(expectation: Expectation) -> Any:
    import great_expectations as gx

    column = {} if expectation.column is None else {"column": expectation.column}
    # A name from a list of ours: a class that a team wrote itself is never looked up.
    kind = getattr(gx.expectations, expectation.kind)
    return kind(**column, **expectation.bounds, meta={"name": expectation.name})


def _found(expectation: Expectation, entry: Mapping[str, Any]) -> object:
    """The value in a faulty row, or the values where it looks at several columns."""
    import pandas as pd

    if expectation.column is not None:
        value = entry.get(expectation.column)
        if value is pd.NA:  # what pandas says of Arrow's missing values
            return None
        return float(value) if isinstance(value, float) else value  # not one of NumPy's, which says so
    return ", ".join(f"{entry.get(column)}" for column in expectation.columns)


def _as_check(expectation: Expectation, results: Sequence[Any], index: str | None) -> Check:
    """One check of the results of all frames."""
    infos = [info for result in results for info in _exceptions(result.exception_info)]
    if raised := [info for info in infos if info.get("raised_exception")]:
        if expectation.source is None:
            raise RuntimeError(f"expectation {expectation.name} could not be evaluated: {raised}")
        why = shortened(str(raised[0].get("exception_message")), ERROR_CHARACTERS)
        return Check(replace(expectation, level="set"), False, 1, f"could not be looked at: {why}")
    is_met = all(result.success for result in results)
    found = results[0].result if len(results) == 1 else _together([result.result for result in results], index)
    faulty = int(found.get("unexpected_count", 0 if is_met else 1))
    if "observed_value" in found:
        seen = shortened(f"{found['observed_value']}", ERROR_CHARACTERS)
    elif "element_count" in found:
        seen = f"{faulty:,} of {found['element_count']:,} faulty"
    else:
        seen = "yes" if is_met else "no"
    return Check(expectation, is_met, faulty, seen, tuple(_examples(expectation, found, index)))


def _together(found: Sequence[Mapping[str, Any]], index: str | None) -> dict[str, Any]:
    """What was found in several frames, each row by itself, as if in one."""
    examples: dict[str, Any] = {}
    if index is not None:
        named = (one.get("partial_unexpected_index_list") or [] for one in found)
        examples["partial_unexpected_index_list"] = _by_index(named, index)
    # KeyError here: what is no count of rows cannot be put together.
    counts = {name: sum(one[name] for one in found) for name in ("element_count", "unexpected_count")}
    return {**counts, "partial_unexpected_list": [], **examples}


def _by_index(named: Iterable[Sequence[Mapping[str, Any]]], index: str) -> list[Mapping[str, Any]]:
    return sorted((entry for some in named for entry in some), key=lambda entry: int(entry[index]))


def _examples(expectation: Expectation, found: Mapping[str, Any], index: str | None) -> list[str]:
    entries = found.get("partial_unexpected_index_list") or []
    if index is None or not entries:
        return list(dict.fromkeys(shown(value) for value in found.get("partial_unexpected_list", [])))[:EXAMPLES]
    return [f"{index} {entry[index]}: {shown(_found(expectation, entry))}" for entry in entries[:EXAMPLES]]


def _exceptions(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """One exception record, or one for each metric: Great Expectations writes both."""
    return [info] if "raised_exception" in info else list(info.values())

"""`graftline compare A B`: two versions on the same held-out rows."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from graftline.evaluation.scoring import spelt
from graftline.flows.columns import in_columns
from graftline.flows.console import plain_progress
from graftline.settings import Settings
from graftline.tasks.registry.named import NamedVersion, find_named, read_name
from graftline.tasks.step_uses import noting_uses
from graftline.tasks.steps.compare_versions import ComparedVersions, Scores, answer, compare_versions
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.steps.validate_data import validate_data
from graftline.tasks.workspace import Workspace

# A slice in a line of the summary; all stand in the JSON.
SHOWN_SLICES = 12


@plain_progress()
def compare(
    root: Path, settings: Settings, first: str, second: str, *, say: Callable[[str], None]
) -> dict[str, JsonValue]:
    """Compare two versions on the rows that the project holds out now, the second beside the first.

    A plain function: it changes nothing in the registry, and a flow would start a server for it.
    """
    from graftline.verdict.score_axes import name_of_test

    workspace = Workspace(root)
    names = [read_name(text, settings.registry.model) for text in (first, second)]
    a, b = (find_named(workspace, name) for name in names)
    with noting_uses(workspace, settings.registry.model):
        data = validate_data.fn(workspace, settings.data, data_version.fn(workspace, settings.data))
        compared = compare_versions(workspace, settings, data, a, b, say=say)
    return {
        "answer": answer(compared, a, b),
        "rows": compared.rows,
        "first": {"model": a.model, "version": a.number, "scores": _plain(compared.first)},
        "second": {"model": b.model, "version": b.number, "scores": _plain(compared.second)},
        "differences": {name: {**each.as_json()} for name, each in compared.comparison.differences.items()},
        "newly_right": compared.comparison.gains.better,
        "newly_wrong": compared.comparison.gains.worse,
        "p": compared.p,
        "test": name_of_test(compared.comparison.gains),
        "slices": [
            {"column": part.column, "value": part.value, **asdict(part.gains)} for part in compared.comparison.slices
        ],
        "notes": list(compared.notes),
        "data_version": data.data.version,
        "test_sha256": data.test_sha256,
        "summary": _summary(compared, a, b),
    }


def _plain(scores: Scores) -> JsonValue:
    return {name: {**numbers} for name, numbers in scores.items()}


def _summary(compared: ComparedVersions, a: NamedVersion, b: NamedVersion) -> str:
    comparison = compared.comparison
    gains = comparison.gains
    words = ("newly right", "newly wrong") if gains.hits else ("better on", "worse on")
    rows = [
        (
            spelt(name),
            *(_with_interval(scores[name]) for scores in (compared.first, compared.second)),
            f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})",
        )
        for name, difference in comparison.differences.items()
    ]
    lines = [
        f"{answer(compared, a, b)}.",
        *(f"note: {note}." for note in compared.notes),
        "",
        in_columns(("score", str(a), str(b), "difference (95 % interval)"), rows),
        "",
        f"{words[0]}: {gains.better:,} rows, {words[1]}: {gains.worse:,}",
    ]
    parts = sorted(comparison.slices, key=lambda part: part.gains.mean)[:SHOWN_SLICES]
    if parts:
        cells = [
            (f"{part.column} {part.value}", f"{part.gains.rows:,}", f"{part.gains.mean:+.4f}",
             f"{part.gains.better:,}", f"{part.gains.worse:,}")
            for part in parts
        ]  # fmt: skip
        lines += ["", in_columns(("slice, worst first", "rows", "difference", "better", "worse"), cells)]
    return "\n".join(lines)


def _with_interval(score: Mapping[str, float]) -> str:
    return f"{score['value']:.4f} ({score['low']:.4f} to {score['high']:.4f})"

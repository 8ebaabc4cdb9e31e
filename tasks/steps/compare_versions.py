"""Beside the line, compare_versions: two registered versions on the project's present held-out rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from graftline.answers.tasks import TASKS
from graftline.compute.threads import thread_count
from graftline.errors import RegistryRefusedError
from graftline.evaluation.scoring import spelt
from graftline.settings import Settings, Task
from graftline.tasks.data.accepted_rows import ValidatedData, questions, split_targets
from graftline.tasks.registry.manifest import judged_files
from graftline.tasks.registry.named import NamedVersion
from graftline.tasks.registry.versions import DATA_VERSION
from graftline.tasks.serving.trial import score_in_fresh_process
from graftline.tasks.steps.held_out import (
    SPLIT_FROM,
    Scorer,
    class_slices,
    held_out_groups,
    held_out_slices,
    split_changes,
)
from graftline.tasks.tracking.server import logged_settings
from graftline.tasks.workspace import Workspace

if TYPE_CHECKING:
    from graftline.evaluation.comparison import Comparison
    from graftline.evaluation.metrics import Floats
    from graftline.evaluation.paired_tests import Gains

LEVEL = 0.05
TOO_FEW = "the held-out rows are of too few groups (data.group) to show any difference; add some"
Scores = Mapping[str, Mapping[str, float]]
"""By name, each with `value`, `low` and `high`."""


@dataclass(frozen=True)
class ComparedVersions:
    """Two versions on the same rows."""

    task: Task
    rows: int
    first: Scores
    second: Scores
    comparison: "Comparison"
    """The second beside the first."""
    p: float
    """That the main scores are equal: exact McNemar where rows are right or wrong, of grouped rows the exact test of
    the groups' sums, else the paired bootstrap."""
    notes: tuple[str, ...]
    """Why the held-out rows may be no fair test."""

    @property
    def primary(self) -> str:
        return TASKS[self.task].scores.scoring.primary

    @property
    def is_shown(self) -> bool:
        """Whether the difference of the main score was shown at the 5 % level, by test and by interval."""
        difference = self.comparison.differences[self.primary]
        if is_of_too_few_groups(self.comparison.gains):
            return False
        return self.p <= LEVEL and (difference.low > 0 or difference.high < 0)


def compare_versions(
    workspace: Workspace,
    settings: Settings,
    data: ValidatedData,
    first: NamedVersion,
    second: NamedVersion,
    *,
    say: Callable[[str], None],
) -> ComparedVersions:
    """Ask both, each in a process of its own, for the rows that are held out now; nothing is changed or recorded.

    `say` is told which of them is asked.
    Raises: RegistryRefusedError if one does not answer, or does something else than the data are for.
    """
    from graftline.evaluation.comparison import comparison_of

    scores, targets = TASKS[data.task].scores, split_targets(data, "test").numpy()
    slices = [*held_out_slices(data, settings.data.slices), *class_slices(data, targets)]
    scorer = Scorer(scores, targets, settings.evaluation, slices, held_out_groups(data, settings.data.group))
    theirs, ours = (_predictions(workspace, settings, data, version, say) for version in (first, second))
    compared = comparison_of(scorer.compare(ours, theirs, str(first)))
    seen = compared.gains
    return ComparedVersions(
        task=data.task,
        rows=len(targets),
        first=cast("Scores", scorer.of(theirs)),
        second=cast("Scores", scorer.of(ours)),
        comparison=compared,
        p=seen.p if seen.hits else compared.differences[scores.scoring.primary].p,
        notes=(
            *(note for version in (first, second) for note in notes_on(version, settings, data)),
            *([TOO_FEW] if is_of_too_few_groups(seen) else []),
        ),
    )


def is_of_too_few_groups(seen: "Gains") -> bool:
    """Whether no difference can be shown, since the held-out rows are of a few groups only."""
    from graftline.evaluation.groups import LEAST_GROUPS

    return seen.grouped is not None and seen.grouped.groups < LEAST_GROUPS


def _predictions(
    workspace: Workspace, settings: Settings, data: ValidatedData, version: NamedVersion, say: Callable[[str], None]
) -> "Floats":
    from graftline.evaluation.comparison import aligned

    say(f"compare: asking {version} for {data.split_rows['test']:,} held-out rows in a process of its own")
    asked, threads = questions(workspace, data, "test"), thread_count(settings.adaptation.threads)
    files = judged_files(workspace, version.model, version.number)
    scored = score_in_fresh_process(workspace, version.uri, asked, threads=threads, files=files)
    if scored.task != data.task:
        raise RegistryRefusedError(
            f"{version}: its task is {scored.task}, but data.task is {data.task}; name versions that were trained for"
            " the data of this project"
        )
    return aligned(scored.predictions, scored.labels, data.labels) if data.labels else scored.predictions


def other_split(version: NamedVersion, settings: Settings, data: ValidatedData) -> str | None:
    """Why a version may have learned from rows that are held out now, if so."""
    then = logged_settings(str(version.version.run_id))
    now = {"data.group": settings.data.group, "data.input": settings.data.input, SPLIT_FROM: data.split_from}
    written = {name: str(value) for name, value in now.items()} | {"data.test_share": str(settings.data.test_share)}
    changed = split_changes(written, then)
    if not changed:
        return None
    return f"{version} was trained on another split ({changed}), so held-out rows may be rows that it learned from"


def notes_on(version: NamedVersion, settings: Settings, data: ValidatedData) -> list[str]:
    """Why the present held-out rows may be no fair test of a version, or are others than it was judged by."""
    if why := other_split(version, settings, data):
        return [why]
    trained_on = version.version.tags.get(DATA_VERSION)
    if trained_on not in (None, data.data.version):
        return [
            f"{version} was trained on data version {str(trained_on)[:12]}, these held-out rows are of"
            f" {data.data.version[:12]}; rows that both have are on the same side of the split"
        ]
    return []


def answer(compared: ComparedVersions, first: NamedVersion, second: NamedVersion) -> str:
    """The comparison in one sentence."""
    name, rows, groups = compared.primary, f"{compared.rows:,}", compared.comparison.gains.grouped
    of_groups = f" of {groups.groups:,} groups" if groups else ""
    before, after = (scores[name]["value"] for scores in (compared.first, compared.second))
    if compared.comparison.gains.hits:
        right = [f"{round(score * compared.rows):,}" for score in (before, after)]
        facts = f"{second} is right on {right[1]} of {rows} held-out rows{of_groups}, {first} on {right[0]} of the same"
    else:
        reached = f"{second} reaches {spelt(name)} {after:.4f}"
        facts = f"{reached} on {rows} held-out rows{of_groups}, {first} {before:.4f} on the same"
    shown = f"{second} is {'better' if after > before else 'worse'}" if compared.is_shown else "no difference was shown"
    return f"{facts}; {shown} (p {compared.p:.3g})"

"""The findings about a model beside its scores, as tables of the report and the model card."""

from collections.abc import Sequence

from graftline.behaviour.bias import Disparity
from graftline.behaviour.findings import Counted
from graftline.behaviour.retention import Retention
from graftline.evaluation.bootstrap import Difference
from graftline.pages.report import Table
from graftline.tasks.serving.trial import Trial
from graftline.tasks.steps.evaluate_model import Evaluation
from graftline.tasks.steps.register_model import Candidate
from graftline.verdict.behaviour_axes import REFUSED


def tables_of(evaluation: Evaluation, candidate: Candidate) -> list[Table]:
    """All there is to show."""
    behaviour = evaluation.held_out.behaviour
    tables = []
    if counts := [*behaviour.changes, *behaviour.directions]:
        tables.append(_under_changes(counts))
    if behaviour.disparities:
        tables.append(_between_groups(behaviour.disparities))
    if behaviour.retention:
        tables.append(_of_the_source_task(behaviour.retention))
    if behaviour.left_out:
        tables.append(Table("Asked for and not there", "; ".join(behaviour.left_out), (), ()))
    return [*tables, *([_as_a_server(candidate.trial)] if candidate.trial else [])]


def _under_changes(counts: Sequence[Counted]) -> Table:
    lead = (
        "some held-out rows were changed in ways that no label depends on, and the same answer is right; where words"
        " were exchanged (a > b), an answer that moves as the settings say"
    )
    rows = [
        (count.name, f"{count.rows:,}", f"{count.share:.3f} ({count.low:.3f} – {count.high:.3f})") for count in counts
    ]
    return Table("Changed inputs", lead, ("change", "rows", "share that is right (95 % interval)"), rows)


def _between_groups(disparities: Sequence[Disparity]) -> Table:
    lead = (
        "the largest differences between groups, and how far answers move when words for groups are swapped; 0 is fair,"
        " and more than the frozen base model has was added by adapting it"
    )
    rows = [
        (
            f"{one.name}, {one.measure}",
            f"{one.rows:,}",
            f"{one.value:.3f}: {one.between}",
            "not compared" if one.frozen is None else f"{one.frozen:.3f}",
            _gain(one.amplification),
        )
        for one in disparities
    ]
    return Table("Groups", lead, ("what", "rows", "difference", "frozen base model", "added (95 % interval)"), rows)


def _of_the_source_task(retention: Retention) -> Table:
    lead = (
        f"a linear head was solved on what a model makes of {retention.learned_from:,} rows of what the base model was"
        f" made for, with {retention.labels} labels, and judged on {retention.gains.rows:,} others: what the adapted"
        " model tells less often, it forgot"
    )
    if retention.unchanged:
        lead += "; here nothing could be forgotten, what the model makes of these rows is bit for bit as before"
    scored = (("the frozen base model", retention.before), ("this model", retention.after))
    rows = [(whose, f"{one.value:.4f} ({one.low:.4f} – {one.high:.4f})") for whose, one in scored]
    return Table(
        "Source task",
        lead,
        ("linear head on", "accuracy (95 % interval)"),
        [*rows, ("difference, paired on rows", _gain(retention.difference))],
    )


def _gain(gain: Difference | None) -> str:
    return "not compared" if gain is None else f"{gain.value:+.3f} ({gain.low:+.3f} – {gain.high:+.3f})"


def _as_a_server(trial: Trial) -> Table:
    memory = f", with at most {trial.memory_megabytes:,.0f} MB of memory" if trial.memory_megabytes else ""
    refused = sum(became == REFUSED for became in trial.hostile.values())
    lead = (
        f"{trial.requests} single requests, one after the other and without a network, took"
        f" {trial.median_milliseconds:g} ms in the median and {trial.p95_milliseconds:g} ms in the 95th"
        f" percentile{memory}; of {len(trial.hostile)} requests that nobody should send {refused} were refused"
    )
    others = [(request, became) for request, became in trial.hostile.items() if became != REFUSED]
    return Table("As a server", lead, ("request", "what became of it"), others)

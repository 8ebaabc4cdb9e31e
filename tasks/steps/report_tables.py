"""The findings about a model beside its scores, as tables of the report and the model card."""

from collections.abc import Sequence
from operator import itemgetter

from graftline.answers.tasks import TASKS
from graftline.behaviour.bias import Disparity
from graftline.behaviour.findings import Counted
from graftline.behaviour.group_thresholds import ThresholdsOfGroups
from graftline.behaviour.retention import Retention
from graftline.evaluation.bootstrap import Difference, Score
from graftline.evaluation.scoring import spelt
from graftline.pages.report import Table
from graftline.tasks.serving.trial import Trial
from graftline.tasks.steps.answer_costs import costs_table
from graftline.tasks.steps.evaluate_target import OnTarget
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.register_model import Candidate
from graftline.tasks.steps.tracked_run import RunInputs
from graftline.transfer.distances import MEASURES, Distance
from graftline.transfer.foresight import Foreseen, came_true, standing_of
from graftline.transfer.pairs import Pair
from graftline.verdict.axis import Axis, against_the_champion
from graftline.verdict.behaviour_axes import REFUSED


def tables_of(evaluation: Evaluation, candidate: Candidate, axes: Sequence[Axis]) -> list[Table]:
    """All there is to show."""
    behaviour = evaluation.held_out.behaviour
    tables = [*_evidence(evaluation, axes), *_luck(evaluation)]
    if evaluation.target:
        tables.append(_in_the_target_domain(evaluation.target, TASKS[evaluation.task].scores.scoring.primary))
    if counts := [*behaviour.changes, *behaviour.directions]:
        tables.append(_under_changes(counts))
    if behaviour.disparities:
        tables.append(_between_groups(behaviour.disparities))
    tables += [_with_thresholds(one, TASKS[evaluation.task].scores.scoring.primary) for one in behaviour.thresholds]
    if behaviour.retention:
        tables.append(_of_the_source_task(behaviour.retention))
    if behaviour.distances:
        tables.append(_of_distances(behaviour.distances))
    if evaluation.costs:
        tables.append(costs_table(evaluation.costs))
    if behaviour.left_out:
        tables.append(Table("Asked for and not there", "; ".join(behaviour.left_out), (), ()))
    return [*tables, *([_as_a_server(candidate.trial)] if candidate.trial else [])]


def tables_of_foresight(foreseen: Sequence[Foreseen], evaluation: Evaluation) -> list[Table]:
    """What was expected before the training beside what came of it."""
    primary = TASKS[evaluation.task].scores.scoring.primary
    compared = [(one, evaluation.baselines[one.rival]) for one in foreseen if one.rival in evaluation.baselines]
    if not compared:
        return []
    lead = (
        f"expected before the training: by how much a head on the untouched base model led on {foreseen[0].judged_by};"
        " came: by how much the adapted model leads on the held-out rows; open where the interval includes zero"
    )
    rows = [_came(one, rival.differences[primary]) for one, rival in compared]
    return [Table("Foreseen, and what came", lead, ("beside", "expected", "came", "foresight"), rows)]


def _came(one: Foreseen, lead: Difference) -> tuple[str, ...]:
    came = standing_of(lead)
    word = {True: "as foreseen", False: "not as foreseen", None: "open"}[came_true(one.expected, came)]
    return (one.against, f"{one.expected}: {_gain(one.lead)}", f"{came}: {_gain(lead)}", word)


def tables_of_training(checkpoint: Checkpoint, score: str, loss: str) -> list[Table]:
    """What of the training the facts do not hold in a line: how the means with the first weights did.

    `score` and `loss` are the names of those that the validation rows were judged by.
    """
    if not checkpoint.between:
        return []
    lead = (
        "the weights are a mean of those before and after fine-tuning, in the proportion that does best on the"
        " validation rows (WiSE-FT); 0 is the base model with its solved head, 1 what fine-tuning alone came to"
    )
    rows = [
        (f"{one['share']:g}", f"{one['validation_score']:.4f}", f"{one['validation_loss']:.4f}")
        for one in sorted(checkpoint.between, key=itemgetter("share"))
    ]
    head = ("share of the fine-tuned weights", f"validation {spelt(score)}", f"validation {loss}")
    return [Table(f"Between base model and fine-tuned: {checkpoint.between[0]['share']:g} taken", lead, head, rows)]


def choice_of(inputs: RunInputs) -> list[Table]:
    """Why this strategy, where the settings left it open."""
    choice = inputs.choice
    if choice is None:
        return []
    scoring = TASKS[inputs.data.task].scores.scoring
    cells = [(strategy, f"{score:.4f}", f"{loss:.4f}") for strategy, score, loss in choice.trials]
    return [Table("Choice of the strategy", choice.reason, ("strategy", spelt(scoring.primary), scoring.loss), cells)]


def _evidence(evaluation: Evaluation, axes: Sequence[Axis]) -> list[Table]:
    """What is left of the held-out rows' evidence, once they were looked at."""
    numbers = against_the_champion(axes)
    level, spent, looks, enough = (numbers.get(name) for name in ("level", "spent", "looks", "rows_enough"))
    if level is None or spent is None or looks is None:
        return []
    rows = evaluation.held_out.rows
    lead = "each candidate that is compared on the same rows spends some of what they can show, so that all of them"
    lead += " together rarely promote one that is no better; new held-out rows bring theirs whole"
    cells = [
        ("candidates that the rows had seen before, on average", f"{looks:.1f}"),
        ("share of their evidence spent before this one", f"{100 * spent:.0f} %"),
        ("p value that this one had to reach", f"{level:.2g}"),
    ]
    if enough is not None:
        more = f"{enough - rows:,.0f} more than these" if enough > rows else "these are enough"
        cells.append(("rows that show the wanted difference four times out of five", f"{enough:,.0f}: {more}"))
    return [Table("Evidence of the held-out rows", lead, ("what", "how much"), cells)]


def _luck(evaluation: Evaluation) -> list[Table]:
    """The champion's score on rows that it was not chosen by."""
    seen, compared, champion = evaluation.chosen, evaluation.comparison, evaluation.champion
    if seen is None or compared is None or champion is None:
        return []
    primary = TASKS[evaluation.task].scores.scoring.primary
    # In the target domain where the policy wants the improvement there, or in an earlier version of the data.
    elsewhere = seen.others == evaluation.held_out.rows
    where = "other rows than those held out here" if elsewhere else "rows that are held out here"
    lead = f"version {champion.version} became champion because it was better on {where}, by"
    lead += f" {seen.gain:.4f}; a model that was chosen by its score looks better there than it is"
    cells = [("these held-out rows", f"{evaluation.held_out.rows:,}", _valued(compared.scores[primary]))]
    if seen.luck is not None:
        lead += f"; without that luck its gain is about {seen.corrected:.4f}"
        lead += "" if elsewhere else f", and its score here {seen.luck:.4f} lower"
    few = "too few to tell" if seen.others else "none has come since"
    others = few if seen.scores is None else _valued(seen.scores[primary])
    cells.append(("those of them that it was not chosen by", f"{seen.others:,}", others))
    header = ("rows", "how many", f"{spelt(primary)} of the champion (95 % interval)")
    return [Table("The champion's luck", lead, header, cells)]


def _valued(score: Score) -> str:
    return f"{score.value:.4f} ({score.low:.4f} – {score.high:.4f})"


def _signed(seen: Difference) -> str:
    return f"{seen.value:+.4f} ({seen.low:+.4f} – {seen.high:+.4f})"


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


def _with_thresholds(seen: ThresholdsOfGroups, primary: str) -> Table:
    lead = (
        f"what thresholds for each group of {seen.name} would bring, as fairlearn sets them on"
        f" {seen.learned_from:,} validation rows ({spelt(seen.constraint)}); the model is served without them, for a"
        " request does not say of which group it is"
    )
    rows = [
        (one.measure, f"{one.frozen or 0:.3f}", f"{one.value:.3f}: {one.between}", _gain(one.amplification))
        for one in seen.disparities
    ]
    rows.append((spelt(primary), "", "", _gain(seen.cost)))
    head = ("difference between groups", "as served", "with thresholds", "change (95 % interval)")
    return Table("Thresholds for each group", lead, head, rows)


def _in_the_target_domain(seen: OnTarget, primary: str) -> Table:
    """The candidate, and each model that it was compared with on the labelled rows of the target domain."""
    lead = f"{seen.rows:,} labelled rows of where the model will work, which no model learned from"
    if seen.groups is not None:
        lead += f", of {seen.groups:,} groups"
    own = Score(**seen.scores[primary])
    rivals = [*([seen.comparison] if seen.comparison else []), *seen.rivals.values()]
    cells = [("this model", _valued(own), "")]
    for rival in rivals:
        cells.append((rival.against, _valued(rival.scores[primary]), _signed(rival.differences[primary])))
    if seen.obstacle:
        cells.append((seen.obstacle, "", ""))
    return Table("Target domain", lead, ("model", spelt(primary), "this model minus that, on the same rows"), cells)


def _of_the_source_task(retention: Retention) -> Table:
    lead = (
        f"a linear head was solved on what a model makes of {retention.learned_from:,} rows of what the base model was"
        f" made for, with {retention.labels} labels, and judged on {retention.gains.rows:,} others: what the adapted"
        " model tells less often, it forgot"
    )
    if retention.unchanged:
        lead += "; here nothing could be forgotten, what the model makes of these rows is bit for bit as before"
    scored = (("the frozen base model", retention.before), ("this model", retention.after))
    rows = [(whose, _valued(one)) for whose, one in scored]
    return Table(
        "Source task",
        lead,
        ("linear head on", "accuracy (95 % interval)"),
        [*rows, ("difference, paired on rows", _gain(retention.difference))],
    )


def _of_distances(pairs: Sequence[Pair]) -> Table:
    lead = (
        "what the untouched base model makes of some of the rows, before any training: how well a linear classifier"
        " tells the two sets apart, and where two parts of one set lie nine times in ten; * where the value is beyond"
        " that once in twenty times or less"
    )
    rows = [
        (pair.target, pair.source, f"{pair.distances.told_apart:.1%}", *map(_beside_usual, pair.distances.of.values()))
        for pair in pairs
    ]
    header = ("rows", "beside", "told apart", *(f"{name} (usual)" for name in MEASURES.values()))
    advice = [f"; {pair.advice}" for pair in pairs if pair.distances.differ]
    return Table("How far from home", lead + "".join(advice), header, rows)


def _beside_usual(one: Distance) -> str:
    return f"{one.value:.4f}{' *' if one.is_alarm else ''} ({one.usual_low:.4f} – {one.usual_high:.4f})"


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

"""The targets of a model as tables of the report and the model card: all of them in one, and each further one whole."""

from collections.abc import Iterator, Mapping

from graftline.answers.tasks import TASKS
from graftline.evaluation.bootstrap import Difference
from graftline.evaluation.scoring import spelt
from graftline.pages.report import SCORES_OF_SLICES, Table
from graftline.tasks.steps.baselines import MAJORITY, SINGLE_TASK
from graftline.tasks.steps.evaluation import Evaluation

NOT_COMPARED = "not compared"


def targets_table(evaluation: Evaluation) -> Table | None:
    """The main score of every target in one table; None where there is only one target."""
    if not evaluation.further:
        return None
    lead = (
        "one backbone, a head for each; every score is on the held-out rows that have the target, and every difference"
        " paired on them: alone is the same training of the same base model for this target only"
    )
    against = f"better than champion version {evaluation.champion.version} by" if evaluation.champion else "champion"
    head = ("target", "main score (95 % interval)", "held-out rows", "without a model", against, "better than alone by")
    rows = [_row(name or str(evaluation.first), one) for name, one in evaluation.each.items()]
    return Table("Targets", lead, head, rows)


def further_tables(evaluation: Evaluation) -> Iterator[Table]:
    """All numbers of the targets beside the first one, whose own stand in a place of their own."""
    for name, one in evaluation.further.items():
        yield _scores(name, one)
        yield _baselines(name, one)
        if one.held_out.classes:
            yield _classes(name, one)
        for column in one.held_out.slices:
            yield _slices(name, column, one)


def _row(name: str, one: Evaluation) -> tuple[str, ...]:
    scoring = TASKS[one.task].scores.scoring
    primary, alone = scoring.primary, one.baselines.get(SINGLE_TASK)
    return (
        f"{name} ({one.task.replace('_', ' ')})",
        f"{spelt(primary)} {_interval(one.scores[primary])}",
        f"{one.held_out.rows:,}",
        f"{one.baselines[MAJORITY].scores[primary].value:.4f} ({scoring.baseline})",
        _gain(one.main_difference),
        _gain(alone.differences[primary]) if alone else one.left_out.get(SINGLE_TASK, NOT_COMPARED),
    )


def _scores(name: str, one: Evaluation) -> Table:
    before = one.held_out.calibration
    lead = f"all scores on the {one.held_out.rows:,} held-out rows that have it"
    if before.temperature != 1:
        lead += f"; its probabilities are those of a temperature of {before.temperature:.3f}"
    rows = []
    for score, better in TASKS[one.task].scores.scoring.better.items():
        gain = one.comparison.differences[score] if one.comparison else None
        rows.append((f"{spelt(score)}, {better} is better", _interval(one.scores[score]), _gain(gain)))
    return Table(f"{name}: scores", lead, ("score", "this model (95 % interval)", "minus the champion's"), rows)


def _baselines(name: str, one: Evaluation) -> Table:
    primary = TASKS[one.task].scores.scoring.primary
    rows = [
        (rival.against, _interval(rival.scores[primary].as_json()), _gain(rival.differences[primary]))
        for rival in one.baselines.values()
    ]
    rows += [(spelt(key), f"{NOT_COMPARED}: {why}", "") for key, why in one.left_out.items()]
    head = ("baseline", f"{spelt(primary)} (95 % interval)", "lead of this model")
    return Table(f"{name}: baselines", "on the same rows", head, rows)


def _classes(name: str, one: Evaluation) -> Table:
    parts = ("precision", "recall", "f1")
    rows = [
        (str(found["label"]), f"{found['rows']:,}", *(f"{found[part]:.4f}" for part in parts))
        for found in one.held_out.classes
    ]
    return Table(
        f"{name}: label by label", "on the held-out rows", ("label", "rows", "precision", "recall", "F1"), rows
    )


def _slices(name: str, column: str, one: Evaluation) -> Table:
    scores = list(TASKS[one.task].scores.scoring.better)[:SCORES_OF_SLICES]
    rows = [
        (part.value, f"{part.rows:,}", *(_interval(part.scores[score]) for score in scores))
        for part in one.held_out.slices[column]
    ]
    head = (column, "rows", *(f"{spelt(score)} (95 % interval)" for score in scores))
    return Table(f"{name}: per {column}", "parts of the held-out rows", head, rows)


def _interval(score: Mapping[str, float]) -> str:
    return f"{score['value']:.4f} ({score['low']:.4f} – {score['high']:.4f})"


def _gain(difference: Difference | None) -> str:
    if difference is None:
        return NOT_COMPARED
    return f"{difference.value:+.4f} ({difference.low:+.4f} – {difference.high:+.4f})"

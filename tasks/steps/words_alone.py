"""What a linear model on the words of texts says of rows: the baseline of that name, and what is foreseen beside it."""

from typing import TYPE_CHECKING

from graftline.answers.tasks import TASKS
from graftline.data.splitting import Side
from graftline.settings.adaptation import Answers
from graftline.tasks.data.accepted_rows import ValidatedData, read_split, split_targets
from graftline.tasks.steps.answer_rule import by_thresholds

if TYPE_CHECKING:
    from graftline.evaluation.metrics import Floats


def answers_on_words(data: ValidatedData, asked: Side, *, balanced: bool, answers: Answers = "likeliest") -> "Floats":
    """For the rows of the side that is `asked`, which may be that of validation: (rows, outputs).

    The validation rows choose its penalty, and with `thresholds` those of the labels, as they do for an adapted model.
    """
    from graftline.evaluation.baselines import bag_of_words

    task = TASKS[data.task]
    train, held, wanted = (read_split(data, side, ["input"])["input"] for side in ("train", "validation", asked))
    learned = split_targets(data, "train")
    targets = {"train": learned.numpy(), "validation": split_targets(data, "validation").numpy()}
    texts = {"train": train, "validation": held, "test": [*held, *wanted]}
    said = bag_of_words(task.scores, texts, targets, labels=data.labels, balanced=balanced)
    chosen_by, found = said[: len(held)], said[len(held) :]
    if answers != "thresholds":
        return found
    return by_thresholds(task.outputs.outputs_for(data.labels, learned), chosen_by, targets["validation"], found)

"""Learning once more, from the validation rows too, after these have chosen how long to learn."""

from collections.abc import Mapping
from dataclasses import replace

from graftline.frozen.rows import InputRows, joined
from graftline.training.plan import Training


def with_validation_rows(rows: Mapping[str, InputRows]) -> dict[str, InputRows]:
    """The sides of an adaptation, of which the validation rows stand behind those to learn from, too."""
    return {**rows, "train": joined([rows["train"], rows["validation"]])}


def settled(training: Training, *, rate: float, last_epoch: int) -> Training:
    """The training that ends after an epoch that was chosen, at a rate that was found, and tells of no epoch."""
    plan = training.plan
    of_head = plan.head_learning_rate * rate / plan.learning_rate
    plan = replace(plan, learning_rate=rate, head_learning_rate=of_head, last_epoch=last_epoch)
    unheard = replace(training.listener, finished_epoch=lambda _: None)
    return replace(training, plan=plan, listener=unheard)

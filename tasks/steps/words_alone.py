"""What a linear model on the words of texts says of rows: the baseline of that name, and what is foreseen beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graftline.answers.tasks import TASKS
from graftline.data.splitting import Side
from graftline.settings.adaptation import AdaptationSettings
from graftline.tasks.data.accepted_rows import ValidatedData, read_split, split_targets
from graftline.tasks.steps.answer_rule import by_thresholds

if TYPE_CHECKING:
    from torch import Tensor

    from graftline.evaluation.metrics import Floats, Integers


LABELLED: tuple[Side, ...] = ("train", "validation")


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, and their targets as they are read: (rows,) or (rows, labels)."""

    texts: Sequence[str]
    targets: "Tensor"

    @classmethod
    def of(cls, data: ValidatedData, *sides: Side) -> "LabelledTexts":
        """Those of some sides, one after the other."""
        import torch

        texts = [text for side in sides for text in read_split(data, side, ["input"])["input"]]
        return cls(texts, torch.cat([split_targets(data, side) for side in sides]))

    def at(self, places: "Integers") -> "LabelledTexts":
        """Some of them."""
        return LabelledTexts([self.texts[place] for place in places.tolist()], self.targets[places])


def answers_on_words(
    data: ValidatedData,
    train: LabelledTexts,
    validation: LabelledTexts,
    asked: Sequence[str],
    settings: AdaptationSettings,
) -> "Floats":
    """For the texts that are `asked`: (rows, outputs).

    The validation rows choose its penalty, and with `answers: thresholds` those of the labels, as they do for an
    adapted model.
    """
    from graftline.evaluation.baselines import bag_of_words

    task, held = TASKS[data.task], validation.targets.numpy()
    texts = {"train": train.texts, "validation": validation.texts, "test": [*validation.texts, *asked]}
    targets = {"train": train.targets.numpy(), "validation": held}
    balanced = settings.class_weights == "balanced"
    said = bag_of_words(task.scores, texts, targets, labels=data.labels, balanced=balanced)
    chosen_by, found = said[: len(held)], said[len(held) :]
    if settings.answers != "thresholds":
        return found
    return by_thresholds(task.outputs.outputs_for(data.labels, train.targets), chosen_by, held, found)

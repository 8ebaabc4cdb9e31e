"""The other side where rows are few: SetFit at its defaults, which needs `pip install setfit` (measured with 1.2.0)."""

import tempfile
import time

import numpy as np

# PyPI's torchvision beside a CPU build of torch; before setfit, which imports it.
import graftline.models.torchvision_import  # noqa: F401
from benchmarks.problems.problem import Task
from benchmarks.sides.turns import Outcome

BATCH = 16


def train_setfit(task: Task, seed: int, *, most_steps: int) -> Outcome:
    """Body and head as `Trainer` trains them: one epoch of all pairs, or so many steps of 16 pairs if those are fewer.

    The seconds are those of the processor, from the raw texts on; the base model is loaded before.
    """
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    model = SetFitModel.from_pretrained(str(task.base), local_files_only=True)
    model.model_body.max_seq_length = task.reading.max_tokens
    rows = Dataset.from_dict({"text": list(task.train.inputs), "label": list(task.train.targets)})
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            batch_size=BATCH,
            num_epochs=1,
            max_steps=most_steps if steps_of_an_epoch(task) > most_steps else -1,
            seed=seed,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            show_progress_bar=False,
        )
        began = time.process_time()
        Trainer(model=model, args=arguments, train_dataset=rows).train()
        seconds = time.process_time() - began
    predicted = np.asarray(model.predict(list(task.test.inputs), show_progress_bar=False))
    return Outcome(seconds, float((predicted == np.asarray(task.test.targets)).mean()))


def steps_of_an_epoch(task: Task) -> int:
    """Of all pairs, a row with itself included, those of one label as often as those of two (its oversampling)."""
    counts = np.bincount(task.train.targets)
    rows = int(counts.sum())
    alike = int((counts * (counts + 1) // 2).sum())
    return -(-2 * max(alike, rows * (rows + 1) // 2 - alike) // BATCH)

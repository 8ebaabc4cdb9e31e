"""Rows a second of our engine and of Trainer at its best, on one device: the same backbone, rows and batches."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, DataCollatorWithPadding
from transformers.modeling_outputs import SequenceClassifierOutput

from benchmarks.problems.problem import Task
from benchmarks.sides.ours import VALIDATION_SHARE, adapt
from benchmarks.sides.trainer import Collate, Recipe, run_trainer, seconds_of, tokenized
from benchmarks.sides.turns import Bench, Measured, Outcome, Side, by_turns, fastest
from graftline.frozen.freezing import freeze, train_mode
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.settings.adaptation import AdaptationSettings, Strategy

Device = Literal["cpu", "cuda"]
Work = Literal["features", "half frozen", "all of it"]
# How each is called in our settings; of "partial" the first half of the blocks is frozen.
STRATEGIES: Mapping[Work, Strategy] = {
    "features": "feature_extraction", "half frozen": "partial", "all of it": "fine_tuning",
}  # fmt: skip
OURS, COMPILED, BEST = "ours", "ours, compiled", "Trainer, best"
BATCH, EPOCHS, RATE = 32, 2, 5e-5
# Enough for Trainer's candidates to be told apart on a GPU.
TRIED_ROWS = 256


class Taught(nn.Module):
    """Our model with its loss, as Trainer wants it: what is frozen stays in eval mode and has no gradients."""

    def __init__(self, model: Classifier, work: Work, example: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.model = model
        self.point = freeze(model, STRATEGIES[work], _until(work), example=dict(example))

    def train(self, mode: bool = True) -> "Taught":
        super().train(mode)
        if mode:
            train_mode(self.model, self.point)
        return self

    def forward(self, labels: Tensor | None = None, **batch: Tensor) -> SequenceClassifierOutput:
        logits = self.model(**batch)
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def rates(bench: Bench, task: Task, work: Work, device: Device, *, compiled: bool) -> Mapping[str, Measured]:
    """Rows learned from a second (or, of features, run through the frozen part) by turns; `compiled` asks both sides.

    Ours validates after each epoch on rows that it does not learn from and that are not counted; Trainer does not.
    None learns a second time, however few the rows are.
    """
    settings = AdaptationSettings(
        strategy=STRATEGIES[work], freeze_until=_until(work), epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE,
        precision=bench.fast, feature_precision=bench.fast, refit_rows=0,
    )  # fmt: skip
    few = task.small(min(TRIED_ROWS, len(task.train.targets)))
    best = fastest(
        _candidates(task, work, device, compiled=compiled, bf16=bench.fast == "bfloat16"),
        lambda recipe: trained(few, 0, recipe=recipe, work=work).seconds,
    )
    sides: list[Side[Task]] = [
        Side(OURS, _said(settings), partial(adapted, settings=settings, work=work, device=device))
    ]
    if compiled and work != "features":
        with_compile = settings.model_copy(update={"compile": True})
        sides.append(
            Side(COMPILED, _said(with_compile), partial(adapted, settings=with_compile, work=work, device=device))
        )
    sides.append(Side(BEST, _set_up(best), partial(trained, recipe=best, work=work)))
    return by_turns(bench, sides, task, small=few)


def adapted(task: Task, seed: int, *, settings: AdaptationSettings, work: Work, device: Device) -> Outcome:
    """Our engine, once."""
    done = adapt(task, settings.model_copy(update={"seed": seed}), device=device)
    if work == "features":  # all rows, once; the head that is solved behind it is no part of this
        return Outcome(done.store_seconds, work=len(task.train.targets))
    learned = len(task.train.targets) - max(2, round(VALIDATION_SHARE * len(task.train.targets)))
    return Outcome(done.seconds, work=learned * settings.epochs)


def trained(task: Task, seed: int, *, recipe: Recipe, work: Work) -> Outcome:
    """Trainer, once, from raw inputs on."""
    preprocessor = load_preprocessor(task.base, task.reading)
    outputs = Outputs("single_label", task.labels)
    model = load_base(task.base, outputs, reading=task.reading, seed=seed)
    example = preprocessor.collate(preprocessor.encode(task.train.inputs[:2]))
    taught = Taught(model, work, example)
    return Outcome(
        seconds_of(lambda: run_trainer(taught, *_dataset(task), recipe, seed)),
        work=len(task.train.targets) * recipe.epochs,
    )


def _dataset(task: Task) -> tuple[Sequence[Mapping[str, Any]], Collate]:
    """Texts as tokens; pictures decoded once and kept in memory, which is Trainer's best."""
    if task.reading.kind == "text":
        tokenizer = AutoTokenizer.from_pretrained(task.base, local_files_only=True)
        return tokenized(task.train, tokenizer, task.reading.max_tokens), DataCollatorWithPadding(tokenizer)
    preprocessor = load_preprocessor(task.base, task.reading)
    rows = [
        preprocessor.collate([row]) | {"labels": torch.tensor([target])}
        for row, target in zip(preprocessor.encode(task.train.inputs), task.train.targets, strict=True)
    ]
    return rows, lambda batch: {name: torch.cat([row[name] for row in batch]) for name in batch[0]}


def _candidates(task: Task, work: Work, device: Device, *, compiled: bool, bf16: bool) -> list[Recipe]:
    """Set-ups of Trainer; of the device's fastest precision and equal batches, as ours."""
    by_length = task.reading.kind == "text"  # pictures are all as large
    plain = Recipe(
        1 if work == "features" else EPOCHS, "nothing", RATE, BATCH, bf16=bf16, by_length=by_length, device=device
    )
    further = [replace(plain, by_length=False)] if by_length else []
    if device == "cuda":
        further += [replace(plain, workers=2), replace(plain, workers=4)]
    return [plain, *further, *([replace(plain, compiled=True)] if compiled else [])]


def _until(work: Work) -> str | None:
    return "0.5" if work == "half frozen" else None


def _said(settings: AdaptationSettings) -> str:
    return f"{settings.precision}, batch {settings.batch_size}{', compiled' if settings.compile else ''}"


def _set_up(recipe: Recipe) -> str:
    order = "grouped by length" if recipe.by_length else "in random order"
    loaders = f", {recipe.workers} loaders" if recipe.workers else ""
    precision = "bfloat16" if recipe.bf16 else "float32"
    return f"{precision}, batch {recipe.batch_size}, {order}{loaders}{', compiled' if recipe.compiled else ''}"

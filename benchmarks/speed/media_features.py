"""Feature extraction from pictures and sounds, against Trainer at its best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import SequenceClassifierOutput

from benchmarks.problems.problem import Labelled, Task
from benchmarks.sides.ours import adapted_outcome, with_openvino
from benchmarks.sides.trainer import Recipe, best_recipe, rows_right, run_trainer
from benchmarks.sides.turns import WARM_UP_ROWS, Bench, Clock, Comparison, Measured, Outcome, Row, Side, by_turns
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.models.preprocessing import Preprocessor
from graftline.settings.adaptation import AdaptationSettings

EPOCHS = 5
HEAD_RATE = 1e-2
OURS, FASTER, BEST = "ours", "ours, OpenVINO", "Trainer, best"


@dataclass(frozen=True)
class MediaRecipe(Recipe):
    """How Trainer is set up for pictures and sounds."""

    channels_last: bool = False

    @property
    def what(self) -> str:
        kept = "decoded once and kept in memory, frozen part in eval mode"
        precision = "bf16" if self.bf16 else "fp32"
        order = ", channels last" if self.channels_last else ""
        return f"batch {self.batch_size}, {precision}{order}, rate {self.learning_rate:g}, {kept}"


class FrozenBackbone(nn.Module):
    """A backbone that stays in eval mode, and a linear head, as transformers' own classes answer."""

    def __init__(self, task: Task, seed: int, *, channels_last: bool) -> None:
        super().__init__()
        model = load_base(task.base, Outputs("single_label", task.labels), reading=task.reading, seed=seed)
        self.backbone, self.family, self.pooling = model.backbone, model.family, model.pooling
        self.head = model.output_layer
        self.backbone.requires_grad_(False)
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train(self, mode: bool = True) -> "FrozenBackbone":
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, labels: Tensor | None = None, **batch: Tensor) -> SequenceClassifierOutput:
        logits = self.head(self.family.vectors(self.backbone, batch, self.pooling))
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def measure(bench: Bench, task: Task) -> Mapping[str, Measured]:
    """Both sides from files in memory to a linear head on the frozen backbone."""
    ours = AdaptationSettings(strategy="feature_extraction", precision=bench.fast)
    # In bfloat16 OpenVINO's EfficientNet lies 4.1 % off, and is refused from 3.9 % on.
    exact = with_openvino(AdaptationSettings(strategy="feature_extraction"))
    recipe = MediaRecipe(EPOCHS, "backbone", HEAD_RATE)
    all_ = replace(recipe, bf16=True, channels_last=True)
    candidates = [replace(all_, batch_size=size) for size in (8, 16, 32)]
    candidates += [
        replace(recipe, batch_size=16, bf16=bf16, channels_last=channels_last)
        for bf16, channels_last in ((True, False), (False, True), (False, False))
    ]
    best = best_recipe(bench, task, candidates, train_media)
    sides: list[Side[Task]] = [
        Side(OURS, f"{bench.fast}, solved head", lambda rows, _: adapted_outcome(rows, ours)),
        Side(FASTER, "float32, solved head", lambda rows, _: adapted_outcome(rows, exact)),
        Side(BEST, best.what, lambda rows, seed: train_media(rows, best, seed)),
    ]
    return by_turns(bench, sides, task, small=task.small(WARM_UP_ROWS))


def train_media(task: Task, recipe: MediaRecipe, seed: int) -> Outcome:
    """Train a linear head. Timed from the files on; the base model is loaded before."""
    preprocessor = load_preprocessor(task.base, task.reading)
    model = FrozenBackbone(task, seed, channels_last=recipe.channels_last)

    def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        batch = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        if not recipe.channels_last:
            return batch
        return {
            name: tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
            for name, tensor in batch.items()
        }

    began = Clock.seconds()
    # Decoded in every epoch they would cost Trainer more; this is its best.
    run_trainer(model, _decoded(preprocessor, task.train), collate, recipe, seed)
    seconds = Clock.seconds() - began
    return Outcome(seconds, float(rows_right(model, _decoded(preprocessor, task.test), collate).mean()))


def _decoded(preprocessor: Preprocessor, labelled: Labelled) -> list[dict[str, Tensor]]:
    rows = preprocessor.encode(labelled.inputs)
    return [
        preprocessor.collate([row]) | {"labels": torch.tensor([target])}
        for row, target in zip(rows, labelled.targets, strict=True)
    ]


def _rows(what: str) -> tuple[Row, ...]:
    return tuple(Row(f"{what}, frozen, 5 epochs", ours, BEST, target=0.9 * EPOCHS) for ours in (OURS, FASTER))


IMAGES = Comparison("image_features", "image", _rows("images"), measure)
SPEECH = Comparison("speech_features", "audio", _rows("speech"), measure)

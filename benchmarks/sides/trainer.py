"""The other side: transformers' Trainer, at its defaults and as well as it can be set up."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainingArguments,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from benchmarks.problems.problem import Labelled, Task
from benchmarks.sides.turns import WARM_UP_ROWS, Bench, Clock, Outcome, fastest
from graftline.models.batching import sorted_batches

Frozen = Literal["backbone", "half", "nothing"]
Collate = Callable[[Sequence[Mapping[str, Any]]], dict[str, Tensor]]
Right = NDArray[np.bool_]
TEST_BATCH = 32
DROPOUT = 0.1


@dataclass(frozen=True)
class Recipe:
    """How Trainer is set up; where nothing is said, as it is set up by itself."""

    epochs: int
    frozen: Frozen
    learning_rate: float = 5e-5
    batch_size: int = 8
    bf16: bool = False
    by_length: bool = False
    mean_pooled: bool = False
    """The mean of the tokens under a linear head, as this base model was trained, instead of BERT's pooler."""
    frozen_in_eval: bool = False
    """Needs `mean_pooled`."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    device: Literal["cpu", "cuda"] = "cpu"
    workers: int = 0
    """Processes that make batches; 0: the one that trains."""
    compiled: bool = False

    @property
    def what(self) -> str:
        """The recipe in words."""
        said = [
            f"batch {self.batch_size}",
            "bf16" if self.bf16 else "fp32",
            f"rate {self.learning_rate:g}",
            f"{self.attention} attention",
        ]
        said += ["grouped by length"] if self.by_length else []
        said += ["mean of the tokens"] if self.mean_pooled else []
        said += ["frozen part in eval mode"] if self.frozen_in_eval else []
        return ", ".join(said)


R = TypeVar("R", bound=Recipe)


class MeanPooled(PreTrainedModel):  # type: ignore[misc]
    """A backbone of transformers, the mean of its tokens, and a linear head, as transformers' own classes answer."""

    _supports_sdpa = True

    def __init__(self, backbone: Any, labels: Sequence[str], *, frozen_in_eval: bool = False) -> None:
        super().__init__(backbone.config)
        self.config.id2label = dict(enumerate(labels))
        self.config.label2id = {label: place for place, label in enumerate(labels)}
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(backbone.config.hidden_size, len(labels)))
        self.frozen_in_eval = frozen_in_eval

    def train(self, mode: bool = True) -> "MeanPooled":
        super().train(mode)
        if self.frozen_in_eval:
            self.backbone.eval()
        return self

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> SequenceClassifierOutput:
        given = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **given).last_hidden_state
        weights = attention_mask.unsqueeze(-1).to(hidden.dtype)
        logits = self.head((hidden * weights).sum(1) / weights.sum(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def train_text(task: Task, recipe: Recipe, seed: int) -> Outcome:
    """Train on the task's texts, judged by those that it holds out."""
    seconds, right = trained_text(task, recipe, seed)
    return Outcome(seconds, float(right(task.test).mean()))


def trained_text(task: Task, recipe: Recipe, seed: int) -> tuple[float, Callable[[Labelled], Right]]:
    """Train on the task's texts. Returns: the seconds from the raw texts on, the base model being loaded; a judge."""
    tokenizer = AutoTokenizer.from_pretrained(task.base, local_files_only=True)
    model = _text_model(task, recipe, seed)
    collate = DataCollatorWithPadding(tokenizer)
    seconds = seconds_of(
        lambda: run_trainer(model, tokenized(task.train, tokenizer, task.reading.max_tokens), collate, recipe, seed)
    )

    def right(labelled: Labelled) -> Right:
        return rows_right(model, tokenized(labelled, tokenizer, task.reading.max_tokens), collate)

    return seconds, right


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes, until a GPU is done with it, too."""
    began = Clock.seconds()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return Clock.seconds() - began


def run_trainer(
    model: nn.Module, dataset: Sequence[Mapping[str, Any]], collate: Collate, recipe: Recipe, seed: int
) -> None:
    """Train without checkpoints, evaluation and reports, which cost time and are no part of the comparison."""
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            bf16=recipe.bf16,
            train_sampling_strategy="group_by_length" if recipe.by_length else "random",
            seed=seed,
            use_cpu=recipe.device == "cpu",
            dataloader_num_workers=recipe.workers,
            torch_compile=recipe.compiled,
            remove_unused_columns=False,  # there are none
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=collate)
        trainer.remove_callback(PrinterCallback)
        trainer.train()


def best_recipe(bench: Bench, task: Task, candidates: Sequence[R], train: Callable[[Task, R, int], Outcome]) -> R:
    """The recipe that trains a few rows in the least time."""
    few = task.small(WARM_UP_ROWS)
    best = fastest(candidates, lambda recipe: train(few, replace(recipe, epochs=1), 0).seconds)
    bench.say(f"Trainer is fastest with {best.what}")
    return best


def rows_right(model: nn.Module, dataset: Sequence[Mapping[str, Any]], collate: Collate) -> Right:
    """Which rows it answers right, in eval mode and float32: (rows,)."""
    model.eval()
    right = np.zeros(len(dataset), dtype=bool)
    lengths = [len(row.get("input_ids", "1")) for row in dataset]
    with torch.inference_mode():
        for batch in sorted_batches(lengths, TEST_BATCH):
            inputs = collate([dataset[row] for row in batch])
            targets = inputs.pop("labels")
            right[batch] = (model(**inputs).logits.argmax(1) == targets).numpy()
    return right


def _text_model(task: Task, recipe: Recipe, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    chosen: dict[str, Any] = {
        "local_files_only": True,
        "dtype": torch.float32,
        "attn_implementation": recipe.attention,
    }
    model: Any
    if recipe.mean_pooled:
        backbone = AutoModel.from_pretrained(task.base, **chosen)
        model = MeanPooled(backbone, task.labels, frozen_in_eval=recipe.frozen_in_eval)
    else:
        model = AutoModelForSequenceClassification.from_pretrained(task.base, num_labels=len(task.labels), **chosen)
        backbone = model.base_model
    for parameters in _frozen_parts(backbone, recipe.frozen):
        parameters.requires_grad_(False)
    learner: nn.Module = model
    return learner


def _frozen_parts(backbone: Any, frozen: Frozen) -> list[nn.Module]:
    """As BERT's are commonly frozen."""
    if frozen == "nothing":
        return []
    if frozen == "backbone":
        return [backbone]
    blocks = backbone.encoder.layer
    return [backbone.embeddings, *blocks[: len(blocks) // 2]]


def tokenized(labelled: Labelled, tokenizer: Any, max_tokens: int) -> list[dict[str, Any]]:
    """The rows as Trainer wants them."""
    fields = tokenizer(list(labelled.inputs), truncation=True, max_length=max_tokens)
    return [
        {name: fields[name][row] for name in fields} | {"labels": target} for row, target in enumerate(labelled.targets)
    ]

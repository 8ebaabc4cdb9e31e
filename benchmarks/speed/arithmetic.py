"""Useful arithmetic while texts are encoded and trained on, as a share of what the machine's matrix products reach."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.problems.problem import Task
from benchmarks.sides.ours import adapt, adapted_outcome, held_rows
from benchmarks.sides.trainer import Recipe, train_text
from benchmarks.sides.turns import WARM_UP_ROWS, Bench, Comparison, Measured, Outcome, Row, Side, by_turns, fastest
from benchmarks.speed.machine import Shape, products
from benchmarks.speed.text_fine_tuning import fastest_trainer
from graftline.compute.precision import Precision
from graftline.models.classifier import Classifier
from graftline.models.folders import load_base, load_preprocessor
from graftline.models.outputs import Outputs
from graftline.settings.adaptation import AdaptationSettings, Runtime

SQUARES = (512, 1024, 2048, 4096)
PRECISIONS: tuple[Precision, ...] = ("bfloat16", "float32")
ENCODING, FASTER = "encoding, {}", "encoding with OpenVINO, {}"
TRAINING, TRAINERS = "training, {}", "Trainer, best, {}"
PEAK, OWN_SHAPES = "square products, {}", "products of the model's shapes, {}"
# Of what products of the model's own shapes attain.
TARGET = 0.8


def _row(what: str, ours: str, against: str, precision: Precision, target: float | None = None) -> Row:
    return Row(f"{what}, {precision}", ours.format(precision), against.format(precision), target=target, as_share=True)


def _rows(precision: Precision) -> tuple[Row, ...]:
    encoding, training = "useful arithmetic while encoding", "useful arithmetic while training everything"
    return (
        *(_row(encoding, ours, OWN_SHAPES, precision, target=TARGET) for ours in (ENCODING, FASTER)),
        *(_row(training, side, OWN_SHAPES, precision) for side in (TRAINING, TRAINERS)),
        _row("linear layers of the model's shapes alone", OWN_SHAPES, PEAK, precision),
    )


ROWS = (*_rows("bfloat16"), *_rows("float32"))


def measure(bench: Bench, task: Task) -> Mapping[str, Measured]:
    """Encoding into a fresh feature store, an epoch, and plain matrix products, in every precision of the processor."""
    gflops = useful_gflops(task)
    gflop = sum(gflops)
    shapes = _own_shapes(task)
    sides: list[Side[Task]] = []
    for precision in PRECISIONS if bench.fast == "bfloat16" else ("float32",):
        trainer = replace(fastest_trainer(replace(bench, fast=precision), task), epochs=1)
        peak = fastest(SQUARES, partial(_seconds_per_gflop, precision, bench.peak_seconds))
        square = [(peak, peak, peak)]
        sides += [
            Side(ENCODING.format(precision), f"{gflop:.0f} GFLOP", partial(_encoding, precision, "torch", gflop)),
            Side(FASTER.format(precision), f"{gflop:.0f} GFLOP", partial(_encoding, precision, "openvino", gflop)),
            Side(TRAINING.format(precision), "an epoch in batches of 16", partial(_training, precision, gflops)),
            Side(TRAINERS.format(precision), f"an epoch, {trainer.what}", partial(_trainer, trainer, gflop)),
            Side(PEAK.format(precision), f"{peak} x {peak}", partial(_products, square, precision, bench.peak_seconds)),
            Side(
                OWN_SHAPES.format(precision),
                f"{shapes[0][0]} tokens at a time",
                partial(_products, shapes, precision, bench.peak_seconds),
            ),
        ]
    return by_turns(bench, sides, task, small=task.small(WARM_UP_ROWS))


def useful_gflops(task: Task) -> list[float]:
    """The operations that the backbone needs for each of the training rows, alone and so without padding.

    Two per multiply-add of every matrix product, those of attention included; nothing else counts.
    """
    preprocessor, model = load_preprocessor(task.base, task.reading), _model(task)
    rows = preprocessor.encode(task.train.inputs)
    of_length: dict[int, int] = {}
    for row in rows:
        length = preprocessor.length(row)
        if length not in of_length:
            # Of the fused attention on processors torch knows no count.
            with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                model.features(**preprocessor.collate([row]))
            of_length[length] = counter.get_total_flops()
    return [of_length[preprocessor.length(row)] / 1e9 for row in rows]


def _encoding(precision: Precision, runtime: Runtime, gflop: float, task: Task, seed: int) -> Outcome:  # noqa: ARG001
    # The warm-up is given fewer rows than were counted; its outcome is not kept.
    settings = AdaptationSettings(strategy="feature_extraction", precision=precision, runtime=runtime)
    return Outcome(adapt(task, settings).store_seconds, work=gflop)


def _training(precision: Precision, gflops: Sequence[float], task: Task, seed: int) -> Outcome:
    """Twice as much backward as forward, and the rows that choose the epoch forward only."""
    settings = AdaptationSettings(strategy="fine_tuning", epochs=1, precision=precision, seed=seed)
    held = held_rows(len(gflops))
    outcome = adapted_outcome(task, settings)
    return Outcome(outcome.seconds, work=sum(gflops[:held]) + 3 * sum(gflops[held:]))


def _trainer(recipe: Recipe, gflop: float, task: Task, seed: int) -> Outcome:
    return Outcome(train_text(task, recipe, seed).seconds, work=3 * gflop)


def _products(shapes: list[Shape], precision: Precision, seconds: float, task: Task, seed: int) -> Outcome:  # noqa: ARG001
    return products(shapes, precision, seconds)


def _seconds_per_gflop(precision: Precision, seconds: float, size: int) -> float:
    outcome = products([(size, size, size)], precision, seconds)
    return outcome.seconds / outcome.work


def _own_shapes(task: Task) -> list[Shape]:
    """Those of the backbone's linear layers, for as many tokens as it is given at a time."""
    tokens = load_preprocessor(task.base, task.reading).batch_length
    layers = [module for module in _model(task).backbone.modules() if isinstance(module, nn.Linear)]
    return [(tokens, layer.in_features, layer.out_features) for layer in layers]


def _model(task: Task) -> Classifier:
    return load_base(task.base, Outputs("single_label", task.labels), reading=task.reading, seed=0).eval()


COMPARISON = Comparison("arithmetic", "text", ROWS, measure)

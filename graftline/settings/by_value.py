"""The settings as keys of results count them: where they differ from the default that they were first released with.

So a new setting, and one that is written out though it is the default, leave every finished result as good as it was,
while a default that is changed later makes new ones, because it differs from the first.
"""

from collections.abc import Collection, Mapping
from typing import Literal, cast

from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from graftline.settings.sections import Section

Root = Literal["data", "adaptation", "evaluation", "policy"]

# Never change a line of this table, only add what is new; a test says what is missing. What each machine settles for
# itself stands here as the plainest machine has it.
FIRST_DEFAULTS: Mapping[Root, Mapping[str, JsonValue]] = {
    "data": {
        "kind": "text",
        "task": "single_label",
        "split_folders": "use",
        "input": "text",
        "target": "label",
        "targets": [],
        "label_separator": "|",
        "labels": [],
        "label_aliases": [],
        "id": None,
        "group": None,
        "target_domain": None,
        "licence": "unknown",
        "slices": [],
        "test_share": 0.15,
        "validation_share": 0.15,
        "max_quarantined": 0.01,
        "max_twins": 0.2,
        "max_characters": 20000,
        "min_side": 16,
        "max_pixels": 50000000,
        "sample_bits": 0,
        "min_seconds": 0.1,
        "max_seconds": 30.0,
        "silence_level": 0.001,
        "min_rows_per_class": 20,
        "min_class_share": 0.01,
        "near_duplicate_similarity": 0.85,
        "near_duplicate_bits": 12,
        "allow_modified": False,
    },
    "adaptation": {
        "strategy": "probe_then_fine_tune",
        "auto_passes": 50,
        "freeze_until": None,
        "head": "linear",
        "head_penalty": 0.0,
        "pretraining_epochs": 0,
        "pretraining_learning_rate": 0.0001,
        "epochs": 3,
        "learning_rate": 5e-05,
        "head_learning_rate": 0.001,
        "find_learning_rate": False,
        "layer_decay": 1.0,
        "l2_sp": 0.0,
        "batch_size": 16,
        "gradient_accumulation": 1,
        "gradient_checkpointing": False,
        "compile": False,
        "weight_decay": 0.01,
        "warmup_share": 0.1,
        "schedule": "linear",
        "stage_epochs": 1,
        "average": "none",
        "domain": "none",
        "runs": 1,
        "lora_rank": 8,
        "lora_alpha": 16.0,
        "lora_dropout": 0.1,
        "lora_targets": None,
        "lora_merge": True,
        "max_tokens": 128,
        "max_seconds": 30.0,
        "augmentation": "none",
        "views": 4,
        "block_pattern": None,
        "runtime": "torch",
        "device": "cpu",
        "precision": "float32",
        "feature_precision": "float32",
        "feature_gigabytes": 20.0,
        "patience": 0,
        "refit_rows": 0,
        "label_smoothing": 0.0,
        "class_weights": "none",
        "answers": "likeliest",
        "fairness": "none",
        "task_balance": "equal",
        "teacher": None,
        "threads": 0,
        "workers": 1,
        "seed": 0,
    },
    "evaluation": {
        "bootstrap": 1000,
        "seed": 0,
        "changed_rows": 200,
        "examples": 6,
        "directions": [],
        "groups": [],
        "counterfactuals": [],
        "group_thresholds": "none",
        "costs": [],
        "probe": None,
        "probe_input": None,
        "probe_target": None,
        "target_rows": None,
    },
    "policy": {
        "floors": {"accuracy": 0.0, "macro_f1": 0.0, "r2": 0.0},
        "wanted_difference": 0.02,
        "significance": 0.05,
        "false_promotions": 0.05,
        "planned_looks": 365,
        "main_score": "task",
        "improvement": "held_out",
        "slice_margin": 0.05,
        "smallest_slice": 200,
        "margins": {
            "accuracy": 0.03,
            "macro_f1": 0.03,
            "micro_f1": 0.03,
            "subset_accuracy": 0.03,
            "calibration_error": 0.03,
            "losses": 0.1,
        },
        "main_target": None,
        "target_margin": 0.03,
        "baselines": ["tfidf", "frozen_head", "scratch"],
        "negative_transfer": {"scratch": 0.0, "frozen_head": 0.0},
        "limits": {"p95_milliseconds": None, "memory_megabytes": None},
        "robustness": {"unchanged": None, "directed": None},
        "bias": {"amplification": None},
        "retention": {"forgotten": None},
        "distance": {"a_distance": None},
        "costs": {"worse": None},
        "effects": {
            "other_scores": "block",
            "slices": "block",
            "baseline": "block",
            "negative_transfer": "block",
            "interference": "block",
            "serving": "block",
            "hostile_requests": "block",
            "robustness": "block",
            "bias": "block",
            "target_domain": "block",
            "retention": "block",
            "distance": "block",
            "costs": "block",
        },
        "approval_within_hours": None,
    },
}


def by_value(section: Section, root: Root, *, without: Collection[str] = ()) -> dict[str, JsonValue]:
    """The values of a section that a key has to name, in plain types; `without` those that decide nothing."""
    first = _joined(_present_defaults(section), FIRST_DEFAULTS[root])
    differing = _differing(section.model_dump(mode="json"), first)
    return {name: value for name, value in differing.items() if name not in without}


def _present_defaults(section: Section) -> dict[str, JsonValue]:
    """The defaults of today: they count for a field that is not in the table yet."""
    fields = type(section).model_fields.items()
    defaults = {name: field.get_default(call_default_factory=True) for name, field in fields if not field.is_required()}
    return cast("dict[str, JsonValue]", to_jsonable_python(defaults))


def _joined(present: Mapping[str, JsonValue], first: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    joined = {**present, **first}
    for name, value in first.items():
        now = present.get(name)
        if isinstance(value, dict) and isinstance(now, dict):
            joined[name] = _joined(now, value)
    return joined


def _differing(given: Mapping[str, JsonValue], first: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    differing: dict[str, JsonValue] = {}
    for name, value in given.items():
        default = first.get(name, ...)
        if isinstance(value, dict) and isinstance(default, dict):
            if inside := _differing(value, default):
                differing[name] = inside
        elif value != default:
            differing[name] = value
    return differing

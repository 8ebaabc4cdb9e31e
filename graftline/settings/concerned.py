"""Which settings mean something for which data: a form need not show the others."""

from collections.abc import Mapping

from graftline.settings.data import DataSettings, Kind
from graftline.settings.further_targets import Task
from graftline.settings.tree import Settings

# What stands in neither is for all kinds and all tasks.
KINDS: Mapping[str, tuple[Kind, ...]] = {
    "data.max_characters": ("text",),
    "data.near_duplicate_similarity": ("text",),
    "data.split_folders": ("image", "audio"),
    "data.min_side": ("image",),
    "data.max_pixels": ("image",),
    "data.sample_bits": ("image",),
    "data.near_duplicate_bits": ("image",),
    "data.min_seconds": ("audio",),
    "data.max_seconds": ("audio",),
    "data.silence_level": ("audio",),
    "adaptation.pretraining_epochs": ("text",),
    "adaptation.pretraining_learning_rate": ("text",),
    "adaptation.max_tokens": ("text",),
    "adaptation.max_seconds": ("audio",),
    "adaptation.augmentation": ("image", "audio"),
    "adaptation.views": ("image", "audio"),
    "evaluation.directions": ("text",),
    "evaluation.counterfactuals": ("text",),
}
TASKS: Mapping[str, tuple[Task, ...]] = {
    "data.label_separator": ("multi_label",),
    "data.labels": ("single_label", "multi_label"),
    "data.label_aliases": ("single_label", "multi_label"),
    "data.min_rows_per_class": ("single_label", "multi_label"),
    "data.min_class_share": ("single_label", "multi_label"),
    "evaluation.costs": ("single_label",),
    "adaptation.class_weights": ("single_label", "multi_label"),
    "adaptation.answers": ("single_label", "multi_label"),
    "adaptation.label_smoothing": ("single_label", "multi_label"),
    "evaluation.group_thresholds": ("single_label",),
}
# Those about several targets.
SEVERAL = ("adaptation.task_balance",)


def unconcerned(settings: Settings) -> list[str]:
    """The settings, as section.key, that mean nothing for these data and stand as they come."""
    return [
        name
        for name in (*KINDS, *TASKS, *SEVERAL)
        if not _concerns(name, settings.data) and _is_default(name, settings)
    ]


def _concerns(name: str, data: DataSettings) -> bool:
    tasks = {data.task, *(target.task for target in data.further)}
    is_about = data.kind in KINDS.get(name, (data.kind,)) and bool(tasks.intersection(TASKS.get(name, tasks)))
    return is_about and (name not in SEVERAL or bool(data.targets))


def _is_default(name: str, settings: Settings) -> bool:
    section_name, _, key = name.partition(".")
    section = getattr(settings, section_name)
    return bool(getattr(section, key) == type(section).model_fields[key].get_default())

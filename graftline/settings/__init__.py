"""What a user may ask for: one frozen tree, read once from `params.yaml`."""

from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.evaluation import EvaluationSettings
from graftline.settings.tree import (
    BaseModelSettings,
    DataSettings,
    Kind,
    RegistryName,
    RegistrySettings,
    Settings,
    Task,
    faults_of,
    parse_settings,
    read_settings,
    read_tree,
    settled_by_the_machine,
)

__all__ = [
    "AdaptationSettings",
    "BaseModelSettings",
    "DataSettings",
    "EvaluationSettings",
    "Kind",
    "RegistryName",
    "RegistrySettings",
    "Settings",
    "Task",
    "faults_of",
    "parse_settings",
    "read_settings",
    "read_tree",
    "settled_by_the_machine",
]

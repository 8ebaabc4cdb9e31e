"""The wishes of a user: one frozen tree, read once from `params.yaml`."""

from graftline.settings.adaptation import FREEZE_UNTIL, AdaptationSettings, Strategy
from graftline.settings.concerned import unconcerned
from graftline.settings.data import DATA_FOLDER, DataSettings, Kind
from graftline.settings.evaluation import EvaluationSettings
from graftline.settings.further_targets import FurtherTarget, Task
from graftline.settings.reading import PARAMS, parse_settings, read_settings, read_tree, settled_by_the_machine
from graftline.settings.tree import RANKED, BaseModelSettings, RegistryName, RegistrySettings, Settings

__all__ = [
    "DATA_FOLDER",
    "FREEZE_UNTIL",
    "PARAMS",
    "RANKED",
    "AdaptationSettings",
    "BaseModelSettings",
    "DataSettings",
    "EvaluationSettings",
    "FurtherTarget",
    "Kind",
    "RegistryName",
    "RegistrySettings",
    "Settings",
    "Strategy",
    "Task",
    "parse_settings",
    "read_settings",
    "read_tree",
    "settled_by_the_machine",
    "unconcerned",
]

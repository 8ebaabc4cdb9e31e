"""The data as they must be before a next version is made of them: exactly the version that their .dvc file names."""

from graftline.settings import DataSettings
from graftline.tasks.data.files import DataVersion
from graftline.tasks.steps.data_version import data_version
from graftline.tasks.workspace import Workspace


def whole_version(workspace: Workspace, settings: DataSettings) -> DataVersion:
    """The version, brought into its folder if it was not there.

    Raises: DataRefusedError if there are changes that are in no version, whatever data.allow_modified says.
    """
    return data_version.fn(workspace, settings.model_copy(update={"allow_modified": False}))

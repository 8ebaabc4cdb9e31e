"""What has to be set for differences between groups to be mended."""

from graftline.settings.adaptation import AdaptationSettings
from graftline.settings.data import DataSettings
from graftline.settings.evaluation import EvaluationSettings


def require_groups_to_mend(data: DataSettings, adaptation: AdaptationSettings, evaluation: EvaluationSettings) -> None:
    """Raises: ValueError where a way is set that these data have no groups, words or labels for."""
    if adaptation.fairness != "none" and data.targets:
        raise ValueError(
            f"adaptation.fairness {adaptation.fairness} is about the rows of one target, and data.targets names more;"
            " set it to none, or leave data.targets empty"
        )
    if adaptation.fairness == "reweigh":
        _require_groups("adaptation.fairness reweigh", evaluation)
        if data.task == "regression":
            raise ValueError(
                "adaptation.fairness reweigh makes labels as frequent in all groups, and data.task regression has"
                " numbers in their place; set it to none, or for texts to counterfactual"
            )
    if adaptation.fairness == "counterfactual":
        if data.kind != "text":
            raise ValueError(
                f"adaptation.fairness counterfactual swaps words, which data.kind {data.kind} has not; set it to none"
                " or reweigh"
            )
        if not evaluation.counterfactuals:
            raise ValueError(
                "adaptation.fairness counterfactual: evaluation.counterfactuals names no words to swap; name pairs"
                " there, such as gender: he|she, his|her"
            )
    if evaluation.group_thresholds != "none":
        named = f"evaluation.group_thresholds {evaluation.group_thresholds}"
        _require_groups(named, evaluation)
        if data.task != "single_label" or len(data.labels) not in (0, 2):
            asked = f"data.labels {data.labels}" if data.task == "single_label" else f"data.task {data.task}"
            raise ValueError(
                f"{named}: a threshold parts two labels of a single_label task, and this is {asked}; set it to none"
            )


def _require_groups(named: str, evaluation: EvaluationSettings) -> None:
    if not evaluation.groups:
        raise ValueError(f"{named}: evaluation.groups names no column; name one of data.slices there")

"""Which trainings learn once more from all labelled rows, when the validation rows have chosen how long."""

from graftline.settings.adaptation import AdaptationSettings, Strategy

# Of the others a solved head learns from all rows in the end, or stages follow that the validation rows choose one by
# one.
AGAIN: frozenset[Strategy] = frozenset(
    {"partial", "fine_tuning", "probe_then_fine_tune", "lora", "bias_only", "norm_only"}
)


def learns_again(settings: AdaptationSettings, rows: int) -> bool:
    """Whether so many labelled rows, of training and validation, are few enough to be all learned from.

    Where the weights are a mean of several, there is no one epoch to stop after.
    """
    plain = settings.average == "none" and settings.runs == 1
    return plain and settings.strategy in AGAIN and rows <= settings.refit_rows

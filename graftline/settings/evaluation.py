"""The section of the settings that says what is looked at beside the labels of the held-out rows."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from graftline.settings.costs import require_one_cost_each
from graftline.settings.data import leaves_the_project
from graftline.settings.sections import OptionalText, Section
from graftline.settings.words import direction_of, swap_of

GroupThresholds = Literal["none", "demographic_parity", "equalized_odds"]


class EvaluationSettings(Section, title="Evaluation"):
    """How the held-out scores are computed."""

    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Resamples behind each 95 % interval."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Start of the random sequence of the resamples, of the rows that are changed, and of the clusters."""
    changed_rows: Annotated[int, Field(ge=0, le=100_000)] = 200
    """Of so many held-out rows the input is changed in ways that no label depends on (typos, brightness, noise), to see
    how many answers stay. 0: of none."""
    examples: Annotated[int, Field(ge=0, le=50)] = 6
    """So many held-out rows of each kind (newly right, newly wrong, most surely wrong) stand in the report with what
    they hold, also in MLflow. 0: none, for data that not everyone may see who sees the report."""
    directions: list[str] = []
    """For texts: words of which the first makes a label more likely than the second: great > awful: positive. Of
    numbers: great > awful."""
    groups: list[str] = []
    """Those of data.slices that say to which group of people a row belongs: the model's rates are compared."""
    counterfactuals: list[str] = []
    """For texts: words that say nothing about the label, to be swapped in pairs: gender: he|she, his|her"""
    group_thresholds: GroupThresholds = "none"
    """For two labels: show what a threshold for each group would bring (fairlearn's ThresholdOptimizer, set on the
    validation rows) and cost. demographic_parity: each label is given as often in each group; equalized_odds: so are
    right and wrong ones. The served model does not do it: a request does not say of which group it is."""
    costs: Annotated[list[str], AfterValidator(require_one_cost_each)] = []
    """For one label per row: what a wrong answer costs, as truth > answer: cost, such as spam > ham: 5. What is not
    named costs 1. The report says what an answer costs on average, and what it would cost if that of the least expected
    cost were given instead of the likeliest."""
    probe: OptionalText = None
    """A table, below the project folder, with rows of what the base model was made for, one label each and of the same
    kind as the data: how well a linear head tells the labels from what the model makes of the rows, before and after,
    shows what adapting it made it forget. Read and checked as the data are; below data/ it is versioned with them.
    Empty: not asked."""
    probe_input: OptionalText = None
    """Its column that the model reads. Empty: that of data.input."""
    probe_target: OptionalText = None
    """Its column with the labels. Empty: that of data.target."""

    target_rows: OptionalText = None
    """A table, below the project folder, with labelled rows of where the model will work, in columns of the same names
    as those of the data; or, where data.target_domain is a column=value, the same again: those of its rows that have a
    target and are held out. They judge beside the held-out rows and are never learned from (axis `target domain`).
    Empty: not asked."""

    @field_validator("directions", "counterfactuals")
    @classmethod
    def _words_are_readable(cls, lines: list[str], info: ValidationInfo) -> list[str]:
        for line in lines:
            direction_of(line) if info.field_name == "directions" else swap_of(line)
        return lines

    @field_validator("probe", "target_rows")
    @classmethod
    def _tables_stay_inside(cls, path: str | None, info: ValidationInfo) -> str | None:
        if leaves_the_project(path or ""):
            raise ValueError(
                f"is absolute or holds .. or NUL, expected a path below the project folder: data/{info.field_name}.csv"
            )
        return path

    @model_validator(mode="after")
    def _columns_belong_to_a_probe(self) -> "EvaluationSettings":
        if self.probe is None and (self.probe_input or self.probe_target):
            raise ValueError("probe_input and probe_target name columns of probe, which is empty; name its table there")
        return self

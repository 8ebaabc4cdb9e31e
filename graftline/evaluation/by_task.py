"""The metrics of each task."""

from collections.abc import Mapping

from graftline.evaluation.metrics import MetricsOf
from graftline.evaluation.multi_label import metrics_of_labels
from graftline.evaluation.regression import metrics_of_numbers
from graftline.evaluation.single_label import metrics_of
from graftline.settings import Task

METRICS_OF: Mapping[Task, MetricsOf] = {
    "single_label": metrics_of,
    "multi_label": metrics_of_labels,
    "regression": metrics_of_numbers,
}

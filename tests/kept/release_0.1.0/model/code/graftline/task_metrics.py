"""The metrics of each task."""

from collections.abc import Mapping

from graftline.label_metrics import metrics_of_labels
from graftline.metrics import MetricsOf, metrics_of
from graftline.number_metrics import metrics_of_numbers
from graftline.settings import Task

METRICS_OF: Mapping[Task, MetricsOf] = {
    "single_label": metrics_of,
    "multi_label": metrics_of_labels,
    "regression": metrics_of_numbers,
}

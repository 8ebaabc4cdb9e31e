"""What was found out about a model beside its scores, as tables of the report and the model card."""

from graftline.report import Table
from tasks.evaluate_model import Evaluation
from tasks.register_model import Candidate
from tasks.serving import Trial


def tables_of(evaluation: Evaluation, candidate: Candidate) -> list[Table]:
    """All there is to show."""
    return [_as_a_server(candidate.trial)] if candidate.trial else []


def _as_a_server(trial: Trial) -> Table:
    memory = f", with at most {trial.memory_megabytes:,.0f} MB of memory" if trial.memory_megabytes else ""
    lead = (
        f"{trial.requests} single requests, one after the other and without a network, took"
        f" {trial.median_milliseconds:g} ms in the median and {trial.p95_milliseconds:g} ms in the 95th"
        f" percentile{memory}; then it was sent what nobody should send"
    )
    return Table("As a server", lead, ("request", "what became of it"), list(trial.hostile.items()))

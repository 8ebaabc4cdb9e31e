"""The outcome of a run, step by step: its pages and its result are made of it."""

from dataclasses import dataclass

from graftline.tasks.step_folders import Outcome
from graftline.tasks.steps.baselines import Baselines
from graftline.tasks.steps.decide import Decision
from graftline.tasks.steps.evaluation import Evaluation
from graftline.tasks.steps.fine_tune import Checkpoint
from graftline.tasks.steps.register_model import Candidate
from graftline.tasks.steps.tracked_run import RunInputs
from graftline.tasks.tracking.server import TrackedRun
from graftline.transfer.foresight import Foreseen


@dataclass(frozen=True)
class RunOutcome:
    """The results of all steps of one run."""

    inputs: RunInputs
    run: TrackedRun
    checkpoint: Checkpoint
    baselines: Baselines
    evaluation: Evaluation
    candidate: Candidate
    decision: Decision
    foreseen: tuple[Foreseen, ...] = ()
    """What was expected before the training."""

    @property
    def steps(self) -> dict[str, Outcome]:
        """Which steps ran, in the order of the line."""
        source, domain, pretrained = self.inputs.source, self.inputs.domain, self.checkpoint.pretrained
        target = self.inputs.target
        return {
            "validate_data": self.inputs.data.folder.outcome,
            **({"target_rows": target.rows.folder.outcome} if target else {}),
            **({"target_domain": domain.rows.folder.outcome} if domain else {}),
            "fetch_model": self.inputs.base.outcome,
            **({"source_task": source.folder.outcome} if source else {}),
            **({"choose_strategy": self.inputs.choice.outcome} if self.inputs.choice else {}),
            **({"pretraining": pretrained.folder.outcome} if pretrained else {}),
            "fine_tune": self.checkpoint.folder.outcome,
            "baselines": self.baselines.outcome,
            "evaluate_model": self.evaluation.folder.outcome,
            "register_model": self.candidate.outcome,
            "decide": self.decision.outcome,
        }

"""The end of runs whose processes are gone, as Prefect's page tells it."""

from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.states import Crashed

UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]


def lost_state() -> State[None]:
    """What to say of one that was under way."""
    return Crashed(
        message="Its machine, its process or `graftline up` ended before it did; start it again: it resumes."
    )


def is_over(run: FlowRun) -> bool:
    """Whether it has ended, however."""
    return run.state is not None and run.state.is_final()

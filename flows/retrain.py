"""The line again with the few settings that are changed most, so that its form is a short one."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from pydantic import Field, JsonValue

from graftline.flows.adapt import adapt
from graftline.flows.form_fields import Note
from graftline.flows.notifying import tell_failure
from graftline.flows.run_page import of_verdict, told
from graftline.settings import FREEZE_UNTIL, PARAMS, Strategy, parse_settings, read_tree


@flow(name="retrain", persist_result=False, on_failure=[tell_failure], on_crashed=[tell_failure])
@told(of_verdict)
def retrain(
    strategy: Strategy,
    base_model: str,
    epochs: Annotated[int, Field(ge=1, le=1000)],
    learning_rate: Annotated[float, Field(gt=0, le=1)],
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0,
    note: Note = "",
) -> dict[str, JsonValue]:
    """Adapt the base model again. Everything that is not asked for here is as in params.yaml.

    Args:
        strategy: How much of the base model learns. feature_extraction: nothing, only a new head; seconds.
            probe_then_fine_tune: the head first, then everything; a good first choice. fine_tuning: everything at once.
            contrastive: the same for few rows. gradual_unfreezing: from the head down, in stages. lora, bias_only,
            norm_only: few weights, so that little is forgotten.
        base_model: What to start from. A new one comes onto this list with `graftline lock`.
        epochs: How often the training sees every row. More take longer, and after a few they rarely help.
        learning_rate: How large its steps are. Half as large: more careful. Twice: faster, and more forgotten.
        seed: Start of everything random. Another one shows how much of a score is luck.
        note: Why you start it, for whoever reads the run later in MLflow. May stay empty.
    """
    tree = read_tree(Path(PARAMS), ["adaptation.freeze_until=null"] if FREEZE_UNTIL[strategy] == "refused" else None)
    chosen: dict[str, JsonValue] = {
        "strategy": strategy, "epochs": epochs, "learning_rate": learning_rate, "seed": seed
    }  # fmt: skip
    given = tree.get("adaptation")
    adaptation = {**given, **chosen} if isinstance(given, dict) else chosen
    changed: dict[str, JsonValue] = {**tree, "adaptation": adaptation, "base_model": {"uri": base_model}}
    return adapt.fn(parse_settings(changed, source=f"the form, with {PARAMS}"), note)

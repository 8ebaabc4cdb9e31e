"""An adaptation on its way into a target domain: what it learns from beside the labelled rows, or in their place."""

from dataclasses import replace

from torch import Tensor

from graftline.frozen.rows import FeatureRows, InputRows, joined
from graftline.models.encoded_rows import ChosenRows
from graftline.training.adapted import Adapted
from graftline.training.domain.choice import Features, Way, aligned, chosen_way
from graftline.training.domain.self_training import Solve, pseudo_labels
from graftline.training.linear_head import SolvedHead, solve_head
from graftline.training.strategies import Adaptation

# The side of the rows whose labels are not known, and those of the others.
TARGET, LABELLED = "target", ("train", "validation")
# What `auto` chooses from. Not CORAL: it takes other shares of the labels for another domain, and circular validation
# does not tell the two apart (docs/measurements/domains.md).
WAYS: tuple[Way, ...] = ("none", "self_training")


def adapt(adaptation: Adaptation) -> Adapted:
    """Run the adaptation as its settings say, into the domain of its rows `target` if they name a way.

    Raises: what `Adaptation.run` raises.
    """
    if adaptation.settings.domain == "none":
        return adaptation.run()
    way: Way = "coral"
    words = ""
    if adaptation.settings.domain == "coral":
        adaptation = replace(adaptation, aligned=aligned)
    else:
        features = adaptation.features()
        penalty = adaptation.settings.head_penalty or _solver(adaptation, features)(features["train"]).penalty
        way, words, adaptation = _on_features(adaptation, features, _solver(adaptation, features, penalty))
    told = f"{way}{words}"
    adaptation.listener.say(f"target domain: {told}")
    return replace(adaptation.run(), domain=told)


def _on_features(adaptation: Adaptation, features: Features, solve: Solve) -> tuple[Way, str, Adaptation]:
    """The way that solved heads tell, what is to be said of it, and the adaptation on it."""
    way: Way = "self_training"
    words, labelled = "", {side: adaptation.rows[side] for side in LABELLED}
    if adaptation.settings.domain == "auto":
        choice = chosen_way(features, solve, WAYS)
        way, words = choice.way, f"; chosen by {choice.said}"
    if way == "self_training":
        chosen, labels = pseudo_labels(features, solve)
        words = f"; {len(chosen):,} of {len(features[TARGET].targets):,} rows learned from as if they had labels{words}"
        labelled["train"] = joined([labelled["train"], _labelled(adaptation, chosen, labels)])
    return way, words, replace(adaptation, rows=labelled)


def _labelled(adaptation: Adaptation, chosen: Tensor, labels: Tensor) -> InputRows:
    """Those rows of the target domain that were chosen, with these labels."""
    target = adaptation.rows[TARGET]
    encoded = ChosenRows(target.encoded, chosen.numpy())
    return InputRows(target.preprocessor, encoded, labels.to(adaptation.rows["train"].targets.dtype))


def _solver(adaptation: Adaptation, features: Features, penalty: float | None = None) -> Solve:
    """Solves the best head for some rows as the adaptation would; without a penalty validation rows choose one."""
    settings, outputs, held = adaptation.settings, adaptation.model.outputs, features["validation"]

    def solve(rows: FeatureRows) -> SolvedHead:
        objective = adaptation.objective_for(
            outputs,
            rows.targets,
            balanced=settings.class_weights == "balanced",
            label_smoothing=settings.label_smoothing,
        )
        return solve_head(
            rows.features,
            rows.targets,
            validation=(held.features, held.targets),
            outputs=adaptation.model.output_layer.out_features,
            objective=objective,
            penalty=penalty,
        )

    return solve

"""What a teacher brings a smaller base model beside the labels alone, on the same held-out rows: one line per seed.

Run it in a project with `adaptation.teacher`, which is locked: `python -m benchmarks.scores.pupils --seeds 3`.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.scores.projects import PARAMS, validated
from benchmarks.scores.searches import in_words
from graftline.answers.predicting import predictor_of
from graftline.settings import read_settings
from graftline.tasks.data.accepted_rows import raw_inputs, split_targets
from graftline.tasks.steps.fetch_model import fetch_model
from graftline.tasks.steps.fine_tune import fine_tune
from graftline.tasks.steps.target_domain import target_domain
from graftline.tasks.steps.teacher import fetch_teacher, taught_predictions
from graftline.tasks.workspace import Workspace


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--set", dest="assignments", action="append", default=[])
    asked = options.parse_args()
    root, workspace = Path.cwd(), Workspace(Path.cwd())
    settings = read_settings(root / PARAMS, asked.assignments)
    data, base = validated(root, settings), fetch_model.fn(workspace, settings.base_model.uri)
    teacher, domain = (
        fetch_teacher.fn(workspace, settings.adaptation, data),
        target_domain.fn(workspace, settings.data, data),
    )
    if teacher is None:
        raise SystemExit("adaptation.teacher is empty, expected a registered model")
    truth, raws = split_targets(data, "test").numpy(), raw_inputs(workspace, data, "test")
    of_teacher = taught_predictions(workspace, teacher, data).argmax(1)
    print(f"{data.split_rows}, {len(truth)} held out; the teacher's accuracy {(of_teacher == truth).mean():.4f}")
    print("| seed | labels alone | with the teacher | difference | same answer as the teacher: alone, taught |")
    print("|---|---|---|---|---|")
    gains = []
    for seed in range(asked.seeds):
        taught = settings.adaptation.model_copy(update={"seed": seed})
        alone = taught.model_copy(update={"teacher": None})
        made = [fine_tune.fn(workspace, one, data, base, domain=domain) for one in (alone, taught)]
        without, learned = (predictor_of(one.model).predict(raws).argmax(1) for one in made)
        before, after = (float((said == truth).mean()) for said in (without, learned))
        gains.append(after - before)
        same = ", ".join(f"{float(np.mean(said == of_teacher)):.4f}" for said in (without, learned))
        print(f"| {seed} | {before:.4f} | {after:.4f} | {after - before:+.4f} | {same} |", flush=True)
    print(f"mean difference {in_words(gains)}, over seeds")


if __name__ == "__main__":
    main()

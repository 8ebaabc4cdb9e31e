"""The section of the settings that says what is frozen and how the rest is trained."""

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from graftline.errors import SettingsError
from graftline.settings.addresses import address_of
from graftline.settings.of_machine import ChosenDevice, ChosenPrecision
from graftline.settings.sections import OptionalText, Section, Share

Strategy = Literal[
    "feature_extraction",
    "partial",
    "fine_tuning",
    "probe_then_fine_tune",
    "contrastive",
    "gradual_unfreezing",
    "lora",
    "bias_only",
    "norm_only",
]
# In the place of a strategy: the one that does best in a cross-validation on the training rows.
AUTO: Literal["auto"] = "auto"
StrategyOrAuto = Literal[Strategy, "auto"]
# Whether a strategy begins at the block that `freeze_until` names.
FREEZE_UNTIL: dict[Strategy, Literal["needed", "possible", "refused"]] = {
    "feature_extraction": "refused",
    "partial": "needed",
    "fine_tuning": "refused",
    "probe_then_fine_tune": "possible",
    "contrastive": "possible",
    "gradual_unfreezing": "refused",
    "lora": "possible",
    "bias_only": "possible",
    "norm_only": "possible",
}

Answers = Literal["likeliest", "thresholds", "least_cost"]
Fairness = Literal["none", "reweigh", "counterfactual"]
Augmentation = Literal["none", "light"]
Runtime = Literal["torch", "openvino"]


class AdaptationSettings(Section, title="Adaptation"):
    """The frozen part, and how the rest is trained.

    Where graftline/settings/by_kind.py names a setting for a kind of input, what is not written has that default."""

    strategy: StrategyOrAuto = "probe_then_fine_tune"
    """feature_extraction: only the head. partial: what lies behind freeze_until. fine_tuning: everything.
    probe_then_fine_tune: the head first, solved to its optimum, then everything but BatchNorm's statistics (LP-FT,
    arXiv 2202.10054); the solved head stays if no epoch beats it. contrastive: all but those statistics learns to draw
    rows of one label together (supervised contrastive loss, arXiv 2004.11362), then the head is solved on what comes
    out (as SetFit, arXiv 2209.11055): for few rows.
    gradual_unfreezing: from the head down, in stages (ULMFiT, arXiv 1801.06146). lora: low-rank adapters beside
    frozen weights (arXiv 2106.09685). bias_only: the biases (BitFit, arXiv 2106.10199). norm_only: the norm layers.
    auto: of feature_extraction, probe_then_fine_tune and contrastive the one that does best in a nested
    cross-validation on the training rows, as far as auto_passes allow.
    probe_then_fine_tune is the default: from a random head, texts were told apart 4 points worse with 320 rows
    (docs/measurements/few_rows.md) and 0.4 points with 8,132 (docs/measurements/seeds.md), on average over five
    seeds."""
    auto_passes: Annotated[int, Field(ge=1, le=100_000)] = 50
    """For auto: so many passes over the training rows, forward and backward, the choice may cost. They decide how many
    folds there are, 2 to 5, and what is left out as too expensive. 50 allow five folds of three epochs."""
    freeze_until: OptionalText = None
    """The first trained block, as a name (encoder.layer.3), a number (3) or a share of the depth (0.5). Partial needs
    it; probe_then_fine_tune, contrastive, lora, bias_only and norm_only may have it."""
    head: Literal["linear", "mlp"] = "linear"
    """mlp puts a hidden layer as wide as the features into the head. A linear head on a wholly frozen model is solved
    to its optimum, anything else is trained."""
    head_penalty: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """L2 penalty of a solved head, on scaled features. 0: the one with the lowest validation loss. With
    feature_extraction the head is then solved again on training and validation rows together."""
    pretraining_epochs: Annotated[int, Field(ge=0, le=1000)] = 0
    """For texts: passes of continued pre-training in front of the strategy (arXiv 2004.10964). The base model goes on
    learning the language of the training rows' texts and of those of data.target_domain, without labels: one of BERT's
    kind predicts hidden tokens, one of GPT's kind the next one. 0: none."""
    pretraining_learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Highest learning rate of the continued pre-training; the paper's for the texts of a task (its appendix)."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """Passes over the training rows. BERT's authors found 2 to 4 enough (arXiv 1810.04805, A.3). In one of contrastive
    each row meets another one of its label, so twice as many run."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 5e-5
    """Highest learning rate of the pre-trained blocks. The highest that BERT's authors chose from (A.3)."""
    head_learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3
    """Highest learning rate of the new head: it starts from random weights and needs far larger steps."""
    find_learning_rate: bool = False
    """Find both rates by a range test first (arXiv 1506.01186), in the proportion that they have here."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Each block's rate is this much of that behind it: what is general learns more slowly than what is special
    (ULMFiT has 0.38, ELECTRA's fine-tuning 0.8). 1: all the same; on the reviews 0.8 did as well and no better."""
    l2_sp: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Pull of the weights towards those of the base model (L2-SP, arXiv 1802.01483). 0: none."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 16
    """Rows per batch. Where rows are few, small batches do better, for they make more steps
    (docs/measurements/few_rows.md)."""
    gradient_accumulation: Annotated[int, Field(ge=1, le=1024)] = 1
    """Batches per step: the step of a batch that would not fit into memory."""
    gradient_checkpointing: bool = False
    """Compute activations again instead of keeping them: less memory, about a third more time."""
    compile: bool = False
    """Compile the blocks that learn (torch.compile): for long trainings on a GPU. Takes a minute or two first, and a
    C++ compiler. On a processor it was no faster (benchmarks/README.md)."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Decoupled weight decay (AdamW) of matrices; biases and norms have none. As BERT's."""
    warmup_share: Share = 0.1
    """Share of the steps in which the learning rate rises (0.1 as ELECTRA's fine-tuning, arXiv 2003.10555, appendix
    B); afterwards it falls to zero."""
    schedule: Literal["linear", "cosine"] = "linear"
    """How the learning rate falls: along a straight line, as BERT's did, or half a cosine."""
    stage_epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    """For gradual_unfreezing: epochs before more blocks are unfrozen. With the last stage everything is."""
    domain: Literal["none", "coral", "self_training", "auto"] = "none"
    """How the model is made fit for the rows of data.target_domain, whose labels are not known. coral: a head learns
    from features with the means and covariances of the target domain (arXiv 1511.05547); for feature_extraction, and
    only where labels have about the same shares in both domains: from editorials to tweets, where they have not, it
    lost 19 points (docs/measurements/domains.md). self_training: those rows that a solved head is surest of, of each
    label a share, are learned from with its answers (arXiv 1810.07911); for single_label. auto: self_training or plain
    training, whichever is better for a solved head by a score that needs no labels of the target domain
    (docs/how-to/new-domain.md). Let evaluation.target_rows judge."""
    average: Literal["none", "greedy", "wise"] = "none"
    """greedy: the weights are the mean of those epochs that do better together on the validation rows than the best
    one alone (arXiv 2203.05482). wise, for probe_then_fine_tune: a mean of the weights before and after fine-tuning, in
    the proportion that does best on the validation rows; it keeps more of what the base model knows of other rows
    (WiSE-FT, arXiv 2109.01903)."""
    runs: Annotated[int, Field(ge=1, le=100)] = 1
    """Trainings from the same start, each with another order of the rows, whose weights are averaged (model soup,
    arXiv 2203.05482): better than the same number of epochs in one, and less a matter of the seed. Best from a head
    that was solved: runs from a random one may end too far apart to be averaged."""
    lora_rank: Annotated[int, Field(ge=1, le=1024)] = 8
    """Rank of the adapters. The paper found 4 to 8 enough (table 6)."""
    lora_alpha: Annotated[float, Field(gt=0, le=4096)] = 16.0
    """Scale of the adapters: their output counts alpha / rank times. 16 as in QLoRA (arXiv 2305.14314)."""
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Dropout in front of the adapters. QLoRA has 0.1 for all but the largest models."""
    lora_targets: OptionalText = None
    """A regular expression that the names of the adapted layers contain. Empty: every linear layer and convolution."""
    lora_merge: bool = True
    """Add the adapters to the weights at the end. Otherwise they stay beside the untouched base weights."""
    max_tokens: Annotated[int, Field(ge=8, le=8192)] = 128
    """Longer texts are cut to this many tokens. Of so many were nine tenths of BERT's pre-training (A.2); twice as many
    take more than twice the time. More than the model has positions for is an error."""
    max_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0
    """Longer sounds are cut to this many seconds. 30 are what Whisper hears (arXiv 2212.04356)."""
    augmentation: Augmentation = "none"
    """light: training rows are seen in seeded random views. Images: a crop of 80 to 100 % of the area, brightness and
    contrast within 20 %, never mirrored or turned. Sounds: 6 dB louder or softer, shifted by up to 0.1 s, white noise
    20 to 40 dB below. Validation, test and served rows stay as they are."""
    views: Annotated[int, Field(ge=1, le=100)] = 4
    """In how many views each row is seen, if there is augmentation: epoch after epoch the next one, then from the first
    again. The frozen part's output is kept for each; without room for all it runs in every epoch, on the same views. A
    head is solved on all views together. Each view takes the room and the time of one more data set; 4 are one for
    each of the usual epochs."""
    block_pattern: OptionalText = None
    """A regular expression over module names that says which are the blocks of an unknown model: blocks[.][0-9]+"""
    runtime: Literal["torch", "openvino", "auto"] = "torch"
    """The runtime of the frozen part. openvino is faster on processors, needs pip install "graftline[openvino]", and is
    compared with torch on a few rows first: a model that it cannot run, or runs differently, is an error. auto,
    which `init` writes for texts: openvino where it is installed, texts are so many that it pays, and it runs the base
    model as torch does, else torch; the run records what it came to."""
    device: ChosenDevice = "auto"
    """The device that adapts the model: the processor (cpu) or a GPU of NVIDIA or, with PyTorch for ROCm, AMD (cuda).
    auto: a GPU where PyTorch finds one and the runtime is torch; the run records what it came to. Evaluation computes
    on the processor either way, and a served model unless whoever loads it asks for another device."""
    precision: ChosenPrecision = "float32"
    """bfloat16 is faster where the device has instructions for it, and a little less exact; elsewhere it is several
    times slower. auto: bfloat16 where there are such instructions; the run records what it came to."""
    feature_precision: Literal["float32", "bfloat16"] = "float32"
    """In which precision the frozen part's output is kept: bfloat16 takes half the space and rounds to 3 digits."""
    feature_gigabytes: Annotated[float, Field(ge=0, le=100_000)] = 20.0
    """Room for all kept outputs of frozen parts on the disk together; the least recently used go first. Where
    one alone would take more, its frozen part runs in every epoch instead, for a head once into memory. 20 hold 130,000
    texts of 100 tokens in front of a block of MiniLM, or ten million vectors in front of its head."""
    patience: Annotated[int, Field(ge=0, le=100)] = 0
    """Stop after this many epochs without improvement on the validation rows. 0: train all epochs; of
    three, little is saved, and the weights are those of the best one either way."""
    refit_rows: Annotated[int, Field(ge=0, le=1_000_000)] = 1000
    """With up to so many labelled rows, a training of blocks learns once more, from the validation rows too, for as
    many epochs as these chose: about twice the time, for what few rows teach (docs/measurements/against_trainer.md).
    Not with average or runs, which choose among several weights. 0: never."""
    label_smoothing: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of each row's weight that is spread over all classes: against noisy labels and overconfidence. 0: none."""
    class_weights: Literal["none", "balanced", "logit_adjusted"] = "none"
    """For rare labels. balanced weighs each class by the inverse of its frequency. logit_adjusted lets all rows count
    alike, and adds the log of its class's frequency to each output while it is learned (arXiv 2007.07314), so that the
    model answers as if all classes were equally frequent. Both find more rare rows at the price of some frequent ones,
    and name probabilities for rows that are balanced."""
    answers: Answers = "likeliest"
    """Which answers the model gives from its probabilities, which stay as they are. likeliest: the likeliest label, or
    each label from 0.5 on. thresholds: for rare labels; each label has a threshold with the highest F1 that the
    probabilities expect, where the validation rows confirm it. least_cost: for one label per row, the label of the
    least expected cost by evaluation.costs (Elkan 2001). Scores, verdict and the registered model are about the answers
    that are given."""
    fairness: Fairness = "none"
    """Against differences between groups. reweigh: rows learned from count so much that each label is as frequent in
    every group of evaluation.groups as in all (Kamiran and Calders 2012). counterfactual: texts learned from are there
    a second time with the words of evaluation.counterfactuals swapped."""
    task_balance: Literal["equal", "uncertainty"] = "equal"
    """With data.targets: how the losses of the targets are added up while something is trained. equal: each counts the
    same. uncertainty: each by how sure the model is of its target, which is learned along (arXiv 1705.07115). Heads
    that are solved need no balance, for each is solved by itself."""
    teacher: OptionalText = None
    """A registered model, as models:/NAME@champion, whose answers are learned beside the labels (distillation, arXiv
    1503.02531): with a smaller base model it keeps more of the teacher's quality than the labels alone. Which version
    it is stands in base_models.lock (`graftline lock`). The verdict then asks whether it is no worse. Empty: none."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processor threads. 0: one per core. The last bits of the weights depend on it."""
    workers: Annotated[int, Field(ge=1, le=1024)] = 1
    """Processes of a Ray cluster that train together, each on its share of every batch (mlflow/compute.yaml). The last
    bits of the weights depend on it."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Start of every random sequence of the training."""

    @property
    def named_strategy(self) -> Strategy:
        """The strategy. Raises: SettingsError if it is still to be chosen, which a run does before it trains."""
        if self.strategy == AUTO:
            raise SettingsError(
                "adaptation.strategy auto: `adapt` chooses one and tells which; here it has to be named, for example"
                " probe_then_fine_tune"
            )
        return self.strategy

    @field_validator("lora_targets", "block_pattern")
    @classmethod
    def _is_a_regular_expression(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression ({error}); expected one for module names") from None
        return value

    @field_validator("teacher")
    @classmethod
    def _is_a_registered_model(cls, value: str | None) -> str | None:
        if value is not None and address_of(value)[0] != "models":
            raise ValueError(f"{value!r} is no registered model; expected one such as models:/reviews@champion")
        return value

    @field_validator("freeze_until", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _freeze_point_belongs_to_the_strategy(self) -> "AdaptationSettings":
        misfit = "needed" if self.freeze_until is None else "refused"
        rule = "refused" if self.strategy == AUTO else FREEZE_UNTIL[self.strategy]
        if rule == misfit:
            possible = ", ".join(name for name, rule in FREEZE_UNTIL.items() if rule == "possible")
            raise ValueError(
                f"strategy {self.strategy} with freeze_until {self.freeze_until!r}: partial needs freeze_until (for"
                f" example 3), {possible} may have it, the other strategies must leave it empty"
            )
        return self

    @model_validator(mode="after")
    def _only_features_that_are_kept_are_aligned(self) -> "AdaptationSettings":
        if self.domain == "coral" and self.strategy != "feature_extraction":
            raise ValueError(
                f"domain coral with strategy {self.strategy}: it aligns features that stay as they are; set strategy to"
                " feature_extraction, or domain to self_training"
            )
        return self

    @property
    def runs_with(self) -> Runtime:
        """The runtime: where it is left open, torch until a run has chosen (tasks/steps/choose_runtime.py)."""
        return "openvino" if self.runtime == "openvino" else "torch"

    @model_validator(mode="after")
    def _openvino_computes_on_processors(self) -> "AdaptationSettings":
        if self.runtime == "openvino" and self.device == "cuda":
            raise ValueError("runtime openvino with device cuda: it runs on processors only; set device to cpu")
        return self

    @model_validator(mode="after")
    def _a_teacher_answers_the_rows_as_they_are(self) -> "AdaptationSettings":
        if self.teacher is None:
            return self
        unfit = {
            f"strategy {self.strategy}": self.strategy in ("contrastive", AUTO),
            f"domain {self.domain}": self.domain != "none",
            f"fairness {self.fairness}": self.fairness == "counterfactual",
            f"class_weights {self.class_weights}": self.class_weights == "logit_adjusted",
        }
        if misfits := [setting for setting, is_unfit in unfit.items() if is_unfit]:
            raise ValueError(
                f"teacher {self.teacher} with {' and '.join(misfits)}: a teacher's answers are learned row by row, for"
                " the rows as they are, by a strategy that is named; change that, or leave teacher empty"
            )
        return self

    @model_validator(mode="after")
    def _costs_are_expected_of_the_rows_as_they_are(self) -> "AdaptationSettings":
        if self.answers == "least_cost" and self.class_weights == "logit_adjusted":
            raise ValueError(
                "answers least_cost with class_weights logit_adjusted: its probabilities are for rows whose labels are"
                " equally frequent, so that other costs are expected than come (docs/measurements/imbalance.md); set"
                " class_weights to none or balanced"
            )
        return self

    @model_validator(mode="after")
    def _only_trainings_are_repeated(self) -> "AdaptationSettings":
        if self.runs > 1 and self.strategy == "feature_extraction" and self.head == "linear":
            raise ValueError(f"runs {self.runs} with a solved head: it comes out the same each time; set runs to 1")
        return self

    @model_validator(mode="after")
    def _a_mean_with_the_start_needs_a_solved_head(self) -> "AdaptationSettings":
        if self.average == "wise" and self.strategy != "probe_then_fine_tune":
            raise ValueError(
                f"average wise with strategy {self.strategy}: it mixes the weights before and after fine-tuning, so"
                " the model has to begin with a solved head and fine-tune more than that, as only"
                " probe_then_fine_tune does; set strategy to it, or average to none or greedy"
            )
        return self

    @model_validator(mode="after")
    def _several_train_what_is_trained_batch_by_batch(self) -> "AdaptationSettings":
        if self.workers == 1:
            return self
        unfit = {
            f"strategy {self.strategy}": self.strategy in ("feature_extraction", "contrastive", AUTO),
            "compile true": self.compile,
            f"batch_size {self.batch_size}": self.batch_size < 2 * self.workers,
            # Each process would weigh the classes of its own few rows.
            "class_weights balanced": self.class_weights == "balanced",
        }
        if misfits := [setting for setting, is_unfit in unfit.items() if is_unfit]:
            raise ValueError(
                f"workers {self.workers} with {' and '.join(misfits)}: several processes share the batches of a"
                " training with a named strategy that trains blocks, at least two rows of a batch each, nothing"
                " compiled, and with class_weights none or logit_adjusted; change that, or set workers to 1"
            )
        return self

    @model_validator(mode="after")
    def _a_solved_head_is_linear(self) -> "AdaptationSettings":
        if self.strategy in ("probe_then_fine_tune", "contrastive", AUTO) and self.head != "linear":
            raise ValueError(f"strategy {self.strategy} needs head linear: no other can be solved; set one of the two")
        return self

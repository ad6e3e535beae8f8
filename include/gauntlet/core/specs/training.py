"""How the model is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, field_validator, model_validator

from gauntlet.core.duration import Duration
from gauntlet.core.registry import did_you_mean
from gauntlet.core.specs.base import Section
from gauntlet.core.specs.profit import ProfitSection

if TYPE_CHECKING:
    from gauntlet.core.spec import ModelSpec

Parameter = bool | int | float | str


# ---- the whitelist ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """A LightGBM parameter's type and range. ``open_low``: the least value itself is not allowed."""

    kind: type[int] | type[float] | type[bool]
    low: float = float("-inf")
    high: float = float("inf")
    open_low: bool = False
    dataset: bool = False
    """Whether it shapes the binned data set, so that a search cannot vary it cheaply."""

    def complaint(self, value: Parameter) -> str | None:
        """What is wrong with a value, or ``None``."""
        if self.kind is bool:
            return None if isinstance(value, bool) else f"must be true or false, not {value!r}"
        if isinstance(value, (bool, str)) or not math.isfinite(value) or (self.kind is int and value != int(value)):
            return f"must be {'a whole number' if self.kind is int else 'a number'}, not {value!r}"
        if not self.low <= value <= self.high or (self.open_low and value == self.low):
            above = "above" if self.open_low else "at least"
            return f"must be {above} {self.low:g} and at most {self.high:g}, not {value:g}"
        return None


NUMBERS: dict[str, Limits] = {
    "num_leaves": Limits(int, 2, 131_072),
    "max_depth": Limits(int, -1, 1_000),
    "learning_rate": Limits(float, 0, 10, open_low=True),
    "min_data_in_leaf": Limits(int, 0),
    "min_sum_hessian_in_leaf": Limits(float, 0),
    "bagging_fraction": Limits(float, 0, 1, open_low=True),
    "pos_bagging_fraction": Limits(float, 0, 1, open_low=True),
    "neg_bagging_fraction": Limits(float, 0, 1, open_low=True),
    "bagging_freq": Limits(int, 0),
    "feature_fraction": Limits(float, 0, 1, open_low=True),
    "feature_fraction_bynode": Limits(float, 0, 1, open_low=True),
    "extra_trees": Limits(bool),
    "lambda_l1": Limits(float, 0),
    "lambda_l2": Limits(float, 0),
    "min_gain_to_split": Limits(float, 0),
    "max_delta_step": Limits(float),
    "path_smooth": Limits(float, 0),
    "top_rate": Limits(float, 0, 1),
    "other_rate": Limits(float, 0, 1),
    "min_data_per_group": Limits(int, 1),
    "max_cat_threshold": Limits(int, 1),
    "max_cat_to_onehot": Limits(int, 1),
    "cat_l2": Limits(float, 0),
    "cat_smooth": Limits(float, 0),
    "max_bin": Limits(int, 2, 65_535, dataset=True),
    "min_data_in_bin": Limits(int, 1, dataset=True),
    "bin_construct_sample_cnt": Limits(int, 1, dataset=True),
    "enable_bundle": Limits(bool, dataset=True),
    "monotone_penalty": Limits(float, 0),
    "scale_pos_weight": Limits(float, 0, open_low=True),
    "alpha": Limits(float, 0, open_low=True),
    "fair_c": Limits(float, 0, open_low=True),
    "poisson_max_delta_step": Limits(float, 0, open_low=True),
    "tweedie_variance_power": Limits(float, 1, 1.9999),
    "early_stopping_min_delta": Limits(float, 0),
}
OBJECTIVES: dict[str, tuple[str, ...]] = {
    "binary": ("binary",),
    "regression": (
        "regression",
        "regression_l1",
        "huber",
        "fair",
        "quantile",
        "mape",
        "poisson",
        "gamma",
        "tweedie",
    ),
    "multiclass": ("multiclass",),
}
"""Per task; the first is the default."""
METRICS: dict[str, tuple[str, ...]] = {
    "binary": ("binary_logloss", "auc", "average_precision", "binary_error"),
    "regression": ("l2", "rmse", "l1", "quantile", "huber", "fair", "poisson", "mape", "gamma", "tweedie"),
    "multiclass": ("multi_logloss", "multi_error"),
}
"""The early-stopping metric. Per task; without one, regression takes its objective's own."""
OBJECTIVE_METRIC = {
    "regression": "l2",
    "regression_l1": "l1",
    "huber": "huber",
    "fair": "fair",
    "quantile": "quantile",
    "mape": "mape",
    "poisson": "poisson",
    "gamma": "gamma",
    "tweedie": "tweedie",
    "binary": "binary_logloss",
    "multiclass": "multi_logloss",
}
WORDS: dict[str, tuple[str, ...]] = {
    "objective": tuple(name for names in OBJECTIVES.values() for name in names),
    "metric": tuple(name for names in METRICS.values() for name in names),
    "data_sample_strategy": ("bagging", "goss"),
    "monotone_constraints_method": ("basic", "intermediate", "advanced"),
}
ELSEWHERE: dict[str, str] = {
    "num_iterations": "training.rounds",
    "n_estimators": "training.rounds",
    "num_boost_round": "training.rounds",
    "num_trees": "training.rounds",
    "early_stopping_round": "training.early_stopping",
    "early_stopping_rounds": "training.early_stopping",
    "seed": "training.seed",
    "random_state": "training.seed",
    "random_seed": "training.seed",
    "num_threads": "training.threads",
    "n_jobs": "training.threads",
    "nthread": "training.threads",
    "is_unbalance": "training.class_weight: balanced",
    "class_weight": "training.class_weight",
    "monotone_constraints": "training.monotone",
    "categorical_feature": "source.features.categorical",
    "deterministic": "nothing: it is always on",
    "force_row_wise": "nothing: it is always on",
    "force_col_wise": "nothing: training is row-wise, or the trees would depend on the threads",
    "num_class": "nothing: it is read off the labels",
}
ALIASES: dict[str, str] = {
    "eta": "learning_rate",
    "shrinkage_rate": "learning_rate",
    "num_leaf": "num_leaves",
    "max_leaves": "num_leaves",
    "min_child_samples": "min_data_in_leaf",
    "min_data": "min_data_in_leaf",
    "min_child_weight": "min_sum_hessian_in_leaf",
    "subsample": "bagging_fraction",
    "bagging": "bagging_fraction",
    "subsample_freq": "bagging_freq",
    "colsample_bytree": "feature_fraction",
    "sub_feature": "feature_fraction",
    "reg_alpha": "lambda_l1",
    "reg_lambda": "lambda_l2",
    "lambda": "lambda_l2",
    "min_split_gain": "min_gain_to_split",
    "application": "objective",
    "loss": "objective",
}


def parameter_complaint(name: str, value: Parameter) -> str | None:
    """What is wrong with one parameter, or ``None``. LightGBM itself only warns of a name it does not know.

    >>> parameter_complaint("num_leafs", 31)
    "num_leafs: unknown parameter; did you mean 'num_leaves'?"
    """
    if name in WORDS:
        return None if value in WORDS[name] else f"{name}: {value!r}; {did_you_mean(str(value), WORDS[name])}"
    if name in NUMBERS:
        wrong = NUMBERS[name].complaint(value)
        return f"{name}: {wrong}" if wrong else None
    if name in ELSEWHERE:
        return f"{name}: not set here but by {ELSEWHERE[name]}"
    if name in ALIASES:
        return f"{name}: write {ALIASES[name]}, the parameter's own name"
    hint = did_you_mean(name, [*NUMBERS, *WORDS]).partition(" valid: ")[0]
    return f"{name}: unknown parameter; {hint}"


# ---- the section -----------------------------------------------------------------------------------


class SearchSection(Section):
    """Bounded, seeded hyper-parameter search on train and validation only.

    In ``space`` a pair of numbers is a range, anything else a choice.
    """

    trials: int = Field(ge=1, le=500)
    timeout: Duration
    """No new trial is begun after this. A search that it cuts short is not reproducible: leave it room."""
    space: dict[str, tuple[Parameter, ...]] = Field(min_length=1)

    @field_validator("space")
    @classmethod
    def _check_space(cls, space: dict[str, tuple[Parameter, ...]]) -> dict[str, tuple[Parameter, ...]]:
        for name, values in space.items():
            if len(values) < 2:
                raise ValueError(f"{name}: give a range [low, high] or a choice of three or more")
            if name in ("objective", "metric"):
                raise ValueError(f"{name}: trials with different {name}s cannot be compared; set it in training.params")
            if name in NUMBERS and NUMBERS[name].dataset:
                raise ValueError(f"{name}: shapes the binned data, which all trials share; set it in training.params")
            for value in values:
                if complaint := parameter_complaint(name, value):
                    raise ValueError(complaint)
            if is_range(values) and not float(values[0]) < float(values[1]):
                raise ValueError(f"{name}: the range {list(values)} does not rise")
        return space


def is_range(values: tuple[Parameter, ...]) -> bool:
    """Whether a search space entry is a range and not a choice: two numbers."""
    return len(values) == 2 and not any(isinstance(value, (bool, str)) for value in values)


class TrainingSection(Section):
    """LightGBM parameters (whitelisted), early stopping, calibration, search, resources."""

    params: dict[str, Parameter] = {}
    """Whitelisted LightGBM parameters; a misspelt one is an error, not a warning. Bins are found on
    ``bin_construct_sample_cnt`` rows, 50 000 unless given: LightGBM's own 200 000 cost more memory than the data."""
    rounds: int = Field(ge=1, le=100_000, default=500)
    early_stopping: int = Field(ge=1, default=30)
    """Rounds without improvement on the validation part."""
    seed: int = Field(ge=0, lt=2**31, default=7)
    threads: int = Field(ge=0, default=0)
    """0: all cores. The trees do not depend on it."""
    calibration: Literal["none", "isotonic", "sigmoid"] = "none"
    threshold: Literal["profit", "f1"] | float | None = None
    """Binary: the decision threshold: a number, or chosen on the calibration (else validation) part."""
    threshold_band: tuple[float, float] | None = None
    """Binary: thresholds approved beforehand. In this band the threshold may be moved without training again, as a
    version of its own that passes its gates."""
    profit: ProfitSection | None = None
    """What ``threshold: profit`` maximises; without it what ``gates.versus_champion.profit`` says, or the
    columns ``profit_if_repaid`` and ``loss_if_defaulted`` of a loan. Columns are ``source.columns.extra``."""
    class_weight: Literal["none", "balanced"] = "none"
    """``balanced``: classes weigh the same in training and early stopping. It distorts probabilities: calibrate."""
    monotone: dict[str, Literal[-1, 1]] = {}
    min_category_rows: int = Field(ge=1, default=20)
    """Categories with fewer training rows are treated as unseen."""
    search: SearchSection | None = None
    timeout: Duration = Field(default="2h", validate_default=True)
    memory_mb: int | None = Field(ge=1, default=None)
    """The training process is ended when it holds more."""

    @field_validator("params")
    @classmethod
    def _check_params(cls, params: dict[str, Parameter]) -> dict[str, Parameter]:
        for name, value in params.items():
            if complaint := parameter_complaint(name, value):
                raise ValueError(complaint)
        return params

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        named = {**self.params, **(self.search.space if self.search else {})}
        complaints = {
            "params.scale_pos_weight and class_weight: balanced both weigh classes: keep one": (
                "scale_pos_weight" in named and self.class_weight == "balanced"
            ),
            "params.pos_bagging_fraction and neg_bagging_fraction come together": (
                ("pos_bagging_fraction" in named) != ("neg_bagging_fraction" in named)
            ),
            "params.bagging_fraction without bagging_freq has no effect: set bagging_freq: 1": (
                "bagging_fraction" in named and not named.get("bagging_freq")
            ),
            "params.top_rate and other_rate belong to data_sample_strategy: goss": (
                bool({"top_rate", "other_rate"} & named.keys()) and self.params.get("data_sample_strategy") != "goss"
            ),
            "params: data_sample_strategy: goss does its own sampling: remove bagging_fraction and bagging_freq": (
                self.params.get("data_sample_strategy") == "goss"
                and bool({"bagging_fraction", "bagging_freq"} & named.keys())
            ),
            "threshold_band: give the lower and the upper threshold, both in (0, 1)": self.threshold_band is not None
            and not 0 < self.threshold_band[0] < self.threshold_band[1] < 1,
            "threshold: a number must lie in (0, 1)": isinstance(self.threshold, float) and not 0 < self.threshold < 1,
        }
        if wrong := [text for text, holds in complaints.items() if holds]:
            raise ValueError("; ".join(wrong))
        return self

    def objective(self, task: str) -> str:
        """The LightGBM objective for this task."""
        return str(self.params.get("objective", OBJECTIVES[task][0]))

    def metric(self, task: str) -> str:
        """The early-stopping metric for this task."""
        return str(self.params.get("metric", OBJECTIVE_METRIC[self.objective(task)]))


LOAN_PROFIT = ProfitSection(gain="profit_if_repaid", loss="loss_if_defaulted")


def profit_of(spec: ModelSpec) -> ProfitSection:
    """What a decision of this model is worth."""
    return spec.training.profit or spec.gates.profit or LOAN_PROFIT


def training_complaints(spec: ModelSpec) -> list[str]:
    """Contradictions between the training section and the rest of a spec, each with its key."""
    training, task, columns = spec.training, str(spec.task), spec.source.columns
    profit = profit_of(spec).reads
    binary = task == "binary"
    search = training.search.space if training.search else {}
    categorical = sorted(set(training.monotone) & set(spec.source.features.categorical))
    complaints = {
        f"training.params.objective: {training.objective(task)!r} is not for {task}; "
        f"valid: {', '.join(OBJECTIVES[task])}": training.objective(task) not in OBJECTIVES[task],
        f"training.params.metric: {training.metric(task)!r} is not for {task}; "
        f"valid: {', '.join(METRICS[task])}": training.metric(task) not in METRICS[task],
        "training.calibration: only a binary model has probabilities to calibrate": (
            training.calibration != "none" and not binary
        ),
        "training.calibration: needs split.calibration above 0, rows of its own": (
            training.calibration != "none" and not spec.split.calibration
        ),
        "training.class_weight: balanced: a regression has no classes": (
            training.class_weight == "balanced" and task == "regression"
        ),
        "training.params: scale_pos_weight and pos/neg_bagging_fraction are for binary": (
            not binary and bool({"scale_pos_weight", "pos_bagging_fraction"} & {**training.params, **search}.keys())
        ),
        f"training.monotone: {', '.join(categorical)}: categorical; LightGBM aborts on that": bool(categorical),
        "training.monotone: not available for multiclass here": bool(training.monotone) and task == "multiclass",
        f"training.threshold: profit reads {' and '.join(profit)} (training.profit): name them in "
        "source.columns.extra": training.threshold == "profit" and not set(profit) <= set(columns.extra),
    }
    return [text for text, holds in complaints.items() if holds]

"""Boosting with early stopping, once or many times in a bounded search for parameters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb

from gauntlet.adapters.training_job import Job
from gauntlet.core.records.model import Feature, SearchTrial, Task
from gauntlet.core.specs.training import Parameter, is_range

Params = dict[str, Any]
BIN_SAMPLE = 50_000
"""Rows on which bin borders are found. LightGBM's own 200 000, copied thrice, would be most of the memory."""


def base_params(job: Job, features: Sequence[Feature]) -> Params:
    """The parameters every trial shares. The last group makes the trees a function of data and seed alone."""
    training, task = job.spec.training, job.spec.task
    params: Params = {**training.params, "objective": training.objective(task), "metric": training.metric(task)}
    params.pop("early_stopping_min_delta", None)
    params.setdefault("bin_construct_sample_cnt", BIN_SAMPLE)
    if task is Task.MULTICLASS:
        params["num_class"] = len(job.classes or ())
    if training.monotone:
        params["monotone_constraints"] = [training.monotone.get(feature.name, 0) for feature in features]
    return params | {
        "seed": training.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": job.threads,
        "feature_pre_filter": False,
        "verbosity": -1,
    }


@dataclass
class Fit:
    """One run of boosting: the trees, the curve of the early-stopping metric, and its best value."""

    booster: lgb.Booster
    curve: list[float]
    best: float
    params: Params

    @property
    def iterations(self) -> int:
        """Iterations kept."""
        return int(self.booster.best_iteration)


def boost(job: Job, params: Params, train: lgb.Dataset, validation: lgb.Dataset) -> Fit:
    """Boost with early stopping on the validation part."""
    training, curve = job.spec.training, dict[str, Any]()
    stop = lgb.early_stopping(
        training.early_stopping,
        first_metric_only=True,
        verbose=False,
        min_delta=float(training.params.get("early_stopping_min_delta", 0.0)),
    )
    booster = lgb.train(
        params,
        train,
        training.rounds,
        valid_sets=[validation],
        valid_names=["validation"],
        callbacks=[stop, lgb.record_evaluation(curve), _progress(training.rounds)],
    )
    values = next(iter(curve["validation"].values()))
    return Fit(booster, list(values), float(values[booster.best_iteration - 1]), params)


def say(line: str) -> None:
    """A line in the training log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _progress(rounds: int) -> Callable[[Any], None]:
    def report(env: Any) -> None:
        if (env.iteration + 1) % 50 == 0 and env.evaluation_result_list:
            name, metric, value = env.evaluation_result_list[0][:3]
            say(f"iteration {env.iteration + 1}/{rounds}: {name} {metric} {value:.6g}")

    return report


def search(job: Job, params: Params, train: lgb.Dataset, validation: lgb.Dataset) -> tuple[Params, list[SearchTrial]]:
    """The best parameters of a bounded, seeded search; the validation part judges, nothing else is seen."""
    import optuna

    section = job.spec.training.search
    if section is None:
        return {}, []
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    greater_is_better = params["metric"] in ("auc", "average_precision")

    def objective(trial: optuna.Trial) -> float:
        chosen = {name: _suggest(trial, name, values) for name, values in section.space.items()}
        best = boost(job, {**params, **chosen}, train, validation).best
        say(f"trial {trial.number}: {params['metric']} {best:.6g} with {chosen}")
        return best

    study = optuna.create_study(
        direction="maximize" if greater_is_better else "minimize",
        sampler=optuna.samplers.TPESampler(seed=job.spec.training.seed),
    )
    study.optimize(objective, n_trials=section.trials, timeout=section.timeout.total_seconds())
    trials = [SearchTrial(number=t.number, params=t.params, value=t.value) for t in study.trials]
    return dict(study.best_params), trials


def _suggest(trial: Any, name: str, values: tuple[Parameter, ...]) -> Parameter:
    if not is_range(values):
        chosen: Parameter = trial.suggest_categorical(name, list(values))
        return chosen
    low, high = (float(value) for value in values)
    if all(isinstance(value, int) for value in values):
        return int(trial.suggest_int(name, int(low), int(high), log=low >= 1 and high / low >= 10))
    return float(trial.suggest_float(name, low, high, log=low > 0 and high / low >= 100))

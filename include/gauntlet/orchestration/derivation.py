"""A version with the champion's trees, as Airflow tasks with a typed form."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, chain, get_current_context, task

from gauntlet import pipeline
from gauntlet.core.records.model import DerivationOrder
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.orchestration import assets, tasks
from gauntlet.orchestration.gates import gates

REASON = Param(
    type="string", minLength=5, title="Reason", description="Why. It is recorded, with your name, in the audit log."
)
RECALIBRATE_FORM = {"reason": REASON, "as_of": tasks.RUN_PARAMS["as_of"]}
"""The typed form of "Trigger DAG": without a reason nothing is triggered."""


def threshold_form(spec: ModelSpec) -> dict[str, Param]:
    """The form for another threshold; where the spec has approved a band, the form takes nothing outside it."""
    band = spec.training.threshold_band
    limits = {"minimum": band[0], "maximum": band[1]} if band else {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
    told = f"from {band[0]:g} to {band[1]:g}" if band else "none is: training.threshold_band is not set"
    threshold = Param(type="number", title="Threshold", description=f"Approved beforehand: {told}.", **limits)
    return {"threshold": threshold, **RECALIBRATE_FORM}


@task
def order_derivation(run: RunContext) -> DerivationOrder:
    """Settle what is derived from which champion, before any data is pulled."""
    threshold = get_current_context()["params"].get("threshold")
    return pipeline.order_derivation(run, None if threshold is None else float(threshold))


def derive_version(spec: ModelSpec, run: Any) -> None:
    """From the order to the registered challenger: as in a retrain, with a derivation in place of the training."""
    registered = tasks.register_challenger(run)
    chain(
        order_derivation(run),
        tasks.pull_data(run),
        tasks.check_contract(run),
        tasks.split_data(run),
        tasks.check_leakage(run),
        tasks.derive(run),
        [tasks.evaluate(run), tasks.probe(run)],
        gates(spec, run),
        registered,
        tasks.announce(assets.challenger_registered(spec))(registered),
    )

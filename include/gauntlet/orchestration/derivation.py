"""A version with the champion's trees, as Airflow tasks with a typed form."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param, get_current_context, task, task_group

from gauntlet import pipeline
from gauntlet.core.records.model import DerivationOrder
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.orchestration import tasks

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


def all_gates(spec: ModelSpec, run: Any) -> Any:
    """One task per gate; all run, whatever the others say. A person is asked last, of what is good so far."""

    @task_group(group_id="gates")
    def gates() -> None:
        ask: Any = tasks.run_gate
        found = {gate: ask.override(task_id=gate)(run, gate) for gate in spec.gates.names}
        if approval := found.pop("approval", None):
            list(found.values()) >> tasks.ask_approval(spec, run) >> approval

    return gates()

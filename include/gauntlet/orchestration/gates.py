"""The gates as one group of Airflow tasks: the same in every DAG that makes a version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import task_group

from gauntlet.orchestration import tasks

if TYPE_CHECKING:
    from gauntlet.core.spec import ModelSpec


def gates(spec: ModelSpec, run: Any) -> Any:
    """One task per gate; all run, whatever the others say. A person is asked last, of what is good so far."""

    @task_group(group_id="gates")
    def group() -> None:
        ask: Any = tasks.run_gate
        found = {gate: ask.override(task_id=gate)(run, gate) for gate in spec.gates.names}
        if approval := found.pop("approval", None):
            list(found.values()) >> _ask_approval(spec, run) >> approval

    return group()


def _ask_approval(spec: ModelSpec, run: Any) -> Any:
    """Park the run until a person has answered; the gate ``approval`` judges the answer."""
    from gauntlet.core.gates.approval import ApprovalConfig
    from gauntlet.orchestration.approval import FORM, AskApproval

    config = spec.gates.config("approval")
    assert isinstance(config, ApprovalConfig)
    return AskApproval(task_id="ask_approval", run_context=run, within=config.within, params=FORM)

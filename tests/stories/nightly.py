"""The retrain DAG without Airflow, for stories."""

from __future__ import annotations

from gauntlet.core.errors import GateFailed
from gauntlet.core.ports import Services
from gauntlet.core.records.run import RunContext


def retrain(services: Services, run: RunContext) -> list[str]:
    """The tasks of the retrain DAG after its decision; all gates run, and registration only when all pass."""
    from gauntlet.stages.check_contract import check_contract
    from gauntlet.stages.check_leakage import check_leakage
    from gauntlet.stages.evaluate import evaluate
    from gauntlet.stages.probe import probe
    from gauntlet.stages.pull_data import pull_data
    from gauntlet.stages.register import register_challenger
    from gauntlet.stages.run_gate import run_gate
    from gauntlet.stages.split_data import split_data
    from gauntlet.stages.train import train

    for task in (pull_data, check_contract, split_data, check_leakage, train, evaluate, probe):
        task(services, run)
    failed = []
    for gate in services.specs.get(run.model).gates.names:
        try:
            run_gate(services, run, gate)
        except GateFailed:
            failed.append(gate)
    if not failed:
        register_challenger(services, run)
    return failed

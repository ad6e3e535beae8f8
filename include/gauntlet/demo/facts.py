"""What a night left in the store, read as the pipeline wrote it."""

from __future__ import annotations

from dataclasses import dataclass

from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.data import ContractReport
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.rollout import Quarantine, RolloutState
from gauntlet.core.records.run import TriggerDecision


@dataclass(frozen=True)
class RetrainFacts:
    """The records of one run of the retrain DAG (or of a drift check: a decision only)."""

    decision: TriggerDecision | None
    contract: ContractReport | None
    receipts: dict[str, GateReceipt]
    registered: PromotionDecision | None

    @property
    def failed_gates(self) -> list[str]:
        """Gates whose verdict is not a pass and not a waiver."""
        return [name for name, receipt in self.receipts.items() if not receipt.satisfied]

    @property
    def gates(self) -> str:
        """Gates in a few words."""
        if not self.receipts:
            return "-"
        passed = f"{len(self.receipts) - len(self.failed_gates)} passed"
        return f"{passed}, failed: {', '.join(self.failed_gates)}" if self.failed_gates else passed


def retrain_facts(services: Services, model: str, run_id: str) -> RetrainFacts:
    """What the store holds of a run."""
    key, records = f"{model}/{run_id}", services.records
    return RetrainFacts(
        decision=records.find(key, TriggerDecision),
        contract=records.find(key, ContractReport),
        receipts=records.named(key, GateReceipt),
        registered=records.find(key, PromotionDecision),
    )


def rollout_state(services: Services, model: str, run_id: str) -> RolloutState | None:
    """The newest state of the rollout a canary run drove."""
    newest = services.records.newest(model, RolloutState, limit=20)
    return next((state for state in newest if state.run == run_id), None)


def champion(services: Services, model: str) -> int | None:
    """The version that gets all traffic that no canary gets."""
    stable = services.routing.read(model).stable
    return stable.version if stable else None


def quarantined(services: Services, model: str) -> set[int]:
    """Versions that must not be rolled out again."""
    return {record.version for record in services.records.newest(model, Quarantine, limit=100)}


def contract_words(report: ContractReport | None) -> str:
    """The contract's verdict in a few words."""
    if report is None or report.outcome is Outcome.PASSED:
        return ""
    columns = sorted({result.column or "table" for result in report.failed})
    return f"contract failed: {', '.join(columns[:4])}"

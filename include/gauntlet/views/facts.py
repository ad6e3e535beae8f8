"""One run as its records tell it, and many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from gauntlet.core.errors import InfrastructureError
from gauntlet.core.ports import Services
from gauntlet.core.records.base import Record
from gauntlet.core.records.data import ContractReport, DatasetRef, LeakageReport
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.model import RegisteredVersion, TrainedModel
from gauntlet.core.records.rollout import RolloutState, Routing
from gauntlet.core.records.run import RunContext, TriggerDecision

R = TypeVar("R", bound=Record)


class Night(Record):
    """One run of a model, as far as it got."""

    run: RunContext
    decision: TriggerDecision | None
    dataset: DatasetRef | None
    contract: ContractReport | None
    leakage: LeakageReport | None
    trained: TrainedModel | None
    receipts: tuple[GateReceipt, ...]
    promotion: PromotionDecision | None
    registered: RegisteredVersion | None
    rollout: RolloutState | None

    @property
    def passed(self) -> int:
        """How many gates were satisfied."""
        return sum(receipt.satisfied for receipt in self.receipts)

    @property
    def failed(self) -> tuple[str, ...]:
        """The gates that were not."""
        return tuple(receipt.verdict.gate for receipt in self.receipts if not receipt.satisfied)


class Status(Record):
    """What serves now, and what was decided last."""

    model: str
    routing: Routing
    aliases: dict[str, int] | None
    nights: tuple[Night, ...]


def night(services: Services, key: str) -> Night:
    """One run by its key; raises MissingRecord when there is none."""
    return nights_of(services, [services.records.get(key, RunContext)])[0]


def nights(services: Services, model: str, limit: int = 30) -> tuple[Night, ...]:
    """The newest runs of a model, newest first."""
    return nights_of(services, services.records.newest(model, RunContext, limit=limit))


def nights_of(services: Services, runs: Sequence[RunContext]) -> tuple[Night, ...]:
    """Those runs with all their records: one question per kind, however many runs."""
    keys, records = [run.key for run in runs], services.records
    decisions, datasets = records.of_runs(keys, TriggerDecision), records.of_runs(keys, DatasetRef)
    contracts, leakages = records.of_runs(keys, ContractReport), records.of_runs(keys, LeakageReport)
    trained, receipts = records.of_runs(keys, TrainedModel), records.of_runs(keys, GateReceipt)
    promotions, versions = records.of_runs(keys, PromotionDecision), records.of_runs(keys, RegisteredVersion)
    rollouts = records.of_runs(keys, RolloutState)
    return tuple(
        Night(
            run=run,
            decision=_only(decisions, run),
            dataset=_only(datasets, run),
            contract=_only(contracts, run),
            leakage=_only(leakages, run),
            trained=_only(trained, run),
            receipts=tuple(receipts.get(run.key, {}).values()),
            promotion=_only(promotions, run),
            registered=_only(versions, run),
            rollout=_only(rollouts, run),
        )
        for run in runs
    )


def _only(found: Mapping[str, Mapping[str, R]], run: RunContext) -> R | None:
    return found.get(run.key, {}).get("")


def status(services: Services, model: str, limit: int = 30) -> Status:
    """What serves and what was decided last. The registry may be down: its aliases are then absent, not guessed."""
    services.specs.get(model)
    try:
        aliases = services.registry.aliases(model)
    except InfrastructureError:
        aliases = None
    return Status(
        model=model, routing=services.routing.read(model), aliases=aliases, nights=nights(services, model, limit)
    )


def grouped(count: int) -> str:
    """A count as the gates' sentences write it.

    >>> grouped(117027)
    '117 027'
    """
    return f"{count:,}".replace(",", " ")

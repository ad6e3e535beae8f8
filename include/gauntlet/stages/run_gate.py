"""Ask one gate, and keep the answer before acting on it."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from gauntlet.core.digest import sha256_file, sha256_json
from gauntlet.core.errors import Conflict, GateFailed, InfrastructureError, MissingRecord
from gauntlet.core.gates.catalogue import GATES, Gate
from gauntlet.core.gates.evidence import MissingEvidence
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.gates.verdict import unable
from gauntlet.core.gates.waiver import with_waiver
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateReceipt, GateVerdict, Waiver
from gauntlet.core.registry import lookup
from gauntlet.stages.gate_evidence import Subject, gather, subject
from gauntlet.stages.gate_measurements import measured
from gauntlet.stages.gate_report import log_receipt

if TYPE_CHECKING:
    from gauntlet.core.ports import Services
    from gauntlet.core.records.run import RunContext


LOG = logging.getLogger(__name__)
ANOTHER_TRY = (InfrastructureError, MissingRecord, Conflict, OSError, MemoryError)
"""What says nothing about a candidate."""


def run_gate(services: Services, run: RunContext, gate: str) -> GateReceipt:
    """Judge one gate of a run; the receipt is stored and logged before anything raises.

    The same evidence gives the same verdict, and then the receipt that is stored already is returned.

    Raises:
        GateFailed: the verdict is neither passed nor waived; its sentence is the message.
        InfrastructureError: evidence could not be read or the receipt not be logged; worth another try.
        SpecError: the spec does not want this gate.
    """
    known = lookup(GATES, gate, "gate")
    about = subject(services, run)
    about.spec.gates.config(gate)
    started = services.clock.now()
    verdict = _verdict(services, about, gate, known)
    waiver = services.records.find(run.key, Waiver, gate)
    if waiver is not None:
        verdict = with_waiver(verdict, waiver, run, started)
    receipt = GateReceipt(
        verdict=verdict,
        model=run.model,
        run=run.run,
        candidate=about.trained.release.digest,
        champion=about.champion_digest,
        holdout=about.evaluation.holdout,
        spec_digest=run.spec_digest,
        code_digest=code_digest(),
        started_at=started,
        finished_at=services.clock.now(),
        waived_until=waiver.expires_at if waiver is not None and verdict.outcome is Outcome.WAIVED else None,
    )
    receipt = _stored(services, run, gate, receipt)
    _tell(receipt)
    log_receipt(services, about.trained.mlflow_run_id, receipt)
    if not receipt.satisfied:
        raise GateFailed(f"{gate} {receipt.verdict.outcome}: {receipt.verdict.reason}")
    return receipt


def _verdict(services: Services, about: Subject, name: str, gate: Gate) -> GateVerdict:
    if about.spec.digest != about.run.spec_digest:
        return unable(name, "the spec has changed since the run began: 1 change > 0; start a new run")
    try:
        observations = measured(services, about, name) if gate.measured else None
        evidence = gather(services, about, name, gate, observations)
    except MissingEvidence as error:
        return unable(name, str(error))
    except ANOTHER_TRY:
        raise
    except Exception as error:
        # Measuring runs the candidate: whatever it raises is an answer about it, and is recorded as one.
        return unable(name, f"it could not be measured: {type(error).__name__}: {error}")
    return judge_gate(name, evidence)


def _tell(receipt: GateReceipt) -> None:
    """The verdict as one sentence in the task's log, and every measurement under it."""
    verdict = receipt.verdict
    LOG.info("%s %s: %s", verdict.gate, verdict.outcome, verdict.reason)
    for item in verdict.measurements:
        LOG.info("  %-12s %s", item.outcome, item.sentence)


def _stored(services: Services, run: RunContext, gate: str, receipt: GateReceipt) -> GateReceipt:
    """The receipt, stored; or the one that says the same already, with its own times."""
    earlier = services.records.find(run.key, GateReceipt, gate)
    times = {"started_at": receipt.started_at, "finished_at": receipt.finished_at}
    if earlier is not None and earlier.model_copy(update=times) == receipt:
        return earlier
    services.records.put(run.key, receipt, gate)
    return receipt


@cache
def code_digest() -> str:
    """One digest over the code that measures and judges."""
    import gauntlet.core

    core = Path(gauntlet.core.__file__).parent
    return sha256_json({str(path.relative_to(core)): sha256_file(path) for path in sorted(core.rglob("*.py"))})

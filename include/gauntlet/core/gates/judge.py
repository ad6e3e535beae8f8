"""Asking one gate: whatever happens comes back as a verdict, and only an evaluated pass is a pass."""

from __future__ import annotations

import math

from gauntlet.core.errors import InfrastructureError
from gauntlet.core.gates.catalogue import GATES, Gate
from gauntlet.core.gates.evidence import Evidence, MissingEvidence, need
from gauntlet.core.gates.verdict import conclude, number, unable
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.gates import GateVerdict, Measurement
from gauntlet.core.registry import lookup


def judge_gate(name: str, evidence: Evidence) -> GateVerdict:
    """The verdict of the gate called ``name``; an exception in it is the verdict ``error``.

    Only :class:`~gauntlet.core.errors.InfrastructureError` passes through: it is no verdict and worth another try.
    A gate that the spec does not want raises :class:`~gauntlet.core.errors.SpecError`.
    """
    gate = lookup(GATES, name, "gate")
    config = evidence.spec.gates.config(name)
    try:
        spent = _budget_spent(name, gate, evidence)
        return spent or evaluated(gate.evaluate(evidence, config))
    except InfrastructureError:
        raise
    except MissingEvidence as error:
        return unable(name, str(error))
    except Exception as error:
        return unable(name, f"the gate could not be evaluated: {type(error).__name__}: {error}")


def evaluated(verdict: GateVerdict) -> GateVerdict:
    """The verdict; a pass without a finite measurement behind it is an error instead."""
    hollow = not verdict.measurements or any(_hollow(item) for item in verdict.measurements)
    if verdict.outcome is Outcome.PASSED and hollow:
        return verdict.model_copy(
            update={"outcome": Outcome.ERROR, "reason": f"passed without a measurement: {verdict.reason}"}
        )
    return verdict


def _hollow(item: Measurement) -> bool:
    return (
        item.outcome is not Outcome.PASSED or item.observed is None or not math.isfinite(item.observed) or item.n == 0
    )


def _budget_spent(name: str, gate: Gate, evidence: Evidence) -> GateVerdict | None:
    """Inconclusive when this holdout has been looked at too often to be believed any more."""
    if not gate.holdout:
        return None
    reads = need(evidence.holdout_reads, "count of the holdout's readings")
    budget = evidence.spec.gates.holdout_reads
    if reads <= budget:
        return None
    text = (
        f"holdout read {number(reads)} times > budget {number(budget)}: what passes now may pass by chance; "
        "wait until the holdout has new rows"
    )
    item = Measurement(
        metric="holdout_reads",
        slice=None,
        outcome=Outcome.INCONCLUSIVE,
        sentence=text,
        observed=float(reads),
        limit=float(budget),
        comparator="≤",
        n=len(evidence.frame) if evidence.frame is not None else None,
    )
    return conclude(name, [item])

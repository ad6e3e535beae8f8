"""Try the gates of a user's own spec, on a run of their own data, with everything bad that is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from gauntlet.core.gates.catalogue import GATES
from gauntlet.core.gates.evidence import Evidence, MissingEvidence
from gauntlet.core.gates.judge import judge_gate
from gauntlet.core.gates.mutations import BY_GATE, Mutation
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.selftest import MutationResult, SelfTestReport
from gauntlet.stages.gate_evidence import Subject, gather, subject
from gauntlet.stages.gate_measurements import measured
from gauntlet.stages.run_gate import code_digest

if TYPE_CHECKING:
    from gauntlet.core.ports import Services
    from gauntlet.core.records.run import RunContext


def selftest(services: Services, run: RunContext) -> SelfTestReport:
    """Mutate the evidence of a finished run, gate by gate, and see that each known-bad variant is refused.

    Nothing is stored but measurements that were not taken yet; the holdout's budget is not touched, because no
    verdict on the run itself is told. A gate that does not pass on the run as it is proves nothing by refusing a worse
    one: its variants are reported as not tried.
    """
    about = subject(services, run)
    results = tuple(result for gate in about.spec.gates.names for result in _gate(services, about, gate))
    missed = [result for result in results if result.caught is False]
    tried = [result for result in results if result.caught is not None]
    outcome = Outcome.FAILED if missed else Outcome.PASSED if tried else Outcome.ERROR
    return SelfTestReport(
        model=run.model,
        run=run.run,
        spec_digest=about.spec.digest,
        code_digest=code_digest(),
        outcome=outcome,
        reason=_reason(results, tried, missed),
        results=results,
    )


def _reason(results: tuple[MutationResult, ...], tried: list[MutationResult], missed: list[MutationResult]) -> str:
    if missed:
        names = "; ".join(f"{result.gate} let through: {result.mutation}" for result in missed)
        return f"{len(missed)} of {len(tried)} known-bad variants were not refused: {names}"
    rest = len(results) - len(tried)
    return f"{len(tried)} of {len(tried)} known-bad variants were refused" + (f", {rest} not tried" if rest else "")


def _gate(services: Services, about: Subject, name: str) -> Iterator[MutationResult]:
    try:
        evidence = _evidence(services, about, name)
    except MissingEvidence as error:
        yield from (_untried(mutation, str(error)) for mutation in BY_GATE[name])
        return
    plain = judge_gate(name, evidence)
    for mutation in BY_GATE[name]:
        if mutation.name in ALWAYS or plain.outcome.satisfied:
            yield _try(mutation, evidence)
        else:
            yield _untried(mutation, f"{name} does not pass on this run as it is: {plain.reason}")


ALWAYS = ("rejected", "silence", "approved by a stranger")
"""Variants that replace all there is to judge, so they prove something even where the gate does not pass."""


def _evidence(services: Services, about: Subject, name: str) -> Evidence:
    gate = GATES[name]
    found = measured(services, about, name) if gate.measured else None
    return replace(gather(services, about, name, gate, found, count=False), holdout_reads=1)


def _try(mutation: Mutation, evidence: Evidence) -> MutationResult:
    if not mutation.applies(evidence):
        return _untried(mutation, "this model cannot be bad in this way")
    try:
        changed = mutation.change(evidence)
    except (MissingEvidence, LookupError) as error:
        return _untried(mutation, f"the run has nothing to change: {error}")
    verdict = judge_gate(mutation.gate, changed)
    return MutationResult(
        gate=mutation.gate,
        mutation=mutation.name,
        caught=not verdict.outcome.satisfied,
        outcome=verdict.outcome,
        reason=verdict.reason,
    )


def _untried(mutation: Mutation, why: str) -> MutationResult:
    return MutationResult(gate=mutation.gate, mutation=mutation.name, caught=None, outcome=None, reason=why)

"""Whether to retrain: one decision from all the evidence, with a fixed order of precedence.

Data-quality block, stopped line, budget, cooldown and minimum of new rows each hold a retrain back; only then
is asked what calls for one. What the drift check has decided and announced is carried out by the run it starts.
A person's request passes everything but a stopped line: it never skips a gate, and the contract judges the data
anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from gauntlet.core.digest import sha256_json
from gauntlet.core.duration import format_duration
from gauntlet.core.errors import DataRejected
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.drift import DriftAction, DriftReport
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision, TriggerKind
from gauntlet.core.specs.drift import DriftSection

AUTOMATIC = frozenset(TriggerKind) - {TriggerKind.MANUAL}
ANNOUNCED = frozenset({TriggerKind.DRIFT, TriggerKind.PERFORMANCE, TriggerKind.VOLUME, TriggerKind.AGE})
"""Kinds that the drift check announces by an asset."""
CARRIES_OUT = "carries_out"
"""Evidence key: the id of the announced decision that a run carries out."""


@dataclass(frozen=True)
class TriggerEvidence:
    """What is known when the decision is taken."""

    champion: str | None
    """Digest of the champion's release; ``None`` on the first night."""
    champion_as_of: datetime | None
    """As-of time of the data the champion was trained on."""
    report: DriftReport | None
    """The newest drift report on this champion that is not newer than the run."""
    earlier: Sequence[TriggerDecision]
    """Earlier decisions to retrain, of other runs of this model, newest first."""
    stopped: str | None
    """Why the line is stopped, when somebody stopped it."""
    new_rows: int | None
    """Labelled rows that are new since the champion; ``None``: nobody asked for them."""


@dataclass(frozen=True)
class Answer:
    """A step's answer: the action with its reason and the evidence that its identity hangs on."""

    action: TriggerAction
    kind: TriggerKind
    reason: str
    evidence: dict[str, str]


Step = Callable[[RunContext, TriggerEvidence, DriftSection], Answer | None]


def decide_trigger(
    run: RunContext, evidence: TriggerEvidence, section: DriftSection, decided_at: datetime
) -> TriggerDecision:
    """The first step that has an answer decides; a manual run without a reason is refused."""
    if (run.kind is TriggerKind.MANUAL or run.force_retrain) and not run.reason.strip():
        raise DataRejected(f"run {run.run} was started by hand without a reason: write one")
    answer = next(found for step in STEPS if (found := step(run, evidence, section)) is not None)
    return TriggerDecision(
        model=run.model,
        run=run.run,
        as_of=run.as_of,
        action=answer.action,
        kind=answer.kind,
        reason=answer.reason,
        evidence=answer.evidence,
        decision_id=decision_id(run.model, answer),
        decided_at=decided_at,
    )


def decision_id(model: str, answer: Answer) -> str:
    """The same evidence gives the same id, whichever run asks."""
    return sha256_json({"model": model, "action": answer.action, "kind": answer.kind, "evidence": answer.evidence})[:16]


def asked_by_hand(run: RunContext) -> bool:
    """Whether a person asked for a retrain. A run that is only started by hand decides like any other."""
    return run.force_retrain


def _skip(run: RunContext, evidence: TriggerEvidence, held_by: str, reason: str) -> Answer:
    known = _known(evidence) | {"held_by": held_by, "as_of": run.as_of.isoformat()}
    return Answer(TriggerAction.SKIP, run.kind, reason, known)


def _retrain(evidence: TriggerEvidence, kind: TriggerKind, reason: str, **more: str) -> Answer:
    return Answer(TriggerAction.RETRAIN, kind, reason, _known(evidence) | more)


def _known(evidence: TriggerEvidence) -> dict[str, str]:
    known = {"champion": evidence.champion or "none"}
    if evidence.report is not None:
        known["report"] = evidence.report.record_digest
    return known


def _stopped(run: RunContext, evidence: TriggerEvidence, _section: DriftSection) -> Answer | None:
    if evidence.stopped is None:
        return None
    return _skip(run, evidence, "stopped line", f"the line is stopped: {evidence.stopped}")


def _by_hand(run: RunContext, evidence: TriggerEvidence, _section: DriftSection) -> Answer | None:
    if not asked_by_hand(run):
        return None
    who = run.requested_by or "somebody"
    return _retrain(evidence, TriggerKind.MANUAL, f"{who} asked: {run.reason}", run=run.run)


def _bootstrap(run: RunContext, evidence: TriggerEvidence, _section: DriftSection) -> Answer | None:
    if evidence.champion is not None:
        return None
    return _retrain(evidence, TriggerKind.BOOTSTRAP, "there is no champion yet", as_of=run.as_of.isoformat())


def _announced(run: RunContext, evidence: TriggerEvidence, _section: DriftSection) -> Answer | None:
    """A run that an asset started carries out what the drift check has decided, once."""
    if run.kind not in ANNOUNCED:
        return None
    same = [one for one in evidence.earlier if one.kind is run.kind and one.as_of == run.as_of]
    wanted = next((one for one in same if CARRIES_OUT not in one.evidence), None)
    if wanted is None or any(one.evidence.get(CARRIES_OUT) == wanted.decision_id for one in evidence.earlier):
        return None
    reason = f"run {wanted.run} has decided: {wanted.reason}"
    return _retrain(evidence, run.kind, reason, **{CARRIES_OUT: wanted.decision_id})


def _blocked(run: RunContext, evidence: TriggerEvidence, _section: DriftSection) -> Answer | None:
    if asked_by_hand(run) or evidence.report is None or not evidence.report.blocked:
        return None
    return _skip(run, evidence, "data quality", f"the data are unfit to train on: {evidence.report.reason}")


def _over_budget(run: RunContext, evidence: TriggerEvidence, section: DriftSection) -> Answer | None:
    if section.budget is None:
        return None
    spent = [one for one in _automatic(evidence) if run.as_of - one.as_of < section.budget.within]
    if len(spent) < section.budget.retrains:
        return None
    period = format_duration(section.budget.within)
    return _skip(run, evidence, "budget", f"{len(spent)} of {section.budget.retrains} retrains in {period} are used up")


def _cooling(run: RunContext, evidence: TriggerEvidence, section: DriftSection) -> Answer | None:
    last = next(iter(_automatic(evidence)), None)
    if last is None or run.as_of - last.as_of >= section.cooldown:
        return None
    ago = run.as_of - last.as_of
    rest = f"cooldown {format_duration(section.cooldown)}"
    return _skip(run, evidence, "cooldown", f"run {last.run} retrained {_hours(ago.total_seconds())} earlier ({rest})")


def _too_few_new(run: RunContext, evidence: TriggerEvidence, section: DriftSection) -> Answer | None:
    if not section.minimum_new_rows or evidence.new_rows is None or evidence.new_rows >= section.minimum_new_rows:
        return None
    told = f"{evidence.new_rows} labelled rows are new since the champion; {section.minimum_new_rows} are needed"
    return _skip(run, evidence, "minimum new rows", told)


def _drift(run: RunContext, evidence: TriggerEvidence, _section: DriftSection) -> Answer | None:
    report = evidence.report
    if report is None or report.action not in {DriftAction.RETRAIN, DriftAction.RECALIBRATE, DriftAction.ROLLBACK}:
        return None
    fell = report.performance is not None and report.performance.outcome is Outcome.FAILED
    kind = TriggerKind.PERFORMANCE if fell else TriggerKind.DRIFT
    answer = _retrain(evidence, kind, report.reason)
    if twin := next((one for one in evidence.earlier if one.decision_id == decision_id(run.model, answer)), None):
        return _skip(run, evidence, "duplicate", f"run {twin.run} already acted on this report ({report.run})")
    return answer


def _volume(run: RunContext, evidence: TriggerEvidence, section: DriftSection) -> Answer | None:
    if section.volume is None or evidence.new_rows is None or evidence.new_rows < section.volume:
        return None
    reason = f"{evidence.new_rows} labelled rows are new since the champion (limit {section.volume})"
    return _retrain(evidence, TriggerKind.VOLUME, reason, as_of=run.as_of.isoformat())


def _age(run: RunContext, evidence: TriggerEvidence, section: DriftSection) -> Answer | None:
    if section.max_age is None or evidence.champion_as_of is None:
        return None
    age = run.as_of - evidence.champion_as_of
    if age < section.max_age:
        return None
    reason = f"the champion's data are {_hours(age.total_seconds())} old (limit {format_duration(section.max_age)})"
    return _retrain(evidence, TriggerKind.AGE, reason, as_of=run.as_of.isoformat())


def _nothing(run: RunContext, evidence: TriggerEvidence, _section: DriftSection) -> Answer:
    if evidence.report is None:
        return _skip(run, evidence, "nothing", "no drift report on the champion, and nothing else calls for a retrain")
    told = f"drift check of run {evidence.report.run}: {evidence.report.action.value}, {evidence.report.reason}"
    return _skip(run, evidence, "nothing", told)


STEPS: tuple[Step, ...] = (
    _blocked,
    _stopped,
    _by_hand,
    _bootstrap,
    _announced,
    _over_budget,
    _cooling,
    _too_few_new,
    _drift,
    _volume,
    _age,
    _nothing,
)
"""In order of precedence."""


def _automatic(evidence: TriggerEvidence) -> list[TriggerDecision]:
    """Earlier automatic retrains; a decision and the run that carries it out are one."""
    kinds = AUTOMATIC - {TriggerKind.BOOTSTRAP}
    return [one for one in evidence.earlier if one.kind in kinds and CARRIES_OUT not in one.evidence]


def _hours(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days" if seconds >= 172_800 else f"{seconds / 3600:.1f} hours"

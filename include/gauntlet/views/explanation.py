"""Why a version serves, or why a run ended as it did, in sentences."""

from __future__ import annotations

from gauntlet.core.errors import GauntletError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import AuditEntry, Services
from gauntlet.core.records.base import Record
from gauntlet.core.records.model import Derivation, TrainedModel
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.registry import did_you_mean
from gauntlet.stages.hold import frozen
from gauntlet.views.facts import Night, grouped, nights

RUNS = 400
"""How many runs back a look-up goes."""


class Sentence(Record):
    """One line of an explanation."""

    topic: str
    outcome: Outcome | None
    text: str


class Explanation(Record):
    """Why a version serves, or why a run ended as it did."""

    subject: str
    model: str
    sentences: tuple[Sentence, ...]


def explain(services: Services, subject: str, model: str | None = None) -> Explanation:
    """Why: of a run id, a version id, a registry version or ``champion``.

    Raises :class:`GauntletError` naming what can be asked for when nothing has that name.
    """
    models = (model,) if model else services.specs.names()
    for name in models:
        for candidate in nights(services, name, RUNS):
            if _is_about(services, candidate, subject):
                return Explanation(subject=subject, model=name, sentences=sentences(services, candidate))
    known = [text for name in models for each in nights(services, name, 10) for text in _names(each)]
    hint = did_you_mean(subject, known) if known else "nothing has run yet"
    raise GauntletError(f"no run or version is called {subject!r}: {hint}")


def _names(candidate: Night) -> tuple[str, ...]:
    version = candidate.trained.release.version_id if candidate.trained else None
    return tuple(name for name in (candidate.run.run, version) if name)


def _is_about(services: Services, candidate: Night, subject: str) -> bool:
    if subject in (*_names(candidate), candidate.run.key):
        return True
    if candidate.registered is None:
        return False
    if candidate.registered.is_called(subject):
        return True
    stable = services.routing.read(candidate.run.model).stable
    return subject == "champion" and stable is not None and stable.version_id == candidate.registered.version_id


def sentences(services: Services, asked: Night) -> tuple[Sentence, ...]:
    """What happened in a run, step by step."""
    lines = [Sentence(topic="run", outcome=None, text=f"{asked.run.run}: {asked.run.kind}, {asked.run.reason}")]
    if asked.decision:
        lines.append(Sentence(topic="trigger", outcome=None, text=f"{asked.decision.action}: {asked.decision.reason}"))
    if asked.dataset:
        data = asked.dataset
        lines.append(
            Sentence(
                topic="data",
                outcome=None,
                text=f"{grouped(data.rows)} rows as known at {data.as_of:%Y-%m-%d %H:%M} UTC, "
                f"sha256 {data.sha256[:12]}",
            )
        )
    if asked.contract:
        lines.append(Sentence(topic="contract", outcome=asked.contract.outcome, text=asked.contract.reason))
    if asked.leakage:
        lines.append(Sentence(topic="leakage", outcome=asked.leakage.outcome, text=asked.leakage.reason))
    if asked.trained:
        lines.append(Sentence(topic="training", outcome=None, text=_training(asked.trained)))
    if derived := services.records.find(asked.run.key, Derivation):
        lines.append(Sentence(topic="derived", outcome=None, text=derived.sentence))
    lines += [
        Sentence(topic=f"gate {receipt.verdict.gate}", outcome=receipt.verdict.outcome, text=receipt.verdict.reason)
        for receipt in asked.receipts
    ]
    if asked.promotion:
        lines.append(Sentence(topic="promotion", outcome=asked.promotion.outcome, text=asked.promotion.reason))
    lines += [Sentence(topic="rollout", outcome=None, text=text) for text in _rollouts(services, asked)]
    held = frozen(services, asked.run.model, starting=True)
    if held is not None:
        lines.append(Sentence(topic="deployments", outcome=None, text=f"nothing new is deployed now: {held}"))
    lines += [_audit_sentence(entry) for entry in _audit_of(services, asked)]
    return tuple(lines)


def _training(model: TrainedModel) -> str:
    return (
        f"{model.release.version_id}: {model.best_iteration} trees on {grouped(model.train_rows)} rows "
        f"in {model.seconds:.1f} s; tree digest {model.release.tree_digest[:12]}; MLflow run {model.mlflow_run_id}"
    )


def _rollouts(services: Services, asked: Night) -> list[str]:
    """What happened to this night's version on live traffic, in any canary run."""
    if asked.trained is None:
        return [asked.rollout.reason] if asked.rollout else []
    states = services.records.newest(asked.run.model, RolloutState, limit=RUNS)
    return [
        f"{state.phase}: {state.reason}"
        for state in states
        if state.candidate.version_id == asked.trained.release.version_id
    ][:3]


def _audit_of(services: Services, asked: Night) -> list[AuditEntry]:
    version = asked.trained.release.version_id if asked.trained else None
    subjects = {asked.run.key, version, asked.trained.release.digest if asked.trained else None}
    found = [
        entry
        for subject in sorted(subject for subject in subjects if subject)
        for entry in services.audit.entries(model=asked.run.model, subject=subject)
        if not entry.action.startswith("record")
    ]
    return sorted(found, key=lambda entry: entry.sequence)


def _audit_sentence(entry: AuditEntry) -> Sentence:
    why = entry.detail.get("reason", "")
    return Sentence(
        topic="audit",
        outcome=None,
        text=f"{entry.at:%Y-%m-%d %H:%M:%S} UTC {entry.actor}: {entry.action} {why}".rstrip(),
    )

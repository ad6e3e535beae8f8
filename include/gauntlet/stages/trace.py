"""From anything to everything it came from and led to: prediction, version, gates, run, data, trigger, rollout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from gauntlet.core.errors import GauntletError, MissingRecord
from gauntlet.core.ports import Services
from gauntlet.core.records.data import ContractReport, DatasetRef, LeakageReport, SplitManifest
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.ledger import PromotionRecord, TraceStep
from gauntlet.core.records.model import LEAST_DIGEST, Derivation, RegisteredVersion, TrainedModel
from gauntlet.core.records.rollout import RolloutState
from gauntlet.core.records.run import RunContext, TriggerDecision
from gauntlet.stages.history import history
from gauntlet.stages.recorded import version_called
from gauntlet.stages.release_folder import read_sidecar
from gauntlet.stages.releases import ALL, served, tombstone_of

__all__ = ["history", "trace"]

SHORT = 12
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def trace(services: Services, subject: str, model: str | None = None) -> list[TraceStep]:
    """Everything connected with a subject, from the trigger of its run to what became of its version.

    ``subject``: a run id, a version (``7``, ``v7``, a version id, a release digest), a snapshot digest (its first
    characters are enough), or the id of a prediction. Raises :class:`MissingRecord` when nothing is known of it.
    """
    names = (model,) if model else services.specs.names()
    steps = [step for name in names for step in _of_model(services, name, subject)]
    if steps:
        return steps
    predicted = [step for name in names for step in _of_prediction(services, name, subject)]
    if predicted:
        return predicted
    raise MissingRecord(
        f"nothing is known of {subject!r}: give a run id, a version (7, v7, its id), a snapshot or release digest of "
        f"at least {LEAST_DIGEST} characters, or the request id of a prediction"
    )


def _of_model(services: Services, model: str, subject: str) -> Iterator[TraceStep]:
    for run in reversed(services.records.newest(model, RunContext, limit=ALL)):
        if _matches(services, run, subject):
            yield from _of_run(services, run)


def _matches(services: Services, run: RunContext, subject: str) -> bool:
    if subject in (run.run, run.key):
        return True
    registered = services.records.find(run.key, RegisteredVersion)
    if registered is not None and registered.is_called(subject):
        return True
    if len(subject) < LEAST_DIGEST:
        return False
    dataset = services.records.find(run.key, DatasetRef)
    trained = services.records.find(run.key, TrainedModel)
    digests = [dataset.sha256 if dataset else "", trained.release.digest if trained else ""]
    return any(digest.startswith(subject) for digest in digests)


def _of_prediction(services: Services, model: str, request: str) -> Iterator[TraceStep]:
    import pyarrow.compute as pc

    try:
        rows = services.journal.read(model, BEGINNING, services.clock.now())
    except GauntletError as error:
        yield TraceStep(kind="journal", subject=model, text=f"could not be read: {error}")
        return
    found = rows.filter(pc.equal(rows["request_id"], request)).to_pylist()
    for row in found:
        yield TraceStep(
            kind="prediction",
            subject=request,
            text=f"{row['at']:%Y-%m-%d %H:%M:%S} {row['arm']} {row['version_id']} answered {row['score']:.6g} "
            f"at routing epoch {row['epoch']} ({row['status']}){_drawn(row)}",
        )
        if row["other_version_id"] and math.isfinite(row["other_score"]):
            yield _instead(services, model, request, row)
    for version in dict.fromkeys(row["version_id"] for row in found if row["version_id"]):
        yield from _of_model(services, model, version)


def _drawn(row: Mapping[str, Any]) -> str:
    """That the decision was not the version's own, where the exploration reserve has drawn it."""
    if row.get("explored") != 1:
        return ""
    return f"; the exploration reserve decided {row['decision']}, with a probability of {row['propensity']:.4g}"


def _instead(services: Services, model: str, request: str, row: Mapping[str, Any]) -> TraceStep:
    """What the version that did not answer would have said; its decision, where it decides by a threshold."""
    version, score = row["other_version_id"], row["other_score"]
    threshold = _threshold(services, model, version)
    text = f"{version} would have answered {score:.6g}"
    if threshold is not None:
        decision = int(score >= threshold)
        verb = "as well" if decision == row["decision"] else f"instead of {row['decision']}"
        text += f" and decided {decision} {verb}, at threshold {threshold:g}"
    return TraceStep(kind="counterfactual", subject=request, text=text)


def _threshold(services: Services, model: str, version_id: str) -> float | None:
    registered = version_called(services, model, version_id)
    if registered is None:
        return None
    try:
        return read_sidecar(services, served(registered)).threshold
    except (GauntletError, OSError, ValueError):
        return None  # The release is deleted or damaged: the score is still told.


def _of_run(services: Services, run: RunContext) -> Iterator[TraceStep]:
    yield TraceStep(
        kind="run",
        subject=run.key,
        text=f"{run.kind}, data as known at {run.as_of:%Y-%m-%d %H:%M}: {run.reason} (asked for by {run.requested_by})",
    )
    decision = services.records.find(run.key, TriggerDecision)
    if decision is not None:
        yield TraceStep(kind="trigger", subject=str(decision.action), text=decision.reason)
    yield from _data(services, run)
    yield from _model(services, run)
    yield from _afterwards(services, run)


def _data(services: Services, run: RunContext) -> Iterator[TraceStep]:
    dataset = services.records.find(run.key, DatasetRef)
    if dataset is not None:
        when = f"{dataset.first_event:%Y-%m-%d} to {dataset.last_event:%Y-%m-%d}" if dataset.last_event else "no time"
        yield TraceStep(
            kind="snapshot", subject=dataset.sha256[:SHORT], text=f"{dataset.rows} rows, {when}, {dataset.uri}"
        )
    for kind, report in (
        ("contract", services.records.find(run.key, ContractReport)),
        ("leakage", services.records.find(run.key, LeakageReport)),
    ):
        if report is not None:
            yield TraceStep(kind=kind, subject=str(report.outcome), text=report.reason)
    split = services.records.find(run.key, SplitManifest)
    if split is not None:
        parts = ", ".join(f"{part.name} {part.rows}" for part in split.parts)
        yield TraceStep(kind="split", subject=split.sha256[:SHORT], text=f"{split.strategy}: {parts}")


def _model(services: Services, run: RunContext) -> Iterator[TraceStep]:
    trained = services.records.find(run.key, TrainedModel)
    if trained is not None:
        yield TraceStep(
            kind="model",
            subject=trained.release.digest[:SHORT],
            text=f"{trained.best_iteration} trees on {trained.train_rows} rows, tree digest "
            f"{trained.release.tree_digest[:SHORT]}, MLflow run {trained.mlflow_run_id}",
        )
    derived = services.records.find(run.key, Derivation)
    if derived is not None:
        yield TraceStep(kind="derived", subject=derived.source[:SHORT], text=derived.sentence)
    for gate, receipt in sorted(services.records.named(run.key, GateReceipt).items()):
        yield TraceStep(kind="gate", subject=gate, text=f"{receipt.verdict.outcome}: {receipt.verdict.reason}")
    decision = services.records.find(run.key, PromotionDecision)
    if decision is not None:
        yield TraceStep(kind="decision", subject=str(decision.outcome), text=decision.reason)


def _afterwards(services: Services, run: RunContext) -> Iterator[TraceStep]:
    registered = services.records.find(run.key, RegisteredVersion)
    if registered is None:
        yield from _rollout(services, run.key)
        return
    yield TraceStep(
        kind="version", subject=f"v{registered.version}", text=f"{registered.version_id}, {registered.release.uri}"
    )
    yield from _deleted(services, run.model, registered.release.digest)
    for state in reversed(services.records.newest(run.model, RolloutState, limit=ALL)):
        if state.source_run == run.run:
            yield from _rollout(services, f"{state.model}/{state.run}")
    for event in services.ledger.events(run.model, registered.release.digest):
        weight = f" at {event.weight_ppm / 10_000:g} %" if event.weight_ppm else ""
        when = f"{event.at:%Y-%m-%d %H:%M:%S}" if event.at else ""
        yield TraceStep(kind="state", subject=f"{event.after}{weight}", text=f"{when} {event.reason} ({event.actor})")


def _rollout(services: Services, key: str) -> Iterator[TraceStep]:
    state = services.records.find(key, RolloutState)
    if state is not None:
        source = f", from run {state.source_run}" if state.source_run else ""
        yield TraceStep(kind="rollout", subject=state.rollout, text=f"{state.phase}: {state.reason}{source}")
    promotion = services.records.find(key, PromotionRecord)
    if promotion is not None:
        yield TraceStep(
            kind="promotion",
            subject=f"v{promotion.candidate.version}",
            text=f"{promotion.promoted_at:%Y-%m-%d %H:%M:%S} {promotion.reason}",
        )


def _deleted(services: Services, model: str, digest: str) -> Iterator[TraceStep]:
    """That a release is gone is part of its story; its tombstone says when and why."""
    stone = tombstone_of(services, model, digest)
    if stone is not None:
        when = stone.deleted_at or stone.decided_at
        yield TraceStep(kind="deleted", subject=digest[:SHORT], text=f"{when:%Y-%m-%d %H:%M:%S} {stone.reason}")

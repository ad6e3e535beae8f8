"""A made-up past of one model, written straight into a store: for pages and their benchmarks, where training every
night would take days. Every record is of the kind the pipeline writes; none of it was measured.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gauntlet.core.digest import sha256_json
from gauntlet.core.outcome import Outcome
from gauntlet.core.records.base import Record
from gauntlet.core.records.data import ContractReport, DatasetRef, LeakageReport
from gauntlet.core.records.drift import (
    DriftAction,
    DriftPattern,
    DriftReport,
    DriftSummary,
    FeatureDrift,
    StatisticResult,
)
from gauntlet.core.records.gates import GateReceipt, GateVerdict, Measurement, PromotionDecision
from gauntlet.core.records.model import RegisteredVersion, ReleaseRef, TrainedModel
from gauntlet.core.records.rollout import (
    CanaryAnalysis,
    MetricVerdict,
    Quarantine,
    RolloutPhase,
    RolloutState,
    ServedVersion,
)
from gauntlet.core.records.run import RunContext, TriggerAction, TriggerDecision, TriggerKind

if TYPE_CHECKING:
    from gauntlet.core.ports import RecordStore, RoutingStore

BEGIN = datetime(2026, 1, 1, 2, tzinfo=UTC)
STATISTICS = ("psi", "ks", "wasserstein")
LIVE_METRICS = ("error_rate", "latency_p99", "score_psi")


@dataclass(frozen=True)
class Past:
    """What is to be made up. The last night's version is on the ramp, the one before in quarantine."""

    model: str
    nights: int
    features: int
    gates: tuple[str, ...]
    spec_digest: str
    begin: datetime = BEGIN
    seed: int = 7
    ticks: int = 12


def write_past(records: RecordStore, routing: RoutingStore, past: Past) -> None:
    """Write all nights, then a routing with champion, previous and a canary under way."""
    write_nights(records, past)
    write_rollout(records, routing, past)


def write_nights(records: RecordStore, past: Past) -> None:
    """Write all nights, oldest first."""
    for number in range(past.nights):
        for record, name in night_records(past, number):
            records.put(f"{past.model}/{run_name(number)}", record, name)


def run_name(number: int) -> str:
    """The run id of a night; Airflow keeps ids that begin with scheduled to itself."""
    return f"made_up__{(BEGIN + timedelta(days=number)).isoformat()}"


def night_records(past: Past, number: int) -> Iterator[tuple[Record, str]]:
    """All records of one night, each with its name."""
    draw = random.Random(past.seed * 100_003 + number)
    at, run = past.begin + timedelta(days=number), run_name(number)
    facts = {"model": past.model, "run": run}
    yield (
        RunContext(
            **facts,
            as_of=at,
            kind=TriggerKind.SCHEDULE,
            reason="on schedule",
            requested_by="airflow",
            force_retrain=False,
            spec_digest=past.spec_digest,
            opened_at=at,
            dag=f"{past.model}__retrain",
        ),
        "",
    )
    yield from ((record, "") for record in _drift(past, draw, run, at))
    yield (
        TriggerDecision(
            **facts,
            as_of=at,
            action=TriggerAction.RETRAIN,
            kind=TriggerKind.DRIFT,
            reason="drift in what matters",
            evidence={},
            decision_id=f"d{number}",
            decided_at=at,
        ),
        "",
    )
    yield from ((record, "") for record in _data(at, number))
    release = release_of(past, number)
    yield (
        TrainedModel(
            release=release,
            mlflow_run_id=sha256_json(["mlflow", number])[:32],
            dataset=sha256_json(["data", number]),
            split=sha256_json(["split", number]),
            profile_digest="p",
            metrics={"validation.roc_auc": 0.78},
            train_rows=58_000,
            best_iteration=120,
            iterations_cap=400,
            seconds=31.0,
            peak_rss_mb=420.0,
            trained_at=at,
        ),
        "",
    )
    failed = past.gates[number % len(past.gates)] if number % 9 == 4 else None
    for gate in past.gates:
        yield _receipt(past, draw, run, at, gate, release.digest, failed=gate == failed), gate
    outcome = Outcome.FAILED if failed else Outcome.PASSED
    yield (
        PromotionDecision(
            **facts,
            outcome=outcome,
            reason=f"{failed} did not pass" if failed else "every gate the spec names has passed",
            candidate=release.digest,
            champion=None,
            holdout="h",
            spec_digest=past.spec_digest,
            receipts={},
            version=None if failed else number + 1,
            decided_at=at,
        ),
        "",
    )
    if not failed:
        yield (
            RegisteredVersion(
                model=past.model,
                version=number + 1,
                version_id=release.version_id,
                release=release,
                mlflow_run_id=sha256_json(["mlflow", number])[:32],
            ),
            "",
        )


def release_of(past: Past, number: int) -> ReleaseRef:
    """The release of a night."""
    digest = sha256_json([past.model, number])
    version_id = f"v_{past.begin + timedelta(days=number):%Y%m%dT%H%M%SZ}_{digest[:8]}"
    return ReleaseRef(
        uri=f"releases/{digest}", digest=digest, version_id=version_id, tree_digest=f"t{digest}", size_bytes=1
    )


def served(past: Past, number: int) -> ServedVersion:
    """The version of a night as a server knows it."""
    release = release_of(past, number)
    return ServedVersion(
        version=number + 1, version_id=release.version_id, release_uri=release.uri, release_digest=release.digest
    )


def _data(at: datetime, number: int) -> tuple[Record, ...]:
    sha256 = sha256_json(["data", number])
    return (
        DatasetRef(
            uri=f"snapshots/{sha256}",
            sha256=sha256,
            rows=117_000,
            columns=(),
            size_bytes=1,
            first_event=None,
            last_event=None,
            as_of=at,
            window_start=None,
            window_end=at,
            query="made up",
        ),
        ContractReport(
            outcome=Outcome.PASSED,
            reason="all 133 expectations hold",
            dataset=sha256,
            evaluated=133,
            failed=(),
            suite_digest="s",
            page_uri=None,
            seconds=3.0,
        ),
        LeakageReport(outcome=Outcome.PASSED, reason="9 checks found nothing", dataset=sha256, findings=()),
    )


def _drift(past: Past, draw: random.Random, run: str, at: datetime) -> tuple[Record, ...]:
    total = past.features * (past.features + 1) / 2
    features = tuple(
        _feature(f"feature_{place:03}", (past.features - place) / total, draw) for place in range(past.features)
    )
    worst = max((one.effect or 0.0) for one in features)
    outcome = Outcome.FAILED if worst > 1 else Outcome.PASSED
    action = DriftAction.RETRAIN if worst > 1 else DriftAction.NONE
    reason = f"the strongest change is {worst:.2f} times its limit"
    facts = {"model": past.model, "run": run, "as_of": at, "champion": "c", "outcome": outcome, "action": action}
    report = DriftReport(
        **facts,
        spec_digest=past.spec_digest,
        profile="p",
        profile_as_of=at,
        mode="profile",
        window_start=at - timedelta(days=1),
        window_end=at,
        rows=12_000,
        reference_rows=58_000,
        pattern=DriftPattern.NONE,
        reason=reason,
        score=0.1,
        carried_by=(),
        blocked=False,
        violated=worst > 1,
        features=features,
        prediction=None,
        performance=None,
        page_uri=None,
        page_sha256=None,
        data_uri=None,
        data_sha256=None,
    )
    summary = DriftSummary(
        **facts,
        reason=reason,
        score=0.1,
        features=tuple(one.feature for one in features),
        importances=tuple(one.importance for one in features),
        effects=tuple(one.effect for one in features),
        outcomes=tuple(one.outcome for one in features),
    )
    return report, summary


def _feature(name: str, importance: float, draw: random.Random) -> FeatureDrift:
    effect = round(min(draw.gammavariate(1.2, 0.18), 3.0), 3)
    outcome = Outcome.FAILED if effect > 1 else Outcome.PASSED
    sentence = f"{name}: PSI {effect / 10:.3f} against a limit of 0.100 on 12 000 rows"
    return FeatureDrift(
        feature=name,
        segment=None,
        kind="numeric",
        importance=importance,
        outcome=outcome,
        quality=False,
        severe=False,
        sentence=sentence,
        p_value=0.5,
        adjusted_p=0.5,
        effect=effect,
        reference_rows=58_000,
        current_rows=12_000,
        required_rows=500,
        statistics=tuple(
            StatisticResult(statistic=one, outcome=outcome, value=effect / 10, limit=0.1, sentence=sentence)
            for one in STATISTICS
        ),
    )


def _receipt(
    past: Past, draw: random.Random, run: str, at: datetime, gate: str, digest: str, *, failed: bool
) -> GateReceipt:
    value = 0.6 if failed else 0.78 + draw.gauss(0, 0.01)
    outcome = Outcome.FAILED if failed else Outcome.PASSED
    sentence = f"roc_auc {value:.3f} ≥ 0.660 on 21 414 rows (3 358 positive)"
    item = Measurement(
        metric="roc_auc",
        slice=None,
        outcome=outcome,
        sentence=sentence,
        observed=value,
        limit=0.66,
        comparator="≥",
        candidate=value,
        champion=value - 0.01,
        interval=(value - 0.01, value + 0.01),
        n=21_414,
        positives=3_358,
    )
    verdict = GateVerdict(gate=gate, outcome=outcome, reason=sentence, mode=None, measurements=(item,) * 4)
    return GateReceipt(
        verdict=verdict,
        model=past.model,
        run=run,
        candidate=digest,
        champion=None,
        holdout="h",
        spec_digest=past.spec_digest,
        code_digest="code",
        started_at=at,
        finished_at=at + timedelta(seconds=2),
    )


def write_rollout(records: RecordStore, routing: RoutingStore, past: Past) -> None:
    """Write a routing with champion, previous and a canary under way, and the canary's looks."""
    last = past.nights - 1
    if last < 2:
        return
    candidate, stable, offender = served(past, last), served(past, last - 2), served(past, last - 1)
    name, run, at = f"{past.model}-v{candidate.version}", f"canary_{last}", past.begin + timedelta(days=past.nights)
    row = routing.read(past.model)
    row = row.model_copy(update={"stable": stable, "previous": served(past, 0), "salt": "s"})
    row = routing.swap(row, expected_epoch=row.epoch, actor="history", action="adopt", reason="made up")
    weighted = {"canary": candidate, "weight_ppm": 50_000, "rollout": name, "lease_until": at + timedelta(days=3650)}
    routing.swap(
        row.model_copy(update=weighted),
        expected_epoch=row.epoch,
        actor="rollout",
        action="rollout.entered",
        reason="step 1 of 2 at 5 %",
    )
    for number in range(past.ticks):
        records.put(f"{past.model}/{run}", _state(past, name, run, at, number, candidate, stable))
    quarantine = Quarantine(
        model=past.model,
        release_digest=offender.release_digest,
        version_id=offender.version_id,
        version=offender.version,
        rollout=None,
        reason="score_psi: PSI 1.293 on 282 requests, limit 0.291",
        at=at,
    )
    records.put(f"{past.model}/quarantine", quarantine, offender.release_digest)


def _state(
    past: Past,
    name: str,
    run: str,
    begin: datetime,
    number: int,
    candidate: ServedVersion,
    stable: ServedVersion,
) -> RolloutState:
    at = begin + timedelta(seconds=30 * number)
    outcome = Outcome.PASSED if number % 4 else Outcome.INCONCLUSIVE
    reason = f"look {number + 1}: nothing stands out"
    metrics = tuple(
        MetricVerdict(
            metric=metric,
            outcome=outcome,
            critical=False,
            sentence=f"{metric} much as the champion's",
            stable=0.01,
            canary=0.01 + 0.002 * math.sin(number),
            limit=0.02,
            stable_n=2_000,
            canary_n=100,
        )
        for metric in LIVE_METRICS
    )
    analysis = CanaryAnalysis(
        rollout=name,
        step=0,
        weight_ppm=50_000,
        outcome=outcome,
        reason=reason,
        metrics=metrics,
        since=begin,
        until=at,
        requests=100 + number,
        entities=90,
        stable_requests=2_000,
    )
    return RolloutState(
        rollout=name,
        model=past.model,
        run=run,
        phase=RolloutPhase.STEP,
        step=0,
        weight_ppm=50_000,
        candidate=candidate,
        stable=stable,
        reason=reason,
        started_at=begin,
        step_started_at=begin,
        updated_at=at,
        analysis=analysis if number else None,
        source_run=run_name(past.nights - 1),
        looks=number,
    )

"""The pipeline for Prometheus: what serves, how the last night went, how traffic is split.

Numbers are read from the control database at each scrape, so that they are true after any restart and the
same whoever serves them. A model whose records cannot be read is missing from the page and counted in
``gauntlet_unreadable_models``: a stale number would be worse than none.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from gauntlet.core.errors import GauntletError
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.drift import DriftReport
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.ledger import DrillReport, RollbackReport
from gauntlet.core.records.monitoring import Alert, Layer, LayerReport, Severity
from gauntlet.core.records.rollout import PPM, RolloutState
from gauntlet.core.records.run import RunContext, TriggerDecision, is_nightly

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client.core import GaugeMetricFamily

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "gauntlet_champion_info": ("The version that serves.", ("version", "version_id")),
    "gauntlet_champion_since_timestamp_seconds": ("Since when the champion serves.", ()),
    "gauntlet_run_opened_timestamp_seconds": ("When the newest run was opened.", ()),
    "gauntlet_nightly_decided_timestamp_seconds": ("When the newest nightly run decided whether to retrain.", ()),
    "gauntlet_gate_satisfied": ("Whether a gate of the newest judged run let its candidate through.", ("gate",)),
    "gauntlet_promotion_satisfied": ("Whether the newest judged candidate may be promoted.", ()),
    "gauntlet_promotion_decided_timestamp_seconds": ("When that was decided.", ()),
    "gauntlet_drift_score": ("Share of the model's importance in drifted features, newest check.", ()),
    "gauntlet_drift_action_info": ("What the newest drift check suggests.", ("action", "pattern")),
    "gauntlet_drift_checked_timestamp_seconds": ("As of when the newest drift check was made.", ()),
    "gauntlet_canary_weight_ratio": ("Share of traffic routed to the canary.", ()),
    "gauntlet_rollout_phase_info": ("Where the newest rollout stands.", ("phase",)),
    "gauntlet_rollout_updated_timestamp_seconds": ("When the newest rollout was last looked at.", ()),
    "gauntlet_recovery_seconds": ("From the decision to the last server without the offender, last rollback.", ()),
    "gauntlet_drill_seconds": ("The same of the last rehearsed rollback.", ()),
    "gauntlet_drill_satisfied": ("Whether the last rehearsed rollback went as it must.", ()),
    "gauntlet_transition_open": ("Whether a promotion or rollback waits to be finished.", ()),
    "gauntlet_alerts_open": ("Open alerts.", ("layer", "severity")),
    "gauntlet_layer_healthy": ("Whether the newest look at a layer found nothing wrong.", ("layer",)),
    "gauntlet_layer_looked_timestamp_seconds": ("When a layer was last looked at.", ("layer",)),
    "gauntlet_unreadable_models": ("Models whose records could not be read at this scrape.", ()),
}

DECISIONS = 1000
"""Decisions back in which the newest nightly is searched for: hourly drift checks decide too, so this is a month."""
Sample = tuple[str, tuple[str, ...], float]
"""Metric, values of its own labels, value."""


class PipelineCollector:
    """Reads every model at each scrape."""

    def __init__(self, services: Services) -> None:
        """The services to read from."""
        self._services = services

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All families, also those without a sample."""
        from prometheus_client.core import GaugeMetricFamily

        families = {
            name: GaugeMetricFamily(name, text, labels=_labels(name, own)) for name, (text, own) in GAUGES.items()
        }
        unreadable = 0
        for model in self._services.specs.names():
            try:
                samples = list(samples_of(self._services, model))
            except GauntletError:
                unreadable += 1
                continue
            for name, labels, value in samples:
                families[name].add_metric([model, *labels], value)
        families["gauntlet_unreadable_models"].add_metric([], unreadable)
        yield from families.values()


def _labels(name: str, own: tuple[str, ...]) -> list[str]:
    return [] if name == "gauntlet_unreadable_models" else ["model", *own]


def samples_of(services: Services, model: str) -> Iterator[Sample]:
    """Every number of one model; what never happened has no number."""
    yield from _traffic(services, model)
    yield from _night(services, model)
    yield from _drift(services, model)
    yield from _watching(services, model)
    for report in services.records.newest(model, RollbackReport):
        yield "gauntlet_recovery_seconds", (), report.seconds
    for drill in services.records.newest(model, DrillReport):
        yield "gauntlet_drill_satisfied", (), drill.outcome.satisfied
        if drill.seconds is not None:
            yield "gauntlet_drill_seconds", (), drill.seconds


def _traffic(services: Services, model: str) -> Iterator[Sample]:
    champion = services.ledger.champion(model)
    if champion.version is not None:
        yield "gauntlet_champion_info", (str(champion.version.version), champion.version.version_id), 1
    if champion.since is not None:
        yield "gauntlet_champion_since_timestamp_seconds", (), champion.since.timestamp()
    yield "gauntlet_canary_weight_ratio", (), services.routing.read(model).weight_ppm / PPM
    intent = services.ledger.intent(model)
    yield "gauntlet_transition_open", (), float(intent is not None and intent.stage.open)
    for state in services.records.newest(model, RolloutState):
        yield "gauntlet_rollout_phase_info", (state.phase.value,), 1
        yield "gauntlet_rollout_updated_timestamp_seconds", (), state.updated_at.timestamp()


def _night(services: Services, model: str) -> Iterator[Sample]:
    for run in services.records.newest(model, RunContext):
        yield "gauntlet_run_opened_timestamp_seconds", (), run.opened_at.timestamp()
    nightly = (one for one in services.records.newest(model, TriggerDecision, limit=DECISIONS) if is_nightly(one.run))
    for decided in islice(nightly, 1):
        yield "gauntlet_nightly_decided_timestamp_seconds", (), decided.decided_at.timestamp()
    for receipt in services.records.newest(model, GateReceipt):
        for gate, each in services.records.named(f"{model}/{receipt.run}", GateReceipt).items():
            yield "gauntlet_gate_satisfied", (gate,), float(each.satisfied)
    for decision in services.records.newest(model, PromotionDecision):
        yield "gauntlet_promotion_satisfied", (), float(decision.outcome.satisfied)
        yield "gauntlet_promotion_decided_timestamp_seconds", (), decision.decided_at.timestamp()


def _drift(services: Services, model: str) -> Iterator[Sample]:
    for report in services.records.newest(model, DriftReport):
        if report.score is not None:
            yield "gauntlet_drift_score", (), report.score
        yield "gauntlet_drift_action_info", (report.action.value, report.pattern.value), 1
        yield "gauntlet_drift_checked_timestamp_seconds", (), report.as_of.timestamp()


def _watching(services: Services, model: str) -> Iterator[Sample]:
    alerts = services.records.named(f"{model}/alerts", Alert).values()
    for layer in Layer:
        for severity in Severity:
            count = sum(alert.open and (alert.layer, alert.severity) == (layer, severity) for alert in alerts)
            yield "gauntlet_alerts_open", (layer.value, severity.value), float(count)
        for report in services.records.newest(model, LayerReport, name=layer.value):
            wrong = report.outcome in (Outcome.FAILED, Outcome.ERROR)
            yield "gauntlet_layer_healthy", (layer.value,), float(not wrong)
            yield "gauntlet_layer_looked_timestamp_seconds", (layer.value,), report.at.timestamp()


def serve(host: str, port: int) -> tuple[int, WSGIServer]:
    """Answer scrapes on a thread; the port in use and the server, whose ``shutdown`` ends it."""
    from prometheus_client import CollectorRegistry, start_http_server

    from gauntlet.bootstrap import services

    registry = CollectorRegistry()
    registry.register(PipelineCollector(services()))
    server, _ = start_http_server(port, addr=host, registry=registry)
    return server.server_port, server

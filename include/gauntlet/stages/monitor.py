"""Look at one layer of a model in production, and keep what was found."""

from __future__ import annotations

from gauntlet.core.errors import GauntletError, LayerUnhealthy
from gauntlet.core.layers.finding import Found, unseen
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Services
from gauntlet.core.records.monitoring import Layer, LayerReport
from gauntlet.core.records.run import RunContext
from gauntlet.stages.monitor_layers import LAYERS


def look(services: Services, run: RunContext, layer: Layer) -> LayerReport:
    """One look; a layer that cannot be looked at is a finding, and stored as one.

    Raises:
        LayerUnhealthy: something is wrong; the report is stored.
    """
    report = services.records.find(run.key, LayerReport, layer.value)
    if report is None:
        report = _looked(services, run, layer)
        services.records.put(run.key, report, layer.value)
    if report.outcome in (Outcome.FAILED, Outcome.ERROR):
        raise LayerUnhealthy(f"{run.model} {layer}: {report.reason}")
    return report


def _looked(services: Services, run: RunContext, layer: Layer) -> LayerReport:
    spec = services.specs.get(run.model)
    try:
        found = LAYERS[layer](services, run, spec)
    except GauntletError as error:
        found = unseen(layer, str(error))
    return report_of(services, run, layer, found)


def report_of(services: Services, run: RunContext, layer: Layer, found: Found) -> LayerReport:
    """The record of what was found."""
    return LayerReport(
        model=run.model,
        run=run.run,
        layer=layer,
        outcome=found.outcome,
        reason=found.reason,
        symptoms=found.symptoms,
        values=dict(found.values),
        notes=found.notes,
        unjudged=found.unjudged,
        since=None,
        until=run.as_of,
        at=services.clock.now(),
    )

"""Alerts of a model: the open ones first, then the newest that were resolved."""

from __future__ import annotations

from collections.abc import Collection

from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record
from gauntlet.core.records.monitoring import Alert, AlertRound, Layer, LayerReport
from gauntlet.core.runbook import section
from gauntlet.views.links import NOWHERE, Link, Places, dashboard, runbook_link

MOST = 200
ROUNDS = 24
"""Looks back in which messages are searched for that nobody took."""
LOOKS = 60
"""Reports back in which each layer's newest is searched for."""


class AlertLine(Record):
    """One symptom, from when it was seen until it cleared."""

    name: str
    layer: str
    severity: str
    text: str
    since: Instant
    until: Instant | None
    looks: int
    told: Instant | None
    owed: bool
    """Whether there is a message about it that no notifier has taken yet."""
    cause: str | None
    runbook: Link
    """The section for this kind of alert."""


class Alerts(Record):
    """The newest alerts; those that are still open come first."""

    model: str
    alerts: tuple[AlertLine, ...]
    layers: tuple[LayerReport, ...]
    """What each layer found when it was looked at last."""
    links: tuple[Link, ...]
    """Dashboard and runbook."""
    empty: str | None


def alerts(services: Services, model: str, places: Places = NOWHERE) -> Alerts:
    """What has been raised for a model."""
    spec = services.specs.get(model)
    runbook = runbook_link(services, model)
    found = services.records.named(f"{model}/alerts", Alert).values()
    rounds = services.records.newest(model, AlertRound, ROUNDS)
    owed = {key for each in rounds for message in each.owed for key in message.keys}
    lines = [_line(alert, runbook, owed) for alert in sorted(found, key=_rank)][:MOST]
    looked = _newest_looks(services, model)
    empty = "No alert has been raised." if looked else "The monitor has not looked yet: its DAG does so every hour."
    return Alerts(
        model=model,
        alerts=tuple(lines),
        layers=looked,
        links=(*dashboard(places, spec), runbook),
        empty=None if lines else empty,
    )


def _newest_looks(services: Services, model: str) -> tuple[LayerReport, ...]:
    found: dict[str, LayerReport] = {}
    for report in services.records.newest(model, LayerReport, LOOKS):
        found.setdefault(report.layer, report)
    return tuple(found[layer] for layer in Layer if layer in found)


def _rank(alert: Alert) -> tuple[bool, bool, float]:
    """Open ones first, pages before warnings, the newest first."""
    return not alert.open, alert.severity != "page", -(alert.resolved_at or alert.since).timestamp()


def _line(alert: Alert, runbook: Link, owed: Collection[str]) -> AlertLine:
    return AlertLine(
        name=alert.key,
        layer=alert.layer.value,
        severity=alert.severity.value,
        text=alert.sentence,
        since=alert.since,
        until=alert.resolved_at,
        looks=alert.looks,
        told=alert.sent_at,
        owed=alert.key in owed,
        cause=alert.cause,
        runbook=Link(label="Runbook", href=section(runbook.href, alert.key)),
    )

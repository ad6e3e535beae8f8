"""Alerts of a model, newest first."""

from __future__ import annotations

from gauntlet.core.ports import Services
from gauntlet.core.records.base import Instant, Record


class AlertLine(Record):
    """One symptom, from when it was seen until it cleared."""

    name: str
    severity: str
    text: str
    since: Instant
    until: Instant | None


class Alerts(Record):
    """The newest alerts; those that are still open come first."""

    model: str
    alerts: tuple[AlertLine, ...]
    empty: str | None


def alerts(services: Services, model: str) -> Alerts:
    """What has been raised for a model."""
    services.specs.get(model)
    return Alerts(model=model, alerts=(), empty="No alert has been raised.")

"""Take one look's findings into the open alerts, and tell people what is new."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from gauntlet.core.alerts import fold
from gauntlet.core.errors import InfrastructureError
from gauntlet.core.monitoring import unseen
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Notifier, Services
from gauntlet.core.records.monitoring import Alert, AlertRound, Layer, LayerReport, Message, MessageKind, Severity
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.monitor import report_of
from gauntlet.stages.tell import send_to_all

ACTOR = "monitor"
log = logging.getLogger(__name__)


def open_alerts(services: Services, model: str) -> list[Alert]:
    """The alerts that stand, oldest first."""
    newest = services.records.named(alerts_key(model), Alert).values()
    return sorted((alert for alert in newest if alert.open), key=lambda alert: (alert.since, alert.key))


def alerts_key(model: str) -> str:
    """Where a model's alerts are kept: they outlive the runs that raise them."""
    return f"{model}/alerts"


def raise_alerts(services: Services, run: RunContext) -> AlertRound:
    """Fold the reports of all layers into the alerts; a layer without a report was not looked at, which is an alert.

    The alerts are stored before anybody is told; a message that no notifier takes is named in the record, and the
    run fails, because a watch that cannot call is none.

    Raises:
        InfrastructureError: the alerts are stored, but a notifier did not take its message.
    """
    known = services.records.find(run.key, AlertRound)
    if known is not None:
        return known
    spec = services.specs.get(run.model)
    reports = [_report(services, run, layer) for layer in Layer]
    before = open_alerts(services, run.model)
    folded = fold(
        run.model,
        before,
        reports,
        spec.alerts,
        services.clock.now(),
        zone=spec.schedule.timezone,
        links=_links(spec),
        runbook=spec.owner.runbook,
        champion_since=services.ledger.champion(run.model).since,
    )
    for alert in folded.alerts:
        services.records.put(alerts_key(run.model), alert, alert.key, actor=ACTOR)
    unsent = send(services.notifiers, folded.messages, spec)
    still = tuple(alert.key for alert in open_alerts(services, run.model))
    done = AlertRound(
        model=run.model,
        run=run.run,
        outcome=Outcome.ERROR if unsent else Outcome.FAILED if still else Outcome.PASSED,
        reason=_reason(still, folded.messages, unsent),
        open=still,
        sent=folded.messages,
        unsent=unsent,
        at=services.clock.now(),
    )
    services.records.put(run.key, done, actor=ACTOR)
    services.heartbeat.beat()
    if unsent:
        raise InfrastructureError(f"{run.model}: {done.reason}")
    return done


def _report(services: Services, run: RunContext, layer: Layer) -> LayerReport:
    report = services.records.find(run.key, LayerReport, layer.value)
    return report or report_of(services, run, layer, unseen(layer, "its task left no report"))


def send(notifiers: Iterable[Notifier], messages: Sequence[Message], spec: ModelSpec) -> tuple[str, ...]:
    """Give every message to every notifier; what was not taken, and why."""
    unsent = []
    for message in messages:
        severity, labels = _severity(message), _labels(message, spec)
        for error in send_to_all(notifiers, message.subject, message.body, severity=severity, labels=labels):
            unsent.append(f"{message.subject}: {error}")
            log.error("%s", unsent[-1])
    return tuple(unsent)


def _severity(message: Message) -> str:
    """A page that is resolved wakes nobody."""
    resolved = message.kind is MessageKind.RESOLVED
    return (Severity.WARNING if resolved else message.severity).value


def _labels(message: Message, spec: ModelSpec) -> dict[str, str]:
    return {
        "model": message.model,
        "layer": message.layer.value,
        "kind": message.kind.value,
        "team": spec.owner.team,
        "email": spec.owner.email,
    }


def _links(spec: ModelSpec) -> list[str]:
    lines = [f"What to do: gauntlet triage {spec.model}"]
    return ([f"Dashboard: {spec.alerts.dashboard}"] if spec.alerts.dashboard else []) + lines


def _reason(still: Sequence[str], messages: Sequence[Any], unsent: Sequence[str]) -> str:
    told = f"{len(messages)} message{'' if len(messages) == 1 else 's'} sent"
    standing = f"open: {', '.join(still)}" if still else "no alert is open"
    return "; ".join([standing, told, *(f"not taken: {each}" for each in unsent)])

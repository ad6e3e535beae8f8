"""Take one look's findings into the open alerts, and tell people what is new."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from gauntlet.core.addresses import runbook
from gauntlet.core.alerts import fold
from gauntlet.core.errors import InfrastructureError, PartlyTold
from gauntlet.core.layers.finding import unseen
from gauntlet.core.outcome import Outcome
from gauntlet.core.ports import Notifier, Services
from gauntlet.core.records.monitoring import Alert, AlertRound, Layer, LayerReport, Message, MessageKind, Severity
from gauntlet.core.records.run import RunContext
from gauntlet.core.spec import ModelSpec
from gauntlet.stages.monitor import report_of
from gauntlet.stages.tell import failures, ways

ACTOR = "monitor"
OWED = 100
"""Looks back whose messages are tried again while nobody has taken them: four days of hours."""
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

    Messages are written down before they are sent, and owed until somebody has taken them: the next look tries again.
    Who is killed in between sends a message twice rather than never. While one is owed the dead man's switch is silent
    and the run fails, because a watch that cannot call is none.

    Raises:
        InfrastructureError: the alerts are stored, but a notifier did not take its message.
    """
    spec = services.specs.get(run.model)
    if services.records.find(run.key, AlertRound) is None:
        services.records.put(run.key, _taken_in(services, run, spec), actor=ACTOR)
    unsent = _deliver(services, spec)
    done = services.records.get(run.key, AlertRound)
    if not _owing(services, spec):
        services.heartbeat.beat()
    if unsent:
        raise InfrastructureError(f"{run.model}: {done.reason}; not taken: {'; '.join(unsent)}")
    return done


def _taken_in(services: Services, run: RunContext, spec: ModelSpec) -> AlertRound:
    """Store what one look does to the alerts; all there is to say about it is still owed."""
    folded = fold(
        run.model,
        open_alerts(services, run.model),
        [_report(services, run, layer) for layer in Layer],
        spec.alerts,
        services.clock.now(),
        zone=spec.schedule.timezone,
        links=[*ways(services, spec), f"What to do: gauntlet triage {spec.model}"],
        runbook=runbook(spec, services.addresses),
        champion_since=services.ledger.champion(run.model).since,
    )
    for alert in folded.alerts:
        services.records.put(alerts_key(run.model), alert, alert.key, actor=ACTOR)
    still = tuple(alert.key for alert in open_alerts(services, run.model))
    return AlertRound(
        model=run.model,
        run=run.run,
        outcome=_outcome(still, folded.messages),
        reason=_reason(still, folded.messages, folded.messages),
        open=still,
        sent=folded.messages,
        owed=folded.messages,
        at=services.clock.now(),
    )


def _deliver(services: Services, spec: ModelSpec) -> tuple[str, ...]:
    """Send what is owed, the oldest first, that of earlier looks too; what was not taken, and why."""
    failed: list[str] = []
    for each in _owing(services, spec):
        owed, unsent = send(tuple(services.notifiers), each.owed, spec)
        facts = {"owed": owed, "unsent": unsent, "reason": _reason(each.open, each.sent, owed)}
        done = each.model_copy(update={**facts, "outcome": _outcome(each.open, unsent)})
        services.records.put(f"{each.model}/{each.run}", done, actor=ACTOR)
        failed += unsent
    return tuple(failed)


def _owing(services: Services, spec: ModelSpec) -> list[AlertRound]:
    rounds = services.records.newest(spec.model, AlertRound, OWED)
    return sorted((one for one in rounds if one.owed), key=lambda one: one.at)


def _outcome(still: Sequence[str], unsent: Sequence[object]) -> Outcome:
    return Outcome.ERROR if unsent else Outcome.FAILED if still else Outcome.PASSED


def _report(services: Services, run: RunContext, layer: Layer) -> LayerReport:
    report = services.records.find(run.key, LayerReport, layer.value)
    return report or report_of(services, run, layer, unseen(layer, "its task left no report"))


def send(
    notifiers: Sequence[Notifier], messages: Sequence[Message], spec: ModelSpec
) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """Give every message to every notifier; those that nobody took, and who did not take what, and why."""
    owed, unsent = [], []
    for message in messages:
        severity, labels = _severity(message), _labels(message, spec)
        failed = failures(notifiers, message.subject, message.body, severity=severity, labels=labels)
        unsent += [f"{message.subject}: {error}" for error in failed]
        if failed and sum(not isinstance(error, PartlyTold) for error in failed) == len(notifiers):
            owed.append(message)
    for each in unsent:
        log.error("%s", each)
    return tuple(owed), tuple(unsent)


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


def _reason(still: Sequence[str], messages: Sequence[Message], owed: Sequence[Message]) -> str:
    count = len(messages) - len(owed)
    told = f"{count} message{'' if count == 1 else 's'} sent"
    standing = f"open: {', '.join(still)}" if still else "no alert is open"
    return "; ".join([standing, told, *([f"{len(owed)} that nobody has taken yet"] if owed else [])])

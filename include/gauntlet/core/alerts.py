"""From symptoms to messages: one page per symptom until it clears or worsens, and none for its consequences.

Pure: alerts and reports in, alerts and messages out. A symptom that could not be looked at neither raises nor
resolves anything, but that it could not be looked at is a symptom of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from gauntlet.core.outcome import Outcome
from gauntlet.core.records.monitoring import Alert, Layer, LayerReport, Message, MessageKind, Severity, Symptom
from gauntlet.core.runbook import section
from gauntlet.core.specs.monitoring import AlertsSection

EXPLAINS: Mapping[Layer, tuple[Layer, ...]] = {
    Layer.SERVICE: (),
    Layer.DATA: (),
    Layer.MODEL: (Layer.SERVICE, Layer.DATA),
    Layer.PRODUCT: (Layer.SERVICE, Layer.DATA, Layer.MODEL),
    Layer.BUSINESS: (Layer.SERVICE, Layer.DATA, Layer.MODEL, Layer.PRODUCT),
}
"""Which layers' open alerts explain a symptom. Service and data are both roots: neither follows from the other."""
Ways = tuple[Sequence[str], str | None]
"""The links of every message, and the runbook."""


@dataclass(frozen=True)
class Folded:
    """The alerts that changed, and what people are to be told."""

    alerts: tuple[Alert, ...]
    messages: tuple[Message, ...]


def fold(
    model: str,
    alerts: Iterable[Alert],
    reports: Sequence[LayerReport],
    policy: AlertsSection,
    now: datetime,
    *,
    zone: str = "UTC",
    links: Sequence[str] = (),
    runbook: str | None = None,
    champion_since: datetime | None = None,
) -> Folded:
    """Take one look's reports into the open alerts.

    Args:
        model: whose.
        alerts: the open ones; resolved ones are ignored.
        reports: one per layer that was looked at.
        policy: when an alert clears, when it is worse, when it is quiet.
        now: when.
        zone: of the quiet hours.
        links: lines at the end of every message: dashboard, command.
        runbook: address of the page with a section for every kind of alert.
        champion_since: since when the present champion serves; what was last seen of an earlier one clears without
            evidence about this one.
    """
    before = {alert.key: alert for alert in alerts if alert.open}
    after = {key: alert for key, alert in before.items()}
    for report in reports:
        for symptom in report.failing:
            after[symptom.key] = _seen(model, before.get(symptom.key), symptom, now)
        for alert in before.values():
            if _is_clean(alert, report, champion_since):
                after[alert.key] = _cleaner(alert, policy, now)
    after = _explained(after)
    quiet = is_quiet(policy, now, zone)
    told = [(alert, kind) for alert in after.values() if (kind := _news(alert, policy, quiet=quiet)) is not None]
    messages = _messages(model, told, now, (links, runbook))
    sent = {alert.key for alert, _ in told}
    final = {key: _sent(alert, now) if key in sent else alert for key, alert in after.items()}
    changed = tuple(alert for key, alert in sorted(final.items()) if alert != before.get(key))
    return Folded(changed, messages)


def is_quiet(policy: AlertsSection, now: datetime, zone: str) -> bool:
    """Whether warnings wait at this time."""
    local = now.astimezone(ZoneInfo(zone))
    return any(hours.holds(local) for hours in policy.quiet)


def _seen(model: str, alert: Alert | None, symptom: Symptom, now: datetime) -> Alert:
    if alert is None:
        return Alert(
            model=model,
            key=symptom.key,
            layer=symptom.layer,
            severity=symptom.severity,
            sentence=symptom.sentence,
            since=now,
            seen_at=now,
            looks=1,
            beyond=symptom.beyond,
        )
    return alert.model_copy(
        update={
            "severity": symptom.severity,
            "sentence": symptom.sentence,
            "seen_at": now,
            "looks": alert.looks + 1,
            "beyond": symptom.beyond,
            "clean": 0,
        }
    )


def _is_clean(alert: Alert, report: LayerReport, champion_since: datetime | None) -> bool:
    """Whether this report has looked for the symptom, with enough evidence to find it, and not found it."""
    if alert.layer is not report.layer or alert.key in {symptom.key for symptom in report.symptoms}:
        return False
    unjudged = any(alert.key == key or alert.key.startswith(f"{key}.") for key in report.unjudged)
    outlived = alert.layer is Layer.MODEL and champion_since is not None and alert.seen_at < champion_since
    if unjudged and not outlived:
        return False
    # An inconclusive look that names what it could not judge has judged the rest.
    told = report.outcome is Outcome.INCONCLUSIVE and bool(report.unjudged)
    return told or report.outcome in (Outcome.PASSED, Outcome.FAILED)


def _cleaner(alert: Alert, policy: AlertsSection, now: datetime) -> Alert:
    clean = alert.clean + 1
    done = {"resolved_at": now} if clean >= policy.clear_after else {}
    return alert.model_copy(update={"clean": clean, **done})


def _explained(alerts: Mapping[str, Alert]) -> dict[str, Alert]:
    """Every alert with the open one below that explains it: as severe, and not younger."""
    standing = [alert for alert in alerts.values() if alert.open]
    marked = {}
    for key, alert in alerts.items():
        below = [one for one in standing if one.layer in EXPLAINS[alert.layer] and _covers(one, alert)]
        cause = min(below, key=lambda one: (list(Layer).index(one.layer), one.since, one.key), default=None)
        marked[key] = alert.model_copy(update={"cause": cause.key if cause else None})
    return marked


def _covers(below: Alert, alert: Alert) -> bool:
    """Whether people who know of the one need not be told of the other: a warning never hides a page."""
    as_severe = below.severity is Severity.PAGE or alert.severity is Severity.WARNING
    return as_severe and below.since <= alert.since


def _news(alert: Alert, policy: AlertsSection, *, quiet: bool) -> MessageKind | None:
    """What there is to tell about an alert now."""
    if not alert.open:
        return MessageKind.RESOLVED if alert.sent_at is not None else None
    if alert.cause is not None or (quiet and alert.severity is Severity.WARNING):
        return None
    if alert.sent_at is None:
        return MessageKind.RAISED
    return MessageKind.WORSE if _is_worse(alert, policy) else None


def _is_worse(alert: Alert, policy: AlertsSection) -> bool:
    if alert.severity is Severity.PAGE and alert.sent_severity is Severity.WARNING:
        return True
    if alert.beyond is None or not alert.sent_beyond:
        return False
    return alert.beyond >= policy.worse * alert.sent_beyond


def _sent(alert: Alert, now: datetime) -> Alert:
    return alert.model_copy(update={"sent_at": now, "sent_severity": alert.severity, "sent_beyond": alert.beyond})


def _messages(model: str, told: Sequence[tuple[Alert, MessageKind]], now: datetime, ways: Ways) -> tuple[Message, ...]:
    """One message for everything with the same news in the same layer and of the same severity."""

    def group(each: tuple[Alert, MessageKind]) -> tuple[str, str, str]:
        return each[0].layer.value, each[0].severity.value, each[1].value

    return tuple(
        _message(model, [alert for alert, _ in members], now, ways, *_parsed(which))
        for which, grouped in groupby(sorted(told, key=lambda each: (group(each), each[0].key)), key=group)
        if (members := list(grouped))
    )


def _parsed(which: tuple[str, str, str]) -> tuple[Layer, Severity, MessageKind]:
    return Layer(which[0]), Severity(which[1]), MessageKind(which[2])


def _message(
    model: str,
    alerts: Sequence[Alert],
    now: datetime,
    ways: Ways,
    layer: Layer,
    severity: Severity,
    kind: MessageKind,
) -> Message:
    count = "" if len(alerts) == 1 else f" and {len(alerts) - 1} more"
    word = {MessageKind.RAISED: "", MessageKind.WORSE: "worse: ", MessageKind.RESOLVED: "resolved: "}[kind]
    lines = [f"- {alert.sentence} (since {alert.since:%Y-%m-%d %H:%M} UTC, {alert.key})" for alert in alerts]
    return Message(
        model=model,
        kind=kind,
        layer=layer,
        severity=severity,
        subject=f"{model} {layer.value}: {word}{alerts[0].sentence[:160]}{count}",
        body="\n".join([*lines, "", *_onwards(alerts, ways)]).strip(),
        keys=tuple(alert.key for alert in alerts),
        at=now,
    )


def _onwards(alerts: Sequence[Alert], ways: Ways) -> list[str]:
    """Where a reader goes next: the given links, and the runbook's section of each kind of symptom."""
    links, runbook = ways
    sections = dict.fromkeys(section(runbook, alert.key) for alert in alerts) if runbook else ()
    return [*links, *(f"Runbook: {where}" for where in sections)]

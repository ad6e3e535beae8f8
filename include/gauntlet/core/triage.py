"""What to do first when a model in production misbehaves, and why: the incident order as rules.

Infrastructure before data before model; what takes minutes before what takes a night. Each advice is one command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from gauntlet.core.records.base import Record
from gauntlet.core.records.incident import Advice, Event, Remedy
from gauntlet.core.records.monitoring import Alert, Layer, Severity
from gauntlet.core.runbook import UNSEEN, heading, kind_of

SUSPECT = timedelta(hours=24)
"""A change this short before a symptom may be its cause."""
AFTER = timedelta(minutes=5)
"""A look comes late: a change may be the cause though it was recorded this much after the symptom was seen."""
INPUT_FAULTS = (
    *("missing_rate", "mean_shift", "sigma_ratio", "categories", "dtype", "range", "quality"),
    *("skew", "volume", "freshness"),
)
DAGS: Mapping[Remedy, str] = {
    Remedy.ABORT: "rollout_command",
    Remedy.ROLLBACK: "rollback",
    Remedy.THRESHOLD: "set_threshold",
    Remedy.RECALIBRATE: "recalibrate",
    Remedy.RETRAIN: "retrain",
}
"""The manual DAG that does what the command does."""


class Facts(Record):
    """What the advice is taken on."""

    model: str
    alerts: tuple[Alert, ...]
    champion_since: datetime | None
    previous: bool
    """Whether there is a champion to return to."""
    canary: bool
    canary_since: datetime | None
    golden: bool | None
    """Whether the live server gives the golden scores; ``None``: it could not be asked."""
    service: str | None = None
    """What is wrong with the service, or that it could not be asked; ``None``: it answers."""
    band: tuple[float, float] | None
    """Thresholds that the spec has approved beforehand."""


def advise(facts: Facts) -> tuple[Advice, ...]:
    """Everything that is worth doing, the quickest first; nothing wrong, and it could be looked at: nothing to do."""
    found: dict[Remedy, Advice] = {}
    for advice in _advices(facts):
        dag = DAGS.get(advice.remedy)
        found.setdefault(advice.remedy, advice.model_copy(update={"dag": f"{facts.model}__{dag}" if dag else None}))
    quickest = tuple(found[remedy] for remedy in Remedy if remedy in found)
    return quickest or (_nothing_known(facts),)


def _nothing_known(facts: Facts) -> Advice:
    """An open alert without a remedy is never nothing to do."""
    if not facts.alerts:
        return Advice(remedy=Remedy.NOTHING, reason="no alert is open", command=None)
    first = facts.alerts[0]
    return Advice(
        remedy=Remedy.LOOK,
        reason=f"{first.sentence}; no command mends this: read {heading(kind_of(first.key))!r} in the runbook",
        command=f"gauntlet explain champion --model {facts.model}",
    )


def _advices(facts: Facts) -> Iterable[Advice]:
    model, alerts = facts.model, facts.alerts
    start = min((alert.since for alert in alerts), default=None)
    if facts.golden is False:
        yield _rollback(model, "the live server does not give the golden scores: what it serves is not what was judged")
    if start is None:
        if facts.service is not None:
            yield Advice(remedy=Remedy.SERVICE, reason=facts.service, command="gauntlet doctor")
        return
    layers = {alert.layer for alert in alerts}
    if facts.canary and _suspect(facts.canary_since, start):
        yield Advice(
            remedy=Remedy.ABORT,
            reason="a canary was started shortly before",
            command=f'gauntlet rollout {model} abort --reason "…"',
        )
    if facts.previous and _suspect(facts.champion_since, start) and _harmed(alerts):
        yield _rollback(model, "the champion became one shortly before the first symptom")
    blind = "; ".join(alert.sentence for alert in alerts if kind_of(alert.key) == UNSEEN)
    if Layer.SERVICE in layers or facts.service is not None or blind:
        reason = _sentences(alerts, Layer.SERVICE) or facts.service or blind
        yield Advice(remedy=Remedy.SERVICE, reason=reason, command="gauntlet doctor")
    yield from _about_data(model, alerts)
    yield from _about_model(facts, alerts)


def _about_data(model: str, alerts: Sequence[Alert]) -> Iterable[Advice]:
    faults = [alert for alert in alerts if alert.layer is Layer.DATA and _kind(alert) in INPUT_FAULTS]
    if faults:
        yield Advice(
            remedy=Remedy.FEED,
            reason=f"the inputs are at fault, not the model: {faults[0].sentence}",
            command=f'gauntlet line stop {model} --reason "…"',
        )


def _about_model(facts: Facts, alerts: Sequence[Alert]) -> Iterable[Advice]:
    kinds = {_kind(alert) for alert in alerts if alert.layer is Layer.MODEL}
    model = facts.model
    if "calibration" in kinds:
        yield Advice(
            remedy=Remedy.RECALIBRATE,
            reason="the model ranks as before but its level is off: new calibration, same trees",
            command=f'gauntlet recalibrate {model} --reason "…"',
        )
    if kinds & {"performance"} or any(_kind(alert) == "drift" for alert in alerts):
        yield Advice(
            remedy=Remedy.RETRAIN,
            reason="the inputs or their meaning have changed beyond what the champion has seen",
            command=f'gauntlet run {model} --force --reason "…"',
        )
    above = [alert for alert in alerts if alert.layer in (Layer.PRODUCT, Layer.BUSINESS)]
    if above and facts.band is not None:
        low, high = facts.band
        yield Advice(
            remedy=Remedy.THRESHOLD,
            reason=f"{above[0].sentence}; thresholds from {low:g} to {high:g} are approved beforehand",
            command=f'gauntlet set-threshold {model} --to … --reason "…"',
        )


def _rollback(model: str, why: str) -> Advice:
    return Advice(
        remedy=Remedy.ROLLBACK, reason=f"{why}; takes seconds", command=f'gauntlet rollback {model} --reason "…"'
    )


def _suspect(changed: datetime | None, start: datetime) -> bool:
    return changed is not None and start - SUSPECT <= changed <= start + AFTER


def _harmed(alerts: Iterable[Alert]) -> bool:
    """Whether what is wrong can be the model's own doing."""
    return any(alert.layer is not Layer.DATA for alert in alerts)


def _kind(alert: Alert) -> str:
    return alert.key.split(".")[1]


def _sentences(alerts: Iterable[Alert], layer: Layer) -> str:
    return "; ".join(alert.sentence for alert in alerts if alert.layer is layer)


def beside(events: Iterable[Event], start: datetime | None) -> tuple[Event, ...]:
    """Events in order, each with its distance to the first symptom; changes shortly before it are suspects."""
    marked = [
        event.model_copy(
            update={
                "seconds_to_symptom": (event.at - start).total_seconds(),
                "suspect": event.change and _suspect(event.at, start),
            }
        )
        if start is not None
        else event
        for event in events
    ]
    return tuple(sorted(marked, key=lambda event: (event.at, event.what)))


def paging(alerts: Iterable[Alert]) -> bool:
    """Whether anything is urgent."""
    return any(alert.severity is Severity.PAGE for alert in alerts)

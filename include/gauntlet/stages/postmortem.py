"""A blameless postmortem, filled in with what is recorded: timeline, gaps, impact, what was done and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gauntlet.core.duration import words
from gauntlet.core.errors import MissingRecord
from gauntlet.core.ports import Services
from gauntlet.core.records.gates import GateReceipt, PromotionDecision
from gauntlet.core.records.incident import Event
from gauntlet.core.records.ledger import PromotionRecord
from gauntlet.core.records.monitoring import Alert
from gauntlet.core.registry import did_you_mean
from gauntlet.core.runbook import section
from gauntlet.core.triage import beside
from gauntlet.stages.impact import impact, moved
from gauntlet.stages.raise_alerts import alerts_key
from gauntlet.stages.triage import BACK, events_since

TEMPLATES = Path(__file__).parent / "templates"
WITHIN = timedelta(days=14)
"""How long an action may take before somebody asks."""
LOOK_BACK = 200


@dataclass(frozen=True)
class Todo:
    """One proposed action, and why."""

    what: str
    why: str


def postmortem(services: Services, model: str, incident: str) -> str:
    """The postmortem of an incident as Markdown.

    ``incident``: the key of the alert that showed it first. Alerts that stood at the same time belong to it.

    Raises:
        MissingRecord: no alert has that key; the message names those there are.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    spec = services.specs.get(model)
    first, together = _alerts(services, model, incident)
    now = services.clock.now()
    until, start = first.resolved_at or now, together[0].since
    timeline = beside([event for event in events_since(services, model, start - BACK) if event.at <= until], start)
    cause, done = _cause(timeline, start), [event for event in timeline if event.change and event.at >= start]
    told = min((alert.sent_at for alert in together if alert.sent_at is not None), default=None)
    serving = _serving(services, model, start)
    page = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=False)  # noqa: S701 - Markdown
    return page.get_template("postmortem.md.j2").render(
        model=model,
        owner=spec.owner,
        incident=first,
        alerts=together,
        layers=list(dict.fromkeys(alert.layer.value for alert in together)),
        start=start,
        until=first.resolved_at,
        lasted=words((until - start).total_seconds()),
        cause=cause,
        gap=_apart(cause.at if cause else None, start) or "unknown: no change is recorded shortly before",
        told=_apart(start, told) or "nobody was told",
        eased=_apart(start, done[0].at if done else None) or "nothing was changed while it lasted",
        timeline=timeline,
        done=done,
        serving=serving,
        evidence=_evidence(services, model, serving),
        impact=impact(services, model, start, until),
        before=impact(services, model, start - (until - start), start),
        moved=moved(services, model, start, until),
        todo=list(_todo(together, spec.owner.runbook, cause, told)),
        within=(now + WITHIN).date(),
        now=now,
    )


def _alerts(services: Services, model: str, incident: str) -> tuple[Alert, Sequence[Alert]]:
    every = services.records.named(alerts_key(model), Alert)
    if incident not in every:
        hint = did_you_mean(incident, sorted(every)) if every else "no alert was ever raised"
        raise MissingRecord(f"{model}: no alert {incident!r}: {hint}")
    first = every[incident]
    now = services.clock.now()
    until = first.resolved_at or now
    together = sorted(
        (alert for alert in every.values() if alert.since <= until and (alert.resolved_at or now) >= first.since),
        key=lambda alert: (alert.since, alert.key),
    )
    return first, together


def _cause(timeline: Iterable[Event], start: datetime) -> Event | None:
    """The newest suspected change before the first symptom."""
    return next(iter([event for event in timeline if event.suspect and event.at <= start][-1:]), None)


def _apart(since: datetime | None, until: datetime | None) -> str | None:
    return words((until - since).total_seconds()) if since is not None and until is not None else None


def _serving(services: Services, model: str, at: datetime) -> PromotionRecord | None:
    """The promotion of the version that was champion at a time; ``None``: none is recorded."""
    found = services.records.newest(model, PromotionRecord, limit=LOOK_BACK)
    return next((record for record in found if record.promoted_at <= at), None)


def _evidence(services: Services, model: str, serving: PromotionRecord | None) -> dict[str, GateReceipt]:
    """What the gates had said of it."""
    if serving is None:
        return {}
    decisions = services.records.newest(model, PromotionDecision, limit=LOOK_BACK)
    decided = next((one for one in decisions if one.candidate == serving.candidate.release_digest), None)
    return dict(services.records.named(f"{model}/{decided.run}", GateReceipt)) if decided else {}


def _todo(alerts: Sequence[Alert], runbook: str, cause: Event | None, told: datetime | None) -> Iterator[Todo]:
    """What the record itself asks for; people strike out and add."""
    if cause is None:
        yield Todo("find what changed, and have it recorded", "no change is recorded before the first symptom")
    else:
        yield Todo(f"try it before it is live: {cause.what}", "so that it cannot happen again")
    if told is None:
        yield Todo("see that somebody is told: GAUNTLET_NOTIFY, quiet hours", "nobody was")
    if len(alerts) > 1:
        yield Todo(f"look for {alerts[0].key} more often, or with a closer limit", f"{len(alerts)} alerts followed it")
    for where in dict.fromkeys(section(runbook, alert.key) for alert in alerts):
        yield Todo(f"bring {where} up to what was learnt", "so that the next one is shorter")

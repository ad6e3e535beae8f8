"""A blameless postmortem, filled in with what is recorded: timeline, detection gap, impact, actions taken."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from gauntlet.core.duration import words
from gauntlet.core.errors import MissingRecord
from gauntlet.core.ports import Services
from gauntlet.core.records.incident import Event, Impact
from gauntlet.core.records.monitoring import Alert
from gauntlet.core.registry import did_you_mean
from gauntlet.core.triage import beside
from gauntlet.stages.raise_alerts import alerts_key
from gauntlet.stages.triage import BACK, events_since

TEMPLATES = Path(__file__).parent / "templates"
INCOMPLETE = b"incomplete"


def postmortem(services: Services, model: str, incident: str) -> str:
    """The postmortem of an incident as Markdown.

    ``incident``: the key of the alert that showed it first. Alerts that stood at the same time belong to it.

    Raises:
        MissingRecord: no alert has that key; the message names those there are.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    services.specs.get(model)
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
    start = together[0].since
    timeline = beside([event for event in events_since(services, model, start - BACK) if event.at <= until], start)
    page = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=False)  # noqa: S701 - Markdown
    return page.get_template("postmortem.md.j2").render(
        model=model,
        owner=services.specs.get(model).owner,
        incident=first,
        alerts=together,
        start=start,
        until=first.resolved_at,
        lasted=words((until - start).total_seconds()),
        gap=_gap(timeline, start),
        timeline=timeline,
        impact=_impact(services, model, start, until),
        now=now,
    )


def _gap(timeline: tuple[Event, ...], start: datetime) -> str:
    """From the newest suspected change to the first symptom: how long nobody knew."""
    suspects = [event for event in timeline if event.suspect and event.at <= start]
    if not suspects:
        return "unknown: no change is recorded shortly before the first symptom"
    last = suspects[-1]
    return f"{words((start - last.at).total_seconds())}, if the cause is: {last.what}"


def _impact(services: Services, model: str, since: datetime, until: datetime) -> Impact:
    import pyarrow.compute as pc

    table = services.journal.read(model, since, until)
    counts = {entry["values"]: entry["counts"] for entry in pc.value_counts(table.column("version_id")).to_pylist()}
    decisions = pc.sum(pc.equal(table.column("decision"), 1)).as_py()
    return Impact(
        requests=table.num_rows,
        failed=int(pc.sum(pc.not_equal(table.column("status"), "ok")).as_py() or 0),
        by_version=counts,
        decided=None if decisions is None else int(decisions),
        complete=not (table.schema.metadata or {}).get(INCOMPLETE),
    )

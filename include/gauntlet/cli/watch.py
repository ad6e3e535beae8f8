"""``gauntlet monitor | alerts``: look at a model in production, and see what stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from gauntlet import pipeline
from gauntlet.cli.console import DONE, REJECTED, AsJson, exit_codes, out, show_json, show_table
from gauntlet.cli.model import Model
from gauntlet.cli.who import caller
from gauntlet.core.errors import LayerUnhealthy
from gauntlet.core.layers.finding import is_asked
from gauntlet.core.records.incident import Triage
from gauntlet.core.records.monitoring import Layer, LayerReport
from gauntlet.core.records.run import RunContext


def monitor(
    model: Model,
    tell: Annotated[bool, typer.Option("--tell", help="Raise alerts and send messages, as the DAG does.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at every layer now: service, data, model, product, business.

    Ends with 0 when every layer that the spec gives anything to look at was looked at and is well, else with 1: also
    when there was too little to tell (inconclusive).
    """
    from gauntlet.bootstrap import services

    with exit_codes():
        section = services().specs.get(model).monitoring
        now = datetime.now(UTC)
        run = pipeline.open_run(
            model,
            f"monitor__{now:%Y%m%dT%H%M%S%f}",
            run_type="manual",
            logical_date=None,
            run_after=now,
            params={"reason": "a look from the command line"},
            requested_by=caller().name,
        )
        reports = [_look(run, layer) for layer in Layer]
        told = pipeline.raise_alerts(run) if tell else None
    if as_json:
        show_json({"layers": reports, "alerts": told})
    else:
        show_table(model, ("layer", "outcome", ""), [(r.layer.value, r.outcome, r.reason) for r in reports])
        if told:
            out.print(told.reason)
    asked = [report for report in reports if is_asked(section, report.layer)]
    raise typer.Exit(DONE if all(report.outcome.satisfied for report in asked) else REJECTED)


def _look(run: RunContext, layer: Layer) -> LayerReport:
    from gauntlet.bootstrap import services

    try:
        return pipeline.look(run, layer.value)
    except LayerUnhealthy:
        return services().records.get(run.key, LayerReport, layer.value)


def alerts(model: Model, as_json: AsJson = False) -> None:
    """What stands, and what was resolved last."""
    from gauntlet import views
    from gauntlet.bootstrap import services

    with exit_codes():
        found = views.alerts(services(), model)
    if as_json:
        show_json(found)
        return
    rows = [
        (
            line.severity,
            line.text,
            f"{line.since:%Y-%m-%d %H:%M}",
            f"{line.until:%Y-%m-%d %H:%M}" if line.until else "open",
        )
        for line in found.alerts
    ]
    show_table(found.empty or model, ("", "", "since", "until"), rows)


def triage(model: Model, as_json: AsJson = False) -> None:
    """Look at an incident in order: service, drift, golden parity, timeline, what to do. Changes nothing.

    Ends with 0 when no alert is open and every question was answered well, else with 1.
    """
    from gauntlet.bootstrap import services
    from gauntlet.stages.triage import triage as look_at

    with exit_codes():
        found = look_at(services(), model)
    well = not found.alerts and all(step.outcome.satisfied for step in found.steps)
    if as_json:
        show_json(found)
    else:
        _show_triage(model, found)
    raise typer.Exit(DONE if well else REJECTED)


def _show_triage(model: str, found: Triage) -> None:
    since = f"since {found.since:%Y-%m-%d %H:%M} UTC" if found.since else "no alert is open"
    show_table(f"{model}: {since}", ("", "", ""), [(a.severity.value, a.key, a.sentence) for a in found.alerts])
    show_table("Looked at", ("", "outcome", ""), [(step.question, step.outcome, step.answer) for step in found.steps])
    rows = [
        (f"{event.at:%m-%d %H:%M:%S}", "suspect" if event.suspect else "", event.what, event.who)
        for event in found.timeline[-30:]
    ]
    show_table("Timeline", ("UTC", "", "", ""), rows)
    advice = [(a.remedy.value, a.command, a.dag or "", a.reason) for a in found.advice]
    show_table("What to do", ("", "command", "or DAG", ""), advice)


def postmortem(
    model: Model,
    incident: Annotated[str, typer.Argument(help="The key of the alert that showed it first; see gauntlet alerts.")],
) -> None:
    """Write a blameless postmortem, filled in with what is recorded, as Markdown."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.postmortem import postmortem as write

    with exit_codes():
        out.print(write(services(), model, incident), markup=False)

"""``gauntlet explain | history | trace | audit``: why things are as they are."""

from __future__ import annotations

from typing import Annotated

import typer

from gauntlet.cli.console import DONE, REJECTED, AsJson, exit_codes, moment_of, out, show_json, show_table
from gauntlet.cli.model import Model, OnlyModel

audit = typer.Typer(help="The hash-chained audit log.", no_args_is_help=True)


def explain(
    subject: Annotated[str, typer.Argument(help="A run id, a version id, a registry version, or champion.")],
    model: OnlyModel = None,
    as_json: AsJson = False,
) -> None:
    """Say why a version serves, or why a run ended as it did."""
    from gauntlet import views
    from gauntlet.bootstrap import services

    with exit_codes():
        explanation = views.explain(services(), subject, model)
    if as_json:
        show_json(explanation)
        return
    rows = [(line.topic, line.outcome, line.text) for line in explanation.sentences]
    show_table(f"{explanation.model}: {subject}", ("", "outcome", ""), rows)


def history(
    model: Model,
    at: Annotated[str | None, typer.Option("--at", help="Which version answered at this time (ISO 8601).")] = None,
    as_json: AsJson = False,
) -> None:
    """Say which version was champion when."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.trace import history as champions
    from gauntlet.views.recoveries import recoveries

    with exit_codes():
        moment = moment_of("--at", at) if at else None
        reigns = champions(services(), model, moment)
        back = recoveries(services(), model) if moment is None else ()
    if as_json:
        show_json({"reigns": reigns, "recoveries": back})
    else:
        show_table(
            model,
            ("from", "to", "version", "why"),
            [(r.since, r.until or "now", r.version_id, r.reason) for r in reigns],
        )
        if back:
            rows = [(f"{b.at:%Y-%m-%d %H:%M:%S}", b.kind, b.outcome, _s(b.seconds), b.text) for b in back]
            show_table("Ways back", ("at", "", "outcome", "s to confirmed", ""), rows)


def _s(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def trace(
    subject: Annotated[str, typer.Argument(help="A prediction id, version, snapshot digest or run.")],
    model: OnlyModel = None,
    as_json: AsJson = False,
) -> None:
    """Walk from a prediction to its version, gates, run, data and trigger; or the other way."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.trace import trace as walk

    with exit_codes():
        steps = walk(services(), subject, model)
    if as_json:
        show_json(steps)
    else:
        show_table(subject, ("", "", ""), [(s.kind, s.subject, s.text) for s in steps])


@audit.command()
def verify(as_json: AsJson = False) -> None:
    """Find changed, removed or re-ordered entries, and say which."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.verify_audit import verify_audit

    with exit_codes():
        entries = services().audit.entries()
        findings = verify_audit(services())
    if as_json:
        show_json({"entries": len(entries), "findings": findings})
    elif findings:
        show_table("Audit log", ("finding",), [(finding,) for finding in findings])
    else:
        out.print(f"{len(entries)} entries, unbroken")
    raise typer.Exit(REJECTED if findings else DONE)


@audit.command("log")
def log(model: OnlyModel = None, limit: Annotated[int, typer.Option(help="Newest entries to show.")] = 50) -> None:
    """Show the newest entries."""
    from gauntlet.bootstrap import services

    with exit_codes():
        entries = services().audit.entries(model=model)[-limit:]
    show_table(
        "",
        ("#", "at", "actor", "action", "subject"),
        [(e.sequence, f"{e.at:%Y-%m-%d %H:%M:%S}", e.actor, e.action, e.subject) for e in entries],
    )

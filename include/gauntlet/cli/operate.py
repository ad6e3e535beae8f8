"""``gauntlet rollback | reconcile | doctor``: acting on what serves."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

import typer

from gauntlet import pipeline
from gauntlet.cli.console import DONE, REJECTED, AsJson, exit_codes, out, show_json, show_table
from gauntlet.cli.head_start import REQUEST
from gauntlet.cli.model import Model
from gauntlet.cli.who import authorized
from gauntlet.core.roles import Action


def rollback(
    model: Model,
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded.", prompt=True)],
    as_json: AsJson = False,
) -> None:
    """Return traffic to the recorded previous champion and quarantine the present one.

    Works with MLflow and Airflow down.
    """
    with exit_codes():
        actor = authorized(Action.ROLL_BACK, model).name
        report = pipeline.rollback(model, reason=reason, actor=actor, request=REQUEST)
    if as_json:
        show_json(report)
    else:
        out.print(report.sentence, markup=False)


def clear_quarantine(
    model: Model,
    digest: Annotated[str, typer.Argument(help="The release's digest, as the quarantine names it.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded.")],
    as_json: AsJson = False,
) -> None:
    """Let a release that was taken out be a candidate again."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.releases import clear_quarantine as clear

    with exit_codes():
        fact = clear(services(), model, digest, by=authorized(Action.CLEAR_QUARANTINE, model).name, reason=reason)
    if as_json:
        show_json(fact)
    else:
        out.print(f"{digest[:12]} is no longer in quarantine", markup=False)


def reconcile(
    model: Model,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what differs, in the documented direction.")] = False,
    as_json: AsJson = False,
) -> None:
    """Compare registry aliases, the routing table and what each server process reports."""
    with exit_codes():
        if repair:
            authorized(Action.REPAIR, model)
        report = pipeline.reconcile(model, repair=repair, by_hand=True)
    if as_json:
        show_json(report)
    else:
        out.print(report.reason, markup=False)
    raise typer.Exit(DONE if report.outcome.satisfied else REJECTED)


def drill(model: Model, as_json: AsJson = False) -> None:
    """Rehearse a rollback on the live server, and measure it; nobody meets another version."""
    with exit_codes():
        authorized(Action.ROLL_BACK, model)
        report = pipeline.drill(model, request=REQUEST)
    if as_json:
        show_json(report)
    else:
        out.print(report.reason, markup=False)
    raise typer.Exit(DONE if report.outcome.satisfied else REJECTED)


def golive(
    model: Model,
    as_json: AsJson = False,
) -> None:
    """Go through the eight phases to production. Ends with 1 and what to do while anything is missing."""
    from gauntlet.golive import checklist, ready

    with exit_codes():
        checks = checklist(model)
    if as_json:
        show_json(checks)
    else:
        for phase, members in groupby(checks, key=lambda check: check.phase):
            out.print(f"[bold]{phase}[/]")
            for check in members:
                colour, mark = ("green", "✔") if check.outcome.satisfied else ("red", "✘")
                out.print(f"  [{colour}]{mark}[/] {check.check}: ", end="")
                out.print(check.sentence, markup=False)
                if not check.outcome.satisfied:
                    out.print(f"      → {check.remedy}", markup=False)
        missing = sum(not check.outcome.satisfied for check in checks)
        out.print(f"{model}: {'ready' if ready(checks) else f'{missing} of {len(checks)} missing'}")
    raise typer.Exit(DONE if ready(checks) else REJECTED)


def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="First finish or give up what was left half done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check versions, specs, services, registry against servers, and that a rollback target can be loaded."""
    from gauntlet.bootstrap import services
    from gauntlet.doctor import examine

    with exit_codes():
        for model in services().specs.names() if repair else ():
            authorized(Action.REPAIR, model)
            pipeline.reconcile(model, repair=True, by_hand=True)
        findings = examine()
    if as_json:
        show_json(findings)
    else:
        show_table("", ("check", "outcome", "finding"), [(f.check, f.outcome, f.sentence) for f in findings])
    raise typer.Exit(DONE if all(finding.outcome.satisfied for finding in findings) else REJECTED)

"""The commands, by name."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from gauntlet.cli import (
    config,
    deploy,
    evidence,
    feedback,
    keep,
    local,
    measure,
    operate,
    people,
    run,
    score,
    serve,
    watch,
)
from gauntlet.cli.console import exit_codes


class Commands(TyperGroup):
    """All commands; whatever one of them raises on purpose, or the disk does, is one line and an exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]  # Typer's context is Click's
        """Run the command that was named."""
        with exit_codes():
            return super().invoke(ctx)


app = typer.Typer(
    name="gauntlet",
    cls=Commands,
    help=__import__("gauntlet").__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.command("run")(run.run)
app.command("canary")(run.canary)
app.command("copy")(run.copy)
app.command("recalibrate")(run.recalibrate)
app.command("set-threshold")(run.set_threshold)
app.command("explain")(evidence.explain)
app.command("history")(evidence.history)
app.command("trace")(evidence.trace)
app.command("rollback")(operate.rollback)
app.command("drill")(operate.drill)
app.command("clear-quarantine")(operate.clear_quarantine)
app.command("reconcile")(operate.reconcile)
app.command("doctor")(operate.doctor)
app.command("golive")(operate.golive)
app.command("sign-off")(people.sign_off)
app.command("janitor")(keep.janitor)
app.command("pin")(keep.pin)
app.command("reproduce")(keep.reproduce)
app.command("approve")(people.approve)
app.command("waive")(people.waive)
app.command("rollout")(people.rollout)
app.command("drift")(measure.drift)
app.command("score")(score.score)
app.command("monitor")(watch.monitor)
app.command("alerts")(watch.alerts)
app.command("triage")(watch.triage)
app.command("postmortem")(watch.postmortem)
app.command("slices")(feedback.slices)
app.command("counterfactual")(feedback.counterfactual)
app.command("serve")(serve.serve)
app.command("exporter")(serve.exporter)
app.command("demo")(local.demo)
app.command("up")(local.up)
app.command("down")(local.down)
app.add_typer(config.app, name="config")
app.add_typer(deploy.freeze, name="freeze")
app.add_typer(deploy.line, name="line")
app.add_typer(measure.gates, name="gates")
app.add_typer(measure.ab, name="ab")
app.add_typer(evidence.audit, name="audit")
app.add_typer(keep.retention, name="retention")

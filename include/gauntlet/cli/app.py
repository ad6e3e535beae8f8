"""The commands, by name."""

from __future__ import annotations

import atexit
import os
import sys

import typer

from gauntlet.cli import config, evidence, local, operate, run, serve

app = typer.Typer(
    name="gauntlet",
    help=__import__("gauntlet").__doc__,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.command("run")(run.run)
app.command("canary")(run.canary)
app.command("explain")(evidence.explain)
app.command("history")(evidence.history)
app.command("trace")(evidence.trace)
app.command("rollback")(operate.rollback)
app.command("reconcile")(operate.reconcile)
app.command("doctor")(operate.doctor)
app.command("serve")(serve.serve)
app.command("demo")(local.demo)
app.command("up")(local.up)
app.command("down")(local.down)
app.add_typer(config.app, name="config")
app.add_typer(evidence.audit, name="audit")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SystemExit as leave:
        _leave(leave.code)


def _leave(code: str | int | None) -> None:
    """End the process. With Great Expectations loaded, Python's own teardown would print pages of DuckDB's
    complaints about references that GX keeps; nobody can act on them, so the process ends before it."""
    if "great_expectations" not in sys.modules:
        raise SystemExit(code)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 0)

"""``gauntlet retention | pin | janitor | reproduce``: what is kept, what may go, and what can be made again."""

from __future__ import annotations

from typing import Annotated

import typer

from gauntlet import pipeline
from gauntlet.cli.console import DONE, REJECTED, AsJson, exit_codes, out, show_json, show_table
from gauntlet.cli.model import Model, ModelOption
from gauntlet.cli.who import authorized
from gauntlet.core.roles import Action

Version = Annotated[str, typer.Argument(help="A version: 7, v7, or its id.")]

retention = typer.Typer(help="What is kept, and what may go.", no_args_is_help=True)


@retention.command()
def plan(
    model: Model,
    everything: Annotated[bool, typer.Option("--all", help="Also what is kept, and why.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what retention would delete; nothing is touched."""
    with exit_codes():
        found = pipeline.plan_retention(model)
    if as_json:
        show_json(found)
        return
    rows = [("delete", item.kind, item.digest[:16], item.reason) for item in found.doomed]
    rows += [("keep", item.kind, item.digest[:16], item.reason) for item in found.kept] if everything else []
    show_table(f"{model}: {len(found.kept)} kept, {len(found.doomed)} to go", ("", "kind", "digest", "why"), rows)


@retention.command("apply")
def apply_now(model: Model, as_json: AsJson = False) -> None:
    """Delete it; a tombstone with digest and reason stays for each."""
    with exit_codes():
        authorized(Action.REPAIR, model)
        report = pipeline.apply_retention(model)
    if as_json:
        show_json(report)
    else:
        out.print(report.reason, markup=False)
        for sentence in report.refused:
            out.print(sentence, markup=False)
    raise typer.Exit(DONE if report.outcome.satisfied else REJECTED)


def pin(
    version: Version,
    model: ModelOption,
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded.")],
    remove: Annotated[bool, typer.Option("--remove", help="Let it age again.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a version whatever its age."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.pins import pin_version

    with exit_codes():
        by = authorized(Action.REPAIR, model).name
        fact = pin_version(services(), model, version, by=by, reason=reason, pinned=not remove)
    if as_json:
        show_json(fact)
    else:
        out.print(f"version {fact.version} is {'pinned' if fact.pinned else 'no longer pinned'}", markup=False)


def janitor(model: Model, as_json: AsJson = False) -> None:
    """Finish or remove what a killed task has left half done."""
    with exit_codes():
        authorized(Action.REPAIR, model)
        report = pipeline.tidy(model)
    if as_json:
        show_json(report)
    else:
        for sentence in (*report.left, *report.done):
            out.print(sentence, markup=False)
        out.print(f"{len(report.done)} settled, {len(report.left)} left", markup=False)
    raise typer.Exit(DONE if report.outcome.satisfied else REJECTED)


def reproduce(
    version: Version,
    model: ModelOption,
    as_json: AsJson = False,
) -> None:
    """Train a version again from its spec, snapshot and split, and compare the trees."""
    with exit_codes():
        report = pipeline.reproduce(model, version)
    if as_json:
        show_json(report)
    else:
        out.print(f"version {report.version}: {report.reason}", markup=False)
        out.print(f"recorded {report.recorded}\nretrained {report.retrained} ({report.seconds:.1f} s)", markup=False)
    raise typer.Exit(DONE if report.outcome.satisfied else REJECTED)

"""``gauntlet freeze | line``: may anything be deployed now, and who says otherwise."""

from __future__ import annotations

from typing import Annotated

import typer

from gauntlet.cli.console import DONE, REJECTED, AsJson, exit_codes, out, show_json
from gauntlet.cli.model import Model, ModelOrAll
from gauntlet.cli.who import BY, authorized
from gauntlet.core.freeze import NAMES
from gauntlet.core.roles import Action

freeze = typer.Typer(help="The freeze calendar.", no_args_is_help=True)
line = typer.Typer(
    help="Stop the line: nothing trains, nothing goes forward; rolling back stays.", no_args_is_help=True
)
Why = Annotated[str, typer.Option("--reason", help="Why; recorded.")]
By = Annotated[str, typer.Option("--by", help=BY)]


@freeze.command()
def show(model: Model, as_json: AsJson = False) -> None:
    """Say whether a rollout may begin now. Exit code 1 when not."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.hold import frozen, overridden

    with exit_codes():
        why = frozen(services(), model, starting=True)
        words = overridden(services(), model)
    if as_json:
        show_json({"model": model, "frozen": why, "overridden_by": words})
    else:
        out.print(f"{model}: {why or 'deployments are open'}", markup=False)
        for word in words:
            out.print(
                f"overridden by {word.by} until {word.expires_at:%Y-%m-%d %H:%M} UTC: {word.reason}", markup=False
            )
    raise typer.Exit(REJECTED if why else DONE)


@freeze.command()
def override(model: Model, reason: Why, by: By = "", as_json: AsJson = False) -> None:
    """Say that the calendar does not count for a while. It takes the same word of a second person."""
    from gauntlet.bootstrap import services
    from gauntlet.stages.hold import override_freeze

    with exit_codes():
        who = authorized(Action.OVERRIDE_FREEZE, model, by)
        words = override_freeze(services(), model, by=who.name, reason=reason, account=who.account)
    if as_json:
        show_json(words)
    elif words:
        until = min(word.expires_at for word in words)
        out.print(f"{model}: {' and '.join(word.by for word in words)} lift the freeze until {until:%H:%M} UTC")
    else:
        out.print(f"{model}: 1 of {NAMES} people; somebody else must say so too")


@line.command()
def stop(reason: Why, model: ModelOrAll = None, by: By = "", as_json: AsJson = False) -> None:
    """Stop the line of a model, or of all."""
    _set(model, reason, by, as_json, stopped=True)


@line.command()
def resume(reason: Why, model: ModelOrAll = None, by: By = "", as_json: AsJson = False) -> None:
    """Let a stopped line run again."""
    _set(model, reason, by, as_json, stopped=False)


def _set(model: str | None, reason: str, by: str, as_json: bool, *, stopped: bool) -> None:
    from gauntlet.bootstrap import services
    from gauntlet.stages.line import EVERY, set_line

    with exit_codes():
        subject = model or EVERY
        who = authorized(Action.STOP_LINE, subject, by)
        word = set_line(services(), subject, stopped=stopped, by=who.name, reason=reason, account=who.account)
    if as_json:
        show_json(word)
    else:
        state = "stands" if word.stopped else "runs"
        out.print(f"{model or 'every model'}: the line {state}: {word.by}: {word.reason}", markup=False)

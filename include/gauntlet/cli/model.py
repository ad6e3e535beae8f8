"""A model's name, as every command takes it: an unknown one is refused in the same words, before anything is done."""

from __future__ import annotations

from typing import Annotated

import typer

from gauntlet.cli.console import exit_codes


def known(name: str | None) -> str | None:
    """The name, if a spec has it or the audit log has ever met it: a model whose spec is gone can be rolled back still.

    Anything else ends the command with the names there are and the nearest of them.
    """
    if name is None:
        return None
    from gauntlet.bootstrap import services

    with exit_codes():
        here = services()
        if name not in here.specs.names() and not here.audit.newest(name, 1):
            here.specs.get(name)
    return name


HELP = "Name of a model spec."
Model = Annotated[str, typer.Argument(help=HELP, callback=known)]
ModelOption = Annotated[str, typer.Option("--model", help=HELP, callback=known)]
OnlyModel = Annotated[str | None, typer.Option("--model", help="Only this model.", callback=known)]
ModelOrAll = Annotated[str | None, typer.Argument(help="Name of a model spec; none: every model.", callback=known)]

"""``gauntlet demo | up | down``: the whole system on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from gauntlet.cli.console import exit_codes


def demo(keep: Annotated[bool, typer.Option("--keep", help="Leave everything running at the end.")] = False) -> None:
    """Start the local stack and tell the story of six nights through the real scheduler."""
    from gauntlet.demo.main import demo as tell

    with exit_codes():
        raise typer.Exit(tell(keep))


def up() -> None:
    """Start the local stack and leave it running."""
    from gauntlet.demo.main import up as start

    with exit_codes():
        raise typer.Exit(start())


def down() -> None:
    """Stop exactly what was started here."""
    from gauntlet.demo.main import down as stop

    with exit_codes():
        raise typer.Exit(stop())

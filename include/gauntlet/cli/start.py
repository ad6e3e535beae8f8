"""Where every command starts, with nothing imported yet."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. A rollback begins before the command's own imports."""
    if sys.argv[1:2] == ["rollback"]:
        from gauntlet.cli.head_start import head_start

        head_start(sys.argv[2:])
    from gauntlet.cli.app import app

    app()

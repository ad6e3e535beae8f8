"""``python -m gauntlet.cli`` is ``gauntlet``."""

from gauntlet.cli import main

main()

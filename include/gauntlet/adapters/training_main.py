"""Where the training process starts: ``python -m gauntlet.adapters.training_main JOB.json``.

LightGBM and PyArrow import pandas, scikit-learn and others where they are installed, to accept their types. Training
feeds them arrays only; to hide those packages saves a second of CPU and some 50 MB in every training.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

UNUSED = frozenset({"pandas", "sklearn", "dask", "matplotlib", "graphviz"})


class Hidden:
    """A finder before all others, to which some packages are not installed."""

    def find_spec(self, name: str, *_: Sequence[str] | ModuleType | None) -> ModuleSpec | None:
        """Nothing, or :class:`ModuleNotFoundError` for a hidden package."""
        if name.partition(".")[0] in UNUSED:
            raise ModuleNotFoundError(f"{name} is not used in training", name=name)
        return None


def main() -> int:
    """Run the job named on the command line."""
    sys.meta_path.insert(0, Hidden())
    from gauntlet.adapters.training_child import main as run

    return run(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())

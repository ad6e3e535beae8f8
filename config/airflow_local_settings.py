"""Read by every Airflow process at start. In the scheduler it imports the heavy libraries once.

LocalExecutor forks its workers from the scheduler, so they share these pages and start a task in a
few tenths of a second instead of paying up to 12 CPU-seconds of imports each. Import only: no
thread may run before the fork.
"""

import importlib
import os
import sys

HEAVY = (
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "scipy.stats",
    "duckdb",
    "sqlalchemy",
    "lightgbm",
    "mlflow",
    "great_expectations",
)


def preload() -> None:
    """Import what tasks import, where the workers will find it."""
    for name in HEAVY:
        importlib.import_module(name)


if "scheduler" in sys.argv and os.environ.get("GAUNTLET_PRELOAD", "1") == "1":
    preload()

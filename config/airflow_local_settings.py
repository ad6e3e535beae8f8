"""Read by every Airflow process at start. In the scheduler it imports the heavy libraries once.

LocalExecutor forks its workers from the scheduler, so they share these pages and start a task in a
few tenths of a second instead of paying up to 12 CPU-seconds of imports each. Import only: no
thread may run before the fork.
"""

import importlib
import os
import pkgutil
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
OURS = ("gauntlet.core.gates", "gauntlet.core", "gauntlet.adapters", "gauntlet.stages")
"""Packages whose modules every task reads through its DAG file or its stage: half a second per task otherwise."""


def preload() -> None:
    """Import what tasks import, where the workers will find it."""
    for name in (*HEAVY, "gauntlet.bootstrap", "gauntlet.pipeline", *_modules()):
        importlib.import_module(name)


def _modules() -> list[str]:
    folders = {name: importlib.import_module(name).__path__ for name in OURS}
    return [f"{name}.{found.name}" for name, path in folders.items() for found in pkgutil.iter_modules(path)]


def wanted() -> bool:
    """Only what forks task processes has any use for it: with Celery those are the workers, not the scheduler."""
    executor = os.environ.get("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    return "scheduler" in sys.argv and "LocalExecutor" in executor and os.environ.get("GAUNTLET_PRELOAD", "1") == "1"


if wanted():
    preload()

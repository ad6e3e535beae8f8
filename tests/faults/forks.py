"""Children that start as forks of a clean process which has imported everything: milliseconds each."""

from __future__ import annotations

import multiprocessing
import os
from functools import cache
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@cache
def forks() -> Any:
    """The multiprocessing context; its server is started here, where the modules can be found."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.child", "mlflow.store.tracking.sqlalchemy_store"])
    before = os.environ.get("PYTHONPATH")
    # A preload that is not found is passed over in silence, and every child then imports for itself.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "include"), str(ROOT)])
    try:
        forkserver.ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context

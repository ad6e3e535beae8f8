"""The demo as a user runs it: six nights through the real scheduler, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.demo.logs import leaks, logs_of

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]


def test_six_nights_in_a_real_airflow(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "gauntlet.cli", "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=880,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
    assert "6 nights, each as expected" in done.stdout
    assert "nothing is left running" in done.stdout
    assert not (tmp_path / ".gauntlet/demo/stack.json").exists()
    home = tmp_path / ".gauntlet/demo"
    assert len(logs_of(home)) > 50, "tasks have logs"
    assert leaks(home) == []
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True, check=False)
    assert left.stdout.strip() in ("", str(os.getpid()))

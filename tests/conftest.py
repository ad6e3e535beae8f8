"""Shared by all tests: where the example data is, and the closing words about what was skipped."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

DATA_VARIABLE = "GAUNTLET_EXAMPLE_DATA"


@pytest.fixture(scope="session")
def example_data() -> Path:
    """The folder of the two real data sets; tests that need it are skipped where it is absent."""
    folder = os.environ.get(DATA_VARIABLE)
    if not folder or not (Path(folder) / "adult.parquet").exists():
        pytest.skip(f"{DATA_VARIABLE} names no folder with adult.parquet and bike_hour.csv")
    return Path(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in the last lines what was skipped, why and how often."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = Counter(str(report.longrepr[2]).removeprefix("Skipped: ") for report in skipped)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"skipped {count}: {reason}")

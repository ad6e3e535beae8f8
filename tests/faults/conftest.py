"""The table of all cells, printed at the end."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterator

import pytest

WIDTH = 150


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Every (step × fault) cell with its result."""
    cells = [
        json.loads(value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        for name, value in getattr(report, "user_properties", ())
        if name == "cells"
    ]
    if not cells:
        return
    total = sum(len(cell["points"]) for cell in cells)
    bad = sum(len(cell["broken"]) for cell in cells)
    terminalreporter.write_sep("-", f"crash matrix: {total} cells, {total - bad} held, {bad} broken")
    for cell in cells:
        for line in _lines(cell):
            terminalreporter.write_line(line)


def _lines(cell: dict[str, list[str] | str]) -> Iterator[str]:
    points, broken = cell["points"], cell["broken"]
    yield f"{cell['step']} | {cell['fault']}: {len(points) - len(broken)} of {len(points)} held"
    counted = Counter(points)
    listed = " · ".join(f"{label} ×{count}" if count > 1 else label for label, count in counted.items())
    yield from textwrap.wrap(listed, WIDTH, initial_indent="    ", subsequent_indent="    ")
    for text in broken:
        yield f"    BROKEN {text}"

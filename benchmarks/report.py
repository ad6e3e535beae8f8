"""How every benchmark reports: one table for people, one list of aims for machines."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Aim:
    """One aim, measured in this run: ``value`` against ``limit``."""

    aim: str
    limit: float
    value: float
    met: bool


def at_most(aim: str, limit: float, value: float) -> Aim:
    """An aim met when the value is at most the limit."""
    return Aim(aim, limit, value, value <= limit)


def at_least(aim: str, limit: float, value: float) -> Aim:
    """An aim met when the value is at least the limit."""
    return Aim(aim, limit, value, value >= limit)


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the aims as JSON")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, to see that it runs")
    return parser


def print_table(title: str, rows: list[dict[str, object]]) -> None:
    """A plain table with one line per row; the keys of the first row are the heading."""
    if not rows:
        sys.exit(f"{title}: nothing was measured")
    heading = list(rows[0])
    cells = [heading, *[[str(row.get(key, "")) for key in heading] for row in rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heading))]
    print(f"\n{title}")
    for line in cells:
        print("  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def write_json(aims: list[Aim], path: Path | None) -> None:
    """Print each aim with its verdict, and write them where asked."""
    print()
    for aim in aims:
        print(f"  {'met   ' if aim.met else 'MISSED'}  {aim.aim}: {aim.value:.4g} (aim {aim.limit:g})")
    if path is not None:
        path.write_text(json.dumps([asdict(aim) for aim in aims], indent=2) + "\n")

"""What commands print with: tables for people, JSON for machines, one exit code per kind of error."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

from gauntlet.core.errors import GauntletError, InfrastructureError, SpecError
from gauntlet.core.outcome import Outcome

DONE, REJECTED, USAGE, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 130

COLOURS = {
    Outcome.PASSED: "green",
    Outcome.WAIVED: "yellow",
    Outcome.INCONCLUSIVE: "yellow",
    Outcome.ERROR: "red",
    Outcome.FAILED: "red",
}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def show_json(value: Any) -> None:
    """Print a record, or anything of plain values and records, as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)


def show_table(title: str, heading: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table, or say that there is nothing."""
    table = Table(*heading, title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*[_cell(cell) for cell in row])
    if table.row_count:
        out.print(table)
    else:
        out.print(f"{title or 'Result'}: nothing recorded yet")


def _cell(value: object) -> str:
    if isinstance(value, Outcome):
        return f"[{COLOURS[value]}]{value}[/]"
    return "" if value is None else str(value)


def write_file(path: Path, text: str) -> None:
    """Write what was asked for; :class:`SpecError` names a path that cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be written: {error.strerror or error}") from None


def moment_of(option: str, text: str) -> datetime:
    """An ISO 8601 time as a person writes it, in UTC unless it names its zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SpecError(f"{option}: {text!r} is no ISO 8601 time; write it as 2026-03-01T02:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def exit_codes() -> Generator[None]:
    """Turn errors made on purpose, and those of disks and networks, into one line and an exit code.

    Anything else is a defect and shows itself.
    """
    try:
        yield
    except SpecError as error:
        _leave(error, USAGE)
    except InfrastructureError as error:
        _leave(error, UNAVAILABLE)
    except GauntletError as error:
        _leave(error, REJECTED)
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _leave(InfrastructureError(f"{where}{error.strerror or error}"), UNAVAILABLE)
    except KeyboardInterrupt:
        err.print("interrupted")
        raise typer.Exit(INTERRUPTED) from None


def _leave(error: GauntletError, code: int) -> None:
    err.print(f"[red]{type(error).__name__}[/]: ", end="")
    err.print(str(error), markup=False)
    raise typer.Exit(code) from None

"""The literal registry of source kinds. A new kind is a module, a line here, a test, and the spec's ``kind``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from gauntlet.core.ports import Source
from gauntlet.core.registry import lookup


@dataclass(frozen=True)
class Reading:
    """What every source is built with. ``connection_url`` turns an Airflow connection id into an SQLAlchemy URL."""

    scratch: Path
    memory_mb: int = 1024
    threads: int = 0
    connection_url: Callable[[str], str] | None = None


def _files(reading: Reading) -> Source:
    from gauntlet.adapters.source_files import FileSource

    return FileSource(reading.scratch, reading.memory_mb, reading.threads)


def _sql(reading: Reading) -> Source:
    from gauntlet.adapters.source_sql import SqlSource

    return SqlSource(reading.scratch, reading.memory_mb, reading.threads, reading.connection_url)


SOURCES: Mapping[str, Callable[[Reading], Source]] = {
    "files": _files,
    "sql": _sql,
}


def open_source(kind: str, reading: Reading) -> Source:
    """The source of a kind, or a :class:`~gauntlet.core.errors.SpecError` listing the kinds."""
    return lookup(SOURCES, kind, "source kind")(reading)


def all_sources(reading: Reading) -> dict[str, Source]:
    """Every kind, ready to pull; nothing is read or connected yet."""
    return {kind: open_source(kind, reading) for kind in SOURCES}

"""The prediction journal in memory: rows that a test or a simulation appends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gauntlet.core.journal import INCOMPLETE
from gauntlet.core.ports import CompactedJournal

if TYPE_CHECKING:
    import pyarrow as pa

DEFAULTS: Mapping[str, Any] = {
    "request_id": "",
    "row": 0,
    "epoch": 0,
    "rollout": None,
    "version_id": "",
    "arm": "stable",
    "entity": None,
    "bucket": 0,
    "basis": "hash",
    "weight_ppm": 0,
    "score": float("nan"),
    "other_version_id": None,
    "other_score": float("nan"),
    "decision": -1,
    "latency_us": 0,
    "status": "ok",
    "error": None,
    "explored": 0,
    "propensity": 1.0,
}


class MemoryJournal:
    """Implements :class:`~gauntlet.core.ports.JournalReader`."""

    def __init__(self) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self.incomplete = False
        """Set to say that rows were lost."""

    def append(self, model: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows; ``at`` is an aware time, columns that are left out have their default."""
        self._rows.setdefault(model, []).extend({**DEFAULTS, **row} for row in rows)

    def read(self, model: str, since: datetime, until: datetime, rollout: str | None = None) -> pa.Table:
        """Rows in [since, until], of one rollout where it is named."""
        import pyarrow as pa

        rows = [
            row
            for row in self._rows.get(model, ())
            if since <= row["at"] <= until and (rollout is None or row["rollout"] == rollout)
        ]
        table = pa.Table.from_pylist(rows, schema=_schema(rows))
        return table.replace_schema_metadata({INCOMPLETE: b"rows were lost" if self.incomplete else b""})

    def compact(self, model: str, before: datetime) -> CompactedJournal:  # noqa: ARG002 - as the port has it
        """Rows in memory have no segments."""
        return CompactedJournal()

    def ended_before(self, model: str, before: datetime) -> list[tuple[str, str]]:
        """One name per day whose rows are all older than a time."""
        days = {row["at"].date().isoformat() for row in self._rows.get(model, ())}
        return [(day, day) for day in sorted(days) if day < before.date().isoformat()]

    def remove(self, model: str, name: str) -> None:
        """Forget a day."""
        self._rows[model] = [row for row in self._rows.get(model, ()) if row["at"].date().isoformat() != name]


def _schema(rows: list[dict[str, Any]]) -> pa.Schema:
    import pyarrow as pa

    fields = [("at", pa.timestamp("us", tz="UTC"))]
    for name, value in DEFAULTS.items():
        kind = pa.string() if value is None or isinstance(value, str) else pa.int64()
        fields.append((name, pa.float64() if isinstance(value, float) else kind))
    if any("label" in row for row in rows):
        fields.append(("label", pa.float64()))
    return pa.schema(fields)

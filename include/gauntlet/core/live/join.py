"""Labels that became known later, brought to the predictions they belong to. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from gauntlet.core.encoding import category_text
from gauntlet.core.journal import hashed_entity
from gauntlet.core.live.window import LABELS_NOTE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    Ints = npt.NDArray[np.int64]

NOBODY = -1


def key_text(key: Any, *, hashed: bool = False) -> str | None:
    """A source's key as the server writes it: 7, 7.0 and "7" are the same.

    >>> key_text(7.0), key_text("C1"), key_text(None)
    ('7', 'C1', None)
    """
    if key is None:
        return None
    text = category_text(key)
    return hashed_entity(text) if hashed else text


def match_requests(table: pa.Table, keys: Sequence[str | None]) -> Ints:
    """Of each journal row the place of its key; ``NOBODY`` without one. A key belongs to its request's first row."""
    import numpy as np

    places = {key: place for place, key in enumerate(keys) if key is not None}
    first = (row == 0 for row in table.column("row").to_pylist())
    ids = table.column("request_id").to_pylist()
    found = [places.get(name, NOBODY) if whole else NOBODY for name, whole in zip(ids, first, strict=True)]
    return np.asarray(found, dtype=np.int64)


def match_entities(
    table: pa.Table, entities: Sequence[str | None], times: Sequence[datetime | None], within: timedelta
) -> Ints:
    """Of each journal row the place of its entity's row that is nearest in time, ``NOBODY`` beyond ``within``."""
    import numpy as np

    known: dict[str, list[tuple[datetime, int]]] = {}
    for place, (entity, time) in enumerate(zip(entities, times, strict=True)):
        if entity is not None and time is not None:
            known.setdefault(entity, []).append((time, place))
    for rows in known.values():
        rows.sort()
    wanted = zip(table.column("entity").to_pylist(), table.column("at").to_pylist(), strict=True)
    return np.asarray([_nearest(known.get(entity or "", []), at, within) for entity, at in wanted], dtype=np.int64)


def _nearest(rows: Sequence[tuple[datetime, int]], at: datetime, within: timedelta) -> int:
    place = bisect_left(rows, (at, NOBODY))
    near = rows[max(0, place - 1) : place + 1]
    best = min(near, key=lambda row: abs(row[0] - at), default=None)
    return best[1] if best is not None and abs(best[0] - at) <= within else NOBODY


def with_labels(
    table: pa.Table,
    matches: Ints,
    labels: Sequence[float | None],
    known_at: Sequence[datetime | None] | None,
    *,
    maturity: timedelta,
    now: datetime,
    extra: Mapping[str, Sequence[Any]] | None = None,
) -> pa.Table:
    """The journal with columns ``label``, ``mature`` and ``extra``.

    A row is mature when ``maturity`` has passed since its request, whichever arm it was in; its label counts when it
    became known within that time. What became known sooner is not looked at sooner: good and bad outcomes take
    different times to show, and an arm must not look better by being younger.
    """
    import numpy as np
    import pyarrow as pa

    at = table.column("at").to_pylist()
    mature = np.asarray([time + maturity <= now for time in at], dtype=bool)
    values = np.full(table.num_rows, np.nan)
    for row in np.flatnonzero(mature & (matches != NOBODY)):
        place = int(matches[row])
        label, known = labels[place], known_at[place] if known_at is not None else None
        if label is not None and (known_at is None or (known is not None and known <= at[row] + maturity)):
            values[row] = label
    table = table.append_column("label", pa.array(values)).append_column("mature", pa.array(mature))
    for name, column in (extra or {}).items():
        taken = [column[place] if place != NOBODY else None for place in matches.tolist()]
        table = _put(table, name, taken)
    return table


def without_labels(table: pa.Table, why: str) -> pa.Table:
    """The journal with no label known, and why."""
    import numpy as np
    import pyarrow as pa

    table = table.append_column("label", pa.array(np.full(table.num_rows, np.nan)))
    table = table.append_column("mature", pa.array(np.zeros(table.num_rows, dtype=bool)))
    return table.replace_schema_metadata({**(table.schema.metadata or {}), LABELS_NOTE: why.encode()})


def _put(table: pa.Table, name: str, values: Iterable[Any]) -> pa.Table:
    import pyarrow as pa

    if name in table.column_names:
        return table  # The journal's own columns keep their names.
    return table.append_column(name, pa.array(list(values)))

"""Inputs that are a little wrong: how a table is changed for the robustness gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gauntlet.core.gates.robustness import EXTRA, MISSING, NOISE, UNSEEN

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

NEVER_SEEN = "(never seen in training)"
EXTRA_NAME = "a_column_nobody_has_asked_for"


def perturbed(table: pa.Table, kind: str, feature: str | None, noise: float, random: np.random.Generator) -> pa.Table:
    """The table with one thing wrong; see :mod:`gauntlet.core.gates.robustness`."""
    import pyarrow as pa

    if kind == EXTRA:
        return table.append_column(EXTRA_NAME, pa.array([1.0] * len(table)))
    if feature is None:
        return table.select(list(reversed(table.column_names)))
    place = table.column_names.index(feature)
    if kind == NOISE:
        return table.set_column(place, feature, _noisy(table.column(feature), noise, random))
    if kind == UNSEEN:
        return table.set_column(place, feature, pa.array([NEVER_SEEN] * len(table)))
    if kind == MISSING:
        return table.set_column(place, feature, pa.nulls(len(table), table.schema.field(feature).type))
    raise ValueError(f"no perturbation is called {kind!r}")


def _noisy(column: pa.ChunkedArray, noise: float, random: np.random.Generator) -> pa.Array:
    """Normal noise in units of the column's own standard deviation; missing values stay missing."""
    import numpy as np
    import pyarrow as pa

    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
    spread = float(np.nanstd(values)) if np.isfinite(values).any() else 0.0
    return pa.array(values + noise * spread * random.standard_normal(len(values)), from_pandas=True)
